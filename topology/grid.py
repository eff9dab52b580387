"""Point -> cell, and cell -> parent, children, neighbours: a uniform grid of squares computed by pure arithmetic.

A cell id is an int64 that nests:

    bits 56..62  level   0 is the base cell; a cell of level k covers 2**k x 2**k base cells
    bits  0..53  morton  column and row interleaved, column in the even bits (Morton 1966, the "Z order")

so the parent is a shift, and the base cells of one parent are one range of ids. `NO_CELL` (-1) stands for "outside the
city", for points without coordinates (NaN), and in every answer for which there is no cell; all functions accept it.
Two coordinates swapped put a Chinese city's point outside its grid, hence at `NO_CELL`.

Cells are closed-open: the western and southern edge belong to the cell, the eastern and northern one to the next.
Coordinates are WGS-84 degrees, longitude before latitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import SettingsError
from topology.jit import inlined, kernel

NO_CELL: Final = -1
MAX_AXIS: Final = 1 << 27
"""Columns and rows a grid may have: 2 x 27 bits of Morton code leave the level its own byte."""
MAX_LEVEL: Final = 27

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_LEVEL_SHIFT: Final = 56
_MORTON_MASK: Final = (1 << _LEVEL_SHIFT) - 1
# WGS-84 ellipsoid (NGA.STND.0036). CGCS2000's differs from it by 0.1 mm in the semi-minor axis.
_SEMI_MAJOR_M: Final = 6_378_137.0
_FLATTENING: Final = 1.0 / 298.257223563
# A box whose size is a whole number of steps must not get one more column because of a rounding error.
_WHOLE_STEP_SLACK: Final = 1e-6


class GridParams(NamedTuple):
    """A grid's numbers, in the shape that kernels take: `cell_of(lon, lat, grid.params)`."""

    origin_lon: float
    origin_lat: float
    step_lon_deg: float
    step_lat_deg: float
    nx: int
    ny: int


@dataclass(frozen=True, slots=True)
class Grid:
    """`nx` x `ny` base cells from the south-west corner (`origin_lon`, `origin_lat`), steps in degrees.

    Two grids with equal numbers give equal cell ids; ids of different grids must never meet.
    """

    origin_lon: float
    origin_lat: float
    step_lon_deg: float
    step_lat_deg: float
    nx: int
    ny: int

    def __post_init__(self) -> None:
        problems = []
        for name in ("origin_lon", "origin_lat", "step_lon_deg", "step_lat_deg"):
            value = getattr(self, name)
            if not math.isfinite(value):
                problems.append(f"grid: {name}={value} must be a finite number of degrees")
            elif name.startswith("step") and value <= 0:
                problems.append(f"grid: {name}={value} must be more than 0 degrees")
        for name in ("nx", "ny"):
            count = getattr(self, name)
            if not 1 <= count <= MAX_AXIS:
                problems.append(f"grid: {name}={count} must be from 1 to {MAX_AXIS}; larger cells make it smaller")
        if problems:
            raise SettingsError(problems)

    @classmethod
    def metric(cls, west: float, south: float, east: float, north: float, cell_m: float = 100.0) -> Grid:
        """Cells of about `cell_m` metres, square at the box's middle latitude; they cover the whole box.

        The step in degrees is constant, so cells get narrower towards the pole: in a city 1 degree high at 31 N the
        width is off by at most 0.5 % at its edges. The lengths of a degree are those of the ellipsoid, from its radii
        of curvature in the meridian and in the prime vertical (J. P. Snyder, Map Projections: A Working Manual, USGS
        Professional Paper 1395, 1987, chapter 4).
        """
        _check_box(west, south, east, north, cell_m, "cell_m")
        metres_lon, metres_lat = metres_per_degree((south + north) / 2)
        return cls._covering(west, south, east, north, cell_m / metres_lon, cell_m / metres_lat)

    @classmethod
    def degrees(cls, west: float, south: float, east: float, north: float, step_deg: float) -> Grid:
        """Cells of `step_deg` degrees both ways; they cover the whole box."""
        _check_box(west, south, east, north, step_deg, "step_deg")
        return cls._covering(west, south, east, north, step_deg, step_deg)

    @classmethod
    def _covering(cls, west: float, south: float, east: float, north: float, step_lon: float, step_lat: float) -> Grid:
        nx = max(1, math.ceil((east - west) / step_lon - _WHOLE_STEP_SLACK))
        ny = max(1, math.ceil((north - south) / step_lat - _WHOLE_STEP_SLACK))
        return cls(west, south, step_lon, step_lat, nx, ny)

    @property
    def params(self) -> GridParams:
        """The same numbers for kernels."""
        return GridParams(
            float(self.origin_lon),
            float(self.origin_lat),
            float(self.step_lon_deg),
            float(self.step_lat_deg),
            int(self.nx),
            int(self.ny),
        )

    # --- points and cells ---------------------------------------------------------------------------------------

    def cell(self, lon: float, lat: float) -> int:
        """Base cell of one point, `NO_CELL` outside the grid."""
        return int(cell_of(float(lon), float(lat), self.params))

    def cells_of(self, lon: FloatArray, lat: FloatArray) -> IntArray:
        """Base cells int64[n] of points, `NO_CELL` where a point is outside the grid or NaN."""
        out = np.empty(len(lon), dtype=np.int64)
        fill_cells(lon, lat, self.params, out)
        return out

    def centre(self, cell: int) -> tuple[float, float]:
        """(lon, lat) of a cell's middle, of any level; (NaN, NaN) for `NO_CELL`."""
        west, south, east, north = self.bounds(cell)
        return (west + east) / 2, (south + north) / 2

    def centres(self, cells: IntArray) -> tuple[FloatArray, FloatArray]:
        """(lon, lat), each float64[n], of the cells' middles; NaN for `NO_CELL`."""
        lon = np.empty(len(cells), dtype=np.float64)
        lat = np.empty(len(cells), dtype=np.float64)
        _fill_centres(cells, self.params, lon, lat)
        return lon, lat

    def bounds(self, cell: int) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees, of any level; NaN for `NO_CELL`.

        A parent on the city's eastern or northern edge may reach beyond the grid.
        """
        if cell < 0:
            return math.nan, math.nan, math.nan, math.nan
        column, row = decode_cell(cell)
        side = 1 << level_of(cell)
        return (
            self.origin_lon + column * side * self.step_lon_deg,
            self.origin_lat + row * side * self.step_lat_deg,
            self.origin_lon + (column + 1) * side * self.step_lon_deg,
            self.origin_lat + (row + 1) * side * self.step_lat_deg,
        )

    def contains(self, cell: int) -> bool:
        """Whether a cell of any level has at least one base cell of this grid."""
        if cell < 0:
            return False
        column, row = decode_cell(cell)
        level = level_of(cell)
        return column << level < self.nx and row << level < self.ny

    # --- relations between cells that end at the city's edge --------------------------------------------------------

    def neighbours(self, cell: int, rings: int = 1) -> IntArray:
        """The other cells of the grid within `rings`, int64[<= (2 rings + 1)**2 - 1], south-west first."""
        around = neighbour_cells(np.array([cell], dtype=np.int64), rings)[0]
        return np.array([int(c) for c in around if c != cell and self.contains(int(c))], dtype=np.int64)


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Length in metres of one degree of longitude and of latitude at `lat` (see `Grid.metric` for the source)."""
    e2 = _FLATTENING * (2.0 - _FLATTENING)
    phi = math.radians(lat)
    root = math.sqrt(1.0 - e2 * math.sin(phi) ** 2)
    prime_vertical = _SEMI_MAJOR_M / root
    meridian = _SEMI_MAJOR_M * (1.0 - e2) / root**3
    return math.radians(prime_vertical * math.cos(phi)), math.radians(meridian)


