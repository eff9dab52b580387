"""The devices: which there are, where they stand, how they write, and which of them are faulty.

A device's every trait is a hash of the seed, its kind and its number: more devices leave the others as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from deploy.simulation.chance import Floats, Ints, Keys, keys_of, uniforms
from deploy.simulation.device_types import DEVICE_TYPES, DeviceType
from deploy.simulation.settings import FaultSettings, SimulationSettings
from deploy.simulation.sites import Sites
from deploy.simulation.streets import Index, Streets
from schemas.datums import Datum
from topology.datum import convert
from topology.grid import Grid

OFF_THE_STREET_DEG: Final = 0.00022  # some 20 m
WITH_ZONE_SHARE, LOCAL_SHARE = 0.1, 0.04
"""Devices that write their times as text, with and without a zone."""
TYPE_SENT_SHARE: Final = 0.15
SILENT_MINUTES: Final = (4.0, 20.0)


class Lane(IntEnum):
    """What a device's numbers are for; never renumber, or every city changes."""

    PLACE = 0
    EAST = 1
    NORTH = 2
    REGISTERED = 3
    DATUM = 4
    TIME_FORM = 5
    PHASE = 6
    FAULT = 7
    FAULT_START = 8
    FAULT_SIZE = 9
    SAYS_TYPE = 10
    BASE = 20  # and on, two for each measure
    NOISE = 60
    DELAY = 61
    SPIKE = 62


class Fault(IntEnum):
    """What is wrong with a device."""

    NONE = 0
    STUCK = 1
    DRIFTING = 2
    SPIKING = 3
    SILENT = 4
    SKEWED = 5
    OTHER_UNIT = 6


@dataclass(frozen=True, slots=True)
class Placement:
    """How records of a device or camera give its place."""

    registered: bool  # its records have no coordinates
    datum: Datum
    declared: bool  # else its coordinates are taken for WGS-84, wrongly when the datum is another


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """All devices; arrays have one element per device."""

    ids: tuple[str, ...]
    types: tuple[DeviceType, ...]
    type_of: npt.NDArray[np.int16]
    node: Index
    lon: Floats  # WGS-84
    lat: Floats
    keys: Keys
    placements: tuple[Placement, ...]
    time_form: npt.NDArray[np.int8]
    says_type: npt.NDArray[np.bool_]
    every_ms: Ints
    phase_ms: Ints
    fault: npt.NDArray[np.int8]
    fault_from_ms: Ints
    fault_to_ms: Ints
    fault_size: Floats  # 0..1
    skew_ms: Ints

    @property
    def count(self) -> int:
        return len(self.ids)


def counts_of(devices: int, types: Sequence[DeviceType] = DEVICE_TYPES) -> list[int]:
    """How many devices of each type: by share, largest remainders first, `devices` in all."""
    total = sum(kind.share for kind in types)
    exact = [devices * kind.share / total for kind in types]
    counts = [int(part) for part in exact]
    by_rest = sorted(range(len(types)), key=lambda i: counts[i] - exact[i])
    for i in by_rest[: devices - sum(counts)]:
        counts[i] += 1
    return counts


def build_devices(settings: SimulationSettings, streets: Streets, sites: Sites, grid: Grid) -> Devices:
    """The fleet of a seed."""
    counts = counts_of(settings.devices)
    type_of = np.repeat(np.arange(len(counts)), counts).astype(np.int16)
    number = np.concatenate([np.arange(count) for count in counts])
    keys = np.concatenate(
        [keys_of(settings.seed, "device", kind.prefix, count=n) for kind, n in zip(DEVICE_TYPES, counts, strict=True)]
    )
    chance = [uniforms(keys, np.zeros(len(keys), dtype=np.int64), lane) for lane in range(Lane.BASE)]
    main = np.flatnonzero(np.array([road.lanes >= 4 for road in streets.roads])[streets.road])
    node = np.concatenate(
        [
            _nodes(kind, chance[Lane.PLACE][type_of == i], streets, sites, main)
            for i, kind in enumerate(DEVICE_TYPES)
        ]
    )  # fmt: skip
    lon, lat = beside(streets, grid, node, chance[Lane.EAST], chance[Lane.NORTH])
    every_ms = np.array([max(round(kind.every_s * 1000 * settings.interval_scale), 10) for kind in DEVICE_TYPES])[
        type_of
    ]
    form = chance[Lane.TIME_FORM]
    time_form = np.select([form < WITH_ZONE_SHARE, form < WITH_ZONE_SHARE + LOCAL_SHARE], [1, 2], 0).astype(np.int8)
    fault = _faults(settings.faults, chance[Lane.FAULT])
    run_ms = settings.end_ms - settings.start_ms
    starts = settings.start_ms + np.round(chance[Lane.FAULT_START] * 0.7 * run_ms).astype(np.int64)
    least, most = SILENT_MINUTES
    lasts_ms = np.round(60_000 * (least + (most - least) * chance[Lane.FAULT_SIZE])).astype(np.int64)
    return Devices(
        ids=tuple(
            f"{DEVICE_TYPES[kind].prefix}-{nth + 1:05d}"
            for kind, nth in zip(type_of.tolist(), number.tolist(), strict=True)
        ),
        types=DEVICE_TYPES, type_of=type_of, node=node, lon=lon, lat=lat, keys=keys,
        placements=placements(settings, chance[Lane.REGISTERED], chance[Lane.DATUM]),
        time_form=time_form, says_type=chance[Lane.SAYS_TYPE] < TYPE_SENT_SHARE, every_ms=every_ms,
        phase_ms=np.floor(chance[Lane.PHASE] * every_ms).astype(np.int64), fault=fault,
        fault_from_ms=np.where(fault == Fault.NONE, settings.end_ms, starts),
        fault_to_ms=np.where(fault == Fault.SILENT, starts + lasts_ms, np.iinfo(np.int64).max),
        fault_size=chance[Lane.FAULT_SIZE],
        skew_ms=np.where(fault == Fault.SKEWED, skews(settings.faults, chance[Lane.FAULT_SIZE]), 0),
    )  # fmt: skip


