"""Making a city folder: it loads as it is made, whatever it is made of, and nothing is left where it cannot be made."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import SettingsError
from tests.support.city_folder import box, collection, feature
from topology.city import City
from topology.city_new import Request, make
from topology.levels import Level

NOW = 1_714_010_400_000
BOSTON = (-71.2, 42.2, -70.9, 42.45)


def boundary_file(path: Path, text: str | None = None) -> Path:
    """Three districts of Hangzhou as squares, under a map service's names."""
    path.write_text(
        text
        or collection(
            *(
                feature(
                    box(120.0 + i / 10, 30.0, 120.1 + i / 10, 30.1), adcode=code, title=name, level="qu", crs="GCJ-02"
                )
                for i, (code, name) in enumerate(((330102, "上城区"), (330105, "拱墅区"), (330106, "西湖区")))
            )
        ),
        encoding="utf-8",
    )
    return path


def problems_of(request: Request) -> list[str]:
    """The problems of a request that must be refused, after a look that nothing was left behind."""
    before = sorted(os.listdir(request.folder.parent))
    with pytest.raises(SettingsError) as caught:
        make(request)
    assert sorted(os.listdir(request.folder.parent)) == before
    return caught.value.problems


def test_boundaries_of_a_map_service_become_a_city_that_loads(tmp_path: Path) -> None:
    source = boundary_file(tmp_path / "districts.geojson")
    request = Request(folder=tmp_path / "hz", source=source, datum="GCJ-02", code_field="adcode", name_field="title")
    notes = make(request)
    city = City.load(tmp_path / "hz")
    assert (city.code, city.name_zh, city.zone) == ("330100", "杭州市", "Asia/Shanghai")
    assert city.name_en == "Hz", "by the folder's name, for nothing better is known"
    assert len(notes) == 1 and "Asia/Shanghai" in notes[0]
    assert [(e.code, e.name_zh, e.level, e.parent) for e in city.jurisdictions.entries] == [
        ("330100", "杭州市", Level.CITY, None),
        ("330102", "上城区", Level.DISTRICT, "330100"),
        ("330105", "拱墅区", Level.DISTRICT, "330100"),
        ("330106", "西湖区", Level.DISTRICT, "330100"),
    ]
    # GCJ-02 lies some 450 m to the east there: the border written at 120.1 is at 120.0955 in WGS-84
    assert city.jurisdictions.code_at(120.15, 30.05, NOW) == "330105"
    assert city.jurisdictions.code_at(120.0999, 30.05, NOW) == "330105"
    row = city.responsibilities.find("fire", city.chain("330106", NOW), NOW)
    assert row is not None and row.lead == "330106-fire"
    assert city.departments.name(row.lead) == "西湖区消防救援支队"
    assert city.departments.name("330100-police") == "杭州市公安局"
    assert city.calendar.years_without_notice(2024, 2024) == ()


def test_box_holds_all_boundaries_in_whatever_datum(tmp_path: Path) -> None:
    source = boundary_file(tmp_path / "districts.geojson")
    for datum in ("WGS-84", "GCJ-02", "BD-09"):
        text = source.read_text("utf-8").replace("GCJ-02", datum)
        folder = tmp_path / datum
        make(Request(folder=folder, source=boundary_file(tmp_path / "d.geojson", text), name_field="title"))
        assert City.load(folder).warnings == tuple(
            w for w in City.load(folder).warnings if "stand for none yet" in w
        ), "no boundary reaches out of the box"


def test_box_becomes_a_city_of_one_piece_abroad(tmp_path: Path) -> None:
    request = Request(
        folder=tmp_path / "boston", box=BOSTON, name_en="Boston", name_zh="波士顿", zone="America/New_York"
    )
    assert make(request) == []
    city = City.load(tmp_path / "boston")
    assert (city.code, city.name_en, city.zone) == ("boston", "Boston", "America/New_York")
    assert city.jurisdictions.code_at(-71.06, 42.36, NOW) == "boston"
    row = city.responsibilities.find("flood", city.chain("boston", NOW), NOW)
    assert row is not None and row.lead == city.duty_desk == "boston-ops"
    assert city.departments.name("boston-ops", language="en") == "Boston Operations Centre"
    assert city.warnings == ()


def test_box_alone_is_enough_and_its_zone_is_told(tmp_path: Path) -> None:
    (note,) = make(Request(folder=tmp_path / "x", box=BOSTON))
    assert "Etc/GMT+5" in note
    assert City.load(tmp_path / "x").zone == "Etc/GMT+5"
    make(Request(folder=tmp_path / "y", box=(120.0, 30.0, 120.2, 30.1)))
    assert City.load(tmp_path / "y").zone == "Asia/Shanghai"
    make(Request(folder=tmp_path / "z", box=(-0.2, 51.4, 0.1, 51.6)))
    assert City.load(tmp_path / "z").zone == "UTC"
    make(Request(folder=tmp_path / "w", box=(151.0, -34.0, 151.3, -33.7)))
    assert City.load(tmp_path / "w").zone == "Etc/GMT-10"


def test_boundary_of_the_whole_city_is_the_city(tmp_path: Path) -> None:
    text = json.dumps(feature(box(120.0, 30.0, 120.3, 30.1), adcode="330100", name="杭州市"))
    make(Request(folder=tmp_path / "hz", source=boundary_file(tmp_path / "c.geojson", text)))
    city = City.load(tmp_path / "hz")
    assert [(e.code, e.level) for e in city.jurisdictions.entries] == [("330100", Level.CITY)]
    assert (city.code, city.name_zh) == ("330100", "杭州市")


