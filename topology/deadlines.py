"""Deadlines: how long accepting, handling and verifying may take, by category and severity.

`deadlines.csv` has one line for each: category (`*` = any), severity (1 to 4, a range such as 1-2, or 0 = any), accept,
handle, verify, clock, and why. Durations are `30m`, `2h`, `1d`, `1d4h`. On the clock `calendar` every hour counts and
`d` is 24 hours; on the clock `working` only working time counts and `d` is one working day of the city's calendar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from schemas.errors import SettingsError
from topology.city_table import FileReport, Row, read_table

REQUIRED: Final = ("category", "severity", "accept", "handle", "verify", "clock")
OPTIONAL: Final = ("why",)
ANY: Final = "*"
ANY_SEVERITY: Final = 0
MAX_MS: Final = 5 * 366 * 86_400_000
"""Five years; the longest real ones are tree care and building permits of a year or two."""

Clock = Literal["working", "calendar"]

_SEVERITY: Final = re.compile(r"([0-4])(?:-([0-4]))?")
_DURATION: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?")
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long each stage may take, in ms on `clock`."""

    category: str
    severity: int
    accept_ms: int
    handle_ms: int
    verify_ms: int
    clock: Clock
    line: int = 0


class Deadlines:
    """All deadlines of a city. There is always one for any category and severity, so every question has an answer."""

    def __init__(self, entries: Iterable[Deadline]) -> None:
        self.entries = tuple(entries)
        self._rows = {(entry.category, entry.severity): entry for entry in self.entries}
        if (ANY, ANY_SEVERITY) not in self._rows:
            raise SettingsError("deadlines: a line for category * and severity 0 is missing: it holds for all the rest")

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Deadline]:
        return iter(self.entries)

    def find(self, category: str, severity: int) -> Deadline:
        """The most specific line: category and severity, category, severity, any. A category tells more than a
        severity: a burst pipe is handled like a burst pipe however bad it is.
        """
        for key in ((category, severity), (category, ANY_SEVERITY), (ANY, severity)):
            row = self._rows.get(key)
            if row is not None:
                return row
        return self._rows[ANY, ANY_SEVERITY]

    @classmethod
    def plain(cls) -> Deadlines:
        """Those of a city that has no list: by severity alone, and by the calendar's clock."""
        return cls(
            (
                Deadline(ANY, 4, 5 * _MINUTE_MS, 2 * _HOUR_MS, 2 * _HOUR_MS, "calendar"),
                Deadline(ANY, 3, 15 * _MINUTE_MS, 6 * _HOUR_MS, 12 * _HOUR_MS, "calendar"),
                Deadline(ANY, ANY_SEVERITY, 2 * _HOUR_MS, _DAY_MS, _DAY_MS, "calendar"),
            )
        )


def read_deadlines(path: Path, working_day_ms: int, report: FileReport) -> Deadlines:
    """The deadlines of a file. Problems go to the report; then the answer is not to be used."""
    entries: dict[tuple[str, int], Deadline] = {}
    for row in read_table(path, REQUIRED, OPTIONAL, report):
        for entry in _entries(path, row, working_day_ms, report):
            first = entries.setdefault((entry.category, entry.severity), entry)
            if first is not entry:
                what = f"category {entry.category!r}, severity {entry.severity}"
                report.problem(path, row.line, f"{what} is given already, in line {first.line}")
    try:
        return Deadlines(entries.values())
    except SettingsError as error:
        report.problem(path, 1, str(error).removeprefix("deadlines: "))
        return Deadlines.plain()


def _entries(path: Path, row: Row, working_day_ms: int, report: FileReport) -> list[Deadline]:
    """The deadlines of one line, one for each severity; none after its problems have been reported."""
    match = _SEVERITY.fullmatch(row.fields["severity"])
    severities = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
    wrong = False
    if not severities or (match and match[1] == "0" and len(severities) > 1):
        shown = row.fields["severity"]
        report.problem(path, row.line, f"severity {shown!r}: expected 1 (minor) to 4 (extreme), 1-2, or 0 for any")
        wrong = True
    clock: Clock | None = {"working": "working", "calendar": "calendar"}.get(row.fields["clock"])  # type: ignore[assignment]
    if clock is None:
        report.problem(path, row.line, f"clock {row.fields['clock']!r}: choose working or calendar")
        wrong = True
    stages: list[int] = []
    for name in ("accept", "handle", "verify"):
        try:
            stages.append(parse_duration(row.fields[name], working_day_ms if clock == "working" else _DAY_MS))
        except ValueError as error:
            report.problem(path, row.line, f"{name}: {error}")
            wrong = True
    if wrong or clock is None:
        return []
    accept_ms, handle_ms, verify_ms = stages
    return [
        Deadline(row.fields["category"], severity, accept_ms, handle_ms, verify_ms, clock, row.line)
        for severity in severities
    ]


def parse_duration(text: str, day_ms: int) -> int:
    """`1d4h30m` in ms, a day being `day_ms`. Raises ValueError with words."""
    match = _DURATION.fullmatch(text) if text.isascii() else None
    if match is None or not text:
        raise ValueError(f"expected a duration such as 30m, 2h or 1d, got {text!r}")
    days, hours, minutes = (int(part or 0) for part in match.groups())
    total = days * day_ms + hours * _HOUR_MS + minutes * _MINUTE_MS
    if not 0 < total <= MAX_MS:
        raise ValueError(f"expected more than nothing and at most five years, got {text!r}")
    return total
