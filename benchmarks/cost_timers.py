"""Stopwatches for the stages of a record's way through the worker: what CPU time each takes, adding up to all of it.

Functions are wrapped where they are looked up, in the process that is measured and nowhere else. A stage's time is its
own: what a stage calls that is a stage itself counts there. Each thread has its own stack of stages, timed by the
thread's CPU clock (the kernel's work for it, such as copying out of a socket, included; waiting not). What a thread
does outside every stage is its rest: the event loops, tasks, sockets, Faust. Coroutines are timed step by step.

A call costs about a microsecond more, so only what is called per batch or frame is wrapped, nothing per record.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Final

SAMPLE_S: Final = 0.05
GARBAGE: Final = "garbage collector"

STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "fetch: responses taken apart": (
        "streams.kafka_wire:Wire.get_buffer",
        "streams.kafka_wire:Wire.buffer_updated",
    ),
    "fetch: aiokafka's routines": (
        "aiokafka.consumer.fetcher:Fetcher._get_actions_per_node",
        "aiokafka.consumer.fetcher:Fetcher.fetched_records",
        "streams.raw_batches:RawBatchConsumer.getmany",
    ),
    "raw batches: headers": ("streams.raw_batches:RawPartitionRecords._read_batch",),
    "raw batches: checksum": ("streams.raw_batches:RawPartitionRecords._checksum_holds",),
    "raw batches: decompression": ("streams.decode:decompress_into",),
    "decode: record varints": ("streams.record_kernels:split",),
    "decode: JSON scan": ("streams.decode:scan",),
    "decode: the rest": ("streams.decode:Decoder.decode",),
    "place: datum, cell, shard, quality, lateness": ("streams.placing:Placer.place",),
    "place: jurisdiction": ("streams.placing:Placer._jurisdictions_of",),
    "locate: the rest of taking in": ("streams.locate:LocateService._feed",),
    "frames: sort by shard": ("streams.frames:FrameBuilder._sort",),
    "frames: how wide columns must be": ("streams.frames:_plan_of",),
    "frames: gather rows": ("streams.frames:FrameBuilder._gather",),
    "frames: columns and dictionaries": ("streams.frames:FrameBuilder._batch",),
    "frames: writing": ("streams.locate_core:write_frame",),
    "frames: the rest of a flush": ("streams.locate_core:Locator.flush",),
    "produce: batch and its checksum": ("streams.frame_batch:FrameBatch._build",),
    "produce: request": ("aiokafka.producer.sender:SendProduceReqHandler.do",),
    "produce: into the socket": (
        "streams.kafka_wire:Wire.writelines",
        "asyncio.streams:StreamWriter.write",
    ),
    "fetch of frames: checksum, records": ("aiokafka.consumer.fetcher:FetchResult.getall",),
    "join: frame opened": ("streams.join_core:decode_packed",),
    "join: rows prepared": ("streams.join_core:FrameRows",),
    "join: coverage": (
        "streams.join_core:JoinShard._drop_covered",
        "streams.raw_progress:RawProgress.apply",
        "streams.raw_progress:RawProgress.advance",
    ),
    "join: rows into windows": ("streams.windows:WindowGroup.add",),
    "join: buckets sealed, totals": ("streams.windows:WindowGroup.end",),
    "join: judging": ("streams.join_core:JoinShard._judge_all",),
    "join: alerts and their evidence": ("streams.join_core:JoinShard._alert",),
    "join: the rest of a frame": ("streams.join:JoinWork.take",),
    "alerts: encoding and sending": ("streams.join:encode_alert", "aiokafka:AIOKafkaProducer.send"),
    "snapshots": (
        "streams.snapshots:Snapshots.capture",
        "streams.snapshots:Snapshots.write",
    ),
    "archive: rows made": ("streams.archive_frame_lane:make_rows",),
    "archive: insert": ("streams.archive_frame_lane:_insert_all",),
    "archive: checkpoints": ("streams.archive_frame_lane:FrameLane._put",),
    "metrics read from outside": ("prometheus_client.exposition:_bake_output",),
}
"""Stage -> what is timed, as module:qualified name, in the order of a record's way."""


