"""Areas over a grid -> one table: the area that owns a whole cell, or the few that an exact test must choose between.

The areas come in their order of precedence: the first that covers a point owns it. For each cell the table holds

- `row >= 0`: every point of the cell belongs to that area;
- `NOBODY` (-1): no area touches the cell;
- `-2 - k`: a border cell, with the k-th of the `topology.border_lists`: in precedence, the areas that touch it, up to
  the first that holds it whole.

Making it tests no cell one by one: edges are cut into grid rows and then into runs of columns (every cell an edge
touches), and the rest is filled by the parity of crossings along each row's middle line (even-odd rule, hence holes and
several parts need no care). Edges are taken 1e-6 of a cell too wide, which is far above what rounding can do here (the
error of a vertex is below 1e-10 cells), so a cell that counts as whole is whole also for points on its very edge.

A grid of more than `MAX_TABLE_CELLS` cells gets a table over parent cells: smaller, and more points are tested exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from topology.border_lists import NOBODY, BorderLists
from topology.grid import MAX_AXIS, Grid, morton_decode
from topology.jit import kernel

FIRST_BORDER: Final = -2
MAX_TABLE_CELLS: Final = 1 << 24
"""64 MB of table; Shanghai in cells of 100 m has 1.8 million."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RowArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

_SLACK_CELLS: Final = 1e-6
_BASE_CELLS: Final = MAX_AXIS * MAX_AXIS


class Touched(NamedTuple):
    """The cells that one area touches: a window of the table and two masks bool[rows, columns] over it.

    `south` and `west` are the window's first table row and column. `edge`: a border of the area runs through the cell;
    `whole`: the cell lies inside it. Pair j says that edge lines[line[j]] (float64[m, 4]: lon, lat of both ends)
    touches the cell (y[j], x[j]) of the window.
    """

    south: int
    west: int
    edge: BoolArray
    whole: BoolArray
    lines: FloatArray
    line: IntArray
    y: IntArray
    x: IntArray


@dataclass(frozen=True, slots=True)
class CellTable:
    """See above. `values` int32[rows, columns], south-west first, over parent cells `shift` levels up."""

    values: RowArray
    shift: int
    lists: BorderLists

    def look_up(self, cells: IntArray, lon: FloatArray, out: RowArray) -> IntArray:
        """Fill `out` int32[n] with the table's values of base cells int64[n]; returns the indices of border rows.

        `NOBODY` for `NO_CELL`, for a cell of another grid or level, and where `lon` is NaN.
        """
        border = np.empty(len(cells), dtype=np.int64)
        count = _look_up(cells, lon, self.values, self.shift, out, border)
        return border[:count]


def table_shift(grid: Grid) -> int:
    """How many levels up the cells of a grid's table are."""
    shift = 0
    while _axis(grid.nx, shift) * _axis(grid.ny, shift) > MAX_TABLE_CELLS:
        shift += 1
    return shift


