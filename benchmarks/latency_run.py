"""One run of the latency benchmark: the real worker and the generator on one broker, and what came of it.

All latencies are differences of moments on this machine's one clock: the schedule's, and the broker's append times,
which are whole milliseconds, rounded down.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from benchmarks.cityjoin_data import PARTITIONS, SIDE, SOUTH, STEP_DEG, WEST
from benchmarks.latency_answer import Answer, Expected, Told, expect
from benchmarks.latency_generator import UNANSWERED
from benchmarks.latency_load import DISORDER_MS, Ints, Load, Pool, raise_at_mm
from benchmarks.latency_trace import Tables, read
from deploy.local.kafka import LocalKafka
from deploy.local.process import GuardedProcess, free_port
from schemas.alert import Action, Alert, decode_alert
from schemas.errors import TongguanError
from schemas.sources import Source
from streams import urgent
from streams.topic_admin import admin_client
from streams.topic_admin import apply as apply_topics
from streams.topics import TopicNames, TopicsSettings, topic_specs

TAIL_S: Final = 2.0
"""Records after the measured time, so that its last windows end by data and not by the closers."""
READY_WITHIN_S: Final = 120.0
PATIENCE_S: Final = 20.0  # without any new alert, before the rest is given up
READ_MS: Final = 1_000


class RunFailed(TongguanError):
    """A process ended, or the answer was wrong; no figure is told."""


class FellBehind(TongguanError):
    """The alerts did not all come soon after the end: more was offered than can be done."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """Cores kept busy by each process during the measured time, and by all else on this machine."""

    broker: float
    worker: float
    generator: float
    others: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run does."""

    rate: int
    warm_s: float
    measured_s: float
    seed: int = 1
    roles: str = "locate,join"
    settings: str = ""  # lines to add to the worker's configuration
    trace: bool = False
    freeze_s: float = (
        0.0  # stop the worker for so long in the middle of the measured time, to see the measurement see it
    )

    @property
    def seconds(self) -> float:
        return self.warm_s + self.measured_s + TAIL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was seen of one run, its answer checked. Times in epoch ms as the broker tells them."""

    plan: Plan
    load: Load
    shards: int
    expected: Expected
    told: dict[Told, tuple[int, int]]
    """By alert: (append time, cell id)."""
    urgent_told: dict[tuple[int, int], int]
    """By (place, offset) of an urgent ticket: append time of its alert."""
    sent: Ints
    appended: Ints
    """The generator's tables, see latency_generator."""
    cpu: Cpu
    worker_rss_mb: int
    tables: Tables | None


