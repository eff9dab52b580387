"""Kill -9 of a worker that holds a million cells: how long until the next one tells something new?

Question: what does a restart cost, step by step, and is the first new alert there within 10 seconds, beside the session
          timeout?
Data:     restart_data.py: cells with eight features each in windows of an hour, records that go on all the while.
How:      the real worker (locate and join, four shards) on a local broker. Once a snapshot of everything is stored it
          is killed with -9. When the session timeout is over (until then the broker keeps the shards for the dead) the
          next worker is started. The clock runs from there to the broker's append time of the first alert that was not
          told before. All alerts of both workers must be those that a plain count of the records gives.

    python -m benchmarks.restart --json --save
    python -m benchmarks.restart --cells 100000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from benchmarks import report
from benchmarks.cityjoin_run import cpu_seconds, peak_rss_mb, scrape, worker_pid
from benchmarks.filling import fill
from benchmarks.restart_data import MINUTE_MS, PARTITIONS, SOUTH, STEP_DEG, WEST, Answer, Story
from benchmarks.restart_worker import COUNT, METRICS
from deploy.local.kafka import LocalKafka
from deploy.local.process import GuardedProcess, free_port
from schemas.alert import Action, decode_alert
from schemas.sources import Source
from streams.topic_admin import apply as apply_topics
from streams.topics import TopicNames, TopicsSettings, topic_specs

Result = dict[str, Any]

SHARDS: Final = 4
SESSION_S: Final = 10.0
BAR_S: Final = 10.0
PACE: Final = 20.0  # event time goes so much faster than the clock: a minute ends every three seconds
EVERY_S: Final = 0.2
BUSY: Final = 900  # records in each stretch of EVERY_S, and probes among them
FRESH: Final = 20
BEFORE_S, AFTER_S = 8.0, 15.0  # of records before the kill, and after the first new alert
GIVE_UP_S: Final = 240.0
console = Console(stderr=True)


@dataclass
class Seen:
    """What is read back: of each alert record the broker's time, and what it says."""

    times: list[tuple[float, tuple[str, int]]] = field(default_factory=list)  # epoch seconds; id and revision
    got: Answer = field(default_factory=set)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep-log", type=Path, help="copy the workers' logs here")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tongguan-restart-") as folder:
        try:
            result = asyncio.run(_Run(Path(folder), given.cells, given.seed).measure())
        finally:
            if given.keep_log is not None:
                for log in Path(folder).glob("worker*.*"):
                    given.keep_log.mkdir(parents=True, exist_ok=True)
                    (given.keep_log / log.name).write_bytes(log.read_bytes())
    console.print(section(result), markup=False, highlight=False)
    if given.save and result["alerts_ok"]:
        console.log(f"saved {report.save('restart', result)}")
    if given.json:
        print(json.dumps(result))
    return 0 if result["alerts_ok"] else 1


