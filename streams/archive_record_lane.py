"""The lane of a topic of small records with ids of their own: alerts, the loop's records, dead letters.

Their ids say whether ClickHouse has them (see archive_records), so no checkpoint is needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from streams.archive_core import ArchiveSettings
from streams.archive_lane import Delivery, Lane
from streams.clickhouse import Store, StoreThread

T = TypeVar("T")


class RecordLane(Lane):
    """One partition. `read` gives the record of a message; `insert_new` inserts those that the store lacks."""

    def __init__(
        self,
        topic: str,
        partition: int,
        store: StoreThread,
        settings: ArchiveSettings,
        *,
        read: Callable[[str, int, Delivery], T],
        insert_new: Callable[[Store, Sequence[T], str], None],
    ) -> None:
        super().__init__(topic, partition, store, settings)
        self._read = read
        self._insert_new = insert_new
        self._records: list[Any] = []

    async def _take(self, delivery: Delivery) -> None:
        self._records.append(self._read(self.topic, self.partition, delivery))
        self._unacked.append(delivery.ack)
        self._started_waiting()

    def _full(self) -> bool:
        return len(self._records) >= self._settings.record_batch

    async def _write(self) -> None:
        self._waiting_since = None
        records, self._records = self._records, []
        if not records:
            return
        token = uuid.uuid4().hex  # for repeats of this call only: an answer can get lost after the rows are in

        def insert(store: Store) -> bool:
            self._insert_new(store, records, token)
            return True

        try:
            written = await self._store.until_done(insert, wanted=self.is_alive)
        except BaseException:
            self._records = records  # cancelled, say: they are still unacknowledged, so they must still be written
            raise
        if written and self.alive:
            self._acknowledge()
