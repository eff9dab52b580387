"""Consumer groups: who has which partitions, in the eager way of aiokafka and Faust.

Each rebalance takes everything from everybody: a member is told that it must join again at its next heartbeat, gives
back what it has, asks to join, and gets its share when all have asked or the time for it is up. A member that is silent
longer than the session timeout is out. It does not know: it goes on with what it had until a heartbeat tells it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from tests.chaos.simulator.process import PROCESS, SERVER, Process

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

Partitions = frozenset[TopicPartition]
NOTHING: Partitions = frozenset()


class Committed(NamedTuple):
    offset: int
    metadata: str


@dataclass(slots=True, eq=False)
class Member:
    """One consumer in a group, on the side of the client. `revoked` and `assigned` are its listener's."""

    group: Group
    process: Process
    topics: tuple[str, ...]
    revoked: Callable[[Partitions], Awaitable[None]]
    assigned: Callable[[Partitions], Awaitable[None]]
    number: int = 0
    generation: int = -1
    mine: Partitions = NOTHING
    """What it believes to have."""
    assignment: int = 0
    """Counts assignments: what was fetched under an older one is not handed out any more."""
    closed: bool = False
    _settled: bool = False
    _told: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.process.on_silence.append(self._silent)
        self.process.on_return.append(self.hear)
        self._task = self.process.spawn(self._run(), f"member of {self.group.name}")

    async def leave(self) -> None:
        self.closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.process.on_silence.remove(self._silent)
        self.process.on_return.remove(self.hear)
        await self.group.world.network.ask(f"leave {self.group.name}", lambda: self.group.remove(self, "leaves"))
        self.mine = NOTHING

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """IllegalStateError for what is not ours as far as we know, CommitFailedError when the group knows better."""
        for place in offsets:
            if place not in self.mine:
                raise IllegalStateError(f"partition {place} is not assigned")
        generation = self.generation
        await self.group.world.network.ask(
            f"commit {self.group.name}", lambda: self.group.commit(self, generation, offsets)
        )

    async def committed(self, place: TopicPartition) -> Committed | None:
        return await self.group.world.network.ask(
            f"committed {self.group.name}", lambda: self.group.committed.get(place)
        )

    def hear(self) -> None:
        """The next heartbeat will tell whether the group goes on without us, or is being divided."""
        self.process.later(self.group.world.chance.uniform(0, self.group.heartbeat_s), self._beat)

    def _beat(self) -> None:
        if self._settled and not self.process.silent and not self.group.is_content(self):
            self._told.set()

    def _silent(self) -> None:
        self.group.count_silence(self)

    async def _run(self) -> None:
        while not self.closed:
            self._settled = False
            self._told.clear()
            await self.revoked(self.mine)
            self.generation, self.mine = await self.group.join(self)
            self.assignment += 1
            await self.assigned(self.mine)
            self._settled = True
            if not self.group.is_content(self):
                self.hear()
            await self._told.wait()


class Group:
    """The broker's side of one group. Members are heard of as long as their processes are not silent."""

    def __init__(self, world: World, name: str, *, session_s: float, heartbeat_s: float, rebalance_s: float) -> None:
        self.world = world
        self.name = name
        self.session_s = session_s
        self.heartbeat_s = heartbeat_s
        self.rebalance_s = rebalance_s
        self.committed: dict[TopicPartition, Committed] = {}
        self.rebalances = 0
        self._generation = 0
        self._members: list[Member] = []
        self._asking: dict[Member, asyncio.Future[tuple[int, Partitions]]] = {}
        self._dividing = False
        self._numbers = count()

    async def join(self, member: Member) -> tuple[int, Partitions]:
        answer: asyncio.Future[tuple[int, Partitions]] = self.world.loop.create_future()

        def ask() -> None:
            if member.closed:
                return
            if member not in self._members:
                member.number = next(self._numbers)
                self._members.append(member)
            self._asking[member] = answer
            self._divide("is joined by", member)
            if member.process.silent:  # it has died since it asked
                self.count_silence(member)

        await self.world.network.ask(f"join {self.name}", ask)
        return await answer

    def remove(self, member: Member, why: str) -> None:
        self._asking.pop(member, None)
        if member in self._members:
            self._members.remove(member)
            self.world.trace.say(f"group {self.name}: {member.process.name} {why}")
            self._divide("", None)

    def is_content(self, member: Member) -> bool:
        """Whether a heartbeat of the member is answered without a word."""
        return member in self._members and not self._dividing and member.generation == self._generation

    def count_silence(self, member: Member) -> None:
        """The member's process has fallen silent; its last heartbeat was some time ago."""
        since = self.world.loop.time() - self.world.chance.uniform(0, self.heartbeat_s)

        def expire() -> None:
            if member in self._members and member.process.silent:
                self.remove(member, "is out: no heartbeat")

        self.world.loop.call_at(since + self.session_s, expire, context=SERVER)

    def commit(self, member: Member, generation: int, offsets: Mapping[TopicPartition, Committed]) -> None:
        if member not in self._members or generation != self._generation:
            raise CommitFailedError
        self.committed.update(offsets)

    # --- dividing --------------------------------------------------------------------------------------------------

    def _divide(self, what: str, member: Member | None) -> None:
        if not self._dividing:
            self._dividing = True
            self.rebalances += 1
            if member is not None:
                self.world.trace.say(f"group {self.name} {what} {member.process.name}")
            for other in self._members:
                if other not in self._asking:
                    other.hear()
            self.world.loop.call_later(self.rebalance_s, self._time_is_up, self.rebalances, context=SERVER)
        if all(other in self._asking for other in self._members):
            # a little later: whoever starts at the same time is in the first assignment
            self.world.loop.call_later(self.world.chance.uniform(0, 0.1), self._complete, context=SERVER)

    def _time_is_up(self, rebalance: int) -> None:
        if self._dividing and rebalance == self.rebalances:
            for late in [member for member in self._members if member not in self._asking]:
                self._members.remove(late)
                self.world.trace.say(f"group {self.name}: {late.process.name} is out: it did not join again in time")
            self._complete()

    def _complete(self) -> None:
        if not self._dividing or not all(member in self._asking for member in self._members):
            return
        self._dividing = False
        self._generation += 1
        shares = self._shares()
        asking, self._asking = self._asking, {}
        for member, answer in asking.items():
            share = shares.get(member, NOTHING)
            self.world.loop.call_later(
                self.world.chance.uniform(0, 0.005), _answer, member, answer, (self._generation, share), context=SERVER
            )
        said = "; ".join(
            f"{member.process.name}: {', '.join(f'{p.topic}[{p.partition}]' for p in sorted(share))}"
            for member, share in shares.items()
        )
        self.world.trace.say(f"group {self.name} divided: {said or 'nobody is in it'}")

    def _shares(self) -> dict[Member, Partitions]:
        members = list(self._members)
        if not members:
            return {}
        self.world.chance.shuffle(members)
        shares: dict[Member, set[TopicPartition]] = {member: set() for member in members}
        topics = sorted({topic for member in members for topic in member.topics})
        places = [log.place for topic in topics for log in self.world.broker.of(topic)]
        for index, place in enumerate(places):
            shares[members[index % len(members)]].add(place)
        return {member: frozenset(share) for member, share in shares.items()}


def _answer(member: Member, answer: asyncio.Future[tuple[int, Partitions]], said: tuple[int, Partitions]) -> None:
    if not answer.done():
        answer.set_result(said)


def calling_process() -> Process:
    process = PROCESS.get()
    assert process is not None, "a client belongs to a simulated process"
    return process
