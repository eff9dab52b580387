"""CityJoin: raw records to alerts, the whole path through the real worker, on one core.

Question: how many raw records a second does one core of this machine turn into exact composite alerts?
Data:     see cityjoin_data.py; the backlog is in Kafka before the worker starts.
Path:     raw topics -> locate -> observations -> join -> alerts, snapshots on, worker pinned to one core and the broker
          to another. The clock runs from the first raw batch that the worker fetches to the broker's append time of
          the last alert; start-up (imports, compiled kernels, joining the groups) is not in it.
Check:    the set of (cell, window, m, c, t) equals a plain batch computation; else no speed is printed, status 1.

    python -m benchmarks.cityjoin --records 2000000 --json
    python -m benchmarks.cityjoin --records 8000000 --seed 7 --profile /tmp/worker.prof

Reading it: `rate` is records / wall_s of the whole run; `rate_second_half` leaves out the first half of the backlog.
`cpu_us_per_record` is the worker's own CPU time. The last line with --json is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from benchmarks.cityjoin_data import (
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
from streams.topics import TopicNames, TopicsSettings, topic_specs
from streams.topics import apply as apply_topics

CPU_EVERY_S = 0.01
SCRAPE_EVERY_S = 0.25  # a scrape is work for the worker, and counts as its own
GIVE_UP_S = 900.0
PATIENCE_S = 20.0  # for the last alerts, once all records have been read
console = Console(stderr=True)


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--worker-cpu", type=int, default=0)
    parser.add_argument("--broker-cpu", type=int, default=1)
    parser.add_argument("--profile", type=Path, help="profile the worker (slows it down) and write it here")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cityjoin-") as folder:
        result = run(given, Path(folder))
    if given.json:
        print(json.dumps(result))
    else:
        console.print(result)
    return 0 if result["alerts_ok"] else 1


def run(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """One run on topics of its own; see the module."""
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
        samples, peak_rss_mb = measure(given, folder, broker.bootstrap, topics, total, len(expected))
        got, last_alert_s = read_alerts(broker.bootstrap, names.alerts, topics.alerts_partitions)
    correct = got == expected
    if not correct:
        console.log(f"[red]wrong alerts: {len(got - expected)} too many, {len(expected - got)} missing[/red]")
        return {"records": total, "alerts": len(got), "alerts_expected": len(expected), "alerts_ok": False}
    first_s = samples.first_s
    half_s = samples.time_of(total / 2)
    wall_s = last_alert_s - first_s
    cpu_s = samples.cpu_at(last_alert_s) - samples.cpu_at(first_s)
    return {
        "records": total,
        "wall_s": round(wall_s, 3),
        "rate": round(total / wall_s),
        "rate_second_half": round(total / 2 / (last_alert_s - half_s)),
        "cpu_us_per_record": round(cpu_s / total * 1e6, 3),
        "peak_rss_mb": peak_rss_mb,
        "alerts": len(got),
        "alerts_ok": True,
        "seed": given.seed,
    }


def measure(
    given: argparse.Namespace, folder: Path, bootstrap: str, topics: TopicsSettings, total: int, alerts: int
) -> tuple[Samples, int]:
    """Run the worker until it has read everything and the alerts topic rests; returns what was seen."""
    port = free_port()
    config = folder / "tongguan.toml"
    config.write_text(
        f'data_dir = "{folder / "data"}"\n'
        f'[kafka]\nbootstrap = "{bootstrap}"\n'
        f"[city]\nwest = {WEST}\nsouth = {SOUTH}\neast = {WEST + SIDE * STEP_DEG:.3f}\n"
        f"north = {SOUTH + SIDE * STEP_DEG:.3f}\ncell_deg = {STEP_DEG}\n"
        f"[topics]\nreplication = 1\nshards = {topics.shards}\n"
        f"[locate.tickets]\nlateness_ms = 5000\n"
        f"[metrics]\nport = {port}\n"
    )
    command = [sys.executable, "-m", "benchmarks.cityjoin_worker", str(config)]
    if given.profile:
        command += ["--profile", str(given.profile)]
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
                if seen.records >= total and seen.alerts >= alerts:
                    break
                if seen.records >= total and time.time() - samples.time_of(total) > PATIENCE_S:
                    console.log("[red]all records read, but alerts are missing[/red]")
                    break
        time.sleep(1.0)
        peak = peak_rss_mb(pid)
    finally:
        worker.stop()
        if os.environ.get("CITYJOIN_LOG"):
            print(log_path.read_text(), file=sys.stderr)
    return samples, peak


class Scrape(NamedTuple):
    """What is read of the worker's metrics."""

    records: float  # raw records read
    alerts: float  # raised or updated
    reading_since_s: float  # 0 until the first raw batch


def scrape(port: int) -> Scrape | None:
    """The worker's metrics; None while it starts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    records = alerts = since_s = 0.0
    for line in text.splitlines():
        if line.startswith("tongguan_records_total{"):
            records += float(line.rsplit(" ", 1)[1])
        elif line.startswith("tongguan_alerts_total{") and 'action="clear"' not in line:
            alerts += float(line.rsplit(" ", 1)[1])
        elif line.startswith("tongguan_reading_since_seconds "):
            since_s = float(line.rsplit(" ", 1)[1])
    return Scrape(records, alerts, since_s)


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
        alert = decode_alert(message.value)
        if alert.action is Action.CLEAR:
            continue
        last_ms = max(last_ms, message.timestamp)
        assert alert.lon is not None and alert.lat is not None
        column = int((alert.lon - WEST) / STEP_DEG)
        row = int((alert.lat - SOUTH) / STEP_DEG)
        values = alert.values
        m, c, t = values["m"], values["c"], values["t"]
        assert m is not None and c is not None and t is not None
        got.add((row * SIDE + column, alert.window_start_ms, m, int(c), int(t)))
    consumer.close()
    return got, last_ms / 1000


if __name__ == "__main__":
    raise SystemExit(main())
