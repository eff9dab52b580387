"""What a real broker says of groups and partitions, and a consumer of Faust's that stops fetching."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.process import free_port
from schemas.errors import BrokerError, WorkerStuck
from streams.agents import Event, build_agents
from streams.group_offsets import GroupOffsets
from streams.liveness import Liveness, Partition, Standing, Watched

pytestmark = pytest.mark.live


@pytest.fixture
async def topic(kafka: str) -> AsyncIterator[str]:
    name = f"live-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1)])
    yield name
    await admin.delete_topics([name])
    await admin.close()


@pytest.fixture
async def offsets(kafka: str) -> AsyncIterator[GroupOffsets]:
    made = GroupOffsets(kafka, {})
    while True:  # a broker makes its topic of commits when it is first asked for a group
        with contextlib.suppress(BrokerError):
            await made.has_members("any")
            break
        await asyncio.sleep(0.1)
    yield made
    await made.close()


async def send(kafka: str, topic: str, count: int, *, transaction: str | None = None) -> None:
    """Records to partition 0; those of a transaction are aborted."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=transaction) as producer:
        if transaction is not None:
            await producer.begin_transaction()
        for _ in range(count):
            await producer.send_and_wait(topic, b"x" * 3_000, partition=0)
        if transaction is not None:
            await producer.abort_transaction()


async def test_commits_and_ends_are_told_with_and_without_a_commit(
    kafka: str, topic: str, offsets: GroupOffsets
) -> None:
    await send(kafka, topic, 5)
    group = f"{topic}-group"
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False) as consumer:
        consumer.subscribe([topic])
        await until(consumer.assignment)
        await consumer.commit({TopicPartition(topic, 0): 3})
        assert await offsets.has_members(group)
        found = await offsets.standings(group, [Partition(topic, 0), Partition(topic, 1)])
    assert found == {Partition(topic, 0): Standing(0, 5, 3), Partition(topic, 1): Standing(0, 0, None)}
    assert await offsets.begin_of(group, Partition(topic, 0)) == 3
    assert await offsets.begin_of(group, Partition(topic, 1)) == 0


async def test_a_commit_behind_the_end_of_a_partition_is_no_beginning(
    kafka: str, topic: str, offsets: GroupOffsets
) -> None:
    await send(kafka, topic, 2)
    group, place = f"{topic}-group", TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False) as consumer:
        consumer.subscribe([topic])
        await until(consumer.assignment)
        await consumer.commit({place: 7})  # as of a topic that was deleted and made anew
    assert await offsets.begin_of(group, Partition(topic, 0)) == 0
    assert not await offsets.has_members(group)
    assert not await offsets.has_members("nobody-ever")


async def test_only_records_count_not_the_markers_of_transactions(
    kafka: str, topic: str, offsets: GroupOffsets
) -> None:
    await send(kafka, topic, 2)
    await send(kafka, topic, 1, transaction=uuid4().hex)  # offset 2, and its marker at 3
    place = Partition(topic, 0)
    assert (await offsets.standings("any", [place]))[place].end == 4
    assert await offsets.has_record(place, 1, read_committed=True)
    assert not await offsets.has_record(place, 2, read_committed=True)
    assert await offsets.has_record(place, 2, read_committed=False)
    assert not await offsets.has_record(place, 3, read_committed=False)


async def test_no_broker_is_a_broker_error_and_no_more() -> None:
    nobody = GroupOffsets(f"127.0.0.1:{free_port()}", {})
    with pytest.raises(BrokerError, match="does not tell the offsets of group g"):
        await nobody.standings("g", [Partition("t", 0)])
    await nobody.close()


async def test_a_faust_app_that_fetches_no_more_is_found(
    kafka: str, topic: str, offsets: GroupOffsets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in faust-streaming/faust#175: a member of its group, heartbeats and all, that sends no fetch request.

    Fails when the watch believes the consumer instead of the broker: it says that it has read to the end.
    """
    monkeypatch.setattr("streams.liveness.CHECK_EVERY_S", 0.2)
    app = faust.App(
        f"{topic}-app", broker=f"kafka://{kafka}", store="memory://", datadir=tmp_path, web_enabled=False,
        topic_allow_declare=False, topic_disable_leader=True, topic_partitions=2, autodiscover=False,
        stream_wait_empty=False, broker_commit_interval=0.1, key_serializer="raw", value_serializer="raw",
        consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    taken = 0

    async def take(event: Event) -> None:
        nonlocal taken
        taken += 1
        event.ack()

    build_agents(app, {"agent": topic}, take)
    watched = Watched("test", app.conf.id, lambda: app.consumer.assignment())
    liveness = Liveness([watched], offsets, stuck_after_s=2.0)
    await send(kafka, topic, 3)
    await app.start()
    try:
        await liveness.start()
        await until(lambda: taken == 3)
        await asyncio.sleep(3.0)
        assert not liveness.crashed, "a consumer that has read everything is no dead one"
        fetcher: Any = app.consumer._thread._consumer._fetcher  # type: ignore[attr-defined]  # it is broken here
        fetcher._fetch_task.get_loop().call_soon_threadsafe(fetcher._fetch_task.cancel)
        await send(kafka, topic, 4)
        await until(lambda: liveness.crashed)
        assert isinstance(liveness.crash_reason, WorkerStuck)
        # a fetch that was under way may have brought the first of the four
        assert re.search(r"\[0\] at offset [34], \d waiting", str(liveness.crash_reason))
    finally:
        await liveness.stop()
        await app.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  it comes from other threads
            await asyncio.sleep(0.05)
