"""The loop's agent: records of topic `loop` through the pure loop, incidents and notifications out, and the clock.

Recovery, snapshots and acknowledgement are those of every shard (streams/shard_runner.py). What is told depends on the
log alone: whoever owns the log's one partition writes the time into it (`Ticker`) and reads it from there again, like
any other input.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import faust

from schemas.errors import BrokerError, MessageError
from schemas.incident import IncidentChange, encode_incident
from schemas.loop_record import (
    NO_OFFSET,
    LoopKind,
    LoopRecord,
    Tick,
    decode_loop_record,
    encode_loop_record,
    encode_tick,
)
from schemas.notification import Notification, encode_notification
from streams import metrics
from streams.agents import Partitions, Sender, build_agents
from streams.dispatch_metrics import LoopCounts, count_told
from streams.dispatch_snapshots import CapturedLoop, LoopSnapshots, LoopState
from streams.intake import LOOP_PARTITION
from streams.loop_discovery import Outcome
from streams.loop_incident import Incidents
from streams.shard_runner import Outgoing, ShardRunner
from streams.shard_store import Log
from streams.steady_clock import SteadyClock
from streams.topics import TopicNames

log = logging.getLogger(__name__)

LABEL: Final = "loop"
MANY_INCIDENTS: Final = 500  # from here on they are encoded in a thread, part by part, beside the event loop
LOOK_EVERY_S: Final = 0.25  # how often the ticker looks at the clock
PAUSED_MS: Final = 8_000
"""Between two looks: this process was stopped and has gone on. Others may have worked meanwhile, or nobody."""


class Core(LoopState, Protocol):
    """The pure loop (streams/loop_core.py), as far as its agent knows it."""

    incidents: Incidents
    outcomes: Counter[Outcome]

    def apply(self, record: LoopRecord, offset: int) -> Sequence[IncidentChange | Notification]:
        """One record of the log in, what follows from it out; a pure function of the log so far."""
        ...


class LoopWork:
    """The loop, as the runner sees it."""

    label = LABEL

    def __init__(self, core: Core, snapshots: LoopSnapshots, names: TopicNames) -> None:
        self._core = core
        self._snapshots = snapshots
        self._names = names
        self._counts = LoopCounts()

    async def restore(self) -> int | None:
        began = time.monotonic()
        next_offset = await self._snapshots.read(self._core)
        if next_offset is not None:
            log.info(
                "loop: restored %d incidents in %.1f s, going on at offset %d",
                len(self._core.incidents.by_id), time.monotonic() - began, next_offset,
            )  # fmt: skip
        return next_offset

    def take(self, payload: bytes, offset: int) -> list[Outgoing]:
        try:
            record = decode_loop_record(payload)
        except MessageError as error:
            # only the intake and the ticker write here: a foreign message is told, and stays in the log
            log.error("loop: passing over %s:%d:%d: %s", self._names.loop, LOOP_PARTITION, offset, error)
            metrics.BAD_FRAMES.inc()
            return []
        told = self._core.apply(record, offset)
        metrics.LOOP_LAG_SECONDS.set(max(0.0, time.time() - record.arrived_ms / 1000))
        count_told(told)
        return [self._outgoing(message) for message in told]

    async def capture(self, next_offset: int) -> CapturedLoop:
        if len(self._core.incidents.by_id) < MANY_INCIDENTS:
            return self._capture(next_offset)
        return await asyncio.to_thread(self._capture, next_offset)

    def _capture(self, next_offset: int) -> CapturedLoop:
        self._counts.count(self._core.incidents.by_id.values(), self._core.outcomes)
        return self._snapshots.capture(self._core, next_offset)

    async def write(self, captured: CapturedLoop) -> bool:
        return await self._snapshots.write(captured)

    def gone(self, first: int, last: int) -> None:
        raise BrokerError(
            f"loop: records {first} to {last} of {self._names.loop} are gone from Kafka and in no snapshot; incidents "
            f"would be forgotten - restore {self._names.loop}, or {self._names.loop_state} with "
            f"{self._names.loop_parts}, or begin with another topics.prefix"
        )

    def forget(self) -> None:
        self._counts.forget()

    def _outgoing(self, message: IncidentChange | Notification) -> Outgoing:
        if isinstance(message, IncidentChange):
            return Outgoing(self._names.incidents, encode_incident(message), message.key)
        return Outgoing(self._names.notifications, encode_notification(message), message.key)


class Waiting(Protocol):
    """What lay on a topic when it was first asked about (streams/backlog.py)."""

    async def is_taken(self) -> bool: ...

    def forget(self) -> None: ...


class Ticker:
    """Writes the time into the loop's log while this worker owns it; the one place of the loop that reads a clock.

    Two owners for a moment are harmless: a tick that is older than the loop's clock changes nothing.
    """

    def __init__(
        self,
        names: TopicNames,
        log_: Log,
        *,
        every_s: float,
        backlog: Waiting,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """`backlog`: actions that waited while nobody worked. After each change of owner, and each pause of ours, they
        must be in the log before the time is, or deadlines would seem to have passed without them."""
        self._names = names
        self._log = log_
        self._every_ms = round(every_s * 1000)
        self._backlog = backlog
        self._now_ms = now_ms or SteadyClock()
        self._owned = False
        self._ready = False
        self._last_ms = 0
        self._looked_ms = self._now_ms()
        self._ticking: asyncio.Task[None] | None = None

    def own(self, owned: bool) -> None:
        self._owned, self._ready = owned, False
        self._backlog.forget()

    def tick_if_due(self) -> None:
        """Begin a tick when it is time for one and none is under way. Raises what the one before failed with."""
        if self._ticking is not None:
            if not self._ticking.done():
                return
            self._ticking.result()
            self._ticking = None
        now_ms = self._look()
        # a clock that was put back must not silence the ticker until it is where it was
        if self._owned and not 0 <= now_ms - self._last_ms < self._every_ms:
            self._ticking = asyncio.create_task(self._tick())

    def _look(self) -> int:
        """What time it is; after a pause nothing is known of what waits."""
        now_ms = self._now_ms()
        if now_ms - self._looked_ms >= PAUSED_MS:
            self._ready = False
            self._backlog.forget()
        self._looked_ms = now_ms
        return now_ms

    async def _tick(self) -> None:
        if not self._ready:
            self._ready = await self._backlog.is_taken()
        now_ms = self._look()
        if not self._ready:
            return
        self._last_ms = now_ms
        record = LoopRecord(
            kind=LoopKind.TICK,
            cause_topic=self._names.ticks,
            cause_partition=0,
            cause_offset=NO_OFFSET,
            arrived_ms=now_ms,
            payload=encode_tick(Tick(at_ms=now_ms)),
        )
        await self._log.append(self._names.loop, LOOP_PARTITION, encode_loop_record(record))

    async def close(self) -> None:
        """No tick after this one."""
        self._owned = False
        if self._ticking is not None:
            await asyncio.wait([self._ticking])


def make_runner(
    names: TopicNames,
    make_core: Callable[[], Core],
    make_snapshots: Callable[[], LoopSnapshots],
    *,
    sender: Sender,
    log_: Log,
    snapshot_every_s: float,
) -> ShardRunner[CapturedLoop]:
    """The runner of the loop's one partition. `make_core` gives an empty loop."""
    return ShardRunner(
        names.loop,
        lambda _: LoopWork(make_core(), make_snapshots(), names),
        sender=sender,
        log_=log_,
        snapshot_every_s=snapshot_every_s,
    )


def build_dispatch(app: faust.App, runner: ShardRunner[CapturedLoop], names: TopicNames, ticker: Ticker | None) -> None:
    """Put the loop's agent into a Faust app that has nothing else."""

    async def tick() -> None:
        await runner.snapshot_due()
        if ticker is not None:
            ticker.tick_if_due()

    def assigned(partitions: Partitions) -> None:
        if ticker is not None:
            ticker.own((names.loop, LOOP_PARTITION) in partitions)

    def revoked(partitions: Partitions) -> None:
        runner.forget(shard for _, shard in partitions)
        if ticker is not None:
            ticker.own(False)

    build_agents(
        app, {"dispatch": names.loop}, runner.handle,
        tick=tick, tick_every_s=LOOK_EVERY_S, assigned=assigned, revoked=revoked,
    )  # fmt: skip
