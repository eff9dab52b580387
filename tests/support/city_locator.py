"""A locator on a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.dead_letter import DeadLetter
from schemas.sources import Source
from streams.flush import Flush
from streams.locate_settings import LocateSettings
from streams.placing import RawKey, WatermarkState
from tests.support.decoded_rows import T0, DecodedRow, Tables

READINGS_0: RawKey = (0, 0)
READINGS_1: RawKey = (0, 1)
TICKETS_0: RawKey = (2, 0)
FRESH = WatermarkState()


def no_payloads(offsets: Sequence[int]) -> Mapping[int, bytes | None]:
    return {offset: b"raw %d" % offset for offset in offsets}


@dataclass
class City:
    """A locator with a clock that only the test moves; partitions are assigned at offset 0."""

    config: LocateSettings = field(default_factory=LocateSettings)
    now_ms: int = T0
    tables: Tables = field(default_factory=Tables)

    def __post_init__(self) -> None:
        self.locator = self.tables.locator(self.config)

    def assign(self, *keys: RawKey, offset: int = 0, state: WatermarkState = FRESH) -> City:
        for key in keys:
            self.locator.assign(key, offset, state, self.now_ms)
        return self

    def feed(self, key: RawKey, *rows: DecodedRow, letters: Sequence[DeadLetter] = (), upto: int | None = None) -> int:
        columns = self.tables.columns(rows, source=Source(key[0]), partition=key[1])
        offsets = [row.offset for row in rows] + [dead.offset for dead in letters]
        upto = max(offsets) + 1 if upto is None else upto
        return len(self.locator.feed(columns, letters, upto, self.now_ms, no_payloads))

    def at(self, seconds: float) -> City:
        self.now_ms = T0 + round(seconds * 1000)
        return self

    def flush(self, *, level: bool = False) -> Flush:
        return self.locator.flush(self.now_ms, level=level)
