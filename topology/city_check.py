"""What may be wrong with a city that loads: nobody responsible, words nobody uses, a year without holiday notice.

Everything here is a warning: the city works, the duty desk gets what nobody answers for, and a year without notice
counts plain weeks. The day of the check is an argument.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from topology.city import City
from topology.city_table import FileReport, day_ms
from topology.levels import Level
from topology.responsibilities import ANY, Responsibility, Validity

_SHOWN: Final = 3
"""Places named in one warning; the others are counted."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Somewhere an incident can be: the codes that are asked, finest first, and what it is called."""

    chain: tuple[str, ...]
    name: str


def warnings_of(city: City, categories: Mapping[str, str], today: date) -> list[str]:
    """Every warning about a city, those of loading first.

    `categories` are those that tickets and alerts can have, each with the type of incident that it makes: where a list
    does not name the category, it may name the type.
    """
    report = FileReport()
    if city.folder is not None:
        _check_responsibilities(city, city.folder / "responsibilities.csv", categories, today, report)
        _check_categories(city, city.folder, {*categories, *categories.values()}, report)
        _check_calendar(city, city.folder / "calendar", today, report)
    return [*city.warnings, *report.warnings]


def counts(city: City) -> dict[str, int]:
    """How much of everything the city has, for people and programs."""
    by_level = Counter(level for _, level in {(entry.code, entry.level) for entry in city.jurisdictions.entries})
    return {
        **{level.name.lower(): by_level[level] for level in Level if by_level[level]},
        "cells": city.grid.nx * city.grid.ny,
        "departments": len(city.departments),
        "responsibilities": len(city.responsibilities),
        "deadlines": len(city.deadlines),
        "addresses": 0 if city.addresses is None else len(city.addresses),
        "calendar_years": len(city.calendar.notices.years),
        "network_nodes": len(city.networks.nodes),
        "network_edges": len(city.networks.edges),
        "inhabitants": _inhabitants(city),
    }


def _inhabitants(city: City) -> int:
    """Of the city where its own number is given, else of all districts and the like together."""
    return city.population.get(city.code) or sum(city.population.values())


# --- responsibilities -------------------------------------------------------------------------------------------------


def _check_responsibilities(
    city: City, path: Path, categories: Mapping[str, str], today: date, report: FileReport
) -> None:
    today_ms = day_ms(today.isoformat(), ZoneInfo(city.zone))
    places = list(_places(city))
    for category, type_name in sorted(categories.items()):
        names = tuple(dict.fromkeys((category, type_name)))
        found: dict[Validity, list[_Place]] = {}
        for somewhere in places:
            for gap in city.responsibilities.gaps(names, somewhere.chain):
                # what nobody answered for before the list begins is over
                if gap[0] is not None or gap[1] is None or gap[1] > today_ms:
                    found.setdefault(gap, []).append(somewhere)
        for gap, at in found.items():
            shown = ", ".join(somewhere.name for somewhere in at[:_SHOWN])
            more = f" and {len(at) - _SHOWN} more places" if len(at) > _SHOWN else ""
            where = "anywhere" if len(at) == len(places) else f"at {shown}{more}"
            line = _line_of_gap(city, names, at[0].chain, gap)
            report.warn(
                path, line, f"nobody answers for {category!r} {where}{_span(gap, city.zone)}: the duty desk gets it"
            )


def _places(city: City) -> Iterator[_Place]:
    """Each jurisdiction, for a record may be sure of a district only; and nowhere, for some are sure of nothing."""
    told: set[tuple[str, ...]] = set()
    for entry in city.jurisdictions.entries:
        at_ms = entry.valid_from_ms if entry.valid_from_ms is not None else (entry.valid_to_ms or 1) - 1
        chain = city.chain(entry.code, at_ms)
        if chain not in told:
            told.add(chain)
            yield _Place(chain, f"{entry.code} {entry.name_zh}")
    yield _Place((), "places outside all boundaries")


def _line_of_gap(city: City, names: Sequence[str], chain: Sequence[str], gap: Validity) -> int | None:
    """The line whose end opens the gap, else the one whose start closes it."""
    start, end = gap
    rows = [row for row in city.responsibilities if _asked(row, names, chain)]
    for row in rows:
        if start is not None and row.valid_to_ms == start:
            return row.line
    return next((row.line for row in rows if end is not None and row.valid_from_ms == end), None)


def _asked(row: Responsibility, names: Sequence[str], chain: Sequence[str]) -> bool:
    return row.category in (*names, ANY) and (row.jurisdiction == ANY or row.jurisdiction in chain)


def _span(gap: Validity, zone: str) -> str:
    """Words for a closed-open span of local dates."""
    start, end = (None if at is None else _day(at, zone) for at in gap)
    if start is None:
        return "" if end is None else f" until {end}"
    return f" from {start} on" if end is None else f" from {start} until {end}"


def _day(at_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZoneInfo(zone)).date()


# --- words, years -----------------------------------------------------------------------------------------------------


def _check_categories(city: City, folder: Path, categories: Collection[str], report: FileReport) -> None:
    """Names of categories that no record has: a misspelt one leaves a gap without a word."""
    named: Mapping[str, list[tuple[str, int]]] = {
        "responsibilities.csv": [(row.category, row.line) for row in city.responsibilities],
        "deadlines.csv": [(row.category, row.line) for row in city.deadlines],
    }
    for file, words in named.items():
        for category, line in sorted(set(words), key=lambda word: word[1]):
            if category != ANY and category not in categories:
                close = difflib.get_close_matches(category, sorted(categories), n=1, cutoff=0.7)
                hint = (
                    f"did you mean {close[0]!r}?" if close else "tickets and alerts of this name may come all the same"
                )
                report.warn(folder / file, line, f"category {category!r} is no known one; {hint}")


def _check_calendar(city: City, path: Path, today: date, report: FileReport) -> None:
    notices = city.calendar.notices
    if not notices.years:
        report.warn(
            path, None, "no holiday notices: every year counts plain weeks; put files in the form of holiday-cn here"
        )
        return
    past = city.calendar.years_without_notice(min(notices.years), today.year - 1)
    if past:
        report.warn(path, None, f"no holiday notice for {', '.join(map(str, past))}: such years count plain weeks")
    for year, when in ((today.year, "this year"), (today.year + 1, "the coming year")):
        if year not in notices.years:
            file = f"{year}.json, in the form of holiday-cn"
            report.warn(path, None, f"no holiday notice for {year}, {when}: it counts plain weeks; put {file}, there")


def split_place(text: str) -> tuple[str | None, int | None, str]:
    """("file", line, "what") of a problem or warning, for programs; what has no place keeps its words whole."""
    head, _, rest = text.partition(": ")
    if not rest:
        return None, None, text
    file, colon, line = head.rpartition(":")
    if colon and line.isdecimal():
        return file, int(line), rest
    return (head, None, rest) if "/" in head or "." in head else (None, None, text)
