"""What the Python jobs of the comparison share: the city's arithmetic, the rule, and watermarks along in the stream.

Most of these engines know one clock, the highest event time seen, which a backlog read from twelve partitions at
twelve speeds drives far ahead of the records still to come. So the jobs send watermarks along: each raw partition says
how far its event time has come, to every partition of the stream keyed by cell, and there the least of them counts.
That is what Flink and Hazelcast do by themselves, and it makes the answer exact for any skew.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

PARTITIONS: Final = 4
SOURCES: Final = 3 * PARTITIONS
WEST: Final = 121.40
SOUTH: Final = 31.15
SIDE: Final = 120
CELLS_PER_DEG: Final = 1000
WINDOW_MS: Final = 60_000
DISORDER_MS: Final = 5_000
RAISE_AT_MM: Final = 150.0
CONFIDENCE: Final = 0.6
WATERMARK_EVERY_MS: Final = 10_000
"""Of event time: a sixth of a window, so that nothing waits long and few records are watermarks."""

LEVEL: Final = 0
CAMERA: Final = 1
TICKET: Final = 2


class Part(NamedTuple):
    """The part of a record that CityJoin needs."""

    cell: int
    at_ms: int
    kind: int
    value: float


def cell_of(lon: float, lat: float) -> int:
    """Row * 120 + column. All points lie clear of the borders."""
    return int((lat - SOUTH) * CELLS_PER_DEG) * SIDE + int((lon - WEST) * CELLS_PER_DEG)


def level(record: dict[str, Any]) -> Part | None:
    """A good water level of topic readings."""
    if record["metric"] != "water_level_mm" or record["quality"] != "good":
        return None
    return Part(cell_of(record["lon"], record["lat"]), record["ts"], LEVEL, record["value"])


def camera(record: dict[str, Any]) -> Part | None:
    """A waterlogging event that the camera is sure of."""
    if record["event"] != "waterlogging" or record["confidence"] < CONFIDENCE:
        return None
    return Part(cell_of(record["lon"], record["lat"]), record["ts"], CAMERA, 1.0)


def ticket(record: dict[str, Any]) -> Part | None:
    """A call about a flood."""
    if record["category"] != "flood":
        return None
    return Part(cell_of(record["lon"], record["lat"]), record["ts"], TICKET, 1.0)


RELEVANT: Final = (level, camera, ticket)
"""By topic: readings, camera events, tickets."""


def window_of(at_ms: int) -> int:
    return at_ms - at_ms % WINDOW_MS


def alert_of(cell: int, window_start_ms: int, m: float, c: int, t: int) -> dict[str, float] | None:
    """The alert of a finished window, or None. `m` is below zero when no level came."""
    if m < RAISE_AT_MM or c + t < 1:
        return None
    return {"cell": cell, "window_start_ms": window_start_ms, "m": m, "c": c, "t": t}


class Heartbeats:
    """How far event time has come in each raw partition that this process reads, and when to say so."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._said: dict[int, int] = {}

    def due(self, source: int, at_ms: int) -> int | None:
        """Take in one record's time; returns the watermark to send now, if any. `source` is topic * 4 + partition."""
        if at_ms <= self._seen.get(source, 0):
            return None
        self._seen[source] = at_ms
        watermark = at_ms - DISORDER_MS
        if watermark < self._said.get(source, 0) + WATERMARK_EVERY_MS:
            return None
        self._said[source] = watermark
        return watermark


class Watermark:
    """The least of what the twelve raw partitions have said; 0 until each has spoken."""

    def __init__(self, heard: Mapping[str, int] | None = None) -> None:
        self.heard = dict(heard or {})
        """By raw partition, topic * 4 + partition, as text: engines keep it as JSON."""
        self.at_ms = self._least()

    def hear(self, source: int, watermark_ms: int) -> bool:
        """Take in a heartbeat; returns whether the watermark went on."""
        key = str(source)
        self.heard[key] = max(watermark_ms, self.heard.get(key, 0))
        before, self.at_ms = self.at_ms, self._least()
        return self.at_ms > before

    def _least(self) -> int:
        return min(self.heard.values()) if len(self.heard) == SOURCES else 0


def arguments(description: str) -> argparse.Namespace:
    """What the comparison tells a job; the same for all. `addresses` and `process` are for clusters of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topics", nargs=3, required=True, help="readings, camera events, tickets")
    parser.add_argument("--output", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="for state; of this process alone")
    parser.add_argument("--addresses", default="", help="of all processes, separated by semicolons")
    parser.add_argument("--process", type=int, default=0, help="number of this one")
    return parser.parse_args()
