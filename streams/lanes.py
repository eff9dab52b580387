"""How features lie in memory: every distinct feature is one or more *lanes*, rows of a float64 matrix over cells.

A feature that several detectors share is kept once; the key is `Feature.identity`. All lanes of one bucket width form
a `LanePlan`. Lanes are mergeable and do not depend on the order in which rows arrive:

| aggregate | lanes | merged by |
|---|---|---|
| COUNT | count | sum |
| SUM | sum in thousandths, a whole number | sum |
| MEAN | sum in thousandths, count | sum |
| MIN, MAX | the extreme | min, max |
| LAST | event time (ms), value | the later one; of two at one time the greater value |
| DISTINCT | 4 lanes of 48 bits, a linear counting sketch of the entities | bitwise or |
| QUANTILE | 128 lanes, a histogram with logarithmic bins | sum |

Sums are added as whole thousandths because float addition is not associative: two orders of arrival could differ in
the last bit and one of them cross a threshold. Float64 holds whole numbers exactly up to 2**53, which is 9e12 units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.features import Aggregate, Feature
from topology.jit import kernel

SUM_SCALE: Final = 1000.0  # thousandths
DISTINCT_LANES: Final = 4
DISTINCT_BITS: Final = 48  # a lane; whole numbers of 48 bits are exact in a float64
QUANTILE_LANES: Final = 128
QUANTILE_LOW: Final = 1e-3  # values at or below it, negative ones too, share bin 0
QUANTILE_LOG_WIDTH: Final = 21.0 / (QUANTILE_LANES - 1)  # natural log: 1e-3 .. 1.3e6, +-8.3 % a bin

OP_COUNT, OP_SUM, OP_MEAN, OP_MIN, OP_MAX, OP_LAST, OP_DISTINCT, OP_QUANTILE = range(8)
MERGE_ADD, MERGE_MIN, MERGE_MAX, MERGE_LAST_TIME, MERGE_LAST_VALUE, MERGE_OR = range(6)

_LAYOUT: Final[dict[Aggregate, tuple[int, tuple[int, ...]]]] = {
    Aggregate.COUNT: (OP_COUNT, (MERGE_ADD,)),
    Aggregate.SUM: (OP_SUM, (MERGE_ADD,)),
    Aggregate.MEAN: (OP_MEAN, (MERGE_ADD, MERGE_ADD)),
    Aggregate.MIN: (OP_MIN, (MERGE_MIN,)),
    Aggregate.MAX: (OP_MAX, (MERGE_MAX,)),
    Aggregate.LAST: (OP_LAST, (MERGE_LAST_TIME, MERGE_LAST_VALUE)),
    Aggregate.DISTINCT: (OP_DISTINCT, (MERGE_OR,) * DISTINCT_LANES),
    Aggregate.QUANTILE: (OP_QUANTILE, (MERGE_ADD,) * QUANTILE_LANES),
}
_EMPTY: Final = np.array([0.0, np.inf, -np.inf, -np.inf, -np.inf, 0.0])
"""The neutral element of each merge."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LaneUse:
    """Where one distinct feature lies: `lane .. lane + width`, and its row of evidence (-1 keeps none)."""

    feature: Feature
    lane: int
    width: int
    evidence: int

    @property
    def aggregate(self) -> Aggregate:
        return self.feature.aggregate


