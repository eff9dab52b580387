"""Devices: as many as asked for, where they should be, and the same ones when there are more of them."""

from __future__ import annotations

import math

import numpy as np

from deploy.simulation.device_types import DEVICE_TYPES
from deploy.simulation.fleet import Devices, Fault, build_devices, counts_of, place_text, registered_rows
from deploy.simulation.settings import FaultSettings, SimulationSettings
from schemas.datums import Datum
from schemas.kinds import built_in_kinds
from schemas.sources import Source
from tests.deploy.simulation.small import GRID, NO_FAULTS, ground, settings
from topology.datum import convert


def fleet(made: SimulationSettings) -> Devices:
    streets, sites = ground(made)
    return build_devices(made, streets, sites, GRID)


def test_there_are_as_many_devices_as_asked_for_of_every_kind() -> None:
    for count in (1, 17, 150, 10_000):
        assert sum(counts_of(count)) == count
    assert min(counts_of(10_000)) > 0


def test_more_devices_leave_the_others_as_they_are() -> None:
    few, many = fleet(settings(devices=100)), fleet(settings(devices=400))
    later = {name: i for i, name in enumerate(many.ids)}
    same = [later[name] for name in few.ids]
    for column in ("node", "lon", "lat", "keys", "time_form", "phase_ms", "fault", "fault_from_ms"):
        assert np.array_equal(getattr(few, column), getattr(many, column)[same]), column
    assert few.placements == tuple(many.placements[i] for i in same)


def test_a_device_stands_in_the_cell_of_its_street() -> None:
    made = settings(devices=600)
    streets, _ = ground(made)
    devices = fleet(made)
    assert np.array_equal(GRID.cells_of(devices.lon, devices.lat), streets.cell[devices.node])


def test_every_metric_and_unit_is_known_to_the_registry_of_kinds() -> None:
    kinds = built_in_kinds()
    for kind in DEVICE_TYPES:
        for measure in kind.measures:
            entry = kinds.find(Source.READINGS, measure.metric)
            assert entry is not None, measure.metric
            assert kinds.unit_of(measure.unit) == entry.unit, measure.metric


def test_faults_are_as_frequent_as_asked_for() -> None:
    faults = FaultSettings(stuck_share=0.1, skewed_share=0.2, silent_share=0.05, gcj02_share=0.3, undeclared_share=0.1)
    devices = fleet(settings(devices=4_000, faults=faults))
    found = {
        "stuck": (int((devices.fault == Fault.STUCK).sum()), 0.1),
        "skewed": (int((devices.fault == Fault.SKEWED).sum()), 0.2),
        "silent": (int((devices.fault == Fault.SILENT).sum()), 0.05),
        "declared": (sum(p.datum is Datum.GCJ02 and p.declared for p in devices.placements), 0.3),
        "undeclared": (sum(not p.declared and p.datum is Datum.GCJ02 for p in devices.placements), 0.1),
        "registered": (sum(p.registered for p in devices.placements), 0.25),
    }
    for name, (count, share) in found.items():
        assert abs(count - 4_000 * share) < 5 * math.sqrt(4_000 * share * (1 - share)), name


def test_without_faults_there_are_none() -> None:
    devices = fleet(settings(devices=2_000, faults=NO_FAULTS))
    assert not devices.fault.any() and not devices.skew_ms.any()
    assert all(placement.datum is Datum.WGS84 for placement in devices.placements)


def test_a_clock_is_never_further_ahead_or_behind_than_the_settings_say() -> None:
    faults = FaultSettings(skewed_share=0.9, skew_ahead_ms=1_000, skew_behind_ms=30_000)
    skew = fleet(settings(devices=2_000, faults=faults)).skew_ms
    assert skew.max() <= 1_000 and skew.min() >= -30_000
    assert (skew > 0).any() and (skew < -10_000).any()


def test_a_place_in_gcj02_is_written_in_gcj02_and_says_so_when_declared() -> None:
    devices = fleet(settings(devices=600, faults=FaultSettings(gcj02_share=0.5)))
    number = next(i for i, p in enumerate(devices.placements) if p.datum is Datum.GCJ02 and not p.registered)
    lon, lat = float(devices.lon[number]), float(devices.lat[number])
    there = convert(lon, lat, Datum.WGS84, Datum.GCJ02)
    text = place_text(lon, lat, devices.placements[number])
    assert text == f',"lon":{there[0]:.6f},"lat":{there[1]:.6f},"datum":"GCJ-02"'


def test_the_register_knows_exactly_the_devices_that_send_no_place() -> None:
    devices = fleet(settings(devices=600))
    quiet = {name for name, placement in zip(devices.ids, devices.placements, strict=True) if placement.registered}
    rows = registered_rows(devices)
    assert {row[0] for row in rows} == quiet and len(rows) == len(quiet) > 50
    for name, lon, lat, datum, _ in rows:
        i = devices.ids.index(name)
        there = convert(lon, lat, datum, Datum.WGS84)
        assert abs(there[0] - devices.lon[i]) < 3e-6 and abs(there[1] - devices.lat[i]) < 3e-6
