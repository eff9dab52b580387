"""One shard of the archive in memory: what stands on Kafka, what ClickHouse has, and what was acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from schemas.errors import StoreUnavailable
from streams.archive_core import ArchiveSettings
from streams.archive_frame_lane import FrameLane
from streams.archive_lane import Delivery
from streams.clickhouse import Store, StoreThread, parse_address
from streams.shard_store import ShardStore
from tests.support.archive_frames import T0_MS
from tests.support.memory_log import MemoryLog

TOPIC, STATE = "observations", "archive-state"
SETTINGS = ArchiveSettings(batch_rows=10, batch_seconds=0.01)


class Crash(BaseException):
    """Stands for kill -9: nothing that would run after it does."""


class MemoryStore(Store):
    """Tables as lists, an insert window by token like ClickHouse's, and faults at choice."""

    def __init__(self) -> None:
        super().__init__(parse_address("http://nowhere:1"))
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.tokens: set[tuple[str, str | None]] = set()
        self.away = False
        self.before: Callable[[str], None] = lambda table: None
        self.after: Callable[[str], None] = lambda table: None

    def insert(self, table: str, rows: pa.Table, *, token: str | None = None) -> None:
        if self.away:
            raise StoreUnavailable("nowhere: connection refused")
        self.before(table)
        if (table, token) not in self.tokens:
            self.tokens.add((table, token))
            self.tables.setdefault(table, []).extend(rows.to_pylist())
        self.after(table)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        raise AssertionError("the frame lane asks nothing")

    def close(self) -> None:
        pass

    @property
    def offsets(self) -> list[int]:
        return [entry["offset"] for entry in self.tables.get("observations", [])]


class ArchiveShard:
    """One shard's Kafka and ClickHouse, which outlive the lanes that work on them."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.store = MemoryStore()
        self.thread = StoreThread(self.store)
        self.acked: list[int] = []
        self.committed = 0

    def lane(self, settings: ArchiveSettings = SETTINGS) -> FrameLane:
        state = ShardStore(STATE, self.log)
        return FrameLane(TOPIC, 0, self.thread, settings, state=state, log=self.log, begin=self.begin)

    async def begin(self) -> int:
        """Of the group's consumer."""
        return self.committed

    async def produce(self, *frames: bytes) -> None:
        for payload in frames:
            await self.log.append(TOPIC, 0, payload)

    async def feed(
        self, lane: FrameLane, first: int | None = None, last: int | None = None, at_ms: int = T0_MS, end: int = 10**9
    ) -> None:
        """Deliver what Kafka has from the committed offset on, as Faust would; by its time, `at_ms`, long ago."""
        begin = self.committed if first is None else first
        for message in await self.log.read_range(TOPIC, 0, begin, 10**9 if last is None else last):
            is_last = message.offset + 1 == end
            await lane.accept(Delivery(message.offset, message.value, at_ms, self._ack(message.offset), is_last))

    def _ack(self, offset: int) -> Callable[[], object]:
        def ack() -> None:
            self.acked.append(offset)
            self.committed = max(self.committed, offset + 1)

        return ack
