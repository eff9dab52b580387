"""Rows of a frame into the open buckets of their tracks, in one pass.

A track's table leads from a cell to its *rank* there; a bucket keeps a row of words per rank: a mark, the lanes, the
evidence. The kernel takes addresses (see streams.reals). When something is missing (a bucket that is not open yet, room
in a track) it says what, and is called again for the same row: a row is first given all its ranks, then applied, so
that nothing is counted twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.frame_columns import (
    CELL,
    CONFIDENCE,
    EVENT_AT,
    FLAGS,
    HALO,
    KIND,
    OFFSET,
    PARTITION,
    QUALITY,
    SOURCE,
    VALUE,
    real_number,
    whole_number,
)
from streams.reals import load_real, store_int, store_real
from streams.tracks import (
    CODE,
    COUNT,
    DISTINCT_BITS,
    DISTINCT_TOTAL,
    EVIDENCE_WORD,
    LANE_WORD,
    MASK,
    OPS_COUNT,
    OPS_FIRST,
    QUANTILE_LANES,
    QUANTILE_LOG_WIDTH,
    QUANTILE_LOW,
    ROOM,
    SLOTS_AT,
    SUM_SCALE,
    TABLE_AT,
    WIDTH,
    FloatArray,
    IntArray,
    Op,
)
from streams.words import load_half, load_int, store_byte, store_half
from topology.jit import kernel

# What `take_rows` stopped for.
DONE, NEEDS_BLOCK, NEEDS_ROOM, NEEDS_ROWS, NEEDS_SLOTS = range(5)

# Columns of an open bucket's table, one row per track.
ROWS_AT, RANKS_AT, TOUCHED = range(3)

# Entries of the header of slots.
SLOT_TABLE_AT, SLOT_MASK, SLOT_CELLS_AT, SLOT_OWNED_AT, SLOT_COUNT, SLOT_ROOM = range(6)

EMPTY, SAVED, CHANGED = 0.0, 1.0, 2.0
"""A row's mark: without data, as the last snapshot has it, changed since."""

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)
_COUNT, _SUM, _MIN, _MAX, _LAST, _DISTINCT, _QUANTILE = (int(op) for op in list(Op)[:7])


@kernel
def home_of(cell: int) -> int:
    """Where the search for a cell begins, before the table's mask."""
    return int((np.uint64(cell) * _MIX) >> np.uint64(32))


@kernel
def find_rank(table_at: int, mask: int, cell: int) -> int:
    """The number that a table of (cell, number) pairs has for a cell, -1 for none."""
    at = home_of(cell) & mask
    while True:
        key = load_int(table_at + 16 * at)
        if key == cell:
            return load_int(table_at + 16 * at + 8)
        if key < 0:
            return -1
        at = (at + 1) & mask


@kernel
def put_rank(table_at: int, mask: int, cell: int, rank: int) -> None:
    """Add a cell that is not in the table."""
    at = home_of(cell) & mask
    while load_int(table_at + 16 * at) >= 0:
        at = (at + 1) & mask
    store_int(table_at + 16 * at, cell)
    store_int(table_at + 16 * at + 8, rank)


@kernel
def fill_table(table_at: int, mask: int, cells_at: int, slots_at: int, count: int) -> None:
    """Put the ranks 0 .. count into an empty table; rank r has slot `slots_at[r]`, or r itself if there is no list."""
    for rank in range(count):
        slot = rank if slots_at == 0 else load_half(slots_at + 4 * rank)
        put_rank(table_at, mask, load_int(cells_at + 8 * slot), rank)


@kernel
def make_pointer(source: int, partition: int, offset: int) -> int:
    """A raw record as one sortable int64: source (4 bits), partition (15 bits), offset (44 bits)."""
    return (int(source) << 59) | ((int(partition) & 0x7FFF) << 44) | int(offset)


@kernel
def hash_text(data: npt.NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """FNV-1a, 64 bits, with a final mix: its low bits alone are too regular for a sketch."""
    value = np.uint64(0xCBF29CE484222325)
    for at in range(start, end):
        value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)  # the finaliser of MurmurHash3
    return value ^ (value >> np.uint64(33))


