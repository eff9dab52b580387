"""Do the boundaries fit together: do neighbours overlap, do children lie in their parent and fill it?

Borders that were digitised twice never agree to the metre, so two kinds of misfit are told apart, piece by piece. A
sliver is smaller than `SLIVER_M2` or narrower than `SLIVER_WIDTH_M` on average (twice its area through its perimeter),
and at most a tenth of the smaller jurisdiction; slivers are warned of in one line a level. Anything more is said in its
own words: an overlap is a problem, for it leaves open who is in charge; a gap or a child that reaches out of its parent
is a warning. A quarter of a cell is wider than any survey of these borders is wrong by, and a wrong datum (450 m in
Shanghai) is far above it: where another datum would mend a misfit, it is a problem that names that datum.

Areas are in square metres at the latitude of the grid's middle, within a percent of the truth in one city.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from schemas.datums import Datum
from topology.boundary_file import Boundary
from topology.boundary_shapes import DATUM_TITLES, SHIFTED_DATUMS, wgs84
from topology.grid import Grid, metres_per_degree
from topology.levels import Level, overlap_in_time

SLIVER_M2: Final = 10_000.0  # one cell of the ten-thousand-metre unit grid
SLIVER_WIDTH_M: Final = 25.0
SLIVER_SHARE: Final = 0.1
NOISE_M2: Final = 1.0  # what converting the vertices of a shared border leaves between them, and less than anyone means

Geometries = npt.NDArray[Any]  # of shapely geometries

_BEGINNING: Final = -(1 << 62)
_MENDED: Final = 0.2  # another datum explains a misfit if less than this share of it is left
_ASTRAY: Final = 0.5


def check_boundaries(
    boundaries: Sequence[Boundary], parents: Sequence[str | None], grid: Grid
) -> tuple[list[str], list[str]]:
    """(problems, warnings) of sound boundaries, whose parents are known by code."""
    checks = _Checks(grid)
    checks.overlaps([boundary for boundary in boundaries if boundary.geometry is not None])
    families: dict[str | None, list[Boundary]] = defaultdict(list)
    for boundary, parent in zip(boundaries, parents, strict=True):
        if boundary.geometry is not None:
            families[parent].append(boundary)
    for code, children in families.items():
        own = [boundary for boundary in boundaries if boundary.code == code and boundary.geometry is not None]
        for one in own:
            checks.family(one, children)
        if not own:
            checks.siblings(children)
    return checks.problems, checks.warnings + checks.slivers()


class _Checks:
    """What has been found so far. `_slivers` holds, by kind, the number, total area and largest example."""

    def __init__(self, grid: Grid) -> None:
        self._metres = metres_per_degree(grid.origin_lat + grid.ny * grid.step_lat_deg / 2)
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._slivers: dict[str, tuple[int, float, float, str]] = {}

    def overlaps(self, boundaries: list[Boundary]) -> None:
        """Neighbours of one level that are in force at the same time."""
        areas: Geometries = np.array([boundary.geometry for boundary in boundaries] + [None], dtype=object)[:-1]
        first, second = shapely.STRtree(areas).query(areas, predicate="intersects")
        pairs = [
            (i, j)
            for i, j in zip(first.tolist(), second.tolist(), strict=True)
            if i < j and boundaries[i].level == boundaries[j].level and _same_time(boundaries[i], boundaries[j])
        ]
        if not pairs:
            return
        chosen = np.array(sorted(pairs))
        shared = shapely.intersection(areas[chosen[:, 0]], areas[chosen[:, 1]])
        overlaps: list[tuple[Boundary, Boundary, BaseGeometry]] = []
        for (i, j), common in zip(chosen.tolist(), shared, strict=True):
            a, b = boundaries[i], boundaries[j]
            smaller = min(self._area(areas[i]), self._area(areas[j]))
            kind = f"overlaps between neighbours ({_level(a)})"
            large = self._large(common, smaller, kind, f"{_name(a)}, {_name(b)}")
            if large is not None:
                overlaps.append((a, b, large))
        # a district in the wrong datum overlaps several neighbours, each of which another datum would move away as
        # well: the one that explains most overlaps is to blame
        causes = [self._other_datums_that_fit(a, b, large) for a, b, large in overlaps]
        votes = Counter(cause for found in causes for cause in found)
        for (a, b, large), found in zip(overlaps, causes, strict=True):
            most = max((votes[cause] for cause in found), default=0)
            likely = [_another_datum(*cause) for cause in found if votes[cause] == most]
            self.problems.append(
                f"{a.where}: it overlaps {b.named_beside(a)} by {self._size(large)}; two of one level cannot be in "
                f"charge{_fitting(likely)}"
            )

    def family(self, parent: Boundary, children: list[Boundary]) -> None:
        """A parent in one of its validities, and everything that belongs to its code."""
        present = [child for child in children if child.level > parent.level and _same_time(parent, child)]
        if not present or parent.geometry is None:
            return
        outside = shapely.difference(np.array([child.geometry for child in present], dtype=object), parent.geometry)
        for child, rest in zip(present, outside, strict=True):
            whole = self._area(child.geometry)
            large = self._large(rest, whole, f"rims outside the parent ({_level(child)})", _name(child))
            if large is not None:
                self._outside(child, parent, large, whole)
        for alive in _generations(parent, present):
            gap = shapely.difference(parent.geometry, shapely.union_all([child.geometry for child in alive]))
            whole = self._area(parent.geometry)
            large = self._large(gap, whole, f"gaps between neighbours ({_level(alive[0])})", _name(parent))
            if large is not None:
                share = 1 - self._area(large) / whole
                self.warnings.append(
                    f"{parent.where}: what belongs to it covers {share:.1%} of it; points in the rest get "
                    f"{parent.code} itself: {self._size(large)}"
                )

    def siblings(self, children: list[Boundary]) -> None:
        """Those whose parent has no area of its own: of their gaps, only holes that they enclose can be seen."""
        for alive in _generations(None, children):
            union = shapely.union_all([child.geometry for child in alive])
            filled = shapely.union_all(shapely.polygons(shapely.get_exterior_ring(shapely.get_parts(union))))
            holes = shapely.difference(filled, union)
            kind = f"gaps between neighbours ({_level(alive[0])})"
            large = self._large(holes, self._area(union), kind, _name(alive[0]))
            if large is not None:
                self.warnings.append(
                    f"{alive[0].where}: nobody is in charge of what it and its neighbours enclose: {self._size(large)}"
                )

    def slivers(self) -> list[str]:
        """One warning for each kind of sliver."""
        return [
            f"{count} slivers, {kind}: {_m2(total)} in all, the largest {_m2(largest)} ({example})"
            for kind, (count, total, largest, example) in sorted(self._slivers.items())
            if total >= NOISE_M2
        ]

    def _outside(self, child: Boundary, parent: Boundary, rest: BaseGeometry, whole: float) -> None:
        """A child that reaches out of its parent by more than slivers."""
        text = f"{child.where}: it reaches out of its parent {parent.named_beside(child)} by {self._size(rest)}"
        left = [
            (self._area(shapely.difference(wgs84(child.raw, other), parent.geometry)), child, other)
            for other in _other_datums(child)
        ] + [
            (self._area(shapely.difference(child.geometry, wgs84(parent.raw, other))), parent, other)
            for other in _other_datums(parent)
        ]
        least, wrong, datum = min(left, key=lambda one: one[0])
        if least < self._area(rest) * _MENDED:
            self.problems.append(text + _fitting([_another_datum(wrong, datum)]))
        elif self._area(rest) > whole * _ASTRAY:
            self.problems.append(f"{text}, more than half of its area: is the parent or the place wrong?")
        else:
            self.warnings.append(text)

    def _other_datums_that_fit(self, a: Boundary, b: Boundary, shared: BaseGeometry) -> list[tuple[Boundary, Datum]]:
        """The changes of one neighbour's datum that would end their overlap and leave them side by side."""
        limit = self._area(shared) * _MENDED
        found = []
        for moving, fixed in ((a, b), (b, a)):
            for other in _other_datums(moving):
                moved = wgs84(moving.raw, other)
                apart_m = float(shapely.distance(moved, fixed.geometry)) * max(self._metres)
                if apart_m < SLIVER_WIDTH_M and self._area(shapely.intersection(moved, fixed.geometry)) < limit:
                    found.append((moving, other))
        return found

    def _large(self, misfit: BaseGeometry, smaller_m2: float, kind: str, example: str) -> BaseGeometry | None:
        """The pieces of a misfit that are more than slivers, None if there are none; slivers are counted."""
        parts = shapely.get_parts(shapely.get_parts(misfit))
        parts = parts[shapely.get_dimensions(parts) == 2]
        if not len(parts):
            return None
        area = shapely.area(parts) * self._metres[0] * self._metres[1]
        perimeter = shapely.length(shapely.transform(parts, lambda xy: xy * self._metres))
        wide = (area >= SLIVER_M2) & (2 * area > SLIVER_WIDTH_M * perimeter)
        large = wide | (area > SLIVER_SHARE * smaller_m2)
        small = area[~large]
        if len(small):
            count, total, largest, named = self._slivers.get(kind, (0, 0.0, 0.0, ""))
            widest = float(small.max())
            self._slivers[kind] = (
                count + len(small), total + float(small.sum()), max(largest, widest),
                example if widest > largest else named,
            )  # fmt: skip
        return shapely.multipolygons(parts[large]) if large.any() else None

    def _area(self, geometry: BaseGeometry | None) -> float:
        return float(shapely.area(geometry)) * self._metres[0] * self._metres[1]

    def _size(self, pieces: BaseGeometry) -> str:
        """The area of some pieces and where the largest is."""
        parts = shapely.get_parts(pieces)
        place = shapely.point_on_surface(parts[int(shapely.area(parts).argmax())])
        several = f" in {len(parts)} pieces, the largest" if len(parts) > 1 else ""
        return f"{_m2(self._area(pieces))}{several} near lon {place.x:.5f}, lat {place.y:.5f}"


