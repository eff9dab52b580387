"""One run of the real worker over CityJoin's backlog: topics filled, worker measured from outside, alerts read back.

What the benchmarks on this job (cityjoin, costs, archive) share. The worker is pinned to one core, the broker to
another; the clock runs from the first raw batch that the worker fetches to the broker's append time of the last alert.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from benchmarks.cityjoin_data import (
    DISORDER_MS,
    PARTITIONS,
    SIDE,
    SOUTH,
    STEP_DEG,
    WEST,
    Answer,
    batch_answer,
    json_records,
    make_records,
)
from benchmarks.filling import fill
from deploy.local.kafka import LocalKafka
from deploy.local.process import GuardedProcess, free_port
from schemas.alert import Action, decode_alert
from streams.topic_admin import apply as apply_topics
from streams.topics import TopicNames, TopicsSettings, topic_specs

CPU_EVERY_S: Final = 0.01
SCRAPE_EVERY_S: Final = 0.25  # a scrape is work for the worker, and counts as its own
GIVE_UP_S: Final = 900.0
PATIENCE_S: Final = 20.0  # for the last alerts, once all records have been read
console = Console(stderr=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a run is told."""

    records: int = 2_000_000
    seed: int = 1
    shards: int = 4
    worker_cpu: int = 0
    broker_cpu: int = 1
    roles: str = "locate,join"
    worker_options: tuple[str, ...] = ()  # of benchmarks.cityjoin_worker
    config: str = ""  # more of the worker's configuration, TOML


@dataclass(slots=True)
class Samples:
    """The worker from outside: (time, CPU seconds so far) and (time, records read so far)."""

    cpu: list[tuple[float, float]] = field(default_factory=list)
    read: list[tuple[float, float]] = field(default_factory=list)
    first_s: float = 0.0  # when it took in its first raw batch, epoch seconds, by its own word

    def cpu_at(self, when: float) -> float:
        return min(self.cpu, key=lambda row: abs(row[0] - when))[1]

    def time_of(self, records: float) -> float:
        """When so many records had been read, between two scrapes by straight line."""
        times, counts = zip(*[(self.first_s, 0.0), *(row for row in self.read if row[0] > self.first_s)], strict=True)
        return float(np.interp(records, counts, times))


@dataclass(slots=True)
class Observed:
    """One run, seen from outside. Times are epoch seconds."""

    given: Given
    total: int  # raw records, closers included
    expected: Answer
    got: Answer
    samples: Samples
    last_alert_s: float
    peak_rss_mb: int
    filled_bytes: int

    @property
    def correct(self) -> bool:
        return self.got == self.expected

    @property
    def wall_s(self) -> float:
        return self.last_alert_s - self.samples.first_s

    @property
    def cpu_s(self) -> float:
        return self.samples.cpu_at(self.last_alert_s) - self.samples.cpu_at(self.samples.first_s)

    @property
    def half_s(self) -> float:
        """When half of the backlog had been read."""
        return self.samples.time_of(self.total / 2)


def observe(given: Given, folder: Path, *, finished: Callable[[Scrape], bool] | None = None) -> Observed:
    """Fill topics of a broker of its own, run the worker over them, read what it told. `finished` may ask for more
    than all records read and all alerts told before the worker is stopped."""
    topics = TopicsSettings(
        readings_partitions=PARTITIONS,
        camera_events_partitions=PARTITIONS,
        tickets_partitions=PARTITIONS,
        shards=given.shards,
        replication=1,
    )
    names = TopicNames(topics.prefix)
    console.log(f"computing the answer of {given.records:,} records")
    records = make_records(given.records, given.seed)
    expected = batch_answer(records)
    with LocalKafka(folder / "kafka", cpus=[given.broker_cpu], heap="2g") as broker:
        apply_topics(broker.bootstrap, topic_specs(topics))
        began = time.monotonic()
        lines = ((names.raw(source), partition, value) for source, partition, value in json_records(records))
        size = asyncio.run(fill(broker.bootstrap, lines))
        total = given.records + 3 * PARTITIONS
        console.log(f"filled {total:,} records, {size / total:.0f} bytes each, in {time.monotonic() - began:.0f} s")
        samples, peak_rss_mb = measure(given, folder, broker.bootstrap, topics, total, len(expected), finished)
        got, last_alert_s = read_alerts(broker.bootstrap, names.alerts, topics.alerts_partitions)
    if got != expected:
        console.log(f"[red]wrong alerts: {len(got - expected)} too many, {len(expected - got)} missing[/red]")
    return Observed(given, total, expected, got, samples, last_alert_s, peak_rss_mb, size)


