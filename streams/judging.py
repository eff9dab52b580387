"""The detectors of one bucket width at work on one shard: who is judged, what stands, which alerts follow.

A bucket costs what is new in it: a detector with screens (detectors.contract) sees the cells that have reached one and
those where something stands, and is not called when there are none; detectors judged in bulk are called together.
Where nothing stands and nothing raises, a verdict has no effect, so leaving the cell out gives the same alerts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from detectors import hysteresis
from detectors.contract import Bulk, Detector, Verdicts
from streams.cell_view import WindowedUse, WindowView
from streams.screening import Reader, Screening, Watch
from streams.slots import Slots
from streams.tracks import FeatureUse, FloatArray, GroupPlan, IntArray
from streams.windows import WindowGroup

NO_KEYS: Final[IntArray] = np.empty(0, dtype=np.int64)
_SLOT_BITS: Final = 32  # of a key; above it stands the detector's number


@dataclass(slots=True)
class Told:
    """One transition, with all that an alert is written from: the view and the verdicts at one cell."""

    detector: Detector[Any]
    window_ms: int
    view: WindowView
    i: int
    verdicts: Verdicts
    severity: int
    action: int
    onset_ms: int
    revision: int
    no_data: bool

    @property
    def order(self) -> tuple[str, int]:
        """By detector and cell, since slots are numbered by arrival, which depends on how frames were cut."""
        return self.detector.name, int(self.view.cells[self.i])


@dataclass(slots=True)
class Standing:
    """Where something stands: keys int64, ascending, and the hysteresis of each; all other keys are quiet."""

    keys: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    rows: hysteresis.Slots = field(default_factory=lambda: np.zeros(0, dtype=hysteresis.SLOT))

    def __len__(self) -> int:
        return len(self.keys)

    def with_others(self, keys: IntArray) -> IntArray:
        """These keys, ascending, and those where something stands, ascending."""
        if not len(self.keys) or not len(keys):
            return self.keys if len(self.keys) else keys
        at = np.searchsorted(keys, self.keys)
        others = keys[np.minimum(at, len(keys) - 1)] != self.keys
        return np.insert(keys, at[others], self.keys[others]) if others.any() else keys

    def step(
        self, keys: IntArray, verdicts: Verdicts, end_ms: int, pace: hysteresis.Pace, bucket_ms: int
    ) -> hysteresis.Transitions:
        """Advance these keys, among which are all where something stands, by one bucket."""
        state = hysteresis.HysteresisState.of(len(keys))
        state.rows[np.searchsorted(keys, self.keys)] = self.rows
        changes = hysteresis.step(state, np.arange(len(keys)), verdicts, end_ms, pace, bucket_ms=bucket_ms)
        stands = np.flatnonzero(state.rows["phase"] != hysteresis.QUIET)
        self.keys, self.rows = keys[stands], state.rows[stands]
        return changes

    def put(self, keys: IntArray, rows: hysteresis.Slots) -> None:
        """Add keys at which nothing stands yet."""
        order = np.argsort(np.concatenate([self.keys, keys]), kind="stable")
        self.keys = np.concatenate([self.keys, keys])[order]
        self.rows = np.concatenate([self.rows, rows])[order]


class Judge(Protocol):
    """A detector, or many judged as one."""

    detectors: tuple[Detector[Any], ...]
    standing: Standing

    def tell(self, group: WindowGroup, slots: Slots, reached: IntArray, end_ms: int) -> list[Told]:
        """Judge the bucket that ends at `end_ms`; `reached` are keys that have reached a screen, ascending."""
        ...


class SingleJudge:
    """One detector on one shard: what stands, and its own lanes."""

    def __init__(self, detector: Detector[Any], plan: GroupPlan) -> None:
        self.detectors: tuple[Detector[Any], ...] = (detector,)
        self.features = features_of(detector, plan)
        self.window_ms = max(feature.window_ms for feature in self.features.values())
        self.standing = Standing()
        self.state: FloatArray = np.empty((detector.state_lanes, 0))  # by slot, NaN where there is nothing yet
        self._screened = detector.screens is not None
        self._settings = detector.hysteresis

    @property
    def detector(self) -> Detector[Any]:
        return self.detectors[0]

    def grow(self, count: int) -> None:
        if self.state.shape[1] < count:
            state = np.full((len(self.state), max(count, self.state.shape[1] * 5 // 4)), np.nan)
            state[:, : self.state.shape[1]] = self.state
            self.state = state

    def tell(self, group: WindowGroup, slots: Slots, reached: IntArray, end_ms: int) -> list[Told]:
        if not self._screened:
            reached = np.flatnonzero(group.seen(self.features.values()) & slots.owned)
        keys = self.standing.with_others(reached)
        if not len(keys):
            return []
        self.grow(slots.count)
        detector = self.detector
        view = WindowView(group, self.features, end_ms, slots.cells[keys], self.state[:, keys])
        verdicts = detector.judge(view)
        changes = self.standing.step(keys, verdicts, end_ms, self._settings, group.plan.bucket_ms)
        if verdicts.state is not None:
            self.state[:, keys] = verdicts.state
        return [
            _told(detector, self.window_ms, view, int(i), verdicts, changes, c) for c, i in enumerate(changes.position)
        ]


class BulkJudge:
    """Many detectors of one class on one shard, judged as one; a key is a detector's number and a slot."""

    def __init__(self, detectors: Sequence[Detector[Any]], group: WindowGroup) -> None:
        bulk_type = type(detectors[0]).bulk_type
        assert bulk_type is not None
        self.detectors: tuple[Detector[Any], ...] = tuple(detectors)
        self.standing = Standing()
        self._bulk: Bulk = bulk_type(detectors)
        self._features = [features_of(detector, group.plan) for detector in detectors]
        self._windows_ms = [max(f.window_ms for f in features.values()) for features in self._features]
        self._paces = hysteresis.Paces.of([detector.hysteresis for detector in detectors])
        names = {name for features in self._features for name in features}
        self._sights = {name: _Sights(name, self._features, detectors, group) for name in names}

    def tell(self, group: WindowGroup, slots: Slots, reached: IntArray, end_ms: int) -> list[Told]:
        keys = self.standing.with_others(reached)
        if not len(keys):
            return []
        which, slot = parted(keys)
        cells = slots.cells[slot]

        def read(name: str) -> FloatArray:
            return self._sights[name].read(which, cells)

        verdicts = self._bulk.judge(which, read)
        pace = self._paces.at(which)
        changes = self.standing.step(keys, verdicts, end_ms, pace, group.plan.bucket_ms)
        return [
            self._told(group, int(which[i]), cells[i : i + 1], end_ms, int(i), verdicts, changes, c)
            for c, i in enumerate(changes.position)
        ]

    def _told(
        self,
        group: WindowGroup,
        number: int,
        cell: IntArray,
        end_ms: int,
        i: int,
        verdicts: Verdicts,
        changes: hysteresis.Transitions,
        c: int,
    ) -> Told:
        """The transition with a view of its cell alone, which explains as well as one of all."""
        view = WindowView(group, self._features[number], end_ms, cell, np.empty((0, 1)))
        one = slice(i, i + 1)
        alone = Verdicts(verdicts.verdict[one], verdicts.severity[one], verdicts.confidence[one], verdicts.reason[one])
        return _told(self.detectors[number], self._windows_ms[number], view, 0, alone, changes, c)


