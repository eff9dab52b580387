"""Making a city folder from a boundary file or from a box, whole or not at all.

The folder loads as it is. A city in China starts with the offices, responsibilities and deadlines that Shanghai has,
under generic names, and with the national holiday notices; any other with one duty desk and Shanghai's deadlines.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import shapely.geometry

from schemas.datums import DATUM_NAMES, Datum
from schemas.errors import SettingsError
from topology import geojson_file
from topology.city import BUILT_IN, DEFAULT_CITY, City
from topology.city_file import DEFAULT_CELL_M, NAME
from topology.divisions import full_name
from topology.geojson_file import Feature, GeoJsonFile
from topology.levels import Level

MARGIN_DEG: Final = 0.02
"""Around the boundaries: 2 km, more than any datum shifts them (GCJ-02 some 0.7 km, BD-09 some 1.5 km)."""
KEPT: Final = ("name_en", "level", "parent", "valid_from", "valid_to", "datum", "crs")
CHINESE_ZONES: Final = ("Asia/Shanghai", "Asia/Urumqi", "Asia/Chongqing", "Asia/Harbin", "PRC")

_CHINA: Final = (73.0, 18.0, 135.5, 54.0)
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_BOUNDARIES: Final = Path("boundaries") / "boundary.geojson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a folder shall be made of: `source` (boundaries) or `box` (west, south, east, north; WGS-84 degrees).

    What is None is worked out: the code from the boundaries' codes, else from the folder's name; names from the
    boundaries, else from the folder's name; the zone from the place; the datum from the boundaries, or it is WGS-84.
    """

    folder: Path
    source: Path | None = None
    box: tuple[float, float, float, float] | None = None
    datum: str | None = None
    code_field: str = "code"
    name_field: str = "name"
    level: str | None = None
    code: str | None = None
    name_zh: str | None = None
    name_en: str | None = None
    zone: str | None = None
    cell_m: float = DEFAULT_CELL_M


@dataclass(frozen=True, slots=True)
class _Ground:
    """Where the city is: its box and boundaries, and what they say it is called."""

    box: tuple[float, float, float, float]
    boundaries: str
    code: str
    name_zh: str
    lines: tuple[int, ...] = ()
    """Line of each feature in the source."""


def make(request: Request) -> list[str]:
    """Make the folder and check that it loads. The answer are notes on what was taken for granted.

    Raises SettingsError with every problem; then nothing was made.
    """
    folder = request.folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder}: is there already and not empty; name a new folder")
    notes: list[str] = []
    problems: list[str] = []
    _check(request, problems)
    ground = None
    if not problems:
        ground = _from_box(request) if request.box is not None else _from_file(request, problems, notes)
    if ground is not None:
        _check_names(request, ground, problems)
    if problems or ground is None:
        raise SettingsError(problems)
    files = _files(request, ground, _zone(request, ground, notes))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # beside the goal, so that one rename makes all of it appear at once
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            draft = Path(scratch) / folder.name
            _write(draft, files)
            try:
                City.load(draft)
            except SettingsError as error:
                raise SettingsError(_in_the_source(error.problems, draft, request, ground)) from None
            if folder.is_dir():
                folder.rmdir()  # empty, as seen above; refuses otherwise
            draft.rename(folder)
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be made: {(error.strerror or str(error)).lower()}") from None
    return notes


