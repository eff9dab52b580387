"""A `Log` in memory with Kafka's manners: offsets per partition, compaction with gaps, deletion from the front."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence

from schemas.errors import BrokerError
from streams.shard_store import Message


class MemoryLog:
    def __init__(self) -> None:
        self.messages: dict[tuple[str, int], list[Message]] = defaultdict(list)
        self.ends: dict[tuple[str, int], int] = defaultdict(int)
        self.fail_appends = 0  # this many appends raise before one works

    async def append(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        await asyncio.sleep(0)
        if self.fail_appends:
            self.fail_appends -= 1
            raise BrokerError("append refused on purpose")
        where = (topic, partition)
        offset = self.ends[where]
        self.ends[where] = offset + 1
        self.messages[where].append(Message(offset, key, value, 0))
        return offset

    async def append_many(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        for value in values:
            await self.append(topic, partition, value)

    async def scan(self, topic: str, partition: int) -> AsyncIterator[Message]:
        for message in list(self.messages[topic, partition]):
            await asyncio.sleep(0)
            yield message

    async def read_range(self, topic: str, partition: int, first: int, last: int) -> list[Message]:
        return [message for message in self.messages[topic, partition] if first <= message.offset <= last]

    async def read_at(self, topic: str, partition: int, offsets: Iterable[int]) -> list[Message]:
        wanted = sorted(set(offsets))
        there = {message.offset: message for message in self.messages[topic, partition]}
        gone = [offset for offset in wanted if offset not in there]
        if gone:
            raise BrokerError(f"read of {topic}[{partition}]: {len(gone)} of {len(wanted)} messages are gone")
        return [there[offset] for offset in wanted]

    async def truncate_before(self, topic: str, partition: int, offset: int) -> None:
        where = (topic, partition)
        self.messages[where] = [message for message in self.messages[where] if message.offset >= offset]

    def compact(self, topic: str, partition: int) -> None:
        """Keep the last message of every key; the offsets of the others become gaps."""
        where = (topic, partition)
        last = {message.key: message.offset for message in self.messages[where]}
        self.messages[where] = [message for message in self.messages[where] if last[message.key] == message.offset]
