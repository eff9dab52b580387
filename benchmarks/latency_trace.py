"""When each part of the way was passed, noted from outside: wrappers around the product's own methods, no code in it.

A table for each part, one row for each batch, flush or frame, times in epoch ns. `Hops` follows the alerts of a window
through them, from the due time of the record that made them possible to the broker's time of the alert.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.cityjoin_data import PARTITIONS
from benchmarks.latency_load import Ints
from streams import join, locate, locate_core, locate_reader, locate_sender, shard_runner

COLUMNS: Final = {
    "fetched": ("place", "next_offset", "at"),
    "placed": ("place", "next_offset", "at"),
    "flushed": ("begun", "done", "rows"),
    "acked": ("shard", "offset", "at"),
    "handed": ("shard", "offset", "at"),
    "judged": ("shard", "offset", "begun", "done", "closed_until_ms"),
    "captured": ("begun", "done"),
    "stall": ("due", "at"),
    "collected": ("begun", "done"),
}
STALL_NS: Final = 20_000_000
BEAT_S: Final = 0.005

Tables = dict[str, Ints]


class Trace:
    """Wraps what it watches when installed; `write` saves the tables."""

    def __init__(self) -> None:
        self._rows = {name: array("q") for name in COLUMNS}
        self._collecting = 0
        self._beat_ns = 0
        self._stacks: list[str] = []
        self._over = threading.Event()

    def note(self, table: str, *values: int) -> None:
        self._rows[table].extend(values)

    def install(self) -> None:
        self._watch_locate()
        self._watch_join()
        gc.callbacks.append(self._collected)
        threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True).start()

    def write(self, path: Path) -> None:
        """The tables; and beside them, as text, what the event loop was in when it came late."""
        self._over.set()
        tables: dict[str, Any] = {
            name: np.frombuffer(rows, dtype=np.int64) for name, rows in self._rows.items() if rows
        }
        np.savez(path, **tables)
        path.with_suffix(".stalls.txt").write_text("\n".join(self._stacks))

    # --- what is watched -------------------------------------------------------------------------------------------

    def _watch_locate(self) -> None:
        note = self.note
        found_in, feed, run = (
            locate_reader.LocateReader._in_order, locate_core.Locator.feed, locate.LocateService._run
        )  # fmt: skip
        flush, acknowledged = locate_core.Locator.flush, locate_sender.LocateSender._acknowledgement

        def traced_found(reader: Any, found: Any) -> Any:
            at = time.time_ns()
            for tp, batches in found.items():
                source, partition = reader.key(tp)
                note("fetched", source * PARTITIONS + partition, batches[-1].next_offset, at)
            return found_in(reader, found)

        def traced_feed(locator: Any, columns: Any, letters: Any, next_offset: int, *rest: Any) -> Any:
            result = feed(locator, columns, letters, next_offset, *rest)
            note("placed", int(columns.source) * PARTITIONS + columns.partition, next_offset, time.time_ns())
            return result

        def traced_flush(locator: Any, now_ms: int, *, level: bool = False) -> Any:
            begun, rows = time.time_ns(), locator._rows
            result = flush(locator, now_ms, level=level)
            note("flushed", begun, time.time_ns(), rows)
            return result

        async def traced_acknowledged(sender: Any, topic: str, future: Any) -> None:
            await acknowledged(sender, topic, future)
            if topic == sender._names.observations:
                record = future.result()
                note("acked", record.partition, record.offset, time.time_ns())

        async def traced_run(service: Any) -> None:
            beating = asyncio.create_task(self._beat())
            try:
                await run(service)
            finally:
                beating.cancel()
                self._beat_ns = 0

        _put(locate_reader.LocateReader, "_in_order", traced_found)
        _put(locate_core.Locator, "feed", traced_feed)
        _put(locate_core.Locator, "flush", traced_flush)
        _put(locate_sender.LocateSender, "_acknowledgement", traced_acknowledged)
        _put(locate.LocateService, "_run", traced_run)

    def _watch_join(self) -> None:
        note = self.note
        handle, take = shard_runner.ShardRunner.handle, join.JoinWork.take
        capture = join.JoinWork.capture

        async def traced_handle(runner: Any, event: Any) -> None:
            note("handed", event.message.partition, event.message.offset, time.time_ns())
            await handle(runner, event)

        def traced_take(work: Any, payload: bytes, offset: int) -> Any:
            begun = time.time_ns()
            result = take(work, payload, offset)
            (group,) = work._core.groups.values()
            note("judged", int(work.label), offset, begun, time.time_ns(), group.closed_until_ms or 0)
            return result

        async def traced_capture(work: Any, next_offset: int) -> Any:
            begun = time.time_ns()
            result = await capture(work, next_offset)
            note("captured", begun, time.time_ns())
            return result

        _put(shard_runner.ShardRunner, "handle", traced_handle)
        _put(join.JoinWork, "take", traced_take)
        _put(join.JoinWork, "capture", traced_capture)

    async def _beat(self) -> None:
        """Note where the event loop came late."""
        while True:
            self._beat_ns = time.time_ns()
            due = self._beat_ns + int(BEAT_S * 1e9)
            await asyncio.sleep(BEAT_S)
            now = time.time_ns()
            if now - due > STALL_NS:
                self.note("stall", due, now)

    def _look(self, thread: int) -> None:
        """In a thread of its own: where the event loop is while it is late, by its stack."""
        while not self._over.wait(BEAT_S):
            began_ns = self._beat_ns
            late_ns = time.time_ns() - began_ns
            if began_ns and late_ns > STALL_NS:
                frame = sys._current_frames().get(thread)
                stack = traceback.extract_stack(frame, limit=8)[::-1] if frame else ()
                words = " < ".join(f"{Path(f.filename).stem}.{f.name}:{f.lineno}" for f in stack)
                self._stacks.append(f"{began_ns} late {late_ns / 1e6:.0f} ms: {words}")

    def _collected(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._collecting = time.time_ns()
        else:
            self.note("collected", self._collecting, time.time_ns())


def _put(owner: type, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)


def read(path: Path) -> Tables:
    """What `Trace.write` saved, each table int64[rows, columns]; empty ones too."""
    with np.load(path) as saved:
        return {
            name: (saved[name] if name in saved else np.empty(0, dtype=np.int64)).reshape(-1, len(columns))
            for name, columns in COLUMNS.items()
        }


HOPS: Final = (
    ("due", "the record that makes the alert possible is due"),
    ("appended", "the broker has appended it"),
    ("fetched", "locate has fetched it"),
    ("placed", "locate has decoded and placed it"),
    ("framed", "a flush has made it into a frame"),
    ("acked", "the broker has acknowledged the frame of the shard"),
    ("handed", "Faust has handed the frame to the join"),
    ("judged", "the join has judged the window"),
    ("told", "the broker has appended the alert"),
)
"""The moments of one alert's way, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What is known of alerts without a trace, one element each: due time and append time of the record that made it
    possible, the records of all raw partitions that did so (int64[alerts, PLACES]), the window's end, the shard, and
    the append time of the alert."""

    due_ns: Ints
    append_ms: Ints
    offset: Ints
    end_ms: Ints
    shard: Ints
    told_ms: Ints


def hops(tables: Tables, way: Way) -> Ints:
    """Moments int64[alerts, HOPS] in epoch ns, -1 where the trace does not know one."""
    found = np.full((len(way.due_ns), len(HOPS)), -1, dtype=np.int64)
    found[:, 0], found[:, 1], found[:, 8] = way.due_ns, way.append_ms * 1_000_000, way.told_ms * 1_000_000
    for column, name in ((2, "fetched"), (3, "placed")):
        table = tables[name]
        for place in range(way.offset.shape[1]):
            mine = table[table[:, 0] == place]
            at = np.searchsorted(mine[:, 1], way.offset[:, place], side="right")  # the first that went beyond it
            known = at < len(mine)
            found[known, column] = np.maximum(found[known, column], mine[at[known], 2])
    for number in np.unique(way.shard).tolist():
        mine = tables["judged"][tables["judged"][:, 0] == number]
        rows = np.flatnonzero(way.shard == number)
        at = np.searchsorted(mine[:, 4], way.end_ms[rows])  # the first frame after which the window was closed
        known = at < len(mine)
        rows, at = rows[known], at[known]
        frames = mine[at, 1].tolist()
        found[rows, 7] = mine[at, 3]
        for column, name in ((5, "acked"), (6, "handed")):
            table = tables[name][tables[name][:, 0] == number]
            when = dict(zip(table[:, 1].tolist(), table[:, 2].tolist(), strict=True))
            found[rows, column] = [when.get(frame, -1) for frame in frames]
    flushed = tables["flushed"]
    at = np.searchsorted(flushed[:, 0], found[:, 3])  # the first flush begun after it was placed
    known = (at < len(flushed)) & (found[:, 3] >= 0)
    found[known, 4] = flushed[at[known], 1]
    return found
