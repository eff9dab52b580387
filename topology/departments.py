"""The departments of a city: who can be given an incident, and to whom it escalates.

`departments.csv` has one line for each: id, name_zh, name_en, level, jurisdiction, parent. A line whose jurisdiction is
`district:*` (or `subdistrict:*`, `community:*`) stands for one department in every jurisdiction of that level, so that
sixteen districts do not need sixteen copies; `{code}`, `{parent}`, `{name_zh}` and `{name_en}` in it stand for the
jurisdiction's code, that of the jurisdiction above it, and its names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from topology.city_table import FileReport, Row, read_table
from topology.levels import Jurisdiction, Level

REQUIRED: Final = ("id", "name_zh", "level", "jurisdiction")
OPTIONAL: Final = ("name_en", "parent")
LEVEL_NAMES: Final[Mapping[str, Level]] = MappingProxyType({level.name.lower(): level for level in Level})
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Ids go into Kafka keys, URLs and file names."""

_EACH: Final = re.compile(r"([a-z]+):\*")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDERS: Final = ("code", "parent", "name_zh", "name_en")


@dataclass(frozen=True, slots=True)
class Department:
    """One department. `jurisdiction` is the code of the place it is there for, `parent` where it escalates to."""

    id: str
    name_zh: str
    name_en: str
    level: Level
    jurisdiction: str
    parent: str | None
    line: int = 0


class Departments:
    """All departments of a city, in the order of the file. Pure look-ups."""

    def __init__(self, entries: Iterable[Department]) -> None:
        self.entries = tuple(entries)
        self._by_id = {entry.id: entry for entry in self.entries}

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Department]:
        return iter(self.entries)

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def find(self, id: str) -> Department | None:
        return self._by_id.get(id)

    def superior(self, id: str) -> Department | None:
        """Where an incident of this department goes when it escalates; None at the top and for an unknown id."""
        entry = self._by_id.get(id)
        return self._by_id.get(entry.parent) if entry is not None and entry.parent is not None else None

    def superiors(self, id: str) -> tuple[Department, ...]:
        """All departments above, nearest first."""
        found: list[Department] = []
        above = self.superior(id)
        while above is not None and above not in found:
            found.append(above)
            above = self.superior(above.id)
        return tuple(found)

    def name(self, id: str, *, language: str = "zh") -> str:
        """The department's name; an unknown id stands for itself."""
        entry = self._by_id.get(id)
        if entry is None:
            return id
        return entry.name_zh if language == "zh" else entry.name_en


def read_departments(path: Path, places: Sequence[Jurisdiction] | None, report: FileReport) -> Departments:
    """The departments of a file, lines that stand for several written out. Problems go to the report.

    `places` are the city's jurisdictions; None when they could not be read: then what hangs on them is not judged, and
    lines that stand for several stay as they are.
    """
    entries: dict[str, Department] = {}
    for row in read_table(path, REQUIRED, OPTIONAL, report):
        for entry in _entries(path, row, places, report):
            first = entries.setdefault(entry.id, entry)
            if first is not entry:
                report.problem(path, row.line, f"department {entry.id!r} is there already, in line {first.line}")
    for entry in entries.values():
        if entry.parent is not None and entry.parent not in entries:
            report.problem(path, entry.line, f"parent {entry.parent!r} of {entry.id!r} is no department")
    _check_circles(path, entries, report)
    return Departments(entries.values())


