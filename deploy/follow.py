"""Reads a topic from outside any consumer group: from now on, from a moment, or all that is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from deploy.console import UsageProblem, say
from streams.tasks import within
from streams.topic_admin import BrokerAway, check_reachable, partition_counts

POLL_MS: Final = 500
STOP_WITHIN_S: Final = 3.0
AWAY_CHECK_S: Final = 5.0
"""How long a topic may be silent before we ask whether the broker is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where to begin: at a moment (epoch ms, by the record timestamps), at the beginning, else at the end."""

    beginning: bool = False
    at_ms: int | None = None


async def follow(
    bootstrap: str, topic: str, *, options: Mapping[str, Any], start: Start, once: bool
) -> AsyncGenerator[ConsumerRecord, None]:
    """The records of all partitions of `topic`, in order within a partition, by timestamp within one fetch.

    With `once` it ends at what was the end when it began, else never. Raises BrokerAway, UsageProblem.
    """
    existing = await asyncio.to_thread(partition_counts, bootstrap, options=options)
    if topic not in existing:
        names = ", ".join(sorted(existing)) or "none at all"
        raise UsageProblem(f"topic {topic!r} does not exist at {bootstrap}; there are: {names}")
    partitions = [TopicPartition(topic, number) for number in range(existing[topic])]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 * 1024 * 1024,
        **options,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await _seek(consumer, partitions, start, ends)
        last_answer = time.monotonic()
        away = False
        while not (once and await _is_done(consumer, ends)):
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            records = [record for batch in fetched.values() for record in batch]
            if records:
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer > AWAY_CHECK_S:
                away = await _notice_absence(bootstrap, away)
                last_answer = time.monotonic()
            records.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
            for record in records:
                if not once or record.offset < ends[TopicPartition(topic, record.partition)]:
                    yield record
    except KafkaError as error:
        raise BrokerAway(f"kafka at {bootstrap}: {error}") from error
    finally:
        await within(STOP_WITHIN_S, consumer.stop())


async def _seek(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], start: Start, ends: Mapping[TopicPartition, int]
) -> None:
    if start.at_ms is not None:
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, start.at_ms))
        for partition in partitions:
            hit = found.get(partition)
            consumer.seek(partition, ends[partition] if hit is None else hit.offset)
    elif start.beginning:
        await consumer.seek_to_beginning(*partitions)
    else:
        for partition in partitions:
            consumer.seek(partition, ends[partition])


async def _is_done(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True


async def _notice_absence(bootstrap: str, was_away: bool) -> bool:
    try:
        await asyncio.to_thread(check_reachable, bootstrap)
    except BrokerAway as error:
        if not was_away:
            say(f"{error}; waiting for it 等待恢复", style="yellow")
        return True
    if was_away:
        say("kafka answers again 已恢复", style="green")
    return False
