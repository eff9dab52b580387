"""The kernel behind streams.screening: which cells have reached a bound of which signal, all signals in one call."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detectors.features import Aggregate
from streams.reals import load_real
from streams.row_kernels import (
    SLOT_CELLS_AT,
    SLOT_OWNED_AT,
    find_rank,
    neutral,
)
from streams.sealed import LANE_COLUMNS, expand, read_column, row_of, value_at
from streams.tracks import (
    COUNT,
    DISTINCT_BITS,
    DISTINCT_LANES,
    DISTINCT_TOTAL,
    DISTINCT_VALUES,
    MASK,
    QUANTILE_LANES,
    QUANTILE_VALUES,
    SLOTS_AT,
    SUM_SCALE,
    TABLE_AT,
    TOTAL_WIDTH,
    FloatArray,
    IntArray,
    Op,
    RankArray,
)
from streams.window_kernels import lanes_at, missing, width_of
from streams.words import load_byte, load_half, load_int
from topology.grid import MAX_AXIS, morton_decode, morton_encode
from topology.jit import kernel

# Columns of the table of signals. WINDOW -1: the bucket alone. OP_A and OP_B: codes with their first lanes, -1 none.
TRACK, WINDOW, AGGREGATE, OP_A, LANE_A, OP_B, LANE_B, RINGS, ABOVE, ALL = range(10)
SIGNAL_COLUMNS = 10

_AGGREGATES = list(Aggregate)
AGGREGATE_CODES = {aggregate: code for code, aggregate in enumerate(_AGGREGATES)}
_COUNT = AGGREGATE_CODES[Aggregate.COUNT]
_SUM = AGGREGATE_CODES[Aggregate.SUM]
_MIN = AGGREGATE_CODES[Aggregate.MIN]
_MAX = AGGREGATE_CODES[Aggregate.MAX]
_MEAN = AGGREGATE_CODES[Aggregate.MEAN]
_LAST = AGGREGATE_CODES[Aggregate.LAST]
_DISTINCT = AGGREGATE_CODES[Aggregate.DISTINCT]
_QUANTILE = AGGREGATE_CODES[Aggregate.QUANTILE]
_OP_MIN, _OP_MAX, _OP_LAST, _OP_DISTINCT = int(Op.MIN), int(Op.MAX), int(Op.LAST), int(Op.DISTINCT)


@kernel
def _begin(acc: FloatArray, code: int, first: int) -> int:
    """Neutral lanes of an op from acc[first] on; where the next op begins."""
    if code < 0:
        return first
    for lane in range(width_of(code)):
        acc[first + lane] = neutral(code)
    return first + width_of(code)


@kernel
def _take(acc: FloatArray, code: int, first: int, lane: int, value: float, other: float) -> None:
    at = first + lane
    if code == _OP_MIN:
        acc[at] = min(acc[at], value)
    elif code == _OP_MAX:
        acc[at] = max(acc[at], value)
    elif code == _OP_LAST:
        if value > acc[at] or (value == acc[at] and other > acc[at + 1]):
            acc[at] = value
            acc[at + 1] = other
    elif code == _OP_DISTINCT:
        acc[at] = float(int(acc[at]) | int(value))
    else:
        acc[at] += value


@kernel
def _merge_total(acc: FloatArray, code: int, first: int, lane: int, row_at: int) -> int:
    if code < 0:
        return first
    at = row_at + 8 * (1 + lane)
    if code == _OP_LAST:
        _take(acc, code, first, 0, load_real(at), load_real(at + 8))
        return first + 2
    for step in range(width_of(code)):
        _take(acc, code, first, step, load_real(at + 8 * step), 0.0)
    return first + width_of(code)


@kernel
def _merge_bucket(acc: FloatArray, code: int, first: int, lane: int, columns_at: int, row: int) -> int:
    if code < 0:
        return first
    at = columns_at + 8 * LANE_COLUMNS * lane
    if code == _OP_LAST:
        _take(acc, code, first, 0, value_at(at, row, -np.inf), value_at(at + 8 * LANE_COLUMNS, row, -np.inf))
        return first + 2
    for step in range(width_of(code)):
        _take(acc, code, first, step, value_at(at + 8 * LANE_COLUMNS * step, row, missing(code)), 0.0)
    return first + width_of(code)


@kernel
def _simple(aggregate: int, a: float, b: float) -> float:
    """What streams.tracks.finish makes of one cell's lanes, for an aggregate of at most two."""
    if aggregate == _COUNT:
        return a
    if aggregate == _SUM:
        return a / SUM_SCALE
    if aggregate == _MEAN:
        return a / (b * SUM_SCALE) if b > 0 else np.nan
    if np.isinf(a):
        return np.nan
    return b if aggregate == _LAST else a


