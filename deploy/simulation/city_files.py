"""What a city folder has to know of a simulated city: its devices' places, its addresses, its streets and drains."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from deploy.simulation.fleet import DATUM_TITLES, registered_rows
from deploy.simulation.simulation import Simulation

DEVICES, ADDRESSES, NETWORKS = "devices.csv", "addresses.csv", "networks.csv"
LISTED_OFFSETS_M: Final = (-112, -96, -80, -64, -48, -32, -16, 0, 16, 32, 48, 64, 80, 96, 112)
"""Every house number along a street has its line; of two streets' nodes both, where they overlap."""


def make_city_files(simulated: Simulation, folder: Path) -> None:
    """Write devices.csv, addresses.csv and networks.csv into a folder, which is made if it is missing.

    The register holds what a real one would: every camera, and the devices whose records carry no place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / DEVICES, ("device_id", "lon", "lat", "datum", "device_type", "name"), device_lines(simulated))
    _write(folder / ADDRESSES, ("road", "number", "text", "lon", "lat"), address_lines(simulated))
    columns = ("record", "id", "lon", "lat", "kind", "network", "start", "end", "length_m")
    _write(folder / NETWORKS, columns, network_lines(simulated))


def device_lines(simulated: Simulation) -> Iterator[Sequence[object]]:
    """Lines of the device register."""
    for name, lon, lat, datum, kind in registered_rows(simulated.devices):
        yield name, f"{lon:.6f}", f"{lat:.6f}", DATUM_TITLES[datum], kind, ""
    cameras = simulated.cameras
    for i, name in enumerate(cameras.ids):
        street = simulated.streets.roads[int(simulated.streets.road[cameras.node[i]])].name
        yield name, f"{cameras.lon[i]:.6f}", f"{cameras.lat[i]:.6f}", "WGS-84", "camera", street


def address_lines(simulated: Simulation) -> Iterator[Sequence[object]]:
    """Every house number once, and the crossings of streets."""
    streets = simulated.streets
    seen: set[tuple[str, int]] = set()
    for node in range(streets.count):
        for side in (0, 1):
            for offset_m in LISTED_OFFSETS_M:
                road, number, lon, lat = streets.address(node, float(offset_m), side=side)
                if (road, number) not in seen:
                    seen.add((road, number))
                    yield road, f"{number}号", "", f"{lon:.6f}", f"{lat:.6f}"


def network_lines(simulated: Simulation) -> Iterator[Sequence[object]]:
    """Nodes, then the roads and the drains between them."""
    streets = simulated.streets
    low = set(streets.low_spots.tolist())
    for node in range(streets.count):
        kind = "low_spot" if node in low else "outfall" if streets.drain[node] < 0 else "junction"
        yield "node", f"n{node}", f"{streets.lon[node]:.6f}", f"{streets.lat[node]:.6f}", kind, "", "", "", ""
    for node in range(streets.count):
        for network, other in (("road", int(streets.before[node])), ("drain", int(streets.drain[node]))):
            if other >= 0:
                start, end = (other, node) if network == "road" else (node, other)
                metres = ((streets.x[node] - streets.x[other]) ** 2 + (streets.y[node] - streets.y[other]) ** 2) ** 0.5
                yield "edge", f"{network}-{node}", "", "", "", network, f"n{start}", f"n{end}", f"{metres:.1f}"


def _write(path: Path, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)
