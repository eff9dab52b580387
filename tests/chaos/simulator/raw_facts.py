"""What follows from the raw log by arithmetic, without any code of the product but the grid's and the settings."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.sources import Source
from tests.chaos.simulator import city
from tests.chaos.simulator.sums import WINDOW_MS
from tests.support.loop_city import GRID
from topology.grid import morton_decode

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

Raw = tuple[Source, int, int]
"""source, partition, offset"""
Window = tuple[int, int]
"""cell, end in ms"""


@dataclass(slots=True)
class Good:
    """A raw record that can be used."""

    fields: dict[str, Any]
    late: bool
    cell: int | None


@dataclass(slots=True)
class Sum:
    """What the records of a cell and minute add up to."""

    n: int = 0
    s: int = 0
    c: int = 0
    t: int = 0


@dataclass(slots=True)
class RawFacts:
    good: dict[Raw, Good] = field(default_factory=dict)
    dead: set[Raw] = field(default_factory=set)
    ends: Counter[tuple[Source, int]] = field(default_factory=Counter)

    def count(self, source: Source) -> int:
        return sum(where[0] is source for where in self.good)

    def sums(self) -> dict[Window, Sum]:
        """Of all windows that the closers bring to an end."""
        found: dict[Window, Sum] = defaultdict(Sum)
        last_ms = city.START_MS + city.MINUTES * 60_000 + city.CLOSER_MS - WINDOW_MS
        for (source, _, _), record in self.good.items():
            if record.late or record.cell is None or record.fields["ts"] >= last_ms:
                continue
            total = found[record.cell, (record.fields["ts"] // WINDOW_MS + 1) * WINDOW_MS]
            if source is Source.READINGS:
                total.n += 1
                total.s += record.fields["value"]
            elif source is Source.CAMERA_EVENTS:
                total.c += 1
            else:
                total.t += 1
        return found


def raw_facts(world: World) -> RawFacts:
    facts = RawFacts()
    for source in Source:
        lateness_ms = world.config.locate.source(source).lateness_ms
        for log in world.broker.of(world.names.raw(source)):
            newest = 0
            facts.ends[source, log.place.partition] = log.end
            for record in log.records:
                where = source, log.place.partition, record.offset
                told = _read(record.value)
                if told is None or told["ts"] > record.timestamp_ms + city.YEAR_MS // 2:
                    facts.dead.add(where)
                    continue
                cell = GRID.cell(told["lon"], told["lat"]) if "lon" in told else None
                facts.good[where] = Good(told, told["ts"] < newest - lateness_ms, cell)
                newest = max(newest, told["ts"])
    return facts


def around(sums: dict[Window, Sum], window: Window) -> int:
    """The sum of a cell and its neighbours in one window."""
    column, row = morton_decode(window[0])
    return sum(
        total.s
        for (cell, end_ms), total in sums.items()
        if end_ms == window[1] and _is_near(morton_decode(cell), (column, row))
    )


def _is_near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] - other[0]) <= 1 and abs(one[1] - other[1]) <= 1


def _read(value: bytes | None) -> dict[str, Any] | None:
    try:
        told = json.loads(value or b"")
    except ValueError:
        return None
    return told if isinstance(told, dict) and len(told) > 1 else None