@kernel
def quantile_bin(value: float) -> int:
    if value <= QUANTILE_LOW:
        return 0
    return min(QUANTILE_LANES - 1, 1 + int(np.log(value / QUANTILE_LOW) / QUANTILE_LOG_WIDTH))


@kernel
def neutral(code: int) -> float:
    """The value of an op's lanes before any row."""
    if code == _MIN:
        return np.inf
    if code in (_MAX, _LAST):
        return -np.inf
    return 0.0


@kernel
def _slot_of(slots: IntArray, cell: int, halo: bool) -> int:
    """The cell's slot, given to it if it has none; -1 when there is no room for one more."""
    slot = find_rank(slots[SLOT_TABLE_AT], slots[SLOT_MASK], cell)
    if slot >= 0:
        return slot
    slot = int(slots[SLOT_COUNT])
    if slot >= slots[SLOT_ROOM]:
        return -1
    put_rank(slots[SLOT_TABLE_AT], slots[SLOT_MASK], cell, slot)
    store_int(slots[SLOT_CELLS_AT] + 8 * slot, cell)
    store_byte(slots[SLOT_OWNED_AT] + slot, 0 if halo else 1)
    slots[SLOT_COUNT] = slot + 1
    return slot


@kernel
def _begin_row(row_at: int, track: int, tracks: IntArray, ops: IntArray) -> None:
    """Give a row that had no data its neutral lanes and no evidence."""
    first = tracks[track, OPS_FIRST]
    for op in range(first, first + tracks[track, OPS_COUNT]):
        code = ops[op, CODE]
        lane_at = row_at + 8 * ops[op, LANE_WORD]
        width = 1
        if code == _LAST:
            width = 2
        elif code == _DISTINCT:
            width = 4
        elif code == _QUANTILE:
            width = QUANTILE_LANES
        if ops[op, LANE_WORD] > 0:
            for lane in range(width):
                store_real(lane_at + 8 * lane, neutral(code))
        if ops[op, EVIDENCE_WORD] > 0:
            store_int(row_at + 8 * ops[op, EVIDENCE_WORD], -1)


