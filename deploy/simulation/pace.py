"""How fast a run is sent: by its own time at n-fold speed, by records a second, whichever is slower, or at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from deploy.simulation.rows import Ints

SLICE_S: Final = 0.05
"""Records are sent in portions of so much wall time."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`speed` seconds of the city a second, `rate` records a second; 0 is no limit."""

    speed: float = 0.0
    rate: float = 0.0

    def slices(self, send_ms: Ints, start_ms: int, sent: int) -> Iterator[tuple[Ints, float]]:
        """Portions of a block in order: (rows, seconds after the beginning at which they are due).

        `send_ms` are those of the block's rows, `sent` the records before them.
        """
        due = np.zeros(len(send_ms))
        if self.speed > 0:
            due = np.maximum(due, (send_ms - start_ms) / 1000.0 / self.speed)
        if self.rate > 0:
            due = np.maximum(due, (sent + np.arange(len(send_ms))) / self.rate)
        portion = np.floor(due / SLICE_S)
        edges = np.flatnonzero(np.r_[True, portion[1:] != portion[:-1]])
        for begin, end in zip(edges.tolist(), [*edges[1:].tolist(), len(send_ms)], strict=True):
            yield np.arange(begin, end, dtype=np.int64), float(portion[begin]) * SLICE_S