# --- cell arithmetic: no grid needed
# ------------------------------------------------------------------------------------


def parent(cell: int, levels: int = 1) -> int:
    """The cell `levels` up that holds `cell`; `NO_CELL` of `NO_CELL`."""
    return int(parent_of(cell, levels))


def children(cell: int, levels: int = 1) -> range:
    """The cells `levels` down, as one range of ids (some may lie off the grid's edge); empty for `NO_CELL`."""
    if cell < 0:
        return range(0)
    level = level_of(cell) - levels
    if levels < 0 or level < 0:
        raise ValueError(f"cell of level {level_of(cell)} has no children {levels} levels down")
    first = level << _LEVEL_SHIFT | (cell & _MORTON_MASK) << 2 * levels
    return range(first, first + (1 << 2 * levels))


def parents_of(cells: IntArray, levels: int = 1) -> IntArray:
    """`parent` of int64[n] cells."""
    out = np.empty(len(cells), dtype=np.int64)
    _fill_parents(cells, levels, out)
    return out


def neighbour_cells(cells: IntArray, rings: int) -> IntArray:
    """int64[n, (2 rings + 1)**2]: each cell with all cells within `rings` (Chebyshev), row by row from the south-west.

    The cell itself is in the middle. `NO_CELL` stands where a column or row would be negative; the eastern and northern
    edge are not known here, so cells beyond them appear (`Grid.contains` tells; no observation ever has such a cell).
    """
    if rings < 0:
        raise ValueError(f"rings={rings} must not be negative")
    out = np.empty((len(cells), (2 * rings + 1) ** 2), dtype=np.int64)
    _fill_neighbours(cells, rings, out)
    return out


def ring_distance(a: int, b: int) -> int:
    """How many rings apart two cells of one level are (0 = the same); -1 for `NO_CELL` or different levels."""
    if a < 0 or b < 0 or level_of(a) != level_of(b):
        return -1
    (ax, ay), (bx, by) = decode_cell(a), decode_cell(b)
    return max(abs(ax - bx), abs(ay - by))


def decode_cell(cell: int) -> tuple[int, int]:
    """(column, row) of a cell in units of its own level."""
    column, row = morton_decode(cell & _MORTON_MASK)
    return int(column), int(row)


# --- kernels, callable from other kernels -----------------------------------------------------------------------------


