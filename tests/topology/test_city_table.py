"""The tables of a city folder: plain CSV with comments, and whatever is in a file, its problems are told in words."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsError
from tests.support.city_folder import write_city
from topology.city import City
from topology.city_table import MAX_PROBLEMS, FileReport, Row, day_ms, parse_date, read_table

NAMES = (
    "city.toml",
    "departments.csv",
    "responsibilities.csv",
    "deadlines.csv",
    "calendar/2024.json",
    "boundaries/all.geojson",
)
SPICE = (
    *("*", ",", '"', "\n", "#", "{code}", "{", "}", "-", "0", "9" * 30, "district:*", "\x00", "\ufeff", "１", "[", "]"),
    *("=", "é", "null", "2024-W01-1", "0001-01-01", "9999-12-31", "-inf", "1e400", "true", "桂", "\\", "/../", ";"),
)  # fmt: skip


def read(tmp_path: Path, content: str | bytes) -> tuple[list[Row], FileReport]:
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = FileReport()
    return read_table(path, ("a", "b"), ("c",), report), report


def test_rows_have_the_line_they_start_on_and_no_empty_fields(tmp_path: Path) -> None:
    rows, report = read(
        tmp_path, '\ufeff# first a word\r\n a ,b,c\r\n\r\n1,2,\r\n# a reason, with "signs\r\n"x\ny",2,3\r\n4,5,6'
    )
    assert report.problems == report.warnings == []
    assert [(row.line, dict(row.fields)) for row in rows] == [
        (4, {"a": "1", "b": "2"}),
        (6, {"a": "x\ny", "b": "2", "c": "3"}),
        (8, {"a": "4", "b": "5", "c": "6"}),
    ]


def test_faults_of_form_are_told_with_their_lines(tmp_path: Path) -> None:
    rows, report = read(tmp_path, 'a,b\n1\n,2\n"1"x,2\n3,4\n')
    assert [row.line for row in rows] == [5]
    assert [line.split(".csv:")[1] for line in report.problems] == [
        "2: 1 fields where the header has 2",
        "3: a missing",
        "4: not CSV: ',' expected after '\"'",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "1: the file is empty; the first line must name the columns a, b"),
        ("# only words\n", "1: the file is empty"),
        ("a,c\n1,2\n", "1: missing column b; found a, c"),
        ("a,b,b\n", "1: column b appears more than once"),
        ("a,b\n1,名\n".encode("gbk"), "2: byte 0xc3 is not UTF-8; save the file as UTF-8 (Chinese spreadsheets often"),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path: Path, content: str | bytes, problem: str) -> None:
    rows, report = read(tmp_path, content)
    assert rows == []
    assert problem in report.problems[0]


def test_unused_column_is_a_warning(tmp_path: Path) -> None:
    rows, report = read(tmp_path, "a,b,lead\n1,2,3\n")
    assert len(rows) == 1
    assert "column 'lead' is not used; known are a, b, c" in report.warnings[0]


def test_endless_problems_are_counted_not_listed(tmp_path: Path) -> None:
    _, report = read(tmp_path, "a,b\n" + "1\n" * (MAX_PROBLEMS + 7))
    assert len(report.all_problems()) == MAX_PROBLEMS + 1
    assert report.all_problems()[-1] == "and 7 more problems"


@pytest.mark.parametrize(
    "text", ["2024-1-1", "20240101", "2024-W01-1", "2024-02-30", "1899-12-31", "2201-01-01", "x", ""]
)
def test_dates_have_one_form(text: str) -> None:
    with pytest.raises(ValueError, match="expected a date such as 2024-07-01"):
        parse_date(text)


def test_date_begins_at_local_midnight_whatever_the_clocks_do() -> None:
    assert day_ms("2024-07-01", ZoneInfo("America/New_York")) == 1_719_806_400_000  # 04:00 UTC
    # in Havana clocks go from 00:00 to 01:00 on 10 March 2024: the day begins an hour late by the wall
    assert day_ms("2024-03-10", ZoneInfo("America/Havana")) == 1_710_046_800_000  # 05:00 UTC


@given(st.sampled_from(NAMES), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_to_a_file_the_city_loads_or_says_why(name: str, seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_city(Path(scratch) / "city")
        path = folder / name
        text = path.read_text("utf-8")
        for _ in range(chance.randint(1, 4)):
            start = chance.randint(0, len(text))
            end = start + chance.choice((0, 0, 1, 3, 20))
            text = text[:start] + chance.choice(SPICE) + text[end:]
        path.write_bytes(text.encode())
        problems: list[str] | None = None
        try:
            City.load(folder)
        except SettingsError as error:
            problems = error.problems
        assert problems is None or (problems and all(one.startswith(f"{folder}/") for one in problems)), problems
