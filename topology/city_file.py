"""`city.toml`: what a city folder says about the city as a whole. Every problem at once, with file and line."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.datums import DATUM_NAMES, Datum
from schemas.errors import SettingsError
from topology.city_table import FileReport, read_text
from topology.grid import Grid
from topology.work_calendar import CIVIL_SERVICE, WEEKDAYS, Span, WeeklyHours, parse_span

NAME: Final = "city.toml"
DEFAULT_CELL_M: Final = 100.0
HOURS: Final = "working_hours"

_WORDS: Final = ("code", "name_zh", "name_en", "zone", "duty_desk")
_EDGES: Final = ("west", "south", "east", "north")
_KNOWN: Final = (*_WORDS, *_EDGES, "cell_m", "cell_deg", "datum", HOURS)
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CityFile:
    """The content of `city.toml`: box in degrees of WGS-84, cells in metres or in degrees."""

    code: str
    name_zh: str
    name_en: str
    zone: str
    duty_desk: str
    west: float
    south: float
    east: float
    north: float
    cell_m: float = DEFAULT_CELL_M
    cell_deg: float | None = None
    datum: Datum = Datum.WGS84
    hours: WeeklyHours = CIVIL_SERVICE
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Where its words stand in the file, for whoever finds later that they name nothing."""

    def grid(self) -> Grid:
        if self.cell_deg is not None:
            return Grid.degrees(self.west, self.south, self.east, self.north, self.cell_deg)
        return Grid.metric(self.west, self.south, self.east, self.north, cell_m=self.cell_m)


def read_city_file(folder: Path, report: FileReport) -> CityFile | None:
    """The folder's `city.toml`, or None after its problems have been reported."""
    path = folder / NAME
    text = read_text(path, report)
    if text is None:
        return None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        report.problem(path, int(line[1]) if line else 1, f"not TOML: {str(error)[:1].lower()}{str(error)[1:]}")
        return None
    return _Reader(path, text, values, report).city_file()


class _Reader:
    """One reading of the file: each question reports its own problem and answers None."""

    def __init__(self, path: Path, text: str, values: Mapping[str, Any], report: FileReport) -> None:
        self._path = path
        self._text = text
        self._values = values
        self._report = report
        self._good = True

    def city_file(self) -> CityFile | None:
        for key in self._values:
            if key not in _KNOWN:
                close = difflib.get_close_matches(key, _KNOWN, n=1, cutoff=0.6)
                self._problem(key, f"unknown key; {f'did you mean {close[0]}?' if close else 'known are ' + _LIST}")
        words = {name: self._word(name) for name in _WORDS}
        edges = {name: self._number(name) for name in _EDGES}
        cell_m = self._number("cell_m") if "cell_m" in self._values else DEFAULT_CELL_M
        cell_deg = self._number("cell_deg") if "cell_deg" in self._values else None
        datum = self._datum()
        hours = self._hours()
        self._check_zone(words["zone"])
        if words["code"] is not None and not _CODE.fullmatch(words["code"]):
            self._problem("code", f"expected up to 32 letters and digits, got {words['code']!r}")
        if not self._good:
            return None
        code, name_zh, name_en, zone, duty_desk = (words[name] or "" for name in _WORDS)
        west, south, east, north = (edges[name] or 0.0 for name in _EDGES)
        found = CityFile(
            code=code,
            name_zh=name_zh,
            name_en=name_en,
            zone=zone,
            duty_desk=duty_desk,
            west=west,
            south=south,
            east=east,
            north=north,
            cell_m=cell_m if cell_m is not None else DEFAULT_CELL_M,
            cell_deg=cell_deg,
            datum=datum,
            hours=hours,
            lines={name: self._line(name) for name in _WORDS},
        )
        try:
            found.grid()
        except SettingsError as error:
            for problem in error.problems:
                self._problem("west", problem.removeprefix("grid: "))
        return found if self._good else None

    def _word(self, name: str) -> str | None:
        value = self._values.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
        self._problem(name, "missing" if value is None else f"expected words in quotes, got {value!r}")
        return None

    def _number(self, name: str) -> float | None:
        value = self._values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        self._problem(name, "missing" if value is None else f"expected a finite number, got {value!r}")
        return None

    def _datum(self) -> Datum:
        value = self._values.get("datum", "WGS-84")
        datum = DATUM_NAMES.get(value.upper()) if isinstance(value, str) else None
        if datum is None:
            self._problem("datum", f"{value!r} is unknown; choose one of WGS-84, CGCS2000, GCJ-02, BD-09")
            return Datum.WGS84
        return datum

    def _check_zone(self, zone: str | None) -> None:
        if zone is None:
            return
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self._problem("zone", f"{zone!r} is no time zone; write a name such as Asia/Shanghai or UTC")

    def _hours(self) -> WeeklyHours:
        """Spans of each weekday that has any, and of `make_up` days: unset, those of the first such weekday."""
        table = self._values.get(HOURS)
        if table is None:
            return CIVIL_SERVICE
        if not isinstance(table, dict):
            self._problem(HOURS, f'expected a table such as monday = ["09:00-17:30"], got {table!r}')
            return CIVIL_SERVICE
        spans: dict[str, tuple[Span, ...]] = {}
        good = self._good
        for day, value in table.items():
            if day not in (*WEEKDAYS, "make_up"):
                self._problem(day, f"{HOURS}: {day!r} is no day; known are {', '.join(WEEKDAYS)} and make_up")
            elif not isinstance(value, list) or not all(isinstance(span, str) for span in value):
                self._problem(day, f'{HOURS}: expected a list such as ["09:00-17:30"], got {value!r}')
            else:
                try:
                    spans[day] = tuple(parse_span(span) for span in value)
                except ValueError as error:
                    self._problem(day, f"{HOURS}: {error}")
        days = tuple(spans.get(day, ()) for day in WEEKDAYS)
        try:
            return WeeklyHours(days, spans.get("make_up") or next((day for day in days if day), ()))
        except SettingsError as error:
            if self._good == good or good is False:  # else the day with the problem is told already
                for problem in error.problems:
                    self._problem(HOURS, problem.removeprefix("working hours: "))
            return CIVIL_SERVICE

    def _problem(self, key: str, text: str) -> None:
        self._good = False
        self._report.problem(self._path, self._line(key), f"{key}: {text}")

    def _line(self, key: str) -> int:
        """Where a key, or a table of that name, is written; the first line for one that is not. Good for messages."""
        match = re.search(rf"^[ \t]*\[?[ \t]*{re.escape(key)}[ \t]*[=\]]", self._text, re.MULTILINE)
        return 1 if match is None else self._text.count("\n", 0, match.start()) + 1


_LIST: Final = ", ".join(_KNOWN)
