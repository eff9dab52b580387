"""A small simulated place that tests can afford: some 2 km across, a few hundred devices, a few minutes."""

from __future__ import annotations

from typing import Any, Final

from deploy.config import CitySettings
from deploy.simulation.settings import FaultSettings, SimulationSettings, StormSettings
from deploy.simulation.sites import Sites, build_sites
from deploy.simulation.streets import Streets, build_streets
from topology.grid import Grid

GRID: Final[Grid] = CitySettings().grid()
BOX: Final = {"west": 121.430, "south": 31.180, "east": 121.452, "north": 31.200}
MIDDLE: Final = (121.441, 31.190)
STORM: Final = StormSettings(over=(MIDDLE,), begins_minute=1.0, fades_minutes=4.0, peak_mm_h=160.0)


def settings(**changes: Any) -> SimulationSettings:
    values: dict[str, Any] = {
        "seed": 3, "minutes": 4.0, "devices": 150, "cameras": 24, "people": 300_000, "low_spots": 4, **BOX,
    }  # fmt: skip
    return SimulationSettings(**values | changes)


def ground(made: SimulationSettings) -> tuple[Streets, Sites]:
    streets = build_streets(made, GRID)
    return streets, build_sites(made, streets)


NO_FAULTS: Final = FaultSettings.none()