@kernel
def take_rows(
    begin: int,
    use: npt.NDArray[np.bool_],
    columns: IntArray,
    kind_count: int,
    sources: IntArray,
    entity_offsets: npt.NDArray[np.int32],
    entity_data: npt.NDArray[np.uint8],
    row_first: npt.NDArray[np.int32],
    row_count: npt.NDArray[np.int32],
    members: npt.NDArray[np.int32],
    bucket_ms: int,
    closed_until_ms: int,
    tracks: IntArray,
    bounds: FloatArray,
    ops: IntArray,
    slots: IntArray,
    starts: IntArray,
    blocks: IntArray,
    ranks: IntArray,
    late: npt.NDArray[np.int64],
) -> tuple[int, int, int]:
    """Take the rows from `begin` on that have `use` set; (row, what, which) says where and for what it stopped.
    `columns` is the table of FrameRows.

    `row_first`/`row_count` by kind (source and kind of the frame) give the part of `members` with the tracks that such
    a row may belong to, so a hundred rules on other kinds cost a row nothing. Open buckets: `starts` int64[b] and
    `blocks` int64[b, tracks, 3]. `late[0]` counts, `late[1:]` lists rows whose bucket has been judged. Evidence is the
    greatest pointer (for MIN and MAX that of the extreme), so it does not depend on arrival order either.
    """
    block = 0
    for i in range(begin, use.shape[0]):
        if not use[i]:
            continue
        source = whole_number(columns, SOURCE, i)
        number = source * kind_count + whole_number(columns, KIND, i)
        first = row_first[number]
        last = first + row_count[number]
        if first == last:
            continue
        at_ms = whole_number(columns, EVENT_AT, i)
        start = at_ms - at_ms % bucket_ms
        if start < closed_until_ms:
            late[0] += 1
            late[late[0]] = i
            continue
        if block >= starts.shape[0] or starts[block] != start:
            block = 0
            while block < starts.shape[0] and starts[block] != start:
                block += 1
            if block == starts.shape[0]:
                return i, NEEDS_BLOCK, start
        cell = whole_number(columns, CELL, i)
        value = real_number(columns, VALUE, i) + 0.0  # -0.0 becomes 0.0: they are equal, and must read equal
        confidence = np.float32(real_number(columns, CONFIDENCE, i))
        quality = whole_number(columns, QUALITY, i)
        for member in range(first, last):
            track = members[member]
            ranks[member] = -1
            if not (bounds[track, 0] <= value < bounds[track, 1]):
                continue
            if confidence < bounds[track, 2] or quality > bounds[track, 3]:
                continue
            rank = find_rank(tracks[track, TABLE_AT], tracks[track, MASK], cell)
            if rank < 0:
                rank = tracks[track, COUNT]
                if rank >= tracks[track, ROOM]:
                    return i, NEEDS_ROOM, track
                slot = _slot_of(slots, cell, (whole_number(columns, FLAGS, i) & HALO) != 0)
                if slot < 0:
                    return i, NEEDS_SLOTS, 0
                put_rank(tracks[track, TABLE_AT], tracks[track, MASK], cell, rank)
                store_half(tracks[track, SLOTS_AT] + 4 * rank, slot)
                tracks[track, COUNT] = rank + 1
            if blocks[block, track, ROWS_AT] == 0:
                return i, NEEDS_ROWS, block * tracks.shape[0] + track
            ranks[member] = rank
        pointer = make_pointer(sources[source], whole_number(columns, PARTITION, i), whole_number(columns, OFFSET, i))
        for member in range(first, last):
            rank = ranks[member]
            if rank < 0:
                continue
            track = members[member]
            row_at = blocks[block, track, ROWS_AT] + rank * 8 * tracks[track, WIDTH]
            mark = load_real(row_at)
            if mark == EMPTY:
                _begin_row(row_at, track, tracks, ops)
                touched = blocks[block, track, TOUCHED]
                store_half(blocks[block, track, RANKS_AT] + 4 * touched, rank)
                blocks[block, track, TOUCHED] = touched + 1
            if mark != CHANGED:
                store_real(row_at, CHANGED)
            first_op = tracks[track, OPS_FIRST]
            for op in range(first_op, first_op + tracks[track, OPS_COUNT]):
                code = ops[op, CODE]
                lane_at = row_at + 8 * ops[op, LANE_WORD]
                evidence_at = row_at + 8 * ops[op, EVIDENCE_WORD]
                proves = False  # does this row become the evidence?
                better = False
                if code == _COUNT:
                    store_real(lane_at, load_real(lane_at) + 1.0)
                elif code == _SUM:
                    store_real(lane_at, load_real(lane_at) + np.rint(value * SUM_SCALE))
                elif code == _MAX:
                    old = load_real(lane_at)
                    better = value > old
                    proves = value == old
                    if better:
                        store_real(lane_at, value)
                elif code == _MIN:
                    old = load_real(lane_at)
                    better = value < old
                    proves = value == old
                    if better:
                        store_real(lane_at, value)
                elif code == _LAST:
                    when = float(at_ms)
                    old = load_real(lane_at)
                    newest = load_real(lane_at + 8)
                    better = when > old or (when == old and value > newest)
                    proves = when == old and value == newest
                    if better:
                        store_real(lane_at, when)
                        store_real(lane_at + 8, value)
                elif code == _DISTINCT:
                    text = hash_text(entity_data, entity_offsets[i], entity_offsets[i + 1])
                    bit = int(text % np.uint64(DISTINCT_TOTAL))
                    target_at = lane_at + 8 * (bit // DISTINCT_BITS)
                    store_real(target_at, float(int(load_real(target_at)) | (1 << (bit % DISTINCT_BITS))))
                elif code == _QUANTILE:
                    target_at = lane_at + 8 * quantile_bin(value)
                    store_real(target_at, load_real(target_at) + 1.0)
                else:
                    proves = True
                if ops[op, EVIDENCE_WORD] > 0 and (better or (proves and pointer > load_int(evidence_at))):
                    store_int(evidence_at, pointer)
    return use.shape[0], DONE, 0
