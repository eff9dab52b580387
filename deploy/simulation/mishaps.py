"""What happens to records on their way: sent twice, held up, spoilt. Decided by each record's own chance."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from deploy.simulation.chance import uniforms
from deploy.simulation.malformed import SPOILERS, spoil
from deploy.simulation.rows import Renderer, Rows
from deploy.simulation.settings import FaultSettings
from schemas.sources import Source

HELD_UP_MS: Final = (40_000, 240_000)
"""Beyond what the join waits for, also for tickets."""
AGAIN_MS: Final = (50, 2_000)
KINDS: Final = tuple(SPOILERS)


class Mishaps:
    """Applies the rates of the settings, and counts."""

    def __init__(self, faults: FaultSettings, renderer: Renderer) -> None:
        self._faults = faults
        self._renderer = renderer
        self.counts: Counter[str] = Counter()

    def apply(self, rows: Rows, blobs: list[bytes]) -> Rows:
        """The rows with their mishaps; spoilt ones get a blob, appended to `blobs`."""
        faults, zero = self._faults, np.zeros(len(rows), dtype=np.int64)
        if len(rows) == 0:
            return rows
        late = uniforms(rows.fate, zero, 1) < faults.late_rate
        if late.any():
            least, most = HELD_UP_MS
            rows.send_ms[late] += least + np.floor(uniforms(rows.fate, zero, 2)[late] * (most - least)).astype(np.int64)
            self.counts["late"] += int(late.sum())
        bad = np.flatnonzero(uniforms(rows.fate, zero, 3) < faults.malformed_rate)
        if len(bad):
            self._spoil(rows, bad, blobs)
        twice = np.flatnonzero(uniforms(rows.fate, zero, 4) < faults.duplicate_rate)
        if len(twice) == 0:
            return rows
        again = rows.take(twice)
        least, most = AGAIN_MS
        again.send_ms += least + np.floor(uniforms(rows.fate, zero, 5)[twice] * (most - least)).astype(np.int64)
        self.counts["duplicate"] += len(twice)
        return Rows.joined((rows, again))

    def _spoil(self, rows: Rows, bad: np.ndarray, blobs: list[bytes]) -> None:
        data, starts = self._renderer.render(rows.take(bad), blobs)
        payloads, edges = data.tobytes(), starts.tolist()
        kinds = np.floor(uniforms(rows.fate[bad], np.zeros(len(bad), dtype=np.int64), 6) * len(KINDS)).astype(int)
        for i, (row, number) in enumerate(zip(bad.tolist(), kinds.tolist(), strict=True)):
            source, kind = Source(int(rows.source[row])), KINDS[number]
            blobs.append(spoil(kind, source, payloads[edges[i] : edges[i + 1]], int(rows.event_ms[row])))
            rows.blob[row] = len(blobs) - 1
            self.counts[f"malformed {kind}"] += 1
