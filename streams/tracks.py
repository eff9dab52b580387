"""How features become memory: features whose rows are chosen alike share a *track*, and each keeps its *lanes* there.

A track is one choice of rows (source, kind, bounds of value, confidence and quality). It holds a row of lanes for each
cell that ever had such a record, so what the windows take is proportional to cells that really report, and a record is
checked once per track, however many rules look at it. Lanes do not depend on the order in which rows arrive:

| op | lanes | merged by | serves |
|---|---|---|---|
| COUNT | count | sum | count, mean |
| SUM | sum in thousandths, a whole number | sum | sum, mean |
| MIN, MAX | the extreme | min, max | min, max |
| LAST | event time (ms), value | the later one; of two at one time the greater value | last |
| DISTINCT | 4 lanes of 48 bits, a linear counting sketch of the entities | bitwise or | distinct |
| QUANTILE | 128 lanes, a histogram with logarithmic bins | sum | quantile |
| POINTER | none: the greatest record pointer, as evidence | | all but min, max, last, which cite their own record |

Sums are added as whole thousandths because float addition is not associative: two orders of arrival could differ in
the last bit and one of them cross a threshold. Float64 holds whole numbers exactly up to 2**53, which is 9e12 units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.features import Aggregate, Feature, FeatureIdentity

SUM_SCALE: Final = 1000.0  # thousandths
DISTINCT_LANES: Final = 4
DISTINCT_BITS: Final = 48  # a lane; whole numbers of 48 bits are exact in a float64
DISTINCT_TOTAL: Final = DISTINCT_LANES * DISTINCT_BITS
QUANTILE_LANES: Final = 128
QUANTILE_LOW: Final = 1e-3  # values at or below it, negative ones too, share bin 0
QUANTILE_LOG_WIDTH: Final = 21.0 / (QUANTILE_LANES - 1)  # natural log: 1e-3 .. 1.3e6, +-8.3 % a bin

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
RankArray = npt.NDArray[np.int32]


class Op(IntEnum):
    """What is kept of a track's rows."""

    COUNT = 0
    SUM = 1
    MIN = 2
    MAX = 3
    LAST = 4
    DISTINCT = 5
    QUANTILE = 6
    POINTER = 7


WIDTHS: Final = {
    Op.COUNT: 1, Op.SUM: 1, Op.MIN: 1, Op.MAX: 1, Op.LAST: 2, Op.DISTINCT: DISTINCT_LANES, Op.QUANTILE: QUANTILE_LANES,
    Op.POINTER: 0,
}  # fmt: skip
_OPS: Final[dict[Aggregate, tuple[Op, ...]]] = {
    Aggregate.COUNT: (Op.COUNT,),
    Aggregate.SUM: (Op.SUM,),
    Aggregate.MEAN: (Op.SUM, Op.COUNT),
    Aggregate.MIN: (Op.MIN,),
    Aggregate.MAX: (Op.MAX,),
    Aggregate.LAST: (Op.LAST,),
    Aggregate.DISTINCT: (Op.DISTINCT,),
    Aggregate.QUANTILE: (Op.QUANTILE,),
}
OWN_EVIDENCE: Final = (Op.MIN, Op.MAX, Op.LAST)


class TrackKey(NamedTuple):
    """Which rows a track takes; the key under which a snapshot keeps it."""

    source: int
    kind: str | None
    confidence_at_least: float
    quality_at_most: int
    value_at_least: float | None
    value_below: float | None

    @classmethod
    def of(cls, feature: Feature) -> TrackKey:
        return cls(
            int(feature.source), feature.kind, feature.confidence_at_least, feature.quality_at_most,
            feature.value_at_least, feature.value_below,
        )  # fmt: skip


