"""Raw batches from a real broker: every codec, transactions, positions and commits, beside a plain consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.sources import Source
from streams.batches import Batch
from streams.raw_batches import RawBatchConsumer
from tests.support.readings import decoder, reading

pytestmark = pytest.mark.live

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
RECORDS = 600


@pytest.fixture
async def topic(kafka: str) -> AsyncIterator[str]:
    """A topic of one partition with LogAppendTime."""
    name = f"readings-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    settings = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
    yield name
    await admin.delete_topics([name])
    await admin.close()


async def fill(kafka: str, topic: str) -> list[tuple[int, bytes | None]]:
    """Produce with every codec, and in transactions of which every other is aborted; gives what is committed."""
    kept: list[tuple[int, bytes | None]] = []
    number = 0

    async def send(producer: AIOKafkaProducer, count: int, *, keep: bool = True) -> None:
        nonlocal number
        pending = []
        for _ in range(count):
            value = reading(device=f"D-{number}", value=number / 8, unit="mm")
            pending.append((await producer.send(topic, value, key=b"k", headers=[("h", b"v")]), value))
            number += 1
        for future, value in pending:
            sent = await future
            if keep:
                kept.append((sent.offset, value))

    for codec in CODECS:
        async with AIOKafkaProducer(bootstrap_servers=kafka, compression_type=codec, linger_ms=20) as producer:
            await send(producer, 300)
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=uuid4().hex, linger_ms=5) as producer:
        for turn in range(4):
            await producer.begin_transaction()
            await send(producer, 20, keep=turn % 2 == 0)
            if turn % 2 == 0:
                await producer.commit_transaction()
            else:
                await producer.abort_transaction()
    return kept


async def read_until(consumer: RawBatchConsumer, partition: TopicPartition, last_offset: int) -> list[Batch]:
    batches: list[Batch] = []
    async with asyncio.timeout(20):
        while not batches or batches[-1].next_offset <= last_offset:
            batches += (await consumer.getmany(timeout_ms=500, max_batches=3)).get(partition, [])
    return batches


async def test_every_committed_record_arrives_once_and_every_offset_is_settled(kafka: str, topic: str) -> None:
    kept = await fill(kafka, topic)
    partition = TopicPartition(topic, 0)
    consumer = RawBatchConsumer([topic], bootstrap_servers=kafka, group_id=f"raw-{topic}")
    await consumer.start()
    try:
        batches = await read_until(consumer, partition, kept[-1][0])
        result = decoder().decode(Source.READINGS, topic, 0, batches)
        assert result.letters == []
        assert result.columns.offset.tolist() == [offset for offset, _ in kept]
        assert result.columns.value.tolist() == [int(row) / 8 for row in map(number_of, kept)]
        assert result.first_offset == 0
        assert all(batch.first_offset == before.next_offset for before, batch in pairwise(batches))
        assert all(1_700_000_000_000 < at < 4_000_000_000_000 for at in result.columns.received_at_ms.tolist())
        assert consumer.highwater(partition) == (await consumer.end_offsets([partition]))[partition]
        assert consumer.assignment() == {partition}

        # a consumer in aiokafka's own way, in the same process, still gets records
        plain = AIOKafkaConsumer(
            topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        async with plain:
            first = await asyncio.wait_for(plain.getone(), 20)
            assert (first.offset, first.value) == kept[0]
    finally:
        await consumer.stop()


def number_of(record: tuple[int, bytes | None]) -> str:
    assert record[1] is not None
    return record[1].split(b'"')[3].decode().removeprefix("D-")


async def test_a_commit_keeps_its_metadata_and_a_successor_starts_inside_the_batch(kafka: str, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, compression_type="lz4", linger_ms=50) as producer:
        for sent in [await producer.send(topic, reading(value=number)) for number in range(100)]:
            await sent
    partition = TopicPartition(topic, 0)
    group = f"raw-{topic}"
    consumer = RawBatchConsumer([topic], bootstrap_servers=kafka, group_id=group)
    await consumer.start()
    try:
        await read_until(consumer, partition, 99)
        assert await consumer.committed(partition) is None
        await consumer.commit({partition: (37, "watermark=1782864000000")})
        assert await consumer.committed(partition) == (37, "watermark=1782864000000")
        assert await consumer.position(partition) == 100
    finally:
        await consumer.stop()

    successor = RawBatchConsumer([topic], bootstrap_servers=kafka, group_id=group)
    await successor.start()
    try:
        batches = await read_until(successor, partition, 99)
        result = decoder().decode(Source.READINGS, topic, 0, batches)
        assert result.columns.offset.tolist() == list(range(37, 100))
        assert (result.first_offset, result.last_offset) == (37, 99)

        successor.pause(partition)
        assert successor.paused() == {partition}
        successor.seek(partition, 90)
        assert await successor.getmany(timeout_ms=300) == {}
        successor.resume(partition)
        result = decoder().decode(Source.READINGS, topic, 0, await read_until(successor, partition, 99))
        assert result.columns.offset.tolist() == list(range(90, 100))
    finally:
        await successor.stop()


async def test_what_was_handed_out_is_never_beyond_the_end_while_the_partition_is_written_to(
    kafka: str, topic: str
) -> None:
    place = TopicPartition(topic, 0)
    written = asyncio.Event()

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=0) as producer:
            for number in range(RECORDS):
                await producer.send_and_wait(topic, reading(device=f"D-{number}", value=1.0))
        written.set()

    consumer = RawBatchConsumer([topic], bootstrap_servers=kafka, group_id=uuid4().hex)
    await consumer.start()
    writing = asyncio.create_task(write())
    try:
        reached = 0
        while not (written.is_set() and reached >= RECORDS):
            for batches in (await consumer.getmany(timeout_ms=20)).values():
                reached = batches[-1].next_offset
            standing = consumer.standing(place)
            assert standing is None or standing[0] <= standing[1]
    finally:
        await writing
        await consumer.stop()
