"""Rows of a frame into the open buckets of their tracks: some thousand rows at a time, kind by kind, op by op.

Rows of all kinds stand mixed in a frame. Taken one by one, each would ask for another track's table and other ops than
the one before it, and a processor guesses such branches wrong. So rows that a track may want are gathered first, sorted
by kind, and then each op of a track goes over all of them in a loop of its own.

The kernel takes addresses (see streams.reals). When something is missing (a bucket that is not open yet, room in a
track) it says what, and is called again with the same `state`: a track's rows are first given all their places, then
applied, so that nothing is counted twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.bucket_ops import HIT_AT, HIT_BLOCK, HIT_COLUMNS, HIT_RANK, HIT_ROW, POINTER, apply_op, mark_rows
from streams.frame_columns import (
    AT,
    BASE,
    CELL,
    CONFIDENCE,
    EVENT_AT,
    FLAGS,
    HALO,
    KIND,
    OFFSET,
    PARTITION,
    QUALITY,
    SCALE,
    SHAPE,
    SOURCE,
    VALUE,
    real_value,
    stored_number,
    whole_number,
)
from streams.reals import store_int
from streams.row_kernels import (
    ROWS_AT,
    SLOT_CELLS_AT,
    SLOT_COUNT,
    SLOT_MASK,
    SLOT_OWNED_AT,
    SLOT_ROOM,
    SLOT_TABLE_AT,
    find_rank,
    put_rank,
)
from streams.tracks import (
    CODE,
    COUNT,
    EVIDENCE_WORD,
    LANE_WORD,
    MASK,
    OPS_COUNT,
    OPS_FIRST,
    ROOM,
    SLOTS_AT,
    TABLE_AT,
    WIDTH,
    FloatArray,
    IntArray,
)
from streams.words import store_byte, store_half
from topology.jit import kernel

# What `take_rows` stopped for.
DONE, NEEDS_BLOCK, NEEDS_ROOM, NEEDS_ROWS, NEEDS_SLOTS = range(5)

# Where `take_rows` is: the row to look at next, how many are gathered, and, once they are sorted, of how many kinds,
# and which kind and which of its tracks comes next.
ROW, GATHERED, KINDS, NEXT_KIND, NEXT_MEMBER = range(5)
STATE_WORDS: Final = 5

# Rows of the room to work in, behind those of streams.bucket_ops: gathered rows as they came, then sorted.
_CAME_KIND, _CAME_ROW, _CAME_BLOCK, _ROW, _BLOCK, _KIND, _KIND_END = range(HIT_COLUMNS, HIT_COLUMNS + 7)
WORK_ROWS: Final = HIT_COLUMNS + 7
AT_ONCE: Final = 4096
"""Rows gathered at a time: enough of each kind, few enough for a core's own cache."""


def work_room() -> tuple[IntArray, FloatArray]:
    """Room to work in: int64[WORK_ROWS, AT_ONCE], and float64[AT_ONCE] for values."""
    return np.empty((WORK_ROWS, AT_ONCE), dtype=np.int64), np.empty(AT_ONCE, dtype=np.float64)


@kernel
def make_pointer(source: int, partition: int, offset: int) -> int:
    """A raw record as one sortable int64: source (4 bits), partition (15 bits), offset (44 bits)."""
    return (int(source) << 59) | ((int(partition) & 0x7FFF) << 44) | int(offset)


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
def _gather(
    state: IntArray,
    use: npt.NDArray[np.bool_],
    columns: IntArray,
    kind_count: int,
    row_count: npt.NDArray[np.int32],
    bucket_ms: int,
    closed_until_ms: int,
    starts: IntArray,
    late: npt.NDArray[np.int64],
    work: IntArray,
) -> tuple[int, int]:
    """Gather rows that a track may want, from state[ROW] on, with their buckets, until there are AT_ONCE."""
    source_at, source_shape, source_base = columns[SOURCE, AT], columns[SOURCE, SHAPE], columns[SOURCE, BASE]
    kind_at, kind_shape, kind_base = columns[KIND, AT], columns[KIND, SHAPE], columns[KIND, BASE]
    gathered = state[GATHERED]
    block = 0
    for i in range(state[ROW], use.shape[0]):
        if not use[i]:
            continue
        number = (stored_number(source_at, source_shape, i) + source_base) * kind_count
        number += stored_number(kind_at, kind_shape, i) + kind_base
        if row_count[number] == 0:
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
                state[ROW], state[GATHERED] = i, gathered
                return NEEDS_BLOCK, start
        work[_CAME_KIND, gathered] = number
        work[_CAME_ROW, gathered] = i
        work[_CAME_BLOCK, gathered] = block
        gathered += 1
        if gathered == AT_ONCE:
            state[ROW], state[GATHERED] = i + 1, gathered
            return DONE, 0
    state[ROW], state[GATHERED] = use.shape[0], gathered
    return DONE, 0


@kernel
def _sort(state: IntArray, work: IntArray, counts: npt.NDArray[np.int32]) -> None:
    """Sort what is gathered by kind, rows of one kind as they came; `counts` is all zero before and after."""
    gathered = state[GATHERED]
    kinds = 0
    for k in range(gathered):
        number = work[_CAME_KIND, k]
        if counts[number] == 0:
            work[_KIND, kinds] = number
            kinds += 1
        counts[number] += 1
    first = 0
    for index in range(kinds):
        number = work[_KIND, index]
        count = counts[number]
        counts[number] = first
        first += count
    for k in range(gathered):
        number = work[_CAME_KIND, k]
        place = counts[number]
        counts[number] = place + 1
        work[_ROW, place] = work[_CAME_ROW, k]
        work[_BLOCK, place] = work[_CAME_BLOCK, k]
    for index in range(kinds):
        number = work[_KIND, index]
        work[_KIND_END, index] = counts[number]
        counts[number] = 0
    state[KINDS] = kinds