class _Run:
    def __init__(self, folder: Path, cells: int, seed: int) -> None:
        self._folder = folder
        self._story = Story(cells, seed)
        self._topics = TopicsSettings(
            readings_partitions=PARTITIONS, camera_events_partitions=1, tickets_partitions=1, shards=SHARDS,
            replication=1,
        )  # fmt: skip
        self._names = TopicNames(self._topics.prefix)
        self._raw = self._names.raw(Source.READINGS)
        self._event_ms = self._story.live_ms
        self._lives = 0

    async def measure(self) -> Result:
        story = self._story
        with LocalKafka(self._folder / "kafka", heap="1g") as broker:
            await asyncio.to_thread(apply_topics, broker.bootstrap, topic_specs(self._topics))
            self._bootstrap = broker.bootstrap
            began = time.monotonic()
            await fill(broker.bootstrap, ((self._raw, partition, value) for partition, value in story.history()))
            console.log(f"filled {story.records:,} records in {time.monotonic() - began:.0f} s")
            first = _Life(self, "worker1")
            feeding: asyncio.Task[None] | None = None
            try:
                await first.until(lambda: first.read() >= story.records, "all of history is read")
                self._stop = asyncio.Event()
                feeding = asyncio.create_task(self._feed())
                await asyncio.sleep(BEFORE_S)
                since = time.time()
                await first.until(lambda: first.snapshots_since(since) >= SHARDS, "every shard has a snapshot")
                held = first.total_snapshot_bytes()
                memory = {"before_mb": first.rss_mb(), "before_peak_mb": first.peak_mb()}
                os.kill(first.pid, signal.SIGKILL)
                killed_s = time.time()
                console.log(f"killed; its snapshots were {held / 2**20:.0f} MiB in all")
                await asyncio.sleep(SESSION_S + 0.5)
                second = _Life(self, "worker2")
                try:
                    seen = await self._first_new(second, killed_s)
                    cpu_s = cpu_seconds(second.pid)
                    await asyncio.sleep(AFTER_S)
                    self._stop.set()
                    await feeding
                    await self._settled(second)
                    memory |= {"after_mb": second.rss_mb(), "after_peak_mb": second.peak_mb()}
                finally:
                    second.end()
            finally:
                if feeding is not None:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)
                first.end()
            every = await asyncio.to_thread(self._alerts)
        return self._result(second, seen, every, memory, held, cpu_s)

    # --- records that go on ------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """So many records a second, whatever the worker does; at the end those that close the windows."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks=1)
        await producer.start()
        try:
            due = time.monotonic()
            while not self._stop.is_set():
                until_ms = self._event_ms + int(EVERY_S * PACE * 1000)
                for partition, value in self._story.live(self._event_ms, until_ms, BUSY, FRESH):
                    await producer.send(self._raw, value, partition=partition)
                self._event_ms = until_ms
                due += EVERY_S
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            for partition, value in self._story.closers(self._event_ms + 3 * MINUTE_MS):
                await producer.send(self._raw, value, partition=partition)
            await producer.flush()
        finally:
            await producer.stop()

    async def _first_new(self, life: _Life, killed_s: float) -> tuple[float, float]:
        """When the first alert was appended that nobody told before, and when that one's worker was started."""
        while True:
            life.check()
            seen = await asyncio.to_thread(self._alerts)
            before = {what for at_s, what in seen.times if at_s < killed_s + 1.0}
            new = [at_s for at_s, what in seen.times if what not in before]
            if new:
                return life.started_s, min(new)
            await asyncio.sleep(0.3)

    async def _settled(self, life: _Life) -> None:
        give_up = time.monotonic() + GIVE_UP_S / 4
        while time.monotonic() < give_up:
            life.check()
            if (await asyncio.to_thread(self._alerts)).got >= self._story.expected:
                return
            await asyncio.sleep(0.5)

    def _alerts(self) -> Seen:
        consumer = KafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        every = [TopicPartition(self._names.alerts, p) for p in range(self._topics.alerts_partitions)]
        seen = Seen()
        try:
            consumer.assign(every)
            consumer.seek_to_beginning(*every)
            ends = consumer.end_offsets(every)
            while any(consumer.position(one) < ends[one] for one in every):
                for messages in consumer.poll(timeout_ms=500).values():
                    for message in messages:
                        self._take(seen, message.timestamp / 1000, message.value)
        finally:
            consumer.close()
        return seen

    def _take(self, seen: Seen, at_s: float, value: bytes) -> None:
        alert = decode_alert(value)
        seen.times.append((at_s, (alert.alert_id, alert.revision)))
        if alert.action is Action.RAISE and alert.detector.startswith(COUNT):
            assert alert.lon is not None and alert.lat is not None
            cell = int((alert.lat - SOUTH) / STEP_DEG) * self._story.side + int((alert.lon - WEST) / STEP_DEG)
            seen.got.add((METRICS.index(alert.detector.removeprefix(f"{COUNT}-")), cell, alert.window_end_ms))
        elif alert.action is not Action.UPDATE:
            seen.got.add((-1, alert.cell, alert.window_end_ms))  # nothing else may be told: it will not fit the answer

    # --- the worker's configuration ----------------------------------------------------------------------------------

    def settings(self, name: str, port: int) -> Path:
        side = self._story.side
        path = self._folder / f"{name}.toml"
        path.write_text(
            f'data_dir = "{self._folder / "data"}"\n'
            f'[kafka]\nbootstrap = "{self._bootstrap}"\nsession_timeout_s = {SESSION_S}\n'
            f"[city]\nwest = {WEST}\nsouth = {SOUTH}\neast = {WEST + side * STEP_DEG:.3f}\n"
            f"north = {SOUTH + side * STEP_DEG:.3f}\ncell_deg = {STEP_DEG}\n"
            f'[topics]\nprefix = "{self._topics.prefix}"\nreplication = 1\nshards = {SHARDS}\n'
            f"readings_partitions = {PARTITIONS}\ncamera_events_partitions = 1\ntickets_partitions = 1\n"
            f"[metrics]\nport = {port}\n"
        )
        return path

    @property
    def folder(self) -> Path:
        return self._folder

    # --- what is told ------------------------------------------------------------------------------------------------

    def _result(
        self,
        life: _Life,
        seen: tuple[float, float],
        every: Seen,
        memory: dict[str, int],
        held: int,
        cpu_s: float,
    ) -> Result:
        started_s, alert_s = seen
        marks = life.marks()
        expected = self._story.expected
        if every.got != expected:
            console.log(f"[red]{len(every.got - expected)} alerts too many, {len(expected - every.got)} missing[/red]")
        steps = []
        last_s = started_s
        for words, what, pick in (
            ("interpreter", "python", max),
            ("imports", "imports", max),
            ("configuration, clients, kernels", "kernels", max),
            ("group join, first frame delivered (first shard)", "first frame", min),
            ("state fetched and decoded (last shard)", "restored", max),
        ):
            at_s = pick(mark["at_s"] for mark in marks if mark["what"] == what)
            steps.append((words, round(at_s - last_s, 2)))
            last_s = at_s
        steps.append(("frames read again, first new alert", round(alert_s - last_s, 2)))
        return {
            "cells": self._story.cells,
            "restored_cells": sum(mark.get("cells", 0) for mark in marks if mark["what"] == "restored"),
            "features": 2 * len(METRICS),
            "shards": SHARDS,
            "records_a_second": round((BUSY + FRESH) / EVERY_S),
            "first_new_alert_s": round(alert_s - started_s, 2),
            "steps": steps,
            "cpu_s": round(cpu_s, 1),
            "frames_again": sum(mark.get("frames", 0) for mark in marks if mark["what"] == "caught up"),
            "snapshot_mb": round(held / 2**20),
            **memory,
            "session_timeout_s": SESSION_S,
            "alerts": len(expected),
            "alerts_ok": every.got == expected,
            "holds": alert_s - started_s < BAR_S,
        }


