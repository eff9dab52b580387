"""Deadlines: the most specific line counts, days mean what their clock says, and every fault has its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from topology.city_table import FileReport
from topology.deadlines import MAX_MS, Deadlines, parse_duration, read_deadlines

HOUR = 3_600_000
WORKING_DAY = 8 * HOUR + HOUR // 2
HEAD = "category,severity,accept,handle,verify,clock,why\n"


def read(tmp_path: Path, text: str) -> tuple[Deadlines, list[str]]:
    path = tmp_path / "deadlines.csv"
    path.write_text(HEAD + text, encoding="utf-8")
    report = FileReport()
    found = read_deadlines(path, WORKING_DAY, report)
    return found, [line.removeprefix(f"{path}:") for line in report.problems]


def test_category_and_severity_count_before_category_before_severity_before_any(tmp_path: Path) -> None:
    found, problems = read(
        tmp_path,
        "*,0,8h,8h,8h,calendar,\n*,4,7h,7h,7h,calendar,\nfire,0,6h,6h,6h,calendar,\nfire,3-4,5h,5h,5h,calendar,\n"
        "gas_leak,0,4h,4h,4h,calendar,\n",
    )
    assert problems == []
    assert [found.find("fire", severity).accept_ms // HOUR for severity in (1, 2, 3, 4)] == [6, 6, 5, 5]
    assert [found.find("noise", severity).accept_ms // HOUR for severity in (1, 4)] == [8, 7]
    assert [found.find("gas_leak", severity).accept_ms // HOUR for severity in (1, 4)] == [4, 4]
    assert found.find("noise", 99).line == 2


def test_day_is_a_working_day_on_the_working_clock(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "*,0,1d,2d4h,1h30m,working,\nfire,0,1d,1d,1d,calendar,\n")
    ordinary, fire = found.find("x", 1), found.find("fire", 1)
    assert (ordinary.accept_ms, ordinary.handle_ms, ordinary.verify_ms) == (
        WORKING_DAY, 2 * WORKING_DAY + 4 * HOUR, HOUR + HOUR // 2
    )  # fmt: skip
    assert fire.accept_ms == 24 * HOUR


def test_each_fault_is_told_with_its_line(tmp_path: Path) -> None:
    _, problems = read(
        tmp_path,
        "*,1,1h,1h,1h,calendar,\nfire,5,1h,1h,1h,lunar,\nfire,0-2,1h,1h,1h,calendar,\nfire,3-1,1h,1h,1h,calendar,\n"
        "fire,1,0h,1x,,calendar,\nfire,2,0h,1x,-1h,calendar,\n*,1-2,1h,1h,1h,calendar,\n",
    )
    assert problems == [
        "6: verify missing",
        "3: severity '5': expected 1 (minor) to 4 (extreme), 1-2, or 0 for any",
        "3: clock 'lunar': choose working or calendar",
        "4: severity '0-2': expected 1 (minor) to 4 (extreme), 1-2, or 0 for any",
        "5: severity '3-1': expected 1 (minor) to 4 (extreme), 1-2, or 0 for any",
        "7: accept: expected more than nothing and at most five years, got '0h'",
        "7: handle: expected a duration such as 30m, 2h or 1d, got '1x'",
        "7: verify: expected a duration such as 30m, 2h or 1d, got '-1h'",
        "8: category '*', severity 1 is given already, in line 2",
        "1: a line for category * and severity 0 is missing: it holds for all the rest",
    ]


def test_list_without_a_line_for_all_the_rest_is_refused() -> None:
    with pytest.raises(SettingsError, match="severity 0 is missing"):
        Deadlines([])
    assert Deadlines.plain().find("anything", 2).handle_ms == 24 * HOUR


@pytest.mark.parametrize("text", ["", "1", "h", "1h1d", "１h", "1.5h", "1h ", "99999999999m", "9999d"])
def test_durations_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text, 24 * HOUR)


def test_longest_duration_is_five_years() -> None:
    assert parse_duration("1830d", 24 * HOUR) == MAX_MS
