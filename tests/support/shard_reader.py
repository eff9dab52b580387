"""A reader of one shard's frames that holds locate to its promises."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from schemas.observation import Flag, decode_frame
from schemas.sources import Source
from streams.coverage import Coverage
from streams.placing import RawKey


@dataclass
class ShardReader:
    """What a join keeps of one shard's log: it drops rows that are covered, then takes over the covers.

    Every promise of a frame header is asserted on the way. `taken` has (event time, flags) by raw partition and offset.
    """

    coverage: dict[RawKey, Coverage] = field(default_factory=lambda: defaultdict(Coverage))
    watermark: dict[RawKey, int] = field(default_factory=lambda: defaultdict(int))
    taken: dict[tuple[RawKey, int], tuple[int, int]] = field(default_factory=dict)
    idle: dict[RawKey, bool] = field(default_factory=dict)

    def read(self, data: bytes | memoryview) -> None:
        header, batch = decode_frame(data)
        by_key = {(c.source, c.partition): c for c in header.covers}
        for row in batch.to_pylist():
            key = (int(Source.of_topic(row["source"])), row["partition"])
            offset = row["offset"]
            assert by_key[key].first <= offset <= by_key[key].last, "a row outside its cover"
            if self.coverage[key].covers(offset, offset):
                continue
            event_at_ms = round(row["event_at"].timestamp() * 1000)
            assert row["flags"] & Flag.LATE or event_at_ms >= self.watermark[key], "a row behind a told watermark"
            assert (key, offset) not in self.taken
            self.taken[key, offset] = (event_at_ms, row["flags"])
        for key, cover in by_key.items():
            assert len(self.coverage[key].intervals) <= 1
            self.coverage[key].add(cover.first, cover.last)
            assert len(self.coverage[key].intervals) <= 1, "a gap between covers"
            self.watermark[key] = max(self.watermark[key], cover.watermark_ms)
            self.idle[key] = cover.idle
