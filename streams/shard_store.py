"""Small state in Kafka, one partition per shard: a compacted topic of keys, and reading messages back by offset.

The join keeps its snapshots here and the archive its plan of batches. Whoever owns a shard writes its partition; a new
owner loads it from the beginning before it takes the first frame. Values that are too large for a key (the blocks of a
snapshot) go to a topic of their own with `KafkaLog.append` and are fetched again by offset.

`Log` is the seam: `KafkaLog` is the real one, tests hand in one in memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OffsetOutOfRangeError

from schemas.errors import BrokerError, BrokerRefused

log = logging.getLogger(__name__)

FETCH_BYTES = (
    8 * 1024 * 1024
)  # per request; a single larger message still arrives, Kafka always returns one whole batch
POLL_MS = 200
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0  # between attempts while the broker is away
SEEK_GAP = 16  # wanted offsets closer than this are read through; a seek throws away what was already fetched


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka message as it was stored; `value` None is a tombstone."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


class Log(Protocol):
    """What the stores need of Kafka. All methods wait out a broker that is away and raise BrokerError when waiting
    cannot help (message too large, offsets deleted) or, when reading, after `timeout_s` without progress."""

    async def append(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        """Write one message, wait until it is durable, return its offset."""
        ...

    async def append_many(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        """Write messages in this order and wait until all are durable. None is there before those in front of it are,
        also when this fails half-way; it may have written some twice."""
        ...

    def scan(self, topic: str, partition: int) -> AsyncIterator[Message]:
        """Every message from the oldest to the end offset at the time of the call."""
        ...

    async def read_range(self, topic: str, partition: int, first: int, last: int) -> list[Message]:
        """The messages that exist with first <= offset <= last, ascending; gaps left by compaction are no error."""
        ...

    async def read_at(self, topic: str, partition: int, offsets: Iterable[int]) -> list[Message]:
        """Exactly the messages at these offsets, ascending; BrokerError names the ones that are gone."""
        ...

    async def truncate_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete every message below `offset`. Not possible on a topic that is only compacted."""
        ...


class Sender(Protocol):
    """The part of AIOKafkaProducer that is used here."""

    async def send_and_wait(self, topic: str, value: Any = None, key: Any = None, partition: Any = None) -> Any: ...

    def create_batch(self) -> Any: ...

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Awaitable[Any]: ...


