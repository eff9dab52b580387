"""What a member of a group gets of its partitions: from the committed offset on, when it has become visible, in odd
portions. A partition may lag: its records reach the group seconds after others that were appended later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from tests.chaos.simulator.broker import Record
from tests.chaos.simulator.groups import Committed, Member, Partitions


@dataclass(slots=True, eq=False)
class Fetcher:
    """The positions of one member, and its long poll."""

    member: Member
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    _waiter: asyncio.Future[None] | None = None
    _waking: bool = False

    def __post_init__(self) -> None:
        self.member.group.world.fetchers.append(self)

    def close(self) -> None:
        self.member.group.world.fetchers.remove(self)

    async def find_positions(self, places: Partitions) -> bool:
        """Go on where the group's commits say, else at the beginning. False when another assignment came meanwhile."""
        assignment = self.member.assignment
        self.positions.clear()
        found: dict[TopicPartition, int] = {}
        for place in sorted(places):
            committed = await self._committed(place)
            if self.member.assignment != assignment:
                return False
            log = self.member.group.world.broker.log(place)
            found[place] = log.begin if committed is None else max(committed.offset, log.begin)
        self.positions.update(found)
        return True

    async def _committed(self, place: TopicPartition) -> Committed | None:
        """The client asks by itself here, until it is told."""
        while True:
            try:
                return await self.member.committed(place)
            except KafkaError:
                await asyncio.sleep(0.1)

    def take(self, place: TopicPartition, most: int) -> list[Record]:
        """The next records that are visible, at most so many; the position moves behind them."""
        if place not in self.positions or place not in self.member.mine or not self.reachable:
            return []
        world = self.member.group.world
        position, end = self.positions[place], world.visible_end(self.member.group.name, place)
        records = world.broker.log(place).read(position, until=end, most=most)
        if records:
            self.positions[place] = records[-1].offset + 1
        elif end > position:
            self.positions[place] = end  # a gap that compaction left
        return records

    def go_to(self, place: TopicPartition, offset: int) -> None:
        """Not of a partition that has gone meanwhile."""
        if place in self.member.mine and place in self.positions:
            self.positions[place] = max(offset, self.member.group.world.broker.log(place).begin)

    @property
    def reachable(self) -> bool:
        world = self.member.group.world
        return not self.member.process.silent and world.network.kafka.away_until <= world.loop.time()

    def has_news(self, places: Iterable[TopicPartition]) -> bool:
        world, group = self.member.group.world, self.member.group.name
        return self.reachable and any(
            place in self.positions and world.visible_end(group, place) > self.positions[place] for place in places
        )

    async def wait(self, seconds: float) -> None:
        """Until something may have come, or so long."""
        loop = self.member.group.world.loop
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def appended(self, place: TopicPartition) -> None:
        """Something new lies on the broker."""
        if place not in self.member.mine:
            return
        world = self.member.group.world
        lag = world.lag_of(self.member.group.name, place)
        if lag:
            self.member.process.later(lag, self._wake)
        elif not self._waking:
            self._waking = True
            self.member.process.later(world.chance.random() * 0.004, self._wake_soon)

    def _wake_soon(self) -> None:
        self._waking = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