class Timers:
    """CPU nanoseconds by stage and thread, sampled while the worker runs."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._spent: dict[int, dict[str, int]] = {}  # by thread id
        self._calls: Counter[str] = Counter()
        self._samples: list[dict[str, Any]] = []
        self.missing: list[str] = []

    def install(self, stages: Mapping[str, tuple[str, ...]] = STAGES) -> None:
        """Wrap everything that is there; what is not is listed in `missing`."""
        for stage, places in stages.items():
            for place in places:
                if not self._wrap(stage, place):
                    self.missing.append(place)
        gc.callbacks.append(self._collecting)

    def _wrap(self, stage: str, place: str) -> bool:
        module_name, _, path = place.partition(":")
        try:
            owner: Any = importlib.import_module(module_name)
        except ImportError:
            return False
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        original = None if owner is None else inspect.getattr_static(owner, name, None)
        if original is None:
            return False
        function = original.__func__ if isinstance(original, staticmethod) else original
        timed = self._timed_coroutine(stage, function) if _is_coroutine(function) else self._timed(stage, function)
        setattr(owner, name, staticmethod(timed) if isinstance(original, staticmethod) else timed)
        return True

    # --- timing ------------------------------------------------------------------------------------------------------

    def enter(self, stage: str) -> None:
        local = self._local
        now = time.thread_time_ns()
        stack = getattr(local, "stack", None)
        if stack is None:
            stack = local.stack = []
            local.spent = self._spent[threading.get_ident()] = Counter()
            local.mark = now
        if stack:
            local.spent[stack[-1]] += now - local.mark
        stack.append(stage)
        self._calls[stage] += 1
        local.mark = now

    def leave(self) -> None:
        local = self._local
        now = time.thread_time_ns()
        local.spent[local.stack.pop()] += now - local.mark
        local.mark = now

    def _collecting(self, phase: str, _info: Mapping[str, int]) -> None:
        if phase == "start":
            self.enter(GARBAGE)
        else:
            self.leave()

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            self.enter(stage)
            try:
                return function(*args, **options)
            finally:
                self.leave()

        return timed

    def _timed_coroutine(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        timers = self

        class Stepped:
            def __init__(self, coroutine: Any) -> None:
                self._coroutine = coroutine

            def __await__(self) -> Generator[Any, Any, Any]:
                steps = self._coroutine.__await__()
                step: Callable[[], Any] = lambda: steps.send(None)  # noqa: E731
                while True:
                    timers.enter(stage)
                    try:
                        waits_for = step()
                    except StopIteration as end:
                        return end.value
                    finally:
                        timers.leave()
                    try:
                        answer = yield waits_for
                    except BaseException as problem:
                        step = _thrower(steps, problem)
                    else:
                        step = _sender(steps, answer)

        @wraps(function)
        async def timed(*args: Any, **options: Any) -> Any:
            return await Stepped(function(*args, **options))

        return timed

    # --- samples -----------------------------------------------------------------------------------------------------

    def watch(self, path: Path) -> None:
        """Take samples in a thread of their own, and write them to `path` when the process ends in order."""

        def sampling() -> None:
            while True:
                self._samples.append(self._sample())
                time.sleep(SAMPLE_S)

        threading.Thread(target=sampling, name="cost-samples", daemon=True).start()
        self._path = path

    def write(self) -> None:
        report = {"samples": self._samples, "calls": dict(self._calls), "missing": self.missing}
        self._path.write_text(json.dumps(report))

    def _sample(self) -> dict[str, Any]:
        threads = {}
        for thread in threading.enumerate():
            if thread.ident is None:
                continue
            try:
                clock = time.pthread_getcpuclockid(thread.ident)
                total = time.clock_gettime_ns(clock)
            except OSError:  # it has just ended
                continue
            threads[f"{thread.name}"] = {"total": total, "spent": dict(self._spent.get(thread.ident, {}))}
        return {"at": time.time(), "process": time.process_time_ns(), "threads": threads}


def _is_coroutine(function: Any) -> bool:
    return asyncio.iscoroutinefunction(function)


def _sender(steps: Any, answer: Any) -> Callable[[], Any]:
    return lambda: steps.send(answer)


def _thrower(steps: Any, problem: BaseException) -> Callable[[], Any]:
    return lambda: steps.throw(problem)


def cost_of_a_call() -> int:
    """Nanoseconds that one timed call costs more than it would untimed, on this machine."""
    timers = Timers()
    timed = timers._timed("nothing", int)
    rounds = 20_000
    began = time.thread_time_ns()
    for _ in range(rounds):
        timed()
    spent = time.thread_time_ns() - began
    return spent // rounds


if __name__ == "__main__":
    print(cost_of_a_call(), "ns a call, process", os.getpid())
