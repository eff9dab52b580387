"""Takes the place of `faust.App` as far as `streams.agents.build_agents` and the worker use one.

What Faust does with offsets is Faust's own code (`Consumer._new_offset`, with its known holes); what it does in a
rebalance is written here after faust/app/base.py and faust/tables/recovery.py: the flow is stopped, buffers are
emptied, an agent in the middle of an event is left to finish it, our listeners are told, and after the new assignment
every partition goes on at its committed offset.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from faust.transport.consumer import Consumer
from intervaltree import IntervalTree  # type: ignore[import-untyped]  # comes with Faust, which keeps its gaps in it

from streams import faust_transport
from streams.footing import Footing
from tests.chaos.simulator.broker import Record
from tests.chaos.simulator.fetching import Fetcher
from tests.chaos.simulator.groups import Committed, Member, Partitions, calling_process

LONG_POLL_S: Final = 5.0
BUFFER: Final = 64

Handler = Callable[..., Awaitable[None]]


class SimApp:
    """One app: agents of some topics, in a consumer group of its own."""

    stops_to_seek = True  # as our own transport does it; Faust does not

    def __init__(
        self,
        group: str,
        *,
        broker_session_timeout: float,
        broker_commit_interval: float = 1.0,
        stream_buffer_maxsize: int = BUFFER,
        **options: Any,
    ) -> None:
        self.conf = SimpleNamespace(id=group)
        self.label = group
        self.should_stop = False
        self.crashed = False
        self.crash_reason: BaseException | None = None
        self.on_partitions_assigned = Signal()
        self.on_partitions_revoked = Signal()
        self._process = calling_process()
        self._world = self._process.world
        # what the last fetch said of the end; nearly always that is the end now
        self.consumer = SimpleNamespace(highwater=lambda place: self._world.broker.log(TopicPartition(*place)).end)
        self._group = self._world.group(group, broker_session_timeout)
        self._commit_every_s = broker_commit_interval
        self._buffer = min(stream_buffer_maxsize, BUFFER)
        self._streams: dict[str, Stream] = {}
        self._agents: list[tuple[str, Callable[[Stream], Awaitable[None]]]] = []
        self._work: list[Callable[[], Awaitable[None]]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._member: Member | None = None
        self._fetcher: Fetcher | None = None
        self._flow = asyncio.Event()
        self._offsets = Offsets()
        self._footing = Footing()
        self._seeking = asyncio.Lock()
        self._committing = False  # one is due or under way
        self._commit_again = False

    # --- what build_agents calls -----------------------------------------------------------------------------------

    def topic(self, name: str, **options: Any) -> str:
        return name

    def agent(
        self, topic: str, *, name: str, concurrency: int
    ) -> Callable[[Callable[[Stream], Awaitable[None]]], None]:
        def register(consume: Callable[[Stream], Awaitable[None]]) -> None:
            self._streams[topic] = Stream(self, self._buffer)
            self._agents.append((topic, consume))

        return register

    def task(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work.append(work)

    async def crash(self, problem: BaseException) -> None:
        if not self.crashed:
            self._world.trace.crashed(self._process.name, self.label, problem)
        self.crashed, self.crash_reason = True, problem

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        spawn = self._process.spawn
        self._member = Member(self._group, self._process, tuple(self._streams), self._revoked, self._assigned)
        self._fetcher = Fetcher(self._member)
        for topic, consume in self._agents:
            self._tasks.append(spawn(_ended(partial(consume, self._streams[topic]), times=2), f"agent of {topic}"))
        self._tasks += [spawn(_ended(work), f"task of {self.label}") for work in self._work]
        self._tasks.append(spawn(self._consume(self._member, self._fetcher), f"consumer of {self.label}"))
        self._member.start()

    async def stop(self) -> None:
        self.should_stop = True
        if self._member is None or self._fetcher is None:
            return
        self._flow.clear()
        self._footing.stopped()
        await asyncio.sleep(0)
        await self._commit(self._member)
        self._fetcher.close()
        await self._member.leave()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- rebalancing -----------------------------------------------------------------------------------------------

    async def _revoked(self, places: Partitions) -> None:
        self._footing.revoked()
        self._offsets.forget(places)
        if self.should_stop:
            return
        if places:
            self._flow.clear()
            self._empty_buffers()
        try:
            await self.on_partitions_revoked.send(self, places)
        except Exception as problem:
            await self.crash(problem)

    async def _assigned(self, places: Partitions) -> None:
        self._footing.assigned()
        if self.should_stop:
            return
        await asyncio.sleep(0)
        try:
            await self.on_partitions_assigned.send(self, places)
        except Exception as problem:
            await self.crash(problem)
        self._process.spawn(self._go_on(places), f"recovery of {self.label}")

    async def _go_on(self, places: Partitions) -> None:
        """As Faust's recovery: when partitions were taken away meanwhile, and none given yet, the flow goes on."""
        assert self._member is not None and self._fetcher is not None
        await asyncio.sleep(self._world.chance.uniform(0, 0.02))
        since = self._footing.division
        if self.stops_to_seek:
            self._flow.clear()
            self._footing.stopped()
        try:
            committed = await self._went_back(self._fetcher, places)
        except KafkaError as problem:
            await self.crash(problem)
            return
        if committed is None:
            return
        for place in places:
            self._offsets.went_to(place, committed[place])
        if self._footing.went_back(since):
            self._offsets.forget_acknowledged()
        self._flow.set()

    async def _went_back(self, fetcher: Fetcher, places: Partitions) -> Mapping[TopicPartition, int | None] | None:
        """What is committed. The consumer has begun to fetch when it heard of its partitions; what came until now is
        thrown away, and the consumer set back as our own transport does that."""
        assignment = fetcher.member.assignment
        if not await fetcher.find_positions(places) or fetcher.member.assignment != assignment:
            return None  # divided anew: Faust lets go of a recovery, but not of a seek that has begun
        for place in sorted(places):
            fetcher.take(place, self._world.chance.choice((0, 1, 5)))
        if not places:
            return {}
        thread: Any = SimpleNamespace(_ensure_consumer=lambda: SimPositions(fetcher), _seeking=self._seeking)
        committed: Mapping[TopicPartition, int | None] = await faust_transport._Thread._seek_to_committed(thread)
        return committed if fetcher.member.assignment == assignment else None  # else divided anew meanwhile

    def _empty_buffers(self) -> None:
        for stream in self._streams.values():
            stream.clear()

    # --- messages --------------------------------------------------------------------------------------------------

    async def _consume(self, member: Member, fetcher: Fetcher) -> None:
        chance = self._world.chance
        while not self.should_stop:
            await self._flow.wait()
            places = sorted(member.mine)
            if not fetcher.has_news(places):
                await fetcher.wait(LONG_POLL_S if fetcher.reachable else 1.0)
                continue
            assignment = member.assignment
            try:
                self._world.faults.fetch(self._process)
            except KafkaError as problem:
                await self.crash(problem)
                return
            chance.shuffle(places)
            for place in places:
                if not self._flow.is_set() or member.assignment != assignment:
                    break  # what is taken now would be of the new assignment, and be lost to it
                for record in fetcher.take(place, chance.choice((1, 2, 5, 50))):
                    if not self._flow.is_set() or member.assignment != assignment:
                        break
                    await self._pass_on(place, record, assignment, member)

    async def _pass_on(self, place: TopicPartition, record: Record, assignment: int, member: Member) -> None:
        if not await self._offsets.wants(place, record.offset):
            return
        stream = self._streams[place.topic]
        event = SimEvent(self, place, record, self._footing.mark(assignment))
        while not stream.has_room:
            await stream.wait_for_room(1.0)
            if not self._flow.is_set() or member.assignment != assignment:
                return
        stream.put(event)
        self._offsets.has_read(place, record.offset)

    # --- acknowledgement -------------------------------------------------------------------------------------------

    def wants(self, event: SimEvent) -> bool:
        """What Faust's stream looks at before it hands an event to the agent."""
        return self._flow.is_set() and self._member is not None and event.generation == self._member.assignment

    def acknowledged(self, event: SimEvent) -> bool:
        assert self._member is not None
        if not self._footing.counts(event.generation, self._member.assignment):
            return False
        self._offsets.ack(event.place, event.message.offset)
        if self._committing:
            self._commit_again = True
        else:
            self._commit_soon()
        return True

    def _commit_soon(self) -> None:
        self._committing, self._commit_again = True, False
        self._process.later(self._world.chance.uniform(0.1, 1.0) * self._commit_every_s, self._begin_commit)

    def _begin_commit(self) -> None:
        if self._member is not None and not self.should_stop:
            self._process.spawn(self._commit_now(self._member), f"commit of {self.label}")

    async def _commit_now(self, member: Member) -> None:
        """One at a time, as in Faust."""
        self._commit_again = False
        await self._commit(member)
        self._committing = False
        if self._commit_again:
            self._commit_soon()

    async def _commit(self, member: Member) -> None:
        offsets = self._offsets.committable()
        ours = {place: Committed(offset, "") for place, offset in offsets.items() if place in member.mine}
        if not ours:
            return
        try:
            await member.commit(ours)
        except CommitFailedError as problem:
            if "already rebalanced" not in str(problem):  # Faust looks for these words; aiokafka has a line break there
                await self.crash(problem)
        except KafkaError as problem:
            await self.crash(problem)
            return
        for place, committed in ours.items():
            self._offsets.committed_up_to(place, committed.offset)


