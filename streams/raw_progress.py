"""How far a shard has come in each raw partition, and the watermark that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.observation import Cover
from streams.coverage import Coverage

RawKey = tuple[int, int]
"""(source number, raw partition)"""


@dataclass(slots=True)
class RawPartition:
    """What one shard knows of one raw partition."""

    coverage: Coverage = field(default_factory=Coverage)
    watermark_ms: int | None = None  # None: nothing with a time yet
    max_event_ms: int | None = None
    idle: bool = False


class RawProgress:
    """All raw partitions of one shard.

    The watermark is the minimum over the partitions that are not idle, and None until every expected partition has
    had a row or been called idle: a frame of one must not close windows for another that is merely slower. When all are
    idle, everything there is has been seen, and event time comes up to the greatest time seen. It never goes back.
    """

    def __init__(self, expected: Iterable[RawKey]) -> None:
        self.partitions: dict[RawKey, RawPartition] = {key: RawPartition() for key in expected}
        self.watermark_ms: int | None = None

    def coverage(self, key: RawKey) -> Coverage:
        return self.partitions.setdefault(key, RawPartition()).coverage

    def apply(self, cover: Cover) -> None:
        """Take in what a frame says of a raw partition, after its rows have been dealt with.

        Whether its source is idle is told by who has come farthest: a worker that was frozen, with a frame in its hands
        that says so, must not close windows over what its successor has sent meanwhile.
        """
        partition = self.partitions.setdefault((cover.source, cover.partition), RawPartition())
        if cover.last >= partition.coverage.last:  # else it was written before what is known already
            partition.idle = cover.idle
        partition.coverage.add(cover.first, cover.last)
        if cover.max_event_ms > 0:
            partition.watermark_ms = max(partition.watermark_ms or cover.watermark_ms, cover.watermark_ms)
            partition.max_event_ms = max(partition.max_event_ms or cover.max_event_ms, cover.max_event_ms)

    def advance(self) -> int | None:
        """Bring the shard's watermark up to date and return it."""
        now = self._minimum()
        if now is not None and (self.watermark_ms is None or now > self.watermark_ms):
            self.watermark_ms = now
        return self.watermark_ms

    def _minimum(self) -> int | None:
        partitions = self.partitions.values()
        awake = [p.watermark_ms for p in partitions if not p.idle]
        if not awake:
            return max((p.max_event_ms for p in partitions if p.max_event_ms is not None), default=None)
        return None if any(w is None for w in awake) else min(w for w in awake if w is not None)
