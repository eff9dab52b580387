"""A raw partition as its locator knows it: how far it was read, what each shard was told of it, whether it is idle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.placing import WatermarkState

NOTHING_TOLD: Final = (-1, -1, False)
CERTAINLY_OURS_MS: Final = 2_000
"""Shorter than any session timeout: who was frozen, and lost a partition unawares, was frozen for longer."""


@dataclass(slots=True)
class RawSource:
    """One assigned raw partition: how far it has been read, and what each shard has been told of it."""

    position: int  # next raw offset to be fed
    state: WatermarkState
    advanced_ms: int  # by the clock of `now_ms`: when event time last moved on
    covered: list[int]  # by shard: the first raw offset its frames do not cover; at the end, those of placed-tickets
    told: list[tuple[int, int, bool]]  # likewise: (max_event_ms, arrived_ms, idle) of the last cover
    committed: tuple[int, bool]  # offset and idleness of the last commit that was handed out
    slept: bool = False  # idle when its offset was committed, and nothing has been seen that would have woken it
    arrived_ms: int = 0
    end: int = -1  # offset behind the partition's last record, as last seen; -1 never seen
    end_seen_ms: int = 0
    idle: bool = False

    def settle_idle(self, now_ms: int, idle_after_ms: int) -> None:
        """Set `idle`: read to its end, which the broker has confirmed long enough after event time last moved on.

        A broker that does not answer confirms nothing: an unreachable partition is not an idle one. Rows that do not
        move event time on do not keep a partition awake either, or one stuck clock could stop all alerts.

        What slept when its offset was committed has been quiet for long enough: it is idle as soon as the broker
        confirms, to one who is certainly still its owner, that nothing has come behind that offset.
        """
        self.idle = False
        if self.position < self.end or self.end < 0:
            return
        if self.slept and now_ms - self.end_seen_ms < CERTAINLY_OURS_MS:
            self.slept = False
            self.advanced_ms = self.end_seen_ms - idle_after_ms
        self.idle = self.end_seen_ms - self.advanced_ms >= idle_after_ms