def _generations(parent: Boundary | None, children: list[Boundary]) -> list[list[Boundary]]:
    """The sets of children that are in force together at some time of their parent's validity, each set once."""
    moments = {child.valid_from_ms for child in children} | {child.valid_to_ms for child in children}
    moments.add(None if parent is None else parent.valid_from_ms)
    found: dict[tuple[int, ...], list[Boundary]] = {}
    for moment in moments:
        at_ms = _BEGINNING if moment is None else moment
        if parent is not None and not _in_force(parent, at_ms):
            continue
        alive = [child for child in children if _in_force(child, at_ms)]
        if alive:
            found.setdefault(tuple(id(child) for child in alive), alive)
    return list(found.values())


def _in_force(boundary: Boundary, at_ms: int) -> bool:
    return overlap_in_time(boundary.valid_from_ms, boundary.valid_to_ms, at_ms, at_ms + 1)


def _same_time(a: Boundary, b: Boundary) -> bool:
    return overlap_in_time(a.valid_from_ms, a.valid_to_ms, b.valid_from_ms, b.valid_to_ms)


def _other_datums(boundary: Boundary) -> list[Datum]:
    same = Datum.WGS84 if boundary.datum == Datum.CGCS2000 else boundary.datum
    return [other for other in SHIFTED_DATUMS if other != same]


def _another_datum(boundary: Boundary, datum: Datum) -> str:
    return f"the datum of {_name(boundary)} is {DATUM_TITLES[datum]} instead of {DATUM_TITLES[boundary.datum]}"


def _fitting(likely: list[str]) -> str:
    return f"; they fit if {', or '.join(likely)}: which is it?" if likely else ""


def _level(boundary: Boundary) -> str:
    return Level(boundary.level).name.lower()


def _name(boundary: Boundary) -> str:
    return f"{boundary.code} {boundary.name_zh}"


def _m2(area: float) -> str:
    return f"{area:,.0f} m2"
