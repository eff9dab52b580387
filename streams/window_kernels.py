"""Running totals of windows: a bucket that ends is added once, one that leaves is taken out once.

So a window of an hour costs as much as one of two minutes. Counts, whole sums and histograms are subtracted; an extreme
whose newest bucket leaves, and a sketch, are made anew from the buckets inside, for that cell alone. A sum that was not
exact at some point (beyond 2**53, or not known after a change of detectors) is made anew as well. So a total always
equals merging the window's buckets from the oldest to the newest, bit by bit: a restarted join has the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.reals import load_real, store_real
from streams.row_kernels import find_rank, neutral
from streams.sealed import EVIDENCE_AT, HEAD_COLUMNS, LANE_COLUMNS, ROWS, expand, read_column, row_of, value_at
from streams.tracks import (
    BUCKET_WORD,
    CODE,
    DISTINCT_LANES,
    FIRST_COLUMN,
    LANE_WORD,
    MASK,
    OPS_COUNT,
    OPS_FIRST,
    QUANTILE_LANES,
    TABLE_AT,
    TOTAL_WIDTH,
    FloatArray,
    IntArray,
    Op,
    RankArray,
)
from streams.words import load_half, load_int
from topology.jit import kernel

EXACT: Final = 2.0**53
NO_BUCKET: Final = -1.0
_COUNT, _SUM, _MIN, _MAX, _LAST, _DISTINCT, _QUANTILE, _POINTER = (int(op) for op in Op)


@kernel
def width_of(code: int) -> int:
    """Lanes of an op."""
    if code == _LAST:
        return 2
    if code == _DISTINCT:
        return DISTINCT_LANES
    if code == _QUANTILE:
        return QUANTILE_LANES
    return 0 if code == _POINTER else 1


@kernel
def missing(code: int) -> float:
    """What a lane reads in a bucket whose snapshot did not have it: a sum is not known, all else had no row."""
    return np.nan if code == _SUM else neutral(code)


@kernel
def lanes_at(head_at: int, track: int, tracks: IntArray) -> int:
    """Where the head of a sealed bucket has the columns of a track's lanes."""
    return head_at + 8 * (HEAD_COLUMNS * len(tracks) + LANE_COLUMNS * int(tracks[track, FIRST_COLUMN]))


@kernel
def _merge(
    row_at: int, track: int, op: int, tracks: IntArray, ops: IntArray, head_at: int, row: int, bucket: int
) -> None:
    """Merge one op of one row of a sealed bucket into a total."""
    code = ops[op, CODE]
    word = ops[op, LANE_WORD]
    at = row_at + 8 * word
    column_at = lanes_at(head_at, track, tracks) + 8 * LANE_COLUMNS * (word - 1)
    value = value_at(column_at, row, missing(code))
    old = load_real(at)
    if code == _COUNT:
        store_real(at, old + value)
    elif code == _SUM:
        new = old + value
        store_real(at, new)
        if not (abs(value) < EXACT and abs(new) < EXACT):
            store_real(row_at + 8 * ops[op, BUCKET_WORD], float(bucket))
    elif code == _MIN:
        if value <= old:
            store_real(at, value)
            store_real(row_at + 8 * ops[op, BUCKET_WORD], float(bucket))
    elif code == _MAX:
        if value >= old:
            store_real(at, value)
            store_real(row_at + 8 * ops[op, BUCKET_WORD], float(bucket))
    elif code == _LAST:
        newest = value_at(column_at + 8 * LANE_COLUMNS, row, -np.inf)
        if value > old or (value == old and newest > load_real(at + 8)):
            store_real(at, value)
            store_real(at + 8, newest)
    elif code == _DISTINCT:
        for lane in range(DISTINCT_LANES):
            bits = int(value_at(column_at + 8 * LANE_COLUMNS * lane, row, 0.0))
            store_real(at + 8 * lane, float(int(load_real(at + 8 * lane)) | bits))
    else:
        for lane in range(QUANTILE_LANES):
            more = value_at(column_at + 8 * LANE_COLUMNS * lane, row, 0.0)
            store_real(at + 8 * lane, load_real(at + 8 * lane) + more)


