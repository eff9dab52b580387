"""Callers: they call after what they saw, in words, from about the right place, and again when nobody comes."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from deploy.simulation.callers import CALLS_AGAIN, Callers, Ticket
from deploy.simulation.incidents import Incident, plan_incidents
from deploy.simulation.settings import START_MS, FaultSettings, SimulationSettings
from deploy.simulation.words import AGAIN, depth_words
from schemas.datums import DATUM_NAMES, Datum
from schemas.kinds import built_in_kinds
from schemas.privacy import mask_text
from schemas.sources import Source
from tests.deploy.simulation.small import ground, settings
from topology.datum import convert

HOUR_MS = 3_600_000
NOON_MS = START_MS - START_MS % (24 * HOUR_MS) + 4 * HOUR_MS  # 12:00 in Shanghai


def calls(made: SimulationSettings, hours: float, *, incident: Incident | None = None) -> list[Ticket]:
    callers = Callers(made, ground(made)[0])
    found: list[Ticket] = []
    for step in range(round(hours * 360)):
        found += callers.step(made.start_ms + step * 10_000, 10.0, [incident] if incident else [])
    return found


def fields_of(tickets: list[Ticket]) -> list[dict[str, Any]]:
    return [json.loads(ticket.payload) for ticket in tickets]


@pytest.fixture(scope="module")
def about_a_fire() -> tuple[SimulationSettings, Incident, list[Ticket]]:
    made = settings(people=0, fires=1, start_ms=NOON_MS, faults=FaultSettings(caller_undeclared_share=0.04))
    incident = plan_incidents(made, *ground(made))[0]
    incident.severity = 1.0
    incident.caller_every_s, incident.hesitates_s = 5.0, 300.0
    return made, incident, calls(made, 1.0, incident=incident)


def test_ordinary_calls_are_as_many_as_the_hour_lets_expect() -> None:
    made = settings(people=2_400_000, tickets_per_100k_h=9.0, start_ms=NOON_MS)
    by_day = len(calls(made, 1.0))
    by_night = len(calls(made.with_changes(start_ms=NOON_MS - 9 * HOUR_MS), 1.0))
    assert abs(by_day - 216) < 5 * math.sqrt(216)
    assert by_night < by_day / 3


def test_every_category_is_known_to_the_registry_of_kinds() -> None:
    kinds = built_in_kinds()
    for fields in fields_of(calls(settings(people=20_000_000, start_ms=NOON_MS), 1.0)):
        assert kinds.find(Source.TICKETS, fields["category"]) is not None, fields["category"]


def test_people_call_some_time_after_they_notice(
    about_a_fire: tuple[SimulationSettings, Incident, list[Ticket]],
) -> None:
    made, incident, tickets = about_a_fire
    assert all(ticket.incident == incident.name for ticket in tickets)
    first = [ticket for ticket in tickets if b"parent_ticket_id" not in ticket.payload]
    minutes = np.array([(ticket.event_ms - made.start_ms) / 60_000 for ticket in first])
    # people notice at a steady rate and wait 5 minutes in the mean: of the first 2 minutes' calls a sixth is there
    assert 0 < (minutes < 2).sum() < 0.4 * (minutes > 40).sum() / 10
    assert all(2_000 <= t.send_ms - t.event_ms < 26_000 for t in first if b'"phone"' in t.payload)


def test_coordinates_are_near_the_incident_but_for_undeclared_datums(
    about_a_fire: tuple[SimulationSettings, Incident, list[Ticket]],
) -> None:
    made, incident, tickets = about_a_fire
    streets = ground(made)[0]
    off_m = []
    for fields in fields_of(tickets):
        if "lon" not in fields:
            continue
        datum = DATUM_NAMES[fields["datum"]] if "datum" in fields else Datum.WGS84
        lon, lat = convert(fields["lon"], fields["lat"], Datum(datum), Datum.WGS84)
        dx = (lon - streets.lon[incident.node]) * streets.metres_lon
        dy = (lat - streets.lat[incident.node]) * streets.metres_lat
        off_m.append(math.hypot(dx, dy))
    assert len(off_m) > 50
    near = [metres for metres in off_m if metres < 110]
    assert 0.9 < len(near) / len(off_m) < 1.0 and min(set(off_m) - set(near)) > 300


def test_only_telephones_with_a_map_give_coordinates(
    about_a_fire: tuple[SimulationSettings, Incident, list[Ticket]],
) -> None:
    channels = Counter((fields["channel"], "lon" in fields) for fields in fields_of(about_a_fire[2]))
    assert channels["phone", True] == 0 and channels["phone", False] > 100 and channels["app", True] > 20


def test_who_was_not_helped_calls_again_and_names_the_first_call(
    about_a_fire: tuple[SimulationSettings, Incident, list[Ticket]],
) -> None:
    tickets = fields_of(about_a_fire[2])
    by_id = {fields["ticket_id"]: fields for fields in tickets}
    again = [fields for fields in tickets if "parent_ticket_id" in fields]
    assert 0.5 * CALLS_AGAIN < len(again) / (len(tickets) - len(again)) < 1.3 * CALLS_AGAIN
    for fields in again:
        first = by_id[fields["parent_ticket_id"]]
        assert (first["caller_phone"], first["category"]) == (fields["caller_phone"], fields["category"])
        assert any(fields["text"].startswith(words.split("{")[0]) for words in AGAIN)


def test_people_name_themselves_and_masking_hides_it() -> None:
    tickets = fields_of(calls(settings(people=40_000_000, start_ms=NOON_MS), 0.5))
    telling = [fields for fields in tickets if fields["caller_phone"] in fields["text"]]
    identified = [fields for fields in tickets if "31010419000101" in fields["text"]]
    assert telling and identified
    for fields in telling:
        assert fields["caller_phone"] not in mask_text(fields["text"])
    for fields in identified:
        assert "31010419000101" not in mask_text(fields["text"])


def test_places_are_told_exactly_vaguely_and_not_at_all() -> None:
    tickets = fields_of(calls(settings(people=40_000_000, start_ms=NOON_MS), 0.5))
    exact = sum("号" in fields.get("address", "") for fields in tickets)
    vague = sum("address" in fields and "号" not in fields["address"] for fields in tickets)
    none = sum("address" not in fields for fields in tickets)
    assert exact > vague > 0 and none > 0


def test_deeper_water_is_told_as_deeper() -> None:
    told = [depth_words(depth) for depth in (50, 200, 300, 500, 5_000)]
    assert len(set(told)) == 5
