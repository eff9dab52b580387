"""What the scale-out benchmark runs on: one broker, batches of records made beforehand, and any number of real workers.

Batches are made before the workers start and sent when all of them hold their partitions, so that neither making
records nor joining a group is part of what is measured.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError

from benchmarks.cityjoin_data import PARTITIONS, Answer
from benchmarks.cityjoin_run import answer_row, cpu_seconds, peak_rss_mb, scrape, worker_pid, worker_settings
from benchmarks.filling import BATCH_BYTES, IN_FLIGHT
from deploy.local.process import GuardedProcess, free_port
from schemas.sources import Source
from streams.locate_reader import group_of
from streams.topic_admin import admin_client
from streams.topic_admin import apply as apply_topics
from streams.topics import TopicNames, TopicsSettings, topic_specs

SHARDS: Final = 8
ROLES: Final = "locate,join"
SETTLED_S: Final = 2.0
"""For so long the groups must have had all members and been stable."""
JOIN_WITHIN_S: Final = 180.0
LOOK_EVERY_S: Final = 0.05


class Batch(NamedTuple):
    """Records of one raw partition, encoded and compressed."""

    source: Source
    partition: int
    builder: Any  # aiokafka's BatchBuilder, which may be sent more than once


def make_batches(producer: AIOKafkaProducer, records: Iterable[tuple[Source, int, bytes]]) -> list[Batch]:
    """The records in order within each partition, in batches as a busy gateway makes them."""
    open_: dict[tuple[Source, int], Any] = {}
    done: list[Batch] = []
    for source, partition, value in records:
        builder = open_.get((source, partition))
        if builder is None:
            builder = open_[source, partition] = producer.create_batch()
        if builder.append(key=None, value=value, timestamp=None) is None:
            done.append(Batch(source, partition, builder))
            builder = open_[source, partition] = producer.create_batch()
            builder.append(key=None, value=value, timestamp=None)
    for (source, partition), builder in open_.items():
        builder.close()
        done.append(Batch(source, partition, builder))
    return done


async def send(producer: AIOKafkaProducer, names: TopicNames, batches: Sequence[Batch]) -> None:
    """Send them all, in order within each partition; returns when the broker has them."""
    waiting: list[asyncio.Future[object]] = []
    for batch in batches:
        future = await producer.send_batch(batch.builder, names.raw(batch.source), partition=batch.partition)
        waiting.append(future)
        if len(waiting) >= IN_FLIGHT:
            await asyncio.gather(*waiting)
            waiting = []
    await asyncio.gather(*waiting)


def make_producer(bootstrap: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type="lz4", max_batch_size=BATCH_BYTES, acks=1, linger_ms=0
    )


def make_topics(bootstrap: str, prefix: str) -> TopicsSettings:
    """The topics of one scenario, which has a prefix, hence groups, of its own."""
    topics = TopicsSettings(
        prefix=prefix, readings_partitions=PARTITIONS, camera_events_partitions=PARTITIONS,
        tickets_partitions=PARTITIONS, shards=SHARDS, replication=1,
    )  # fmt: skip
    apply_topics(bootstrap, topic_specs(topics))
    return topics


class Worker:
    """One real worker process with a folder, a metrics port and, if asked, processors of its own."""

    def __init__(
        self, folder: Path, bootstrap: str, topics: TopicsSettings, *, cpus: Sequence[int], config: str = ""
    ) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        settings = folder / "tongguan.toml"
        settings.write_text(worker_settings(folder / "data", bootstrap, topics, self.port) + config)
        command = [sys.executable, "-m", "benchmarks.cityjoin_worker", str(settings), "--roles", ROLES]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p) or "."}
        self._process = GuardedProcess(folder.name, command, log_path=folder / "worker.log", cpus=cpus, env=environment)
        self._pid = 0

    @property
    def pid(self) -> int:
        """Of the worker itself, 0 until its guard has started it."""
        self._pid = self._pid or worker_pid(self._process.guard_pid)
        return self._pid

    def cpu_s(self) -> float:
        return cpu_seconds(self.pid) if self.pid else 0.0

    def peak_rss_mb(self) -> int:
        return peak_rss_mb(self.pid)

    def records(self) -> tuple[float, float]:
        """Raw records read and alerts told so far."""
        seen = scrape(self.port)
        return (0.0, 0.0) if seen is None else (seen.records, seen.alerts)

    def check(self) -> None:
        if self._process.exit_status() is not None:
            raise SystemExit(f"{self._process.name} ended by itself:\n{self._process.log_tail()}")

    def leave(self) -> None:
        """Ask it to end, and do not wait."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """As a crash of the machine."""
        self._process.kill()

    def stop(self) -> None:
        self._process.stop()


class Groups:
    """The consumer groups of locate and join as the broker tells them, looked at by a thread from start to stop."""

    def __init__(self, bootstrap: str, names: TopicNames) -> None:
        self.ids = (group_of(names), f"{names.prefix}tongguan-join")
        self.seen: list[tuple[float, dict[str, tuple[str, int]]]] = []
        """(epoch seconds, group -> state and members), whenever they were looked at."""
        self._bootstrap = bootstrap
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="groups", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Look no more: asking the broker is work for it. Calling it again does nothing."""
        self._stop.set()
        self._thread.join(JOIN_WITHIN_S)

    def _watch(self) -> None:
        with admin_client(self._bootstrap) as admin:
            while not self._stop.wait(LOOK_EVERY_S):
                try:
                    described = admin.describe_groups(list(self.ids))
                except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
                    continue  # a new broker makes its topic of groups when the first member comes
                states = {name: (told["group_state"], len(told["members"])) for name, told in described.items()}
                self.seen.append((time.time(), states))

    def settled_since(self, members: int) -> float | None:
        """Since when both have been stable with so many members; None while they are not."""
        since = None
        for at, states in reversed(self.seen):
            if any(states.get(name) != ("Stable", members) for name in self.ids):
                break
            since = at
        return since

    def first_settled(self, after: float, members: int) -> dict[str, float | None]:
        """Each group -> when it was first stable with so many members after that moment; None if it never was."""
        wanted = ("Stable", members)
        return {
            name: next((at for at, states in self.seen if at > after and states.get(name) == wanted), None)
            for name in self.ids
        }

    async def until_settled(self, members: int, workers: Sequence[Worker]) -> None:
        """Wait until all members hold their partitions."""
        give_up_at = time.monotonic() + JOIN_WITHIN_S
        while (since := self.settled_since(members)) is None or time.time() - since < SETTLED_S:
            if time.monotonic() > give_up_at:
                raise SystemExit(f"the groups did not settle on {members} members: {self.seen[-1:]}")
            if not self._thread.is_alive():
                raise SystemExit("the groups could not be looked at; the error is above")
            for worker in workers:
                worker.check()
            await asyncio.sleep(LOOK_EVERY_S)


class Told(NamedTuple):
    """One alert as it stands in its topic."""

    row: tuple[int, int, float, int, int]
    at_s: float  # the broker's append time, epoch seconds


def read_told(bootstrap: str, names: TopicNames, partitions: int) -> list[Told]:
    """Every alert that is no clearing."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, consumer_timeout_ms=2000)
    every = [TopicPartition(names.alerts, partition) for partition in range(partitions)]
    consumer.assign(every)
    consumer.seek_to_beginning(*every)
    told = []
    for message in consumer:
        row = answer_row(message.value)
        if row is not None:
            told.append(Told(row, message.timestamp / 1000))
    consumer.close()
    return told


def right(told: Sequence[Told], expected: Answer) -> bool:
    """Whether the alerts are exactly those expected. A repeated one is no error: its id is the same."""
    return {alert.row for alert in told} == expected