def _write(draft: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = draft / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")


def _check(request: Request, problems: list[str]) -> None:
    """What is wrong with the request itself."""
    if (request.source is None) == (request.box is None):
        problems.append("city new: give either --from a boundary file or --box west,south,east,north")
    if request.datum is not None and request.datum.upper() not in DATUM_NAMES:
        problems.append(f"--datum {request.datum!r}: choose one of WGS-84, CGCS2000, GCJ-02, BD-09")
    if request.level is not None and request.level.lower() not in _LEVELS:
        problems.append(f"--level {request.level!r}: choose one of {', '.join(_LEVELS)}")
    if request.code is not None and not _CODE.fullmatch(request.code):
        problems.append(f"--code {request.code!r}: expected up to 32 letters and digits")
    if request.box is not None:
        west, south, east, north = request.box
        if not (-180 <= west < east <= 180 and -85 <= south < north <= 85):
            problems.append(f"--box {west},{south},{east},{north}: expected degrees as west,south,east,north")
        if request.datum is not None and DATUM_NAMES.get(request.datum.upper()) not in (Datum.WGS84, Datum.CGCS2000):
            problems.append(f"--datum {request.datum}: a box is in WGS-84")
    if request.zone is not None:
        try:
            ZoneInfo(request.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            problems.append(f"--zone {request.zone!r}: not a time zone; write a name such as Asia/Shanghai")


def _check_names(request: Request, ground: _Ground, problems: list[str]) -> None:
    """Names go into tables and templates, where these signs mean something."""
    for name in (ground.name_zh, request.name_en or ""):
        if not name.isprintable() or any(sign in name for sign in ',"{}'):
            problems.append(
                f"name {name!r}: must not have commas, quotes, braces or line breaks; say --name or --name-en"
            )


_LEVELS: Final = tuple(level.name.lower() for level in Level)


# --- where the city is
# --------------------------------------------------------------------------------------------------


def _from_box(request: Request) -> _Ground:
    """A box is a city of one piece."""
    assert request.box is not None
    west, south, east, north = request.box
    code = request.code or _slug(request.folder.name)
    name = request.name_zh or request.name_en or request.folder.name
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = {"code": code, "name": name, "name_en": request.name_en, "level": "city"}
    feature = _feature(properties, {"type": "Polygon", "coordinates": [ring]})
    return _Ground(request.box, _collection("WGS-84", [feature]), code, name)


def _from_file(request: Request, problems: list[str], notes: list[str]) -> _Ground | None:
    """The boundaries under the names that a city folder uses; above them all a city, which they may or may not have."""
    assert request.source is not None
    content = geojson_file.read(request.source)
    if content.problems or not content.features:
        problems += content.problems or [f"{request.source}:1: the file has no features"]
        return None
    features = [_named(feature, request, content, problems) for feature in content.features]
    if problems:
        return None
    # the file's word on the datum counts for all its features; one that contradicts --datum is found when it is loaded
    stated = content.members.get("datum") or content.members.get("crs")
    if stated is not None and request.datum is not None:
        notes.append(
            f"{request.source} says its datum is {str(stated)[:80]}; --datum {request.datum} was taken instead"
        )
    if request.datum is None and stated is None and not any(f.get("datum") or f.get("crs") for f in features):
        notes.append(
            f"{request.source} says no datum: taken for WGS-84. Map services in China use GCJ-02, which lies some "
            "500 m aside: say --datum GCJ-02 if it comes from one"
        )
    tops = [feature for feature in features if feature.get("level") == "city" or _is_city_code(str(feature["code"]))]
    code = request.code or (str(tops[0]["code"]) if tops else _common_code([str(f["code"]) for f in features]))
    code = code or _slug(request.folder.name)
    known = str(tops[0]["name"]) if tops else _official_name(code)
    name = request.name_zh or known or request.name_en or request.folder.name
    lines = [
        _feature(properties, None if feature.geometry is None else shapely.geometry.mapping(feature.geometry))
        for properties, feature in zip(features, content.features, strict=True)
    ]
    if not tops:
        for i, properties in enumerate(features):
            if not properties.get("parent") and _level_of(properties) is Level.DISTRICT:
                geometry = content.features[i].geometry
                shape = None if geometry is None else shapely.geometry.mapping(geometry)
                lines[i] = _feature({**properties, "parent": code}, shape)
        city = {"code": code, "name": name, "name_en": request.name_en, "level": "city"}
        lines.append(_feature(city, None))
    box = _box_around(content.features)
    if box is None:
        problems.append(f"{request.source}: no feature has a geometry, so there is no box to watch")
        return None
    declared = request.datum.upper() if request.datum is not None else stated if stated is not None else "WGS-84"
    text = _collection(declared, lines, own=request.datum is not None or stated is not None)
    return _Ground(box, text, code, name, tuple(feature.line for feature in content.features))


def _named(feature: Feature, request: Request, content: GeoJsonFile, problems: list[str]) -> dict[str, Any]:
    """The feature's properties under the names of a city folder."""
    found: dict[str, Any] = {}
    for name, wanted in (("code", request.code_field), ("name", request.name_field)):
        value = feature.properties.get(wanted)
        if value is None and wanted == "code":
            value = feature.properties.get("adcode")  # what map services in China call it
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # codes are often written as numbers
        if not isinstance(value, str) or not value.strip():
            there = ", ".join(sorted(feature.properties)) or "none"
            problems.append(
                f"{content.path}:{feature.line}: feature {feature.index}: property {wanted!r} "
                f"{'is missing' if value is None else f'must be text, got {value!r}'}; its properties are {there}: "
                f"choose with --{name}-field"
            )
        else:
            found[name] = value.strip()
    found |= {name: feature.properties[name] for name in KEPT if feature.properties.get(name) is not None}
    if request.level is not None:
        found["level"] = request.level.lower()
    elif "level" in found and str(found["level"]).lower() not in (*_LEVELS, "1", "2", "3", "4", "5"):
        del found["level"]  # a word of the origin's own; an official code says the level by itself
    return found


def _level_of(properties: Mapping[str, Any]) -> Level | None:
    level = str(properties.get("level") or "").upper()
    if level in Level.__members__:
        return Level[level]
    return Level.DISTRICT if len(str(properties.get("code"))) == 6 else None


def _is_city_code(code: str) -> bool:
    return len(code) == 6 and code.isdecimal() and code.endswith("00")


def _common_code(codes: list[str]) -> str | None:
    """310101, 310104, ... -> 310000: the city that all official codes belong to."""
    if not all(code.isascii() and code.isdecimal() and len(code) >= 6 for code in codes):
        return None
    for size in (4, 2):
        starts = {code[:size] for code in codes}
        if len(starts) == 1:
            start = starts.pop()
            # a municipality's districts stand under 3101, the municipality itself is 310000
            return f"{start[:2]}0000" if start[:2] in _MUNICIPALITIES else f"{start:0<6}"
    return None


def _official_name(code: str) -> str | None:
    """310000 -> 上海市, 330100 -> 杭州市; None for a code that is none of China's."""
    return full_name(code.removesuffix("00").removesuffix("00") if len(code) == 6 else code)


_MUNICIPALITIES: Final = ("11", "12", "31", "50")


def _box_around(features: list[Feature]) -> tuple[float, float, float, float] | None:
    """West, south, east, north in hundredths of a degree, with a margin that no datum shifts boundaries out of."""
    bounds = [feature.geometry.bounds for feature in features if feature.geometry is not None]
    bounds = [box for box in bounds if not any(math.isnan(edge) for edge in box)]
    if not bounds:
        return None
    west, south = (min(box[i] for box in bounds) - MARGIN_DEG for i in (0, 1))
    east, north = (max(box[i] for box in bounds) + MARGIN_DEG for i in (2, 3))
    return (
        max(-180.0, math.floor(west * 100) / 100),
        max(-85.0, math.floor(south * 100) / 100),
        min(180.0, math.ceil(east * 100) / 100),
        min(85.0, math.ceil(north * 100) / 100),
    )


def _zone(request: Request, ground: _Ground, notes: list[str]) -> str:
    if request.zone is not None:
        return request.zone
    west, south, east, north = ground.box
    lon, lat = (west + east) / 2, (south + north) / 2
    if _CHINA[0] <= lon <= _CHINA[2] and _CHINA[1] <= lat <= _CHINA[3]:
        zone = "Asia/Shanghai"
    else:
        hours = round(lon / 15)  # without daylight saving; Etc/GMT+5 is five hours behind UTC
        zone = f"Etc/GMT{-hours:+d}" if hours else "UTC"
    notes.append(f"time zone taken for {zone}, from the place on the map; say --zone, or change it in {NAME}")
    return zone


def _title(name: str) -> str:
    """hang-zhou -> Hang Zhou: a folder's name as a city's, where nothing better is known."""
    return _slug(name).replace("-", " ").replace("_", " ").title()


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:32] or "city"


# --- what is written
# ----------------------------------------------------------------------------------------------------


def _files(request: Request, ground: _Ground, zone: str) -> dict[str, str]:
    """The text of each file by its path in the folder."""
    chinese = zone in CHINESE_ZONES
    name_en = request.name_en or (ground.name_zh if ground.name_zh.isascii() else _title(request.folder.name))
    pattern = BUILT_IN / DEFAULT_CITY
    files = {
        NAME: _city_toml(request, ground, zone, name_en),
        str(_BOUNDARIES): ground.boundaries,
        "deadlines.csv": (pattern / "deadlines.csv").read_text("utf-8"),
    }
    if chinese:
        short = ground.name_zh.removesuffix("市")
        for name in ("departments.csv", "responsibilities.csv"):
            text = (pattern / name).read_text("utf-8").replace("310000", ground.code)
            files[name] = text.replace("上海市", ground.name_zh).replace("上海", short).replace("Shanghai", name_en)
        for path in sorted((pattern / "calendar").iterdir()):
            files[f"calendar/{path.name}"] = path.read_text("utf-8")
    else:
        desk = f"{ground.code}-ops"
        files["departments.csv"] = (
            "# One line for each department; parent is where its incidents escalate to. A jurisdiction district:*\n"
            "# stands for one in each district, with {code}, {name_zh} and {name_en} for the district's.\n"
            "id,name_zh,name_en,level,jurisdiction,parent\n"
            f"{desk},{ground.name_zh}值班中心,{name_en} Operations Centre,city,{ground.code},\n"
        )
        files["responsibilities.csv"] = (
            "# Who leads and who assists (ids with ; between), for a category at a place; * is any.\n"
            "# valid_to is the first day on which a line no longer holds.\n"
            "category,jurisdiction,lead,assisting,valid_from,valid_to\n"
            f"*,*,{desk},,,\n"
        )
        files["calendar/README.md"] = (
            "Holiday notices, one JSON file a year, in the form of NateScarlet/holiday-cn:\n\n"
            '    {"year": 2027, "days": [{"date": "2027-01-01", "name": "New Year", "isOffDay": true}]}\n\n'
            "`isOffDay` false makes a weekend day a working day. A year without a file counts plain weeks.\n"
        )
    return files


def _city_toml(request: Request, ground: _Ground, zone: str, name_en: str) -> str:
    def word(text: str) -> str:
        return msgspec.json.encode(text).decode()  # TOML's basic strings know all of JSON's escapes

    west, south, east, north = ground.box
    return f"""\
# What Tongguan knows of the city as a whole. `tongguan city check` tells what is wrong in this folder.
code = {word(ground.code)}
name_zh = {word(ground.name_zh)}
name_en = {word(name_en)}
zone = {word(zone)}

# The box that is watched, degrees of WGS-84, and the edge of its cells.
west = {float(west)}
south = {float(south)}
east = {float(east)}
north = {float(north)}
cell_m = {float(request.cell_m)}

# The datum of boundaries and addresses that do not say theirs.
datum = "WGS-84"

# Gets what nobody on the list of responsibilities answers for.
duty_desk = {word(f"{ground.code}-ops")}

# Days that a holiday notice adds have the hours of the first day here.
[working_hours]
monday = ["09:00-17:30"]
tuesday = ["09:00-17:30"]
wednesday = ["09:00-17:30"]
thursday = ["09:00-17:30"]
friday = ["09:00-17:30"]
"""


def _feature(properties: Mapping[str, Any], geometry: Mapping[str, Any] | None) -> str:
    kept = {name: value for name, value in properties.items() if value is not None}
    return msgspec.json.encode({"type": "Feature", "properties": kept, "geometry": geometry}).decode()


def _collection(datum: object, features: list[str], *, own: bool = True) -> str:
    """One feature a line, so that a problem's line tells which one it is."""
    head = {"type": "FeatureCollection", **({"datum": datum} if own else {})}
    return msgspec.json.encode(head).decode()[:-1] + ',"features":[\n' + ",\n".join(features) + "\n]}\n"


def _in_the_source(problems: list[str], draft: Path, request: Request, ground: _Ground) -> list[str]:
    """Problems of the draft, told of the file and lines that the user gave."""

    def source_line(match: re.Match[str]) -> str:
        number = int(match[1]) - 2  # after the line of the collection
        return f"{request.source}:{ground.lines[number] if 0 <= number < len(ground.lines) else 1}:"

    pattern = re.compile(re.escape(str(draft / _BOUNDARIES)) + r":(\d+):")
    told = (pattern.sub(source_line, problem) if request.source is not None else problem for problem in problems)
    return [problem.replace(str(draft), str(request.folder)) for problem in told]
