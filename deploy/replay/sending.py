"""Records into Kafka at a multiple of their own pace: whole batches per partition, in order within each partition."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from deploy.console import UsageProblem
from deploy.replay.records import Record
from schemas.sources import Source
from streams.topic_admin import BrokerAway, partition_counts

BATCH_BYTES: Final = 256 * 1024
MAX_WAITING: Final = 64
"""Batches that may be unacknowledged: bounds the memory to some 16 MiB."""
LOOK_S: Final = 0.1
"""How long it sleeps at most, and how often it tells of its progress."""
LOOK_EVERY: Final = 512
"""Records between two looks at the clock at full speed."""

Progress = Callable[[int, int], None]
"""(event time in ms, records sent)"""


@dataclass(slots=True)
class Sent:
    """What was sent. `acknowledged` is what the broker has for certain."""

    records: int = 0
    acknowledged: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to: the broker, its options, and the names of the raw topics."""

    bootstrap: str
    options: Mapping[str, Any]
    topics: Mapping[Source, str]


def check_topics(target: Target, sources: Iterable[Source]) -> dict[Source, int]:
    """Partitions of the topics. Raises BrokerAway, or UsageProblem for a topic that does not exist yet."""
    existing = partition_counts(target.bootstrap, options=target.options)
    missing = [target.topics[source] for source in sources if target.topics[source] not in existing]
    if missing:
        raise UsageProblem(
            f"topic {', '.join(missing)} does not exist at {target.bootstrap}; `tongguan topics apply` makes it"
        )
    return {source: existing[target.topics[source]] for source in sources}


async def send(
    records: Iterable[Record],
    target: Target,
    partitions: Mapping[Source, int],
    *,
    speed: float,
    sent: Sent,
    progress: Progress = lambda at_ms, count: None,
) -> None:
    """Send at `speed` times the pace of the event times (0: as fast as possible), counting into `sent`.

    A record that is earlier than one before it goes at once. Raises BrokerAway; `sent` then says what had been
    acknowledged. An interrupt leaves nothing half sent: what was begun is delivered first.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=target.bootstrap,
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        **target.options,
    )
    began = time.monotonic()
    try:
        await producer.start()
        lanes = Lanes(producer, target.topics, partitions, sent)
        try:
            await _paced(records, lanes, speed, sent, progress)
        finally:
            await lanes.finish()
    except KafkaError as error:
        raise BrokerAway(
            f"kafka at {target.bootstrap}: {error}; {sent.acknowledged:,} records were acknowledged"
        ) from error
    finally:
        sent.seconds = time.monotonic() - began
        await producer.stop()


async def _paced(records: Iterable[Record], lanes: Lanes, speed: float, sent: Sent, progress: Progress) -> None:
    began = looked = time.monotonic()
    first_ms: int | None = None
    for record in records:
        if first_ms is None:
            first_ms = record.at_ms
        if speed:
            due = began + (record.at_ms - first_ms) / 1000 / speed
            while (now := time.monotonic()) < due:
                await lanes.flush()
                progress(record.at_ms, sent.records)
                await asyncio.sleep(min(due - now, LOOK_S))
        if sent.records % LOOK_EVERY == 0 and (now := time.monotonic()) - looked >= LOOK_S:
            looked = now
            progress(record.at_ms, sent.records)
            await asyncio.sleep(0)  # the producer needs its turn, and an interrupt its chance
        await lanes.add(record)


class Lanes:
    """One open batch per partition, and the batches on their way."""

    def __init__(
        self, producer: AIOKafkaProducer, topics: Mapping[Source, str], partitions: Mapping[Source, int], sent: Sent
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._partitions = partitions
        self._sent = sent
        self._open: dict[tuple[Source, int], Any] = {}  # aiokafka's batch builders
        self._waiting: deque[tuple[asyncio.Future[Any], int]] = deque()

    async def add(self, record: Record) -> None:
        lane = (record.source, _partition(record.key, self._partitions[record.source]))
        builder = self._open.get(lane)
        if builder is None:
            builder = self._open[lane] = self._producer.create_batch()
        if builder.append(key=record.key, value=record.payload, timestamp=None) is None:
            await self._send(lane)
            builder = self._open[lane] = self._producer.create_batch()
            builder.append(key=record.key, value=record.payload, timestamp=None)
        self._sent.records += 1
        self._sent.bytes += len(record.payload)

    async def flush(self) -> None:
        """Send what is open, and take note of what has been acknowledged."""
        for lane in list(self._open):
            await self._send(lane)
        while self._waiting and self._waiting[0][0].done():
            await self._settle()

    async def finish(self) -> None:
        await self.flush()
        while self._waiting:
            await self._settle()

    async def _send(self, lane: tuple[Source, int]) -> None:
        builder = self._open.pop(lane)
        count = builder.record_count()
        builder.close()
        while len(self._waiting) >= MAX_WAITING:
            await self._settle()
        source, partition = lane
        future = await self._producer.send_batch(builder, self._topics[source], partition=partition)
        self._waiting.append((future, count))

    async def _settle(self) -> None:
        future, count = self._waiting.popleft()
        await future
        self._sent.acknowledged += count


@lru_cache(maxsize=65_536)
def _partition(key: bytes, partitions: int) -> int:
    """Where every Kafka producer puts this key by default."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
