"""Water on streets and in drains: none is made, none is lost, none is negative, and it runs the way it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from deploy.simulation.streets import Streets
from deploy.simulation.water import Water
from tests.deploy.simulation.small import ground, settings

DRY_S = 10.0


@pytest.fixture(scope="module")
def streets() -> Streets:
    return ground(settings())[0]


@given(
    rain=st.lists(st.floats(0, 500), min_size=1, max_size=30),
    dt_s=st.sampled_from((1.0, 10.0, 60.0)),
    seed=st.integers(0, 5),
)
@rules(deadline=None, max_examples=40)
def test_what_has_rained_stands_in_streets_and_pipes_or_has_run_into_the_river(
    streets: Streets, rain: list[float], dt_s: float, seed: int
) -> None:
    water = Water(settings(seed=seed), streets)
    for intensity in rain:
        water.step(np.full(streets.count, intensity), dt_s)
        assert abs(water.imbalance_m3) <= 1e-9 * max(water.rained_m3, 1.0)
        assert (water.surface_m3 >= 0).all() and (water.depth_mm >= 0).all()
        assert (water.pipe_m3 >= -1e-9).all() and (water.pipe_fill <= 1 + 1e-9).all()


def test_all_water_runs_off_in_the_end(streets: Streets) -> None:
    water = Water(settings(clogged_share=0.0), streets)
    for _ in range(60):
        water.step(np.full(streets.count, 120.0), DRY_S)
    for _ in range(3_000):
        water.step(np.zeros(streets.count), DRY_S)
    assert water.depth_mm.max() < 1.0
    assert water.discharged_m3 > 0.98 * water.rained_m3


def test_water_gathers_in_low_spots_and_hardly_elsewhere(streets: Streets) -> None:
    water = Water(settings(clogged_share=1.0), streets)
    for _ in range(150):
        water.step(np.full(streets.count, 110.0), DRY_S)
    others = np.setdiff1d(np.arange(streets.count), streets.low_spots)
    assert water.depth_mm[streets.low_spots].max() > 150
    assert np.median(water.depth_mm[others]) < 60


def test_a_clogged_drain_floods_deeper_and_longer_than_a_clean_one(streets: Streets) -> None:
    depths = []
    for share in (0.0, 1.0):
        water = Water(settings(clogged_share=share), streets)
        for minute in range(60):
            for _ in range(6):
                water.step(np.full(streets.count, 90.0 if minute < 15 else 0.0), DRY_S)
        depths.append(water.depth_mm[streets.low_spots])
    clean, clogged = depths
    assert (clogged >= clean - 1e-9).all() and clogged.max() > clean.max() + 50


def test_drizzle_floods_nothing(streets: Streets) -> None:
    water = Water(settings(clogged_share=0.0), streets)
    for _ in range(360):
        water.step(np.full(streets.count, 4.0), DRY_S)
    assert water.depth_mm.max() < 60


def test_drains_and_surface_ways_lead_to_an_end_without_circles(streets: Streets) -> None:
    for following in (streets.drain, streets.downhill):
        at = np.arange(streets.count)
        for _ in range(streets.count):
            at = np.where(at >= 0, following[at], -1)
        assert (at == -1).all()
