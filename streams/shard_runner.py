"""One shard after another through a pure core: recovery from a snapshot, catching up, when an event is acknowledged.

Faust gives partitions and events; correctness does not rest on its acknowledgements. A shard goes on from the offset
that its snapshot names: messages that it already contains are passed over, and messages between the snapshot and the
first event that Faust delivers are read from the topic directly. An event is acknowledged once a snapshot that contains
it is durable, so in the ordinary case Faust starts where the snapshot ends.

The join and the dispatch loop both run so; what differs is their `ShardWork`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from schemas.errors import BrokerError, TongguanError
from streams import metrics
from streams.agents import Event, Sender
from streams.shard_store import Log

log = logging.getLogger(__name__)

CATCH_UP_MESSAGES: Final = 16  # read at once when going on from a snapshot; a frame may be megabytes


class Outgoing(NamedTuple):
    """A message that follows from one that was taken in."""

    topic: str
    value: bytes
    key: bytes


class Capture(Protocol):
    """The content of a snapshot, copied out of the live state."""

    @property
    def size(self) -> int:
        """Bytes to write."""
        ...


C = TypeVar("C", bound=Capture)


class ShardWork(Protocol[C]):
    """What is done with one shard, from its assignment to its revocation. Only `restore` and `write` wait for Kafka."""

    label: str
    """Stands for the shard in metrics and in the log."""

    async def restore(self) -> int | None:
        """Take the state out of the last snapshot; the offset to go on from, None when there is no snapshot."""
        ...

    def take(self, payload: bytes, offset: int) -> Sequence[Outgoing]:
        """One message in, what follows from it out. Depends on nothing but the messages so far."""
        ...

    async def capture(self, next_offset: int) -> C:
        """Copy what a snapshot needs. It may take a thread for that: no message is taken meanwhile."""
        ...

    async def write(self, captured: C) -> bool:
        """Make the snapshot durable; BrokerError when Kafka refuses it. False when that is of no use, because another
        owner has claimed the shard meanwhile: the next one will do."""
        ...

    def gone(self, first: int, last: int) -> None:
        """These messages, which the state does not contain, are gone from Kafka. BrokerError when going on without them
        would be wrong for ever; else it must be told."""
        ...

    def forget(self) -> None:
        """The shard is another's now: gauges about it go."""
        ...


@dataclass(slots=True)
class ShardRun(Generic[C]):
    """One shard in this worker's hands, from the first event after its assignment to its revocation."""

    shard: int
    work: ShardWork[C]
    next_offset: int | None = None  # None: not restored yet
    catching_up: bool = False  # reading again what lies between the snapshot and the first event
    alive: bool = True  # False once the shard is another's: nothing is told, stored or acknowledged any more
    # False once an error has interrupted a message, of which the state holds half or more than was told, or a copy of
    # the state for a snapshot
    sound: bool = True
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  # a snapshot must not see half of a message's effects
    unacked: list[Event] = field(default_factory=list)
    unsent: list[Awaitable[Any]] = field(default_factory=list)
    writing: asyncio.Task[None] | None = None
    # when the last snapshot was taken; age and pacing only. Looked up late, so that a simulation can give the time
    written_at: float = field(default_factory=lambda: time.monotonic())


