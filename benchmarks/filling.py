"""Fills topics fast: whole record batches built in this process, one producer, lz4 as a busy gateway would send."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

BATCH_BYTES = 256 * 1024
IN_FLIGHT = 24


async def fill(bootstrap: str, records: Iterable[tuple[str, int, bytes]]) -> int:
    """Send (topic, partition, value) in order within each partition; returns how many bytes of values were sent."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type="lz4", max_batch_size=BATCH_BYTES, acks=1, linger_ms=0
    )
    await producer.start()
    sent = 0
    builders: dict[tuple[str, int], Any] = {}
    waiting: list[asyncio.Future[object]] = []
    try:
        for topic, partition, value in records:
            key = (topic, partition)
            builder = builders.get(key)
            if builder is None:
                builder = builders[key] = producer.create_batch()
            if builder.append(key=None, value=value, timestamp=None) is None:
                waiting.append(await producer.send_batch(builder, topic, partition=partition))
                builder = builders[key] = producer.create_batch()
                builder.append(key=None, value=value, timestamp=None)
            sent += len(value)
            if len(waiting) >= IN_FLIGHT:
                await asyncio.gather(*waiting)
                waiting = []
        for (topic, partition), builder in builders.items():
            waiting.append(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    return sent
