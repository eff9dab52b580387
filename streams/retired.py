"""Alerts whose detector is gone: taken out of the configuration, or replaced by another version.

What no detector watches any more nobody would ever clear. So the join does, with the reason "retired", at the next end
of a bucket of the detector that was: a place in event time that the snapshot fixes, so a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from detectors.contract import RETIRED
from detectors.hysteresis import ACTIVE, SLOT
from schemas.alert import Action, Alert, make_alert_id
from streams.slots import Slots
from streams.snapshot_parts import JudgePart
from topology.grid import Grid

Place = Callable[[float, float, int], dict[str, str | None]]
"""What an alert says of a place: (lon, lat, time in ms) -> its fields"""


class Retired:
    """The standing alerts of one detector that is gone, until they are cleared."""

    def __init__(self, part: JudgePart, slots: Slots) -> None:
        self.part = part
        rows = part.standing.array(SLOT)
        active = np.flatnonzero(rows["phase"] == ACTIVE)
        self._rows = rows[active]
        self._cells = slots.cells[part.slots.array(np.int32)[active]]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def due_ms(self) -> int:
        """When the watermark passes this, they are cleared."""
        return self.part.due_ms

    def clear(self, grid: Grid, place: Place) -> Iterator[Alert]:
        """Their last records, by cell."""
        part = self.part
        lon, lat = grid.centres(self._cells)
        for i in np.argsort(self._cells).tolist():
            row, cell = self._rows[i], int(self._cells[i])
            onset_ms = int(row["onset_ms"])
            yield Alert(
                alert_id=make_alert_id(part.name, part.version, cell, onset_ms),
                revision=int(row["revision"]) + 1,
                action=Action.CLEAR,
                detector=part.name,
                detector_version=part.version,
                category=part.category,
                cell=cell,
                lon=round(float(lon[i]), 7),
                lat=round(float(lat[i]), 7),
                onset_ms=onset_ms,
                window_start_ms=part.due_ms - part.window_ms,
                window_end_ms=part.due_ms,
                severity=int(row["severity"]),
                confidence=0.0,
                reason=RETIRED,
                values={},
                thresholds={},
                evidence=[],
                sentence_zh=f"检测规则“{part.name}”第 {part.version} 版已停用，不再监测，告警随之解除。",
                sentence_en=f"Detector {part.name} version {part.version} is not in use any more: nothing watches.",
                **place(float(lon[i]), float(lat[i]), onset_ms),
            )
