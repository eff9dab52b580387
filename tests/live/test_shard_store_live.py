"""The shard store and reading by offset, on a real broker: compaction, gaps, deletion, large messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from schemas.errors import BrokerError
from streams.shard_store import KafkaLog, ShardStore
from streams.topic_admin import apply
from streams.topics import TopicSpec

pytestmark = pytest.mark.live

LARGE = 12 * 1024 * 1024


@asynccontextmanager
async def open_log(bootstrap: str, *specs: TopicSpec) -> AsyncIterator[KafkaLog]:
    await asyncio.to_thread(apply, bootstrap, specs)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=16 * 1024 * 1024)
    await producer.start()
    try:
        yield KafkaLog(bootstrap, producer, timeout_s=20)
    finally:
        await producer.stop()


async def test_state_survives_compaction_tombstones_and_an_empty_shard(kafka: str) -> None:
    spec = TopicSpec(
        name="live-shard-state",
        partitions=3,
        replication=1,
        config={
            "cleanup.policy": "compact",
            "segment.bytes": "1048576",
            "min.cleanable.dirty.ratio": "0.01",
            "segment.ms": "100",
            "delete.retention.ms": "0",
            "max.compaction.lag.ms": "100",
        },
    )
    async with open_log(kafka, spec) as log:
        store = ShardStore(spec.name, log)
        assert await store.load(2) == {}
        await store.put(0, "first", b"kept")  # far before what else compaction keeps: it leaves a gap
        for number in range(300):
            await store.put(0, f"k{number % 5}", f"{number}".encode())
        await store.put(0, "k0", None)
        await store.put(1, "k0", b"other")
        expected = {"first": b"kept"} | {f"k{at}": f"{295 + at}".encode() for at in range(1, 5)}
        assert await store.load(0) == expected
        give_up_at = time.monotonic() + 45
        await store.put(0, "tick", b"x")  # a segment is rolled, then cleaned, when something is written
        while len(left := await log.read_range(spec.name, 0, 0, 10**9)) > 250 and time.monotonic() < give_up_at:
            await asyncio.sleep(0.5)
            await store.put(0, "tick", b"x")
        offsets = [message.offset for message in left]
        assert offsets != list(range(offsets[0], offsets[0] + len(offsets))), "the broker did not compact in time"
        assert await store.load(0) == {**expected, "tick": b"x"}
        assert await store.load(1) == {"k0": b"other"}


async def test_messages_are_read_by_offset_also_large_and_far_apart_ones(kafka: str) -> None:
    spec = TopicSpec(
        name="live-blocks", partitions=2, replication=1, config={"max.message.bytes": str(16 * 1024 * 1024)}
    )
    async with open_log(kafka, spec) as log:
        for number in range(100):
            assert await log.append(spec.name, 1, bytes([number]) * (LARGE if number in (3, 90) else 100)) == number
        found = await log.read_at(spec.name, 1, [90, 3, 4, 3, 50])
        assert [(message.offset, message.value and message.value[0]) for message in found] == [
            (at, at) for at in (3, 4, 50, 90)
        ]
        assert len(found[0].value or b"") == LARGE
        some = await log.read_range(spec.name, 1, 95, 2000)
        assert [message.offset for message in some] == [95, 96, 97, 98, 99]
        assert await log.read_range(spec.name, 1, 5, 4) == []
        assert await log.read_range(spec.name, 0, 0, 10) == []


async def test_many_messages_are_written_in_order_however_large_they_are(kafka: str) -> None:
    spec = TopicSpec(name="live-many", partitions=2, replication=1, config={"max.message.bytes": str(16 * 1024 * 1024)})
    values = [f"{number} ".encode() * (1 + number % 50) for number in range(2_000)]
    values[7] = values[700] = b"x" * LARGE  # larger than a batch is meant to be
    async with open_log(kafka, spec) as log:
        await log.append(spec.name, 1, b"before")
        await log.append_many(spec.name, 1, values)
        await log.append_many(spec.name, 1, [])
        found = await log.read_range(spec.name, 1, 0, 10_000)
        assert [message.value for message in found] == [b"before", *values]


async def test_truncation_removes_the_front_and_asking_for_it_says_what_is_gone(kafka: str) -> None:
    spec = TopicSpec(name="live-truncated", partitions=1, replication=1)
    async with open_log(kafka, spec) as log:
        for _ in range(10):
            await log.append(spec.name, 0, b"x")
        await log.truncate_before(spec.name, 0, 6)
        assert [message.offset for message in await log.read_range(spec.name, 0, 0, 7)] == [6, 7]
        with pytest.raises(BrokerError, match=r"2 of 3 messages are gone, the first at offset 4 .*holds 6\.\.9"):
            await log.read_at(spec.name, 0, [4, 5, 6])
        with pytest.raises(BrokerError, match="beyond the end"):
            await log.truncate_before(spec.name, 0, 99)


async def test_a_topic_that_does_not_exist_is_an_error_with_a_hint(kafka: str) -> None:
    async with open_log(kafka) as log:
        short = KafkaLog(kafka, log._producer, timeout_s=3)
        with pytest.raises(BrokerError, match="does the topic exist"):
            await short.read_range("live-nothing", 7, 0, 1)


async def test_reads_end_at_a_transaction_marker(kafka: str) -> None:
    """The last offset then has no message; waiting for one would never end."""
    spec = TopicSpec(name="live-markers", partitions=1, replication=1)
    async with open_log(kafka, spec) as log:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="live-markers")
        await producer.start()
        try:
            async with producer.transaction():
                await producer.send_and_wait(spec.name, b"1", partition=0)
        finally:
            await producer.stop()
        assert [message.value for message in await log.read_range(spec.name, 0, 0, 100)] == [b"1"]
