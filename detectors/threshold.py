"""Threshold: one aggregate of one kind of record, above or below up to four levels, with a gap before it clears.

The generic detector. Configure it as often as needed, each time under a name of its own:

    {name: threshold, as: heat_stress, settings: {metric: temperature_c, raise_at: [35, 37, 40], clear_at: 34}}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from detectors.arrays import counted, measured
from detectors.checks import all_finite, refuse_unless
from detectors.contract import (
    MAX_SEVERITY,
    CellView,
    Detector,
    Explanation,
    Floats,
    Hysteresis,
    Ints,
    Screen,
    Verdict,
    Verdicts,
)
from detectors.features import MINUTE_MS, Aggregate, Feature
from detectors.wording import number, or_none
from schemas.alert import SEVERITY_EN, SEVERITY_ZH
from schemas.kinds import built_in_kinds
from schemas.sources import Source

REASONS = ("too_few_samples", "normal", "between_clear_and_raise", "level_reached")
TOO_FEW, NORMAL, BETWEEN, REACHED = range(4)

UNIT_SIGNS: dict[str | None, str] = {"1": "", "bool": "", "degC": "°C", "deg": "°", "ug/m3": "µg/m³"}
"""Units that people write in another way than the registry, which keeps to ASCII."""

AGGREGATE_ZH = {
    Aggregate.COUNT: "数量",
    Aggregate.SUM: "合计",
    Aggregate.MEAN: "均值",
    Aggregate.MIN: "最低值",
    Aggregate.MAX: "最高值",
    Aggregate.LAST: "最新值",
    Aggregate.DISTINCT: "来源数",
    Aggregate.QUANTILE: "分位值",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdSettings:
    """``raise_at`` lists the levels from mild to grave: rising for "above", falling for "below".

    A value on a level has reached it. The alert clears once the value is beyond ``clear_at`` on the harmless side.
    """

    metric: str  # the metric, event or category, depending on the source
    raise_at: tuple[float, ...]  # in the metric's unit; the first level has severity `lowest_severity`
    clear_at: float
    comparison: Literal["above", "below"] = "above"
    source: Literal["readings", "camera-events", "tickets"] = "readings"
    aggregate: Aggregate = Aggregate.MEAN
    quantile: float = 0.5
    window_minutes: int = 1
    rings: int = 0
    lowest_severity: int = 1
    min_samples: int | None = None  # None: 0 for counts and sums "above" (nothing happened is a fact), otherwise 1
    confidence_at_least: float = 0.0
    raise_after: int = 1
    lower_after: int = 3
    clear_after: int = 3
    stale_after: int = 30
    update: Literal["change", "always"] = "change"
    category: str = "threshold"
    label_zh: str = ""  # what the sentences call it; default: the name of a known kind, else the metric itself
    label_en: str = ""
    unit: str = ""  # default: that of a known metric, where the aggregate is in the metric's unit

    def __post_init__(self) -> None:
        worse = "rise" if self.comparison == "above" else "fall"
        levels = [self.sign * level for level in self.raise_at]
        side = "below" if self.comparison == "above" else "above"
        gap = bool(levels) and self.sign * self.clear_at < levels[0]
        refuse_unless(
            "threshold",
            (
                (bool(self.metric), "metric is empty; name the metric, event or category to watch"),
                (bool(levels), "raise_at is empty; give one to four levels, the mildest first"),
                (all_finite(*levels, self.clear_at), "raise_at and clear_at must be finite numbers"),
                (
                    all(a < b for a, b in pairwise(levels)),
                    f"raise_at={list(self.raise_at)} must {worse} from level to level for comparison={self.comparison}",
                ),
                (
                    gap or not levels,
                    (
                        f"clear_at={self.clear_at} must be {side} the first level {self.raise_at[:1]}; "
                        "with no gap between them the alert would flap"
                    ),
                ),
                (
                    self.lowest_severity >= 1 and self.lowest_severity + len(levels) - 1 <= MAX_SEVERITY,
                    f"lowest_severity={self.lowest_severity} and {len(levels)} levels do not fit severities 1 to 4",
                ),
                (self.window_minutes >= 1, f"window_minutes={self.window_minutes} must be at least 1"),
                (self.rings >= 0, f"rings={self.rings} must not be negative"),
                (
                    self.min_samples is None or self.min_samples >= (0 if self.zero_is_fact else 1),
                    (
                        f"min_samples={self.min_samples} must be at least 1: without samples {self.aggregate} "
                        f"{self.comparison} says nothing"
                    ),
                ),
                (bool(self.category), "category is empty"),
            ),
        )

    @property
    def sign(self) -> float:
        """1 for "above", -1 for "below": times this, larger is always worse."""
        return 1.0 if self.comparison == "above" else -1.0

    @property
    def zero_is_fact(self) -> bool:
        """Whether no rows at all is a value that clears, rather than missing data."""
        return self.aggregate.zero_when_empty and self.comparison == "above"

    @property
    def samples_needed(self) -> int:
        return self.min_samples if self.min_samples is not None else (0 if self.zero_is_fact else 1)


class ThresholdTable:
    """Thresholds by their numbers: settings as arrays, so that any pairs of a threshold and a cell are judged at once.

    `levels` float64[n, 4] are times `sign`, so that larger is worse; unused ones are infinite.
    """

    def __init__(self, detectors: "Sequence[Threshold]") -> None:
        settings = [detector.settings for detector in detectors]
        self.sign: Floats = np.array([s.sign for s in settings])
        self.levels: Floats = np.full((len(settings), MAX_SEVERITY), np.inf)
        for row, s in zip(self.levels, settings, strict=True):
            row[: len(s.raise_at)] = [s.sign * level for level in s.raise_at]
        self.clear_at: Floats = np.array([s.sign * s.clear_at for s in settings])
        self.lowest: Ints = np.array([s.lowest_severity for s in settings])
        self.needed: Ints = np.array([s.samples_needed for s in settings])
        self.counts = np.array([s.aggregate is Aggregate.COUNT for s in settings])

    def judge(self, which: Ints, read: Callable[[str], Floats]) -> Verdicts:
        value = read("value")
        counts = self.counts[which]
        if counts.all():
            samples = value
        elif counts.any():
            samples = np.where(counts, value, read("samples"))
        else:
            samples = read("samples")
        return self.judged(which, np.where(counts, counted(value), measured(value)), counted(samples))

    def judged(self, which: Ints, value: Floats, samples: Floats) -> Verdicts:
        """The verdicts of thresholds number `which` on these values (NaN where not measured), int64 and float64[n]."""
        worse = self.sign[which] * value
        reached = np.count_nonzero(worse[:, None] >= self.levels[which], axis=1)  # nothing reached where NaN
        enough = (samples >= self.needed[which]) & ~np.isnan(value)

        result = Verdicts.unknown(len(value))
        raised = enough & (reached > 0)
        clear = enough & (worse < self.clear_at[which])
        between = enough & ~raised & ~clear
        for mask, verdict, reason in (
            (raised, Verdict.RAISE, REACHED),
            (between, Verdict.HOLD, BETWEEN),
            (clear, Verdict.CLEAR, NORMAL),
        ):
            result.verdict[mask] = verdict
            result.reason[mask] = reason
        lowest = self.lowest[which]
        result.severity[raised] = lowest[raised] + reached[raised] - 1
        result.severity[between] = lowest[between]
        n = np.maximum(samples[enough], 1.0)
        result.confidence[enough] = n / (n + 1.0)
        return result


class Threshold(Detector[ThresholdSettings]):
    """Raises when the aggregate reaches a level, severity by the highest level reached.

    Confidence is ``n / (n + 1)`` for n samples: 0.5 for a single one, 0.9 for nine. No samples needed and none there
    counts as one half.
    """

    name = "threshold"
    version = 1
    title_zh = "阈值"
    title_en = "Threshold"
    category = "threshold"
    reasons = REASONS
    settings_type = ThresholdSettings
    bulk_type: ClassVar[type[Any] | None] = ThresholdTable
    example: ClassVar[Mapping[str, object]] = {
        "metric": "temperature_c",
        "raise_at": [35.0, 37.0, 40.0],
        "clear_at": 34.0,
        "unit": "°C",
    }

    def __init__(self, settings: ThresholdSettings, *, name: str | None = None) -> None:
        super().__init__(settings, name=name)
        source, kinds = Source.of_topic(settings.source), built_in_kinds()
        known = kinds.find(source, settings.metric)
        counts = settings.aggregate in (Aggregate.COUNT, Aggregate.DISTINCT)
        self.category = settings.category
        self.title_zh = settings.label_zh or kinds.title(source, settings.metric, language="zh")
        title_en = settings.label_en or kinds.title(source, settings.metric, language="en")
        self.title_en = title_en[:1].upper() + title_en[1:]
        self._table = ThresholdTable([self])
        self._unit = settings.unit or ("" if counts or known is None else UNIT_SIGNS.get(known.unit, known.unit or ""))

    @property
    def features(self) -> tuple[Feature, ...]:
        value = self._feature("value", self.settings.aggregate)
        if self.settings.aggregate is Aggregate.COUNT:
            return (value,)
        return (value, self._feature("samples", Aggregate.COUNT))

    @property
    def rings(self) -> int:
        return self.settings.rings

    @property
    def hysteresis(self) -> Hysteresis:
        s = self.settings
        return Hysteresis(
            raise_after=s.raise_after,
            lower_after=s.lower_after,
            clear_after=s.clear_after,
            stale_after=s.stale_after,
            update=s.update,
        )

    @property
    def screens(self) -> tuple[Screen, ...] | None:
        s = self.settings
        return (Screen("value", s.raise_at[0], above=s.comparison == "above", rings=s.rings),)

    def judge(self, view: CellView) -> Verdicts:
        return self._table.judged(np.zeros(len(view.cells), dtype=np.int64), *self._read(view))

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        s = self.settings
        values, counts = self._read(view)
        value, samples = or_none(values[i]), float(counts[i])
        thresholds = {f"raise_at_{k}": level for k, level in enumerate(s.raise_at, start=s.lowest_severity)}
        thresholds |= {"clear_at": s.clear_at, "min_samples": float(s.samples_needed)}
        zh, en = self._sentences(Verdict(int(verdicts.verdict[i])), int(verdicts.severity[i]), value, samples)
        return Explanation(
            values={"value": value, "samples": samples},
            thresholds=thresholds,
            sentence_zh=zh,
            sentence_en=en,
            evidence_features=("value",),
        )

    def _feature(self, name: str, aggregate: Aggregate) -> Feature:
        s = self.settings
        return Feature(
            name=name,
            source=Source.of_topic(s.source),
            kind=s.metric,
            aggregate=aggregate,
            window_ms=s.window_minutes * MINUTE_MS,
            confidence_at_least=s.confidence_at_least,
            quantile=s.quantile,
            evidence=name == "value",
        )

    def _read(self, view: CellView) -> tuple[Floats, Floats]:
        """The value (NaN where not measured) and the number of samples behind it."""
        rings = self.settings.rings
        value = view.ring("value", rings) if rings else view["value"]
        if self.settings.aggregate is Aggregate.COUNT:
            return counted(value), counted(value)
        samples = view.ring("samples", rings) if rings else view["samples"]
        return measured(value), counted(samples)

    def _sentences(self, verdict: Verdict, severity: int, value: float | None, samples: float) -> tuple[str, str]:
        s = self.settings
        minutes, unit = s.window_minutes, f" {self._unit}" if self._unit else ""
        aggregate = f"P{number(s.quantile * 100)}" if s.aggregate is Aggregate.QUANTILE else str(s.aggregate)
        aggregate_zh = aggregate if s.aggregate is Aggregate.QUANTILE else AGGREGATE_ZH[s.aggregate]
        now_zh = f"{self.title_zh}近 {minutes} 分钟{aggregate_zh}为 {number(value)}{unit}（{number(samples)} 个样本）"
        now_en = f"{self.title_en}: {aggregate} of {minutes} min is {number(value)}{unit} ({number(samples)} samples)"
        up = s.comparison == "above"
        if verdict is Verdict.RAISE:
            level = f"{number(s.raise_at[severity - s.lowest_severity])}{unit}"
            return (
                f"{now_zh}，{'达到或高于' if up else '达到或低于'}“{SEVERITY_ZH[severity]}”阈值 {level}。",
                f"{now_en}, at or {s.comparison} the {SEVERITY_EN[severity]} level of {level}.",
            )
        clear = f"{number(s.clear_at)}{unit}"
        if verdict is Verdict.CLEAR:
            return (
                f"{now_zh}，已{'低于' if up else '高于'}解除值 {clear}，恢复正常。",
                f"{now_en}, back {'below' if up else 'above'} the clearing level of {clear}.",
            )
        if verdict is Verdict.HOLD:
            return (
                f"{now_zh}，介于解除值 {clear} 与报警值 {number(s.raise_at[0])}{unit} 之间。",
                f"{now_en}, between the clearing level {clear} and the first level {number(s.raise_at[0])}{unit}.",
            )
        needed = s.samples_needed
        return (
            f"{self.title_zh}近 {minutes} 分钟仅 {number(samples)} 个有效样本（至少需 {needed} 个），无法判断。",
            f"{self.title_en}: only {number(samples)} usable samples in {minutes} min, {needed} needed to judge.",
        )
