"""Departments: one line can stand for sixteen; ids, parents and places that do not fit are told with their lines."""

from __future__ import annotations

from pathlib import Path

from topology.city_table import FileReport
from topology.departments import Departments, read_departments
from topology.levels import Jurisdiction, Level

NAN = float("nan")
HEAD = "id,name_zh,name_en,level,jurisdiction,parent\n"


def place(code: str, level: Level, parent: str | None = None, since: int | None = None, name: str = "") -> Jurisdiction:
    return Jurisdiction(code, name or f"名{code}", None, level, parent, since, None, NAN, NAN, NAN, NAN)


PLACES = (
    place("310000", Level.CITY),
    place("310101", Level.DISTRICT, "310000"),
    place("310104", Level.DISTRICT, "310000"),
    place("310104003", Level.SUBDISTRICT, "310104"),
)


def read(tmp_path: Path, text: str, places: tuple[Jurisdiction, ...] | None = PLACES) -> tuple[Departments, FileReport]:
    path = tmp_path / "departments.csv"
    path.write_text(HEAD + text, encoding="utf-8")
    report = FileReport()
    return read_departments(path, places, report), report


def told(lines: list[str]) -> list[str]:
    return [line[line.index("departments.csv:") + len("departments.csv:") :] for line in lines]


def test_line_for_each_district_makes_one_department_in_each(tmp_path: Path) -> None:
    departments, report = read(
        tmp_path,
        "310000-water,市水务局,Water Authority,city,310000,\n"
        "{code}-water,{name_zh}水务局,Water of {name_en},district,district:*,{parent}-water\n",
    )
    assert report.problems == report.warnings == []
    assert [one.id for one in departments] == ["310000-water", "310101-water", "310104-water"]
    one = departments.find("310104-water")
    assert one is not None
    assert (one.name_zh, one.name_en, one.level, one.jurisdiction, one.parent, one.line) == (
        "名310104水务局", "Water of 名310104", Level.DISTRICT, "310104", "310000-water", 3
    )  # fmt: skip
    assert departments.superior("310104-water") == departments.find("310000-water")
    assert departments.superior("310000-water") is None
    assert departments.superior("nobody") is None
    assert "310104-water" in departments and "nobody" not in departments


def test_names_of_a_department_stand_for_themselves_where_it_is_unknown(tmp_path: Path) -> None:
    departments, _ = read(tmp_path, "a,甲局,,city,310000,\n")
    assert departments.name("a") == departments.name("a", language="en") == "甲局"
    assert departments.name("b") == "b"


def test_each_fault_is_told_with_its_line(tmp_path: Path) -> None:
    _, report = read(
        tmp_path,
        "a,甲,,city,310000,nobody\n"
        "b,乙,,planet,310000,\n"
        "c,丙,,district,310999,\n"
        "d d,丁,,city,310000,\n"
        "a,戊,,city,310000,\n"
        "{code}-x,{nmae}局,,district,district:*,\n"
        "y,辛局,,district,district:*,\n"
        "{code}-z,壬局,,city,district:*,\n",
    )
    assert told(report.problems) == [
        "3: level 'planet': choose from city, district, subdistrict, community, unit",
        "4: jurisdiction '310999' is in no boundary file",
        "5: id 'd d': expected up to 64 letters, digits and _ . -",
        "6: department 'a' is there already, in line 2",
        "7: {nmae} stands for nothing; known are {code}, {parent}, {name_zh}, {name_en}",
        "8: id 'y' needs {code}: district:* makes one for each place",
        "9: jurisdiction 'district:*' does not fit level 'city'",
        "2: parent 'nobody' of 'a' is no department",
    ]


def test_missing_id_is_told(tmp_path: Path) -> None:
    _, report = read(tmp_path, ",己,,city,310000,\n")
    assert told(report.problems) == ["2: id missing"]


def test_departments_that_escalate_in_a_circle_are_told_once(tmp_path: Path) -> None:
    departments, report = read(
        tmp_path,
        "top,顶,,city,310000,\na,甲,,city,310000,b\nb,乙,,city,310000,c\nc,丙,,city,310000,a\nd,丁,,city,310000,a\n",
    )
    assert told(report.problems) == ["3: departments escalate in a circle: a -> b -> c -> a"]
    assert [one.id for one in departments.superiors("a")] == ["b", "c", "a"], "ends nevertheless"
    _, report = read(tmp_path, "a,甲,,city,310000,a\n")
    assert told(report.problems) == ["2: departments escalate in a circle: a -> a"]


def test_level_that_is_not_the_places_is_a_warning(tmp_path: Path) -> None:
    departments, report = read(tmp_path, "a,甲,,city,310104,\n")
    assert told(report.warnings) == ["2: level is city but '310104' is a district in the boundaries"]
    assert "a" in departments


def test_lines_for_a_level_that_the_city_lacks_warn_once(tmp_path: Path) -> None:
    departments, report = read(
        tmp_path, "{code}-a,甲,,community,community:*,\n{code}-b,乙,,community,community:*,\nc,丙,,city,310000,\n"
    )
    assert told(report.warnings) == ["2: the city has no community: lines for community:* stand for none yet"]
    assert [one.id for one in departments] == ["c"]


def test_place_that_was_renamed_has_its_department_once_under_the_new_name(tmp_path: Path) -> None:
    places = (
        place("310106", Level.DISTRICT, "310000", None, "旧区"),
        place("310106", Level.DISTRICT, "310000", 5, "新区"),
    )
    departments, report = read(tmp_path, "{code}-a,{name_zh}局,,district,district:*,\n", places)
    assert report.problems == []
    assert [one.name_zh for one in departments] == ["新区局"]


def test_without_boundaries_only_what_hangs_on_them_is_not_judged(tmp_path: Path) -> None:
    departments, report = read(
        tmp_path, "{code}-a,{name_zh}局,,district,district:*,\nb,乙,,city,whatever,\nc,丙,,planet,310000,\n", None
    )
    assert told(report.problems) == ["4: level 'planet': choose from city, district, subdistrict, community, unit"]
    assert [one.id for one in departments] == ["{code}-a", "b"]
