"""Reading a GeoJSON file: text -> features with their lines, with every fault of the form named by line and feature.

The form is RFC 7946: a FeatureCollection, a Feature or a bare geometry. Nothing here stops at the first problem, but of
one feature's coordinates only the first fault is named. What the features mean is for others to say
(`topology.boundary_file`), and whether their rings make sense too (`topology.boundary_shapes`): a geometry comes out of
here if its numbers are in the right shape.

Positions may have an altitude, which is dropped. Members that the standard does not know are kept and not judged; the
`crs` of the older GeoJSON is one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import shapely
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

MAX_PROBLEMS: Final = 1000
"""Enough to put a file right in one go; a file of the wrong kind does not fill the screen for ever."""
MAX_FILE_BYTES: Final = 256_000_000
"""All communities of the largest city, in more detail than anybody draws them."""
MIN_RING: Final = 4  # a ring's first position is also its last

_GEOMETRIES: Final = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")

Position = list[float]
_NESTING: Final[dict[str, Any]] = {
    "Point": Position,
    "MultiPoint": list[Position],
    "LineString": list[Position],
    "MultiLineString": list[list[Position]],
    "Polygon": list[list[Position]],
    "MultiPolygon": list[list[list[Position]]],
}


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: where it stands in the file, what it says, and its geometry (None: null, or not usable)."""

    line: int
    index: int  # from 1, in the file's order
    identity: str | None  # its `id`
    properties: Mapping[str, Any]
    geometry: BaseGeometry | None
    geometry_type: str | None  # also of a geometry that is not usable
    sound: bool  # no problem of its form was found


@dataclass(slots=True)
class GeoJsonFile:
    """What a file holds. With any problem the features are incomplete: use them for further checks only."""

    path: Path
    features: list[Feature] = field(default_factory=list)
    members: Mapping[str, Any] = field(default_factory=dict)  # of the collection, beside its features
    count: int = 0
    """Problems noted, also those beyond `MAX_PROBLEMS`."""
    _noted: list[tuple[int, str]] = field(default_factory=list)

    def problem(self, line: int, text: str) -> None:
        """Note a problem of a line (0: of the file as a whole); only counted after the first `MAX_PROBLEMS`."""
        self.count += 1
        if len(self._noted) < MAX_PROBLEMS:
            self._noted.append((line, text))

    @property
    def problems(self) -> list[str]:
        """All of them by line, in the form `path:line: text`."""
        ordered = sorted(self._noted, key=lambda one: one[0])
        lines = [f"{self.path}:{line}: {text}" if line else f"{self.path}: {text}" for line, text in ordered]
        left_out = self.count - len(lines)
        return [*lines, f"{self.path}: and {left_out} more problems"] if left_out else lines


class _Head(msgspec.Struct):
    """A file's top object with its features left as they are written."""

    type: Any = None
    features: list[msgspec.Raw] | None = None


