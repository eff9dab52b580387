"""Types of incident: the built-in list is whole, a user's file extends it, and every fault has its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.incident_types import INDEX_CATEGORIES, OTHER, built_in_types, load_incident_types
from schemas.kinds import built_in_kinds
from schemas.sources import Source


def test_every_ticket_category_that_is_known_makes_a_known_type() -> None:
    types = built_in_types()
    assert not [kind.name for kind in built_in_kinds().of(Source.TICKETS) if kind.name not in types.by_ticket]


def test_every_category_of_the_index_has_incidents() -> None:
    assert {one.index_category for one in built_in_types().types.values()} == set(INDEX_CATEGORIES)


def test_an_alert_and_a_ticket_about_one_thing_make_one_type() -> None:
    types = built_in_types()
    assert types.of_alert("waterlogging") is types.of_ticket("flood")
    assert types.of_alert("fire") is types.of_ticket("fire")


def test_what_nobody_names_is_a_type_of_its_own_with_the_rules_of_other() -> None:
    found = built_in_types().of_ticket("飞碟")
    other = built_in_types().types[OTHER]
    assert (found.name, found.zh, found.en) == ("飞碟", "飞碟", "飞碟")
    assert (found.index_category, found.merge_minutes) == (other.index_category, other.merge_minutes)
    assert found.alerts == found.tickets == other.alerts or found.tickets == other.tickets


def test_a_file_of_ones_own_adds_and_replaces(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "parking: {zh: 违停, en: illegal parking, index: traffic, tickets: [parking], merge_minutes: 5}\n"
        "drone: {zh: 无人机, en: drone, index: public_safety, alerts: [drone]}\n",
        encoding="utf-8",
    )
    types = load_incident_types(file)
    assert types.of_ticket("parking").merge_minutes == 5 and types.of_ticket("parking").merge_rings is None
    assert types.of_alert("drone").zh == "无人机"
    assert types.of_ticket("flood").name == "waterlogging", "the rest stays"


FAULTS = """\
a: {zh: 甲, en: a, index: nowhere}
b: {zh: 乙, en: b, index: traffic, merge_rings: 6}
c: {zh: 丙, index: traffic}
d: {zh: 丁, en: d, index: traffic, colour: red}
e: {zh: 戊, en: e, index: traffic, tickets: flood}
f: {zh: 己, en: f, index: traffic, reopen_hours: soon}
f: {zh: 己, en: f, index: traffic}
g: 7
h: {zh: 庚, en: h, index: traffic, tickets: [flood]}
"""


def test_all_faults_of_a_file_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(FAULTS, encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        load_incident_types(file)
    problems = raised.value.problems
    for line, words in [
        (1, "index 'nowhere' must be one of"),
        (2, "merge_rings: expected a whole number from 0 to 5, got '6'"),
        (3, "en: expected words, it is missing"),
        (4, "unknown key 'colour'"),
        (5, "tickets: expected a list of categories"),
        (6, "reopen_hours: expected a whole number"),
        (7, "'f' is given twice, first in line 6"),
        (8, "expected a mapping"),
        (9, "tickets: 'flood' already makes waterlogging"),
    ]:
        assert any(problem.startswith(f"{file}:{line}: ") and words in problem for problem in problems), (
            line,
            problems,
        )
    assert len(problems) == 9


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"[]", "expected a mapping"),
        (b"a: [", "not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 1000, "nested too deep"),
    ],
)
def test_a_file_that_is_no_list_of_types_is_told_as_such(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=says):
        load_incident_types(file)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_incident_types(tmp_path / "none.yaml")