def measure(
    given: Given,
    folder: Path,
    bootstrap: str,
    topics: TopicsSettings,
    total: int,
    alerts: int,
    finished: Callable[[Scrape], bool] | None = None,
) -> tuple[Samples, int]:
    """Run the worker until it has read everything and the alerts topic rests; returns what was seen."""
    port = free_port()
    config = folder / "tongguan.toml"
    config.write_text(worker_settings(folder / "data", bootstrap, topics, port) + given.config)
    command = [
        sys.executable, "-m", "benchmarks.cityjoin_worker", str(config), "--roles", given.roles, *given.worker_options
    ]  # fmt: skip
    log_path = folder / "worker.log"
    samples = Samples()
    worker = GuardedProcess(
        "worker", command, log_path=log_path, cpus=[given.worker_cpu],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p) or "."},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + GIVE_UP_S
        pid, scrape_at = 0, 0.0
        while True:
            if worker.exit_status() is not None:
                raise SystemExit(f"the worker ended by itself:\n{worker.log_tail()}")
            if time.monotonic() > deadline:
                raise SystemExit(f"no end after {GIVE_UP_S:.0f} s; the worker's log:\n{worker.log_tail()}")
            time.sleep(CPU_EVERY_S)
            pid = pid or worker_pid(worker.guard_pid)
            if pid:
                samples.cpu.append((time.time(), cpu_seconds(pid)))
            if time.monotonic() < scrape_at:
                continue
            scrape_at = time.monotonic() + SCRAPE_EVERY_S
            seen = scrape(port)
            if seen is not None and seen.reading_since_s:
                samples.first_s = seen.reading_since_s
                samples.read.append((time.time(), seen.records))
                # every alert is a raise or an update; "clear" records come on top
                told = seen.records >= total and seen.alerts >= alerts
                if told and (finished is None or finished(seen)):
                    break
                if seen.records >= total and not told and time.time() - samples.time_of(total) > PATIENCE_S:
                    console.log("[red]all records read, but alerts are missing[/red]")
                    break
        time.sleep(1.0)
        peak = peak_rss_mb(pid)
    finally:
        worker.stop()
        if os.environ.get("CITYJOIN_LOG"):
            print(log_path.read_text(), file=sys.stderr)
    return samples, peak


def worker_settings(data_dir: Path, bootstrap: str, topics: TopicsSettings, metrics_port: int) -> str:
    """The worker's configuration file."""
    return (
        f'data_dir = "{data_dir}"\n'
        f'[kafka]\nbootstrap = "{bootstrap}"\n'
        f"[city]\nwest = {WEST}\nsouth = {SOUTH}\neast = {WEST + SIDE * STEP_DEG:.3f}\n"
        f"north = {SOUTH + SIDE * STEP_DEG:.3f}\ncell_deg = {STEP_DEG}\n"
        f'[topics]\nprefix = "{topics.prefix}"\nreplication = 1\nshards = {topics.shards}\n'
        f"[locate.tickets]\nlateness_ms = {DISORDER_MS}\n"
        f"[metrics]\nport = {metrics_port}\n"
    )


class Scrape(NamedTuple):
    """What is read of the worker's metrics."""

    records: float  # raw records read
    alerts: float  # raised or updated
    reading_since_s: float  # 0 until the first raw batch
    archived: float = 0.0  # rows acknowledged by ClickHouse
    at_s: float = 0.0  # when it was read, epoch seconds


def scrape(port: int) -> Scrape | None:
    """The worker's metrics; None while it starts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    records = alerts = since_s = archived = 0.0
    for line in text.splitlines():
        if line.startswith("tongguan_records_total{"):
            records += float(line.rsplit(" ", 1)[1])
        elif line.startswith("tongguan_alerts_total{") and 'action="clear"' not in line:
            alerts += float(line.rsplit(" ", 1)[1])
        elif line.startswith("tongguan_reading_since_seconds "):
            since_s = float(line.rsplit(" ", 1)[1])
        elif line.startswith('tongguan_rows_total{step="archived"}'):
            archived = float(line.rsplit(" ", 1)[1])
    return Scrape(records, alerts, since_s, archived, time.time())


def worker_pid(guard: int) -> int:
    """The worker is the guard's only child."""
    children = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    return int(children[0]) if children else 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def read_alerts(bootstrap: str, topic: str, partitions: int) -> tuple[Answer, float]:
    """What was told, and the broker's time (epoch seconds) of the last raise or update."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, consumer_timeout_ms=2000)
    every = [TopicPartition(topic, partition) for partition in range(partitions)]
    consumer.assign(every)
    consumer.seek_to_beginning(*every)
    got: Answer = set()
    last_ms = 0
    for message in consumer:
        row = answer_row(message.value)
        if row is not None:
            last_ms = max(last_ms, message.timestamp)
            got.add(row)
    consumer.close()
    return got, last_ms / 1000


def answer_row(value: bytes) -> tuple[int, int, float, int, int] | None:
    """What an alert record says, as a row of the answer; None for one that only clears."""
    alert = decode_alert(value)
    if alert.action is Action.CLEAR:
        return None
    assert alert.lon is not None and alert.lat is not None
    column = int((alert.lon - WEST) / STEP_DEG)
    row = int((alert.lat - SOUTH) / STEP_DEG)
    m, c, t = alert.values["m"], alert.values["c"], alert.values["t"]
    assert m is not None and c is not None and t is not None
    return row * SIDE + column, alert.window_start_ms, m, int(c), int(t)
