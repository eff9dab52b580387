"""P6: ClickHouse is away, slow, refusing, full; alerts and incidents go on, memory stays bounded, history has no gap.

One after the other, while records keep coming:

- *away*: nobody listens. Ten minutes in a full run;
- *refusing*: every request is answered with "too many queries";
- *slow*: every insert takes seconds longer;
- *deaf*: inserts are carried out and the answer is lost, so that each is sent again;
- *full*: the disk has no room. Where this process may mount (root on Linux), ClickHouse's data lie on a small file
  system of their own, which is filled to the last byte: the engine itself fails in mid-insert. Elsewhere inserts are
  answered as a server with a full disk answers.

During each, everything sent must come through to the loop's end; the worker's memory is watched all the while and may
not go beyond a bound that the length of the outage has no part in. In the end the history is held against the records.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.clickhouse_front import Fault
from deploy.local.kafka import LocalKafka
from streams.tasks import end
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.chaos_worker import ChaosWorker
from tests.chaos.promises import Given, Outcome
from tests.live.support.small_city import Record

PER_S: Final = 100.0
"""Records a second, of the machine's time and of event time."""
AWAY_S: Final = 600.0
OUTAGE_S: Final = 30.0
"""Each of the other faults."""
SHORT_OUTAGE_S: Final = 4.0
WARM_UP_S: Final = 10.0
LOOK_EVERY_S: Final = 0.5
MORE_MB: Final = 160.0
"""Of memory than before the first outage: buffers of `archive.buffer_frames` messages a lane, Faust's own buffers, and
the allocator's habits. Records of ten minutes would be far more than that if they were kept."""
WITHIN_S: Final = 60.0
CATCH_UP_WITHIN_S: Final = 300.0
DISK_MB: Final = 256
NO_SPACE: Final = Fault(
    mode="refuse", code=243, status=500, message="Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)",
    only_inserts=True,
)  # fmt: skip


@dataclass(slots=True)
class _Disk:
    """Where ClickHouse's data lie. `real`: a file system of its own, small enough to be filled."""

    folder: Path
    real: bool

    def fill(self) -> None:
        """To the last byte."""
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(64 * 1024))

    def free(self) -> None:
        (self.folder / "filler").unlink()


@dataclass(slots=True)
class _Memory:
    """The worker's resident memory over time, MiB."""

    worker: ChaosWorker
    before_mb: float = 0.0
    most_mb: float = 0.0
    seen: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        while True:
            self.seen.append(self.worker.rss_mb())
            self.most_mb = max(self.most_mb, self.seen[-1])
            await asyncio.sleep(LOOK_EVERY_S)


def run(given: Given) -> Outcome:
    outcome = Outcome("P6")
    for seed in given.seed_range:
        folder = given.folder / str(seed)
        folder.mkdir()
        with (
            _disk(folder / "disk") as disk,
            LocalKafka(folder / "kafka") as broker,
            LocalClickHouse(disk.folder / "clickhouse") as store,
        ):
            outcome.figures["disk"] = "a real full one" if disk.real else "acted out: mounting is not permitted here"
            problems = asyncio.run(_trial(broker.bootstrap, store, disk, folder, seed, outcome, given))
        outcome.tried(seed, problems)
        given.progress(f"seed {seed}: {'held' if not problems else problems[0]}")
    return outcome


async def _trial(
    bootstrap: str, store: LocalClickHouse, disk: _Disk, folder: Path, seed: int, outcome: Outcome, given: Given
) -> list[str]:
    city = ChaosCity(bootstrap, store.url, f"p6_{seed}", folder, off=given.off)
    await city.set_up_async()
    away_s, outage_s = (SHORT_OUTAGE_S, SHORT_OUTAGE_S) if given.short else (AWAY_S, OUTAGE_S)

    async def acts(fault: Fault) -> None:
        await asyncio.to_thread(store.act_out, fault)

    async def fills_up() -> None:
        await asyncio.to_thread(disk.fill) if disk.real else await acts(NO_SPACE)

    async def is_freed() -> None:
        await asyncio.to_thread(disk.free) if disk.real else await acts(Fault())

    outages: list[tuple[str, float, Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]] = [
        ("away", away_s, lambda: acts(Fault(mode="down")), lambda: acts(Fault())),
        ("refusing", outage_s, lambda: acts(Fault(mode="refuse")), lambda: acts(Fault())),
        ("slow", outage_s, lambda: acts(Fault(delay_s=3.0, only_inserts=True)), lambda: acts(Fault())),
        ("deaf", outage_s, lambda: acts(Fault(mode="lose_answer", only_inserts=True)), lambda: acts(Fault())),
        ("full", outage_s, fills_up, is_freed),
    ]
    lengths_s = [WARM_UP_S, *(lasting_s for _, lasting_s, _, _ in outages)]
    count = round(sum(lengths_s) * PER_S)
    records = city.make_records(count, seed, per_s=PER_S)
    found: list[str] = []
    with city.chaos_worker() as worker:
        await worker.reads()
        memory = _Memory(worker)
        async with _beside(memory.watch()):
            part, records = _cut(records, WARM_UP_S)
            await city.send(part, lasting_s=WARM_UP_S)
            await city.all_settled(within_s=WITHIN_S)
            memory.before_mb = memory.most_mb
            for number, (name, lasting_s, begin, over) in enumerate(outages):
                given.progress(f"seed {seed}: ClickHouse is {name} for {lasting_s:.0f} s")
                part, records = (records, []) if number == len(outages) - 1 else _cut(records, lasting_s)
                await begin()
                await city.send(part, lasting_s=lasting_s)
                await city.all_settled(archived=False, within_s=WITHIN_S)
                await over()
                began = asyncio.get_running_loop().time()
                await city.all_settled(within_s=CATCH_UP_WITHIN_S)
                outcome.figures[f"{name}_caught_up_s"] = round(asyncio.get_running_loop().time() - began, 1)
        outcome.figures["rss_before_mb"] = round(memory.before_mb)
        outcome.figures["rss_most_mb"] = round(memory.most_mb)
        if memory.most_mb > memory.before_mb + MORE_MB:
            found.append(f"the worker's memory went from {memory.before_mb:.0f} to {memory.most_mb:.0f} MiB")
        if not worker.running:
            found.append(f"the worker ended by itself: {worker.log[-2_000:]}")
        return found + await city.problems()


def _cut(records: list[Record], lasting_s: float) -> tuple[list[Record], list[Record]]:
    behind = round(lasting_s * PER_S)
    return records[:behind], records[behind:]


@contextlib.asynccontextmanager
async def _beside(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        await end(task)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[_Disk]:
    """A file system of DISK_MB where that is permitted; else a plain folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    real = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield _Disk(folder, real)
    finally:
        if real:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