@kernel
def _finished(aggregate: int, quantile: float, acc: FloatArray) -> float:
    """The same for every aggregate."""
    if aggregate == _DISTINCT:
        taken = 0
        for lane in range(DISTINCT_LANES):
            bits = int(acc[lane])
            for shift in range(DISTINCT_BITS):
                taken += (bits >> shift) & 1
        return float(DISTINCT_VALUES[DISTINCT_TOTAL - taken])
    if aggregate == _QUANTILE:
        total = 0.0
        for lane in range(QUANTILE_LANES):
            total += acc[lane]
        if not total > 0:
            return np.nan
        wanted = max(np.ceil(quantile * total), 1.0)
        running = 0.0
        position = 0
        for lane in range(QUANTILE_LANES):
            running += acc[lane]
            if running < wanted:
                position += 1
        return float(QUANTILE_VALUES[position])
    return _simple(aggregate, acc[0], acc[1])


@kernel
def _merge_rank(
    acc: FloatArray, signal: IntArray, rank: int, total_at: int, total_width: int, head_at: int, columns_at: int
) -> bool:
    """Merge one cell's data into `acc`; False when it has none."""
    if total_at:
        row_at = total_at + 8 * total_width * rank
        if load_real(row_at) == 0.0:
            return False
        first = _merge_total(acc, signal[OP_A], 0, signal[LANE_A], row_at)
        _merge_total(acc, signal[OP_B], first, signal[LANE_B], row_at)
        return True
    row = row_of(head_at, signal[TRACK], rank)
    if row < 0:
        return False
    first = _merge_bucket(acc, signal[OP_A], 0, signal[LANE_A], columns_at, row)
    _merge_bucket(acc, signal[OP_B], first, signal[LANE_B], columns_at, row)
    return True


@kernel
def _merge_around(
    acc: FloatArray, signal: IntArray, cell: int, tracks: IntArray, total_at: int, total_width: int, head_at: int,
    columns_at: int,
) -> bool:  # fmt: skip
    """Merge the data of a cell and of those around it into `acc`; whether the cell itself has any."""
    table_at = tracks[signal[TRACK], TABLE_AT]
    mask = tracks[signal[TRACK], MASK]
    rings = signal[RINGS]
    own = False
    column, row = morton_decode(cell)
    for y in range(row - rings, row + rings + 1):
        for x in range(column - rings, column + rings + 1):
            if x < 0 or y < 0 or x >= MAX_AXIS or y >= MAX_AXIS:
                continue
            rank = find_rank(table_at, mask, morton_encode(x, y))
            if rank >= 0 and _merge_rank(acc, signal, rank, total_at, total_width, head_at, columns_at):
                own = own or (x == column and y == row)
    return own


