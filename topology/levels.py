"""The levels of a city's jurisdictions, and what one of them is: names, code, parent, and from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How fine a jurisdiction is; the greater number lies inside the smaller one."""

    CITY = 1
    DISTRICT = 2
    SUBDISTRICT = 3
    COMMUNITY = 4
    UNIT = 5


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """One jurisdiction in one of its validities: closed-open in epoch milliseconds UTC, None for "always".

    `west` to `north` are its bounds in WGS-84 degrees, all NaN when it has no area of its own.
    """

    code: str
    name_zh: str
    name_en: str | None
    level: Level
    parent: str | None
    valid_from_ms: int | None
    valid_to_ms: int | None
    west: float
    south: float
    east: float
    north: float

    def is_valid(self, at_ms: int) -> bool:
        """Whether it is in force at a time."""
        return (self.valid_from_ms is None or self.valid_from_ms <= at_ms) and (
            self.valid_to_ms is None or at_ms < self.valid_to_ms
        )


def overlap_in_time(a_from_ms: int | None, a_to_ms: int | None, b_from_ms: int | None, b_to_ms: int | None) -> bool:
    """Whether two validities have a moment in common."""
    return (a_from_ms is None or b_to_ms is None or a_from_ms < b_to_ms) and (
        b_from_ms is None or a_to_ms is None or b_from_ms < a_to_ms
    )
