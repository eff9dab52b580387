"""What a topic holds."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition


async def messages_of(bootstrap: str, topic: str, partitions: int) -> list[Any]:
    """Every message of a topic that is there now, each partition in its order."""
    places = [TopicPartition(topic, p) for p in range(partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        messages: list[Any] = []
        await consumer.seek_to_beginning(*places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for found in (await consumer.getmany(timeout_ms=100)).values():
                messages += found
        return messages
    finally:
        await consumer.stop()