@dataclass(slots=True)
class Track:
    """One choice of rows, and where its ops have their lanes and evidence, both counted from 0."""

    key: TrackKey
    number: int
    lane_of: dict[Op, int] = field(default_factory=dict)
    evidence_of: dict[Op, int] = field(default_factory=dict)
    windows_of: dict[Op, set[int]] = field(default_factory=dict)  # in buckets
    lanes: int = 0

    @property
    def evidence(self) -> int:
        """How many pointers a row has."""
        return len(self.evidence_of)

    @property
    def width(self) -> int:
        """Words of a row in an open bucket: a mark, the lanes, the evidence."""
        return 1 + self.lanes + self.evidence

    @property
    def dated(self) -> list[Op]:
        """The ops whose total remembers a bucket: the newest with the extreme, or with a sum beyond exactness."""
        return [op for op in (Op.SUM, Op.MIN, Op.MAX) if op in self.lane_of]

    @property
    def total_width(self) -> int:
        """Words of a row in a window's totals: how many buckets have data, the lanes, the remembered buckets."""
        return 1 + self.lanes + len(self.dated)

    def add(self, feature: Feature, *, evidence: bool) -> None:
        for op in _OPS[feature.aggregate]:
            if op not in self.lane_of:
                self.lane_of[op] = self.lanes
                self.lanes += WIDTHS[op]
            self.windows_of.setdefault(op, set()).add(feature.buckets)
        if evidence:
            op = _OPS[feature.aggregate][0]
            cited = op if op in OWN_EVIDENCE else Op.POINTER
            self.evidence_of.setdefault(cited, len(self.evidence_of))


@dataclass(frozen=True, slots=True)
class FeatureUse:
    """Where one distinct feature lies: its track, its lanes there (whole ops), and its evidence (-1 keeps none)."""

    track: int
    aggregate: Aggregate
    quantile: float
    ops: tuple[Op, ...]
    lanes: tuple[int, ...]
    evidence: int

    @property
    def width(self) -> int:
        return sum(WIDTHS[op] for op in self.ops)


# Columns of the table of tracks that kernels read; those before WIDTH change as cells are added.
TABLE_AT, MASK, COUNT, ROOM, SLOTS_AT, WIDTH, TOTAL_WIDTH, LANES, OPS_FIRST, OPS_COUNT, FIRST_COLUMN, BLANK_AT = range(
    12
)
TRACK_COLUMNS: Final = 12
# Columns of the table of ops; words are counted within a row, 0 stands for none.
CODE, LANE_WORD, EVIDENCE_WORD, BUCKET_WORD = range(4)
OP_COLUMNS: Final = 4


@dataclass(slots=True)
class GroupPlan:
    """All tracks of one bucket width, and the tables that the kernels read.

    `windows`: lengths in buckets, ascending, of the windows longer than one bucket: each has running totals.
    """

    bucket_ms: int
    window_ms: int = 0
    tracks: list[Track] = field(default_factory=list)
    uses: dict[FeatureIdentity, FeatureUse] = field(default_factory=dict)
    windows: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, bucket_ms: int, features: Iterable[Feature]) -> GroupPlan:
        plan = cls(bucket_ms)
        features = list(features)
        wants_evidence = {feature.identity for feature in features if feature.evidence}
        by_key: dict[TrackKey, Track] = {}
        for feature in features:
            plan.window_ms = max(plan.window_ms, feature.window_ms)
            key = TrackKey.of(feature)
            track = by_key.get(key)
            if track is None:
                track = by_key[key] = Track(key, len(plan.tracks))
                plan.tracks.append(track)
            track.add(feature, evidence=feature.identity in wants_evidence)
        for feature in features:
            plan.uses[feature.identity] = _use(by_key[TrackKey.of(feature)], feature, wants_evidence)
        plan.windows = sorted({feature.buckets for feature in features} - {1})
        return plan

    @property
    def lane_count(self) -> int:
        return sum(track.lanes for track in self.tracks)

    def use(self, feature: Feature) -> FeatureUse:
        return self.uses[feature.identity]

    def track_table(self) -> IntArray:
        """int64[tracks, TRACK_COLUMNS], without any cell yet."""
        table = np.zeros((len(self.tracks), TRACK_COLUMNS), dtype=np.int64)
        ops = column = 0
        for row, track in zip(table, self.tracks, strict=True):
            row[WIDTH], row[TOTAL_WIDTH], row[LANES] = track.width, track.total_width, track.lanes
            row[OPS_FIRST], row[OPS_COUNT], row[FIRST_COLUMN] = ops, len(_ops_of(track)), column
            ops += len(_ops_of(track))
            column += track.lanes
        return table

    def op_table(self) -> IntArray:
        """int64[ops, OP_COLUMNS], track by track."""
        rows = []
        for track in self.tracks:
            for op in _ops_of(track):
                lane = 1 + track.lane_of[op] if op is not Op.POINTER else 0
                evidence = 1 + track.lanes + track.evidence_of[op] if op in track.evidence_of else 0
                bucket = 1 + track.lanes + track.dated.index(op) if op in track.dated else 0
                rows.append((int(op), lane, evidence, bucket))
        return np.array(rows, dtype=np.int64).reshape(-1, OP_COLUMNS)

    def needed(self) -> npt.NDArray[np.bool_]:
        """Which op is read over which window: bool[ops, windows]."""
        rows = [
            [window in track.windows_of.get(op, ()) for window in self.windows]
            for track in self.tracks
            for op in _ops_of(track)
        ]
        return np.array(rows, dtype=np.bool_).reshape(len(rows), len(self.windows))

    def bounds(self) -> FloatArray:
        """float64[tracks, 4]: value at least, value below, confidence at least, worst quality."""
        rows = []
        for track in self.tracks:
            key = track.key
            at_least = -np.inf if key.value_at_least is None else key.value_at_least
            below = np.inf if key.value_below is None else key.value_below
            # compared in float32, the type that the frame carries: 0.6 must accept a camera's 0.6
            rows.append((at_least, below, float(np.float32(key.confidence_at_least)), float(key.quality_at_most)))
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def tracks_of(self, source: int, kind: str) -> list[int]:
        """Which tracks a row of this source and kind may belong to."""
        return [t.number for t in self.tracks if t.key.source == source and t.key.kind in (None, kind)]


