"""Where a cell's numbers lie: tables that lead from cells to ranks and slots, and a row of an open bucket.

A track's table leads from a cell to its *rank* there; a bucket keeps a row of words per rank: a mark, the lanes, the
evidence. Kernels take addresses (see streams.reals); streams.bucket_rows fills the rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from streams.reals import store_int
from streams.tracks import Op
from streams.words import load_half, load_int
from topology.jit import kernel

# Columns of an open bucket's table, one row per track.
ROWS_AT, RANKS_AT, TOUCHED = range(3)

# Entries of the header of slots.
SLOT_TABLE_AT, SLOT_MASK, SLOT_CELLS_AT, SLOT_OWNED_AT, SLOT_COUNT, SLOT_ROOM = range(6)

EMPTY, SAVED, CHANGED = 0.0, 1.0, 2.0
"""A row's mark: without data, as the last snapshot has it, changed since."""

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)
_MIN, _MAX, _LAST = int(Op.MIN), int(Op.MAX), int(Op.LAST)


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
def neutral(code: int) -> float:
    """The value of an op's lanes before any row."""
    if code == _MIN:
        return np.inf
    if code in (_MAX, _LAST):
        return -np.inf
    return 0.0
