"""The day's rhythm: when people are about, roads are full, lights are on."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final

import numpy as np

from deploy.simulation.chance import Floats

LOCAL_OFFSET_H: Final = 8.0
"""Hours from UTC to the city's sun; Chinese clocks all show it."""


class Curve(IntEnum):
    """Rhythms of the day, 0 to about 1."""

    FLAT = 0
    PEOPLE = 1
    TRAFFIC = 2
    POWER = 3
    NOISE = 4
    DAYLIGHT = 5
    FILLING = 6


def curves_at(hour: float) -> Floats:
    """float64[len(Curve)] at an hour of the day."""
    return np.array(
        (
            0.0,
            people_out(hour),
            rush(hour),
            0.35 + bumps(hour, (11.0, 2.5, 0.4), (19.5, 2.5, 0.6)),
            0.2 + bumps(hour, (9.0, 2.5, 0.6), (18.0, 3.0, 0.7)),
            max(0.0, 1.0 - ((hour - 12.5) / 6.8) ** 2),
            ((hour - 6.0) % 24.0) / 24.0,  # litter is taken away at six
        )
    )


def people_out(hour: float) -> float:
    """How many people are about, 0 to about 1: few at night, most at noon and in the evening."""
    return 0.05 + bumps(hour, (8.5, 1.3, 0.55), (12.5, 2.2, 0.6), (18.8, 2.4, 0.85))


def rush(hour: float) -> float:
    """Demand as a share of capacity over the day: two rushes, quiet at night."""
    return 0.10 + bumps(hour, (8.2, 1.2, 0.55), (18.0, 1.5, 0.52), (13.0, 3.5, 0.32))


def local_hour(at_ms: int) -> float:
    """0 to 24: the hour of the city's day."""
    return (at_ms / 3_600_000 + LOCAL_OFFSET_H) % 24.0


def bumps(hour: float, *peaks: tuple[float, float, float]) -> float:
    """Sum of bells over the day: (hour of the peak, width in hours, height)."""
    total = 0.0
    for peak, width, height in peaks:
        away = min(abs(hour - peak), 24.0 - abs(hour - peak))
        total += height * math.exp(-0.5 * (away / width) ** 2)
    return total
