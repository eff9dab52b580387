"""A small city folder that loads without a warning, to be changed file by file: two districts, one with a street."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.errors import SettingsError
from topology.city import City

CITY_TOML = """\
code = "990000"
name_zh = "测试市"
name_en = "Testville"
zone = "Asia/Shanghai"
west = 120.0
south = 30.0
east = 120.2
north = 30.1
cell_m = 500.0
duty_desk = "990000-ops"

[working_hours]
monday = ["09:00-17:30"]
tuesday = ["09:00-17:30"]
wednesday = ["09:00-17:30"]
thursday = ["09:00-17:30"]
friday = ["09:00-12:00", "13:00-16:00"]
"""
DEPARTMENTS = """\
id,name_zh,name_en,level,jurisdiction,parent
990000-ops,测试市城运中心,Testville Operations Centre,city,990000,
990000-water,测试市水务局,Testville Water,city,990000,990000-ops
# one in each district
{code}-water,{name_zh}水务局,{name_en} Water,district,district:*,{parent}-water
{code}-street,{name_zh}城运中心,,subdistrict,subdistrict:*,990000-ops
"""
RESPONSIBILITIES = """\
category,jurisdiction,lead,assisting,valid_from,valid_to
flood,district:*,{code}-water,990000-ops,,
flood,*,990000-water,,,
garbage,subdistrict:*,{code}-street,{parent}-water;990000-ops,,
*,*,990000-ops,,,
"""
DEADLINES = """\
category,severity,accept,handle,verify,clock,why
*,0,4h,7d,2d,working,the rest
*,4,5m,2h,4h,calendar,minutes count
flood,1-2,15m,4h,1d,calendar,"passable, after some hours"
"""
NOTICE = '{"year": 2024, "days": [{"date": "2024-05-01", "name": "劳动节", "isOffDay": true}]}'


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(geometry: dict[str, Any] | None, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def collection(*features: dict[str, Any], **members: Any) -> str:
    """One feature a line, from line 2 on."""
    head = json.dumps({"type": "FeatureCollection", **members}, ensure_ascii=False)[:-1]
    return head + ', "features": [\n' + ",\n".join(json.dumps(one, ensure_ascii=False) for one in features) + "\n]}\n"


def boundaries() -> str:
    return collection(
        feature(box(120.0, 30.0, 120.2, 30.1), code="990000", name="测试市", name_en="Testville", level="city"),
        feature(box(120.0, 30.0, 120.1, 30.1), code="990101", name="西区", name_en="West", parent="990000"),
        feature(box(120.1, 30.0, 120.2, 30.1), code="990102", name="东区", name_en="East", parent="990000"),
        feature(box(120.0, 30.0, 120.1, 30.1), code="990101001", name="河街道", name_en="River Street"),
        datum="WGS-84",
    )


def write_city(folder: Path, **changed: str | None) -> Path:
    """The folder, some of its files changed or left out (None): `departments_csv=`, `calendar__2025_json=`."""
    files: dict[str, str] = {
        "city.toml": CITY_TOML,
        "boundaries/all.geojson": boundaries(),
        "departments.csv": DEPARTMENTS,
        "responsibilities.csv": RESPONSIBILITIES,
        "deadlines.csv": DEADLINES,
        "calendar/2024.json": NOTICE,
    }
    for key, text in changed.items():
        name = key.replace("__", "/")
        stem, _, ending = name.rpartition("_")
        if text is None:
            del files[f"{stem}.{ending}"]
        else:
            files[f"{stem}.{ending}"] = text
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return folder


def problems_of(folder: Path) -> list[str]:
    """The problems of a folder that must be refused, with paths counted from the folder."""
    try:
        City.load(folder)
    except SettingsError as error:
        return [problem.replace(f"{folder}/", "") for problem in error.problems]
    raise AssertionError(f"{folder} loads")
