"""From the words of a command to settings that fit a city."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from deploy.simulation.settings import FaultSettings, SimulationSettings, StormSettings
from schemas.errors import SettingsError
from topology.grid import Grid, metres_per_degree

WIDTH_M, HEIGHT_M = 11_400.0, 11_100.0
"""The part of a city that is simulated when nothing else is said."""
_PARTS: Final = {"faults": FaultSettings, "storm": StormSettings}


def changed(settings: SimulationSettings, assignments: Iterable[str]) -> SimulationSettings:
    """The settings with `name=value` applied; `faults.name` and `storm.name` (of every storm) reach the inner ones.

    Raises SettingsError with every assignment that cannot be used.
    """
    problems: list[str] = []
    outer: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {name: {} for name in _PARTS}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        part, dot, field = name.strip().partition(".")
        owner = _PARTS.get(part) if dot else SimulationSettings
        types = typing.get_type_hints(owner) if owner is not None else {}
        wanted = _number(types.get(field if dot else part))
        if not equals or wanted is None:
            known = ", ".join(_settable())
            problems.append(f"simulation: expected name=number, got {assignment!r}; names are {known}")
            continue
        try:
            value = msgspec.convert(text.strip(), wanted, strict=False)
        except msgspec.ValidationError:
            problems.append(f"simulation: {name.strip()}: expected {wanted.__name__}, got {text.strip()!r}")
            continue
        (inner[part] if dot else outer)[field if dot else part] = value
    if problems:
        raise SettingsError(problems)
    storms = tuple(dataclasses.replace(storm, **inner["storm"]) for storm in settings.storms)
    faults = dataclasses.replace(settings.faults, **inner["faults"])
    return settings.with_changes(**outer, storms=storms, faults=faults)


def fitted(settings: SimulationSettings, grid: Grid) -> SimulationSettings:
    """The settings, their box moved into the middle of the grid when it lies outside; a small city is taken whole."""
    east, north = grid.origin_lon + grid.nx * grid.step_lon_deg, grid.origin_lat + grid.ny * grid.step_lat_deg
    inside = (
        grid.origin_lon <= settings.west
        and settings.east <= east
        and grid.origin_lat <= settings.south
        and settings.north <= north
    )
    if inside:
        return settings
    lon, lat = (grid.origin_lon + east) / 2, (grid.origin_lat + north) / 2
    metres_lon, metres_lat = metres_per_degree(lat)
    half_lon = min(WIDTH_M / metres_lon, east - grid.origin_lon) * 0.499
    half_lat = min(HEIGHT_M / metres_lat, north - grid.origin_lat) * 0.499
    return settings.with_changes(west=lon - half_lon, east=lon + half_lon, south=lat - half_lat, north=lat + half_lat)


def _settable() -> list[str]:
    """Names of all numbers that can be set."""
    names = [name for name, kind in typing.get_type_hints(SimulationSettings).items() if _number(kind)]
    for part, owner in _PARTS.items():
        names += [f"{part}.{name}" for name, kind in typing.get_type_hints(owner).items() if _number(kind)]
    return names


def _number(kind: object) -> type[int] | type[float] | None:
    """int or float for a field that holds one (or None), else None."""
    inner = [part for part in typing.get_args(kind) if part is not type(None)] or [kind]
    return next((number for number in (int, float) if inner == [number]), None)