@kernel
def _clear(row_at: int, op: int, ops: IntArray) -> None:
    """Make a total's op as before any bucket."""
    code = ops[op, CODE]
    for lane in range(width_of(code)):
        store_real(row_at + 8 * (ops[op, LANE_WORD] + lane), neutral(code))
    if ops[op, BUCKET_WORD]:
        store_real(row_at + 8 * ops[op, BUCKET_WORD], NO_BUCKET)


@kernel
def _merge_column(
    code: int, count: int, values: FloatArray, others: FloatArray, ranks: RankArray, total_at: int, stride: int,
    lane: int, bucket_word: int, bucket: float,
) -> None:  # fmt: skip
    """Merge a column of a sealed bucket, one value for each rank, into a lane of a window's totals."""
    lane_at = total_at + 8 * lane
    bucket_at = total_at + 8 * bucket_word
    if code in (_COUNT, _QUANTILE):
        for i in range(count):
            at = lane_at + stride * ranks[i]
            store_real(at, load_real(at) + values[i])
    elif code == _SUM:
        for i in range(count):
            at = lane_at + stride * ranks[i]
            new = load_real(at) + values[i]
            store_real(at, new)
            if not (abs(values[i]) < EXACT and abs(new) < EXACT):
                store_real(bucket_at + stride * ranks[i], bucket)
    elif code in (_MIN, _MAX):
        sign = 1.0 if code == _MAX else -1.0
        for i in range(count):
            at = lane_at + stride * ranks[i]
            if sign * values[i] >= sign * load_real(at):
                store_real(at, values[i])
                store_real(bucket_at + stride * ranks[i], bucket)
    elif code == _LAST:
        for i in range(count):
            at = lane_at + stride * ranks[i]
            old = load_real(at)
            if values[i] > old or (values[i] == old and others[i] > load_real(at + 8)):
                store_real(at, values[i])
                store_real(at + 8, others[i])
    elif code == _DISTINCT:
        for i in range(count):
            at = lane_at + stride * ranks[i]
            store_real(at, float(int(load_real(at)) | int(values[i])))


@kernel
def add_bucket(
    head_at: int,
    bucket: int,
    windows: IntArray,
    tracks: IntArray,
    ops: IntArray,
    needed: npt.NDArray[np.bool_],
    totals_at: IntArray,
    ranks: RankArray,
    columns: FloatArray,
) -> None:
    """Add a sealed bucket, whose number is `bucket`, to the totals of some windows; `ranks` and `columns`, two columns
    of as many values, are room to work in.

    `needed` bool[ops, windows]; `totals_at` int64[windows, tracks], 0 where no op of the track is needed.
    """
    for track in range(tracks.shape[0]):
        first = tracks[track, OPS_FIRST]
        last = first + tracks[track, OPS_COUNT]
        stride = 8 * tracks[track, TOTAL_WIDTH]
        count = -1
        for w in range(windows.shape[0]):
            window = windows[w]
            total_at = totals_at[window, track]
            if total_at == 0:
                continue
            if count < 0:
                count = expand(head_at, track, ranks)
            for i in range(count):
                row_at = total_at + ranks[i] * stride
                present = load_real(row_at)
                store_real(row_at, present + 1.0)
                if present == 0.0:
                    for op in range(first, last):
                        if needed[op, window]:
                            _clear(row_at, op, ops)
        if count <= 0:
            continue
        for op in range(first, last):
            code, word = ops[op, CODE], ops[op, LANE_WORD]
            column_at = lanes_at(head_at, track, tracks) + 8 * LANE_COLUMNS * (word - 1)
            for lane in range(1 if code == _LAST else width_of(code)):
                decoded = False
                for w in range(windows.shape[0]):
                    window = windows[w]
                    if totals_at[window, track] == 0 or not needed[op, window]:
                        continue
                    if not decoded:
                        decoded = True
                        read_column(column_at + 8 * LANE_COLUMNS * lane, count, missing(code), columns[0])
                        if code == _LAST:
                            read_column(column_at + 8 * LANE_COLUMNS, count, -np.inf, columns[1])
                    _merge_column(
                        code, count, columns[0], columns[1], ranks, totals_at[window, track], stride, word + lane,
                        ops[op, BUCKET_WORD], float(bucket),
                    )  # fmt: skip


