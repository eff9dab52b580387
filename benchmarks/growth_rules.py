"""Rules as an operations centre has them, and what they must raise, by a plain batch computation.

Rule number k is a declarative threshold rule (detector `threshold`) on one of the city's 34 kinds of record: the
highest, mean, newest or lowest reading, the sum, or how many camera events and tickets, over 1 to 30 minutes, now and
then with the neighbouring cells, at one to three levels. A hundred rules share some sixty features.

`batch_alerts` computes every raise, update and clear from the records' arrays by grouping everything at once, and a
loop over the minutes of each cell that ever reaches a level. It shares no code with the join but the rules' settings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.growth_data import CLOSER_MS, CONFIDENT, EVENTS, KINDS, METRICS, CitySpec, Records
from detectors.features import MINUTE_MS, Aggregate
from detectors.threshold import Threshold, ThresholdSettings
from schemas.alert import Alert
from schemas.sources import Source

FloatArray = npt.NDArray[np.float64]

_METRIC_RULES: Final[tuple[tuple[Aggregate, int, Literal["above", "below"], tuple[float, ...], float, int], ...]] = (
    # aggregate, minutes, comparison, levels, clear at, raise after
    (Aggregate.MAX, 1, "above", (85.0, 92.0, 97.0), 60.0, 1),
    (Aggregate.MEAN, 5, "above", (55.0, 70.0), 45.0, 1),
    (Aggregate.LAST, 1, "above", (80.0,), 50.0, 1),
    (Aggregate.MAX, 10, "above", (90.0, 98.0), 80.0, 1),
    (Aggregate.MIN, 5, "below", (4.0, 2.0), 8.0, 1),
    (Aggregate.MEAN, 1, "above", (60.0, 80.0, 90.0), 50.0, 1),
    (Aggregate.MEAN, 30, "above", (45.0, 60.0), 42.0, 2),
    (Aggregate.LAST, 5, "below", (3.0,), 6.0, 1),
    (Aggregate.MAX, 30, "above", (95.0,), 90.0, 1),
    (Aggregate.SUM, 10, "above", (), 0.0, 1),  # by the number of readings, see below
)


class Change(NamedTuple):
    """One raise, update or clear, as far as the batch computation foretells it."""

    rule: str
    number: int  # of the cell
    end_ms: int
    action: str
    onset_ms: int
    severity: int
    value: float | None


def make_rules(count: int, spec: CitySpec) -> tuple[Threshold, ...]:
    """The first `count` rules for a city; rule k is the same in every count."""
    return tuple(Threshold(_settings(k, spec), name=f"rule_{k:04d}") for k in range(count))


def _settings(k: int, spec: CitySpec) -> ThresholdSettings:
    """Every sixth rule counts camera events, every fifteenth tickets, the others watch a metric."""
    round_, place = divmod(k, 30)
    shift = 0.1 * (k // 300)  # the thousandth rule does not repeat the hundredth
    if place % 6 == 5:
        number = k // 6
        minutes, rings = (5, 10)[number // 8 % 2], int(number % 4 == 3)
        # half of a camera's events are confident, and of one kind in eight
        each = minutes * 60 / spec.period_s * 0.5 / len(EVENTS)
        least = _rare(spec.devices / spec.cells * 0.1 * (9 if rings else 1), each) + shift
        return ThresholdSettings(
            metric=EVENTS[number % len(EVENTS)], source="camera-events", aggregate=Aggregate.COUNT,
            raise_at=(least, least * 1.5), clear_at=least * 0.6, window_minutes=minutes, rings=rings,
            confidence_at_least=CONFIDENT,
        )  # fmt: skip
    if place % 15 == 7:
        number = k // 15
        kinds = KINDS[Source.TICKETS]
        minutes, rings = (10, 30)[number // 6 % 2], int(number % 2)
        each = minutes * 60 * spec.records_per_s / 100 / len(kinds) / spec.cells
        least = _rare(9 if rings else 1, each) + shift
        return ThresholdSettings(
            metric=kinds[number % len(kinds)], source="tickets", aggregate=Aggregate.COUNT,
            raise_at=(least, least * 1.5), clear_at=least * 0.6, window_minutes=minutes, rings=rings,
        )  # fmt: skip
    metrics = list(METRICS)
    aggregate, minutes, comparison, levels, clear_at, raise_after = _METRIC_RULES[(k + round_) % len(_METRIC_RULES)]
    sign = 1 if comparison == "above" else -1
    if aggregate is Aggregate.SUM:
        least = 40.0 * _rare(spec.devices / spec.cells * 0.9 / len(metrics), minutes * 60 / spec.period_s)
        levels, clear_at = (least,), least * 0.8
    return ThresholdSettings(
        metric=metrics[(k * 7 + round_) % len(metrics)], aggregate=aggregate, comparison=comparison,
        raise_at=tuple(level + sign * shift for level in levels), clear_at=clear_at, window_minutes=minutes,
        raise_after=raise_after,
    )  # fmt: skip


def _rare(sources: float, each: float) -> float:
    """A count that hardly any cell reaches, where so many sources on average send so many records each."""
    most = sources + 5 * sources**0.5 + 2
    return float(round(most * each + 5 * (most * each) ** 0.5 + 2))


def changes_of(alerts: Sequence[Alert], numbers: dict[int, int]) -> set[Change]:
    """What the join told, in the batch computation's words; `numbers` leads from cell ids to cell numbers."""
    return {
        Change(
            a.detector, numbers[a.cell], a.window_end_ms, a.action.value, a.onset_ms, a.severity, a.values["value"]
        )
        for a in alerts
    }  # fmt: skip