class KafkaLog:
    """`Log` on a real cluster.

    `producer`: a started AIOKafkaProducer with `enable_idempotence=True` (hence acks=all) and `max_request_size` as
    large as the largest block. `client_options` go to every consumer and admin client (security_protocol, ...).
    Each read opens a consumer of its own without a group (about 10 ms), so reads may run side by side.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        producer: Sender,
        *,
        client_options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._servers = bootstrap_servers
        self._producer = producer
        self._options = dict(client_options or {})
        self._timeout_s = timeout_s

    async def append(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        async def send() -> int:
            done = await self._producer.send_and_wait(topic, value=value, key=key, partition=partition)
            return int(done.offset)

        return await self._until_written(topic, partition, len(value or b""), send)

    async def append_many(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        begin = 0
        while begin < len(values):
            begin = await self._append_batch(topic, partition, values, begin)

    async def _append_batch(self, topic: str, partition: int, values: Sequence[bytes], begin: int) -> int:
        """One record batch, which Kafka takes as a whole or not at all; the index of the first value behind it."""
        end = begin

        async def send() -> int:
            nonlocal end
            batch, end = self._producer.create_batch(), begin
            while end < len(values) and batch.append(key=None, value=values[end], timestamp=None) is not None:
                end += 1
            batch.close()
            done = await (await self._producer.send_batch(batch, topic, partition=partition))
            return int(done.offset)

        await self._until_written(topic, partition, len(values[begin]), send)
        return end

    async def _until_written(self, topic: str, partition: int, size: int, send: Callable[[], Awaitable[int]]) -> int:
        """What `send` gives; repeated while the broker is away."""
        pause, told = FIRST_PAUSE_S, False
        while True:
            try:
                return await send()
            except MessageSizeTooLargeError as problem:
                raise BrokerRefused(
                    f"write to {topic}[{partition}]: a message of {size} bytes is too large - "
                    "raise max.message.bytes of the topic and max_request_size of the producer"
                ) from problem
            except KafkaError as problem:
                if not problem.retriable:
                    # most of all a sequence that is lost: aiokafka begins no new one, the next write would fail, too
                    raise BrokerRefused(f"write to {topic}[{partition}]: {problem!r}") from problem
                if not told:
                    log.warning("write to %s[%d] failed (%r), trying again until it works", topic, partition, problem)
                    told = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def scan(self, topic: str, partition: int) -> AsyncIterator[Message]:
        tp = TopicPartition(topic, partition)
        async with self._consumer(tp) as consumer:
            first = await self._first_offset(consumer, tp)
            end = await self._end_offset(consumer, tp)
            async for message in self._read(consumer, tp, first, end):
                yield message

    async def read_range(self, topic: str, partition: int, first: int, last: int) -> list[Message]:
        if last < first:
            return []
        tp = TopicPartition(topic, partition)
        async with self._consumer(tp) as consumer:
            first = max(first, await self._first_offset(consumer, tp))
            end = min(last + 1, await self._end_offset(consumer, tp))
            return [message async for message in self._read(consumer, tp, first, end)]

    async def read_at(self, topic: str, partition: int, offsets: Iterable[int]) -> list[Message]:
        wanted = sorted(set(offsets))
        if not wanted:
            return []
        tp = TopicPartition(topic, partition)
        found: list[Message] = []
        async with self._consumer(tp) as consumer:
            begin = await self._first_offset(consumer, tp)
            end = await self._end_offset(consumer, tp)
            there = [offset for offset in wanted if begin <= offset < end]
            for run in _runs(there):
                members = set(run)
                async for message in self._read(consumer, tp, run[0], run[-1] + 1):
                    if message.offset in members:
                        found.append(message)
        if len(found) != len(wanted):
            gone = sorted(set(wanted) - {message.offset for message in found})
            raise BrokerError(
                f"read of {topic}[{partition}]: {len(gone)} of {len(wanted)} messages are gone, the first at offset "
                f"{gone[0]} (the partition now holds {begin}..{end - 1}) - was its retention shortened?"
            )
        return found

    async def truncate_before(self, topic: str, partition: int, offset: int) -> None:
        tp = TopicPartition(topic, partition)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, **self._options)
        try:
            await admin.start()
            await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})
        except OffsetOutOfRangeError as problem:
            raise BrokerError(f"truncate {topic}[{partition}] before {offset}: beyond the end offset") from problem
        except KafkaError as problem:
            raise BrokerError(f"truncate {topic}[{partition}] before {offset}: {problem!r}") from problem
        finally:
            await admin.close()

    @asynccontextmanager
    async def _consumer(self, tp: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
        """A started consumer of this partition alone; waits for the broker up to the time limit."""
        deadline, pause = time.monotonic() + self._timeout_s, FIRST_PAUSE_S
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._servers,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=POLL_MS,
                **self._options,
            )
            try:
                await consumer.start()
                break
            except KafkaError as problem:
                await consumer.stop()
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"read of {tp.topic}[{tp.partition}]: no broker answers ({problem!r})"
                    ) from problem
            except BaseException:
                await consumer.stop()
                raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
        try:
            consumer.assign([tp])
            yield consumer
        finally:
            await consumer.stop()

    async def _first_offset(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        return await self._offset_of(consumer.beginning_offsets([tp]), tp)

    async def _end_offset(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        return await self._offset_of(consumer.end_offsets([tp]), tp)

    async def _offset_of(self, answer: Any, tp: TopicPartition) -> int:
        try:
            return int((await asyncio.wait_for(answer, self._timeout_s))[tp])
        except (KafkaError, TimeoutError) as problem:
            raise BrokerError(
                f"read of {tp.topic}[{tp.partition}]: {problem!r} - does the topic exist with that many partitions?"
            ) from problem

    async def _read(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, first: int, end: int
    ) -> AsyncIterator[Message]:
        """Messages with first <= offset < end. The consumer's position, not the last message, says when it is done:
        compaction and transaction markers leave offsets at the end without a message."""
        if first >= end:
            return
        consumer.seek(tp, first)
        position, moved_at = first, time.monotonic()
        while position < end:
            try:
                got = await consumer.getmany(tp, timeout_ms=POLL_MS)
                now_at = await consumer.position(tp)
            except OffsetOutOfRangeError as problem:
                raise BrokerError(f"read of {tp.topic}[{tp.partition}]: offset {position} is gone") from problem
            except KafkaError as problem:
                if not problem.retriable:
                    raise BrokerError(f"read of {tp.topic}[{tp.partition}] at {position}: {problem!r}") from problem
                now_at, got = position, {}
            for record in got.get(tp, ()):
                if record.offset < end:
                    yield Message(record.offset, record.key, record.value, record.timestamp)
            if now_at > position:
                position, moved_at = now_at, time.monotonic()
            elif time.monotonic() - moved_at > self._timeout_s:
                raise BrokerError(
                    f"read of {tp.topic}[{tp.partition}]: no progress at offset {position} (end {end}) "
                    f"for {self._timeout_s:.0f} s"
                )


class ShardStore:
    """The latest value of each key of a shard, in one compacted topic with a partition per shard.

    Only the owner of a shard puts; `load` is for the new owner, once, before it goes on.
    """

    def __init__(self, topic: str, log: Log) -> None:
        self.topic = topic
        self._log = log

    async def put(self, shard: int, key: str, value: bytes | None) -> int:
        """Store `value` under `key`, None deletes it; durable when this returns. Returns the message's offset."""
        return await self._log.append(self.topic, shard, value, key=key.encode())

    async def load(self, shard: int) -> dict[str, bytes]:
        """The last value of every key that was not deleted; empty for a shard that nobody wrote yet."""
        latest: dict[str, bytes] = {}
        async for message in self._log.scan(self.topic, shard):
            if message.key is None:
                raise BrokerError(f"{self.topic}[{shard}]: message {message.offset} has no key; is it another's topic?")
            if message.value is None:
                latest.pop(message.key.decode(), None)
            else:
                latest[message.key.decode()] = message.value
        return latest


def _runs(offsets: list[int]) -> Iterable[list[int]]:
    """Ascending offsets cut where the gap is worth a seek."""
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > SEEK_GAP:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
