"""GeoJSON files of boundaries -> what they say about jurisdictions, with every problem named by file, line and feature.

Properties of a feature (others are not used):

- `code`: the official code (`adcode`, as map services write it, is taken too): 6 digits for a city or district, 9 for a
  subdistrict, 12 for a community, 15 for a unit grid cell; abroad any short word;
- `name`, and if wanted `name_en`;
- `level`: city, district, subdistrict, community or unit (or 1 to 5); an official code says it by itself;
- `parent`: code of the jurisdiction it belongs to; without it the codes and then the shapes decide;
- `valid_from`, `valid_to`: local dates of the city, YYYY-MM-DD; the first day it holds, and the first day it no longer
  does. The same code may stand several times with validities that do not overlap;
- `datum`: of its coordinates (`crs` is taken too).

A member `datum` (or the older `crs`) of the collection says it for all features; two that contradict each other are a
problem. A geometry of null is allowed for a jurisdiction that others belong to: it stands in their chains and owns no
point itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from shapely.geometry.base import BaseGeometry

from schemas.datums import DATUM_NAMES, Datum
from topology import geojson_file
from topology.boundary_shapes import DATUM_TITLES, faults, place_fault, wgs84
from topology.geojson_file import Feature, GeoJsonFile
from topology.grid import Grid
from topology.levels import Level

PROPERTIES: Final = ("code", "name", "name_en", "level", "parent", "valid_from", "valid_to", "datum")

_CODE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_LEVEL_NAMES: Final = {level.name.lower(): level for level in Level}
_LEVEL_OF_LENGTH: Final = {6: Level.DISTRICT, 9: Level.SUBDISTRICT, 12: Level.COMMUNITY, 15: Level.UNIT}
_LEVEL_NUMBERS: Final = tuple(int(level) for level in Level)
_FIRST_YEAR: Final = 1900
_LAST_YEAR: Final = 2200
_ALIASES: Final = ("adcode", "crs")
_WGS84_CRS: Final = re.compile(r"(CRS:?84|EPSG:+(\d*:)?4326)$", re.IGNORECASE)
_CGCS2000_CRS: Final = re.compile(r"EPSG:+(\d*:)?4490$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Boundary:
    """One feature that says a jurisdiction; `geometry` is in WGS-84, `raw` as in the file, in `datum`."""

    path: Path
    line: int
    title: str  # feature n (code name)
    code: str
    name_zh: str
    name_en: str | None
    level: Level
    parent: str | None
    valid_from_ms: int | None
    valid_to_ms: int | None
    datum: Datum
    raw: BaseGeometry | None
    geometry: BaseGeometry | None

    @property
    def where(self) -> str:
        """What a problem of it begins with."""
        return f"{self.path}:{self.line}: {self.title}"

    def named_beside(self, other: Boundary) -> str:
        """How to name it in a problem of another one."""
        place = f"line {self.line}" if self.path == other.path else f"{self.path}:{self.line}"
        return f"{self.code} {self.name_zh} ({place})"


@dataclass(slots=True)
class BoundaryFile:
    """What one file says. With any problem the boundaries are incomplete: use them for further checks only."""

    boundaries: list[Boundary] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)  # also of features with problems
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_boundary_file(path: Path, grid: Grid, *, default_datum: Datum, zone: str) -> BoundaryFile:
    """Read one file: its features in order. Never raises for what is in it. Dates are midnights in `zone`."""
    content = geojson_file.read(path)
    found = BoundaryFile()
    said = _stated_datum(content.members, content, 1, "the collection")
    if not content.features and not content.count:
        found.warnings.append(f"{path}:1: the file has no features")
    for feature in content.features:
        boundary = _boundary(feature, content, grid, said or default_datum, said, ZoneInfo(zone), found)
        if boundary is not None:
            found.boundaries.append(boundary)
    found.problems = content.problems
    return found


def _boundary(
    feature: Feature,
    content: GeoJsonFile,
    grid: Grid,
    datum: Datum,
    said: Datum | None,
    zone: ZoneInfo,
    found: BoundaryFile,
) -> Boundary | None:
    """The boundary of one feature, or None after its problems have been noted."""
    properties = feature.properties
    title = " ".join(str(properties[name])[:40] for name in ("code", "adcode", "name") if properties.get(name))
    where = f"feature {feature.index} ({title})" if title else f"feature {feature.index}"
    if not properties and not feature.sound:
        return None  # what it says cannot be read at all, which has been noted
    before = content.count

    def problem(text: str) -> None:
        content.problem(feature.line, f"{where}: {text}")

    for unused in sorted(set(properties) - set(PROPERTIES) - set(_ALIASES)):
        meant = difflib.get_close_matches(unused, [p for p in PROPERTIES if p not in properties], n=1, cutoff=0.8)
        if meant:
            found.warnings.append(
                f"{content.path}:{feature.line}: {where}: property {unused!r} is not used; is {meant[0]!r} meant?"
            )
    code = _code(properties, problem)
    if code is not None:
        found.codes.add(code)
    name = _name(properties, "name", problem)
    if name is None and not properties.get("name"):
        problem("name is missing")
    name_en = _name(properties, "name_en", problem)
    level = _level(properties, code, problem)
    parent = properties.get("parent")
    if parent is not None and (not isinstance(parent, str) or not _CODE.fullmatch(parent)):
        problem(f"parent must be a code, got {str(parent)[:40]!r}")
    valid_from = _date(properties, "valid_from", zone, problem)
    valid_to = _date(properties, "valid_to", zone, problem)
    if valid_from is not None and valid_to is not None and valid_from >= valid_to:
        problem(f"valid_from={properties['valid_from']} must be before valid_to={properties['valid_to']}")
    own = _stated_datum(properties, content, feature.line, where)
    if own is not None and said is not None and own != said:
        problem(f"its datum is {DATUM_TITLES[own]}, the collection's is {DATUM_TITLES[said]}: which is it?")
    datum = own or datum
    geometry = _shape(feature, content, where, datum, grid, problem, found.warnings)
    if content.count != before or not feature.sound:
        return None
    if code is None or name is None or level is None:  # has been noted as a problem
        return None
    return Boundary(
        content.path, feature.line, where, code, name, name_en, level, parent, valid_from, valid_to, datum,
        feature.geometry, geometry,
    )  # fmt: skip


def _shape(
    feature: Feature,
    content: GeoJsonFile,
    where: str,
    datum: Datum,
    grid: Grid,
    problem: Callable[[str], None],
    warnings: list[str],
) -> BaseGeometry | None:
    """The feature's area in WGS-84; None if it has none or it cannot be used, which has then been noted."""
    geometry = feature.geometry
    if geometry is None:
        return None
    found = faults(geometry)
    for text in found:
        problem(text)
    if found:
        return None
    converted = wgs84(geometry, datum)
    fault = place_fault(geometry, converted, datum, grid)
    if fault is not None:
        serious, text = fault
        if serious:
            problem(text)
        else:
            warnings.append(f"{content.path}:{feature.line}: {where}: {text}")
    return converted