def _ops_of(track: Track) -> list[Op]:
    return [*track.lane_of, *([Op.POINTER] if Op.POINTER in track.evidence_of else [])]


def _use(track: Track, feature: Feature, wants_evidence: set[FeatureIdentity]) -> FeatureUse:
    ops = _OPS[feature.aggregate]
    lanes = tuple(track.lane_of[op] + k for op in ops for k in range(WIDTHS[op]))
    cited = ops[0] if ops[0] in OWN_EVIDENCE else Op.POINTER
    evidence = track.evidence_of[cited] if feature.identity in wants_evidence else -1
    return FeatureUse(track.number, feature.aggregate, feature.quantile, ops, lanes, evidence)


# --- from lanes to what a detector sees ------------------------------------------------------------------------------

with np.errstate(divide="ignore"):
    _FREE: Final = np.maximum(np.arange(DISTINCT_TOTAL + 1), 1)
DISTINCT_VALUES: Final[FloatArray] = np.rint(DISTINCT_TOTAL * np.log(DISTINCT_TOTAL / _FREE))
"""Linear counting (Whang et al. 1990) by free bits: -m ln(free / m), rounded; a full sketch counts as one free bit."""
QUANTILE_VALUES: Final[FloatArray] = np.concatenate(
    ([0.0], QUANTILE_LOW * np.exp((np.arange(1, QUANTILE_LANES + 1) - 0.5) * QUANTILE_LOG_WIDTH))
)
"""The value that a bin stands for."""


def finish(use: FeatureUse, lanes: FloatArray) -> FloatArray:
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
        value = _quantile(lanes, use.quantile)
    return value


def _distinct_estimate(lanes: FloatArray) -> FloatArray:
    bits = lanes.astype(np.int64)
    taken = np.zeros(lanes.shape[1], dtype=np.int64)
    for shift in range(DISTINCT_BITS):
        taken += ((bits >> shift) & 1).sum(axis=0)
    return DISTINCT_VALUES[DISTINCT_TOTAL - taken]


def _quantile(lanes: FloatArray, quantile: float) -> FloatArray:
    totals = lanes.sum(axis=0)
    running = np.cumsum(lanes, axis=0)
    wanted = np.maximum(np.ceil(quantile * totals), 1.0)
    position = (running < wanted).sum(axis=0)
    found: FloatArray = np.where(totals > 0, QUANTILE_VALUES[position], np.nan)
    return found
