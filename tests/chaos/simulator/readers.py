"""Take the places of AIOKafkaConsumer without a group, and of AIOKafkaAdminClient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError, PolicyViolationError

from tests.chaos.simulator.broker import Record
from tests.chaos.simulator.groups import Committed, calling_process


class SimReader:
    """A consumer of partitions that it names itself."""

    def __init__(self, **options: Any) -> None:
        self._world = calling_process().world
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        if self._world.network.kafka.away_until > self._world.loop.time():
            raise KafkaConnectionError("no broker answers")

    async def stop(self) -> None: ...

    def assign(self, places: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(places, 0)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._positions[place] = offset

    async def position(self, place: TopicPartition) -> int:
        return self._positions[place]

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        broker = self._world.broker
        return await self._world.network.ask("offsets", lambda: {place: broker.log(place).begin for place in places})

    async def end_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        broker = self._world.broker
        return await self._world.network.ask("offsets", lambda: {place: broker.log(place).end for place in places})

    async def getmany(self, place: TopicPartition, *, timeout_ms: int) -> dict[TopicPartition, list[_Message]]:
        log, position = self._world.broker.log(place), self._positions[place]

        def fetch() -> list[Record]:
            if position < log.begin:
                raise OffsetOutOfRangeError({place: position})
            return log.read(position, most=self._world.chance.choice((1, 3, 50)))

        records = await self._world.network.ask(f"read {place.topic}", fetch)
        # offsets that compaction took are passed over with the next record, or at the end
        self._positions[place] = records[-1].offset + 1 if records else log.end
        return {place: [_Message(record) for record in records]}


class _Message:
    """A ConsumerRecord, as far as it is looked at."""

    __slots__ = ("key", "offset", "timestamp", "value")

    def __init__(self, record: Record) -> None:
        self.offset = record.offset
        self.key = record.key
        self.value = record.value
        self.timestamp = record.timestamp_ms


class SimAdmin:
    """The administration that the product does while it runs."""

    def __init__(self, **options: Any) -> None:
        self._world = calling_process().world

    async def start(self) -> None:
        if self._world.network.kafka.away_until > self._world.loop.time():
            raise KafkaConnectionError("no broker answers")

    async def close(self) -> None: ...

    async def delete_records(self, wanted: Mapping[TopicPartition, Any]) -> None:
        def delete() -> None:
            for place, records in wanted.items():
                log = self._world.broker.log(place)
                if log.compacted:
                    raise PolicyViolationError
                log.truncate(records.before_offset)

        await self._world.network.ask("delete records", delete)

    async def describe_topics(self, topics: Sequence[str]) -> list[dict[str, Any]]:
        counts = self._world.broker.counts
        return await self._world.network.ask(
            "metadata",
            lambda: [
                {"topic": topic, "partitions": [{"partition": number} for number in range(counts[topic])]}
                for topic in topics
            ],
        )

    async def list_consumer_group_offsets(
        self, group: str, partitions: Sequence[TopicPartition] | None = None
    ) -> dict[TopicPartition, Committed]:
        return await self._world.network.ask("group offsets", lambda: dict(self._world.group(group).committed))
