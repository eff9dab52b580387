"""Which signs share an incident, by type, neighbourhood, time and parent, and what keeps them apart."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.alert import Action
from schemas.incident import State, encode_incident
from schemas.notification import RefusalReason
from streams.loop_settings import MAX_MEMBERS, DispatchSettings
from tests.support.loop_city import FAR_IN_WEST, GRID, HOUR, IN_WEST, MINUTE, NEXT_TO_IT
from tests.support.loop_log import LoopLog, new_core, refusal, shown
from tests.support.small_places import NORTH_EAST, WEST


def test_signs_of_one_type_neighbourhood_and_time_share_an_incident() -> None:
    log = LoopLog()
    log.alert("A-1")
    log.now_ms += 10 * MINUTE
    assert shown(log.ticket("T-1", "flood", NEXT_TO_IT)) == ["attach: dispatched"]
    log.alert("A-2", place=NEXT_TO_IT)
    assert len(log.ids) == 1
    assert log.latest().alert_ids == ["A-1", "A-2"] and log.latest().ticket_ids == ["T-1"]


@pytest.mark.parametrize(
    ("what", "category", "place", "minutes"),
    [
        ("another type", "noise", IN_WEST, 1),
        ("another place", "flood", FAR_IN_WEST, 1),
        ("another time", "flood", IN_WEST, 181),
        ("no place", "flood", None, 1),
    ],
)
def test_what_differs_opens_an_incident_of_its_own(what: str, category: str, place: Any, minutes: int) -> None:
    log = LoopLog()
    log.ticket("T-1", "flood", IN_WEST)
    log.now_ms += minutes * MINUTE
    log.ticket("T-2", category, place)
    assert len(log.ids) == 2, what


def test_the_edges_of_time_and_place_belong_to_the_incident() -> None:
    two_cells = (IN_WEST[0] + 2 * GRID.step_lon_deg, IN_WEST[1])
    three_cells = (IN_WEST[0] + 3 * GRID.step_lon_deg, IN_WEST[1])
    log = LoopLog()
    log.ticket("T-1", "flood", IN_WEST)
    log.now_ms += 180 * MINUTE  # as incident_types.yaml has it
    log.ticket("T-2", "flood", two_cells)
    assert len(log.ids) == 1
    log.ticket("T-3", "flood", three_cells)
    assert len(log.ids) == 2


def test_an_alert_that_still_stands_keeps_its_incident_open_for_more_signs() -> None:
    log = LoopLog()
    log.alert("A-1")
    log.now_ms += 10 * HOUR
    log.ticket("T-1")
    assert len(log.ids) == 1
    log.alert("A-1", action=Action.CLEAR, revision=1)
    log.now_ms += 10 * HOUR
    log.ticket("T-2")
    assert len(log.ids) == 2


def test_a_place_that_is_not_sure_is_not_merged_by() -> None:
    log = LoopLog()
    log.ticket("T-1")
    log.ticket("T-2", confidence=0.4)
    assert len(log.ids) == 2


def test_an_urgent_ticket_and_the_alert_it_came_as_are_one_incident_even_without_a_place() -> None:
    log = LoopLog()
    log.alert("U-1", "fire", None, evidence=["tickets:0:0"])
    log.ticket("T-1", "fire", None)
    assert len(log.ids) == 1 and log.latest().ticket_ids == ["T-1"] and log.latest().alert_ids == ["U-1"]


def test_a_ticket_behind_a_composite_alert_joins_its_incident_whatever_the_caller_called_it() -> None:
    log = LoopLog()
    log.alert("A-1", "waterlogging", IN_WEST, evidence=["readings:0:7", "tickets:0:0"])
    log.ticket("T-1", "road_damage", FAR_IN_WEST)
    assert len(log.ids) == 1


def test_an_alert_of_another_type_is_another_matter_than_the_ticket_behind_it() -> None:
    log = LoopLog()
    log.ticket("T-1", "road_damage", IN_WEST)
    log.alert("A-1", "waterlogging", IN_WEST, evidence=["tickets:0:0"])
    assert [log.latest(one).type for one in log.ids] == ["road_damage", "waterlogging"]


def test_the_history_says_what_the_caller_said() -> None:
    log = LoopLog()
    log.ticket("T-1", "flood", sentence="漕溪北路下立交积水。")
    assert log.changes[0].sentence_zh == "测试市西区：内涝积水（一般），发现：工单 T-1：漕溪北路下立交积水。"


def test_merging_switched_off_leaves_only_the_parent() -> None:
    log = LoopLog(new_core(DispatchSettings(merge=False)))
    log.ticket("T-1")
    log.ticket("T-2")
    log.alert("A-1", evidence=["tickets:0:0"])
    log.ticket("T-3", "noise", FAR_IN_WEST, parent_ticket_id="T-1")
    assert len(log.ids) == 3
    assert log.latest(log.ids[0]).ticket_ids == ["T-1", "T-3"]


def test_a_ticket_with_an_unknown_parent_finds_its_own_place() -> None:
    log = LoopLog()
    log.ticket("T-1")
    log.ticket("T-2", parent_ticket_id="never heard of")
    assert len(log.ids) == 1


def test_an_unplaced_ticket_with_a_jurisdiction_is_dispatched_by_it() -> None:
    log = LoopLog()
    log.ticket("T-1", "flood", None, jurisdiction=NORTH_EAST)
    made = log.latest()
    assert (made.cell, made.lon, made.lead, made.state) == (-1, None, "north-street", State.DISPATCHED)
    log.ticket("T-2", "flood", None, jurisdiction=NORTH_EAST)
    assert len(log.ids) == 2, "without a point nothing is merged by place"
    log.ticket("T-3", "flood", None)
    assert log.latest(log.ids[2]).state is State.FILED


def test_a_division_without_a_boundary_is_the_districts_that_its_code_begins_with() -> None:
    log = LoopLog()
    log.ticket("T-1", "flood", None, jurisdiction=f"{WEST}004")
    made = log.latest()
    assert (made.jurisdiction, made.district, made.lead) == (f"{WEST}004", WEST, "west-water")
    assert made.place_zh == "测试市西区"
    log.ticket("T-2", "flood", None, jurisdiction="999999")
    assert log.latest(log.ids[1]).state is State.FILED and log.latest(log.ids[1]).place_zh == ""


def test_a_full_incident_takes_no_more_and_the_next_sign_opens_another() -> None:
    log = LoopLog(new_core(DispatchSettings(merge_limit=3)))
    for number in range(7):
        log.ticket(f"T-{number}")
    assert [len(log.latest(one).ticket_ids) for one in log.ids] == [3, 3, 1]


def test_no_way_into_an_incident_makes_its_records_larger_than_a_message_may_be() -> None:
    log = LoopLog()
    long = "x" * 250
    log.tickets(log.a_ticket("T-0"), log.a_ticket("U-0", "gas_leak"))
    for first in ("T", "U"):
        children = [log.a_ticket(f"{first}-{n}-{long}", parent_ticket_id=f"{first}-0") for n in range(MAX_MEMBERS - 1)]
        for child in children[-2:] if first == "U" else children[:-1]:
            log.tickets(child)
    one, two = log.ids
    answer = refusal(log.act("merge", "dispatcher", on=one, into_incident_id=two))
    assert answer.refusal is RefusalReason.BAD_TARGET and "1000" in answer.sentence_en
    log.ticket("T-last", parent_ticket_id="T-0")
    log.ticket("T-one-too-many", "noise", parent_ticket_id="T-0")
    assert log.latest(one).ticket_ids[-1] == "T-last" and len(log.ids) == 3
    assert len(encode_incident(log.latest(one))) < 900_000


def test_the_nearest_incident_gets_the_sign_then_the_one_with_the_newest_sign() -> None:
    log = LoopLog(new_core(DispatchSettings(merge_limit=1)))  # three incidents in three places
    for number, place in enumerate((IN_WEST, IN_WEST, NEXT_TO_IT)):
        log.ticket(f"T-{number}", "flood", place, event_at_ms=log.now_ms + number * MINUTE)
    wide = LoopLog(new_core())
    wide.core.restore(log.core.parts())
    wide.now_ms += 5 * MINUTE
    wide.counts["raw"] = wide.counts["tickets"] = 10
    (attached,) = wide.ticket("T-9", "flood", IN_WEST)
    assert isinstance(attached, type(log.latest())) and attached.incident_id == log.ids[1]