@dataclass(slots=True)
class LanePlan:
    """All distinct features of one bucket width, and the tables that the kernels read.

    `ops` int32[features, 3]: opcode, first lane, evidence row; `bounds` float64[features, 4]: value at least, value
    below, confidence at least, worst quality; `merges` int32[lanes].
    """

    bucket_ms: int
    window_ms: int = 0
    uses: dict[object, LaneUse] = field(default_factory=dict)
    lane_count: int = 0
    evidence_count: int = 0

    @classmethod
    def of(cls, bucket_ms: int, features: Iterable[Feature]) -> LanePlan:
        plan = cls(bucket_ms)
        features = list(features)
        wants_evidence = {feature.identity for feature in features if feature.evidence}
        for feature in features:
            plan.window_ms = max(plan.window_ms, feature.window_ms)
            if feature.identity in plan.uses:
                continue
            width = len(_LAYOUT[feature.aggregate][1])
            evidence = -1
            if feature.identity in wants_evidence:
                evidence = plan.evidence_count
                plan.evidence_count += 1
            plan.uses[feature.identity] = LaneUse(feature, plan.lane_count, width, evidence)
            plan.lane_count += width
        return plan

    @property
    def buckets(self) -> int:
        """How many buckets the longest window needs."""
        return self.window_ms // self.bucket_ms

    def use(self, feature: Feature) -> LaneUse:
        return self.uses[feature.identity]

    def merges(self) -> npt.NDArray[np.int32]:
        codes = [code for use in self.uses.values() for code in _LAYOUT[use.aggregate][1]]
        return np.array(codes, dtype=np.int32)

    def empty(self) -> FloatArray:
        """The value of each lane before any row: float64[lanes]."""
        return _EMPTY[self.merges()]

    def ops(self) -> npt.NDArray[np.int32]:
        rows = [(_LAYOUT[use.aggregate][0], use.lane, use.evidence) for use in self.uses.values()]
        return np.array(rows, dtype=np.int32).reshape(-1, 3)

    def bounds(self) -> FloatArray:
        rows = []
        for use in self.uses.values():
            f = use.feature
            at_least = -np.inf if f.value_at_least is None else f.value_at_least
            below = np.inf if f.value_below is None else f.value_below
            # compared in float32, the type that the frame carries: 0.6 must accept a camera's 0.6
            rows.append((at_least, below, float(np.float32(f.confidence_at_least)), float(f.quality_at_most)))
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def features_of(self, source: int, kind: str) -> list[int]:
        """Which features (by their number in this plan) a row of this source and kind can touch."""
        return [
            number
            for number, use in enumerate(self.uses.values())
            if int(use.feature.source) == source and use.feature.kind in (None, kind)
        ]


def finish(use: LaneUse, lanes: FloatArray) -> FloatArray:
    """Merged lanes float64[width, n] -> what a detector sees, float64[n] (NaN or 0 where there is no data)."""
    aggregate = use.aggregate
    value: FloatArray
    if aggregate is Aggregate.COUNT:
        value = lanes[0].copy()
    elif aggregate is Aggregate.SUM:
        value = lanes[0] / SUM_SCALE
    elif aggregate is Aggregate.MEAN:
        value = np.full(lanes.shape[1], np.nan)
        np.divide(lanes[0], lanes[1] * SUM_SCALE, out=value, where=lanes[1] > 0)
    elif aggregate in (Aggregate.MIN, Aggregate.MAX, Aggregate.LAST):
        value = np.where(np.isinf(lanes[0]), np.nan, lanes[-1])
    elif aggregate is Aggregate.DISTINCT:
        value = _distinct_estimate(lanes)
    else:
        value = _quantile(lanes, use.feature.quantile)
    return value


def _distinct_estimate(lanes: FloatArray) -> FloatArray:
    """Linear counting (Whang et al. 1990): -m ln(empty bits / m), rounded; a full sketch counts as one empty bit."""
    bits = lanes.astype(np.int64)
    total = DISTINCT_LANES * DISTINCT_BITS
    taken = np.zeros(lanes.shape[1], dtype=np.int64)
    for shift in range(DISTINCT_BITS):
        taken += ((bits >> shift) & 1).sum(axis=0)
    free = np.maximum(total - taken, 1)
    estimate: FloatArray = np.rint(total * np.log(total / free))
    return estimate


def _quantile(lanes: FloatArray, quantile: float) -> FloatArray:
    totals = lanes.sum(axis=0)
    running = np.cumsum(lanes, axis=0)
    wanted = np.maximum(np.ceil(quantile * totals), 1.0)
    position = (running < wanted).sum(axis=0)
    values = np.where(position == 0, 0.0, QUANTILE_LOW * np.exp((position - 0.5) * QUANTILE_LOG_WIDTH))
    found: FloatArray = np.where(totals > 0, values, np.nan)
    return found


@kernel
def _quantile_bin(value: float) -> int:
    if value <= QUANTILE_LOW:
        return 0
    return min(QUANTILE_LANES - 1, 1 + int(np.log(value / QUANTILE_LOW) / QUANTILE_LOG_WIDTH))


