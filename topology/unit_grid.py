"""Unit grid codes (单元网格) where a city has none of its own: 15 digits for a jurisdiction and a cell it touches.

    310104 003 017 042      6 digits district, 3 subdistrict (000: none known), 3 block, 3 unit
    310104 003 016 042      in a community of 12 digits: its own code and 3 digits unit

The form is that of GB/T 30428.2; the numbers are ours and no official ones. A unit is a cell of about 100 m; where the
grid's cells are smaller, 2**k x 2**k of them, so that a unit is as near to 100 m as can be. A block is `BLOCK_SIDE` x
`BLOCK_SIDE` units of the grid that the jurisdiction touches. Blocks in a jurisdiction, and units in a block, are
numbered from 001 west to east, row after row from north to south. A unit's number is its place in its block, whether or
not the jurisdiction touches all of it, so that a border that is moved within its blocks changes no code.

What has more than 999 blocks gets blocks of `WIDE_BLOCK_SIDE`, and what is too large even for these units of twice the
side; a community of more than 999 units too.

A cell that two jurisdictions touch is a unit of each, with two codes. So a code always says one jurisdiction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from shapely.geometry.base import BaseGeometry

from topology.cell_table import touched_cells
from topology.grid import Grid, decode_cell, metres_per_degree

UNIT_M: Final = 100.0
BLOCK_SIDE: Final = 16
WIDE_BLOCK_SIDE: Final = 31  # 31 x 31 = 961 units, the largest square that three digits can number
MAX_NUMBER: Final = 999
DISTRICT_DIGITS: Final = 6
SUBDISTRICT_DIGITS: Final = 9
COMMUNITY_DIGITS: Final = 12

IntArray = npt.NDArray[np.int64]


def is_official(code: str) -> bool:
    """Whether a code is one that unit codes can be built on."""
    lengths = (DISTRICT_DIGITS, SUBDISTRICT_DIGITS, COMMUNITY_DIGITS)
    return len(code) in lengths and code.isascii() and code.isdigit()


@dataclass(frozen=True, slots=True)
class UnitGrid:
    """The units of one jurisdiction. `numbered` int64[n] are the keys that have a number, in the order of numbers.

    A key is (row from the north) * `width` + column, of blocks, or of units where `side` is 0 (a community).
    """

    prefix: str  # what stands before the numbers: 9 digits, or 12 of a community
    grid: Grid
    shift: int  # a unit is a cell this many levels up
    side: int  # of a block, in units; 0: no blocks
    width: int
    height: int
    numbered: IntArray

    @classmethod
    def of(cls, code: str, area: BaseGeometry, grid: Grid) -> UnitGrid | None:
        """Number the units of a jurisdiction with an official code; None for another code, or outside the grid."""
        if not is_official(code):
            return None
        prefix = code if len(code) > DISTRICT_DIGITS else code + "000"
        shift = _unit_shift(grid)
        while True:
            touched = touched_cells(grid, area, shift)
            if touched is None:
                return None
            rows, columns = np.nonzero(touched.edge | touched.whole)
            rows, columns = rows + touched.south, columns + touched.west
            sides = (0,) if len(code) == COMMUNITY_DIGITS else (BLOCK_SIDE, WIDE_BLOCK_SIDE)
            for side in sides:
                step = max(side, 1)
                width, height = _count(grid.nx, shift, step), _count(grid.ny, shift, step)
                numbered = np.unique((height - 1 - rows // step) * width + columns // step)
                if len(numbered) <= MAX_NUMBER:
                    return cls(prefix, grid, shift, side, width, height, numbered)
            shift += 1

    def code(self, cell: int) -> str | None:
        """The unit code of a base cell; None where the jurisdiction does not touch it, and for `NO_CELL`."""
        if not self.grid.contains(cell):
            return None
        column, row = decode_cell(cell)
        column, row = column >> self.shift, row >> self.shift
        step = max(self.side, 1)
        key = (self.height - 1 - row // step) * self.width + column // step
        number = int(np.searchsorted(self.numbered, key))
        if number == len(self.numbered) or self.numbered[number] != key:
            return None
        if self.side == 0:
            return f"{self.prefix}{number + 1:03d}"
        unit = (self.side - 1 - row % self.side) * self.side + column % self.side + 1
        return f"{self.prefix}{number + 1:03d}{unit:03d}"


def _unit_shift(grid: Grid) -> int:
    """Levels up from the base cell to the one whose side is nearest to `UNIT_M`, as a ratio."""
    metres_lon, metres_lat = metres_per_degree(grid.origin_lat + grid.ny * grid.step_lat_deg / 2)
    side_m = math.sqrt(grid.step_lon_deg * metres_lon * grid.step_lat_deg * metres_lat)
    return max(0, round(math.log2(UNIT_M / side_m)))


def _count(cells: int, shift: int, side: int) -> int:
    return (((cells + (1 << shift) - 1) >> shift) + side - 1) // side
