"""What happens in the simulated city: raw records on their way to the broker, as a seed has it.

Records carry their own arithmetic. The value of a reading is its place in its partition, plus one; a ticket's id and a
camera's name are theirs. A record is bad when it is no JSON object with a time, or its time is a year ahead. So whoever
checks needs no list of what was sent: the raw log says what must have come of it (see raw_facts.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgspec

from schemas.sources import Source
from tests.support.loop_city import GRID, loop_city
from topology.city import City
from topology.grid import morton_encode
from topology.shards import Shards

START_MS: Final = 1_782_864_000_000  # 2026-07-01 08:00 in the city, on a minute
EPOCH_MS: Final = START_MS + 14_400_000
"""What all clocks show when a run begins: event time lies behind, as in a log that is being caught up with, and so far
that a clock may jump back some hours without a record seeming to come from the future."""
PARTITIONS: Final = {Source.READINGS: 2, Source.CAMERA_EVENTS: 1, Source.TICKETS: 1}
SHARDS: Final = 2
CLOSER_MS: Final = 150_000
"""How long after all others each partition's last record is: it brings every window before it to an end."""
MINUTES: Final = 3  # of event time that pass while records come
YEAR_MS: Final = 365 * 86_400_000
URGENT: Final = "fire"
BEAT_S: Final = 1.0

Where = tuple[Source, int]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch that a producer brings to a raw partition."""

    at_s: float
    source: Source
    partition: int
    values: Sequence[bytes | None]


@cache
def city() -> City:
    return loop_city()


@cache
def shards() -> Shards:
    return Shards(grid=GRID, count=SHARDS, reach_rings=1)


@cache
def places() -> tuple[tuple[float, float], ...]:
    """Centres of cells on both sides of a border between two shards, next to it and farther away."""
    side = 1 << shards().parent_levels
    row, border = next(
        (row, column)
        for row in range(side // 2, int(GRID.ny), side)
        for column in range(side, int(GRID.nx), side)
        if shards().shard_of(morton_encode(column - 1, row)) != shards().shard_of(morton_encode(column, row))
    )
    columns = (border - 9, border - 2, border - 1, border, border + 1, border + 9)
    return tuple(_centre(morton_encode(column, row)) for column in columns)


def _centre(cell: int) -> tuple[float, float]:
    lon, lat = GRID.centre(cell)
    return round(lon, 6), round(lat, 6)


@dataclass(slots=True)
class Records:
    """`count` records and the closers, over `lasting_s` of virtual time. `beats`: no partition is ever quiet for long,
    and all of them come in time."""

    chance: random.Random
    count: int
    lasting_s: float
    disorder_ms: int = 4_000
    hostile: float = 0.03
    beats: bool = False
    lag_s: dict[Where, float] = field(default_factory=dict)
    """Partitions whose producers are so late: what they bring has happened before."""
    _next: dict[Where, int] = field(default_factory=dict)

    def arrivals(self) -> list[Arrival]:
        found = list(self._arrivals())
        found += [
            Arrival(
                self.lasting_s + 0.5 + self.lag_s.get((source, partition), 0.0), source, partition,
                [self._record(source, partition, START_MS + MINUTES * 60_000 + CLOSER_MS)],
            )
            for source, count in PARTITIONS.items()
            for partition in range(count)
        ]  # fmt: skip
        return found

    def _arrivals(self) -> Iterator[Arrival]:
        chance, left = self.chance, self.count
        wheres = [(source, partition) for source, count in PARTITIONS.items() for partition in range(count)]
        at = dict.fromkeys(wheres, 0.0)
        weights = [8 if source is Source.READINGS else 3 for source, _ in wheres]
        while left > 0:
            where = chance.choices(wheres, weights)[0]
            size = min(left, chance.choice((1, 2, 3, 6)))
            left -= size
            progress = 1 - left / self.count
            at[where] = max(at[where] + 0.001, progress * self.lasting_s * chance.uniform(0.9, 1.0))
            event_ms = START_MS + int(progress * MINUTES * 60_000)
            values = [self._one(*where, event_ms) for _ in range(size)]
            yield Arrival(at[where] + self.lag_s.get(where, 0.0), *where, values)
            for quiet in [other for other in wheres if self.beats and at[other] < progress * self.lasting_s - BEAT_S]:
                at[quiet] = progress * self.lasting_s
                yield Arrival(at[quiet], *quiet, [self._record(*quiet, event_ms)])

    def _one(self, source: Source, partition: int, event_ms: int) -> bytes | None:
        chance = self.chance
        if chance.random() < self.hostile:
            self._number(source, partition)
            return chance.choice((b"", None, b"\xff\xfe", b"{", b"[1]", b'{"ts": 1}'))
        at_ms = event_ms - chance.randrange(self.disorder_ms)
        if chance.random() < 0.08:
            at_ms -= chance.randrange(10_000, 90_000)  # late, more often than not
        if chance.random() < 0.01:
            at_ms += YEAR_MS
        return self._record(source, partition, at_ms)

    def _record(self, source: Source, partition: int, at_ms: int) -> bytes:
        chance, number = self.chance, self._number(source, partition)
        told: dict[str, Any]
        if source is Source.READINGS:
            told = {"device_id": f"d{number % 7}", "metric": "water_level_mm", "value": number + 1, "quality": "good"}
        elif source is Source.CAMERA_EVENTS:
            told = {"camera_id": f"c{number % 3}", "event": "waterlogging", "confidence": 0.9}
        else:
            told = {"ticket_id": f"t{partition}-{number}", "text": "路面积水"}
            told["category"] = chance.choice(("flood", "flood", "noise", URGENT))
        lon, lat = chance.choice(places())
        if chance.random() < 0.97:
            told |= {"lon": lon, "lat": lat}
        return msgspec.json.encode(told | {"ts": at_ms})

    def _number(self, source: Source, partition: int) -> int:
        number = self._next.get((source, partition), 0)
        self._next[source, partition] = number + 1
        return number
