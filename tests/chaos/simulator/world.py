"""Everything together: a seed's city, services and workers, from the first record until all is at rest.

A run has three parts. While records come, faults strike. Then nothing new goes wrong: who is frozen wakes, who died is
started again, services answer; and everything that was sent must come to its end within a time. Last the workers are
asked to stop, and what they leave behind is checked.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from deploy.config import ClickHouseSettings, KafkaSettings
from schemas.sources import Source
from streams.archive_core import ArchiveSettings
from streams.batches import RawBatch
from streams.join_core import JoinSettings
from streams.locate_settings import LocateSettings
from streams.loop_settings import DispatchSettings
from streams.topics import TopicsSettings, topic_specs
from tests.chaos.simulator import city
from tests.chaos.simulator.await_points import AwaitPoint
from tests.chaos.simulator.broker import Broker, Record
from tests.chaos.simulator.clickhouse import Engine
from tests.chaos.simulator.clock import Stuck, VirtualLoop
from tests.chaos.simulator.faults import Faults
from tests.chaos.simulator.fetching import Fetcher
from tests.chaos.simulator.groups import Group
from tests.chaos.simulator.network import Network
from tests.chaos.simulator.people import People
from tests.chaos.simulator.plays import Play, Roles
from tests.chaos.simulator.process import SERVER, Host, Process, State
from tests.chaos.simulator.raw_consumer import make_batch
from tests.chaos.simulator.scripted import Scripted
from tests.chaos.simulator.trace import LogIntoTrace, Trace
from tests.chaos.simulator.worker import SimConfig, SimWorker

SESSION_S = 1.5
LOOK_EVERY_S = 2.0
LOOKS_BACK = 3
REST_WITHIN_S = 200.0
STOP_WITHIN_S = 60.0
TICK_EVERY_S = 3.0


@dataclass(slots=True)
class Slot:
    """A place for a worker: whoever dies here is started again here."""

    host: Host
    roles: Roles
    lives: int = 0
    process: Process | None = None
    worker: SimWorker | None = None


@dataclass(slots=True)
class Result:
    """What came of a seed."""

    seed: int
    play: str
    problems: list[str]
    told: Counter[str]
    hits: set[AwaitPoint]
    steps: int
    virtual_s: float
    crashes: int
    lines: list[str] = field(default_factory=list)


class World:
    def __init__(self, seed: int, play: Play, *, loud: bool = False) -> None:
        self.seed = seed
        self.play = play
        self.chance = random.Random(seed * 7919 + 17)
        self.loop = VirtualLoop(self.chance, shuffle=play.shuffle)
        self.trace = Trace(self.loop.time, loud=loud)
        self.network = Network(self)
        self.config = _config(self.chance, play)
        self.names = self.config.topic_names
        self.broker = Broker(self, topic_specs(self.config.topics))
        self.clickhouse = Engine(self)
        self.faults = Faults(self, play.odds, play.lasting_s + 2.0, SESSION_S)
        self.fetchers: list[Fetcher] = []
        self.hosts: list[Host] = []
        self.groups: dict[str, Group] = {}
        self._slots: list[Slot] = []
        self._stopping = False
        self._lags: dict[tuple[str, TopicPartition], float] = {}
        self._batches: dict[TopicPartition, list[int]] = {}
        self._raw: dict[tuple[TopicPartition, int], RawBatch] = {}
        self._raw_topics = {self.names.raw(source): source for source in Source}
        self.broker.on_append.append(self._appended)
        self.people = People(self)

    # --- what the fakes ask ----------------------------------------------------------------------------------------

    def now_ms(self, ahead_ms: int = 0) -> int:
        """A wall clock."""
        return city.EPOCH_MS + int(self.loop.time() * 1000) + ahead_ms

    def steady_ms(self) -> int:
        return int(self.loop.time() * 1000)

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        self.loop.call_at(when, what, *args, context=SERVER)

    def group(self, name: str, session_s: float = SESSION_S) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(
                self, name, session_s=session_s, heartbeat_s=session_s / 3.5, rebalance_s=6 * session_s
            )
        return self.groups[name]

    def lag_of(self, group: str, place: TopicPartition) -> float:
        """How long it takes until a record of this partition can be read by this group."""
        key = (group, place)
        if key not in self._lags:
            lagging = self.chance.random() < self.play.odds.lagging
            self._lags[key] = self.chance.uniform(0.2, 6.0) if lagging else 0.0
        return self._lags[key]

    def visible_end(self, group: str, place: TopicPartition) -> int:
        log, lag = self.broker.log(place), self.lag_of(group, place)
        if not lag:
            return log.end
        newest = self.loop.time() - lag + 1e-6
        for record in reversed(log.records):
            if record.appended_at <= newest:
                return record.offset + 1
        return log.begin

    def raw_batch(self, place: TopicPartition, offset: int) -> RawBatch:
        """The batch that holds this offset, as it was produced."""
        bases = self._batches[place]
        index = bisect_right(bases, offset) - 1
        key = place, bases[index]
        if key not in self._raw:
            end = bases[index + 1] if index + 1 < len(bases) else self.broker.log(place).end
            records = self.broker.log(place).read(bases[index], until=end)
            self._raw[key] = make_batch([r.value for r in records], records[0].timestamp_ms, bases[index])
        return self._raw[key]

    # --- workers ---------------------------------------------------------------------------------------------------

    @property
    def workers(self) -> list[Process]:
        return [slot.process for slot in self._slots if slot.process is not None]

    def one_more_worker(self) -> None:
        self._add_slot(self.chance.choice(self.play.workers))

    def ask_to_stop(self, process: Process) -> None:
        for slot in self._slots:
            if slot.process is process and slot.worker is not None:
                process.later(0, slot.worker.ask_to_stop)

    def has_ended(self, process: Process) -> None:
        """Whoever looks after the workers starts it again, a while later."""
        for slot in self._slots:
            if slot.process is process and not self._stopping:
                self.loop.call_later(self.chance.uniform(0.1, 4.0), self._start, slot, context=SERVER)

    def _add_slot(self, roles: Roles) -> None:
        host = Host(f"host{len(self.hosts)}")
        self.hosts.append(host)
        slot = Slot(host, roles)
        self._slots.append(slot)
        self._start(slot)

    def _start(self, slot: Slot) -> None:
        if self._stopping:
            return
        slot.lives += 1
        slot.worker = None
        process = slot.process = Process(self, f"{slot.host.name.replace('host', 'w')}.{slot.lives}", slot.host)
        self.trace.say(f"{process.name} starts")

        async def live() -> None:
            slot.worker = SimWorker(process, self.config, slot.roles, self.play.detectors)
            await slot.worker.run()

        process.spawn(live(), "worker")
        self.faults.began(process, again=slot.lives > 1)

    # --- a run -----------------------------------------------------------------------------------------------------

    async def _run(self) -> list[str]:
        for roles in self.play.workers:
            self._add_slot(roles)
        self._script()
        self.faults.plan()
        await asyncio.sleep(max(self.faults.until_s, self.play.lasting_s))
        restless = await self._rest()
        self._stopping = True
        for process in self.workers:
            self.ask_to_stop(process)
        until = self.loop.time() + STOP_WITHIN_S
        while any(process.state is not State.DEAD for process in self.workers):
            if self.loop.time() > until:
                return [*restless, "the workers do not stop"]
            await asyncio.sleep(0.5)
        return restless

    def _script(self) -> None:
        play = self.play
        if play.records:
            lag_s = {} if play.beats else self._late_producers()
            records = city.Records(self.chance, play.records, play.lasting_s, lag_s=lag_s, beats=play.beats)
            for arrival in records.arrivals():
                self.at(arrival.at_s, self._arrives, arrival)
        if play.scripted:
            Scripted(self, play.scripted).begin()
        if "dispatch" in play.roles and not play.ticker:
            self._tick()

    def _late_producers(self) -> dict[city.Where, float]:
        if self.chance.random() < 0.7:
            return {}
        return {(Source.READINGS, 1): self.chance.uniform(0.5, 6.0)}

    def _arrives(self, arrival: city.Arrival) -> None:
        place = TopicPartition(self.names.raw(arrival.source), arrival.partition)
        self.broker.append(place, [(None, value) for value in arrival.values], by="city")

    def _tick(self) -> None:
        if self.faults.over:
            return
        self.people.tick()
        self.loop.call_later(TICK_EVERY_S, self._tick, context=SERVER)

    def _appended(self, place: TopicPartition, batch: Sequence[Record]) -> None:
        if place.topic in self._raw_topics:
            self._batches.setdefault(place, []).append(batch[0].offset)
        for fetcher in self.fetchers:
            fetcher.appended(place)

    async def _rest(self) -> list[str]:
        """Wait until nothing moves any more and every group has taken in what there is."""
        until = self.loop.time() + REST_WITHIN_S
        before: tuple[Any, ...] = ()
        looks: deque[dict[TopicPartition, int]] = deque(maxlen=LOOKS_BACK)
        while self.loop.time() < until:
            await asyncio.sleep(LOOK_EVERY_S)
            # the loop's clock ticks on all the while: of its log, what was there some looks ago must be taken
            ends = (
                {place: (looks[0] if place.topic == self.names.loop else looks[-1])[place] for place in looks[0]}
                if looks
                else {}
            )
            behind = self._behind(ends)
            now = self._moved()
            if now == before and not behind and len(looks) == LOOKS_BACK:
                return []
            before = now
            looks.append({place: log.end for place, log in self.broker.logs.items()})
        return [
            f"not at rest {REST_WITHIN_S:.0f} s after the last fault: {problem}" for problem in behind or ["moving"]
        ]

    def _moved(self) -> tuple[Any, ...]:
        names = self.names
        quiet = {names.loop, names.loop_state, names.loop_parts, names.ticks, names.join_state, names.join_open}
        sizes = tuple(size for topic, size in self.broker.sizes().items() if topic not in quiet)
        return (*sizes, sum(len(parts) for parts in self.clickhouse.inserted.values()))

    def _behind(self, ends: dict[TopicPartition, int]) -> list[str]:
        """Workers that do not run yet, whose groups nobody may have joined, and groups that have not committed what lay
        there at the last look."""
        waiting = [
            f"{slot.process.name if slot.process else 'a worker'} does not run"
            for slot in self._slots
            if slot.worker is None or not slot.worker.runs
        ]
        return waiting + [
            f"{name} has committed {committed} of {ends[place]} of {place.topic}[{place.partition}]"
            for name, group in self.groups.items()
            for topic in self.topics_of(name)
            for place in (log.place for log in self.broker.of(topic))
            if (committed := group.committed[place].offset if place in group.committed else 0) < ends.get(place, 0)
        ]

    def topics_of(self, group: str) -> tuple[str, ...]:
        names = self.names
        return {
            "locate": tuple(self._raw_topics),
            "tongguan-join": (names.observations,),
            "tongguan-urgent": (names.urgent_tickets,),
            "tongguan-intake": (names.alerts, names.placed_tickets, names.actions, names.ticks),
            "tongguan-dispatch": (names.loop,),
            "tongguan-archive": (
                names.observations, names.alerts, names.dead_letters, names.incidents, names.notifications,
                names.actions,
            ),
        }[group]  # fmt: skip

    def run(self) -> list[str]:
        """Play it to its end; what went wrong, before anything is checked."""
        handler = LogIntoTrace(self.trace)
        self.loop.set_exception_handler(self._unhandled)
        root = logging.getLogger()
        loud = bool(self.trace._loud)
        if loud:
            root.addHandler(handler)
        try:
            return self.loop.run_until_complete(SERVER.copy().run(self._run))
        except Stuck as problem:
            return [f"stuck: {problem}"]
        finally:
            root.removeHandler(handler)
            self._leave()

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        if problem is not None:
            self.trace.crashed("?", str(context.get("message")), problem)

    def _leave(self) -> None:
        """Nobody is left who waits in a thread."""
        for process in self.workers:
            process.threads.abandon()
        self.loop.close()


def _config(chance: random.Random, play: Play) -> SimConfig:
    """Settings that are small and quick, so that little data comes by every limit."""
    return SimConfig(
        kafka=KafkaSettings(bootstrap="kafka:9092", session_timeout_s=SESSION_S),
        clickhouse=ClickHouseSettings(url="http://clickhouse:8123"),
        topics=TopicsSettings(
            prefix="",
            readings_partitions=city.PARTITIONS[Source.READINGS],
            camera_events_partitions=city.PARTITIONS[Source.CAMERA_EVENTS],
            tickets_partitions=city.PARTITIONS[Source.TICKETS],
            shards=city.SHARDS,
            alerts_partitions=2,
        ),
        locate=LocateSettings(
            idle_after_ms=int(play.idle_after_s * 1000),
            flush_interval_ms=chance.choice((200, 500, 1500)),
            header_interval_ms=chance.choice((800, 2500)),
            commit_interval_ms=chance.choice((1, 500, 2000)),
            max_flush_rows=chance.choice((5, 100_000)),
            max_frame_rows=chance.choice((3, 100_000)),
        ),
        join=JoinSettings(snapshot_every_s=chance.choice((0.2, 0.8, 2.0))),
        dispatch=DispatchSettings(
            ticker=play.ticker, tick_every_s=TICK_EVERY_S, snapshot_every_s=chance.choice((0.2, 0.8, 2.0))
        ),
        archive=ArchiveSettings(
            batch_rows=chance.choice((4, 30, 100_000)),
            batch_seconds=chance.choice((0.1, 1.0)),
            record_batch=chance.choice((2, 2_000)),
            buffer_frames=chance.choice((2, 32)),
        ),
    )


def tidy() -> None:
    """Between runs: what is left of dead processes is thrown away, whatever their coroutines say to that.

    Coroutines that are thrown away run their `finally`, and whatever that touches stays until the next time: so twice.
    """
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
        gc.collect()
    finally:
        sys.unraisablehook = hook
