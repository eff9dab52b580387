"""A detector for arithmetic: every cell and minute that had records is told, with their number and their sum.

Readings carry running integers (the value of a record is its offset + 1), so what must stand in the alerts follows from
the raw log by adding up: a record that was lost, or counted twice, shows in the sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.contract import CellView, Detector, Explanation, Hysteresis, Verdict, Verdicts
from detectors.features import Aggregate, Feature
from schemas.sources import Source

WINDOW_MS: Final = 60_000
METRIC, EVENT = "water_level_mm", "waterlogging"
SUMS: Final = {
    "n": Feature(name="n", source=Source.READINGS, kind=METRIC, aggregate=Aggregate.COUNT),
    "s": Feature(name="s", source=Source.READINGS, kind=METRIC, aggregate=Aggregate.SUM),
    "c": Feature(name="c", source=Source.CAMERA_EVENTS, kind=EVENT, aggregate=Aggregate.COUNT),
    "t": Feature(name="t", source=Source.TICKETS, kind=None, aggregate=Aggregate.COUNT),
}


@dataclass(frozen=True, slots=True)
class SumsSettings:
    """There is nothing to set."""


class Sums(Detector[SumsSettings]):
    """n readings with sum s, c camera events, t tickets of the cell; `around`: the sum with its neighbours'."""

    name = "sums"
    version = 1
    title_zh = "合计"
    title_en = "Sums"
    category = "waterlogging"
    reasons = ("counted",)
    settings_type = SumsSettings

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(SUMS.values())

    @property
    def rings(self) -> int:
        return 1

    @property
    def hysteresis(self) -> Hysteresis:
        return Hysteresis(clear_after=Hysteresis.MAX_BUCKETS, stale_after=Hysteresis.MAX_BUCKETS, update="always")

    def judge(self, view: CellView) -> Verdicts:
        verdicts = Verdicts.unknown(len(view.cells))
        raised = view["n"] + view["c"] + view["t"] >= 1
        verdicts.verdict = np.where(raised, Verdict.RAISE, Verdict.CLEAR).astype(np.int8)
        verdicts.severity = raised.astype(np.uint8)
        verdicts.confidence = raised.astype(np.float32)
        return verdicts

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        values: dict[str, float | None] = {name: float(view[name][i]) for name in SUMS}
        values["around"] = float(view.ring("s", 1)[i])
        return Explanation(values=values, thresholds={}, sentence_zh="", sentence_en="", evidence_features=("n",))
