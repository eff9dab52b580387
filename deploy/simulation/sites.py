"""Places where things happen more often than elsewhere, and where a city therefore puts its devices and cameras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from deploy.simulation.chance import generator
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.streets import Index, Streets

APART_M: Final = 380.0
"""Between any two of them, low spots included: incidents stay out of each other's cells."""
COUNTS: Final[dict[str, int]] = {"junction": 40, "plaza": 12, "building": 36, "gas": 30, "manhole": 36}
"""Accident-prone junctions, crowded squares, buildings with fire alarms, gas regulators, covers that moved before."""
ON_MAIN_ROADS: Final = frozenset({"junction", "plaza"})

Sites = Mapping[str, Index]
"""Nodes by kind of place; "low" are the low spots."""


def build_sites(settings: SimulationSettings, streets: Streets) -> Sites:
    """Places of every kind, as many as the ground has room for."""
    taken = streets.low_spots.tolist()
    sites: dict[str, Index] = {"low": streets.low_spots}
    main = np.array([road.lanes >= 4 for road in streets.roads])[streets.road]
    for kind, count in COUNTS.items():
        order = generator(settings.seed, "sites", kind).permutation(streets.count)
        chosen: list[int] = []
        for node in order.tolist():
            if len(chosen) == count:
                break
            if kind in ON_MAIN_ROADS and not main[node]:
                continue
            if all(_apart_m(streets, node, other) >= APART_M for other in taken):
                chosen.append(node)
                taken.append(node)
        sites[kind] = np.array(chosen, dtype=np.int32)
    return sites


def _apart_m(streets: Streets, a: int, b: int) -> float:
    return math.hypot(streets.x[a] - streets.x[b], streets.y[a] - streets.y[b])