@kernel
def _place(
    first: int,
    last: int,
    source: int,
    track: int,
    columns: IntArray,
    tracks: IntArray,
    bounds: FloatArray,
    slots: IntArray,
    blocks: IntArray,
    work: IntArray,
    values: FloatArray,
) -> tuple[int, int, int]:
    """Find the places of those sorted rows first .. last that the track wants, giving its cell a rank if it has none;
    (how many, what, which)."""
    value_at, value_shape = columns[VALUE, AT], columns[VALUE, SHAPE]
    value_base, value_scale = columns[VALUE, BASE], columns[VALUE, SCALE]
    cell_at, cell_shape, cell_base = columns[CELL, AT], columns[CELL, SHAPE], columns[CELL, BASE]
    part_at, part_shape, part_base = columns[PARTITION, AT], columns[PARTITION, SHAPE], columns[PARTITION, BASE]
    offset_at, offset_shape, offset_base = columns[OFFSET, AT], columns[OFFSET, SHAPE], columns[OFFSET, BASE]
    at_least, below, surest, worst = bounds[track, 0], bounds[track, 1], bounds[track, 2], bounds[track, 3]
    table_at, mask, stride = tracks[track, TABLE_AT], tracks[track, MASK], 8 * tracks[track, WIDTH]
    hits = 0
    for k in range(first, last):
        i = work[_ROW, k]
        # -0.0 becomes 0.0: they are equal, and must read equal
        value = real_value(value_at, value_shape, value_base, value_scale, i) + 0.0
        if not (at_least <= value < below):
            continue
        if (
            np.float32(
                real_value(
                    columns[CONFIDENCE, AT],
                    columns[CONFIDENCE, SHAPE],
                    columns[CONFIDENCE, BASE],
                    columns[CONFIDENCE, SCALE],
                    i,
                )
            )
            < surest
            or whole_number(columns, QUALITY, i) > worst
        ):
            continue
        cell = stored_number(cell_at, cell_shape, i) + cell_base
        rank = find_rank(table_at, mask, cell)
        if rank < 0:
            rank = tracks[track, COUNT]
            if rank >= tracks[track, ROOM]:
                return 0, NEEDS_ROOM, track
            slot = _slot_of(slots, cell, (whole_number(columns, FLAGS, i) & HALO) != 0)
            if slot < 0:
                return 0, NEEDS_SLOTS, 0
            put_rank(table_at, mask, cell, rank)
            store_half(tracks[track, SLOTS_AT] + 4 * rank, slot)
            tracks[track, COUNT] = rank + 1
        block = work[_BLOCK, k]
        rows_at = blocks[block, track, ROWS_AT]
        if rows_at == 0:
            return 0, NEEDS_ROWS, track
        values[hits] = value
        work[HIT_AT, hits] = rows_at + rank * stride
        work[HIT_RANK, hits] = rank
        work[HIT_BLOCK, hits] = block
        work[HIT_ROW, hits] = i
        partition = stored_number(part_at, part_shape, i) + part_base
        work[POINTER, hits] = make_pointer(source, partition, stored_number(offset_at, offset_shape, i) + offset_base)
        hits += 1
    return hits, DONE, 0


@kernel
def take_rows(
    state: IntArray,
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
    counts: npt.NDArray[np.int32],
    work: IntArray,
    values: FloatArray,
    late: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Take the rows that have `use` set; (what, which) says for what it stopped. `state` is all zero at first, as is
    `counts`; `columns` is the table of FrameRows, `work` and `values` are `work_room()`.

    `row_first`/`row_count` by kind (source and kind of the frame) give the part of `members` with the tracks that such
    a row may belong to, so a hundred rules on other kinds cost a row nothing. Open buckets: `starts` int64[b] and
    `blocks` int64[b, tracks, 3]. `late[0]` counts, `late[1:]` lists rows whose bucket has been judged. Evidence is the
    greatest pointer (for MIN and MAX that of the extreme), so it does not depend on arrival order either.
    """
    while True:
        if state[KINDS] == 0:
            what, which = _gather(
                state, use, columns, kind_count, row_count, bucket_ms, closed_until_ms, starts, late, work
            )
            if what != DONE or state[GATHERED] == 0:
                return what, which
            _sort(state, work, counts)
        while state[NEXT_KIND] < state[KINDS]:
            index = state[NEXT_KIND]
            number = work[_KIND, index]
            begin = work[_KIND_END, index - 1] if index else 0
            while state[NEXT_MEMBER] < row_count[number]:
                track = members[row_first[number] + state[NEXT_MEMBER]]
                hits, what, which = _place(
                    begin, work[_KIND_END, index], sources[number // kind_count], track, columns, tracks, bounds,
                    slots, blocks, work, values,
                )  # fmt: skip
                if what != DONE:
                    return what, which
                mark_rows(hits, track, tracks, blocks, work)
                first_op = tracks[track, OPS_FIRST]
                for op in range(first_op, first_op + tracks[track, OPS_COUNT]):
                    apply_op(
                        hits, ops[op, CODE], 8 * ops[op, LANE_WORD], 8 * ops[op, EVIDENCE_WORD], columns,
                        entity_offsets, entity_data, work, values,
                    )  # fmt: skip
                state[NEXT_MEMBER] += 1
            state[NEXT_KIND] += 1
            state[NEXT_MEMBER] = 0
        state[GATHERED] = state[KINDS] = state[NEXT_KIND] = 0
