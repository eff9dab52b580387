"""Who is responsible: the finest place first, on the day of the event; gaps and overlaps are found with their lines."""

from __future__ import annotations

import random
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from tests.topology.test_departments import PLACES
from topology.city_table import FileReport, day_ms
from topology.departments import Department, Departments
from topology.levels import Level
from topology.responsibilities import Responsibilities, Responsibility, read_responsibilities

ZONE = ZoneInfo("Asia/Shanghai")
STREET = ("310104003", "310104", "310000")
OFFICES = Departments(
    Department(id, id, id, Level.CITY, "310000", None)
    for id in ("ops", "water", "fire", "310101-water", "310104-water", "310104003-street")
)
HEAD = "category,jurisdiction,lead,assisting,valid_from,valid_to\n"


def read(tmp_path: Path, text: str) -> tuple[Responsibilities, FileReport]:
    path = tmp_path / "responsibilities.csv"
    path.write_text(HEAD + text, encoding="utf-8")
    report = FileReport()
    return read_responsibilities(path, PLACES, OFFICES, ZONE, report), report


def told(lines: list[str]) -> list[str]:
    return [line[line.index(".csv:") + len(".csv:") :] for line in lines]


def lead(found: Responsibilities, category: str, chain: tuple[str, ...], day: str = "2024-06-01") -> str | None:
    row = found.find(category, chain, day_ms(day, ZONE))
    return None if row is None else row.lead


def test_finest_place_counts_first_then_the_category_then_any(tmp_path: Path) -> None:
    found, report = read(
        tmp_path,
        "flood,310104003,310104003-street,,,\n*,310104,fire,,,\nflood,310104,310104-water,ops;fire,,\n"
        "flood,*,water,,,\n*,*,ops,,,\ngarbage,*,water,,,\n",
    )
    assert report.problems == []
    assert lead(found, "flood", STREET) == "310104003-street"
    assert lead(found, "noise", STREET) == "fire", "the district's line for any category is finer than the city's"
    assert lead(found, "flood", STREET[1:]) == "310104-water"
    assert lead(found, "flood", ("310101", "310000")) == "water"
    assert lead(found, "garbage", STREET) == "fire", "the finer place counts before the category"
    assert lead(found, "noise", ()) == "ops"
    row = found.find("flood", ("310104",), 0)
    assert row is not None and row.assisting == ("ops", "fire")


def test_responsibility_changes_at_local_midnight(tmp_path: Path) -> None:
    found, report = read(tmp_path, "flood,310104,310104-water,,,2024-07-01\nflood,310104,fire,,2024-07-01,\n")
    assert report.problems == []
    change = day_ms("2024-07-01", ZONE)
    assert change == 1_719_763_200_000  # 30 June, 16:00 UTC
    before, after = found.find("flood", ("310104",), change - 1), found.find("flood", ("310104",), change)
    assert before is not None and before.lead == "310104-water"
    assert after is not None and after.lead == "fire"


def test_line_for_one_district_counts_before_the_line_for_all(tmp_path: Path) -> None:
    found, report = read(tmp_path, "flood,district:*,{code}-water,ops,,\nflood,310104,fire,,2024-01-01,2024-02-01\n")
    assert report.problems == []
    assert lead(found, "flood", ("310101",)) == "310101-water"
    assert lead(found, "flood", ("310104",), "2023-12-31") == "310104-water"
    assert lead(found, "flood", ("310104",), "2024-01-15") == "fire"
    assert lead(found, "flood", ("310104",), "2024-02-01") == "310104-water"


def test_each_fault_is_told_with_its_line(tmp_path: Path) -> None:
    _, report = read(
        tmp_path,
        "flood,*,watr,fire;nobody,,\n"
        "flood,310999,water,,,\n"
        "fire,*,fire,,2024-13-01,\n"
        "noise,*,fire,,2024-02-01,2024-01-01\n"
        "noise,*,,,,\n"
        "smoke,district:*,{code}-fire,,,\n"
        "dust,district:*,{cod}-water,,,\n"
        "a,b\n",
    )
    assert told(report.problems) == [
        "6: lead missing",
        "9: 2 fields where the header has 6",
        "2: lead 'watr' is no department",
        "2: assisting 'nobody' is no department",
        "3: jurisdiction '310999' is in no boundary file",
        "4: valid_from: expected a date such as 2024-07-01, got '2024-13-01'",
        "5: valid_from 2024-02-01 must be before valid_to 2024-01-01, the first day on which the row does not hold "
        "any more",
        "7: lead '310101-fire' is no department (nor are 1 more of this line)",
        "8: {cod} stands for nothing; known are {code}, {parent}, {name_zh}, {name_en}",
    ]