def build_table(grid: Grid, areas: Sequence[tuple[int, BaseGeometry]]) -> CellTable:
    """The table of (row, polygon or multipolygon in WGS-84 degrees), in order of precedence. Rows are not negative."""
    shift = table_shift(grid)
    values = np.full((_axis(grid.ny, shift), _axis(grid.nx, shift)), NOBODY, dtype=np.int32)
    undecided = np.ones(values.shape, dtype=np.bool_)
    listed = np.zeros(values.shape, dtype=np.bool_)
    places = [np.empty(0, np.int64)]  # of list entries: the number of the area and the cell
    cells = [np.empty(0, np.int64)]
    ends = [np.empty(0, np.bool_)]
    line_places = [np.empty(0, np.int64)]  # of edges in border cells, likewise
    line_cells = [np.empty(0, np.int64)]
    lines = [np.empty((0, 4), np.float64)]
    width = values.shape[1]
    for place, (row, area) in enumerate(areas):
        touched = touched_cells(grid, area, shift)
        if touched is None:
            continue
        window = np.s_[
            touched.south : touched.south + touched.edge.shape[0], touched.west : touched.west + touched.edge.shape[1]
        ]
        edge = touched.edge & undecided[window]
        whole = touched.whole & undecided[window]
        values[window][whole] = row  # what is listed becomes a border cell in the end
        ending = whole & listed[window]
        y, x = np.nonzero(edge | ending)
        cells.append((y + touched.south) * width + (x + touched.west))
        places.append(np.full(len(x), place))
        ends.append(ending[y, x])
        open_pairs = edge[touched.y, touched.x]
        line_cells.append(((touched.y + touched.south) * width + (touched.x + touched.west))[open_pairs])
        line_places.append(np.full(len(line_cells[-1]), place))
        lines.append(touched.lines[touched.line[open_pairs]])
        listed[window] |= edge
        undecided[window] &= ~whole
    cell, place_of = np.concatenate(cells), np.concatenate(places)
    order = np.argsort(cell, kind="stable")  # keeps the order of precedence within a cell
    cell, place_of = cell[order], place_of[order]
    border, starts = np.unique(cell, return_index=True)
    values.reshape(-1)[border] = FIRST_BORDER - np.arange(len(border), dtype=np.int32)
    starts = np.append(starts, len(cell)).astype(np.int64)
    # edges in the order of the entries they belong to
    entry_key = cell * len(areas) + place_of
    line_key = np.concatenate(line_cells) * len(areas) + np.concatenate(line_places)
    line_order = np.argsort(line_key, kind="stable")
    edge_starts = np.append(np.searchsorted(line_key[line_order], entry_key), len(line_key)).astype(np.int64)
    side = 1 << shift
    middle_lon = np.float64(grid.origin_lon) + (border % width + 0.5) * np.float64(side * grid.step_lon_deg)
    middle_lat = np.float64(grid.origin_lat) + (border // width + 0.5) * np.float64(side * grid.step_lat_deg)
    in_list = np.repeat(np.arange(len(border)), np.diff(starts))
    shapes = np.array([area for _, area in areas] + [None], dtype=object)[:-1]
    row_of = np.array([row for row, _ in areas], dtype=np.int32)
    lists = BorderLists(
        starts=starts,
        rows=row_of[place_of],
        whole=np.concatenate(ends)[order][starts[1:] - 1],
        middle_lon=middle_lon,
        middle_lat=middle_lat,
        inside=shapely.intersects_xy(shapes[place_of], middle_lon[in_list], middle_lat[in_list]),
        edge_starts=edge_starts,
        edges=np.concatenate(lines)[line_order],
    )
    return CellTable(values, shift, lists)


def touched_cells(grid: Grid, area: BaseGeometry, shift: int = 0) -> Touched | None:
    """The cells of a grid, `shift` levels up, that a polygon or multipolygon touches; None if there are none."""
    lines = _edges(area)
    if not len(lines):
        return None
    x0, y0, x1, y1 = _in_cells(lines, grid, shift)
    nx, ny = _axis(grid.nx, shift), _axis(grid.ny, shift)
    low_x, high_x = min(x0.min(), x1.min()) - _SLACK_CELLS, max(x0.max(), x1.max()) + _SLACK_CELLS
    low_y, high_y = y0.min() - _SLACK_CELLS, y1.max() + _SLACK_CELLS
    if high_x < 0 or low_x > nx or high_y < 0 or low_y > ny:
        return None
    west, east = _clipped(low_x, nx), _clipped(high_x, nx)
    south, north = _clipped(low_y, ny), _clipped(high_y, ny)
    width, height = east - west + 1, north - south + 1
    line, y, x = _crossed(x0 - west, y0 - south, x1 - west, y1 - south, height, width)
    edge = np.zeros((height, width), dtype=np.bool_)
    edge[y, x] = True
    whole = _filled(x0 - west, y0 - south, x1 - west, y1 - south, height, width)
    whole &= ~edge
    return Touched(south, west, edge, whole, lines, line, y, x)


def _axis(count: int, shift: int) -> int:
    return (count + (1 << shift) - 1) >> shift


def _clipped(value: float, count: int) -> int:
    return int(min(max(np.floor(value), 0), count - 1))


def _edges(area: BaseGeometry) -> FloatArray:
    """All edges of an area as float64[m, 4]: lon, lat of both ends."""
    coordinates, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(area)), return_index=True)
    lines: FloatArray = np.column_stack([coordinates[:-1], coordinates[1:]])[ring[1:] == ring[:-1]]
    return lines


