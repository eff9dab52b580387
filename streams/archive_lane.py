"""A lane of the archive: what lies between one partition on Kafka and ClickHouse; asyncio, but no Faust.

A lane takes deliveries of its partition in order, gathers them, writes a batch when it is full or old enough, and
acknowledges each delivery once what it says is durable. `accept` does not return while a batch is being written: that
is the back-pressure that keeps memory bounded when ClickHouse is slow or away.

    archive_frame_lane    observations: planned batches with checkpoints
    archive_record_lane   alerts, the loop's records, dead letters: their ids say whether ClickHouse has them
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from schemas.errors import BrokerError, BrokerRefused
from streams.archive_core import ArchiveSettings
from streams.clickhouse import StoreThread

log = logging.getLogger(__name__)

T = TypeVar("T")

BEHIND_WAITS: Final = 10
"""While a lane is behind a batch may take so many times `batch_seconds` to fill, unless nothing comes any more. Small
inserts cost more, most of it in merges, so that whoever is behind for want of a core would fall behind further."""
RETRY_PAUSE_S: Final = 1.0  # between attempts to read or write the checkpoint while Kafka is away


@dataclass(frozen=True, slots=True)
class Delivery:
    """One Kafka message in the hands of a lane. `ack` tells Kafka that it need not come again."""

    offset: int
    value: bytes | None
    timestamp_ms: int
    ack: Callable[[], object] = lambda: None
    is_last: bool = False  # nothing stood behind it on Kafka when it was fetched


class Lane(ABC):
    """What both kinds of lane share. A lane lives from the assignment of its partition to its revocation."""

    def __init__(self, topic: str, partition: int, store: StoreThread, settings: ArchiveSettings) -> None:
        self.topic = topic
        self.partition = partition
        self.alive = True  # False once the partition is another's: nothing is acknowledged or checkpointed any more
        self._store = store
        self._settings = settings
        self._lock = asyncio.Lock()
        self._waiting_since: float | None = None
        self._came = 0.0  # when the last delivery did, by time.monotonic()
        self._behind = False  # what came last is old: we are catching up
        self._unacked: list[Callable[[], object]] = []

    async def accept(self, delivery: Delivery) -> None:
        """Take the next message of the partition; returns when there is room for another one."""
        async with self._lock:
            if self.alive:
                self._came = time.monotonic()
                await self._take(delivery)
                if self._full():
                    await self._write()

    async def flush_if_due(self, now: float) -> None:
        """Write what has waited for `batch_seconds`, or longer while we are behind and more comes. Called about ten
        times a second; `now` is time.monotonic()."""
        more_comes = self._behind and now - self._came < self._settings.batch_seconds
        patience_s = self._settings.batch_seconds * (BEHIND_WAITS if more_comes else 1)
        due = self._waiting_since is not None and now - self._waiting_since >= patience_s
        if due and not self._lock.locked():
            await self.flush()

    async def flush(self) -> None:
        """Write everything that was accepted."""
        async with self._lock:
            if self.alive:
                await self._write()

    def revoke(self) -> None:
        """The partition is not ours any more. An insert that is running goes on; its batch is the successor's."""
        self.alive = False

    def is_alive(self) -> bool:
        return self.alive

    @property
    def waiting_bytes(self) -> int:
        """Of what was accepted and is not being written yet."""
        return 0

    @abstractmethod
    async def _take(self, delivery: Delivery) -> None: ...

    @abstractmethod
    def _full(self) -> bool: ...

    @abstractmethod
    async def _write(self) -> None: ...

    def _started_waiting(self) -> None:
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()

    def _acknowledge(self) -> None:
        """In order, each once: what Kafka commits depends on it."""
        acks, self._unacked = self._unacked, []
        for ack in acks:
            ack()

    async def _until_kafka_answers(self, what: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Repeat while the lane lives; None when it no longer does. BrokerRefused must end the worker: what it leaves
        behind says where the next one, with connections of its own, goes on."""
        told = False
        while self.alive:
            try:
                return await call()
            except BrokerRefused:
                raise
            except BrokerError as problem:
                if not told:
                    log.error("%s of %s[%d]: %s; trying again", what, self.topic, self.partition, problem)
                    told = True
                await asyncio.sleep(RETRY_PAUSE_S)
        return None