@kernel
def _value(
    acc: FloatArray, signal: IntArray, quantile: float, rank: int, cell: int, tracks: IntArray, total_at: int,
    total_width: int, head_at: int, columns_at: int,
) -> float:  # fmt: skip
    """The signal's value at a cell, NaN when the cell itself has no data."""
    first = _begin(acc, signal[OP_A], 0)
    _begin(acc, signal[OP_B], first)
    if signal[RINGS] == 0:
        if not _merge_rank(acc, signal, rank, total_at, total_width, head_at, columns_at):
            return np.nan
        return _finished(signal[AGGREGATE], quantile, acc)
    own = _merge_around(acc, signal, cell, tracks, total_at, total_width, head_at, columns_at)
    return _finished(signal[AGGREGATE], quantile, acc) if own else np.nan


@kernel
def _stays_within(aggregate: int, above: bool) -> bool:
    """Whether no bound can be reached by data that leave a window: what reaches it then had reached it before."""
    if aggregate == _LAST:  # the newest leaves last
        return True
    return aggregate in (_COUNT, _MAX, _DISTINCT) if above else aggregate == _MIN


@kernel
def screen(
    signals: IntArray,
    quantiles: FloatArray,
    bounds: FloatArray,
    all_changed: bool,
    tracks: IntArray,
    slots: IntArray,
    totals_at: IntArray,
    head_at: int,
    left: IntArray,
    left_windows: IntArray,
    ranks: RankArray,
    columns: FloatArray,
    stamps: IntArray,
    out_signal: IntArray,
    out_slot: IntArray,
    out_value: FloatArray,
) -> int:
    """Write (signal, slot, value) of every owned cell that has reached the least of a signal's bounds.

    Looked at are the cells whose data have changed with this bucket (in its sealed head `head_at`, 0 if it is empty, or
    in one of the heads `left` that left the window `left_windows`), with their neighbours for a signal with rings; all
    cells for a signal with ALL set, or if `all_changed`. `ranks` and `columns`, two rows each, and `stamps`, all zero,
    are room to work in; signals of one track stand together. Returns how many there are, which may be more than there
    was room for: then call again with more.
    """
    acc = np.empty(QUANTILE_LANES, dtype=np.float64)
    found = 0
    stamp = 0
    newest = -1  # the track whose ranks with data in this bucket are in `ranks`
    changed = 0
    for s in range(signals.shape[0]):
        signal = signals[s]
        track = signal[TRACK]
        window = signal[WINDOW]
        total_at = totals_at[window, track] if window >= 0 else 0
        if total_at == 0 and head_at == 0:
            continue
        columns_at = lanes_at(head_at, track, tracks) if head_at else 0
        stamp += 1
        everything = (all_changed or signal[ALL] != 0) and total_at != 0
        aggregate = signal[AGGREGATE]
        plain = signal[RINGS] == 0 and aggregate != _DISTINCT and aggregate != _QUANTILE
        above = signal[ABOVE] != 0
        bound = bounds[s]
        stride = 8 * tracks[track, TOTAL_WIDTH]
        # LAST has its time in its first lane, its value in the second
        lane_a, lane_b = signal[LANE_A], signal[LANE_A] + 1 if aggregate == _LAST else signal[LANE_B]
        for part in range(-1, left.shape[0]):
            if part < 0:
                if everything:
                    count = tracks[track, COUNT]
                elif head_at:
                    if newest != track:
                        changed = expand(head_at, track, ranks[0])
                        newest = track
                    count = changed
                else:
                    count = 0
            elif everything or left_windows[part] != window or _stays_within(aggregate, above):
                continue
            else:
                count = expand(left[part], track, ranks[1])
            some = ranks[0] if part < 0 else ranks[1]
            if plain and not total_at:
                read_column(columns_at + 8 * LANE_COLUMNS * lane_a, count, missing(signal[OP_A]), columns[0])
                if aggregate in (_MEAN, _LAST):
                    read_column(columns_at + 8 * LANE_COLUMNS * lane_b, count, missing(signal[OP_B]), columns[1])
            for i in range(count):
                rank = i if everything else int(some[i])
                if plain:
                    if total_at:
                        row_at = total_at + stride * rank
                        if load_real(row_at) == 0.0:
                            continue
                        value = _simple(
                            aggregate, load_real(row_at + 8 * (1 + lane_a)), load_real(row_at + 8 * (1 + lane_b))
                        )
                    else:
                        value = _simple(aggregate, columns[0, i], columns[1, i])
                    if (value >= bound) if above else (value <= bound):
                        slot = load_half(tracks[track, SLOTS_AT] + 4 * rank)
                        if load_byte(slots[SLOT_OWNED_AT] + slot) != 0:
                            if found < out_slot.shape[0]:
                                out_signal[found] = s
                                out_slot[found] = slot
                                out_value[found] = value
                            found += 1
                    continue
                reach = 0 if everything else signal[RINGS]
                cell = load_int(slots[SLOT_CELLS_AT] + 8 * load_half(tracks[track, SLOTS_AT] + 4 * rank))
                column, row = morton_decode(cell)
                for y in range(row - reach, row + reach + 1):
                    for x in range(column - reach, column + reach + 1):
                        there = rank
                        here = cell
                        if reach:
                            if x < 0 or y < 0 or x >= MAX_AXIS or y >= MAX_AXIS:
                                continue
                            here = morton_encode(x, y)
                            there = find_rank(tracks[track, TABLE_AT], tracks[track, MASK], here)
                            if there < 0 or stamps[there] == stamp:
                                continue
                            stamps[there] = stamp
                        slot = load_half(tracks[track, SLOTS_AT] + 4 * there)
                        if load_byte(slots[SLOT_OWNED_AT] + slot) == 0:
                            continue
                        value = _value(
                            acc, signal, quantiles[s], there, here, tracks, total_at, tracks[track, TOTAL_WIDTH],
                            head_at, columns_at,
                        )  # fmt: skip
                        if (value >= bound) if above else (value <= bound):
                            if found < out_slot.shape[0]:
                                out_signal[found] = s
                                out_slot[found] = slot
                                out_value[found] = value
                            found += 1
    return found


