"""What `city check` warns of: nobody responsible, words nobody uses, years without notice; the day is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from tests.support.city_folder import DEADLINES, NOTICE, RESPONSIBILITIES, write_city
from topology.city import City
from topology.city_check import counts, split_place, warnings_of

TODAY = date(2024, 4, 25)
KNOWN = {"flood": "waterlogging", "garbage": "garbage"}
HEAD = "category,jurisdiction,lead,assisting,valid_from,valid_to\n"


def warned(folder: Path, categories: Mapping[str, str] = KNOWN, today: date = TODAY) -> list[str]:
    return [line.replace(f"{folder}/", "") for line in warnings_of(City.load(folder), categories, today)]


def responsibilities(folder: Path, text: str) -> list[str]:
    """Warnings about a list of responsibilities, in a city with the notices of two years."""
    next_year = NOTICE.replace("2024", "2025")
    write_city(folder, responsibilities_csv=HEAD + text, calendar__2025_json=next_year)
    return warned(folder)


def test_city_in_order_has_no_warnings_but_the_coming_years_notice(tmp_path: Path) -> None:
    assert warned(write_city(tmp_path / "city")) == [
        "calendar: no holiday notice for 2025, the coming year: it counts plain weeks; put 2025.json, in the form of "
        "holiday-cn, there"
    ]


def test_years_without_notice_are_told_by_the_day_of_the_check(tmp_path: Path) -> None:
    folder = write_city(tmp_path / "city", calendar__2021_json=NOTICE.replace("2024", "2021"))
    past, this, coming = warned(folder, today=date(2026, 12, 31))
    assert past == "calendar: no holiday notice for 2022, 2023, 2025: such years count plain weeks"
    assert this.startswith("calendar: no holiday notice for 2026, this year")
    assert coming.startswith("calendar: no holiday notice for 2027, the coming year")
    past, coming = warned(folder, today=date(2024, 1, 1))
    assert past.startswith("calendar: no holiday notice for 2022, 2023:")
    assert coming.startswith("calendar: no holiday notice for 2025")


def test_city_without_any_notice_is_told_once(tmp_path: Path) -> None:
    (warning,) = warned(write_city(tmp_path / "city", calendar__2024_json=None))
    assert warning.startswith("calendar: no holiday notices: every year counts plain weeks")


def test_category_that_nobody_answers_for_anywhere(tmp_path: Path) -> None:
    assert responsibilities(tmp_path / "city", "flood,*,990000-ops,,,\n") == [
        "responsibilities.csv: nobody answers for 'garbage' anywhere: the duty desk gets it"
    ]


def test_type_of_incident_in_the_list_answers_for_its_categories(tmp_path: Path) -> None:
    assert responsibilities(tmp_path / "city", "waterlogging,*,990000-ops,,,\ngarbage,*,990000-ops,,,\n") == []


def test_places_where_nobody_answers_are_named(tmp_path: Path) -> None:
    assert responsibilities(tmp_path / "city", "flood,*,990000-ops,,,\ngarbage,990101,990101-water,,,\n") == [
        "responsibilities.csv: nobody answers for 'garbage' at 990000 测试市, 990102 东区, places outside all "
        "boundaries: the duty desk gets it"
    ]
    told = responsibilities(tmp_path / "city", "flood,*,990000-ops,,,\ngarbage,990101001,990101-water,,,\n")
    assert "at 990000 测试市, 990101 西区, 990102 东区 and 1 more places" in told[0]


def test_gap_between_two_lines_is_told_at_the_line_that_ends(tmp_path: Path) -> None:
    assert responsibilities(
        tmp_path / "city",
        "flood,*,990000-ops,,,\ngarbage,*,990000-ops,,,2023-01-01\ngarbage,*,990000-water,,2023-03-01,\n",
    ) == [
        "responsibilities.csv:3: nobody answers for 'garbage' anywhere from 2023-01-01 until 2023-03-01: the duty desk "
        "gets it"
    ]


def test_list_that_ends_without_a_successor_is_told(tmp_path: Path) -> None:
    assert responsibilities(tmp_path / "city", "*,*,990000-ops,,,2025-01-01\n") == [
        f"responsibilities.csv:2: nobody answers for {category!r} anywhere from 2025-01-01 on: the duty desk gets it"
        for category in ("flood", "garbage")
    ]


def test_time_before_a_list_began_is_no_gap_but_one_that_begins_later_is(tmp_path: Path) -> None:
    assert responsibilities(tmp_path / "city", "*,*,990000-ops,,2024-04-25,\n") == []
    told = responsibilities(tmp_path / "city", "*,*,990000-ops,,2024-04-26,\n")
    assert told[0] == (
        "responsibilities.csv:2: nobody answers for 'flood' anywhere until 2024-04-26: the duty desk gets it"
    )


def test_category_that_nothing_is_about_may_be_misspelt(tmp_path: Path) -> None:
    folder = write_city(
        tmp_path / "city",
        responsibilities_csv=RESPONSIBILITIES + "fload,*,990000-ops,,,\n",
        deadlines_csv=DEADLINES + "volcano,0,1h,1h,1h,calendar,\n",
        calendar__2025_json=NOTICE.replace("2024", "2025"),
    )
    assert warned(folder) == [
        "responsibilities.csv:6: category 'fload' is no known one; did you mean 'flood'?",
        "deadlines.csv:5: category 'volcano' is no known one; tickets and alerts of this name may come all the same",
    ]


def test_counts_of_everything(tmp_path: Path) -> None:
    found = counts(City.load(write_city(tmp_path / "city", population_csv="code,inhabitants\n990101,7\n990102,5\n")))
    assert found == {
        "city": 1, "district": 2, "subdistrict": 1, "cells": 39 * 23, "departments": 5, "responsibilities": 5,
        "deadlines": 4, "addresses": 0, "calendar_years": 1, "network_nodes": 0, "network_edges": 0, "inhabitants": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/a/b.csv:12: lead 'x': no", ("/a/b.csv", 12, "lead 'x': no")),
        ("/a/city.toml: cannot be read: x", ("/a/city.toml", None, "cannot be read: x")),
        ("and 5 more problems", (None, None, "and 5 more problems")),
        ("3 slivers: of 2 m2", (None, None, "3 slivers: of 2 m2")),
    ],
)
def test_place_of_a_line_is_found_for_programs(text: str, parts: tuple[str | None, int | None, str]) -> None:
    assert split_place(text) == parts