# --- the batch computation -------------------------------------------------------------------------------------------


def batch_alerts(spec: CitySpec, records: Records, rules: Sequence[Threshold]) -> set[Change]:
    """Every change that the rules must tell of these records, whose closers come `CLOSER_MS` after the last."""
    minute = records.event_at_ms // MINUTE_MS
    first = int(minute.min())
    closed_ms = int(records.event_at_ms.max()) + CLOSER_MS - 30_000  # tickets may be 30 s late
    buckets = closed_ms // MINUTE_MS - first
    by_kind = _Grouped(spec, records, minute - first, buckets)
    changes: set[Change] = set()
    for rule in rules:
        value, samples, own = by_kind.windows(rule.settings)
        changes |= _follow(rule, value, samples, own, first)
    return changes


class _Grouped:
    """Aggregates of each kind per (bucket, cell): float64[buckets, cells]."""

    def __init__(self, spec: CitySpec, records: Records, bucket: npt.NDArray[np.int64], buckets: int) -> None:
        self._spec = spec
        self._records = records
        self._key = bucket * spec.cells + records.number
        self._shape = buckets, spec.cells
        self._known: dict[tuple[object, ...], FloatArray] = {}

    def windows(self, s: ThresholdSettings) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The rule's value, its number of samples, and the samples of the cell alone, at each bucket's end."""
        count = self._window(s, Aggregate.COUNT)
        samples = self._around(count, np.add, 0.0) if s.rings else count
        if s.aggregate is Aggregate.COUNT:
            return samples, samples, count
        value = self._window(s, s.aggregate)
        assert s.rings == 0, "rules with neighbours only count here"
        return value, samples, count

    def _window(self, s: ThresholdSettings, aggregate: Aggregate) -> FloatArray:
        key = (s.source, s.metric, aggregate, s.window_minutes, s.confidence_at_least)
        if key not in self._known:
            self._known[key] = self._compute(s, aggregate)
        return self._known[key]

    def _compute(self, s: ThresholdSettings, aggregate: Aggregate) -> FloatArray:
        r, source = self._records, Source.of_topic(s.source)
        use = (r.source == source) & (r.kind == KINDS[source].index(s.metric))
        if source is Source.READINGS:
            use &= r.good
        elif source is Source.CAMERA_EVENTS:
            use &= r.tenths >= round(100 * s.confidence_at_least)
        rows = np.flatnonzero(use)
        key, tenths, at_ms = self._key[rows], r.tenths[rows].astype(np.float64), r.event_at_ms[rows]
        size, minutes = self._shape[0] * self._shape[1], s.window_minutes
        if aggregate is Aggregate.COUNT:
            return _sliding(np.bincount(key, minlength=size).reshape(self._shape).astype(float), minutes, np.add, 0.0)
        if aggregate in (Aggregate.SUM, Aggregate.MEAN):
            counts: Any = np.bincount(key, weights=tenths * 100, minlength=size)
            total = _sliding(counts.reshape(self._shape), minutes, np.add, 0.0)  # thousandths
            if aggregate is Aggregate.SUM:
                return total / 1000.0
            samples = self._window(s, Aggregate.COUNT)
            mean: FloatArray = np.full(self._shape, np.nan)
            np.divide(total, samples * 1000.0, out=mean, where=samples > 0)
            return mean
        if aggregate is Aggregate.LAST:
            # the newest of the window is the newest of its newest bucket; of two at one time the greater value
            order = np.lexsort((tenths, at_ms))
            newest = np.full(size, np.nan)
            newest[key[order]] = tenths[order] / 10
            return _newest(newest.reshape(self._shape), minutes)
        worst: float = -np.inf if aggregate is Aggregate.MAX else np.inf
        merge: Any = np.maximum if aggregate is Aggregate.MAX else np.minimum
        extreme = np.full(size, worst)
        merge.at(extreme, key, tenths / 10)
        extreme = _sliding(extreme.reshape(self._shape), minutes, merge, worst)
        return np.where(np.isinf(extreme), np.nan, extreme)

    def _around(self, values: FloatArray, merge: np.ufunc, empty: float) -> FloatArray:
        """Merged over each cell and its eight neighbours."""
        side, buckets = self._spec.side, len(values)
        square = np.full((buckets, side + 2, side + 2), empty)
        flat = np.full((buckets, side * side), empty)
        flat[:, : values.shape[1]] = values
        square[:, 1:-1, 1:-1] = flat.reshape(buckets, side, side)
        around = square[:, 1:-1, 1:-1].copy()
        for dy in (0, 1, 2):
            for dx in (0, 1, 2):
                if (dy, dx) != (1, 1):
                    merge(around, square[:, dy : dy + side, dx : dx + side], out=around)
        return around.reshape(buckets, -1)[:, : values.shape[1]]


def _sliding(values: FloatArray, minutes: int, merge: np.ufunc, empty: float) -> FloatArray:
    """Merged over the `minutes` buckets that end with each."""
    merged = values.copy()
    for back in range(1, minutes):
        merge(merged[back:], values[:-back] if back < len(values) else values[:0], out=merged[back:])
    return merged


def _newest(values: FloatArray, minutes: int) -> FloatArray:
    """The newest that is not NaN within the `minutes` buckets that end with each."""
    found = values.copy()
    for back in range(1, minutes):
        later = found[back:]
        later[:] = np.where(np.isnan(later), values[:-back], later)
    return found


def _follow(rule: Threshold, value: FloatArray, samples: FloatArray, own: FloatArray, first: int) -> set[Change]:
    """The changes of one rule: minute by minute in each cell that ever reaches a level."""
    s = rule.settings
    worse = s.sign * value
    levels = [s.sign * level for level in s.raise_at]
    enough = (samples >= s.samples_needed) & ~np.isnan(value)
    raising = enough & (worse >= levels[0])
    clear = enough & (worse < s.sign * s.clear_at)
    changes: set[Change] = set()
    starts: dict[int, list[int]] = defaultdict(list)
    for bucket, cell in zip(*np.nonzero(raising & (own > 0)), strict=True):
        starts[int(cell)].append(int(bucket))
    for cell, begins in starts.items():
        changes |= _story(
            rule, cell, begins, value[:, cell], enough[:, cell], raising[:, cell], clear[:, cell], levels, first
        )
    return changes


def _story(
    rule: Threshold,
    cell: int,
    begins: list[int],
    value: FloatArray,
    enough: npt.NDArray[np.bool_],
    raising: npt.NDArray[np.bool_],
    clear: npt.NDArray[np.bool_],
    levels: list[float],
    first: int,
) -> set[Change]:
    """One cell's alerts. A cell without an alert begins one only where it has data of its own (`begins`)."""
    s = rule.settings
    changes: set[Change] = set()
    may_begin = set(begins)
    phase, streak, severity, onset = "quiet", 0, 0, 0
    clears = weaker = lower_to = unknown = 0

    def tell(bucket: int, action: str) -> None:
        at = None if np.isnan(value[bucket]) else round(float(value[bucket]), 6)
        changes.add(Change(rule.name, cell, (first + bucket + 1) * MINUTE_MS, action, onset, severity, at))

    for bucket in range(min(begins), len(value)):
        if phase == "quiet" and bucket not in may_begin:
            continue
        up = bool(raising[bucket])
        reached = sum(s.sign * value[bucket] >= level for level in levels) if up else 0
        told = s.lowest_severity + reached - 1 if up else s.lowest_severity
        known = bool(enough[bucket])
        unknown = 0 if known else unknown + 1
        if phase != "active":
            if up:
                if streak == 0:
                    onset = (first + bucket) * MINUTE_MS
                phase, streak = "rising", streak + 1
                if streak >= s.raise_after:
                    phase, severity, streak = "active", told, 0
                    clears = weaker = lower_to = 0
                    tell(bucket, "raise")
            elif known or unknown >= s.stale_after:
                phase, streak, unknown = "quiet", 0, 0
            continue
        if known and clear[bucket]:
            clears += 1
            if clears >= s.clear_after:
                tell(bucket, "clear")
                phase, streak, unknown = "quiet", 0, 0
            continue
        if known:
            clears = 0
            if told < severity:
                weaker, lower_to = weaker + 1, max(lower_to, told)
                if weaker >= s.lower_after:
                    severity, weaker, lower_to = lower_to, 0, 0
                    tell(bucket, "update")
                continue
            weaker = lower_to = 0
            if up and told > severity:
                severity = told
                tell(bucket, "update")
        elif unknown >= s.stale_after:
            tell(bucket, "clear")
            phase, streak, unknown = "quiet", 0, 0
    return changes
