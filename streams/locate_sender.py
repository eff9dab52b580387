"""Sends what locate has made and commits what has been acknowledged, in an order that keeps the covers' promises.

One flush is on its way and one more may wait; whoever makes flushes faster waits. Within a flush the frames of one
shard go one after the other, each only when the one before is acknowledged: were a frame lost while its successor was
stored, the successor's watermark would close windows over the missing rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from schemas.dead_letter import DeadLetter, encode_dead_letter
from schemas.errors import BrokerError
from schemas.sources import Source
from streams.flush import Commit, Flush, FrameOut, UrgentTicket
from streams.frame_batch import FrameBatch, check_seam
from streams.placing import RawKey
from streams.produce_request import FlatProducer
from streams.tasks import end, start_whole, within
from streams.topics import LARGE_MESSAGE_BYTES, TopicNames

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0
SLOW_AFTER_S: Final = 10.0  # an acknowledgement that takes longer is worth a line in the log
CLOSE_WITHIN_S: Final = 5.0  # an idempotent producer waits for its broker for ever; a stop must not
LETTERS_AT_ONCE: Final = 2_000
BATCH_BYTES: Final = 256 * 1024  # dead letters and urgent tickets share batches; a frame is one by itself


class LocateSender:
    """An idempotent producer with a short queue. `commit` stores raw offsets; it is called with acknowledged ones only,
    and says whether they need not be tried again.

    A producer that fails for good (fenced, sequence lost, message refused) is replaced, and what it left
    unacknowledged is sent again: readers drop what they have by its covers or its key.
    """

    def __init__(
        self,
        names: TopicNames,
        *,
        bootstrap: str,
        options: Mapping[str, Any],
        shards: int,
        commit: Callable[[Mapping[RawKey, Commit]], Awaitable[bool]],
        commit_interval_ms: int,
        make_producer: Callable[..., Any] = FlatProducer,
    ) -> None:
        self._names = names
        self._bootstrap = bootstrap
        self._options = dict(options)
        self._shards = shards
        self._commit = commit
        self._commit_interval_s = commit_interval_ms / 1000
        self._make_producer = make_producer
        self._producer: Any = None
        self._queue: asyncio.Queue[Flush] = asyncio.Queue(maxsize=1)
        self._urgent: list[asyncio.Task[None]] = []
        self._uncommitted: dict[RawKey, Commit] = {}
        self._committed_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._replacing = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()

    async def start(self) -> None:
        """Connect, waiting for the broker and its topics as long as it takes; BrokerError when they do not fit."""
        check_seam()
        self._producer = await self._connect()
        await self._check_topics()
        self._task = asyncio.create_task(self._run(), name="locate-sender")

    async def stop(self) -> None:
        """Stop at once; what is not acknowledged will be read and sent again by whoever comes next."""
        for task in (self._task, *self._urgent):
            await end(task)
        await self._close(self._producer)

    @property
    def running(self) -> bool:
        """Whether what is put will be sent."""
        return self._task is not None and not self._task.done()

    @property
    def failed(self) -> BaseException | None:
        """Why sending ended, if it did: a bug, for every failure of Kafka's is retried."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    # --- what locate calls -------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether `put` would return at once."""
        return not self._queue.full()

    async def wait_for_room(self, timeout_s: float) -> None:
        """Return when there is room, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), timeout_s)

    def put(self, flush: Flush) -> None:
        """Hand a flush over; there must be room."""
        self._queue.put_nowait(flush)
        self._room.clear()

    def urgent(self, tickets: Sequence[UrgentTicket]) -> None:
        """Send now, past everything that waits. Raw offsets of later flushes are committed after these, too."""
        self._urgent = [task for task in self._urgent if not task.done()]
        for ticket in tickets:
            self._urgent.append(asyncio.create_task(self._deliver_urgent(ticket)))

    async def drain(self) -> None:
        """Wait until all that was put has been acknowledged and committed."""
        await self._queue.join()
        await self._commit_now()

    # --- the queue ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            flush = await self._queue.get()
            self._room.set()
            try:
                urgent = list(self._urgent)
                queues: dict[tuple[str, int], list[FrameOut]] = defaultdict(list)
                for topic, frames in (
                    (self._names.observations, flush.frames),
                    (self._names.placed_tickets, flush.tickets),
                ):
                    for frame in frames:
                        queues[topic, frame.shard].append(frame)
                async with asyncio.TaskGroup() as group:
                    for (topic, _), queue in queues.items():
                        group.create_task(self._deliver_frames(topic, queue))
                    if flush.dead_letters:
                        group.create_task(self._deliver_letters(flush.dead_letters))
                await asyncio.gather(*urgent)
                self._uncommitted.update(flush.commits)
                if time.monotonic() - self._committed_at >= self._commit_interval_s:
                    await self._commit_now()
            finally:
                self._queue.task_done()

    async def _commit_now(self) -> None:
        commits, self._uncommitted = self._uncommitted, {}
        self._committed_at = time.monotonic()
        if commits and not await self._commit(commits):
            # with the next flush, which comes also when nothing else does
            self._uncommitted = commits | self._uncommitted

    def forget(self, keys: Iterable[RawKey]) -> None:
        """These partitions are another's: what was not committed of them, nobody commits later."""
        for key in keys:
            self._uncommitted.pop(key, None)

    async def _deliver_frames(self, topic: str, frames: Sequence[FrameOut]) -> None:
        while frames[0].shard >= await self._partitions(topic):  # the raw topic has grown: this one will, too
            log.warning("locate: %s has no partition %d yet; waiting for it", topic, frames[0].shard)
            await asyncio.sleep(LONGEST_PAUSE_S / 10)
            await self._producer.client.force_metadata_update()
        for frame in frames:
            await self._deliver(topic, frame.data, None, frame.shard)

    async def _deliver_urgent(self, ticket: UrgentTicket) -> None:
        await self._deliver(self._names.urgent_tickets, ticket.data, ticket.key, None)

    async def _deliver_letters(self, letters: Sequence[DeadLetter]) -> None:
        for start in range(0, len(letters), LETTERS_AT_ONCE):
            await asyncio.gather(
                *(
                    self._deliver(self._names.dead_letters, encode_dead_letter(letter), letter.key, None)
                    for letter in letters[start : start + LETTERS_AT_ONCE]
                )
            )

    # --- one message -------------------------------------------------------------------------------------------------

    async def _deliver(self, topic: str, value: bytes | memoryview, key: bytes | None, partition: int | None) -> None:
        """Send until acknowledged; to a partition, as a batch of its own."""
        pause = FIRST_PAUSE_S
        while True:
            producer = self._producer
            try:
                if partition is None:
                    acknowledged = await producer.send(topic, value, key=key)
                else:
                    acknowledged = await producer.send_batch(FrameBatch(value), topic, partition=partition)
                await self._acknowledgement(topic, acknowledged)
                return
            except KafkaTimeoutError:
                log.warning("locate: Kafka at %s has not taken a message for %s, trying again", self._bootstrap, topic)
                continue
            except KafkaError as error:
                log.error("locate: %s: %s", topic, _in_words(error, topic, len(value)))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            await self._replace(producer)

    async def _acknowledgement(self, topic: str, acknowledged: asyncio.Future[Any]) -> None:
        began = time.monotonic()
        told = False
        while not acknowledged.done():
            await asyncio.wait([acknowledged], timeout=SLOW_AFTER_S)
            if not acknowledged.done() and not told:
                told = True
                log.warning(
                    "locate: no acknowledgement for %s from Kafka at %s since %.0f s; waiting, nothing is lost",
                    topic, self._bootstrap, time.monotonic() - began,
                )  # fmt: skip
        acknowledged.result()
        if told:
            log.info("locate: Kafka acknowledged %s after %.0f s", topic, time.monotonic() - began)

    # --- the producer ------------------------------------------------------------------------------------------------

    async def _connect(self) -> Any:
        pause, told = FIRST_PAUSE_S, False
        while True:
            producer = self._make_producer(
                bootstrap_servers=self._bootstrap,
                enable_idempotence=True,
                acks="all",
                linger_ms=0,
                max_request_size=LARGE_MESSAGE_BYTES,
                max_batch_size=BATCH_BYTES,
                **self._options,
            )
            try:
                await start_whole(producer.start(), partial(self._close, producer))
            except KafkaError as error:
                await self._close(producer)
                if not told:
                    told = True
                    log.warning("locate: no broker answers at %s (%s); trying again", self._bootstrap, error)
            else:
                if told:
                    log.info("locate: connected to Kafka at %s", self._bootstrap)
                return producer
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _replace(self, failed: Any) -> None:
        """A new producer in place of `failed`, unless another message's failure has brought one already."""
        async with self._replacing:
            if self._producer is failed:
                await self._close(failed)
                self._producer = await self._connect()

    @staticmethod
    async def _close(producer: Any) -> None:
        if producer is None:
            return
        try:
            stopped = await within(CLOSE_WITHIN_S, producer.stop())
        except KafkaError:
            stopped = False
        if not stopped:
            # The broker is away and aiokafka would wait for it for ever: its parts are closed one by one.
            if producer._sender is not None:
                await end(producer._sender.sender_task)
            await producer.client.close()

    async def _check_topics(self) -> None:
        """A frame's partition is its shard, or the raw partition of its tickets: so the counts must fit."""
        names = self._names
        shards = await self._partitions(names.observations)
        if shards != self._shards:
            raise BrokerError(
                f"locate: topic {names.observations} has {shards} partitions, but topics.shards is {self._shards}; "
                "set topics.shards to the number of partitions, or begin with another topics.prefix"
            )
        raw, placed = await self._partitions(names.raw(Source.TICKETS)), await self._partitions(names.placed_tickets)
        if placed < raw:
            raise BrokerError(
                f"locate: topic {names.placed_tickets} has {placed} partitions, but {names.raw(Source.TICKETS)} has "
                f"{raw}; set topics.tickets_partitions to {raw} or more and run `tongguan topics apply`"
            )

    async def _partitions(self, topic: str) -> int:
        """How many partitions a topic has; waits until it exists."""
        told = False
        while True:
            try:
                partitions = await self._producer.partitions_for(topic)
            except KafkaError as error:
                partitions = set()
                problem = _in_words(error, topic, 0)
            else:
                problem = f"topic {topic} does not exist; `tongguan topics apply` creates it"
            if partitions:
                return len(partitions)
            if not told:
                log.warning("locate: %s; waiting for it", problem)
                told = True
            await asyncio.sleep(LONGEST_PAUSE_S / 10)


def _in_words(error: KafkaError, topic: str, size: int) -> str:
    if isinstance(error, MessageSizeTooLargeError):
        return (
            f"the broker refuses a message of {size} bytes; raise max.message.bytes of {topic} to "
            f"{LARGE_MESSAGE_BYTES} (`tongguan topics apply` does) or lower locate.max_frame_bytes"
        )
    if isinstance(error, UnknownTopicOrPartitionError):
        return f"topic {topic} does not exist; `tongguan topics apply` creates it"
    return f"{type(error).__name__}: {error}"