@kernel
def merge_into(target: FloatArray, source: FloatArray, merges: npt.NDArray[np.int32]) -> None:
    """Merge `source` float64[width, n] into `target` of the same shape, lane by lane as `merges` int32[width] says."""
    lane = 0
    while lane < merges.shape[0]:
        code = merges[lane]
        for i in range(target.shape[1]):
            new = source[lane, i]
            old = target[lane, i]
            if code == MERGE_ADD:
                target[lane, i] = old + new
            elif code == MERGE_MIN:
                target[lane, i] = min(old, new)
            elif code == MERGE_MAX:
                target[lane, i] = max(old, new)
            elif code == MERGE_OR:
                target[lane, i] = float(int(old) | int(new))
            elif new > old or (new == old and source[lane + 1, i] > target[lane + 1, i]):
                target[lane, i] = new
                target[lane + 1, i] = source[lane + 1, i]
        lane += 2 if code == MERGE_LAST_TIME else 1


@kernel
def add_rows(
    rows: IntArray,
    slots: npt.NDArray[np.int32],
    row_first: npt.NDArray[np.int32],
    row_count: npt.NDArray[np.int32],
    feature_list: npt.NDArray[np.int32],
    kinds: npt.NDArray[np.int32],
    event_at_ms: IntArray,
    values: FloatArray,
    confidences: npt.NDArray[np.float32],
    qualities: npt.NDArray[np.uint8],
    pointers: IntArray,
    entity_hashes: npt.NDArray[np.uint64],
    ops: npt.NDArray[np.int32],
    bounds: FloatArray,
    lanes: FloatArray,
    evidence: IntArray,
    touched: npt.NDArray[np.bool_],
) -> None:
    """Add the chosen `rows` (indices) to one bucket: lanes float64[L, cap], evidence int64[E, cap], touched bool[cap].

    `row_first`/`row_count` by kind give the part of `feature_list` that a row of that kind touches, so a hundred rules
    on other kinds cost a row nothing. Evidence is the greatest pointer (for MIN and MAX that of the extreme), so it
    does not depend on arrival order either.
    """
    for at in range(rows.shape[0]):
        i = rows[at]
        slot = slots[i]
        kind = kinds[i]
        first = row_first[kind]
        for k in range(first, first + row_count[kind]):
            f = feature_list[k]
            value = values[i]
            if not (bounds[f, 0] <= value < bounds[f, 1]):
                continue
            if confidences[i] < bounds[f, 2] or qualities[i] > bounds[f, 3]:
                continue
            touched[slot] = True
            op = ops[f, 0]
            lane = ops[f, 1]
            proves = True  # does this row become the evidence?
            row = ops[f, 2]
            pointer = pointers[i]
            if op == OP_COUNT:
                lanes[lane, slot] += 1.0
            elif op == OP_MAX:
                old = lanes[lane, slot]
                if value > old:
                    lanes[lane, slot] = value
                    if row >= 0:
                        evidence[row, slot] = pointer
                proves = value == old
            elif op == OP_MIN:
                old = lanes[lane, slot]
                if value < old:
                    lanes[lane, slot] = value
                    if row >= 0:
                        evidence[row, slot] = pointer
                proves = value == old
            elif op == OP_SUM:
                lanes[lane, slot] += np.rint(value * SUM_SCALE)
            elif op == OP_MEAN:
                lanes[lane, slot] += np.rint(value * SUM_SCALE)
                lanes[lane + 1, slot] += 1.0
            elif op == OP_LAST:
                at_ms = float(event_at_ms[i])
                old = lanes[lane, slot]
                if at_ms > old or (at_ms == old and value > lanes[lane + 1, slot]):
                    lanes[lane, slot] = at_ms
                    lanes[lane + 1, slot] = value
                    if row >= 0:
                        evidence[row, slot] = pointer
                proves = at_ms == old and value == lanes[lane + 1, slot]
            elif op == OP_DISTINCT:
                bit = entity_hashes[i] % np.uint64(DISTINCT_LANES * DISTINCT_BITS)
                target = lane + int(bit) // DISTINCT_BITS
                lanes[target, slot] = float(int(lanes[target, slot]) | (1 << (int(bit) % DISTINCT_BITS)))
            else:
                lanes[lane + _quantile_bin(value), slot] += 1.0
            if proves and row >= 0 and pointer > evidence[row, slot]:
                evidence[row, slot] = pointer
