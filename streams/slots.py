"""Active cells of a shard: each gets a slot, a small dense number under which every array keeps its row.

Slots are given in order of first sight and never taken back: a shard's cells are bounded by the city's grid.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from streams import row_kernels
from streams.row_kernels import (
    SLOT_CELLS_AT,
    SLOT_COUNT,
    SLOT_MASK,
    SLOT_OWNED_AT,
    SLOT_ROOM,
    SLOT_TABLE_AT,
)

IntArray = npt.NDArray[np.int64]
SlotArray = npt.NDArray[np.int32]

_FIRST_ROOM: Final = 1024
A = TypeVar("A", bound=np.generic)


class Slots:
    """cell -> slot, and back: `cells` int64[count], `owned` bool[count] (False for cells only seen as halo).

    `header` int64[6] is what kernels need to find and add cells; see streams.row_kernels.
    """

    def __init__(self) -> None:
        self.header: IntArray = np.zeros(6, dtype=np.int64)
        self._cells: IntArray = np.empty(0, dtype=np.int64)
        self._owned: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
        self._table: IntArray = np.empty((0, 2), dtype=np.int64)
        self.grow()

    @property
    def count(self) -> int:
        return int(self.header[SLOT_COUNT])

    @property
    def cells(self) -> IntArray:
        return self._cells[: self.count]

    @property
    def owned(self) -> npt.NDArray[np.bool_]:
        return self._owned[: self.count].view(np.bool_)

    @property
    def cells_at(self) -> int:
        """The address of `cells`, for kernels."""
        return int(self.header[SLOT_CELLS_AT])

    def restore(self, cells: IntArray, owned: npt.NDArray[np.bool_]) -> None:
        """Take the cells of a snapshot, in slot order."""
        self.header[SLOT_COUNT] = 0
        self.grow(len(cells))
        self._cells[: len(cells)] = cells
        self._owned[: len(cells)] = owned
        self.header[SLOT_COUNT] = len(cells)
        self._table[:, 0] = -1
        self._fill()

    def grow(self, needed: int = 0) -> None:
        """Room for more cells, at least `needed`."""
        header = self.header
        room = max(_FIRST_ROOM, needed, int(header[SLOT_ROOM]) * 5 // 4)
        self._cells = grown(self._cells, room, self.count)
        self._owned = grown(self._owned, room, self.count)
        header[SLOT_ROOM], header[SLOT_CELLS_AT] = room, self._cells.ctypes.data
        header[SLOT_OWNED_AT] = self._owned.ctypes.data
        if 2 * room > len(self._table):
            self._table = table_of(2 * room)
            header[SLOT_TABLE_AT], header[SLOT_MASK] = self._table.ctypes.data, len(self._table) - 1
            self._fill()

    def _fill(self) -> None:
        header = self.header
        row_kernels.fill_table(header[SLOT_TABLE_AT], header[SLOT_MASK], header[SLOT_CELLS_AT], 0, self.count)

    @property
    def nbytes(self) -> int:
        return self._cells.nbytes + self._owned.nbytes + self._table.nbytes


def table_of(entries: int) -> IntArray:
    """An empty table of (cell, number) pairs: int64[power of two, 2] with room for `entries` at most half full."""
    table = np.empty((1 << max(4, (entries - 1).bit_length()), 2), dtype=np.int64)
    table[:, 0] = -1
    return table


def grown(array: npt.NDArray[A], room: int, used: int) -> npt.NDArray[A]:
    """A copy of the first `used` elements with room for more. Spare room is virtual memory until it is written."""
    larger: npt.NDArray[Any] = np.empty(room, dtype=array.dtype)
    larger[:used] = array[:used]
    return larger
