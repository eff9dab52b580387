"""Positions of recorded rows: from columns or a table of sensors; points that stand for "unknown" are left out."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from deploy.replay.clock import number_of
from deploy.replay.mapping import NotHere, PlaceRule
from deploy.replay.tally import Note
from schemas.errors import SettingsError


class Found(NamedTuple):
    """A position, or why there is none; `why` are the mapping file's words for a point that is left out."""

    lon: float | None
    lat: float | None
    note: Note | None = None
    why: str = ""


_NOWHERE: Final = Found(None, None, Note.NO_POSITION)

Placer = Callable[[object, object], Found]
"""From the values of the rule's columns (`lon` and `lat`, or `of` and nothing) to a position."""


def placer(rule: PlaceRule, table: dict[str, tuple[str, str]] | None) -> Placer:
    """The look-up for a rule; `table` is what `read_table` gave for it."""

    def from_columns(lon: object, lat: object) -> Found:
        return point(lon, lat, rule.not_here)

    known = {sensor: point(lon, lat, rule.not_here) for sensor, (lon, lat) in (table or {}).items()}

    def from_table(sensor: object, _nothing: object) -> Found:
        return known.get(str(sensor), _NOWHERE)

    return from_columns if table is None else from_table


def point(lon: object, lat: object, not_here: list[NotHere]) -> Found:
    """The point, unless it is absent, no point on earth, or one that stands for "unknown"."""
    if lon in (None, "") and lat in (None, ""):
        return Found(None, None, Note.NO_POSITION)
    x, y = (number_of(str(value)) if isinstance(value, str | int | float) else None for value in (lon, lat))
    if x is None or y is None or not (-180 <= x <= 180 and -90 <= y <= 90):
        return Found(None, None, Note.BAD_POSITION)
    for rule in not_here:
        if abs(x - rule.lon) <= rule.within_deg and abs(y - rule.lat) <= rule.within_deg:
            return Found(None, None, Note.NOT_HERE, f"{rule.why.zh} {rule.why.en}")
    return Found(x, y)


def read_table(path: Path, rule: PlaceRule) -> dict[str, tuple[str, str]]:
    """Sensor -> (lon, lat) as written. Raises SettingsError with every problem of the file."""
    assert rule.table is not None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
    reader = csv.reader(text.splitlines(keepends=True))
    header = [name.strip() for name in next(reader, [])]
    wanted = (rule.table.key, rule.lon, rule.lat)
    if missing := [name for name in wanted if name not in header]:
        raise SettingsError(f"{path}:1: column {', '.join(missing)} is missing; found {', '.join(header) or 'none'}")
    key, lon, lat = (header.index(name) for name in wanted)
    found: dict[str, tuple[str, str]] = {}
    problems = []
    for fields in reader:
        if not fields:
            continue
        if len(fields) != len(header):
            problems.append(f"{path}:{reader.line_num}: {len(fields)} fields where the header has {len(header)}")
        elif point(fields[lon], fields[lat], []).lon is None:
            problems.append(f"{path}:{reader.line_num}: expected a position, got {fields[lon]!r}, {fields[lat]!r}")
        elif found.setdefault(fields[key], (fields[lon], fields[lat])) != (fields[lon], fields[lat]):
            problems.append(f"{path}:{reader.line_num}: {fields[key]!r} has another position above")
    if problems:
        raise SettingsError(problems)
    return found
