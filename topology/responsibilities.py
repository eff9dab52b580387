"""The list of responsibilities (权责清单): which department leads, and which assist, for a category at a place.

`responsibilities.csv` has one line for each: category, jurisdiction, lead, assisting (ids with `;` between),
valid_from, valid_to. `*` as category or jurisdiction means any. A jurisdiction `district:*` stands for every district,
with placeholders as in `topology.departments`; a line that names one of them by its code counts before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from topology.city_table import FileReport, Row, read_table, validity
from topology.departments import Departments, check_placeholders, each_level, fill, places_of_level, unknown_place
from topology.levels import Jurisdiction

REQUIRED: Final = ("category", "jurisdiction", "lead")
OPTIONAL: Final = ("assisting", "valid_from", "valid_to")
ANY: Final = "*"

Validity = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Responsibility:
    """One line of the list, for one place. Validity is closed-open, epoch ms; None: not limited on that side."""

    category: str
    jurisdiction: str
    lead: str
    assisting: tuple[str, ...] = ()
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    line: int = 0
    derived: bool = False
    """Written for every place of a level; a line for this very place counts before it."""

    def valid_at(self, at_ms: int) -> bool:
        return (self.valid_from_ms is None or self.valid_from_ms <= at_ms) and (
            self.valid_to_ms is None or at_ms < self.valid_to_ms
        )


class Responsibilities:
    """All lines of a city's list. Pure look-ups of some microseconds."""

    def __init__(self, entries: Iterable[Responsibility]) -> None:
        self.entries = tuple(entries)
        self._rows: dict[tuple[str, str], list[Responsibility]] = {}
        for entry in sorted(self.entries, key=lambda entry: (entry.derived, entry.line)):
            self._rows.setdefault((entry.jurisdiction, entry.category), []).append(entry)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Responsibility]:
        return iter(self.entries)

    def find(self, category: str, chain: Sequence[str], at_ms: int) -> Responsibility | None:
        """Who is responsible at a moment of event time. `chain` has the codes of the place, finest first.

        The finest jurisdiction decides first, then the ones above it, then lines for any place; within each the
        category, then lines for any category. None: nobody is.
        """
        for jurisdiction in (*chain, ANY):
            for name in (category, ANY):
                for row in self._rows.get((jurisdiction, name), ()):
                    if row.valid_at(at_ms):
                        return row
        return None

    def categories(self) -> frozenset[str]:
        """Every category that has a line of its own."""
        return frozenset(entry.category for entry in self.entries) - {ANY}

    def gaps(self, categories: Sequence[str], chain: Sequence[str]) -> list[Validity]:
        """The closed-open spans of time for which `find` answers None for each of the categories, in order."""
        spans = sorted(
            (-_FOREVER if row.valid_from_ms is None else row.valid_from_ms, _upper(row))
            for jurisdiction in (*chain, ANY)
            for name in (*categories, ANY)
            for row in self._rows.get((jurisdiction, name), ())
        )
        found: list[Validity] = []
        covered_to = -_FOREVER
        for start, end in spans:
            if start > covered_to:
                found.append((None if covered_to == -_FOREVER else covered_to, start))
            covered_to = max(covered_to, end)
        if covered_to < _FOREVER:
            found.append((None if covered_to == -_FOREVER else covered_to, None))
        return found

    def overlaps(self) -> list[tuple[Responsibility, Responsibility]]:
        """Pairs of lines that answer for the same category, place and time: which one counts would be an accident."""
        found: list[tuple[Responsibility, Responsibility]] = []
        for rows in self._rows.values():
            for derived in (False, True):
                same = sorted(
                    (row for row in rows if row.derived is derived),
                    key=lambda row: (-_FOREVER if row.valid_from_ms is None else row.valid_from_ms, row.line),
                )
                holder: Responsibility | None = None  # of the lines so far the one that holds longest
                for row in same:
                    start = -_FOREVER if row.valid_from_ms is None else row.valid_from_ms
                    if holder is not None and start < _upper(holder):
                        found.append((min(holder, row, key=_line), max(holder, row, key=_line)))
                    if holder is None or _upper(row) > _upper(holder):
                        holder = row
        return found


