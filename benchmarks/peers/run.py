"""One run of one engine: start it alone, keep time, count CPU and memory, stop it, check its alerts.

The clock starts when the engine's processes have received their first data from the broker (sockets.py) and stops at
the broker's append time of the last alert: the same for every engine, whatever it takes to start.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from benchmarks.peers.answers import Verdict, count_written, judge, read_written
from benchmarks.peers.backlog import Backlog
from benchmarks.peers.engine import Engine, Job, Say
from benchmarks.peers.processes import Processes
from deploy.local.process import GuardedProcess
from schemas.errors import TongguanError
from schemas.sources import Source
from streams.topic_admin import apply
from streams.topics import TopicSpec

BROKER_CPU: Final = 1
"""The engine has processor 0, and 1 as well where it gets two."""
FIRST_DATA_BYTES: Final = 64 * 1024
"""More than metadata and group membership come to; the first fetch of a backlog is a hundred times that."""
SAMPLE_EVERY_S: Final = 0.005
LOOK_EVERY_S: Final = 0.25
SAY_EVERY_S: Final = 15.0
START_WITHIN_S: Final = 180.0
QUIET_S: Final = 3.0
"""Once the alerts are as many as expected, how long the topic must rest: more would be wrong or repeated."""
BYTES_EVERY_S: Final = 0.025
STALLED_S: Final = 60.0
"""For so long no alert, next to no data and little CPU time: it is done, whatever is missing."""
IDLE_BYTES_PER_S: Final = 4096
IDLE_CPU: Final = 0.1
"""Cores; an engine that has read everything does nothing but poll, and a busy machine gives one that works little."""
STOP_GRACE_S: Final = 15.0
"""A clean stop lets the groups go at once, so that the next run need not wait for their sessions to end."""


class EngineFailed(TongguanError):
    """An engine ended by itself, never began, or did not come to an end. The message has the end of its log."""


@dataclass(slots=True)
class Watched:
    """What was seen of the processes while they ran."""

    began_s: float
    first_s: float = 0.0
    """Epoch seconds of the first data; 0 while there is none."""
    cpu: list[tuple[float, float]] = field(default_factory=list)
    received: list[tuple[float, int]] = field(default_factory=list)
    """When how many bytes had come from the broker, hops through topics of the engine's own included."""
    peak_rss_mb: int = 0

    def cpu_at(self, when: float) -> float:
        times, seconds = zip(*self.cpu, strict=True)
        return float(np.interp(when, times, seconds))

    def received_at(self, when: float) -> float:
        times, sizes = zip(*self.received, strict=True)
        return float(np.interp(when, times, sizes))

    def half_received_s(self, last_s: float) -> float:
        """When half of the bytes had come that had come by `last_s`."""
        times, sizes = zip(*self.received, strict=True)
        return float(np.interp(self.received_at(last_s) / 2, sizes, times))


def run(
    engine: Engine, backlog: Backlog, bootstrap: str, cores: int, folder: Path, give_up_s: float, say: Say
) -> dict[str, Any]:
    """The figures of one run as `figures` gives them. Raises EngineFailed."""
    job = make_job(backlog, bootstrap, cores, folder)
    spec = TopicSpec(
        name=job.output,
        partitions=1,
        config={"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"},
        replication=1,
    )
    apply(bootstrap, [spec])
    commands = engine.commands(job)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    guards: list[GuardedProcess] = []
    processes = Processes([], int(bootstrap.rpartition(":")[2]))
    try:
        topic = engine.output(job)
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        for number, command in enumerate(commands):
            log = folder / f"process-{number}.log"
            environment = os.environ | dict(command.env)
            guard = GuardedProcess(
                f"{engine.name} {number}", command.argv,
                log_path=log, grace_s=STOP_GRACE_S, cpus=range(cores), env=environment,
            )  # fmt: skip
            guards.append(guard)
        processes.guards = [guard.guard_pid for guard in guards]
        watched = watch(guards, processes, consumer, partitions, len(backlog.expected), give_up_s, say)
        verdict = judge(read_written(consumer, partitions, engine), backlog.expected, backlog.half)
    finally:
        for guard in guards:
            guard.stop()
        processes.kill_what_is_left()
        consumer.close()
    return figures(watched, verdict, backlog)


def make_job(backlog: Backlog, bootstrap: str, cores: int, folder: Path) -> Job:
    """A job of its own: no group, topic or folder of an earlier run."""
    name = f"{backlog.prefix}{uuid.uuid4().hex[:12]}"
    return Job(
        bootstrap=bootstrap,
        readings=backlog.topic(Source.READINGS),
        camera_events=backlog.topic(Source.CAMERA_EVENTS),
        tickets=backlog.topic(Source.TICKETS),
        output=f"{name}-out",
        group=name,
        cores=cores,
        folder=folder,
        records=backlog.records,
    )