class SimPositions:
    """The side of an AIOKafkaConsumer that is asked to go back."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def assignment(self) -> Partitions:
        return self._fetcher.member.mine

    async def seek_to_committed(self) -> dict[TopicPartition, int | None]:
        """As aiokafka does: where nothing is committed, and where 0 is, the position stays as it is."""
        found: dict[TopicPartition, int | None] = {}
        for place in sorted(self.assignment()):
            committed = await self._fetcher.member.committed(place)
            found[place] = None if committed is None else committed.offset
            if committed is not None and committed.offset > 0:
                self._fetcher.go_to(place, committed.offset)
        return found

    async def seek_to_beginning(self, *places: TopicPartition) -> None:
        broker = self._fetcher.member.group.world.broker
        for place in places:
            self._fetcher.go_to(place, broker.log(place).begin)


async def _ended(work: Callable[[], Awaitable[None]], *, times: int = 1) -> None:
    """An agent or task that fails has crashed the app before; until that has stopped, Faust starts an agent anew."""
    for _ in range(times):
        try:
            await work()
        except Exception:  # told by SimApp.crash
            continue
        return


class Signal:
    """A mode signal: handlers get (sender, argument)."""

    def __init__(self) -> None:
        self._handlers: list[Handler] = []

    def connect(self, handler: Handler) -> None:
        self._handlers.append(handler)

    async def send(self, sender: SimApp, places: Iterable[TopicPartition]) -> None:
        for handler in self._handlers:
            await handler(sender, set(places))


class Stream:
    """An agent's buffer and what it iterates over."""

    def __init__(self, app: SimApp, size: int) -> None:
        self._app = app
        self._size = size
        self._events: list[SimEvent] = []
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[SimEvent]:
        while True:
            while not self._events:
                self._news.clear()
                await self._news.wait()
            event = self._events.pop(0)
            self._room.set()
            if self._app.wants(event):
                yield event
            else:
                event.ack()  # as Faust does with what it passes over

    @property
    def has_room(self) -> bool:
        return len(self._events) < self._size

    async def wait_for_room(self, seconds: float) -> None:
        self._room.clear()
        try:
            await asyncio.wait_for(self._room.wait(), seconds)
        except TimeoutError:
            return

    def put(self, event: SimEvent) -> None:
        self._events.append(event)
        self._news.set()

    def clear(self) -> None:
        self._events.clear()
        self._room.set()


