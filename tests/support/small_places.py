"""A city of two districts, one of them with a subdistrict, over any grid; and an address library of a few sentences.

    300101 West | 300102 East, of which the northern half is subdistrict 300102001 since `SPLIT_MS`

East itself is there since `SPLIT_MS`; before, all was West.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import shapely

from topology.addresses import Resolved
from topology.city import City
from topology.grid import Grid
from topology.jurisdictions import Jurisdictions
from topology.levels import Jurisdiction, Level

SPLIT_MS = 1_767_196_800_000  # 2026-01-01T00:00:00+08:00
WEST, EAST, NORTH_EAST = "300101", "300102", "300102001"

Box = tuple[float, float, float, float]


def two_districts(grid: Grid, box: Box, border: float, middle: float) -> Jurisdictions:
    """West and East of the meridian `border`, the north of East from the parallel `middle` on; all within `box`."""
    west, south, east, north = box
    return Jurisdictions(
        grid,
        [
            _area("300000", "测试市", "Testville", Level.CITY, None, box),
            _area(WEST, "西区", "West", Level.DISTRICT, "300000", box, until=SPLIT_MS),
            _area(WEST, "西区", "West", Level.DISTRICT, "300000", (west, south, border, north), since=SPLIT_MS),
            _area(EAST, "东区", "East", Level.DISTRICT, "300000", (border, south, east, north), since=SPLIT_MS),
            _area(
                NORTH_EAST,
                "北街道",
                "North Street",
                Level.SUBDISTRICT,
                EAST,
                (border, middle, east, north),
                since=SPLIT_MS,
            ),
        ],
    )


def two_district_city(grid: Grid, box: Box, border: float, middle: float) -> City:
    return replace(City.bare(grid, "Asia/Shanghai"), jurisdictions=two_districts(grid, box, border, middle))


class FewAddresses:
    """Knows the sentences it was given; any other text is unknown, an empty one empty."""

    def __init__(self, known: Mapping[str, Resolved]) -> None:
        self._known = known
        self.asked: list[str] = []

    def resolve(self, text: str) -> Resolved:
        self.asked.append(text)
        unknown = Resolved(None, None, None, None, 0.0, "unknown" if text else "empty", "")
        return self._known.get(text, unknown)


def listed(code: str, lon: float, lat: float, confidence: float = 0.98) -> Resolved:
    return Resolved(code, Level.SUBDISTRICT, lon, lat, confidence, "exact", "")


def division(code: str | None, level: Level = Level.DISTRICT, *, reason: str = "district") -> Resolved:
    return Resolved(code, None if code is None else level, None, None, 0.93, reason, "")


def _area(
    code: str, zh: str, en: str, level: Level, parent: str | None, box: Box, *,
    since: int | None = None, until: int | None = None,
) -> tuple[Jurisdiction, shapely.Polygon]:  # fmt: skip
    return Jurisdiction(code, zh, en, level, parent, since, until, *box), shapely.box(*box)