def read(path: Path) -> GeoJsonFile:
    """Read one file. Never raises for what is in it or for not being able to read it."""
    found = GeoJsonFile(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            found.problem(0, f"larger than {MAX_FILE_BYTES:,} bytes; is it the right file?")
            return found
        content = path.read_bytes()
    except OSError as error:
        found.problem(0, f"the GeoJSON file cannot be read: {error.strerror or error}")
        return found
    mark = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    parse(content[mark:], found)
    return found


def parse(content: bytes, found: GeoJsonFile) -> None:
    """Add the features and problems of a GeoJSON text to `found`."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        hint = "save the file as UTF-8 (Chinese spreadsheets often write GBK)"
        found.problem(_line(content, error.start), f"byte 0x{content[error.start]:02x} is not UTF-8; {hint}")
        return
    try:
        top = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        found.problem(_line(content, _byte_of(error, content)), f"not JSON: {str(error)[:200]}")
        return
    if not isinstance(top, dict):
        found.problem(1, f"expected a GeoJSON object, got {_kind(top)}")
        return
    found.members = {name: value for name, value in top.items() if name != "features"}
    if top.get("type") == "FeatureCollection" or "features" in top:
        _collection(content, top, found)
    elif top.get("type") == "Feature" or "geometry" in top:
        found.features.append(_feature(top, 1, 1, found))
    else:
        geometry, kind, sound = _geometry(top, 1, "the geometry", "$", found)
        found.features.append(Feature(1, 1, None, {}, geometry, kind, sound))


def _collection(content: bytes, top: Mapping[str, Any], found: GeoJsonFile) -> None:
    if top.get("type") != "FeatureCollection":
        found.problem(1, f"$.type: expected 'FeatureCollection', got {top.get('type')!r}")
    features = top.get("features")
    if not isinstance(features, list):
        found.problem(1, f"$.features: expected a list of features, got {_kind(features)}")
        return
    raw = msgspec.json.decode(content, type=_Head).features or []
    base = _address(content)
    line, counted = 1, 0
    for index, (feature, text) in enumerate(zip(features, raw, strict=True), start=1):
        start = _address(text) - base  # msgspec.Raw points into the text it was decoded from
        line += content.count(b"\n", counted, start)
        counted = start
        found.features.append(_feature(feature, line, index, found))


def _feature(value: object, line: int, index: int, found: GeoJsonFile) -> Feature:
    where = f"feature {index}"
    if not isinstance(value, dict):
        found.problem(line, f"{where}: expected an object, got {_kind(value)}")
        return Feature(line, index, None, {}, None, None, False)
    sound = True
    if value.get("type") != "Feature":
        found.problem(line, f"{where}: $.type: expected 'Feature', got {value.get('type')!r}")
        sound = False
    identity = value.get("id")
    if "id" in value and (isinstance(identity, bool) or not isinstance(identity, str | int | float)):
        found.problem(line, f"{where}: $.id: expected a string or a number, got {_kind(identity)}")
        identity, sound = None, False
    properties = value.get("properties")
    if "properties" not in value or not isinstance(properties, dict | None):
        what = _kind(properties) if "properties" in value else "nothing"
        found.problem(line, f"{where}: $.properties: expected an object or null, got {what}")
        properties, sound = None, False
    sound &= _check_bbox(value, line, where, "$", found)
    if value.get("geometry") is None:
        if "geometry" not in value:
            found.problem(line, f"{where}: $.geometry: expected a geometry or null, got nothing")
            sound = False
        return Feature(line, index, _text(identity), properties or {}, None, None, sound)
    geometry, kind, fine = _geometry(value["geometry"], line, where, "$.geometry", found)
    return Feature(line, index, _text(identity), properties or {}, geometry, kind, sound and fine)


def _geometry(
    value: object, line: int, where: str, path: str, found: GeoJsonFile
) -> tuple[BaseGeometry | None, str | None, bool]:
    """(geometry if it can be used, its type as written, whether no problem was found)."""
    if not isinstance(value, dict):
        found.problem(line, f"{where}: {path}: expected a geometry, got {_kind(value)}")
        return None, None, False
    kind = value.get("type")
    fine = _check_bbox(value, line, where, path, found)
    if kind == "GeometryCollection":
        return _geometries(value, line, where, path, fine, found)
    if not isinstance(kind, str) or kind not in _GEOMETRIES:
        choices = ", ".join((*_GEOMETRIES, "GeometryCollection"))
        found.problem(line, f"{where}: {path}.type: expected one of {choices}, got {kind!r}")
        return None, None, False
    if "coordinates" not in value:
        found.problem(line, f"{where}: {path}.coordinates: missing")
        return None, kind, False
    try:
        coordinates = msgspec.convert(value["coordinates"], _NESTING[kind])
        geometry = _build(kind, coordinates)
    except msgspec.ValidationError as error:
        text = str(error)
        said, at = text.split(" - at `$", 1) if " - at `$" in text else (text, "`")
        said = said[0].lower() + said[1:]
        found.problem(line, f"{where}: {path}.coordinates{at.rstrip('`')}: {said}")
        return None, kind, False
    except _FormError as error:
        found.problem(line, f"{where}: {path}.coordinates{error.path}: {error}")
        return None, kind, False
    except GEOSException as error:
        found.problem(line, f"{where}: {path}.coordinates: {error}")
        return None, kind, False
    return geometry, kind, fine


def _geometries(
    value: Mapping[str, Any], line: int, where: str, path: str, fine: bool, found: GeoJsonFile
) -> tuple[BaseGeometry | None, str | None, bool]:
    members = value.get("geometries")
    if not isinstance(members, list):
        found.problem(line, f"{where}: {path}.geometries: expected a list of geometries, got {_kind(members)}")
        return None, "GeometryCollection", False
    parts = []
    for i, member in enumerate(members):
        part, _, sound = _geometry(member, line, where, f"{path}.geometries[{i}]", found)
        fine &= sound
        if part is not None:
            parts.append(part)
    if len(parts) < len(members):
        return None, "GeometryCollection", False
    return shapely.GeometryCollection(parts), "GeometryCollection", fine


class _FormError(Exception):
    """Coordinates of the right type but not of the right form; `path` leads to them."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


def _build(kind: str, coordinates: Any) -> BaseGeometry:
    """A geometry from lists nested as its type asks; rings are closed here only if they are closed there."""
    if kind == "Point":
        return shapely.Point(_positions([coordinates], "")[0])
    if kind == "MultiPoint":
        return shapely.MultiPoint(_positions(coordinates, ""))
    if kind == "LineString":
        return shapely.LineString(_line_positions(coordinates, ""))
    if kind == "MultiLineString":
        return shapely.MultiLineString([_line_positions(line, f"[{i}]") for i, line in enumerate(coordinates)])
    if kind == "Polygon":
        return _polygon(coordinates, "")
    return shapely.multipolygons([_polygon(part, f"[{i}]") for i, part in enumerate(coordinates)])


def _polygon(rings: list[list[Position]], path: str) -> BaseGeometry:
    closed = []
    for i, ring in enumerate(rings):
        positions = _positions(ring, f"{path}[{i}]")
        if len(positions) < MIN_RING:
            raise _FormError(f"{path}[{i}]", f"a ring needs at least {MIN_RING} positions, got {len(positions)}")
        if (positions[0] != positions[-1]).any():
            first, last = positions[0].tolist(), positions[-1].tolist()
            raise _FormError(
                f"{path}[{i}]", f"the ring is not closed: it begins at {first} and ends at {last}; repeat the first"
            )
        closed.append(positions)
    return shapely.Polygon(closed[0], closed[1:]) if closed else shapely.Polygon()


def _line_positions(line: list[Position], path: str) -> npt.NDArray[np.float64]:
    positions = _positions(line, path)
    if len(positions) < 2:
        raise _FormError(path, f"a line needs at least 2 positions, got {len(positions)}")
    return positions


def _positions(positions: list[Position], path: str) -> npt.NDArray[np.float64]:
    """float64[n, 2]: longitude and latitude, altitudes dropped."""
    if not positions:
        return np.empty((0, 2), dtype=np.float64)
    for i, position in enumerate(positions):
        if len(position) < 2:
            raise _FormError(f"{path}[{i}]", f"a position needs longitude and latitude, got {position}")
    return np.array([position[:2] for position in positions], dtype=np.float64)


def _check_bbox(value: Mapping[str, Any], line: int, where: str, path: str, found: GeoJsonFile) -> bool:
    """A bbox is 4 or 6 numbers, nothing else is asked of it: it is never used."""
    if "bbox" not in value:
        return True
    try:
        numbers = msgspec.convert(value["bbox"], list[float])
    except msgspec.ValidationError:
        numbers = []
    if len(numbers) in (4, 6):
        return True
    found.problem(line, f"{where}: {path}.bbox: expected 4 or 6 numbers, got {str(value['bbox'])[:60]}")
    return False


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null or nothing"}
    return names.get(type(value), f"the number {value}" if isinstance(value, int | float) else type(value).__name__)


def _text(identity: object) -> str | None:
    return None if identity is None else str(identity)


def _line(content: bytes, byte: int) -> int:
    return content.count(b"\n", 0, byte) + 1


def _byte_of(error: Exception, content: bytes) -> int:
    """Where msgspec says a text is broken ("... (byte 17)"): its end if it was cut off, its start if it is silent."""
    _, _, rest = str(error).rpartition("(byte ")
    digits = rest.rstrip(")")
    if digits.isdigit():
        return int(digits)
    return len(content.rstrip()) if "truncated" in str(error) else 0


def _address(data: object) -> int:
    return int(np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0])  # type: ignore[call-overload]  # any buffer