def _entries(path: Path, row: Row, places: Sequence[Jurisdiction] | None, report: FileReport) -> Iterator[Department]:
    level = LEVEL_NAMES.get(row.fields["level"].lower())
    if level is None:
        report.problem(path, row.line, f"level {row.fields['level']!r}: choose from {', '.join(LEVEL_NAMES)}")
        return
    where = row.fields["jurisdiction"]
    fields = [row.get(name) for name in ("id", "name_zh", "name_en", "parent")]
    if each := each_level(where):
        if each is not level:
            report.problem(path, row.line, f"jurisdiction {where!r} does not fit level {level.name.lower()!r}")
            return
        if not check_placeholders(path, row.line, fields, report):
            return
        if "{code}" not in row.fields["id"]:
            report.problem(path, row.line, f"id {row.fields['id']!r} needs {{code}}: {where} makes one for each place")
            return
        at = [unknown_place(where, level)] if places is None else places_of_level(places, each)
        if not at:
            report.warn_once(
                path, row.line, f"the city has no {each.name.lower()}: lines for {where} stand for none yet"
            )
    else:
        known = [place for place in places if place.code == where] if places is not None else []
        place = known[-1] if known else unknown_place(where, level) if places is None else None
        if place is None:
            report.problem(path, row.line, f"jurisdiction {where!r} is in no boundary file")
            return
        if place.level is not level:
            its_level = place.level.name.lower()
            report.warn(
                path, row.line, f"level is {level.name.lower()} but {where!r} is a {its_level} in the boundaries"
            )
        at = [place]
    for place in at:
        id, name_zh, name_en, parent = (fill(field or "", place) for field in fields)
        if not ID_PATTERN.fullmatch(id) and places is not None:
            report.problem(path, row.line, f"id {id!r}: expected up to 64 letters, digits and _ . -")
            return
        yield Department(id, name_zh, name_en or name_zh, level, place.code, parent or None, row.line)


def _check_circles(path: Path, entries: Mapping[str, Department], report: FileReport) -> None:
    """Departments that escalate to themselves in the end; each circle is told once, at its first line."""
    done: set[str] = set()
    for start in entries.values():
        way: list[str] = []
        id: str | None = start.id
        while id is not None and id in entries and id not in done and id not in way:
            way.append(id)
            id = entries[id].parent
        if id is not None and id in way:
            circle = way[way.index(id) :]
            report.problem(path, entries[id].line, f"departments escalate in a circle: {' -> '.join([*circle, id])}")
        done.update(way)


# --- lines that stand for every jurisdiction of a level, also used by the list of responsibilities
# ------------------------------------------------------------------------------------------


def each_level(where: str) -> Level | None:
    """The level of `district:*` and its like; None for everything else."""
    match = _EACH.fullmatch(where)
    return LEVEL_NAMES.get(match[1]) if match else None


def places_of_level(places: Iterable[Jurisdiction], level: Level) -> list[Jurisdiction]:
    """One jurisdiction for each code of a level, in the order of codes; of several validities the latest."""
    latest: dict[str, Jurisdiction] = {}
    for place in places:
        if place.level is level:
            known = latest.get(place.code)
            if known is None or (known.valid_from_ms or 0) <= (place.valid_from_ms or 0):
                latest[place.code] = place
    return [latest[code] for code in sorted(latest)]


def unknown_place(code: str, level: Level) -> Jurisdiction:
    """Stands for a jurisdiction, or for all of a level, when boundaries could not be read: its placeholders stay."""
    nowhere = (math.nan,) * 4
    return Jurisdiction(code, "{name_zh}", "{name_en}", level, "{parent}", None, None, *nowhere)


def fill(text: str, place: Jurisdiction) -> str:
    """The text with its placeholders replaced by the jurisdiction's codes and names."""
    if "{" not in text or place.name_zh == "{name_zh}":
        return text
    return (
        text.replace("{code}", place.code)
        .replace("{parent}", place.parent or "")
        .replace("{name_zh}", place.name_zh)
        .replace("{name_en}", place.name_en or place.name_zh)
    )


def check_placeholders(path: Path, line: int, fields: Iterable[str | None], report: FileReport) -> bool:
    """Whether the fields have only known placeholders; others are reported."""
    wrong = [name for text in fields if text for name in _PLACEHOLDER.findall(text) if name not in _PLACEHOLDERS]
    for name in wrong:
        known = ", ".join(f"{{{one}}}" for one in _PLACEHOLDERS)
        report.problem(path, line, f"{{{name}}} stands for nothing; known are {known}")
    return not wrong