class SimEvent:
    """A Faust event, as far as agents use one."""

    __slots__ = ("_acked", "_app", "generation", "message", "place", "value")

    def __init__(self, app: SimApp, place: TopicPartition, record: Record, generation: int | None) -> None:
        self._app = app
        self._acked = False
        self.place = place
        self.generation = generation
        self.value: Any = record.value
        self.message = SimpleNamespace(
            topic=place.topic, partition=place.partition, offset=record.offset, key=record.key, value=record.value,
            timestamp=record.timestamp_ms / 1000,
        )  # fmt: skip

    def ack(self) -> bool:
        if self._acked:
            return False
        self._acked = True
        return self._app.acknowledged(self)


class Offsets:
    """What Faust's Consumer keeps of each partition, and its own arithmetic on it."""

    def __init__(self) -> None:
        self._acked: dict[TopicPartition, list[int]] = defaultdict(list)
        self._acked_index: dict[TopicPartition, set[int]] = defaultdict(set)
        self._gap: dict[TopicPartition, IntervalTree] = defaultdict(IntervalTree)
        self._read_offset: dict[TopicPartition, int | None] = defaultdict(lambda: None)
        self._committed_offset: dict[TopicPartition, int | None] = defaultdict(lambda: None)

    def forget(self, places: Partitions) -> None:
        kept: Iterable[dict[TopicPartition, Any]] = (
            self._acked, self._acked_index, self._gap, self._read_offset, self._committed_offset,
        )  # fmt: skip
        for of_place in kept:
            for place in places:
                of_place.pop(place, None)

    def forget_acknowledged(self) -> None:
        for of_place in (self._acked, self._acked_index, self._gap):
            of_place.clear()

    def went_to(self, place: TopicPartition, committed: int | None) -> None:
        self._read_offset[place] = committed
        if committed is not None:
            self._committed_offset[place] = committed or None

    async def wants(self, place: TopicPartition, offset: int) -> bool:
        read = self._read_offset[place]
        if read is not None and offset < read:
            return False
        if read and offset - read > 1:
            await Consumer._add_gap(self, place, read + 1, offset)  # type: ignore[arg-type]
        return True

    def has_read(self, place: TopicPartition, offset: int) -> None:
        self._read_offset[place] = offset

    def ack(self, place: TopicPartition, offset: int) -> None:
        committed = self._committed_offset[place]
        if (committed is None or offset >= committed) and offset not in self._acked_index[place]:
            self._acked_index[place].add(offset)
            self._acked[place].append(offset)

    def committable(self) -> dict[TopicPartition, int]:
        found = {}
        for place in list(self._acked):
            offset: int | None = Consumer._new_offset(self, place)  # type: ignore[arg-type]
            committed = self._committed_offset[place]
            if offset is not None and (committed is None or (offset and offset > committed)):
                found[place] = offset
        return found

    def committed_up_to(self, place: TopicPartition, offset: int) -> None:
        self._committed_offset[place] = offset
