"""Incidents take their course: they begin, get worse, reach their peak and end, in that order."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.simulation.fields import Fields, Quantity
from deploy.simulation.floods import Floods
from deploy.simulation.incidents import PLANS, Incident, plan_incidents
from deploy.simulation.settings import SimulationSettings
from tests.deploy.simulation.small import ground, settings

ONE_OF_EACH = {"accidents": 1, "fires": 1, "gas_leaks": 1, "crowds": 1, "manholes": 1}


def planned(made: SimulationSettings) -> list[Incident]:
    streets, sites = ground(made)
    return plan_incidents(made, streets, sites)


def lived(incident: Incident) -> list[Fields]:
    """The world at its node every ten seconds from before it begins until after its end."""
    nodes, worlds = 400, []
    for step in range(-6, 900):
        fields = Fields(nodes)
        incident.step(incident.begins_ms + step * 10_000, 10.0, fields, np.ones(nodes))
        worlds.append(fields)
        if incident.end_ms is not None:
            return worlds
    raise AssertionError(f"{incident.name} has no end")


@pytest.mark.parametrize("kind", PLANS)
def test_onset_peak_and_end_follow_each_other(kind: str) -> None:
    incident = next(one for one in planned(settings(minutes=120.0, **ONE_OF_EACH)) if one.kind == kind)
    worlds = lived(incident)
    assert incident.onset_ms is not None and incident.peak_ms is not None and incident.end_ms is not None
    assert incident.begins_ms <= incident.onset_ms <= incident.peak_ms < incident.end_ms
    assert incident.peak >= 1.0
    assert not worlds[0].data.any(), "nothing happens before it begins"
    assert not worlds[-1].data[Quantity.STOPPED_VEHICLES, incident.node]


def test_a_fire_smokes_before_it_is_hot_and_dies_down_when_fought() -> None:
    fire = next(one for one in planned(settings(minutes=120.0, fires=1)))
    worlds = lived(fire)
    smoke, heat = (
        np.array([fields.data[quantity, fire.node] for fields in worlds])
        for quantity in (Quantity.SMOKE_PERCENT_M, Quantity.HEAT_K)
    )
    assert (smoke > 5).argmax() < (heat > 60).argmax()
    assert heat[-2] < 0.1 * heat.max()


def test_gas_gathers_slowly_and_stays_below_the_lower_explosive_limit() -> None:
    leak = next(one for one in planned(settings(minutes=120.0, gas_leaks=1)))
    lel = np.array([fields.data[Quantity.GAS_LEL, leak.node] for fields in lived(leak)])
    rising = lel[: lel.argmax() + 1]
    assert (np.diff(rising) >= 0).all() and (rising < 1).sum() < (rising > 1).sum() and lel.max() < 100


def test_more_incidents_of_one_kind_leave_the_others_where_they_are() -> None:
    few = planned(settings(accidents=2, fires=1))
    many = planned(settings(accidents=5, fires=1, crowds=3))
    seen = {(one.name, one.node, one.begins_ms) for one in many}
    assert {(one.name, one.node, one.begins_ms) for one in few} <= seen


def test_a_flood_is_found_where_water_stands_and_is_over_when_it_is_gone() -> None:
    floods, depth = Floods(), np.zeros(5)
    story = [(0, 0.0), (1, 70.0), (2, 90.0), (3, 180.0), (4, 420.0), (5, 200.0), (6, 60.0), (7, 30.0), (8, 20.0)]
    for minute, millimetres in story:
        depth[2] = millimetres
        floods.step(minute * 60_000, depth)
        for flood in floods.all:
            flood.step(minute * 60_000, 60.0, Fields(5), np.ones(5))
    (flood,) = floods.all
    assert (flood.node, flood.begins_ms, flood.onset_ms, flood.peak_ms, flood.end_ms) == (
        2, 120_000, 180_000, 240_000, 420_000,
    )  # fmt: skip
    assert flood.notes["deepest_mm"] == 420.0


def test_what_repeats_comes_again_in_every_round_and_the_first_round_does_not_depend_on_how_many_follow() -> None:
    once = planned(settings(minutes=30.0, fires=2))
    twice = planned(settings(minutes=75.0, repeat_minutes=30.0, fires=2))
    assert len(twice) == 6
    assert [(one.name, one.node, one.begins_ms) for one in twice[:2]] == [
        (one.name, one.node, one.begins_ms) for one in once
    ]
    rounds = [int((one.begins_ms - settings().start_ms) // 1_800_000) for one in twice]
    assert rounds == [0, 0, 1, 1, 2, 2]
