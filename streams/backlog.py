"""Whether a consumer group has taken in what lay there before: asked of the broker, from outside the group."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)


class Backlog:
    """The messages of one topic that were there when it was first asked. Asks again and again until they are taken."""

    def __init__(self, bootstrap_servers: str, *, group: str, topic: str, client_options: Mapping[str, Any]) -> None:
        self._servers = bootstrap_servers
        self._group = group
        self._topic = topic
        self._options = dict(client_options)
        self._ends: dict[TopicPartition, int] | None = None
        self._question = 0  # so many have been forgotten

    async def is_taken(self) -> bool:
        """Whether the group has committed all of them. False also while the broker gives no answer, and when the
        question is forgotten meanwhile."""
        question, ends = self._question, self._ends
        try:
            if ends is None:
                ends = await self._end_offsets()
            committed = await self._committed()
        except KafkaError as problem:
            log.info("backlog of %s: no answer (%r), asking again", self._topic, problem)
            return False
        if question != self._question:
            return False
        self._ends = ends
        return all(end == 0 or committed.get(place, -1) >= end for place, end in ends.items())

    def forget(self) -> None:
        """The next question is about what lies there then."""
        self._question += 1
        self._ends = None

    async def _end_offsets(self) -> dict[TopicPartition, int]:
        places = [TopicPartition(self._topic, partition) for partition in await self._partitions()]
        consumer = AIOKafkaConsumer(bootstrap_servers=self._servers, group_id=None, **self._options)
        try:
            await consumer.start()
            ends = await consumer.end_offsets(places)
            begins = await consumer.beginning_offsets(places)
            # nothing to take in a partition whose messages were all deleted
            return {place: end if end > begins[place] else 0 for place, end in ends.items()}
        finally:
            await consumer.stop()

    async def _partitions(self) -> list[int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, **self._options)
        try:
            await admin.start()
            (topic,) = await admin.describe_topics([self._topic])
            return sorted(entry["partition"] for entry in topic["partitions"])
        finally:
            await admin.close()

    async def _committed(self) -> dict[TopicPartition, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, **self._options)
        try:
            await admin.start()
            found = await admin.list_consumer_group_offsets(self._group)
            return {place: entry.offset for place, entry in found.items()}
        finally:
            await admin.close()