def placements(settings: SimulationSettings, registered: Floats, datum: Floats) -> tuple[Placement, ...]:
    """How each of them gives its place, from two uniform numbers each."""
    faults, made = settings.faults, []
    for in_register, share in zip((registered < settings.registered_share).tolist(), datum.tolist(), strict=True):
        if share < faults.gcj02_share:
            made.append(Placement(in_register, Datum.GCJ02, True))
        elif share < faults.gcj02_share + faults.bd09_share:
            made.append(Placement(in_register, Datum.BD09, True))
        elif share < faults.gcj02_share + faults.bd09_share + faults.undeclared_share:
            made.append(Placement(in_register, Datum.GCJ02, False))
        else:
            made.append(Placement(in_register, Datum.WGS84, False))
    return tuple(made)


def place_text(lon: float, lat: float, placement: Placement) -> str:
    """The fields of a record that say where, with the comma before them; empty when the register has the place."""
    if placement.registered:
        return ""
    there = convert(lon, lat, Datum.WGS84, placement.datum)
    named = f',"datum":"{DATUM_TITLES[placement.datum]}"' if placement.declared else ""
    return f',"lon":{there[0]:.6f},"lat":{there[1]:.6f}{named}'


DATUM_TITLES: Final = {Datum.WGS84: "WGS-84", Datum.GCJ02: "GCJ-02", Datum.BD09: "BD-09"}


def skews(faults: FaultSettings, size: Floats) -> Ints:
    """Clock errors in ms: a third of the clocks ahead, the others behind."""
    ahead = np.round(faults.skew_ahead_ms * size * 3.0)
    behind = -np.round(faults.skew_behind_ms * (size - 1 / 3) * 1.5)
    return np.where(size < 1 / 3, ahead, behind).astype(np.int64)


def beside(streets: Streets, grid: Grid, node: Index, east: Floats, north: Floats) -> tuple[Floats, Floats]:
    """Points some metres from their nodes, in the same cell of the grid; `east` and `north` are from 0 to 1."""
    lon = streets.lon[node] + OFF_THE_STREET_DEG * (2 * east - 1)
    lat = streets.lat[node] + OFF_THE_STREET_DEG * (2 * north - 1)
    for axis, origin, step in (
        (lon, grid.origin_lon, grid.step_lon_deg),
        (lat, grid.origin_lat, grid.step_lat_deg),
    ):
        street = streets.lon[node] if axis is lon else streets.lat[node]
        edge = origin + np.floor((street - origin) / step) * step
        np.clip(axis, edge + 0.05 * step, edge + 0.95 * step, out=axis)
    return np.round(lon, 6), np.round(lat, 6)


def registered_rows(devices: Devices) -> list[tuple[str, float, float, Datum, str]]:
    """(id, lon, lat, datum, type) of the devices that the register must know, in the datum it was written down in."""
    rows = []
    for i, placement in enumerate(devices.placements):
        if placement.registered:
            datum = placement.datum if placement.declared else Datum.WGS84
            lon, lat = convert(float(devices.lon[i]), float(devices.lat[i]), Datum.WGS84, datum)
            rows.append((devices.ids[i], round(lon, 6), round(lat, 6), datum, devices.types[devices.type_of[i]].name))
    return rows


def _nodes(kind: DeviceType, chance: Floats, streets: Streets, sites: Sites, main: npt.NDArray[np.int64]) -> Index:
    """Where the devices of one type stand: at the places meant for them first, then anywhere."""
    known = np.repeat(sites[kind.site], kind.per_site) if kind.site else np.zeros(0, dtype=np.int32)
    others = main if kind.main_roads and len(main) else np.arange(streets.count)
    node = others[np.floor(chance * len(others)).astype(np.int64)]
    taken = min(len(known), len(node))
    node[:taken] = known[:taken]
    return node.astype(np.int32)


def _faults(faults: FaultSettings, chance: Floats) -> npt.NDArray[np.int8]:
    shares = (
        faults.stuck_share, faults.drifting_share, faults.spiking_share, faults.silent_share, faults.skewed_share,
        faults.other_unit_share,
    )  # fmt: skip
    return np.select([chance < edge for edge in np.cumsum(shares)], list(range(1, len(Fault))), 0).astype(np.int8)