def watch(
    guards: Sequence[GuardedProcess],
    processes: Processes,
    consumer: KafkaConsumer,
    partitions: list[TopicPartition],
    expected: int,
    give_up_s: float,
    say: Say,
) -> Watched:
    """Look on until the alerts are complete, or nothing comes any more."""
    watched = Watched(time.time())
    look_at, bytes_at, say_at = 0.0, 0.0, watched.began_s + SAY_EVERY_S
    written = 0
    told_s = watched.began_s  # when the last alert was seen
    while True:
        time.sleep(SAMPLE_EVERY_S)
        now = time.time()
        if now >= look_at:
            look_at = now + LOOK_EVERY_S
            processes.look()
            watched.peak_rss_mb = processes.peak_rss_mb()
            check_alive(guards)
            if now - watched.began_s > give_up_s:
                raise EngineFailed(
                    f"no end after {give_up_s:.0f} s, {written:,} of {expected:,} alerts\n{logs(guards)}"
                )
            if now >= say_at:
                say_at = now + SAY_EVERY_S
                spent = f"{now - watched.began_s:.0f} s, {processes.cpu_s():.0f} s of CPU"
                say(f"  {spent}, {watched.received[-1][1] / 1e6:.1f} MB fetched, {written:,} of {expected:,} alerts")
            if watched.first_s:
                written_before, written = written, count_written(consumer, partitions)
                told_s = now if written != written_before else told_s
                if written >= expected and now - told_s > QUIET_S:
                    return watched
                if now - told_s > STALLED_S and idle(watched, now):
                    return watched
        watched.cpu.append((now, processes.cpu_s()))
        if watched.first_s and now < bytes_at:
            continue
        bytes_at = now + BYTES_EVERY_S
        watched.received.append((now, processes.bytes_received()))
        if not watched.first_s:
            if watched.received[-1][1] >= FIRST_DATA_BYTES:
                watched.first_s = told_s = now
            elif now - watched.began_s > START_WITHIN_S:
                raise EngineFailed(f"no data fetched within {START_WITHIN_S:.0f} s of its start\n{logs(guards)}")


def idle(watched: Watched, now: float) -> bool:
    """Whether it has done next to nothing for as long as an end is waited for."""
    since = now - STALLED_S
    received = watched.received_at(now) - watched.received_at(since)
    cpu_s = watched.cpu_at(now) - watched.cpu_at(since)
    return received < IDLE_BYTES_PER_S * STALLED_S and cpu_s < IDLE_CPU * STALLED_S


def check_alive(guards: Sequence[GuardedProcess]) -> None:
    for guard in guards:
        status = guard.exit_status()
        if status is not None:
            raise EngineFailed(f"{guard.name} ended by itself with status {status}\n{guard.log_tail()}")


def logs(guards: Sequence[GuardedProcess]) -> str:
    return "\n".join(f"--- {guard.log_path.name}\n{guard.log_tail()}" for guard in guards)


def figures(watched: Watched, verdict: Verdict, backlog: Backlog) -> dict[str, Any]:
    """What one run comes to. A wrong answer has no speed."""
    counts = {
        "right": verdict.right,
        "alerts": verdict.alerts,
        "missing": verdict.missing,
        "extra": verdict.extra,
        "repeated": verdict.repeated,
        "taken_back": verdict.taken_back,
    }
    if not verdict.right:
        return counts
    wall_s = verdict.last_s - watched.first_s
    cpu_s = watched.cpu_at(verdict.last_s) - watched.cpu_at(watched.first_s)
    by_alerts = by_bytes = None
    if backlog.half is not None and verdict.half_s is not None and verdict.last_s > verdict.half_s:
        by_alerts = round(backlog.half.records / (verdict.last_s - verdict.half_s))
        by_bytes = round(backlog.records / 2 / (verdict.last_s - watched.half_received_s(verdict.last_s)))
    return counts | {
        "start_s": round(watched.first_s - watched.began_s, 2),
        "wall_s": round(wall_s, 3),
        "rate": round(backlog.records / wall_s),
        "rate_half_by_alerts": by_alerts,
        "rate_half_by_bytes": by_bytes,
        "cpu_us_per_record": round(cpu_s / backlog.records * 1e6, 3),
        "peak_rss_mb": watched.peak_rss_mb,
    }
