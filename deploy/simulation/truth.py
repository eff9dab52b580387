"""The truth file's entries: what really happened, for judging what was made of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deploy.simulation.fleet import Devices, Fault
from deploy.simulation.incidents import Incident
from deploy.simulation.settings import SimulationSettings
from schemas.datums import Datum
from topology.grid import ring_distance

if TYPE_CHECKING:
    from deploy.simulation.simulation import Simulation

TELLS_OF: Final = {
    "flood": "water_level_mm",
    "accident": "traffic_speed_kmh",
    "fire": "smoke_obscuration",
    "gas_leak": "gas_lel_percent",
    "crowd": "pedestrian_count",
    "manhole": "manhole_open",
}
"""The metric that shows each kind of incident."""
_BROKEN: Final = (Fault.STUCK, Fault.SILENT)


def summary_entry(settings: SimulationSettings, counts: Mapping[str, int]) -> dict[str, Any]:
    """The first line: the settings, and how many of everything there were."""
    return {"entry": "run", "settings": dataclasses.asdict(settings), "counts": dict(sorted(counts.items()))}


def device_counts(devices: Devices) -> Counter[str]:
    """How many devices have which fault, and which give their place in which way."""
    counts = Counter(f"devices {Fault(fault).name.lower()}" for fault in devices.fault.tolist() if fault)
    for placement in devices.placements:
        if placement.registered:
            counts["devices without coordinates"] += 1
        elif placement.datum is not Datum.WGS84:
            counts[f"devices {placement.datum.name.lower()} {'declared' if placement.declared else 'undeclared'}"] += 1
    return counts


def incident_entry(
    simulated: Simulation, incident: Incident, tickets: Mapping[str, Sequence[str]], events: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """One incident. `should_raise` is the category of the alert that a perfect detector raises, None when what happened
    was too little for one or nothing that works was there to see it."""
    streets, devices, cameras = simulated.streets, simulated.devices, simulated.cameras
    node = incident.node
    cell = int(streets.cell[node])
    grid = simulated.grid
    metric = TELLS_OF[incident.kind]
    here = np.flatnonzero(devices.node == node)
    sensors = [
        devices.ids[i]
        for i in here.tolist()
        if any(measure.metric == metric for measure in devices.types[devices.type_of[i]].measures)
        and devices.fault[i] not in _BROKEN
    ]
    seeing = [
        cameras.ids[i]
        for i in cameras.seeing(node).tolist()
        if ring_distance(grid.cell(float(cameras.lon[i]), float(cameras.lat[i])), cell) <= 1
    ]
    signs = sum((bool(sensors), bool(events.get(incident.name)), len(tickets.get(incident.name, ())) >= 2))
    happened = incident.onset_ms is not None
    road, number, _, _ = streets.address(node)
    return {
        "entry": "incident",
        "id": incident.name,
        "type": incident.kind,
        "cell": cell,
        "lon": round(float(streets.lon[node]), 6),
        "lat": round(float(streets.lat[node]), 6),
        "place": f"{streets.district[node]}{road}{number}号附近",
        "begin_ms": incident.begins_ms,
        "onset_ms": incident.onset_ms,
        "peak_ms": incident.peak_ms,
        "peak": round(incident.peak, 3),
        "end_ms": incident.end_ms,
        "notes": incident.notes,
        "sensors": sensors,
        "cameras": seeing,
        "tickets": list(tickets.get(incident.name, ())),
        "camera_events": list(events.get(incident.name, ())),
        "should_raise": incident.raises if happened and _can_be_known(incident.kind, sensors, signs) else None,
    }


def _can_be_known(kind: str, sensors: Sequence[str], signs: int) -> bool:
    """Whether the records could tell: by a sensor of the kind, or by two of sensors, camera events and calls.

    An accident always needs two: slow traffic alone is none.
    """
    return signs >= 2 or (bool(sensors) and kind != "accident")


def faulty_device_entries(devices: Devices) -> Iterator[dict[str, Any]]:
    """Every device with a fault, a wrong clock or coordinates that are not what they seem."""
    for i in np.flatnonzero(devices.fault != Fault.NONE).tolist():
        fault = Fault(int(devices.fault[i]))
        entry: dict[str, Any] = {"entry": "device", "device_id": devices.ids[i], "fault": fault.name.lower()}
        entry["from_ms"] = int(devices.fault_from_ms[i])
        if fault is Fault.SILENT:
            entry["to_ms"] = int(devices.fault_to_ms[i])
        if fault is Fault.SKEWED:
            entry["skew_ms"] = int(devices.skew_ms[i])
        yield entry
    for i, placement in enumerate(devices.placements):
        if not placement.declared and placement.datum is Datum.GCJ02 and not placement.registered:
            yield {"entry": "device", "device_id": devices.ids[i], "fault": "undeclared_gcj02"}
