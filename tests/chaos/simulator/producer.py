"""Takes the place of AIOKafkaProducer (and of `FlatProducer`), idempotent as ours are.

Messages of a partition go one batch after the other, each on the broker once, in order. Acknowledgements may come late.
A partition may fail for good: a batch that is refused leaves a hole in the producer's sequence, and aiokafka does not
begin a new one, so every later batch of that partition is refused, too. Whether the first one is on the broker nobody
knows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any, NamedTuple, cast

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, OutOfOrderSequenceNumber

from streams.frame_batch import FrameBatch
from tests.chaos.simulator.groups import calling_process

MOST_TOGETHER = 4
BATCH_MESSAGES = 6  # a small `max_batch_size`, so that an order must hold across batches, too


class Metadata(NamedTuple):
    topic: str
    partition: int
    offset: int


class _Waiting(NamedTuple):
    messages: list[tuple[bytes | None, bytes | None]]  # (key, value)
    done: asyncio.Future[Metadata]


class SimProducer:
    """As the real one, as far as the product uses it."""

    def __init__(self, **options: Any) -> None:
        self._process = calling_process()
        self._world = self._process.world
        self._queues: dict[TopicPartition, deque[_Waiting]] = {}
        self._failed: dict[TopicPartition, KafkaError] = {}
        self._stopped = False
        self._sender = None
        self.client = _Client()

    async def start(self) -> None:
        if self._world.network.kafka.away_until > self._world.loop.time():
            raise KafkaConnectionError("no broker answers")
        await self._world.network.ask("connect", lambda: None)

    async def stop(self) -> None:
        """Wait until all is acknowledged; for ever when the broker is away."""
        waiting = [entry.done for queue in self._queues.values() for entry in queue]
        if waiting:
            await asyncio.wait(waiting)
        self._stopped = True

    async def partitions_for(self, topic: str) -> set[int]:
        broker = self._world.broker
        return await self._world.network.ask("metadata", lambda: set(range(broker.counts.get(topic, 0))))

    async def send(
        self, topic: str, value: Any = None, key: bytes | None = None, partition: int | None = None
    ) -> asyncio.Future[Metadata]:
        if partition is None:
            partition = self._world.broker.partition_of(topic, key)
        return self._put(TopicPartition(topic, partition), [(key, _copy(value))])

    async def send_and_wait(
        self, topic: str, value: Any = None, key: bytes | None = None, partition: int | None = None
    ) -> Metadata:
        return await (await self.send(topic, value, key, partition))

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Metadata]:
        if isinstance(batch, FrameBatch):
            messages: list[tuple[bytes | None, bytes | None]] = [(None, _copy(batch._value))]
        else:
            messages = list(cast(Batch, batch).messages)
        return self._put(TopicPartition(topic, partition), messages)

    def _put(
        self, place: TopicPartition, messages: list[tuple[bytes | None, bytes | None]]
    ) -> asyncio.Future[Metadata]:
        done: asyncio.Future[Metadata] = self._world.loop.create_future()
        if place in self._failed:
            self._process.later(0.001, _fail, done, self._failed[place])
            return done
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = deque()
        queue.append(_Waiting(messages, done))
        if len(queue) == 1:
            self._process.spawn(self._drain(place, queue), f"producer of {place.topic}[{place.partition}]")
        return done

    async def _drain(self, place: TopicPartition, queue: deque[_Waiting]) -> None:
        while queue:
            together = [queue[index] for index in range(min(len(queue), MOST_TOGETHER))]
            append = partial(self._append, place, [message for entry in together for message in entry.messages])
            try:
                first = await self._world.network.ask(f"produce {place.topic}", append)
            except KafkaError as problem:
                self._failed[place] = problem
                for entry in queue:
                    _fail(entry.done, problem)
                queue.clear()
                return
            for entry in together:
                queue.popleft()
                if not entry.done.done():
                    entry.done.set_result(Metadata(place.topic, place.partition, first))
                first += len(entry.messages)

    def _append(self, place: TopicPartition, messages: list[tuple[bytes | None, bytes | None]]) -> int:
        """At the broker."""
        trouble = self._world.faults.produce(self._process, place)
        if trouble == "refused":
            raise OutOfOrderSequenceNumber
        first = self._world.broker.append(place, messages, by=self._process.name)
        if trouble == "unanswered":
            raise OutOfOrderSequenceNumber
        return first


def _fail(done: asyncio.Future[Metadata], problem: KafkaError) -> None:
    if not done.done():
        done.set_exception(problem)
        done.exception()  # not everybody who sends asks what became of it


class Batch:
    """What `create_batch` gives."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes | None, bytes | None]] = []

    def append(self, *, key: bytes | None, value: bytes | None, timestamp: int | None) -> object | None:
        if len(self.messages) >= BATCH_MESSAGES:
            return None
        self.messages.append((key, value))
        return self

    def close(self) -> None: ...


class _Client:
    async def force_metadata_update(self) -> None: ...

    async def close(self) -> None: ...


def _copy(value: Any) -> bytes | None:
    return None if value is None else bytes(value)