def run_once(broker: LocalKafka, folder: Path, plan: Plan, say: Callable[[str], None]) -> Run:
    """Offer one load on topics of its own. Raises RunFailed or FellBehind."""
    folder.mkdir(parents=True)
    topics = TopicsSettings(
        prefix=f"{folder.name}.", readings_partitions=PARTITIONS, camera_events_partitions=PARTITIONS,
        tickets_partitions=PARTITIONS, replication=1,
    )  # fmt: skip
    names = TopicNames(topics.prefix)
    apply_topics(broker.bootstrap, topic_specs(topics))
    _write_config(folder, broker.bootstrap, topics, plan.settings)
    traced = folder / "trace.npz"
    work = [str(folder / "tongguan.toml"), "--roles", plan.roles, "--raise-at", str(raise_at_mm(plan.rate))]
    work += ["--trace", str(traced)] if plan.trace else []
    worker = _python("worker", "benchmarks.latency_worker", work, folder)
    generator: GuardedProcess | None = None
    try:
        _wait_for(worker, " running on ")
        offer = [
            broker.bootstrap, "--prefix", topics.prefix, "--rate", str(plan.rate), "--seconds", str(plan.seconds),
            "--seed", str(plan.seed), "--out", str(folder / "sent.npz"),
        ]  # fmt: skip
        generator = _python("generator", "benchmarks.latency_generator", offer, folder)
        load = Load(plan.rate, plan.seconds, plan.seed, int(_wait_for(generator, "\n").split()[0]))
        pids = [child_of(process) for process in (broker.guard_pid, worker.guard_pid, generator.guard_pid)]
        say(f"offering {plan.rate:,} records/s for {plan.seconds:.0f} s")
        begin_s = load.start_ms / 1000 + plan.warm_s
        _sleep_until(begin_s, worker, generator)
        before = cpu_now(pids)
        if plan.freeze_s:
            _sleep_until(begin_s + plan.measured_s / 2, worker, generator)
            _freeze(pids[1], plan.freeze_s)
        _sleep_until(begin_s + plan.measured_s, worker, generator)
        cpu = _cpu_between(before, cpu_now(pids))
        rss_mb = _rss_mb(pids[1])
        _sleep_until(None, worker, generator)
        expected = expect(load, Pool.make(load.seed, load.rate))
        say(f"{len(expected.answer):,} alerts and {len(expected.urgent):,} urgent tickets are due")
        told = _read_alerts(broker.bootstrap, names, expected, worker)
    finally:
        for process in (generator, worker):
            if process is not None:
                process.stop()
    with np.load(folder / "sent.npz") as saved:
        sent, appended = saved["sent"], saved["appended"]
    return Run(
        plan=plan, load=load, shards=topics.shards, expected=expected, told=told[0], urgent_told=told[1],
        sent=sent, appended=appended, cpu=cpu, worker_rss_mb=rss_mb, tables=read(traced) if plan.trace else None,
    )  # fmt: skip


def _python(name: str, module: str, arguments: list[str], folder: Path) -> GuardedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p) or "."}
    command = [sys.executable, "-m", module, *arguments]
    return GuardedProcess(name, command, log_path=folder / f"{name}.log", env=environment)


def _write_config(folder: Path, bootstrap: str, topics: TopicsSettings, settings: str) -> None:
    (folder / "tongguan.toml").write_text(
        f'data_dir = "{folder / "data"}"\n'
        f'[kafka]\nbootstrap = "{bootstrap}"\n'
        f"[city]\nwest = {WEST}\nsouth = {SOUTH}\neast = {WEST + SIDE * STEP_DEG:.3f}\n"
        f"north = {SOUTH + SIDE * STEP_DEG:.3f}\ncell_deg = {STEP_DEG}\n"
        f'[topics]\nreplication = 1\nprefix = "{topics.prefix}"\n'
        + "".join(
            f"[locate.{name}]\nlateness_ms = {DISORDER_MS}\n" for name in ("readings", "camera_events", "tickets")
        )
        + f"[metrics]\nport = {free_port()}\n"
        + settings
    )


def delete_topics(broker: LocalKafka, name: str) -> None:
    """What the run in the folder of this name left on the broker."""
    with admin_client(broker.bootstrap) as admin:
        admin.delete_topics([topic for topic in admin.list_topics() if topic.startswith(f"{name}.")])


# --- the alerts ----------------------------------------------------------------------------------------------------


