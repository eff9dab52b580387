"""A detector that raises on every cell with data and tells all its features: the windows, seen from outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from detectors.contract import CellView, Detector, Explanation, Hysteresis, Verdict, Verdicts
from detectors.features import Aggregate, Feature
from schemas.sources import Source


@dataclass(frozen=True)
class ProbeSettings:
    window_ms: int = 180_000
    rings: int = 1


class Probe(Detector[ProbeSettings]):
    """Counts a cell as raised in every bucket in which it has a level at all."""

    name = "probe"
    version = 1
    title_zh = "探针"
    title_en = "probe"
    category = "test"
    reasons = ("seen",)
    settings_type = ProbeSettings
    state_lanes = 1

    @property
    def features(self) -> tuple[Feature, ...]:
        w = self.settings.window_ms
        level = partial(Feature, source=Source.READINGS, kind="level", window_ms=w)
        return (
            level(name="count", aggregate=Aggregate.COUNT),
            level(name="total", aggregate=Aggregate.SUM),
            level(name="mean", aggregate=Aggregate.MEAN),
            level(name="least", aggregate=Aggregate.MIN),
            level(name="most", aggregate=Aggregate.MAX),
            level(name="newest", aggregate=Aggregate.LAST),
            level(name="devices", aggregate=Aggregate.DISTINCT),
            level(name="high", aggregate=Aggregate.COUNT, value_at_least=50.0),
            Feature(
                name="seen",
                source=Source.CAMERA_EVENTS,
                kind="flood",
                aggregate=Aggregate.COUNT,
                window_ms=w,
                confidence_at_least=0.6,
            ),
        )

    @property
    def rings(self) -> int:
        return self.settings.rings

    @property
    def hysteresis(self) -> Hysteresis:
        return Hysteresis(update="always", clear_after=1)

    def judge(self, view: CellView) -> Verdicts:
        verdicts = Verdicts.unknown(len(view.cells))
        some = view["count"] + view["seen"] > 0
        verdicts.verdict = np.where(some, Verdict.RAISE, Verdict.CLEAR).astype(np.int8)
        verdicts.severity = some.astype(np.uint8)
        verdicts.state = np.nan_to_num(view.state) + 1
        return verdicts

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        values = {f.name: float(view[f.name][i]) for f in self.features}
        values |= {f"{f.name}_ring": float(view.ring(f.name, self.rings)[i]) for f in self.features}
        values |= {f"{f.name}_before": float(view.bucket(f.name, 1)[i]) for f in self.features}
        values["judged"] = float(np.nan_to_num(view.state[0, i]))
        known = {name: None if np.isnan(value) else value for name, value in values.items()}
        return Explanation(known, {}, "有", "seen", ("most", "newest", "seen"))
