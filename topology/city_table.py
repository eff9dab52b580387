"""Reading the tables of a city folder: CSV lines -> fields, with every problem named by file and line.

Nothing here stops at the first problem. An empty field counts as not given. A line that begins with `#` is a comment,
so that a reason can stand beside what it explains.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

MAX_PROBLEMS: Final = 1000
"""Enough to put a file right in one go; a file of the wrong kind does not fill the screen for ever."""
MAX_FILE_BYTES: Final = 64_000_000
"""Far more than any list of a city that is kept by hand."""

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(slots=True)
class FileReport:
    """Problems and warnings of the files of one city, each as "file:line: what"."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: int = 0
    told: set[str] = field(default_factory=set)

    def problem(self, path: Path, line: int | None, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(place(path, line) + text)
        else:
            self.left_out += 1

    def warn(self, path: Path, line: int | None, text: str) -> None:
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(place(path, line) + text)

    def warn_once(self, path: Path, line: int | None, text: str) -> None:
        """A warning that many lines of a file would repeat: only the first of them tells it."""
        if place(path, None) + text not in self.told:
            self.told.add(place(path, None) + text)
            self.warn(path, line, text)

    def all_problems(self) -> list[str]:
        return [*self.problems, f"and {self.left_out} more problems"] if self.left_out else self.problems


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: the number of the line and the fields that are not empty."""

    line: int
    fields: Mapping[str, str]

    def get(self, name: str) -> str | None:
        return self.fields.get(name)


def place(path: Path, line: int | None) -> str:
    return f"{path}: " if line is None else f"{path}:{line}: "


def read_text(path: Path, report: FileReport) -> str | None:
    """The file's text without a byte order mark, or None after the problem has been reported."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            report.problem(path, None, f"larger than {MAX_FILE_BYTES:,} bytes; is it the right file?")
            return None
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # spreadsheets write the mark
    except OSError as error:
        report.problem(path, None, f"cannot be read: {(error.strerror or str(error)).lower()}")
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "save the file as UTF-8 (Chinese spreadsheets often write GBK)"
        report.problem(path, line, f"byte 0x{content[error.start]:02x} is not UTF-8; {hint}")
        return None


def read_table(path: Path, required: Sequence[str], optional: Sequence[str], report: FileReport) -> list[Row]:
    """The rows of a CSV file. Rows with problems of form, or without a required field, are reported and left out."""
    text = read_text(path, report)
    if text is None:
        return []
    rows: list[Row] = []
    header: list[str] | None = None
    # split on line feeds only: str.splitlines also splits on characters that may stand in a name (U+2028, \x0b)
    lines = ("\n" if line.startswith("#") else line + "\n" for line in text.split("\n"))
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            values = [value.strip() for value in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            report.problem(path, line, f"not CSV: {error}")
            continue
        if not any(values):
            continue
        if header is None:
            header = values
            if not _check_header(path, line, header, required, optional, report):
                return []
        elif len(values) != len(header):
            report.problem(path, line, f"{len(values)} fields where the header has {len(header)}")
        else:
            fields = {name: value for name, value in zip(header, values, strict=True) if value}
            missing = [name for name in required if name not in fields]
            if missing:
                report.problem(path, line, f"{', '.join(missing)} missing")
            else:
                rows.append(Row(line, fields))
    if header is None:
        report.problem(path, 1, f"the file is empty; the first line must name the columns {', '.join(required)}")
    return rows


def _check_header(
    path: Path, line: int, header: list[str], required: Sequence[str], optional: Sequence[str], report: FileReport
) -> bool:
    missing = [name for name in required if name not in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing:
        report.problem(path, line, f"missing column {', '.join(missing)}; found {', '.join(header)}")
    if twice:
        report.problem(path, line, f"column {', '.join(twice)} appears more than once")
    for name in header:
        if name not in required and name not in optional:
            known = ", ".join((*required, *optional))
            report.warn(path, line, f"column {name!r} is not used; known are {known}")
    return not missing and not twice


def parse_date(text: str) -> date:
    """A date written 2024-07-01, of the years 1900 to 2200. Raises ValueError with words."""
    try:
        if not _DATE.fullmatch(text):  # Python also reads 20240701 and 2024-W27-1
            raise ValueError
        day = date.fromisoformat(text)
        if not 1900 <= day.year <= 2200:
            raise ValueError
    except ValueError:
        raise ValueError(f"expected a date such as 2024-07-01, got {text!r}") from None
    return day


def day_ms(text: str, zone: ZoneInfo) -> int:
    """Epoch milliseconds of the first moment of a local date written 2024-07-01. Raises ValueError with words."""
    day = parse_date(text)
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000


def validity(path: Path, row: Row, zone: ZoneInfo, report: FileReport) -> tuple[int | None, int | None] | None:
    """`valid_from` and `valid_to` of a row as a closed-open span: `valid_to` is the first day that is not in it.

    None: never limited on that side. No tuple at all: the problem has been reported.
    """
    bounds: dict[str, int | None] = {}
    for name in ("valid_from", "valid_to"):
        text = row.get(name)
        try:
            bounds[name] = None if text is None else day_ms(text, zone)
        except ValueError as error:
            report.problem(path, row.line, f"{name}: {error}")
    if len(bounds) < 2:
        return None
    start, end = bounds["valid_from"], bounds["valid_to"]
    if start is not None and end is not None and start >= end:
        report.problem(
            path,
            row.line,
            f"valid_from {row.get('valid_from')} must be before valid_to {row.get('valid_to')}, "
            "the first day on which the row does not hold any more",
        )
        return None
    return start, end
