"""Cameras: they see what is before them, some time after it is there, and are sometimes wrong."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np

from deploy.simulation.cameras import ANGLE_DEG, RANGE_M, Analytics, Cameras, build_cameras
from deploy.simulation.fields import Fields, Quantity
from deploy.simulation.rows import Pieces, Renderer
from deploy.simulation.settings import START_MS, SimulationSettings
from deploy.simulation.sights import SIGHTS
from deploy.simulation.streets import Streets
from schemas.kinds import built_in_kinds
from schemas.sources import Source
from tests.deploy.simulation.small import GRID, ground, settings


def cameras_of(made: SimulationSettings) -> tuple[Streets, Cameras]:
    streets, sites = ground(made)
    return streets, build_cameras(made, streets, sites, GRID)


def watch(made: SimulationSettings, minutes: float, fields: Fields | None = None) -> list[dict[str, Any]]:
    streets, cameras = cameras_of(made)
    pieces = Pieces()
    analytics = Analytics(made, cameras, pieces, 0)
    renderer = Renderer(pieces)
    events: list[dict[str, Any]] = []
    for step in range(round(minutes * 6)):
        rows, _ = analytics.step(START_MS + step * 10_000, 10.0, fields or Fields(streets.count), [])
        data, starts = renderer.render(rows, [])
        events += [json.loads(data[a:b].tobytes()) for a, b in pairwise(starts.tolist())]
    return events


def flooded(streets: Streets, depth_mm: float) -> Fields:
    fields = Fields(streets.count)
    fields[Quantity.DEPTH_MM] = depth_mm
    return fields


def test_every_event_is_known_to_the_registry_of_kinds() -> None:
    for sight in SIGHTS:
        assert built_in_kinds().find(Source.CAMERA_EVENTS, sight.event) is not None, sight.event


def test_a_camera_sees_its_own_street_and_nothing_beyond_its_range_or_angle() -> None:
    streets, cameras = cameras_of(settings(cameras=400))
    own = set(zip(range(400), cameras.node.tolist(), strict=True))
    pairs = set(zip(cameras.sees_camera.tolist(), cameras.sees_node.tolist(), strict=True))
    assert own <= pairs and len(pairs) > len(own)
    for camera, node in pairs - own:
        dx = (streets.lon[[node, cameras.node[camera]]] - cameras.lon[camera]) * streets.metres_lon
        dy = (streets.lat[[node, cameras.node[camera]]] - cameras.lat[camera]) * streets.metres_lat
        assert np.hypot(dx, dy)[0] <= RANGE_M[1] + 1
        turn = np.degrees(np.diff(np.arctan2(dy, dx)))[0]
        assert abs((turn + 180) % 360 - 180) <= ANGLE_DEG[1] / 2 + 0.5


def test_water_is_seen_after_a_while_and_surer_when_it_is_deep() -> None:
    made = settings(cameras=60)
    streets, _ = cameras_of(made)
    shallow, deep = (watch(made, 10, flooded(streets, depth)) for depth in (60.0, 400.0))
    sure = [np.mean([e["confidence"] for e in events if e["event"] == "waterlogging"]) for events in (shallow, deep)]
    assert sure[1] > sure[0] + 0.15
    first = min(e["ts"] for e in deep if e["event"] == "waterlogging" and e["confidence"] > 0.7)
    assert first - START_MS >= 10_000


def test_shallow_water_is_not_seen() -> None:
    made = settings(cameras=60)
    streets, _ = cameras_of(made)
    assert not [
        e for e in watch(made, 10, flooded(streets, 20.0)) if e["event"] == "waterlogging" and e["confidence"] > 0.7
    ]


def test_on_a_quiet_day_false_events_are_few_and_unsure() -> None:
    events = watch(settings(cameras=400), 30)
    expected = {sight.event: sight.false_h * 400 * 0.5 for sight in SIGHTS if sight.false_h}
    wrong = [event for event in events if event["event"] in expected and event["event"] != "congestion"]
    assert 0 < len(wrong) < 2 * sum(expected.values()) + 10
    assert np.mean([event["confidence"] for event in wrong]) < 0.6


def test_a_crowd_is_counted_about_right() -> None:
    made = settings(cameras=60)
    fields = Fields(cameras_of(made)[0].count)
    fields[Quantity.CROWD] = 800.0
    counts = [event["count"] for event in watch(made, 6, fields) if event["event"] == "crowding"]
    assert counts and np.median(counts) > 650 and max(counts) < 950


def test_events_have_numbers_of_their_own() -> None:
    made = settings(cameras=60)
    events = watch(made, 10, flooded(cameras_of(made)[0], 400.0))
    assert len({event["track_id"] for event in events}) == len(events) > 100
