"""Small stand-ins around the loop: events, a producer that remembers, and a core that counts what it is given."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec

from schemas.incident import IncidentChange
from schemas.loop_record import NO_OFFSET, LoopRecord
from schemas.notification import Notification, NotificationKind
from streams.loop_discovery import Outcome
from streams.loop_incident import Incidents
from tests.support.memory_log import MemoryLog


class Event:
    """A Faust event, as far as agents use one."""

    def __init__(
        self, topic: str, value: bytes | None, offset: int, *, partition: int = 0, at_ms: int = 1_782_864_000_000
    ) -> None:
        self.value: Any = value
        self.message = SimpleNamespace(
            topic=topic, partition=partition, offset=offset, value=value, timestamp=at_ms / 1000
        )
        self.acked = False

    def ack(self) -> bool:
        self.acked = True
        return True


class Sent:
    """A producer whose messages are durable at once, or when told."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, bytes]] = []
        self.held: asyncio.Event | None = None

    async def send(self, topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        self.messages.append((topic, value, key))
        return asyncio.ensure_future(self.held.wait() if self.held else asyncio.sleep(0))

    def on(self, topic: str) -> list[bytes]:
        return [value for where, value, _ in self.messages if where == topic]


class CountingCore:
    """Tells one notification for each record of the log that is no repeat, numbered by source partition.

    Its parts are one for each source partition, so that most of them rest while one changes.
    """

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, int]] = {}  # partition of a source -> last offset, records so far
        self.incidents = Incidents()
        self.outcomes: Counter[Outcome] = Counter()
        self._dirty: set[str] = set()

    def apply(self, record: LoopRecord, offset: int) -> list[IncidentChange | Notification]:
        place = f"{record.cause_topic}:{record.cause_partition}"
        last, count = self.seen.get(place, (-1, 0))
        if record.cause_offset != NO_OFFSET and record.cause_offset <= last:
            return []
        self.seen[place] = max(last, record.cause_offset), count + 1
        self._dirty.add(place)
        told = Notification(
            notification_id=f"{offset}-0", kind=NotificationKind.FILED, to="desk", to_actor=False, incident_id=place,
            revision=count, at_ms=record.arrived_ms, action_id=None, refusal=None, legal=[], cause=record.cause,
            sentence_zh=f"第{count}条", sentence_en=f"number {count}",
        )  # fmt: skip
        return [told]

    def dirty_parts(self) -> Mapping[str, bytes]:
        dirty, self._dirty = self._dirty, set()
        return {place: part for place, part in self.parts().items() if place in dirty}

    def parts(self) -> Mapping[str, bytes]:
        return {place: msgspec.msgpack.encode(seen) for place, seen in sorted(self.seen.items())}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        self.seen = {place: msgspec.msgpack.decode(part, type=tuple[int, int]) for place, part in parts.items()}


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(300):
        await asyncio.sleep(0)


def values(log: MemoryLog, topic: str) -> Iterable[bytes]:
    """The messages of a topic's partition 0."""
    return [message.value for message in log.messages[topic, 0] if message.value is not None]
