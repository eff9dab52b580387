"""CityJoin's rule as a detector: a tumbling minute per cell, told at its end with the final m, c, t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.cityjoin_data import CONFIDENCE, RAISE_AT_MM, WINDOW_MS
from detectors.contract import CellView, Detector, Explanation, Hysteresis, Verdict, Verdicts
from detectors.features import Aggregate, Feature
from schemas.sources import Source


@dataclass(frozen=True, slots=True)
class CityJoinSettings:
    """The rule's only number."""

    raise_at_mm: float = RAISE_AT_MM


class CityJoin(Detector[CityJoinSettings]):
    """m = highest good water level, c = confident waterlogging events, t = flood tickets: m >= 150 and c + t >= 1."""

    name = "cityjoin"
    version = 1
    title_zh = "城市联接基准"
    title_en = "CityJoin benchmark"
    category = "waterlogging"
    reasons = ("level_and_report",)
    settings_type = CityJoinSettings

    @property
    def features(self) -> tuple[Feature, ...]:
        return (
            Feature(
                name="m", source=Source.READINGS, kind="water_level_mm", aggregate=Aggregate.MAX,
                bucket_ms=WINDOW_MS, window_ms=WINDOW_MS,
            ),
            Feature(
                name="c", source=Source.CAMERA_EVENTS, kind="waterlogging", aggregate=Aggregate.COUNT,
                bucket_ms=WINDOW_MS, window_ms=WINDOW_MS, confidence_at_least=CONFIDENCE,
            ),
            Feature(
                name="t", source=Source.TICKETS, kind="flood", aggregate=Aggregate.COUNT,
                bucket_ms=WINDOW_MS, window_ms=WINDOW_MS,
            ),
        )  # fmt: skip

    @property
    def hysteresis(self) -> Hysteresis:
        # every window that meets the rule is told, and nothing else: the job knows no clearing
        return Hysteresis(clear_after=Hysteresis.MAX_BUCKETS, stale_after=Hysteresis.MAX_BUCKETS, update="always")

    def judge(self, view: CellView) -> Verdicts:
        verdicts = Verdicts.unknown(len(view.cells))
        raised = (view["m"] >= self.settings.raise_at_mm) & (view["c"] + view["t"] >= 1)
        verdicts.verdict = np.where(raised, Verdict.RAISE, Verdict.CLEAR).astype(np.int8)
        verdicts.severity = raised.astype(np.uint8)
        verdicts.confidence = raised.astype(np.float32)
        return verdicts

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        m, c, t = float(view["m"][i]), int(view["c"][i]), int(view["t"][i])
        return Explanation(
            values={"m": None if np.isnan(m) else m, "c": c, "t": t},
            thresholds={"m": self.settings.raise_at_mm, "c+t": 1.0},
            sentence_zh=f"水位最高 {m:g} 毫米，摄像头报积水 {c} 次，市民来电 {t} 件。",
            sentence_en=f"Level up to {m:g} mm, {c} camera reports, {t} calls.",
            evidence_features=("m", "c", "t"),
        )