@kernel
def spread_bits(value: int) -> int:
    """Bit i of a number < 2**27 moved to bit 2i (S. E. Anderson, Bit Twiddling Hacks, "interleave bits")."""
    v = np.int64(value)
    v = (v | (v << 16)) & 0x0000FFFF0000FFFF
    v = (v | (v << 8)) & 0x00FF00FF00FF00FF
    v = (v | (v << 4)) & 0x0F0F0F0F0F0F0F0F
    v = (v | (v << 2)) & 0x3333333333333333
    return (v | (v << 1)) & 0x5555555555555555  # type: ignore[return-value]  # np.int64, which compiled code takes for int


@kernel
def gather_bits(value: int) -> int:
    """Bit 2i moved to bit i, odd bits dropped: the inverse of `spread_bits`."""
    v = np.int64(value) & 0x5555555555555555
    v = (v | (v >> 1)) & 0x3333333333333333
    v = (v | (v >> 2)) & 0x0F0F0F0F0F0F0F0F
    v = (v | (v >> 4)) & 0x00FF00FF00FF00FF
    v = (v | (v >> 8)) & 0x0000FFFF0000FFFF
    return (v | (v >> 16)) & 0x00000000FFFFFFFF  # type: ignore[return-value]  # np.int64, which compiled code takes for int


@kernel
def morton_encode(column: int, row: int) -> int:
    """Morton code of a column and a row, each from 0 to 2**27 - 1: also the id of that base cell (level 0)."""
    return spread_bits(column) | (spread_bits(row) << 1)


@kernel
def morton_decode(morton: int) -> tuple[int, int]:
    """(column, row) of a Morton code."""
    return gather_bits(morton), gather_bits(morton >> 1)


@kernel
def level_of(cell: int) -> int:
    """Level of a cell that is not `NO_CELL`."""
    return cell >> _LEVEL_SHIFT


@kernel
def parent_of(cell: int, levels: int) -> int:
    """See `parent`."""
    if cell < 0:
        return NO_CELL
    level = (cell >> _LEVEL_SHIFT) + levels
    return (level << _LEVEL_SHIFT) | ((cell & _MORTON_MASK) >> (2 * levels))


@inlined
def cell_of(lon: float, lat: float, grid: GridParams) -> int:
    """Base cell of one point, `NO_CELL` outside the grid or for NaN."""
    x = (lon - grid.origin_lon) / grid.step_lon_deg
    y = (lat - grid.origin_lat) / grid.step_lat_deg
    # written so that NaN fails it; x and y are not negative, so int() rounds down
    if x >= 0.0 and y >= 0.0 and x < grid.nx and y < grid.ny:
        return morton_encode(int(x), int(y))
    return NO_CELL


@kernel
def fill_cells(lon: FloatArray, lat: FloatArray, grid: GridParams, out: IntArray) -> None:
    """`cell_of` for arrays of one length, into `out`."""
    for i in range(out.shape[0]):
        out[i] = cell_of(lon[i], lat[i], grid)


@kernel
def _fill_centres(cells: IntArray, grid: GridParams, lon: FloatArray, lat: FloatArray) -> None:
    for i in range(cells.shape[0]):
        cell = cells[i]
        if cell < 0:
            lon[i] = np.nan
            lat[i] = np.nan
        else:
            column, row = morton_decode(cell & _MORTON_MASK)
            side = 1 << level_of(cell)
            lon[i] = grid.origin_lon + (column + 0.5) * side * grid.step_lon_deg
            lat[i] = grid.origin_lat + (row + 0.5) * side * grid.step_lat_deg


@kernel
def _fill_parents(cells: IntArray, levels: int, out: IntArray) -> None:
    for i in range(cells.shape[0]):
        out[i] = parent_of(cells[i], levels)


@kernel
def _fill_neighbours(cells: IntArray, rings: int, out: IntArray) -> None:
    for i in range(cells.shape[0]):
        cell = cells[i]
        if cell < 0:
            out[i, :] = NO_CELL
            continue
        level = level_of(cell)
        limit = MAX_AXIS >> level
        column, row = morton_decode(cell & _MORTON_MASK)
        k = 0
        for y in range(row - rings, row + rings + 1):
            for x in range(column - rings, column + rings + 1):
                if x >= 0 and y >= 0 and x < limit and y < limit:
                    out[i, k] = (level << _LEVEL_SHIFT) | morton_encode(x, y)
                else:
                    out[i, k] = NO_CELL
                k += 1


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_box(west: float, south: float, east: float, north: float, step: float, step_name: str) -> None:
    problems = []
    if not (-180 <= west < east <= 180):
        problems.append(f"grid: west={west} and east={east} must be degrees with -180 <= west < east <= 180")
    if not (-90 <= south < north <= 90):
        hint = "; longitude and latitude look swapped" if 90 < max(abs(south), abs(north)) <= 180 else ""
        problems.append(f"grid: south={south} and north={north} must be degrees with -90 <= south < north <= 90{hint}")
    if not (step > 0 and math.isfinite(step)):
        problems.append(f"grid: {step_name}={step} must be a finite number above 0")
    if problems:
        raise SettingsError(problems)