class ShardRunner(Generic[C]):
    """Takes messages of `topic` shard by shard. `make_work` gives the empty work of a shard."""

    def __init__(
        self,
        topic: str,
        make_work: Callable[[int], ShardWork[C]],
        *,
        sender: Sender,
        log_: Log,
        snapshot_every_s: float,
    ) -> None:
        self._topic = topic
        self._make_work = make_work
        self._sender = sender
        self._log = log_
        self._snapshot_every_s = snapshot_every_s
        self._runs: dict[int, ShardRun[C]] = {}
        self._closing = False

    async def handle(self, event: Event) -> None:
        """Take in the message of one event. The event is acknowledged later, with the snapshot that contains it."""
        shard, offset = event.message.partition, event.message.offset
        if self._closing:
            return
        run = self._runs.get(shard)
        if run is None:
            run = self._runs[shard] = ShardRun(shard, self._make_work(shard))
        async with run.busy:
            try:
                await self._handle(run, event, offset)
            except TongguanError:
                if run.alive:
                    raise  # else its new owner has moved what we were reading

    async def _handle(self, run: ShardRun[C], event: Event, offset: int) -> None:
        run.catching_up = run.next_offset is None or offset > run.next_offset
        if run.next_offset is None:
            begin = await run.work.restore() or 0
            await self._check_same_topic(run.shard, begin, offset)
            run.next_offset = begin  # not before: an event behind one that was refused must not be passed over as known
        if run.alive and offset > run.next_offset:
            await self._catch_up(run, offset)
        run.catching_up = False
        if run.alive and offset >= run.next_offset:
            await self._take(run, event.value or b"", offset)
        event.value = event.message.value = None  # up to megabytes, and it waits for its acknowledgement
        run.unacked.append(event)
        await self._snapshot_when_due(run)

    async def snapshot_due(self) -> None:
        """Snapshots of shards to which nothing comes any more: what they have taken in shall not be replayed, nor
        stand as lag. Nor shall a snapshot that failed stay unnoticed, with what was told before it. Called about once a
        second."""
        for run in list(self._runs.values()):
            if not run.busy.locked():
                async with run.busy:
                    self._see_to_writing(run)
                    if run.unacked:
                        await self._snapshot_when_due(run)

    @property
    def busy(self) -> bool:
        """Whether something is under way before whose end nothing is acknowledged: a backlog is read again, or a
        snapshot written."""
        return any(
            run.catching_up or (run.writing is not None and not run.writing.done()) for run in self._runs.values()
        )

    def forget(self, shards: Iterable[int]) -> None:
        """Another worker has these shards now (or we get them again later, from the snapshot).

        A message that is being taken in goes no further: a snapshot by us could name parts that the new owner deletes.
        """
        for shard in shards:
            run = self._runs.pop(shard, None)
            if run is not None:
                run.alive = False
                if run.writing is not None:
                    run.writing.cancel()
                for gauge in (metrics.SNAPSHOT_AGE, metrics.SNAPSHOT_BYTES):
                    gauge.remove(run.work.label)
                run.work.forget()

    async def close(self) -> None:
        """Take no more messages, and write a last snapshot of every shard: the next start has little to replay."""
        self._closing = True
        await asyncio.gather(*(self._close(run) for run in list(self._runs.values())))

    async def _close(self, run: ShardRun[C]) -> None:
        async with run.busy:
            await self._written(run)
            if run.alive and run.sound and run.unacked:
                await self._begin_snapshot(run)
                await self._written(run)

    # --- the way of a message --------------------------------------------------------------------------------------

    async def _catch_up(self, run: ShardRun[C], until: int) -> None:
        """Messages between the snapshot and the first event: acknowledged by an owner that did not live to snapshot."""
        assert run.next_offset is not None
        log.info("%s[%d]: reading messages %d to %d again", self._topic, run.shard, run.next_offset, until - 1)
        for first in range(run.next_offset, until, CATCH_UP_MESSAGES):
            last = min(first + CATCH_UP_MESSAGES, until) - 1
            for message in await self._log.read_range(self._topic, run.shard, first, last):
                if not run.alive:
                    return
                self._pass_over(run, message.offset)
                await self._take(run, message.value or b"", message.offset)
        if run.alive:
            self._pass_over(run, until)

    def _pass_over(self, run: ShardRun[C], until: int) -> None:
        """What is between the last message and this one does not exist any more."""
        assert run.next_offset is not None
        if run.next_offset < until:
            run.work.gone(run.next_offset, until - 1)
            run.next_offset = until

    async def _check_same_topic(self, shard: int, begin: int, offset: int) -> None:
        """Refuse a snapshot that is ahead of its topic: that was made anew, and as many messages as the old one had
        would be passed over as known."""
        last = begin - 1
        if offset <= last and not await self._log.read_range(self._topic, shard, last, last):
            raise BrokerError(
                f"{self._topic}[{shard}]: the snapshot contains the messages up to offset {last}, which the topic "
                f"does not have, while {offset} comes next: the topic was made anew or lost its end - restore it, or "
                "delete the state that belongs to it, or begin with another topics.prefix"
            )

    async def _take(self, run: ShardRun[C], payload: bytes, offset: int) -> None:
        sound, run.sound = run.sound, False
        outgoing = run.work.take(payload, offset)
        run.next_offset = offset + 1
        for topic, value, key in outgoing:
            run.unsent.append(await self._sender.send(topic, value, key))
        run.sound = sound

    # --- snapshots -------------------------------------------------------------------------------------------------

    async def _snapshot_when_due(self, run: ShardRun[C]) -> None:
        if not (run.alive and run.sound):
            return
        self._see_to_writing(run)
        age_s = time.monotonic() - run.written_at
        metrics.SNAPSHOT_AGE.labels(run.work.label).set(age_s)
        if age_s < self._snapshot_every_s:
            return
        if run.writing is None:
            await self._begin_snapshot(run)
        elif age_s > 10 * self._snapshot_every_s:
            # Kafka is slower than the stream: wait rather than hold ever more unacknowledged events
            await self._written(run)

    def _see_to_writing(self, run: ShardRun[C]) -> None:
        """A snapshot that cannot be written must stop the worker, not pile up events."""
        if run.alive and run.writing is not None and run.writing.done():
            run.writing.result()
            run.writing = None

    async def _written(self, run: ShardRun[C]) -> None:
        """Wait until the snapshot being written is durable. One that was cancelled with its shard is no error."""
        if run.writing is not None:
            await asyncio.wait([run.writing])
            if run.alive:
                run.writing.result()

    async def _begin_snapshot(self, run: ShardRun[C]) -> None:
        assert run.next_offset is not None
        sound, run.sound = run.sound, False  # a copy that fails may have forgotten what has changed since the last one
        capturing = asyncio.ensure_future(run.work.capture(run.next_offset))
        try:
            captured = await asyncio.shield(capturing)
        except asyncio.CancelledError:
            await asyncio.wait([capturing])  # nobody may touch the state before, and what is captured must be written
            self._begin_writing(run, capturing.result())
            run.sound = sound
            raise
        self._begin_writing(run, captured)
        run.sound = sound

    def _begin_writing(self, run: ShardRun[C], captured: C) -> None:
        if not run.alive:
            return
        events, run.unacked = run.unacked, []
        unsent, run.unsent = run.unsent, []
        run.written_at = time.monotonic()
        run.writing = asyncio.create_task(self._write(run, captured, unsent, events))

    async def _write(self, run: ShardRun[C], captured: C, unsent: list[Awaitable[Any]], events: list[Event]) -> None:
        began = time.monotonic()
        for sent in unsent:
            await sent  # what is not durable must be found again by a restart
        if not await run.work.write(captured):
            run.unacked[:0] = events
            return
        for event in events:
            event.ack()
        metrics.SNAPSHOT_SECONDS.observe(time.monotonic() - began)
        metrics.SNAPSHOT_BYTES.labels(run.work.label).set(captured.size)
