"""The lane of a shard of `observations`: batches that are planned, inserted and recorded as done, with checkpoints.

What a plan holds, and why a batch that was cut short can be done again to the row, says `archive_core`; here it is
carried out between Kafka (the checkpoint, and frames that must be read again) and ClickHouse.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from schemas.errors import BrokerError
from streams import metrics
from streams.archive_core import (
    CHECKPOINT_KEY,
    ArchiveSettings,
    Checkpoint,
    Covered,
    Frame,
    Rows,
    ShardArchive,
    decode_checkpoint,
    encode_checkpoint,
    make_rows,
    open_frame,
)
from streams.archive_lane import Delivery, Lane
from streams.clickhouse import Store, StoreThread
from streams.shard_claim import ShardClaim
from streams.shard_store import Log, ShardStore
from streams.steady_clock import wall_ms

log = logging.getLogger(__name__)

BACKFILL_FRAMES: Final = 64  # read at once when frames were committed but are not in
WITHOUT: Final = (
    "delete its records to go on from the committed offset; rows of the last batch may then come twice, which the "
    "views hide and the roll-ups count"
)
OLD_AFTER: Final = 2  # a frame older than so many times `batch_seconds` when it comes says that we are behind


class FrameLane(Lane):
    """One shard of `observations`."""

    def __init__(
        self,
        topic: str,
        partition: int,
        store: StoreThread,
        settings: ArchiveSettings,
        *,
        state: ShardStore,
        log: Log,
        begin: Callable[[], Awaitable[int]],
        new_token: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        super().__init__(topic, partition, store, settings)
        self._claim = ShardClaim(state, partition, CHECKPOINT_KEY, log=log, without=WITHOUT)
        self._log = log
        self._begin = begin
        self._new_token = new_token
        self._shard: ShardArchive | None = None
        self._newest = -1  # the highest offset that was taken

    async def _take(self, delivery: Delivery) -> None:
        is_old = wall_ms() - delivery.timestamp_ms > OLD_AFTER * 1000 * self._settings.batch_seconds
        self._behind = is_old and not delivery.is_last
        try:
            shard = await self._ready(delivery.offset)
        except BaseException:  # cancelled: it does not come again, but will be read from the topic
            self._newest = max(self._newest, delivery.offset)
            self._unacked.append(delivery.ack)
            self._started_waiting()
            raise
        if shard is None:
            return
        if shard.knows(delivery.offset):
            # behind those in hand, which may be this very frame: it can come twice, and Faust commits past all that was
            # not acknowledged before it
            self._unacked.append(delivery.ack)
            if not shard.pending and not self._lacks_some():
                self._acknowledge()
            return
        shard.offer(self._frame(delivery.offset, delivery.value, delivery.timestamp_ms))
        self._newest = max(self._newest, delivery.offset)
        self._unacked.append(delivery.ack)
        self._started_waiting()

    @property
    def waiting_bytes(self) -> int:
        return self._shard.size if self._shard is not None else 0

    def _full(self) -> bool:
        return self._shard is not None and self._shard.full(self._settings)

    async def _write(self) -> None:
        self._waiting_since = None
        if self._unacked and self._lacks_some():
            await self._ready(self._newest + 1)
        shard = self._shard
        if shard is None:
            return
        if not shard.pending:
            self._acknowledge()  # what is in hand was in a batch that was done again
            return
        plan, frames = shard.plan(self._new_token(), self._claim.epoch)
        written = False
        try:
            written = await self._put(plan) and await self._insert(shard, plan, frames)
        finally:
            if not written:
                # cancelled, claimed by another, or an error nobody expected: whether it is in is now the checkpoint's
                # to say, so the shard is opened anew, and what was in hand is read from the topic again
                self._shard = None
                self._started_waiting()
        if written:
            self._acknowledge()

    def _lacks_some(self) -> bool:
        """Whether frames that were taken must be read from the topic: the shard was claimed by another owner meanwhile,
        and is still ours for Kafka, or somebody was cancelled."""
        return self._shard is None or self._shard.next_offset <= self._newest

    async def _ready(self, upto: int) -> ShardArchive | None:
        """The shard, all frames below `upto` in it or pending; None when the partition is no longer ours."""
        while self.alive:
            if self._shard is None:
                opened = await self._open()
                if opened is not None:
                    await self._check_same_topic(opened, upto)  # first: one that is refused would know what comes next
                self._shard = opened
                continue
            shard = self._shard
            await self._backfill(shard, upto)
            if self.alive and self._shard is shard:
                return shard
        return None

    async def _open(self) -> ShardArchive | None:
        """The shard as its last owner left it; does the batch again that it may have been in the middle of. None when
        the partition is no longer ours, or another owner has claimed it meanwhile."""
        stored = await self._until_kafka_answers("load", self._claim.take)
        if stored is None:
            return None
        if not stored:
            return await self._open_without_checkpoint()
        checkpoint = max((self._decoded(payload) for payload in stored), key=lambda one: one.epoch)
        checkpoint = msgspec.structs.replace(checkpoint, epoch=self._claim.epoch)
        shard = ShardArchive(Covered(checkpoint.covered), checkpoint.last + 1)
        if checkpoint.done:
            return shard
        frames = await self._read(checkpoint.first, checkpoint.last)
        if frames is None:
            return None
        log.info(
            "%s[%d]: doing the batch of frames %d..%d again, its end was not recorded",
            *(self.topic, self.partition, checkpoint.first, checkpoint.last),
        )
        if len(frames) != checkpoint.frames:
            # retention took some: other rows under the same token could be dropped as known, so it gets a new one
            log.error(
                "%s[%d]: %d of %d frames of the unfinished batch are gone from Kafka",
                *(self.topic, self.partition, checkpoint.frames - len(frames), checkpoint.frames),
            )
            checkpoint = msgspec.structs.replace(checkpoint, token=self._new_token())
        # under our own epoch first: of two plans that former owners left, another owner could choose the other one
        return shard if await self._put(checkpoint) and await self._insert(shard, checkpoint, frames) else None

    async def _open_without_checkpoint(self) -> ShardArchive | None:
        """The shard from where the group's commit says. Not from what is delivered: what was on its way while the group
        was being divided may come before what it goes back to, and a checkpoint would call that one known."""
        begin = await self._until_kafka_answers("ask for the commit", self._begin)
        if begin:
            log.warning(
                "%s[%d]: begins at offset %d without a checkpoint; if there was one, rows of its last batch may come "
                "twice",
                *(self.topic, self.partition, begin),
            )
        return None if begin is None else ShardArchive(Covered(), begin)

    def _decoded(self, payload: bytes) -> Checkpoint:
        try:
            return decode_checkpoint(payload)
        except BrokerError as problem:
            where = f"{self.topic}[{self.partition}]"
            raise BrokerError(f"{where}: {problem} - start the version that wrote it, or {WITHOUT}") from problem

    async def _check_same_topic(self, shard: ShardArchive, delivered: int) -> None:
        """Refuse a checkpoint that is ahead of its topic: that was made anew, and as many frames as the old one had
        would be passed over as known."""
        last = shard.next_offset - 1
        if delivered <= last and await self._read(last, last) == []:
            raise BrokerError(
                f"{self.topic}[{self.partition}]: the checkpoint says that the frames up to offset {last} are "
                f"archived, but the topic does not have that one while {delivered} comes next: the topic was made anew "
                "or lost its end - restore it, or delete the records of archive-state, or begin with another "
                "topics.prefix"
            )

    async def _backfill(self, shard: ShardArchive, delivered: int) -> None:
        """Frames between what is known and what was delivered: read from the topic and archived first. There are none
        unless commits got ahead (see faust-streaming/faust#606), were set by hand, or offsets have gaps."""
        while self._shard is shard and self.alive and shard.next_offset < delivered:
            last = min(shard.next_offset + BACKFILL_FRAMES, delivered) - 1
            frames = await self._read(shard.next_offset, last)
            if frames is None:
                return
            if frames:
                log.warning(
                    "%s[%d]: the frames %d..%d were not delivered, archiving %d that were read instead",
                    *(self.topic, self.partition, shard.next_offset, last, len(frames)),
                )
            if gone := last + 1 - shard.next_offset - len(frames):
                metrics.GONE_MESSAGES.labels("observations").inc(gone)
                log.error(
                    "%s[%d]: %d of the frames %d..%d are gone from Kafka and were never archived - raise its retention",
                    *(self.topic, self.partition, gone, shard.next_offset, last),
                )
            for frame in frames:
                shard.offer(frame)
            shard.next_offset = last + 1
            if shard.full(self._settings):
                await self._write()

    async def _read(self, first: int, last: int) -> list[Frame] | None:
        messages = await self._until_kafka_answers(
            "read", lambda: self._log.read_range(self.topic, self.partition, first, last)
        )
        if messages is None:
            return None
        return [self._frame(message.offset, message.value, message.timestamp_ms) for message in messages]

    async def _put(self, checkpoint: Checkpoint) -> bool:
        payload = encode_checkpoint(checkpoint)
        put = await self._until_kafka_answers("checkpoint", lambda: self._claim.put(payload))
        if put is False:
            log.warning("%s[%d]: claimed by another owner; looking what it has done", self.topic, self.partition)
        return bool(put) and self.alive

    async def _insert(self, shard: ShardArchive, plan: Checkpoint, frames: Sequence[Frame]) -> bool:
        """Insert a planned batch and record that it is in. False when the partition was lost meanwhile."""
        covered = shard.covered.copy()
        rows = await self._store.run(lambda _: make_rows(frames, covered))  # off the event loop: a batch takes 0.1 s
        done = await self._store.until_done(lambda store: _insert_all(store, rows, plan.token), wanted=self.is_alive)
        if done is None or not self.alive:
            return False
        metrics.ROWS.labels("archived").inc(rows.archived)
        metrics.DUPLICATE_ROWS.inc(rows.duplicates)
        return await self._put(shard.finish(plan, covered))

    def _frame(self, offset: int, value: bytes | None, timestamp_ms: int) -> Frame:
        frame = open_frame(self.topic, self.partition, offset, value, timestamp_ms)
        if frame.letter is not None:
            log.error("%s[%d] offset %d: %s", self.topic, self.partition, offset, frame.letter.detail)
        return frame


def _insert_all(store: Store, rows: Rows, token: str) -> bool:
    """Insert every table of the batch. Repeating it from the first is safe: each table knows the token."""
    for name, table in rows.tables.items():
        store.insert(name, table, token=token)
    return True
