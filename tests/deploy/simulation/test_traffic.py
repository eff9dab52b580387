"""Traffic: speeds within bounds, queues that grow behind what blocks the road and dissolve when it is gone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from deploy.simulation.rhythms import rush
from deploy.simulation.streets import Streets
from deploy.simulation.traffic import LONGEST_QUEUE_M, Traffic
from tests.deploy.simulation.small import ground, settings


@pytest.fixture(scope="module")
def streets() -> Streets:
    return ground(settings())[0]


def in_the_middle(streets: Streets) -> int:
    """A node with three others before it on its road."""
    return next(n for n in range(streets.count) if n >= 3 and streets.road[n] == streets.road[n - 3])


def drive(
    traffic: Traffic, streets: Streets, minutes: float, *, blocked: int | None = None, hour: float = 18.0
) -> None:
    dry, open_share = np.zeros(streets.count), np.ones(streets.count)
    if blocked is not None:
        open_share[blocked] = 0.15
    for _ in range(round(minutes * 6)):
        traffic.step(hour, dry, dry, open_share, 10.0)


@given(
    hour=st.floats(0, 24),
    rain=st.floats(0, 500),
    depth=st.floats(0, 3_000),
    share=st.floats(0, 1),
    steps=st.integers(1, 60),
)
@rules(deadline=None, max_examples=40)
def test_speeds_queues_and_occupancy_stay_within_bounds(
    streets: Streets, hour: float, rain: float, depth: float, share: float, steps: int
) -> None:
    traffic = Traffic(settings(), streets)
    full = np.ones(streets.count)
    for _ in range(steps):
        traffic.step(hour, rain * full, depth * full, share * full, 10.0)
    assert (traffic.speed_kmh >= 0).all() and (traffic.speed_kmh <= 120).all()
    assert (traffic.queue_m >= 0).all() and (traffic.queue_m <= LONGEST_QUEUE_M).all()
    assert (traffic.occupancy_percent >= 0).all() and (traffic.occupancy_percent <= 100).all()
    assert (traffic.flow_veh_min >= 0).all()


def test_traffic_behind_a_blocked_lane_crawls_and_elsewhere_flows_on(streets: Streets) -> None:
    node, traffic = in_the_middle(streets), Traffic(settings(), streets)
    drive(traffic, streets, 5)
    usual = traffic.speed_kmh.copy()
    drive(traffic, streets, 8, blocked=node)
    assert traffic.speed_kmh[node] < 0.3 * usual[node] and traffic.speed_kmh[node - 1] < 0.5 * usual[node - 1]
    apart = streets.road != streets.road[node]
    assert np.allclose(traffic.speed_kmh[apart], usual[apart], rtol=0.02)
    assert traffic.queue_m[node] > 250


def test_a_queue_grows_until_the_lane_is_free_and_then_dissolves(streets: Streets) -> None:
    node, traffic = in_the_middle(streets), Traffic(settings(), streets)
    drive(traffic, streets, 5)
    usual = float(traffic.speed_kmh[node])
    drive(traffic, streets, 4, blocked=node)
    early = float(traffic.queue_m[node])
    drive(traffic, streets, 4, blocked=node)
    assert traffic.queue_m[node] > early > 0
    drive(traffic, streets, 60)
    assert traffic.queue_m[node] == 0 and traffic.speed_kmh[node] > 0.9 * usual


def test_deep_water_slows_cars(streets: Streets) -> None:
    traffic, dry = Traffic(settings(), streets), np.zeros(streets.count)
    water = dry.copy()
    water[0] = 350.0
    for _ in range(30):
        traffic.step(12.0, dry, water, np.ones(streets.count), 10.0)
    assert traffic.speed_kmh[0] < 0.4 * traffic.speed_kmh[1:].min()


def test_the_day_has_two_rushes_and_a_quiet_night() -> None:
    assert rush(8.2) > rush(11) and rush(18) > rush(15) and rush(3) < 0.2
    assert max(rush(hour / 10) for hour in range(240)) <= 1.0
