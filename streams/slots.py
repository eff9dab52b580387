"""Active cells of a shard: each gets a slot, a small dense number under which every array keeps its row.

Slots are given in order of first sight and never taken back: a shard's cells are bounded by the city's grid.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from topology.grid import neighbour_cells
from topology.jit import kernel

IntArray = npt.NDArray[np.int64]
SlotArray = npt.NDArray[np.int32]

_START: Final = 1024
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)


@kernel
def _home(cell: int, mask: int) -> int:
    return int((np.uint64(cell) * _MIX) >> np.uint64(32)) & mask


@kernel
def _insert(table: SlotArray, cells: IntArray, slot: int) -> None:
    mask = table.shape[0] - 1
    at = _home(cells[slot], mask)
    while table[at] >= 0:
        at = (at + 1) & mask
    table[at] = slot


@kernel
def _rebuild(table: SlotArray, cells: IntArray, count: int) -> None:
    table[:] = -1
    for slot in range(count):
        _insert(table, cells, slot)


@kernel
def _find(table: SlotArray, cells: IntArray, cell: int) -> int:
    mask = table.shape[0] - 1
    at = _home(cell, mask)
    while table[at] >= 0:
        if cells[table[at]] == cell:
            return int(table[at])
        at = (at + 1) & mask
    return -1


@kernel
def _find_all(table: SlotArray, cells: IntArray, wanted: IntArray, out: SlotArray) -> None:
    for i in range(wanted.shape[0]):
        out[i] = _find(table, cells, wanted[i])


@kernel
def _assign(
    table: SlotArray,
    cells: IntArray,
    owned: npt.NDArray[np.bool_],
    count: int,
    row_cells: IntArray,
    use: npt.NDArray[np.bool_],
    halo: npt.NDArray[np.bool_],
    out: SlotArray,
) -> int:
    """Slots of the rows with `use` set (others -1), new cells added while there is room; returns the new count.

    The caller guarantees room for as many new cells as there are rows.
    """
    last_cell = np.int64(-1)
    last_slot = -1
    for i in range(row_cells.shape[0]):
        if not use[i]:
            out[i] = -1
            continue
        cell = row_cells[i]
        if cell != last_cell:
            last_cell = cell
            last_slot = _find(table, cells, cell)
            if last_slot < 0:
                last_slot = count
                cells[count] = cell
                owned[count] = not halo[i]
                _insert(table, cells, count)
                count += 1
        out[i] = last_slot
    return count


class Slots:
    """cell -> slot, and back: `cells` int64[count], `owned` bool[count] (False for cells only seen as halo)."""

    def __init__(self) -> None:
        self.count = 0
        self._cells = np.empty(_START, dtype=np.int64)
        self._owned = np.empty(_START, dtype=np.bool_)
        self._table = np.full(4 * _START, -1, dtype=np.int32)

    @property
    def cells(self) -> IntArray:
        return self._cells[: self.count]

    @property
    def owned(self) -> npt.NDArray[np.bool_]:
        return self._owned[: self.count]

    @property
    def capacity(self) -> int:
        """How large arrays over slots are best made; at least `count`."""
        return len(self._cells)

    def assign(self, cells: IntArray, use: npt.NDArray[np.bool_], halo: npt.NDArray[np.bool_]) -> SlotArray:
        """Slots int32[n] of the rows where `use`, -1 elsewhere; a cell not seen before gets the next slot."""
        out = np.empty(len(cells), dtype=np.int32)
        step = 1 << 16  # bounds the room that has to be kept free, whatever the frame's size
        for start in range(0, len(cells), step):
            part = slice(start, start + step)
            self._make_room(min(step, len(cells) - start))
            self.count = _assign(
                self._table, self._cells, self._owned, self.count, cells[part], use[part], halo[part], out[part]
            )
        return out

    def find(self, cells: IntArray) -> SlotArray:
        """Slots int32[n] of the cells, -1 where a cell is not active."""
        out = np.empty(len(cells), dtype=np.int32)
        _find_all(self._table, self._cells, cells, out)
        return out

    def neighbours(self, slots: SlotArray, rings: int) -> SlotArray:
        """Slots int32[n, (2 rings + 1)**2] of each cell and its neighbours within `rings`, -1 where not active."""
        around = neighbour_cells(self._cells[slots], rings)
        return self.find(around.reshape(-1)).reshape(around.shape)

    def restore(self, cells: IntArray, owned: npt.NDArray[np.bool_]) -> None:
        """Take the cells of a snapshot, in slot order."""
        self.count = 0
        self._make_room(len(cells))
        self._cells[: len(cells)] = cells
        self._owned[: len(cells)] = owned
        self.count = len(cells)
        _rebuild(self._table, self._cells, self.count)

    def _make_room(self, rows: int) -> None:
        need = self.count + rows
        if need > len(self._cells):
            # a frame's rows are mostly of known cells: the spare room is virtual memory until it is written
            size = max(need, len(self._cells) * 5 // 4)
            self._cells = _grown(self._cells, size, self.count)
            self._owned = _grown(self._owned, size, self.count)
        if 2 * need > len(self._table):
            self._table = np.full(1 << (4 * need - 1).bit_length(), -1, dtype=np.int32)
            _rebuild(self._table, self._cells, self.count)


def _grown(array: npt.NDArray[Any], size: int, used: int) -> npt.NDArray[Any]:
    larger = np.empty(size, dtype=array.dtype)
    larger[:used] = array[:used]
    return larger
