"""The files of a simulated city make a city folder that everything else can read."""

from __future__ import annotations

import math
import shutil

import pytest

from deploy.simulation.city_files import ADDRESSES, DEVICES, NETWORKS, make_city_files
from deploy.simulation.simulation import Simulation
from tests.deploy.simulation.small import settings
from topology.city import BUILT_IN, City
from topology.devices import DeviceRegister
from topology.networks import Networks


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulation, City]:
    """A simulated quarter of Shanghai, and the city folder that knows it."""
    simulated = Simulation(settings(), City.load("shanghai"))
    folder = tmp_path_factory.mktemp("city") / "shanghai"
    shutil.copytree(BUILT_IN / "shanghai", folder)
    make_city_files(simulated, folder)
    return simulated, City.load(folder)


def test_the_folder_loads_and_warns_of_nothing_in_these_files(made: tuple[Simulation, City]) -> None:
    _, city = made
    assert city.folder is not None
    assert not [text for text in city.warnings if any(name in text for name in (ADDRESSES, DEVICES, NETWORKS))]
    assert city.devices_path == city.folder / DEVICES


def test_the_register_has_every_camera_and_every_device_that_sends_no_place(made: tuple[Simulation, City]) -> None:
    simulated, city = made
    assert city.devices_path is not None
    register = DeviceRegister.load(city.devices_path, grid=city.grid)
    known = {device.device_id for device in register.devices}
    quiet = {name for name, p in zip(simulated.devices.ids, simulated.devices.placements, strict=True) if p.registered}
    assert known == quiet | set(simulated.cameras.ids)
    assert not register.warnings


def test_addresses_as_callers_say_them_lead_to_their_doors(made: tuple[Simulation, City]) -> None:
    simulated, city = made
    streets, library = simulated.streets, city.addresses
    assert library is not None
    for node in range(0, streets.count, 3):
        road, number, lon, lat = streets.address(node, 20.0, side=1)
        found = library.resolve(f"{streets.district[node]}{road}{number}号门口")
        assert found.lon is not None and found.lat is not None, (road, number)
        off_m = math.hypot((found.lon - lon) * streets.metres_lon, (found.lat - lat) * streets.metres_lat)
        assert off_m < 60, (road, number, off_m)


def test_every_street_lies_in_the_district_that_its_addresses_name(made: tuple[Simulation, City]) -> None:
    simulated, _ = made
    assert set(simulated.streets.district) <= {"徐汇区", "长宁区", "黄浦区", "静安区"}


def test_drains_lead_from_low_spots_to_an_outfall_and_roads_go_on(made: tuple[Simulation, City]) -> None:
    simulated, city = made
    assert city.folder is not None
    networks = Networks.load(city.folder / NETWORKS, grid=city.grid)
    outfalls = {f"n{node}" for node in (simulated.streets.drain < 0).nonzero()[0].tolist()}
    assert outfalls >= {node.id for node in networks.nodes.values() if node.kind == "outfall"} and not networks.warnings
    for node in simulated.streets.low_spots.tolist():
        reached = networks.downstream(f"n{node}", "drain")
        assert (reached[-1] if reached else f"n{node}") in outfalls
    assert len(networks.neighbours("n1", "road")) in (1, 2)
