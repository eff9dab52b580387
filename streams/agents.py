"""The shell of every Faust app here: raw bytes in, one agent task for a topic, acknowledgement by hand, no going on
after an error that nobody expected.

What Faust would do by itself with an exception is to acknowledge the event and start the agent anew behind it: a hole.
So the app crashes, the worker ends, and whoever takes over goes on from what is durable. Until it has ended Faust
starts the agent anew all the same; from the first failure on nothing more is taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol, cast

import faust

log = logging.getLogger(__name__)

QUIET_TICK_S: Final = 1.0  # how often an app looks at what waits although nothing comes

Partitions = list[tuple[str, int]]
"""(topic, partition) of what was assigned or taken away"""


class Event(Protocol):
    """What is used of a Faust event."""

    value: Any
    message: Any

    def ack(self) -> bool: ...


class Sender(Protocol):
    """The part of AIOKafkaProducer that is used here: `send` gives a future of the acknowledgement."""

    def send(self, topic: str, value: bytes, key: bytes) -> Awaitable[Awaitable[Any]]: ...


def build_agents(
    app: faust.App,
    agents: Mapping[str, str],
    take: Callable[[Event], Awaitable[None]],
    *,
    tick: Callable[[], Awaitable[None]] | None = None,
    tick_every_s: float = QUIET_TICK_S,
    assigned: Callable[[Partitions], None] | None = None,
    revoked: Callable[[Partitions], None] | None = None,
) -> None:
    """Put agents into a Faust app that has nothing else. `agents`: name of each agent -> its topic.

    `take` gets the events of each partition in order and sees to their acknowledgement itself. `tick` runs all the
    while, whether events come or not. `assigned` names all partitions that are ours after a rebalance, `revoked` those
    that are no longer; both must be quick, the group waits for them.
    """

    failed = False

    async def consume(stream: Any) -> None:  # a faust.Stream; agents are typed for StreamT, which lacks noack()
        nonlocal failed
        async for event in stream.noack().events():
            if failed:
                return
            try:
                await take(event)
            except Exception as problem:
                failed = True
                message = event.message
                log.exception(
                    "%s: message %s:%s:%s failed, stopping this worker",
                    *(app.conf.id, message.topic, message.partition, message.offset),
                )
                await app.crash(problem)
                raise

    for name, topic in agents.items():
        channel = app.topic(
            topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=True
        )
        app.agent(channel, name=name, concurrency=1)(consume)

    if tick is not None:
        _tick_for_ever(app, tick, tick_every_s)
    # Faust's type of a handler wants *args only, it sends these
    if assigned is not None:
        tell_assigned = assigned

        async def on_assigned(_app: faust.App, partitions: Iterable[Any], **_: Any) -> None:
            tell_assigned([(tp.topic, tp.partition) for tp in partitions])

        app.on_partitions_assigned.connect(cast(Any, on_assigned))
    if revoked is not None:
        tell_revoked = revoked

        async def on_revoked(_app: faust.App, partitions: Iterable[Any], **_: Any) -> None:
            tell_revoked([(tp.topic, tp.partition) for tp in partitions])

        app.on_partitions_revoked.connect(cast(Any, on_revoked))


def _tick_for_ever(app: faust.App, tick: Callable[[], Awaitable[None]], every_s: float) -> None:
    async def ticking() -> None:
        try:
            while not app.should_stop:
                await asyncio.sleep(every_s)
                await tick()
        except Exception as problem:
            log.exception("%s: the work beside the events failed, stopping this worker", app.conf.id)
            await app.crash(problem)
            raise

    app.task(ticking)
