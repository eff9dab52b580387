"""Border cells: which of the areas that touch a cell owns a point of it, by the few edges that run through the cell.

A point is inside an area if the middle of its cell is, unless an odd number of the area's edges lies between the two;
only edges that touch the cell can. Whether an edge lies between them is told by four orientation tests. Each is certain
when its determinant is larger than its rounding error can be (J. R. Shewchuk, Adaptive Precision Floating-Point
Arithmetic and Fast Robust Geometric Predicates, 1997: the first of his filters). Where one that matters is not certain,
as for a point on a border, the answer is `UNSURE`, and the caller asks shapely. So nothing is decided by a tolerance.

This costs a hundredth of testing each point against whole polygons when there are thousands of them: those do not fit
into the processor's caches, the edges of a cell do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from topology.jit import kernel

NOBODY: Final = -1
UNSURE: Final = -2

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RowArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

_ORIENTATION_ERROR: Final = (3.0 + 16.0 * 2.0**-53) * 2.0**-53  # Shewchuk's ccwerrboundA


@dataclass(frozen=True, slots=True)
class BorderLists:
    """Border cell k's areas, in precedence, are entries starts[k] to starts[k + 1].

    Entry e is area `rows[e]`; `inside[e]` says whether the cell's middle (`middle_lon[k]`, `middle_lat[k]`) is in it,
    and edges[edge_starts[e]:edge_starts[e + 1]] (float64[m, 4]: lon, lat of both ends, in degrees) are its edges that
    touch the cell. Where `whole[k]` is set, the cell's last area holds all of it.
    """

    starts: IntArray
    rows: RowArray
    whole: BoolArray
    middle_lon: FloatArray
    middle_lat: FloatArray
    inside: BoolArray
    edge_starts: IntArray
    edges: FloatArray

    def owners(self, lists: IntArray, lon: FloatArray, lat: FloatArray) -> RowArray:
        """The first area int32[n] of each point's list that covers it; `NOBODY`; `UNSURE` where only shapely can say.

        `lists` int64[n] says in which border cell each point is.
        """
        out = np.empty(len(lists), dtype=np.int32)
        _find_owners(
            lists, lon, lat, self.starts, self.rows, self.whole, self.middle_lon, self.middle_lat, self.inside,
            self.edge_starts, self.edges, out,
        )  # fmt: skip
        return out


@kernel
def _orientation(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> int:
    """1 if c is left of the line from a to b, -1 if right; 0 if it is on it or rounding might decide."""
    left = (ax - cx) * (by - cy)
    right = (ay - cy) * (bx - cx)
    determinant = left - right
    error = _ORIENTATION_ERROR * (abs(left) + abs(right))
    if determinant > error:
        return 1
    if determinant < -error:
        return -1
    return 0


@kernel
def _find_owners(
    lists: IntArray,
    lon: FloatArray,
    lat: FloatArray,
    starts: IntArray,
    rows: RowArray,
    whole: BoolArray,
    middle_lon: FloatArray,
    middle_lat: FloatArray,
    inside: BoolArray,
    edge_starts: IntArray,
    edges: FloatArray,
    out: RowArray,
) -> None:
    for i in range(len(lists)):
        k = lists[i]
        px, py, mx, my = lon[i], lat[i], middle_lon[k], middle_lat[k]
        owner = NOBODY
        for entry in range(starts[k], starts[k + 1]):
            if whole[k] and entry + 1 == starts[k + 1]:
                owner = rows[entry]
                break
            is_in = inside[entry]
            sure = True
            for edge in range(edge_starts[entry], edge_starts[entry + 1]):
                ax, ay, bx, by = edges[edge, 0], edges[edge, 1], edges[edge, 2], edges[edge, 3]
                point_side = _orientation(ax, ay, bx, by, px, py)
                middle_side = _orientation(ax, ay, bx, by, mx, my)
                if point_side == middle_side and point_side != 0:
                    continue
                first_side = _orientation(px, py, mx, my, ax, ay)
                second_side = _orientation(px, py, mx, my, bx, by)
                if first_side == second_side and first_side != 0:
                    continue
                if point_side == 0 or middle_side == 0 or first_side == 0 or second_side == 0:
                    sure = False
                    break
                is_in = not is_in
            if not sure:
                owner = UNSURE
                break
            if is_in:
                owner = rows[entry]
                break
        out[i] = owner