class _Life:
    """One worker from outside."""

    def __init__(self, run: _Run, name: str) -> None:
        self._port = free_port()
        self._marks = run.folder / f"{name}.marks"
        config = run.settings(name, self._port)
        command = [sys.executable, "-m", "benchmarks.restart_worker", str(config), str(self._marks)]
        self.started_s = time.time()
        self._process = GuardedProcess(
            name, command, log_path=run.folder / f"{name}.log",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p) or "."},
        )  # fmt: skip
        self.pid = 0

    async def until(self, done: Any, what: str) -> None:
        began = time.monotonic()
        while True:
            self.check()
            if self.pid and await asyncio.to_thread(done):
                console.log(f"{what} ({time.monotonic() - began:.0f} s)")
                return
            if time.monotonic() - began > GIVE_UP_S:
                raise SystemExit(f"not within {GIVE_UP_S:.0f} s: {what}\n{self._process.log_tail()}")
            await asyncio.sleep(0.25)

    def check(self) -> None:
        if self._process.exit_status() is not None:
            raise SystemExit(f"the worker ended by itself:\n{self._process.log_tail()}")
        self.pid = self.pid or worker_pid(self._process.guard_pid)

    def read(self) -> float:
        seen = scrape(self._port)
        return 0.0 if seen is None else seen.records

    def marks(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._marks.read_text("ascii").splitlines()]

    def _snapshots(self) -> Iterable[dict[str, Any]]:
        return (mark for mark in self.marks() if mark["what"] == "snapshot")

    def snapshots_since(self, since_s: float) -> int:
        """How many shards have stored one."""
        return len({mark["shard"] for mark in self._snapshots() if mark["at_s"] > since_s})

    def total_snapshot_bytes(self) -> int:
        return sum(mark["bytes"] for mark in self._snapshots())

    def rss_mb(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def peak_mb(self) -> int:
        return peak_rss_mb(self.pid)

    def end(self) -> None:
        self._process.stop()


def section(result: Result) -> str:
    """Markdown for RESULTS.md."""
    lines = [
        "## Restart after kill -9",
        "",
        f"A worker with {result['cells']:,} active cells, {result['features']} features each in windows of an hour,",
        f"{result['shards']} shards, is killed with -9 while {result['records_a_second']:,} records a second come. The",
        f"session timeout ({result['session_timeout_s']:.0f} s) over, the next one is started. From there to the",
        f"broker's append time of the first alert that nobody told before: **{result['first_new_alert_s']:.1f} s**"
        f" (bar: below {BAR_S:.0f} s).",
        "",
        "| step | seconds |",
        "|---|---:|",
    ]
    lines += [f"| {step} | {seconds:.2f} |" for step, seconds in result["steps"]]
    lines += [
        f"| **all** | **{result['first_new_alert_s']:.2f}** |",
        "",
        f"It took {result['cpu_s']} s of processor time; {result['frames_again']} frames were read again.",
        f"Resident memory before the kill {result['before_mb']:,} MB (most: {result['before_peak_mb']:,}), afterwards"
        f" {result['after_mb']:,} MB (most: {result['after_peak_mb']:,}).",
        f"All snapshots that the first worker wrote together: {result['snapshot_mb']:,} MB. The"
        f" {result['alerts']:,} alerts of both workers are those of a plain count",
        "of the records; each of them needs a record from before and one from after, most of them across the kill.",
        "",
        "It does not show the session timeout itself, nor a machine whose caches are cold.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