@kernel
def read_values(
    signals: IntArray,
    quantiles: FloatArray,
    signal_of: IntArray,
    cells: IntArray,
    tracks: IntArray,
    totals_at: IntArray,
    head_at: int,
    out: FloatArray,
) -> None:
    """The value of one signal at one cell, pair by pair, whoever has data there; NaN where there is no signal (-1).

    As streams.windows.WindowGroup.lanes_of and streams.tracks.finish have it, of few cells and many features at once.
    """
    acc = np.empty(QUANTILE_LANES, dtype=np.float64)
    for i in range(signal_of.shape[0]):
        s = signal_of[i]
        if s < 0:
            out[i] = np.nan
            continue
        signal = signals[s]
        track = signal[TRACK]
        first = _begin(acc, signal[OP_A], 0)
        _begin(acc, signal[OP_B], first)
        total_at = totals_at[signal[WINDOW], track] if signal[WINDOW] >= 0 else 0
        # a bucket without any row has no head; a track without any cell has no totals
        if total_at != 0 or (signal[WINDOW] < 0 and head_at != 0):
            columns_at = lanes_at(head_at, track, tracks) if head_at else 0
            _merge_around(acc, signal, cells[i], tracks, total_at, tracks[track, TOTAL_WIDTH], head_at, columns_at)
        out[i] = _finished(signal[AGGREGATE], quantiles[s], acc)


@kernel
def count_reached(
    values: FloatArray, signal_of: IntArray, above: npt.NDArray[np.bool_], firsts: IntArray, bounds: FloatArray,
    out: IntArray,
) -> int:  # fmt: skip
    """How many of its signal's bounds, mildest first from `firsts` on, each value has reached; and the sum of them."""
    total = 0
    for i in range(values.shape[0]):
        s = signal_of[i]
        reached = 0
        for at in range(firsts[s], firsts[s + 1]):
            if (above[s] and values[i] >= bounds[at]) or (not above[s] and values[i] <= bounds[at]):
                reached += 1
            else:
                break
        out[i] = reached
        total += reached
    return total
