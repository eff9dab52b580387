"""Reading a city's addresses.csv: lines -> listed addresses in WGS-84, with every problem named by file and line.

Columns: `lon`, `lat`, and either `text` (an address or a landmark as people write it: 徐汇区虹桥路1号, 人民广场,
四川北路海宁路路口) or `road` with, if it has one, `number` (1号, 1265弄, 848); `code` (the jurisdiction it lies in) and
`datum` are optional. An empty field counts as not given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from schemas.datums import DATUM_NAMES, Datum
from topology.city_table import FileReport, Row, read_table
from topology.datum import convert
from topology.grid import NO_CELL, Grid

REQUIRED: Final = ("lon", "lat")
OPTIONAL: Final = ("text", "road", "number", "code", "datum")
MAX_CODE_CHARS: Final = 32
MAX_WARNINGS: Final = 1000


@dataclass(frozen=True, slots=True)
class ListedAddress:
    """One line: what it is called, where it is (WGS-84 degrees), and the jurisdiction it is said to lie in."""

    name: str
    lon: float
    lat: float
    code: str | None
    line: int


def read_addresses(
    path: Path, home: str | None, default_datum: Datum, grid: Grid | None, report: FileReport
) -> list[ListedAddress]:
    """The listed addresses in file order. `home`: the digits that codes in this city begin with, None for any code.

    With any problem in `report` the list is incomplete: do not use it.
    """
    found = []
    for row in read_table(path, REQUIRED, OPTIONAL, report):
        one = _address(path, row, home, default_datum, report)
        if one is not None:
            found.append(one)
    if grid is not None:
        _warn_of_places_outside(path, found, grid, report)
    return found


def _address(path: Path, row: Row, home: str | None, default_datum: Datum, report: FileReport) -> ListedAddress | None:
    name = _name(path, row, report)
    lon = _degrees(path, row, "lon", 180.0, report)
    lat = _degrees(path, row, "lat", 90.0, report)
    datum = _datum(path, row, default_datum, report)
    code = row.get("code")
    if code is not None and (len(code) > MAX_CODE_CHARS or any(char.isspace() for char in code)):
        report.problem(path, row.line, f"code: expected a jurisdiction's code, got {code[:40]!r}")
    elif code is not None and home is not None and not code.startswith(home):
        report.problem(path, row.line, f"code: {code!r} is not in this city, whose codes begin with {home}")
    if name is None or lon is None or lat is None or datum is None:
        return None
    if lon == lat == 0.0:
        report.problem(path, row.line, "lon=0, lat=0 is written when the place is not known; leave the line out")
        return None
    if datum is not Datum.WGS84:
        lon, lat = convert(lon, lat, datum, Datum.WGS84)
    return ListedAddress(name, lon, lat, code, row.line)


def _name(path: Path, row: Row, report: FileReport) -> str | None:
    text, road, number = row.get("text"), row.get("road"), row.get("number")
    if text is not None and (road is not None or number is not None):
        report.problem(path, row.line, "expected either text or road and number, got both")
        return None
    if text is not None:
        return text
    if road is None:
        report.problem(path, row.line, "expected text, or road with a number, got neither")
        return None
    if number is not None and number[-1].isdigit():
        number += "号"
    return road + (number or "")


def _degrees(path: Path, row: Row, name: str, limit: float, report: FileReport) -> float | None:
    text = row.fields[name]
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        report.problem(path, row.line, f"{name}: expected a number of degrees, got {text[:40]!r}")
        return None
    if not -limit <= value <= limit:
        hint = "; lon and lat look swapped" if name == "lat" and limit < abs(value) <= 180 else ""
        report.problem(path, row.line, f"{name}: expected -{limit:g} to {limit:g} degrees, got {text[:40]}{hint}")
        return None
    return value


def _datum(path: Path, row: Row, default_datum: Datum, report: FileReport) -> Datum | None:
    text = row.get("datum")
    if text is None:
        return default_datum
    datum = DATUM_NAMES.get(text.upper())
    if datum is None:
        report.problem(path, row.line, f"datum: {text[:40]!r} is unknown; choose WGS-84, CGCS2000, GCJ-02 or BD-09")
    return datum


def _warn_of_places_outside(path: Path, found: Sequence[ListedAddress], grid: Grid, report: FileReport) -> None:
    lon = np.array([one.lon for one in found], dtype=np.float64)
    lat = np.array([one.lat for one in found], dtype=np.float64)
    outside = np.flatnonzero(grid.cells_of(lon, lat) == NO_CELL)
    for row in outside[:MAX_WARNINGS]:
        one = found[row]
        report.warn(path, one.line, f"{one.name!r} at lon={one.lon:.6f}, lat={one.lat:.6f} is outside the city's grid")
    if len(outside) > MAX_WARNINGS:
        report.warn(path, None, f"and {len(outside) - MAX_WARNINGS} more addresses outside the city's grid")