_FOREVER: Final = 1 << 62


def _upper(row: Responsibility) -> int:
    return _FOREVER if row.valid_to_ms is None else row.valid_to_ms


def _line(row: Responsibility) -> int:
    return row.line


def read_responsibilities(
    path: Path, places: Sequence[Jurisdiction] | None, departments: Departments, zone: ZoneInfo, report: FileReport
) -> Responsibilities:
    """The list of a file, lines that stand for several written out. Problems and warnings go to the report.

    `places` is None when the boundaries could not be read: then what hangs on them is not judged.
    """
    codes = None if places is None else {place.code: place for place in places}
    entries: list[Responsibility] = []
    for row in read_table(path, REQUIRED, OPTIONAL, report):
        entries += _entries(path, row, codes, departments, zone, report)
    found = Responsibilities(entries)
    told: set[tuple[int, int]] = set()
    by_line = sorted(found.overlaps(), key=lambda pair: (pair[1].line, pair[0].line, pair[0].jurisdiction))
    for first, second in by_line:
        lines = (first.line, second.line)
        if lines not in told:  # lines that stand for several places overlap in each of them
            told.add(lines)
            report.problem(
                path,
                second.line,
                f"category {second.category!r} at {second.jurisdiction!r} is given to {second.lead!r} while line "
                f"{first.line} gives it to {first.lead!r}: end one with valid_to before the other begins",
            )
    return found


def _entries(
    path: Path,
    row: Row,
    codes: Mapping[str, Jurisdiction] | None,
    departments: Departments,
    zone: ZoneInfo,
    report: FileReport,
) -> list[Responsibility]:
    category, where, lead = (row.fields[name] for name in REQUIRED)
    assisting = tuple(part.strip() for part in (row.get("assisting") or "").split(";") if part.strip())
    span = validity(path, row, zone, report)
    at: list[Jurisdiction | None]
    if each := each_level(where):
        if not check_placeholders(path, row.line, (lead, *assisting), report):
            return []
        at = [unknown_place(where, each)] if codes is None else [*places_of_level(codes.values(), each)]
        if not at:
            report.warn_once(
                path, row.line, f"the city has no {each.name.lower()}: lines for {where} stand for none yet"
            )
    else:
        known = codes is None or where == ANY or where in codes
        if codes is not None and not known and not _known_above(path, row.line, where, codes, report):
            return []
        at = [None if codes is None else codes.get(where)]
    made: list[Responsibility] = []
    unknown: dict[str, list[str]] = {}
    for place in at:
        its_lead, *its_assisting = (one if place is None else fill(one, place) for one in (lead, *assisting))
        code = where if place is None else place.code
        for role, id in (("lead", its_lead), *(("assisting", id) for id in its_assisting)):
            if id not in departments and not (codes is None and "{" in id):
                unknown.setdefault(role, []).append(id)
        if its_lead in its_assisting:
            report.warn(path, row.line, f"{its_lead!r} both leads and assists at {code!r}")
            its_assisting = [id for id in its_assisting if id != its_lead]
        if span is not None:
            made.append(
                Responsibility(
                    category, code, its_lead, tuple(dict.fromkeys(its_assisting)), *span, row.line, each is not None
                )
            )
    for role, ids in unknown.items():
        more = f" (nor are {len(ids) - 1} more of this line)" if len(ids) > 1 else ""
        report.problem(path, row.line, f"{role} {ids[0]!r} is no department{more}")
    return made


def _known_above(path: Path, line: int, code: str, codes: Mapping[str, Jurisdiction], report: FileReport) -> bool:
    """A division code without a boundary is good for records that only an address places, if it lies in a known one."""
    above = next(
        (code[:size] for size in (9, 6) if code.isdecimal() and size < len(code) and code[:size] in codes), None
    )
    if above is None:
        report.problem(path, line, f"jurisdiction {code!r} is in no boundary file")
        return False
    report.warn(
        path, line, f"jurisdiction {code!r} has no boundary: the line holds only for records placed there by an address"
    )
    return True
