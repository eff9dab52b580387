"""Engines that run on Python: Quix Streams, Bytewax, Pathway and stock Faust, each in an environment of its own."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from benchmarks.peers import venvs
from benchmarks.peers.engine import Command, Engine, Job, Pace, PeerAlert, Say
from deploy.local.process import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]
WATERMARKS = (
    "Watermarks are sent along in the stream, one per raw partition, and the least counts: by its own clock, the "
    "highest time seen, it would drop what a skewed backlog brings late."
)


class PythonEngine(Engine):
    """What they have in common: a job in jobs/ and a list of packages in pins/."""

    pace = Pace.SLOW
    pins: ClassVar[str]
    """Also the first part of the job's name."""
    distribution: ClassVar[str]

    @property
    def versions(self) -> str:
        return f"{self.distribution} {venvs.pinned(self.pins, self.distribution)}, Python {platform.python_version()}"

    def prepare(self, say: Say) -> None:
        venvs.python_of(self.pins, say)

    def commands(self, job: Job) -> Sequence[Command]:
        return [self._command(job, "state")]

    def _command(self, job: Job, folder: str, *more: str, env: Mapping[str, str] | None = None) -> Command:
        (job.folder / folder).mkdir()
        argv = [
            str(venvs.python_of(self.pins)), "-m", f"benchmarks.peers.jobs.{self.pins}_job",
            "--bootstrap", job.bootstrap, "--topics", job.readings, job.camera_events, job.tickets,
            "--output", job.output, "--group", job.group, "--cores", str(job.cores),
            "--folder", str(job.folder / folder), *more,
        ]  # fmt: skip
        # the jobs are found by their place in the checkout; everything else comes from their environment
        return Command(argv=argv, env={"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **(env or {})})

    def _one_a_core(self, job: Job) -> list[Command]:
        return [self._command(job, f"state-{number}") for number in range(job.cores)]


class Quix(PythonEngine):
    """Its own windows on RocksDB, with changelogs."""

    name = "quix"
    title = "Quix Streams"
    pins = "quix"
    distribution = "quixstreams"
    recovers = True
    recovery = "changelog topics and transactions, committed every 5 s; takes over after the session's 45 s"
    notes = (
        "What counts is picked in one step and repartitioned by cell; poll timeout 0.02 s instead of 1 s, fetches of 4 "
        "MiB, lz4; one process per core.",
        WATERMARKS,
        "What a partition of the cells has heard is state too: kept in memory, the second process never heard it when "
        "the group was balanced anew, and 95 of 224 alerts stayed out.",
        "Exactly once (it costs little here): at least once would count what is replayed after a crash twice.",
    )

    def commands(self, job: Job) -> Sequence[Command]:
        return self._one_a_core(job)


class Bytewax(PythonEngine):
    """Whole batches through one stateful step."""

    name = "bytewax"
    title = "Bytewax"
    pace = Pace.FAST
    pins = "bytewax"
    distribution = "bytewax"
    recovers = True
    recovery = "epochs of 10 s in SQLite; alerts of the last epoch come twice"
    notes = (
        "Batches of up to 10,000 records, decoded at once by msgspec, added up per cell before they move on, and kept "
        "by one `stateful_batch` (its own windows take records one by one); one process per core.",
        "Every batch brings the watermark of its raw partition, which is exact for any skew.",
    )

    def commands(self, job: Job) -> Sequence[Command]:
        if job.cores == 1:
            return [self._command(job, "state")]
        addresses = ";".join(f"{LOOPBACK}:{free_port()}" for _ in range(job.cores))
        return [
            self._command(job, f"state-{number}", "--addresses", addresses, "--process", str(number))
            for number in range(job.cores)
        ]


class Pathway(PythonEngine):
    """Its results are kept up to date: what was told too early is taken back."""

    name = "pathway"
    title = "Pathway"
    pins = "pathway"
    distribution = "pathway"
    recovery = "none: starts over"
    notes = (
        "Native expressions only, no Python on the way of a record; as many threads as cores, commits every 1.5 s.",
        "It tells an alert as soon as the rule holds, takes it back when the window changes and tells it anew: less "
        "than was asked (alerts at the window's end, once), and the only engine excused from it. What stands at the "
        "end counts.",
        "Its temporal behaviours wait and cut off by the highest time in the whole table: with them the skew of the "
        "backlog costs alerts.",
    )

    def commands(self, job: Job) -> Sequence[Command]:
        return [self._command(job, "state", env={"PATHWAY_THREADS": str(job.cores)})]

    def read_alert(self, value: bytes) -> tuple[PeerAlert, bool] | None:
        change = _CHANGES.decode(value)
        return PeerAlert(change.cell, change.window_start_ms, change.m, change.c, change.t), change.diff < 0


class StockFaust(PythonEngine):
    """Agents on single events, as published."""

    name = "faust"
    title = "Faust, stock"
    pins = "faust"
    distribution = "faust-streaming"
    recovery = "none: open windows are lost"
    notes = (
        "uvloop, orjson, 5,000 records a poll, fetches of 4 MiB, a batch of 5,000 events goes on as one record per "
        "partition of the cells; windows in memory, no tables, whose changelogs would cost a record sent per change.",
        WATERMARKS,
        "Of two processes none reads before both have their share of the partitions: windows do not move along.",
    )

    def commands(self, job: Job) -> Sequence[Command]:
        return self._one_a_core(job)


class _Change(msgspec.Struct):
    """Pathway's record: an alert (diff 1) or its taking back (diff -1)."""

    cell: int
    window_start_ms: int
    m: float
    c: int
    t: int
    diff: int


_CHANGES = msgspec.json.Decoder(_Change)