def test_file_without_a_datum_is_taken_for_wgs84_with_a_word_on_it(tmp_path: Path) -> None:
    text = collection(feature(box(120.0, 30.0, 120.3, 30.1), code="330106", name="西湖区"))
    notes = make(Request(folder=tmp_path / "hz", source=boundary_file(tmp_path / "c.geojson", text)))
    assert any("says no datum: taken for WGS-84" in note for note in notes)


def test_districts_abroad_need_a_level_which_can_be_given(tmp_path: Path) -> None:
    text = collection(feature(box(-71.2, 42.2, -71.0, 42.4), id="north", name="North End"))
    source = boundary_file(tmp_path / "c.geojson", text)
    request = Request(folder=tmp_path / "boston", source=source, code_field="id", zone="America/New_York")
    assert problems_of(request) == [
        f"{source}:2: feature 1 (north North End): level is missing; choose one of city, district, subdistrict, "
        "community, unit"
    ]
    make(replace(request, level="district"))
    city = City.load(tmp_path / "boston")
    assert city.chain("north", NOW) == ("north", "boston")


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "precious.txt").write_text("x")
    assert problems_of(Request(folder=folder, box=BOSTON)) == [
        f"{folder}: is there already and not empty; name a new folder"
    ]
    assert os.listdir(folder) == ["precious.txt"]
    assert "is there already" in problems_of(Request(folder=folder / "precious.txt", box=BOSTON))[0]


def test_empty_folder_and_missing_parents_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make(Request(folder=tmp_path / "empty", box=BOSTON))
    make(Request(folder=tmp_path / "a" / "b", box=BOSTON))
    assert (tmp_path / "empty" / "city.toml").is_file() and (tmp_path / "a" / "b" / "city.toml").is_file()
    assert sorted(os.listdir(tmp_path)) == ["a", "empty"]


def test_every_faulty_feature_is_told_with_the_line_of_the_users_file(tmp_path: Path) -> None:
    bow_tie = {
        "type": "Polygon",
        "coordinates": [[[120.1, 30], [120.2, 30.1], [120.2, 30], [120.1, 30.1], [120.1, 30]]],
    }
    text = collection(
        feature(box(120.0, 30.0, 120.1, 30.1), code="330102", name="甲"),
        feature(bow_tie, code="330105", name="乙"),
        feature(box(120.2, 30.0, 120.3, 30.1), code="330102", name="丙"),
    )
    source = boundary_file(tmp_path / "c.geojson", text)
    told = problems_of(Request(folder=tmp_path / "hz", source=source))
    assert any(line.startswith(f"{source}:3: feature 2 (330105 乙)") for line in told), told
    assert any(line.startswith(f"{source}:4: feature 3 (330102 丙)") for line in told), told


def test_features_without_code_or_name_are_told_with_what_they_have(tmp_path: Path) -> None:
    text = collection(
        feature(box(120.0, 30.0, 120.1, 30.1), id="330102", name="甲"),
        feature(box(120.1, 30.0, 120.2, 30.1), code="330105", name=7.5),
    )
    source = boundary_file(tmp_path / "c.geojson", text)
    assert problems_of(Request(folder=tmp_path / "hz", source=source)) == [
        f"{source}:2: feature 1: property 'code' is missing; its properties are id, name: choose with --code-field",
        f"{source}:3: feature 2: property 'name' must be text, got 7.5; its properties are code, name: choose with "
        "--name-field",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ":1: not JSON"),
        ('{"type": "FeatureCollection", "features": []}', ":1: the file has no features"),
        ('{"type": "Feature", "properties": {"code": "330102", "name": "a"}, "geometry": null}', ": no feature has a"),
    ],
)  # fmt: skip
def test_files_without_boundaries_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    source = tmp_path / "c.geojson"
    source.write_text(text, encoding="utf-8")
    told = problems_of(Request(folder=tmp_path / "hz", source=source))
    assert told[0].startswith(f"{source}{problem}"), told


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"box": None}, "city new: give either --from a boundary file or --box west,south,east,north"),
        ({"source": Path("x.geojson")}, "city new: give either --from a boundary file or --box"),
        ({"box": (1.0, 2.0, 0.0, 3.0)}, "--box 1.0,2.0,0.0,3.0: expected degrees as west,south,east,north"),
        ({"box": (0.0, 51.0, 200.0, 52.0)}, "--box 0.0,51.0,200.0,52.0: expected degrees"),
        ({"datum": "ED50"}, "--datum 'ED50': choose one of WGS-84, CGCS2000, GCJ-02, BD-09"),
        ({"datum": "GCJ-02"}, "--datum GCJ-02: a box is in WGS-84"),
        ({"level": "county"}, "--level 'county': choose one of city, district"),
        ({"zone": "America/Bosten"}, "--zone 'America/Bosten': not a time zone"),
        ({"code": "a/b"}, "--code 'a/b': expected up to 32 letters and digits"),
        ({"name_zh": "a,b"}, "name 'a,b': must not have commas, quotes, braces or line breaks"),
        ({"name_en": "{code}\n"}, "name '{code}\\n': must not have"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense_are_refused_in_words(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    request = replace(Request(folder=tmp_path / "x", box=BOSTON), **change)
    assert problems_of(request)[0].startswith(problem)


def test_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    request = Request(folder=tmp_path / "file" / "city", box=BOSTON)
    with pytest.raises(SettingsError, match="cannot be made: "):
        make(request)