def _code(properties: Mapping[str, Any], problem: Callable[[str], None]) -> str | None:
    value = properties.get("code")
    if value is None:
        value = properties.get("adcode")
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if value is None:
        problem("code is missing")
        return None
    if not isinstance(value, str):
        problem(f"code must be a string, got {str(value)[:40]}; put it in quotes")
        return None
    if not _CODE.fullmatch(value):
        problem(f"code {value[:40]!r} must be 1 to 32 letters, digits, dots, dashes or underscores")
        return None
    return value


def _name(properties: Mapping[str, Any], key: str, problem: Callable[[str], None]) -> str | None:
    value = properties.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.strip():
        problem(f"{key} must be a name, got {str(value)[:40]!r}")
        return None
    return value.strip()


def _level(properties: Mapping[str, Any], code: str | None, problem: Callable[[str], None]) -> Level | None:
    value = properties.get("level")
    if value is None:
        if code is not None and code.isascii() and code.isdigit() and len(code) in _LEVEL_OF_LENGTH:
            return Level.CITY if len(code) == 6 and code.endswith("00") else _LEVEL_OF_LENGTH[len(code)]
        problem(f"level is missing; choose one of {', '.join(_LEVEL_NAMES)}")
        return None
    if isinstance(value, str) and value.lower() in _LEVEL_NAMES:
        return _LEVEL_NAMES[value.lower()]
    if isinstance(value, int) and not isinstance(value, bool) and value in _LEVEL_NUMBERS:
        return Level(value)
    problem(f"level {str(value)[:40]!r} is unknown; choose one of {', '.join(_LEVEL_NAMES)}")
    return None


def _date(properties: Mapping[str, Any], key: str, zone: ZoneInfo, problem: Callable[[str], None]) -> int | None:
    """Midnight of a local date in epoch milliseconds."""
    value = properties.get(key)
    if value is None:
        return None
    try:
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            raise ValueError
        day = date.fromisoformat(value)
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            raise ValueError
    except ValueError:
        problem(f"{key} must be a date YYYY-MM-DD from {_FIRST_YEAR} to {_LAST_YEAR}, got {str(value)[:40]!r}")
        return None
    seconds = datetime.combine(day, time.min, zone).astimezone(UTC).timestamp()
    return round(seconds) * 1000


def _stated_datum(said: Mapping[str, Any], content: GeoJsonFile, line: int, where: str) -> Datum | None:
    """The datum that `datum` or `crs` says, None if neither does; what is not known or contradicts is a problem."""
    stated: dict[Datum, str] = {}
    for key in ("datum", "crs"):
        value = said.get(key)
        if value is None:
            continue
        if key == "crs" and isinstance(value, dict):  # {"type": "name", "properties": {"name": "urn:ogc:def:crs:..."}}
            inner = value.get("properties")
            value = inner.get("name") if isinstance(inner, dict) else None
        datum = _datum_of(value)
        if datum is None:
            choices = ", ".join(DATUM_TITLES.values())
            content.problem(line, f"{where}: {key} {str(value)[:60]!r} is unknown; choose one of {choices}")
        else:
            stated[datum] = key
    if len(stated) > 1:
        titles = " and ".join(f"{key} {DATUM_TITLES[datum]}" for datum, key in stated.items())
        content.problem(line, f"{where}: two datums, {titles}: which is it?")
    return next(iter(stated), None)


def _datum_of(value: object) -> Datum | None:
    if not isinstance(value, str):
        return None
    known = DATUM_NAMES.get(value.strip().upper())
    if known is not None:
        return known
    if _WGS84_CRS.search(value):
        return Datum.WGS84
    return Datum.CGCS2000 if _CGCS2000_CRS.search(value) else None