class _Sights:
    """One feature name of many detectors: what each of them reads under it."""

    def __init__(
        self,
        name: str,
        features: Sequence[Mapping[str, WindowedUse]],
        detectors: Sequence[Detector[Any]],
        group: WindowGroup,
    ) -> None:
        numbers: dict[tuple[FeatureUse, int, int], int] = {}
        self._number: IntArray = np.full(len(detectors), -1, dtype=np.int64)  # by detector
        for at, (some, detector) in enumerate(zip(features, detectors, strict=True)):
            if name in some:
                self._number[at] = numbers.setdefault((*some[name], detector.rings), len(numbers))
        self._reader = Reader(group, list(numbers))

    def read(self, which: IntArray, cells: IntArray) -> FloatArray:
        """The values of n pairs; NaN for a detector that has no such feature."""
        return self._reader.read(self._number[which], cells)


class Judges:
    """All detectors of one bucket width on one shard."""

    def __init__(self, detectors: Sequence[Detector[Any]], group: WindowGroup, slots: Slots) -> None:
        self._group = group
        self._slots = slots
        self.members: list[Judge] = []
        in_bulk: dict[type[Detector[Any]], list[Detector[Any]]] = defaultdict(list)
        for detector in sorted(detectors, key=lambda d: d.name):
            if type(detector).bulk_type is None:
                self.members.append(SingleJudge(detector, group.plan))
            else:
                in_bulk[type(detector)].append(detector)
        self.members += [BulkJudge(some, group) for some in in_bulk.values()]
        owners = [(m, number) for m, member in enumerate(self.members) for number in range(len(member.detectors))]
        self._member_of: IntArray = np.array([m for m, _ in owners], dtype=np.int64)
        self._number_of: IntArray = np.array([number for _, number in owners], dtype=np.int64)
        self.screening = Screening(
            group, slots, [w for owner, (m, number) in enumerate(owners) for w in self._watches(owner, m, number)]
        )

    def _watches(self, owner: int, member: int, number: int) -> list[Watch]:
        detector = self.members[member].detectors[number]
        features = features_of(detector, self._group.plan)
        return [
            Watch(
                owner, *features[screen.feature], screen.rings, screen.above, screen.bound,
                everywhere=type(detector).bulk_type is None,
            )
            for screen in detector.screens or ()
        ]  # fmt: skip

    @property
    def busy(self) -> bool:
        """Whether any detector has an alert or a count of buckets."""
        return any(len(member.standing) for member in self.members)

    def tell(self, end_ms: int) -> list[Told]:
        """All transitions of the bucket that ends at `end_ms`, which the group has sealed, in order."""
        owners, slots = self.screening.pairs()
        told: list[Told] = []
        for at, member in enumerate(self.members):
            reached = NO_KEYS
            if len(owners):
                mine = np.flatnonzero(self._member_of[owners] == at)
                reached = np.unique(joined(self._number_of[owners[mine]], slots[mine]))
            told += member.tell(self._group, self._slots, reached, end_ms)
        told.sort(key=lambda one: one.order)
        return told


def features_of(detector: Detector[Any], plan: GroupPlan) -> Mapping[str, WindowedUse]:
    """Where each of a detector's features lies."""
    return {feature.name: WindowedUse(plan.use(feature), feature.window_ms) for feature in detector.features}


def parted(keys: IntArray) -> tuple[IntArray, IntArray]:
    """Number of the detector, and slot, of each key."""
    return keys >> _SLOT_BITS, keys & ((1 << _SLOT_BITS) - 1)


def joined(number: IntArray | int, slots: npt.NDArray[Any]) -> IntArray:
    """The keys of pairs of a detector's number and a slot."""
    keys: IntArray = (np.asarray(number, dtype=np.int64) << _SLOT_BITS) | slots.astype(np.int64)
    return keys


def _told(
    detector: Detector[Any],
    window_ms: int,
    view: WindowView,
    i: int,
    verdicts: Verdicts,
    changes: hysteresis.Transitions,
    c: int,
) -> Told:
    return Told(
        detector, window_ms, view, i, verdicts, int(changes.severity[c]), int(changes.action[c]),
        int(changes.onset_ms[c]), int(changes.revision[c]), bool(changes.no_data[c]),
    )  # fmt: skip
