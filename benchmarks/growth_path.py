"""The pure path in one process, its CPU time counted step by step: raw batches -> locate -> frames -> join -> alerts.

The same classes as in the worker (Decoder, Placer, Locator, JoinShard, Snapshots), without Kafka between them. A
snapshot of every shard is captured and encoded each `SNAPSHOT_RECORDS` records, which is every 5 s at 50,000 records/s.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from benchmarks.growth_data import ARRIVED_MS, PARTITIONS, CitySpec, closers, make_records, write_batches
from detectors.contract import Detector
from schemas.alert import Alert
from schemas.kinds import built_in_kinds
from schemas.sources import Source
from streams.batches import RawBatch
from streams.decode import Decoder
from streams.join_core import JoinSettings, JoinShard
from streams.locate_core import LocateSettings, Locator
from streams.placing import Placer, WatermarkState
from streams.shard_store import Message, ShardStore
from streams.snapshots import Snapshots
from streams.strings import StringTable
from topology.devices import DeviceRegister
from topology.shards import Shards

SNAPSHOT_RECORDS: Final = 250_000
FLUSH_RECORDS: Final = 131_072
KEYS: Final = [(int(source), partition) for source in Source for partition in range(PARTITIONS)]


@dataclass(slots=True)
class Spent:
    """CPU seconds by step."""

    decode: float = 0.0
    locate: float = 0.0
    join: float = 0.0
    snapshots: float = 0.0

    @property
    def total(self) -> float:
        return self.decode + self.locate + self.join + self.snapshots

    def per_record_us(self, records: int) -> dict[str, float]:
        steps = {name: getattr(self, name) for name in ("decode", "locate", "join", "snapshots", "total")}
        return {name: round(1e6 * seconds / records, 4) for name, seconds in steps.items()}


class Path:
    """All shards of a city in this process."""

    def __init__(
        self,
        spec: CitySpec,
        detectors: Sequence[Detector[Any]],
        *,
        shards: int = 4,
        register: DeviceRegister | None = None,
        parent_levels: int = 6,
    ) -> None:
        grid = spec.grid
        parted = Shards(
            grid=grid,
            count=shards,
            parent_levels=parent_levels,
            reach_rings=max((d.rings for d in detectors), default=0),
        )
        settings, zone = LocateSettings(), ZoneInfo("Asia/Shanghai")
        tables = StringTable(), StringTable(), StringTable()
        placer = Placer(parted, tables[0], tables[1], built_in_kinds(), _rules(settings), register=register)
        self._decoder = Decoder(*tables, dict.fromkeys(Source, zone))
        self._locator = Locator(settings, placer, shards, *tables)
        for key in KEYS:
            self._locator.assign(key, 0, WatermarkState(), ARRIVED_MS)
        self.joins = [JoinShard(shard, grid, detectors, KEYS, JoinSettings()) for shard in range(shards)]
        self._log = DroppingLog()
        self._snapshots = [
            Snapshots(shard, ShardStore("state", self._log), self._log, open_topic="open", blocks_topic="blocks")
            for shard in range(shards)
        ]
        self.alerts: list[Alert] = []
        self.spent = Spent()
        self.snapshot_bytes = 0
        self._since_snapshot = 0
        self._frames = 0

    def take(self, batches: Iterable[tuple[Source, int, list[RawBatch]]]) -> None:
        """Raw batches in, alerts out; `spent` says what it cost."""
        waiting = 0
        for source, partition, some in batches:
            for batch in some:
                with self._counting("decode"):
                    decoded = self._decoder.decode(source, source.topic, partition, [batch])
                with self._counting("locate"):
                    self._locator.feed(decoded.columns, decoded.letters, decoded.last_offset + 1, ARRIVED_MS, _never)
                assert not decoded.letters
                waiting += batch.count
        self._flush(waiting)

    def _flush(self, records: int) -> None:
        with self._counting("locate"):
            flush = self._locator.flush(ARRIVED_MS, level=True)
        for frame in flush.frames:
            self._frames += 1
            with self._counting("join"):
                self.alerts += self.joins[frame.shard].process(frame.data)
        self._since_snapshot += records
        if self._since_snapshot >= SNAPSHOT_RECORDS:
            self._since_snapshot = 0
            self.snapshot()

    def snapshot(self) -> None:
        """One of every shard."""
        for join, snapshots in zip(self.joins, self._snapshots, strict=True):
            with self._counting("snapshots"):
                captured = snapshots.capture(join, self._frames)
                asyncio.run(snapshots.write(captured))
            self.snapshot_bytes += captured.size

    @contextmanager
    def _counting(self, step: str) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            setattr(self.spent, step, getattr(self.spent, step) + time.process_time() - began)


def run(path: Path, spec: CitySpec, count: int) -> None:
    """Take the city's first `count` records, a flush's worth at a time, then what ends all windows, and a snapshot.

    Only one slice of the records is in memory at a time: the process's memory is that of the path.
    """
    offsets: dict[tuple[int, int], int] = defaultdict(int)
    end_ms = 0
    for first in range(0, count, FLUSH_RECORDS):
        records = make_records(spec, first, min(FLUSH_RECORDS, count - first))
        end_ms = max(end_ms, int(records.event_at_ms.max()))
        path.take(list(write_batches(spec, records, offsets)))
    path.take(list(write_batches(spec, closers(end_ms, spec), offsets)))
    path.snapshot()


@dataclass(slots=True)
class DroppingLog:
    """A `Log` that forgets what it is given: the cost of a snapshot without that of a broker."""

    ends: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    async def append(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        self.ends[topic, partition] += 1
        return self.ends[topic, partition] - 1

    async def append_many(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        self.ends[topic, partition] += len(values)

    async def scan(self, topic: str, partition: int) -> AsyncIterator[Message]:
        none: list[Message] = []
        for message in none:
            yield message

    async def read_range(self, topic: str, partition: int, first: int, last: int) -> list[Message]:
        return []

    async def read_at(self, topic: str, partition: int, offsets: Iterable[int]) -> list[Message]:
        return []

    async def truncate_before(self, topic: str, partition: int, offset: int) -> None:
        return


def _rules(settings: LocateSettings) -> dict[Source, Any]:
    return {
        Source.READINGS: settings.readings.rules,
        Source.CAMERA_EVENTS: settings.camera_events.rules,
        Source.TICKETS: settings.tickets.rules,
    }


def _never(offsets: Sequence[int]) -> dict[int, bytes | None]:
    raise AssertionError(f"records at {list(offsets)[:3]} were refused; the benchmark sends none that may be")
