"""What an engine is to the comparison: how it is got, how it is run, and how its alerts are read.

Adding an engine is one file that subclasses `Engine` and one line in engines.py; README.md beside this says more. The
runner makes topics, pins processes, keeps time, counts CPU and memory, and checks the answer, the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec

from deploy.local.process import user_cache_dir

Say = Callable[[str], None]
"""Hears a line about what goes on, before it starts."""


class Pace(StrEnum):
    """Which backlog an engine gets. Slow ones would take hours over the long one."""

    FAST = "fast"
    SLOW = "slow"


class PeerAlert(NamedTuple):
    """One alert: the cell is row * 120 + column, see benchmarks/cityjoin_data.py. Equal to a row of its Answer."""

    cell: int
    window_start_ms: int
    m: float
    c: int
    t: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of one engine: where the records are and where its alerts go.

    The three raw topics have 4 partitions each, lz4, LogAppendTime, and are full before the engine starts. Record i of
    a partition is JSON as cityjoin_data.json_records writes it; each partition ends with a closer, 180 s of event
    time after the last record. A partition's records are out of order by up to 5 s (DISORDER_MS).
    """

    bootstrap: str
    readings: str
    camera_events: str
    tickets: str
    output: str
    """Topic of this run alone, one partition, LogAppendTime; for alerts as JSON, see `Engine.read_alert`."""
    group: str
    """Consumer group, application id, transactional prefix or whatever it is called: new for each run."""
    cores: int
    """1 or 2: the processes are pinned to as many. Parallelism should follow it."""
    folder: Path
    """Scratch of this run alone: state, configuration, logs. It exists, is empty, and goes away after the run."""
    records: int
    """In all three topics, closers included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One process of an engine. `env` comes on top of our own environment."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Engine(ABC):
    """One row of the comparison. Instances hold no state of a run: everything about a run is in its Job."""

    name: ClassVar[str]
    """For --engines and the result: "flink-datastream"."""
    title: ClassVar[str]
    """For people: "Flink DataStream"."""
    pace: ClassVar[Pace]
    cores: ClassVar[tuple[int, ...]] = (1, 2)
    """The numbers of cores it can make use of."""
    ours: ClassVar[bool] = False
    recovers: ClassVar[bool] = False
    """Whether it goes on where it was, with the right alerts, after a kill -9 in mid-run."""
    recovery: ClassVar[str]
    """What a kill -9 in mid-run costs as configured: "none: starts over", "checkpoint every 10 s"."""
    notes: ClassVar[Sequence[str]]
    """Tuning that was done and what it took to be right, one sentence each, for README and RESULTS."""

    @property
    @abstractmethod
    def versions(self) -> str:
        """Engine, connector and runtime: "Flink 2.2.1, flink-connector-kafka 5.0.0-2.2, Java 25"."""

    @abstractmethod
    def prepare(self, say: Say) -> None:
        """Get and build what is needed, into `cache_dir()`, from pinned lists with sums. Quick when it is there.

        The only step that may use the network. Raises TongguanError (LocalStackError fits) that says what to do.
        """

    @abstractmethod
    def commands(self, job: Job) -> Sequence[Command]:
        """The processes to run, all at once; usually one. Called when the topics are full and `job.output` exists.

        They are started together, pinned to the same `job.cores` cores, and stopped (SIGTERM, then SIGKILL with all
        their children) once the alerts are complete: no process need end by itself, and none may before that.
        """

    def output(self, job: Job) -> str:
        """The topic to read alerts from. Only ours has its own."""
        return job.output

    def read_alert(self, value: bytes) -> tuple[PeerAlert, bool] | None:
        """An alert and whether it was taken back; None for a record that is no alert.

        Every peer writes `{"cell":8642,"window_start_ms":1750000020000,"m":153.0,"c":1,"t":0}`. An engine that
        corrects itself writes the wrong alert once more with `"taken_back":true`; the last word on an alert counts,
        and how many were taken back is told in the result.
        """
        alert = _DECODER.decode(value)
        return PeerAlert(alert.cell, alert.window_start_ms, alert.m, alert.c, alert.t), alert.taken_back


def cache_dir() -> Path:
    """Where jars, compiled classes and virtual environments are kept between runs."""
    return user_cache_dir() / "peers"


class _AlertRecord(msgspec.Struct, forbid_unknown_fields=True):
    cell: int
    window_start_ms: int
    m: float
    c: int
    t: int
    taken_back: bool = False


_DECODER = msgspec.json.Decoder(_AlertRecord)
