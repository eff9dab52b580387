"""The broker's logs: topics of partitions of records, with Kafka's manners. No network here, no groups."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError, UnknownTopicOrPartitionError

from streams.topics import TopicSpec

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

_offset = attrgetter("offset")


@dataclass(frozen=True, slots=True)
class Record:
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    appended_at: float  # virtual time
    by: str  # who wrote it, for the trace


@dataclass(slots=True)
class PartitionLog:
    """One partition: records in the order of their offsets, which have gaps where compaction was."""

    place: TopicPartition
    compacted: bool
    records: list[Record] = field(default_factory=list)
    begin: int = 0
    end: int = 0

    def read(self, first: int, *, until: int | None = None, most: int = 1 << 30) -> list[Record]:
        """Records with first <= offset < until, at most so many."""
        at = bisect_left(self.records, first, key=_offset)
        found = []
        for record in self.records[at : at + most]:
            if until is not None and record.offset >= until:
                break
            found.append(record)
        return found

    def truncate(self, before: int) -> None:
        if before > self.end:
            raise OffsetOutOfRangeError
        self.begin = max(self.begin, before)
        self.records = self.read(self.begin)

    def compact(self) -> None:
        """Keep the last record of each key, but never touch the newest (the open segment)."""
        last = {record.key: record.offset for record in self.records}
        self.records = [r for r in self.records if last[r.key] == r.offset or r.offset == self.end - 1]


class Broker:
    """All topics. `on_append` hears of every append: whoever waits for records, and what acts on them."""

    def __init__(self, world: World, specs: Sequence[TopicSpec]) -> None:
        self._world = world
        self.clock_ahead_ms = 0
        self.on_append: list[Callable[[TopicPartition, Sequence[Record]], None]] = []
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.counts: dict[str, int] = {}
        self._keyed: dict[str, int] = {}
        for spec in specs:
            self.counts[spec.name] = spec.partitions
            compacted = spec.config.get("cleanup.policy") == "compact"
            for partition in range(spec.partitions):
                place = TopicPartition(spec.name, partition)
                self.logs[place] = PartitionLog(place, compacted)

    def log(self, place: TopicPartition) -> PartitionLog:
        try:
            return self.logs[place]
        except KeyError:
            raise UnknownTopicOrPartitionError(f"{place.topic}[{place.partition}]") from None

    def append(self, place: TopicPartition, messages: Sequence[tuple[bytes | None, bytes | None]], *, by: str) -> int:
        """(key, value) of a batch, which is there whole or not at all. Returns the first offset."""
        log, world = self.log(place), self._world
        first, at = log.end, world.now_ms(self.clock_ahead_ms)
        batch = [
            Record(first + index, key, value, at, world.loop.time(), by) for index, (key, value) in enumerate(messages)
        ]
        log.records += batch
        log.end += len(batch)
        for tell in self.on_append:
            tell(place, batch)
        return first

    def partition_of(self, topic: str, key: bytes | None) -> int:
        """By key, all of a key to one partition; without a key in turn."""
        if topic not in self.counts:
            raise UnknownTopicOrPartitionError(topic)
        if key is None:
            self._keyed[topic] = self._keyed.get(topic, -1) + 1
            return self._keyed[topic] % self.counts[topic]
        return sum(key) % self.counts[topic]

    def of(self, topic: str) -> Iterator[PartitionLog]:
        """The partitions of a topic."""
        for partition in range(self.counts[topic]):
            yield self.logs[TopicPartition(topic, partition)]

    def values(self, topic: str) -> Iterator[tuple[int, Record]]:
        """(partition, record) of all records of a topic, partition by partition."""
        for log in self.of(topic):
            for record in log.records:
                yield log.place.partition, record

    def sizes(self) -> Mapping[str, int]:
        """How many records each topic has got, whatever was deleted since."""
        return {topic: sum(log.end for log in self.of(topic)) for topic in self.counts}