def test_two_lines_for_the_same_matter_place_and_day_are_a_problem(tmp_path: Path) -> None:
    _, report = read(
        tmp_path,
        "flood,310104,water,,,2024-07-01\nflood,310104,fire,,2024-06-30,\nflood,*,water,,,\nnoise,*,water,,,\n"
        "flood,district:*,{code}-water,,,\nflood,district:*,water,,,\n",
    )
    assert told(report.problems) == [
        "3: category 'flood' at '310104' is given to 'fire' while line 2 gives it to 'water': end one with valid_to "
        "before the other begins",
        "7: category 'flood' at '310101' is given to 'water' while line 6 gives it to '310101-water': end one with "
        "valid_to before the other begins",
    ]


def test_lines_that_follow_each_other_do_not_overlap(tmp_path: Path) -> None:
    _, report = read(tmp_path, "a,*,water,,2024-02-01,\na,*,fire,,2024-01-01,2024-02-01\na,*,ops,,,2024-01-01\n")
    assert report.problems == []


def test_overlap_with_a_line_further_up_is_found_behind_a_short_one(tmp_path: Path) -> None:
    _, report = read(
        tmp_path, "a,*,water,,2024-01-01,2024-12-01\na,*,fire,,2024-02-01,2024-03-01\na,*,ops,,2024-06-01,\n"
    )
    assert [line.split(":")[0] for line in told(report.problems)] == ["3", "4"]


def test_department_that_leads_and_assists_is_kept_once_with_a_warning(tmp_path: Path) -> None:
    found, report = read(tmp_path, "a,*,water,water;ops;ops,,\n")
    assert told(report.warnings) == ["2: 'water' both leads and assists at '*'"]
    assert found.entries[0].assisting == ("ops",)


def test_division_without_boundary_is_good_for_addresses_where_its_district_is_known(tmp_path: Path) -> None:
    found, report = read(tmp_path, "a,310104004,water,,,\n")
    assert report.problems == []
    assert told(report.warnings)[0].startswith("2: jurisdiction '310104004' has no boundary: ")
    assert lead(found, "a", ("310104004", "310104", "310000")) == "water"


def row(
    start: int | None, end: int | None, line: int, *, jurisdiction: str = "*", category: str = "a"
) -> Responsibility:
    return Responsibility(category, jurisdiction, "x", (), start, end, line)


bound = st.none() | st.integers(0, 12)
rows = st.lists(
    st.tuples(bound, bound, st.sampled_from(("*", "p", "q")), st.sampled_from(("*", "a", "b"))).filter(
        lambda r: r[0] is None or r[1] is None or r[0] < r[1]
    ),
    max_size=7,
)


@given(rows)
@example([(None, 9, "*", "a"), (2, 3, "p", "*")])
def test_gaps_are_exactly_the_times_for_which_nobody_is_found(
    spans: list[tuple[int | None, int | None, str, str]],
) -> None:
    found = Responsibilities(
        row(start, end, i, jurisdiction=where, category=category)
        for i, (start, end, where, category) in enumerate(spans)
    )
    gaps = found.gaps(["a"], ("p",))
    for at in range(-2, 15):
        in_gap = any((start is None or start <= at) and (end is None or at < end) for start, end in gaps)
        assert in_gap == (found.find("a", ("p",), at) is None)
    flat = [edge for gap in gaps for edge in gap if edge is not None]
    assert flat == sorted(set(flat)), "in order, and none touches the next"


def test_gap_is_only_where_none_of_several_names_has_an_answer() -> None:
    found = Responsibilities([row(None, 5, 2, category="a"), row(3, 9, 3, category="b")])
    assert found.gaps(["a", "b"], ()) == [(9, None)]
    assert found.gaps(["b"], ()) == [(None, 3), (9, None)]


@given(rows, st.randoms())
def test_overlaps_are_there_exactly_when_two_lines_hold_at_once(
    spans: list[tuple[int | None, int | None, str, str]], chance: random.Random
) -> None:
    entries = [
        row(start, end, i, jurisdiction=where, category=category)
        for i, (start, end, where, category) in enumerate(spans)
    ]
    chance.shuffle(entries)
    found = Responsibilities(entries).overlaps()
    twice = {
        (one.jurisdiction, one.category)
        for one in entries
        for other in entries
        if one.line < other.line
        and (one.jurisdiction, one.category) == (other.jurisdiction, other.category)
        and any(one.valid_at(at) and other.valid_at(at) for at in range(-1, 14))
    }
    assert {(first.jurisdiction, first.category) for first, _ in found} == twice
    for first, second in found:
        assert first.line < second.line
        assert any(first.valid_at(at) and second.valid_at(at) for at in range(-1, 14))
