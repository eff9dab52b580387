"""Which cells can be raised at all by which detector, for all detectors with screens at once.

Screens on the same feature, window and neighbourhood are one *signal*, its bounds in order from the mildest: a cell is
looked at once per signal and compared with the mildest bound; only a cell that reaches it costs anything per detector.
For detectors in bulk, whose verdict depends on that signal alone, only cells whose data have changed are looked at: one
that was beyond a bound before has been raised, or is counting towards it, already. Data that leave a window can bring a
mean beyond its bound, but not a count or the highest value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.screen_kernels import (
    AGGREGATE_CODES,
    SIGNAL_COLUMNS,
    count_reached,
    read_values,
    screen,
)
from streams.slots import Slots
from streams.tracks import COUNT, FeatureUse, FloatArray, GroupPlan, IntArray
from streams.windows import WindowGroup, ops_of

FIRST_ROOM = 1024


class Watch(NamedTuple):
    """One detector's wish to be told of cells that have reached a bound; `owner` is its number."""

    owner: int
    use: FeatureUse
    window_ms: int
    rings: int
    above: bool
    bound: float
    everywhere: bool  # look at cells without new data too


class Screening:
    """The screens of one bucket width's detectors."""

    def __init__(self, group: WindowGroup, slots: Slots, watches: Iterable[Watch]) -> None:
        self._group = group
        self._slots = slots
        by_signal: dict[tuple[object, ...], list[Watch]] = {}
        for watch in watches:
            key = (watch.use, watch.window_ms, watch.rings, watch.above, watch.everywhere)
            by_signal.setdefault(key, []).append(watch)
        signals = [
            sorted(some, key=lambda w: (w.bound if w.above else -w.bound, w.owner)) for some in by_signal.values()
        ]
        signals.sort(key=lambda some: some[0].use.track)  # what a bucket holds of a track is looked up once
        self._signals = np.array([_row(group.plan, some[0]) for some in signals], dtype=np.int64).reshape(
            -1, SIGNAL_COLUMNS
        )
        self._quantiles: FloatArray = np.array([some[0].use.quantile for some in signals], dtype=np.float64)
        self._mildest: FloatArray = np.array([some[0].bound for some in signals], dtype=np.float64)
        self._above: npt.NDArray[np.bool_] = np.array([some[0].above for some in signals], dtype=np.bool_)
        self._firsts: IntArray = np.concatenate([[0], np.cumsum([len(some) for some in signals])]).astype(np.int64)
        self._bounds: FloatArray = np.array([watch.bound for some in signals for watch in some], dtype=np.float64)
        self._owners: IntArray = np.array([watch.owner for some in signals for watch in some], dtype=np.int64)
        self._room = FIRST_ROOM
        self.fresh = True
        """Nothing is known of the cells' past (a start, a restart): every cell counts as changed, once."""

    def pairs(self) -> tuple[IntArray, IntArray]:
        """(owner, slot) of every owned cell that has reached an owner's bound in the bucket being judged; a pair may
        stand there twice."""
        if not len(self._signals):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        signal, slot, value = self._found()
        self.fresh = False
        reached = np.empty(len(signal), dtype=np.int64)
        total = count_reached(value, signal, self._above, self._firsts, self._bounds, reached)
        ends = np.cumsum(reached)
        within = np.arange(total) - np.repeat(ends - reached, reached)
        owners = self._owners[np.repeat(self._firsts[signal], reached) + within]
        return owners, np.repeat(slot, reached)

    def _found(self) -> tuple[IntArray, IntArray, FloatArray]:
        group = self._group
        most = int(group.tracks[:, COUNT].max(initial=0)) + 1
        newest_at = 0 if group.newest is None else group.newest.head_at
        ranks, columns = np.empty((2, most), dtype=np.int32), np.empty((2, most))
        stamps = np.zeros(most, dtype=np.int64)
        left = [(old.head_at, window) for window, some in enumerate(group.left) for old in some]
        heads = np.array([head for head, _ in left], dtype=np.int64)
        windows = np.array([window for _, window in left], dtype=np.int64)
        while True:
            signal = np.empty(self._room, dtype=np.int64)
            slot = np.empty(self._room, dtype=np.int64)
            value = np.empty(self._room, dtype=np.float64)
            found = screen(
                self._signals, self._quantiles, self._mildest, self.fresh, group.tracks, self._slots.header,
                group.totals_at, newest_at, heads, windows, ranks, columns, stamps,
                signal, slot, value,
            )  # fmt: skip
            if found <= self._room:
                return signal[:found], slot[:found], value[:found]
            self._room = 2 * found
            stamps[:] = 0


class Reader:
    """Signals whose values are read at single cells, for detectors in bulk."""

    def __init__(self, group: WindowGroup, signals: Sequence[tuple[FeatureUse, int, int]]) -> None:
        """`signals`: feature, window in ms, and rings of neighbours."""
        self._group = group
        rows = [signal_row(group.plan, *signal) for signal in signals]
        self._signals: IntArray = np.array(rows, dtype=np.int64).reshape(-1, SIGNAL_COLUMNS)
        self._quantiles: FloatArray = np.array([use.quantile for use, _, _ in signals], dtype=np.float64)

    def read(self, signal_of: IntArray, cells: IntArray) -> FloatArray:
        """The values float64[n] in the bucket being judged of n pairs of a signal's number (-1: NaN) and a cell."""
        group, values = self._group, np.empty(len(cells))
        head_at = 0 if group.newest is None else group.newest.head_at
        read_values(
            self._signals, self._quantiles, signal_of, cells, group.tracks, group.totals_at, head_at, values
        )  # fmt: skip
        return values


def signal_row(plan: GroupPlan, use: FeatureUse, window_ms: int, rings: int) -> list[int]:
    """What kernels need to know of a signal that nobody screens."""
    buckets = window_ms // plan.bucket_ms
    ops = [*ops_of(plan, use).tolist(), [-1, 0]][:2]
    return [
        use.track, plan.windows.index(buckets) if buckets > 1 else -1, AGGREGATE_CODES[use.aggregate],
        *ops[0], *ops[1], rings, 0, 0,
    ]  # fmt: skip


def _row(plan: GroupPlan, watch: Watch) -> list[int]:
    return [*signal_row(plan, watch.use, watch.window_ms, watch.rings)[:-2], int(watch.above), int(watch.everywhere)]
