"""One boundary's shape: are its rings sound, is it in the city, and if not, what is the likely cause?

Everything here speaks of one polygon or multipolygon as it stands in a file, in the file's datum.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from schemas.datums import Datum
from topology.datum import to_wgs84
from topology.grid import Grid

FloatArray = npt.NDArray[np.float64]

DATUM_TITLES: Final = {
    Datum.WGS84: "WGS-84",
    Datum.CGCS2000: "CGCS2000",
    Datum.GCJ02: "GCJ-02",
    Datum.BD09: "BD-09",
}
SHIFTED_DATUMS: Final = (Datum.WGS84, Datum.GCJ02, Datum.BD09)
"""The datums that differ by more than a metre: what coordinates may be in instead of what is said."""

_AREAS: Final = ("Polygon", "MultiPolygon")
# GEOS' words (IsValidOp) -> ours.
_FAULTS: Final = {
    "Self-intersection": "the border crosses itself (self-intersection)",
    "Ring Self-intersection": "a ring touches itself (ring self-intersection)",
    "Hole lies outside shell": "a hole lies outside its outer ring",
    "Holes are nested": "a hole lies inside another hole",
    "Nested shells": "one part lies inside another part",
    "Duplicate Rings": "the same ring stands there twice",
    "Interior is disconnected": "its rings cut the inside apart (interior disconnected)",
    "Too few points in geometry component": "a ring has fewer than 3 different positions",
}
_METRES_FROM: Final = 1000.0  # a number this large is no degree; coordinates in metres are larger still


def faults(geometry: BaseGeometry) -> list[str]:
    """What is wrong with a shape by itself; of each part the first fault, with its place."""
    if geometry.geom_type not in _AREAS:
        return [f"a jurisdiction's geometry is a Polygon or MultiPolygon, got {geometry.geom_type}"]
    if geometry.is_empty:
        return ["the geometry is empty; a jurisdiction needs an area"]
    range_fault = _range_fault(geometry)
    if range_fault is not None:
        return [range_fault]
    parts = shapely.get_parts(geometry)
    several = len(parts) > 1
    found = [
        (f"part {i}: " if several else "") + _reason(part) for i, part in enumerate(parts, start=1) if not part.is_valid
    ]
    if not found and not geometry.is_valid:
        found.append(_reason(geometry).replace(_FAULTS["Self-intersection"], "two parts overlap"))
    return found


def wgs84(geometry: BaseGeometry, datum: Datum) -> BaseGeometry:
    """The same area in WGS-84: every vertex converted, and the edges between them straight again.

    A ring that touched the middle of another ring's edge may cross it by a hair after that; such areas are mended.
    """
    if datum in (Datum.WGS84, Datum.CGCS2000):
        return geometry
    moved = _moved(geometry, datum)
    if shapely.is_valid(moved):
        return moved
    mended = shapely.make_valid(moved, method="structure", keep_collapsed=False)
    parts = [part for part in shapely.get_parts(mended) if part.geom_type in _AREAS]
    return shapely.union_all(parts)


def place_fault(geometry: BaseGeometry, converted: BaseGeometry, datum: Datum, grid: Grid) -> tuple[bool, str] | None:
    """(whether it is a problem, what) when a sound shape is not wholly inside the grid's box; else None.

    `converted` is the shape in WGS-84. A likely cause (lon and lat swapped, another datum than `datum`) makes it a
    problem: exactly then all points would be inside. Without one, reaching over the box's edge is only odd.
    """
    box = grid_box(grid)
    if _all_inside(converted, box):
        return None
    swapped = shapely.transform(geometry, lambda xy: xy[:, ::-1])
    if _range_fault(swapped) is None and _all_inside(wgs84(swapped, datum), box):
        return True, "lon and lat look swapped: only once swapped all its points lie inside the city's box"
    outside = shapely.area(converted.difference(shapely.box(*box))) / shapely.area(converted)
    where = (
        f"the city's box, lon {box[0]:g} to {box[2]:g} and lat {box[1]:g} to {box[3]:g}"
        f" (it lies in lon {_span(converted, 0)} and lat {_span(converted, 1)})"
    )
    how_much = "it lies outside" if outside >= 1 else f"{outside:.2%} of it lie outside"
    for other in SHIFTED_DATUMS:
        if other != datum and _all_inside(_moved(geometry, other), box):
            return True, (
                f"{how_much} {where}, but all of it inside if its datum is {DATUM_TITLES[other]} instead of "
                f"{DATUM_TITLES[datum]}: say the right datum, or make the box larger"
            )
    if outside >= 1:
        return True, f"{how_much} {where}"
    return False, f"{how_much} {where}; nothing is placed there"


def grid_box(grid: Grid) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a grid in degrees."""
    return (
        grid.origin_lon,
        grid.origin_lat,
        grid.origin_lon + grid.nx * grid.step_lon_deg,
        grid.origin_lat + grid.ny * grid.step_lat_deg,
    )


def _reason(geometry: BaseGeometry) -> str:
    reason = str(shapely.is_valid_reason(geometry))
    what, _, place = reason.partition("[")
    lon, _, lat = place.rstrip("]").partition(" ")
    words = _FAULTS.get(what.strip(), what.strip().lower())
    return f"{words} near lon {float(lon):.7g}, lat {float(lat):.7g}" if lat else words


def _range_fault(geometry: BaseGeometry) -> str | None:
    coordinates = shapely.get_coordinates(geometry)
    lon, lat = np.abs(coordinates[:, 0]), np.abs(coordinates[:, 1])
    bad = np.flatnonzero(~((lon <= 180) & (lat <= 90)))
    if not len(bad):
        return None
    hint = ""
    if max(lon.max(), lat.max()) >= _METRES_FROM:
        hint = "; these look like metres of a projection: export as degrees (WGS-84 or CGCS2000)"
    elif lat.max() <= 180 and lon.max() <= 90:
        hint = "; lon and lat look swapped"
    first = coordinates[bad[0]]
    return f"{len(bad)} positions are no degrees of longitude and latitude, the first {first.tolist()}{hint}"


def _moved(geometry: BaseGeometry, datum: Datum) -> BaseGeometry:
    def convert(coordinates: FloatArray) -> FloatArray:
        lon, lat = np.ascontiguousarray(coordinates[:, 0]), np.ascontiguousarray(coordinates[:, 1])
        codes = np.full(len(lon), int(datum), dtype=np.uint8)
        return np.column_stack(to_wgs84(lon, lat, codes))

    return shapely.transform(geometry, convert)


def _all_inside(geometry: BaseGeometry, box: tuple[float, float, float, float]) -> bool:
    west, south, east, north = shapely.bounds(geometry)
    return bool(west >= box[0] and south >= box[1] and east <= box[2] and north <= box[3])


def _span(geometry: BaseGeometry, axis: int) -> str:
    bounds = shapely.bounds(geometry)
    return f"{bounds[axis]:.5f} to {bounds[axis + 2]:.5f}"