def _read_alerts(
    bootstrap: str, names: TopicNames, expected: Expected, worker: GuardedProcess
) -> tuple[dict[Told, tuple[int, int]], dict[tuple[int, int], int]]:
    """(append time and cell by alert, append time by (place, offset) of an urgent ticket), once all have come."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, consumer_timeout_ms=READ_MS)
    every = [TopicPartition(names.alerts, p) for p in sorted(consumer.partitions_for_topic(names.alerts) or ())]
    consumer.assign(every)
    consumer.seek_to_beginning(*every)
    told: dict[Told, tuple[int, int]] = {}
    urgent_told: dict[tuple[int, int], int] = {}
    last_at = time.monotonic()
    try:
        while len(told) < len(expected.answer) or len(urgent_told) < len(expected.urgent):
            if worker.exit_status() is not None:
                raise RunFailed(f"the worker ended by itself:\n{worker.log_tail()}")
            if time.monotonic() - last_at > PATIENCE_S:
                break
            for message in consumer:
                last_at = time.monotonic()
                alert = decode_alert(message.value)
                if alert.detector == urgent.DETECTOR:
                    *_, partition, offset = alert.alert_id.rsplit("-", 2)
                    place = Source.TICKETS * PARTITIONS + int(partition)
                    urgent_told.setdefault((place, int(offset)), message.timestamp)
                elif alert.action is not Action.CLEAR:
                    told.setdefault(_key(alert), (message.timestamp, alert.cell))
    finally:
        consumer.close()
    _check(expected.answer, set(told))
    wanted = {(int(place), int(offset)) for place, offset, _ in expected.urgent}
    if urgent_told.keys() != wanted:
        raise RunFailed(f"urgent tickets: {len(wanted - urgent_told.keys())} without an alert, "
                        f"{len(urgent_told.keys() - wanted)} alerts without a ticket")  # fmt: skip
    return told, urgent_told


def _key(alert: Alert) -> Told:
    assert alert.lon is not None and alert.lat is not None
    column, row = int((alert.lon - WEST) / STEP_DEG), int((alert.lat - SOUTH) / STEP_DEG)
    m, c, t = (alert.values[name] for name in ("m", "c", "t"))
    assert m is not None and c is not None and t is not None
    return row * SIDE + column, alert.window_start_ms, m, int(c), int(t)


def _check(expected: Answer, got: Answer) -> None:
    if got == expected:
        return
    if got < expected:
        raise FellBehind(
            f"{len(expected - got)} of {len(expected)} alerts had not come {PATIENCE_S:.0f} s after the end"
        )
    raise RunFailed(f"wrong alerts: {len(got - expected)} too many, {len(expected - got)} missing")


# --- processes -----------------------------------------------------------------------------------------------------


def _wait_for(process: GuardedProcess, words: str) -> str:
    """What the process has written, once these words are in it."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.exit_status() is not None:
            break
        text = process.log_path.read_text() if process.log_path.exists() else ""
        if words in text:
            return text
        time.sleep(0.05)
    raise RunFailed(f"the {process.name} did not get ready:\n{process.log_tail()}")


def _sleep_until(epoch_s: float | None, worker: GuardedProcess, generator: GuardedProcess) -> None:
    """Until then, or (None) until the generator has done its work."""
    while epoch_s is None or time.time() < epoch_s:
        if worker.exit_status() is not None:
            raise RunFailed(f"the worker ended by itself:\n{worker.log_tail()}")
        if (status := generator.exit_status()) is not None:
            if status == UNANSWERED:
                raise FellBehind(f"the broker did not take what was offered:\n{generator.log_tail()}")
            if status != 0:
                raise RunFailed(f"the generator ended with status {status}:\n{generator.log_tail()}")
            if epoch_s is None:
                return
            raise RunFailed("the generator ended before its time")
        time.sleep(0.2 if epoch_s is None else min(0.2, max(0.0, epoch_s - time.time())))


def _freeze(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def child_of(guard: int) -> int:
    """The process that a guard watches over, its only child."""
    return int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])


def cpu_now(pids: list[int]) -> tuple[float, list[float], float]:
    """(time, CPU seconds of each process, CPU seconds of the whole machine)."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = []
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used.append((int(fields[11]) + int(fields[12])) / ticks)
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return time.monotonic(), used, (user + nice + system + irq + softirq) / ticks


def _cpu_between(before: tuple[float, list[float], float], after: tuple[float, list[float], float]) -> Cpu:
    seconds = after[0] - before[0]
    broker, worker, generator = (round((b - a) / seconds, 3) for a, b in zip(before[1], after[1], strict=True))
    every = (after[2] - before[2]) / seconds
    return Cpu(broker, worker, generator, round(max(0.0, every - broker - worker - generator), 3))


def _rss_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))
