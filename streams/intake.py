"""The loop's intake: alerts, placed tickets, actions and ticks into the one order of topic `loop`, as Faust agents.

What is promised to whoever reads the log: of each source partition the records stand in their order without a gap, and
a repeat is known by its place (`LoopRecord.cause`). Three things make it so. Records are written in batches one after
the other, and none is begun before the one in front is durable. An event is acknowledged only then, so a successor
begins at or before the first record that is missing. And two intakes at once, for a moment, each write an order without
gaps: what is behind the greatest place that a reader has seen is in the log already.

What cannot be read becomes a dead letter and stays out of the log, but for an action whose id can be read: somebody
waits for an answer to it, and answers are the loop's.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

import faust

from schemas.dead_letter import DeadLetter, Reason, encode_dead_letter
from schemas.errors import BadRecord, FrameError
from schemas.loop_record import LoopKind, LoopRecord, encode_loop_record
from schemas.sources import Source
from streams import metrics
from streams.agents import Event, Sender, build_agents
from streams.loop_inputs import check, readable_action_id, ticket_records
from streams.shard_store import Log
from streams.topics import TopicNames

log = logging.getLogger(__name__)

LOOP_PARTITION: Final = 0
MOST_WAITING: Final = 1_000  # events in hand whose records are not durable yet
BATCH_RECORDS: Final = 500


@dataclass(slots=True)
class _Waiting:
    """An event in hand, and the records that must be durable before it is acknowledged; an event may have none."""

    event: Event
    records: list[bytes] = field(default_factory=list)


class Intake:
    """Takes events of the four topics and writes the loop's log."""

    def __init__(self, names: TopicNames, *, log_: Log, sender: Sender, live: bool) -> None:
        """`live`: the loop's time is the wall clock's (see `loop_inputs.check`)."""
        self._names = names
        self._log = log_
        self._sender = sender
        self._live = live
        self._kinds = {
            names.alerts: LoopKind.ALERT,
            names.placed_tickets: LoopKind.TICKETS,
            names.actions: LoopKind.ACTION,
            names.ticks: LoopKind.TICK,
        }
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def take(self, event: Event) -> None:
        """Read the event and line its records up; returns when there is room for another one."""
        kind = self._kinds[event.message.topic]
        entry = _Waiting(event)
        if kind is LoopKind.TICKETS:
            await self._read_frame(entry)
        else:
            await self._read_single(kind, entry)
        event.value = event.message.value = None  # it waits for its acknowledgement
        self._waiting.append(entry)
        self.go_on()
        if len(self._waiting) >= MOST_WAITING:
            await self.flush()

    def go_on(self) -> None:
        """Have what waits written. Raises what stopped the writing before; called now and then besides."""
        if self._writing is not None and self._writing.done():
            self._writing.result()
            self._writing = None
        if self._writing is None and self._waiting:
            self._writing = asyncio.create_task(self._write())

    async def flush(self) -> None:
        """Wait until everything in hand is durable."""
        self.go_on()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self.go_on()

    async def _read_single(self, kind: LoopKind, entry: _Waiting) -> None:
        message = entry.event.message
        payload: bytes | None = entry.event.value
        arrived_ms = round(message.timestamp * 1000)
        try:
            check(kind, payload, arrived_ms, live=self._live)
        except BadRecord as problem:
            await self._bury(entry.event, problem)
            if kind is not LoopKind.ACTION or readable_action_id(payload) is None:
                return
        record = LoopRecord(
            kind=kind,
            cause_topic=message.topic,
            cause_partition=message.partition,
            cause_offset=message.offset,
            arrived_ms=arrived_ms,
            payload=payload or b"",
        )
        entry.records.append(encode_loop_record(record))
        metrics.LOOP_INPUTS.labels(kind).inc()

    async def _read_frame(self, entry: _Waiting) -> None:
        try:
            for record in ticket_records(entry.event.value or b"", self._names.raw(Source.TICKETS)):
                entry.records.append(encode_loop_record(record))
                metrics.LOOP_INPUTS.labels(LoopKind.TICKETS).inc(len(record.tickets))
                await asyncio.sleep(0)  # a frame of a replay may hold a hundred thousand
        except FrameError as problem:
            metrics.BAD_FRAMES.inc()
            await self._bury(entry.event, BadRecord(Reason.CORRUPT_BATCH, "$", str(problem)))

    async def _bury(self, event: Event, problem: BadRecord) -> None:
        message = event.message
        letter = DeadLetter.of(
            problem,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            payload=event.value,
            received_at_ms=round(message.timestamp * 1000),
        )
        topic = message.topic.removeprefix(self._names.prefix)
        log.warning("intake: %s:%d:%d cannot be used: %s", topic, message.partition, message.offset, problem)
        await (await self._sender.send(self._names.dead_letters, encode_dead_letter(letter), letter.key))
        metrics.DEAD_LETTERS.labels(topic, problem.reason).inc()

    async def _write(self) -> None:
        while self._waiting:
            batch, size = 0, 0
            while batch < len(self._waiting) and size < BATCH_RECORDS:
                size += len(self._waiting[batch].records)
                batch += 1
            entries = self._waiting[:batch]
            records = [record for entry in entries for record in entry.records]
            await self._log.append_many(self._names.loop, LOOP_PARTITION, records)
            del self._waiting[:batch]
            for entry in entries:
                entry.event.ack()


def build_intake(app: faust.App, intake: Intake, names: TopicNames) -> None:
    """Put the intake's agents into a Faust app that has nothing else."""

    async def go_on() -> None:
        intake.go_on()

    agents = {
        "intake-alerts": names.alerts,
        "intake-tickets": names.placed_tickets,
        "intake-actions": names.actions,
        "intake-ticks": names.ticks,
    }
    build_agents(app, agents, intake.take, tick=go_on)
