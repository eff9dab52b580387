"""The real worker for benchmarks.restart: its detectors, and when it came how far, told in a file.

python -m benchmarks.restart_worker CONFIG MARKS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

WINDOW_MINUTES: Final = 60
METRICS: Final = ("water_level_mm", "rainfall_mm_h", "noise_db", "pm25_ugm3")
COUNT: Final = "seen-twice"


class Marks:
    """Lines of JSON: what, which shard, when (epoch seconds)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="ascii", buffering=1)

    def put(self, what: str, shard: int = -1, **more: Any) -> None:
        self._file.write(json.dumps({"what": what, "shard": shard, "at_s": time.time(), **more}) + "\n")


def detectors() -> tuple[Any, ...]:
    """Eight features: the greatest value, and how many records, of four metrics over an hour."""
    from detectors.features import Aggregate
    from detectors.threshold import Threshold, ThresholdSettings

    made = []
    for metric in METRICS:
        high = ThresholdSettings(
            metric=metric, raise_at=(95.0,), clear_at=90.0, window_minutes=WINDOW_MINUTES, aggregate=Aggregate.MAX
        )
        twice = ThresholdSettings(
            metric=metric, raise_at=(2.0,), clear_at=1.0, window_minutes=WINDOW_MINUTES, aggregate=Aggregate.COUNT
        )
        made += [Threshold(high, name=f"high-{metric}"), Threshold(twice, name=f"{COUNT}-{metric}")]
    return tuple(made)


def watch(marks: Marks) -> None:
    """Tell of the steps of a start as they are done."""
    from deploy import worker as worker_module
    from streams import join, shard_runner, snapshots

    worker: Any = worker_module  # mypy: names that a module has imported are not its own
    warm_up, restore, write = worker.warm_up, join.JoinWork.restore, snapshots.Snapshots.write
    handle, catch_up = shard_runner.ShardRunner.handle, shard_runner.ShardRunner._catch_up
    met: set[int] = set()

    def marked_warm_up(*arguments: Any) -> None:
        warm_up(*arguments)
        marks.put("kernels")

    async def marked_handle(self: Any, event: Any) -> None:
        shard = event.message.partition
        if shard not in met:
            met.add(shard)
            marks.put("first frame", shard)
        await handle(self, event)

    async def marked_restore(self: Any) -> int | None:
        found = await restore(self)
        marks.put("restored", int(self.label), cells=self._core.slots.count)
        return found

    async def marked_catch_up(self: Any, run: Any, until: int) -> None:
        frames = until - run.next_offset
        await catch_up(self, run, until)
        marks.put("caught up", run.shard, frames=frames)

    async def marked_write(self: Any, captured: Any) -> bool:
        done = await write(self, captured)
        marks.put("snapshot", self.shard, next_offset=captured.manifest.next_offset, bytes=captured.size)
        return done

    for owner, name, marked in (
        (worker, "warm_up", marked_warm_up),
        (join.JoinWork, "restore", marked_restore),
        (shard_runner.ShardRunner, "handle", marked_handle),
        (shard_runner.ShardRunner, "_catch_up", marked_catch_up),
        (snapshots.Snapshots, "write", marked_write),
    ):
        setattr(owner, name, marked)


def main() -> None:
    marks = Marks(Path(sys.argv[2]))
    marks.put("python")
    from deploy.config_load import load_config
    from deploy.worker import run

    watch(marks)
    marks.put("imports")
    run(load_config(Path(sys.argv[1])).config, ["locate", "join"], detectors=detectors())


if __name__ == "__main__":
    main()
