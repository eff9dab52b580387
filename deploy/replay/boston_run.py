"""Plays Boston's story into a running platform, slice by slice, and listens to what the loop makes of it.

A slice's tickets are sent, then awaited on `incidents`; then its actions, each awaited by its answer; then the tick.
So the platform may be as slow as it likes: the order of the story stays, and with it every verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.config import TongguanConfig
from deploy.endpoints import bootstrap_of
from deploy.follow import Start, follow
from deploy.replay.boston import RecordedTicket
from deploy.replay.boston_story import Slice
from deploy.replay.sending import BATCH_BYTES, Lanes, Sent
from schemas.action import ActionRecord, encode_action
from schemas.errors import TongguanError
from schemas.incident import Step, decode_incident
from schemas.loop_record import Tick, encode_tick
from schemas.notification import NotificationKind, decode_notification
from schemas.sources import Source
from streams.topic_admin import BrokerAway

SILENT_WITHIN_S: Final = 120.0
"""How long nothing at all may come back while something is awaited: a worker that starts compiles for a minute."""
LOOK_S: Final = 0.2
REFUSALS_KEPT: Final = 20


def settings(city: Path) -> str:
    """The part of a configuration that Boston's story needs, as TOML.

    The loop lives in the story's time (no ticker), each ticket is a case of its own as it was in Boston (no merging),
    and a ticket without a deadline has none (none is made up for it).
    """
    return f"""\
[city]
folder = {msgspec.json.encode(str(city)).decode()}

[dispatch]
ticker = false
merge = false
ticket_deadlines = false
"""


class Audience(Protocol):
    """Who watches: is told how far the story has come, now and then."""

    def progress(self, at_ms: int, opened: int, closed: int) -> None: ...


@dataclass(slots=True)
class Played:
    """What came of it."""

    tickets: int = 0
    actions: int = 0
    changes: int = 0
    notifications: int = 0
    refused: int = 0
    refusals: list[str] = field(default_factory=list)  # the first ones, in words
    outcomes: dict[str, bool | None] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(slots=True)
class Heard:
    """What the loop has said so far."""

    played: Played = field(default_factory=Played)
    answered: set[str] = field(default_factory=set)  # action ids: done or refused
    closed: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, payload: bytes) -> None:
        change = decode_incident(payload)
        self.played.changes += 1
        for ticket in change.tickets:
            self.played.outcomes[ticket.ticket_id] = ticket.on_time
        if change.action_id is not None:
            self.answered.add(change.action_id)
        if change.action is Step.CLOSE:
            self.closed += 1
        self.news.set()

    def notification(self, payload: bytes) -> None:
        told = decode_notification(payload)
        self.played.notifications += 1
        if told.action_id is not None and told.kind in (NotificationKind.REFUSED, NotificationKind.UNREADABLE):
            self.answered.add(told.action_id)
            self.played.refused += 1
            if len(self.played.refusals) < REFUSALS_KEPT:
                self.played.refusals.append(told.sentence_en)
        self.news.set()


def play(
    config: TongguanConfig,
    slices: Iterable[Slice],
    tickets: Sequence[RecordedTicket],
    *,
    audience: Audience,
    check: Callable[[], None] = lambda: None,
) -> Played:
    """Play the story into the platform at `config`'s addresses; `check` may raise to stop it, and is asked often.

    The topics must be fresh. Raises BrokerAway, and TongguanError when the platform falls silent.
    """
    return asyncio.run(_Player(config, audience, check).run(slices, tickets))


class _Player:
    def __init__(self, config: TongguanConfig, audience: Audience, check: Callable[[], None]) -> None:
        self._bootstrap = bootstrap_of(config)
        self._options: dict[str, Any] = config.kafka.aiokafka_options()
        self._names = config.topic_names
        self._partitions = {Source.TICKETS: config.topics.tickets_partitions}
        self._audience = audience
        self._check = check
        self._heard = Heard()

    async def run(self, slices: Iterable[Slice], tickets: Sequence[RecordedTicket]) -> Played:
        began = time.monotonic()
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            linger_ms=5,
            **self._options,
        )
        listening = [
            asyncio.create_task(self._listen(self._names.incidents, self._heard.change)),
            asyncio.create_task(self._listen(self._names.notifications, self._heard.notification)),
        ]
        try:
            await producer.start()
            tick = Tick(at_ms=0)
            for part in slices:
                await self._slice(producer, part, listening)
                tick = part.tick
            late = {
                t.ticket_id for t in tickets if t.closed_ms is None and t.due_ms is not None and t.due_ms < tick.at_ms
            }
            outcomes = self._heard.played.outcomes
            await self._until(
                lambda: {name for name in late if outcomes.get(name) is not False}, "overdue tickets", listening
            )
        except KafkaError as error:
            raise BrokerAway(f"kafka at {self._bootstrap}: {error}") from error
        finally:
            await producer.stop()
            for task in listening:
                task.cancel()
            for task in listening:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._heard.played.seconds = time.monotonic() - began
        return self._heard.played

    async def _slice(self, producer: AIOKafkaProducer, part: Slice, listening: list[asyncio.Task[None]]) -> None:
        heard, topics = self._heard, {Source.TICKETS: self._names.raw(Source.TICKETS)}
        lanes = Lanes(producer, topics, self._partitions, Sent())
        for record in part.tickets:
            await lanes.add(record)
        await lanes.finish()
        heard.played.tickets += len(part.tickets)
        self._tell(part.tick)
        opened = set(part.opened)
        await self._until(lambda: opened - heard.played.outcomes.keys(), "tickets", listening)
        await self._send_actions(producer, part.actions)
        heard.played.actions += len(part.actions)
        asked = {action.action_id for action in part.actions}
        await self._until(lambda: asked - heard.answered, "actions", listening)
        heard.answered -= asked
        await producer.send_and_wait(self._names.ticks, encode_tick(part.tick))
        self._tell(part.tick)

    async def _send_actions(self, producer: AIOKafkaProducer, actions: Iterable[ActionRecord]) -> None:
        answers = [await producer.send(self._names.actions, encode_action(one), key=one.key) for one in actions]
        await asyncio.gather(*answers)

    async def _until(self, missing: Callable[[], set[str]], what: str, listening: list[asyncio.Task[None]]) -> None:
        """Wait until nothing is missing any more."""
        heard = self._heard
        silent_since = time.monotonic()
        while left := missing():
            heard.news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.news.wait(), LOOK_S)
                silent_since = time.monotonic()
            self._check()
            for task in listening:
                if task.done():
                    task.result()  # raises what ended it
            if time.monotonic() - silent_since > SILENT_WITHIN_S:
                raise TongguanError(
                    f"boston: nothing came back for {SILENT_WITHIN_S:.0f} s; {len(left)} {what} are awaited, such as "
                    f"{min(left)}; do a worker with the roles locate and dispatch run, and are there "
                    "dead letters?"
                )
            await asyncio.sleep(0.02)  # many records at a time

    def _tell(self, tick: Tick) -> None:
        self._audience.progress(tick.at_ms, len(self._heard.played.outcomes), self._heard.closed)

    async def _listen(self, topic: str, take: Callable[[bytes], None]) -> None:
        records: AsyncGenerator[Any, None] = follow(
            self._bootstrap, topic, options=self._options, start=Start(beginning=True), once=False
        )
        async with contextlib.aclosing(records):
            async for record in records:
                take(record.value or b"")