@kernel
def take_bucket_out(
    head_at: int,
    bucket: int,
    window: int,
    tracks: IntArray,
    ops: IntArray,
    needed: npt.NDArray[np.bool_],
    totals_at: IntArray,
    ranks: RankArray,
    columns: FloatArray,
    inside: IntArray,
    numbers: IntArray,
) -> None:
    """Take a bucket out of the totals of a window; `inside` are the heads of those that stay, from the oldest on, and
    `numbers` the buckets' numbers."""
    for track in range(tracks.shape[0]):
        total_at = totals_at[window, track]
        if total_at == 0:
            continue
        count = expand(head_at, track, ranks)
        first = tracks[track, OPS_FIRST]
        stride = 8 * tracks[track, TOTAL_WIDTH]
        for i in range(count):
            row_at = total_at + ranks[i] * stride
            store_real(row_at, load_real(row_at) - 1.0)
        for op in range(first, first + tracks[track, OPS_COUNT]):
            code, word = ops[op, CODE], ops[op, LANE_WORD]
            if not needed[op, window] or code == _POINTER:
                continue
            column_at = lanes_at(head_at, track, tracks) + 8 * LANE_COLUMNS * (word - 1)
            for lane in range(QUANTILE_LANES if code == _QUANTILE else 1):
                if code not in (_MIN, _MAX, _DISTINCT):
                    read_column(column_at + 8 * LANE_COLUMNS * lane, count, _taken(code), columns[0])
                for i in range(count):
                    row_at = total_at + ranks[i] * stride
                    if load_real(row_at) == 0.0:
                        continue  # whoever reads it sees no data, and the next bucket begins anew
                    at = row_at + 8 * (word + lane)
                    if code in (_COUNT, _QUANTILE):
                        store_real(at, load_real(at) - columns[0, i])
                        continue
                    bucket_at = row_at + 8 * ops[op, BUCKET_WORD]
                    if code == _SUM:
                        if load_real(bucket_at) == NO_BUCKET:
                            store_real(at, load_real(at) - columns[0, i])
                            continue
                    elif code in (_MIN, _MAX):
                        if load_real(bucket_at) != float(bucket):
                            continue
                    elif code == _LAST and load_real(at) != columns[0, i]:
                        continue
                    _make_anew(row_at, track, op, tracks, ops, ranks[i], inside, numbers)


@kernel
def _taken(code: int) -> float:
    """What a lane that the snapshot did not have takes out of a total."""
    if code == _SUM:
        return np.nan
    return -np.inf if code == _LAST else 0.0


@kernel
def _make_anew(
    row_at: int, track: int, op: int, tracks: IntArray, ops: IntArray, rank: int, inside: IntArray, numbers: IntArray
) -> None:
    """Make one op of one total from the buckets inside the window."""
    _clear(row_at, op, ops)
    for index in range(inside.shape[0]):
        there = row_of(inside[index], track, rank)
        if there >= 0:
            _merge(row_at, track, op, tracks, ops, inside[index], there, numbers[index])


# --- reading -------------------------------------------------------------------------------------------------------


@kernel
def _merge_into(code: int, value: float, other: float, out: FloatArray, lane: int, i: int) -> None:
    """Merge a value (of LAST: time `value` and value `other`) into out[lane, i]."""
    old = out[lane, i]
    if code == _MIN:
        out[lane, i] = min(old, value)
    elif code == _MAX:
        out[lane, i] = max(old, value)
    elif code == _LAST:
        if value > old or (value == old and other > out[lane + 1, i]):
            out[lane, i] = value
            out[lane + 1, i] = other
    elif code == _DISTINCT:
        out[lane, i] = float(int(old) | int(value))
    else:
        out[lane, i] = old + value