def _in_cells(lines: FloatArray, grid: Grid, shift: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Edges as (x0, y0, x1, y1) in table cells, the southern end first."""
    side = float(1 << shift)
    x = (lines[:, 0::2] - grid.origin_lon) / grid.step_lon_deg / side
    y = (lines[:, 1::2] - grid.origin_lat) / grid.step_lat_deg / side
    turned = (y[:, 0] > y[:, 1]).astype(np.int64)
    every = np.arange(len(lines))
    return x[every, turned], y[every, turned], x[every, 1 - turned], y[every, 1 - turned]


def _crossed(
    x0: FloatArray, y0: FloatArray, x1: FloatArray, y1: FloatArray, height: int, width: int
) -> tuple[IntArray, IntArray, IntArray]:
    """(edge, row, column) of every cell of a window that an edge touches, edges taken `_SLACK_CELLS` too wide."""
    first = np.clip(np.floor(y0 - _SLACK_CELLS), 0, height).astype(np.int64)
    last = np.clip(np.floor(y1 + _SLACK_CELLS), -1, height - 1).astype(np.int64)
    edge, row = _runs(first, last)
    # the part of the edge within the grid row, and the columns between its ends
    low = np.maximum(y0[edge], row - _SLACK_CELLS)
    high = np.minimum(y1[edge], row + 1 + _SLACK_CELLS)
    rise = y1[edge] - y0[edge]
    level = rise <= 0.0
    run = x1[edge] - x0[edge]
    safe = np.where(level, 1.0, rise)
    at_low = x0[edge] + np.where(level, 0.0, (low - y0[edge]) / safe) * run
    at_high = x0[edge] + np.where(level, 1.0, (high - y0[edge]) / safe) * run
    start = np.clip(np.floor(np.minimum(at_low, at_high) - _SLACK_CELLS), 0, width).astype(np.int64)
    stop = np.clip(np.floor(np.maximum(at_low, at_high) + _SLACK_CELLS), -1, width - 1).astype(np.int64)
    part, column = _runs(start, stop)
    return edge[part], row[part], column


def _filled(x0: FloatArray, y0: FloatArray, x1: FloatArray, y1: FloatArray, height: int, width: int) -> BoolArray:
    """bool[height, width]: whether a cell's middle is inside, by the edges that cross its row's middle line."""
    first = np.clip(np.ceil(y0 - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y1 - 0.5) - 1, -1, height - 1).astype(np.int64)
    edge, row = _runs(first, last)
    crossing = x0[edge] + (row + 0.5 - y0[edge]) / (y1[edge] - y0[edge]) * (x1[edge] - x0[edge])
    column = np.clip(np.floor(crossing - 0.5) + 1, 0, width).astype(np.int64)  # the first middle to its east
    flips = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).astype(np.uint8) & 1
    inside = np.bitwise_xor.accumulate(flips.reshape(height, width + 1)[:, :width], axis=1)
    return inside.astype(np.bool_)


def _runs(first: IntArray, last: IntArray) -> tuple[IntArray, IntArray]:
    """(index, value) of every whole number from first[i] to last[i], both included; none where last < first."""
    counts = np.maximum(last - first + 1, 0)
    index = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - before[index] + first[index]


@kernel
def _look_up(cells: IntArray, lon: FloatArray, values: RowArray, shift: int, out: RowArray, border: IntArray) -> int:
    rows, columns = values.shape
    count = 0
    for i in range(len(cells)):
        cell = cells[i]
        found = NOBODY
        if cell >= 0 and cell < _BASE_CELLS and lon[i] == lon[i]:
            column, row = morton_decode(cell)
            column >>= shift
            row >>= shift
            if column < columns and row < rows:
                found = values[row, column]
                if found <= FIRST_BORDER:
                    border[count] = i
                    count += 1
        out[i] = found
    return count
