"""The Kafka sink on a real broker: every record arrives once, in its partition, in order, byte for byte."""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.simulation.pace import Pace
from deploy.simulation.simulation import Simulation
from deploy.simulation.sinks import KafkaSink
from schemas.errors import BrokerError
from schemas.sources import Source
from streams.topic_admin import apply
from streams.topics import TopicsSettings, topic_specs
from tests.deploy.simulation.small import STORM, settings

PREFIX: Final = "simulated."
PARTITIONS: Final = {Source.READINGS: 3, Source.CAMERA_EVENTS: 2, Source.TICKETS: 1}
MADE: Final = settings(storms=(STORM,), fires=1, devices=400)

Log = dict[tuple[Source, int], list[tuple[bytes, bytes]]]


@pytest.mark.live
def test_a_run_arrives_whole_and_in_order_at_the_pace_asked_for(kafka: str) -> None:
    specs = topic_specs(
        TopicsSettings(
            prefix=PREFIX, replication=1, readings_partitions=3, camera_events_partitions=2, tickets_partitions=1
        )
    )
    apply(kafka, specs[:3])
    expected: Log = defaultdict(list)
    for record in Simulation(MADE).records():
        partition = zlib.crc32(record.partition_key) % PARTITIONS[record.source]
        expected[record.source, partition].append((record.partition_key, record.payload))
    total = sum(map(len, expected.values()))
    topics = {source: PREFIX + source.topic for source in Source}
    sent = KafkaSink(kafka, topics, PARTITIONS).run(Simulation(MADE), Pace(rate=total / 2), lambda *_: None)
    assert sent.records == total and sent.seconds > 1.8
    assert sent.payload_bytes == sum(len(payload) for records in expected.values() for _, payload in records)
    assert read(kafka) == expected


def test_a_broker_that_is_not_there_is_told() -> None:
    topics = {source: PREFIX + source.topic for source in Source}
    with pytest.raises(BrokerError, match=r"kafka at 127\.0\.0\.1:1: "):
        KafkaSink("127.0.0.1:1", topics, PARTITIONS).run(Simulation(MADE), Pace(), lambda *_: None)


def read(bootstrap: str) -> Log:
    async def run() -> Log:
        found: Log = defaultdict(list)
        places = {
            TopicPartition(PREFIX + source.topic, p): (source, p) for source, n in PARTITIONS.items() for p in range(n)
        }
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, check_crcs=True)
        await consumer.start()
        try:
            consumer.assign(list(places))
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(list(places))
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for place, records in (await consumer.getmany(timeout_ms=500)).items():
                    found[places[place]] += [(record.key, record.value) for record in records]
        finally:
            await consumer.stop()
        return found

    return asyncio.run(run())