@kernel
def prepare_lanes(use: IntArray, out: FloatArray) -> None:
    """Fill `out` with what a feature's lanes are without data; `use` int64[ops, 2]: code, lane."""
    lane = 0
    for op in range(use.shape[0]):
        for _ in range(width_of(use[op, 0])):
            out[lane, :] = neutral(use[op, 0])
            lane += 1


@kernel
def gather_totals(total_at: int, total_width: int, ranks: RankArray, use: IntArray, out: FloatArray) -> None:
    """Merge the totals of ranks[i, :] (-1: none) into out[:, i], lanes as `use` int64[ops, 2] says."""
    prepare_lanes(use, out)
    for i in range(ranks.shape[0]):
        for k in range(ranks.shape[1]):
            rank = ranks[i, k]
            if rank < 0:
                continue
            row_at = total_at + 8 * total_width * np.int64(rank)
            if load_real(row_at) == 0.0:
                continue
            lane = 0
            for op in range(use.shape[0]):
                code = use[op, 0]
                at = row_at + 8 * (1 + use[op, 1])
                if code == _LAST:
                    _merge_into(code, load_real(at), load_real(at + 8), out, lane, i)
                    lane += 2
                    continue
                for step in range(width_of(code)):
                    _merge_into(code, load_real(at + 8 * step), 0.0, out, lane, i)
                    lane += 1


@kernel
def gather_bucket(head_at: int, track: int, tracks: IntArray, ranks: RankArray, use: IntArray, out: FloatArray) -> None:
    """The same from one sealed bucket."""
    prepare_lanes(use, out)
    columns_at = lanes_at(head_at, track, tracks)
    for i in range(ranks.shape[0]):
        for k in range(ranks.shape[1]):
            row = row_of(head_at, track, ranks[i, k])
            if row < 0:
                continue
            lane = 0
            for op in range(use.shape[0]):
                code = use[op, 0]
                at = columns_at + 8 * LANE_COLUMNS * use[op, 1]
                if code == _LAST:
                    other = value_at(at + 8 * LANE_COLUMNS, row, -np.inf)
                    _merge_into(code, value_at(at, row, -np.inf), other, out, lane, i)
                    lane += 2
                    continue
                for step in range(width_of(code)):
                    value = value_at(at + 8 * LANE_COLUMNS * step, row, missing(code))
                    _merge_into(code, value, 0.0, out, lane, i)
                    lane += 1


@kernel
def gather_evidence(cited: IntArray, tracks: IntArray, cells: IntArray, out: IntArray) -> int:
    """Pointers of these cells, as `cited` int64[n, 3] (head of a bucket, track, number of the pointer) says and in its
    order; how many there are."""
    found = 0
    for index in range(cited.shape[0]):
        head, track, pointer = cited[index, 0], cited[index, 1], cited[index, 2]
        part_at = head + 8 * HEAD_COLUMNS * track
        evidence_at = load_int(part_at + 8 * EVIDENCE_AT)
        if evidence_at == 0:
            continue
        before = pointer * load_int(part_at + 8 * ROWS)
        for i in range(cells.shape[0]):
            if cells[i] < 0:
                continue
            row = row_of(head, track, find_rank(tracks[track, TABLE_AT], tracks[track, MASK], cells[i]))
            if row >= 0:
                out[found] = load_int(evidence_at + 8 * (before + row))
                found += 1 if out[found] >= 0 else 0
    return found


@kernel
def mark_slots(
    total_at: int, total_width: int, head_at: int, track: int, count: int, slots_at: int, ranks: RankArray,
    marks: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    """Set the marks of the slots whose cells have data: in a window's totals, or (total_at 0) in one bucket."""
    if total_at:
        for rank in range(count):
            if load_real(total_at + 8 * total_width * rank) != 0.0:
                marks[load_half(slots_at + 4 * rank)] = True
    else:
        for row in range(expand(head_at, track, ranks)):
            marks[load_half(slots_at + 4 * ranks[row])] = True
