"""Raw partitions as locate sees them: which are ours, where each goes on, what has arrived, what is committed.

aiokafka hands out what it has fetched; whether that is what comes next is checked here against the locator's own
position, because after a rebalance or a set-back old batches may still be on their way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas.errors import BrokerError
from schemas.sources import Source
from streams.batches import Batch
from streams.flush import Commit
from streams.locate_core import Locator
from streams.locate_sender import FIRST_PAUSE_S, LONGEST_PAUSE_S
from streams.placing import RawKey, WatermarkState
from streams.raw_batches import RawBatchConsumer
from streams.tasks import start_whole, within
from streams.topics import TopicNames

log = logging.getLogger(__name__)

SESSION_TIMEOUT_MS: Final = 10_000  # how long after a kill -9 another worker takes over
HEARTBEAT_MS: Final = 3_000
METADATA_MAX_AGE_MS: Final = 30_000  # how long a new raw partition goes unnoticed
CLOSE_WITHIN_S: Final = 8.0
SAME_ANSWER_MS: Final = 20  # times of one answer, seen twice, differ by what two clocks differ by

Found = list[tuple[TopicPartition, Sequence[Batch]]]


def group_of(names: TopicNames) -> str:
    """The consumer group of locate."""
    return f"{names.prefix}locate"


class LocateReader:
    """A member of locate's group. `on_revoked` is called, and waited for, before partitions go."""

    def __init__(
        self,
        names: TopicNames,
        locator: Locator,
        *,
        bootstrap: str,
        options: Mapping[str, Any],
        on_revoked: Callable[[Sequence[RawKey]], Awaitable[None]],
        make_consumer: Callable[..., RawBatchConsumer] = RawBatchConsumer,
    ) -> None:
        self._names = names
        self._locator = locator
        self._bootstrap = bootstrap
        self._options = dict(options)
        self._sources = {names.raw(source): source for source in Source}
        self._listener = _Listener(self, on_revoked)
        self._make_consumer = make_consumer
        self._consumer: RawBatchConsumer | None = None
        self.mine: frozenset[TopicPartition] = frozenset()
        """The partitions that the group has given to us; the locator knows each from its first look on."""
        self.unread: set[TopicPartition] = set()
        """Partitions whose batches have been handed out but not fed: they must not be read meanwhile."""
        self._jumps: dict[RawKey, int] = {}
        self._answers: dict[
            RawKey, tuple[int | None, int]
        ] = {}  # when the last fetch but one was answered, and the last

    # --- connection ------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Join the group, waiting for the broker as long as it takes."""
        pause, told = FIRST_PAUSE_S, False
        while True:
            consumer = self._make_consumer(
                self._sources,
                bootstrap_servers=self._bootstrap,
                group_id=group_of(self._names),
                listener=self._listener,
                options={
                    "session_timeout_ms": SESSION_TIMEOUT_MS,
                    "heartbeat_interval_ms": HEARTBEAT_MS,
                    "metadata_max_age_ms": METADATA_MAX_AGE_MS,
                    **self._options,
                },
            )
            try:
                await start_whole(consumer.start(), consumer.stop)
            except KafkaError as error:
                if not told:
                    told = True
                    log.warning("locate: cannot read from Kafka at %s (%s); trying again", self._bootstrap, error)
            else:
                self._consumer = consumer
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Leave the group. What is ours is forgotten; a broker that is away does not hold this up."""
        consumer, self._consumer = self._consumer, None
        self.mine = frozenset()
        self.unread.clear()
        self._jumps.clear()
        self._answers.clear()
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                await within(CLOSE_WITHIN_S, consumer.stop())

    # --- reading ---------------------------------------------------------------------------------------------------

    async def poll(self, timeout_ms: int) -> Found:
        """What has arrived, tickets first; newly assigned partitions are made known to the locator."""
        if self._consumer is None:
            return []
        return self._in_order(await self._consumer.getmany(timeout_ms=timeout_ms))

    async def poll_tickets(self) -> Found:
        """Tickets that are here already, a few batches at most."""
        tickets = [tp for tp in self.mine if self.source(tp) is Source.TICKETS and tp not in self.unread]
        if self._consumer is None or not tickets:
            return []
        return self._in_order(await self._consumer.getmany(*tickets, max_batches=8))

    def _in_order(self, found: Mapping[TopicPartition, Sequence[Batch]]) -> Found:
        self.unread.update(found)
        return sorted(found.items(), key=lambda item: (self.source(item[0]) is not Source.TICKETS, item[0]))

    async def adopt(self, now_ms: int) -> None:
        """Let the locator begin with the partitions that are newly ours, where their last commit says."""
        for tp in sorted(self.mine):
            if self.key(tp) in self._locator.assigned or self._consumer is None:
                continue
            begin = await self._begin(self._consumer, tp)
            if tp in self.mine:
                self._locator.assign(self.key(tp), *begin, now_ms)

    @staticmethod
    async def _begin(consumer: RawBatchConsumer, tp: TopicPartition) -> tuple[int, WatermarkState]:
        committed = await consumer.committed(tp)
        if committed is None:
            # not where the consumer stands: what it has handed out before now was dropped, and must come again
            return await consumer.beginning(tp), WatermarkState()
        offset, metadata = committed
        state = WatermarkState.decode(metadata)
        if state is None:
            log.warning(
                "locate: the commit of %s[%d] at offset %d is not ours (%r); from there lateness is judged afresh",
                tp.topic, tp.partition, offset, metadata[:80],
            )  # fmt: skip
        return offset, state or WatermarkState()

    def is_next(self, tp: TopicPartition, batches: Sequence[Batch]) -> bool:
        """Whether these batches go on where the locator is. If not, they belong to an assignment that has ended, and
        the partition is set back; or the broker has deleted what comes between, which a second look tells."""
        progress = self._locator.assigned.get(self.key(tp))
        if progress is None or self._consumer is None or tp not in self.mine:
            return False
        key, position, first = self.key(tp), progress.position, batches[0].first_offset
        if first == position:
            self._jumps.pop(key, None)
            return True
        if first > position and self._jumps.pop(key, None) == first:
            log.warning(
                "locate: offsets %d to %d of %s[%d] are gone from the broker and were never read; raise its retention",
                position, first - 1, tp.topic, tp.partition,
            )  # fmt: skip
            self._locator.advance(key, first)
            return True
        self._jumps[key] = first
        with contextlib.suppress(IllegalStateError):  # it has just been taken from us
            self._consumer.seek(tp, position)
        return False

    def look_at_ends(self) -> None:
        """Tell the locator how far each partition goes, and which offsets hold no records.

        Only of partitions of which all that was handed out has been fed: not of those that are being taken away, whose
        last batches were dropped behind the consumer's position. BrokerError when offsets have begun anew.
        """
        if self._consumer is None:
            return
        for key, progress in self._locator.assigned.items():
            tp = self.partition(key)
            standing = self._consumer.standing(tp)
            if standing is None or key in self._jumps or tp in self.unread or tp not in self.mine:
                continue
            position, end, when_ms = standing
            if end < progress.position:
                raise BrokerError(
                    f"locate: {tp.topic}[{tp.partition}] ends at offset {end}, but was read up to {progress.position} "
                    "before: the topic was made anew or lost its end, so that offsets no longer name the same records; "
                    "restore the topic, or begin with another topics.prefix"
                )
            self._locator.advance(key, position)
            asked_ms = self._asked_ms(key, when_ms)
            if asked_ms is not None:
                self._locator.seen_end(key, end, asked_ms)

    def _asked_ms(self, key: RawKey, answered_ms: int) -> int | None:
        """When the broker was asked, at the earliest, what it answered at `answered_ms`: the next fetch of a partition
        is sent after the answer to the one before. None until there are two.

        The answer is noted when we get to reading it. To a process that was paused meanwhile it would seem fresh, and a
        partition idle that has had records all the while: its windows would be closed over the next owner's rows.
        """
        before, latest = self._answers.get(key, (None, answered_ms))
        if answered_ms > latest + SAME_ANSWER_MS:
            before, latest = latest, answered_ms
        self._answers[key] = before, latest
        return before

    def forget(self, keys: Iterable[RawKey]) -> None:
        for key in keys:
            self._jumps.pop(key, None)
            self._answers.pop(key, None)
            self.unread.discard(self.partition(key))

    # --- committing ------------------------------------------------------------------------------------------------

    async def commit(self, commits: Mapping[RawKey, Commit]) -> bool:
        """Commit what is still ours. False when Kafka refused it: then it should be tried again, for where nothing more
        comes no later commit would follow. Where partitions are going, records are read again, which is no harm."""
        consumer = self._consumer
        if consumer is None:
            return True
        ours = consumer.assignment()
        offsets = {
            self.partition(key): (commit.offset, commit.metadata)
            for key, commit in commits.items()
            if self.partition(key) in ours
        }
        if not offsets:
            return True
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            log.info("locate: offsets not committed, the group is being divided anew; they will be read again")
        except KafkaError as error:
            log.warning("locate: offsets not committed (%s: %s); trying again", type(error).__name__, error)
            return False
        return True

    # --- names -----------------------------------------------------------------------------------------------------

    def source(self, tp: TopicPartition) -> Source:
        return self._sources[tp.topic]

    def key(self, tp: TopicPartition) -> RawKey:
        return int(self._sources[tp.topic]), tp.partition

    def partition(self, key: RawKey) -> TopicPartition:
        return TopicPartition(self._names.raw(Source(key[0])), key[1])


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Partitions that go are given back first; new ones are adopted at the next look."""

    def __init__(self, reader: LocateReader, on_revoked: Callable[[Sequence[RawKey]], Awaitable[None]]) -> None:
        self._reader = reader
        self._on_revoked = on_revoked

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        # aiokafka still calls them assigned until the new assignment comes: from here on they are not ours
        self._reader.mine = frozenset()
        await self._on_revoked([self._reader.key(tp) for tp in revoked])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._reader.mine = frozenset(assigned)
        names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in sorted(self._reader.mine))
        log.info("locate: reading %s", names or "nothing: other workers have all partitions")
