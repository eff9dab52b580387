"""The loop, one rule at a time: what comes in, what becomes of it, and what is refused with which words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.action import Role
from schemas.alert import Action
from schemas.incident import State, encode_incident
from schemas.loop_record import NO_OFFSET, LoopKind, TicketInLoop
from schemas.notification import Notification, NotificationKind, RefusalReason
from streams.loop_discovery import Outcome
from streams.loop_hash import verify_chain
from streams.loop_ledger import Output
from streams.loop_settings import MAX_MEMBERS, DispatchSettings
from tests.support.loop_city import (
    DESK,
    FAR_IN_WEST,
    GRID,
    HOUR,
    IN_EAST,
    IN_NORTH_EAST,
    IN_WEST,
    MINUTE,
    NEXT_TO_IT,
    OUTSIDE,
    loop_city,
)
from tests.support.loop_log import LoopLog, new_core, shown
from tests.support.small_places import NORTH_EAST, WEST
from topology.city import City


def refusal(outputs: list[Output]) -> Notification:
    (answer,) = outputs
    assert isinstance(answer, Notification) and answer.kind is NotificationKind.REFUSED
    assert answer.to_actor and answer.sentence_zh.startswith("拒绝") and "refused" in answer.sentence_en
    return answer


# --- from signs to incidents ------------------------------------------------------------------------------------------


def test_an_alert_whose_responsibility_is_known_is_filed_and_dispatched_at_once() -> None:
    log = LoopLog()
    assert shown(log.alert()) == [
        "discover: discovered",
        "file: filed",
        "dispatch: dispatched",
        "dispatched to west-water",
        "assist to west-roads",
        "assist to west-police",
    ]
    made = log.latest()
    assert (made.lead, made.lead_level, made.assisting) == ("west-water", 2, ["west-roads", "west-police"])
    assert (made.jurisdiction, made.district, made.place_zh) == (WEST, WEST, "测试市西区")
    assert (made.actor, made.role) == ("system:responsibility-list-1", Role.SYSTEM)
    assert made.accept_due_ms == log.now_ms + 30 * MINUTE and made.handle_due_ms == log.now_ms + 4 * HOUR
    assert made.cause == "alerts:0:0" and made.alert_ids == made.standing_alerts == ["A-1"]
    assert [change.revision for change in log.changes] == [0, 1, 2]
    assert made.incident_id.startswith("20260701-")


def test_a_ticket_alone_opens_an_incident_too() -> None:
    log = LoopLog()
    log.ticket(category="flood", urgency="critical")
    assert log.latest().state is State.DISPATCHED and log.latest().severity == 4
    assert log.latest().type == "waterlogging" and log.latest().category == "flood"
    assert log.latest().cause == "tickets:0:0"


def test_what_nobody_is_responsible_for_waits_at_the_duty_desk() -> None:
    log = LoopLog()
    assert shown(log.ticket(category="noise")) == ["discover: discovered", "file: filed", f"filed to {DESK}"]
    assert log.latest().lead is None and log.latest().accept_due_ms is not None
    log.act("dispatch", "dispatcher", "d-1", to_department="west-roads", departments=["west-police"])
    assert log.latest().lead == "west-roads" and log.latest().assisting == ["west-police"]


def test_in_a_city_without_places_everything_waits_at_the_duty_desk_and_still_goes_round() -> None:
    log = LoopLog(new_core(city=City.bare(GRID, "Asia/Shanghai")))
    log.alert()
    assert log.latest().state is State.FILED and log.latest().place_zh == ""
    log.act("dispatch", "dispatcher", to_department="duty-desk")
    log.close()
    assert log.latest().state is State.CLOSED


def test_a_category_that_nobody_names_keeps_its_name_and_is_not_lost() -> None:
    log = LoopLog()
    log.ticket("T-1", "飞碟")
    log.ticket("T-2", "飞碟")
    assert len(log.ids) == 2, "unlike things are not merged"
    assert log.latest().type == log.latest().category == "飞碟"
    assert log.latest().index_category == "citizens_appeals"


def test_the_list_names_the_category_before_the_type_before_anything() -> None:
    city = loop_city()
    rows = [
        replace(row)
        for row in (
            *city.responsibilities,
            replace(city.responsibilities.entries[0], category="flood", lead="west-roads", line=9),
            replace(city.responsibilities.entries[0], category="*", lead="west-police", line=10),
        )
    ]
    log = LoopLog(new_core(city=replace(city, responsibilities=type(city.responsibilities)(rows))))
    log.ticket("T-1", "flood", IN_WEST)
    log.alert("A-1", "waterlogging", FAR_IN_WEST)
    log.ticket("T-2", "noise", FAR_IN_WEST)
    assert [log.latest(one).lead for one in log.ids] == ["west-roads", "west-water", "west-police"]


def test_the_finest_jurisdiction_decides() -> None:
    log = LoopLog()
    log.alert("A-1", place=IN_NORTH_EAST)
    log.alert("A-2", place=IN_EAST)
    assert [log.latest(one).lead for one in log.ids] == ["north-street", "east-water"]
    assert log.latest(log.ids[0]).lead_level == 3


def test_nothing_is_filed_or_dispatched_by_itself_when_that_is_switched_off() -> None:
    log = LoopLog(new_core(DispatchSettings(auto_file=False)))
    assert shown(log.alert()) == ["discover: discovered", f"filed to {DESK}"]
    assert shown(log.act("file", "operator"))[:2] == ["file: filed", "dispatch: dispatched"]
    log = LoopLog(new_core(DispatchSettings(auto_dispatch=False)))
    assert shown(log.alert()) == ["discover: discovered", "file: filed", f"filed to {DESK}"]


# --- merging ----------------------------------------------------------------------------------------------------------


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


# --- news of alerts ---------------------------------------------------------------------------------------------------


def test_an_update_raises_the_severity_and_never_lowers_it() -> None:
    log = LoopLog()
    log.alert(severity=2)
    handle_by = log.latest().handle_due_ms
    assert shown(log.alert(action=Action.UPDATE, severity=4, revision=1)) == [
        "worsen: dispatched",
        "worsened to west-water",
    ]
    assert log.latest().severity == 4
    assert log.latest().handle_due_ms == log.now_ms + HOUR != handle_by, "a worse case has less time"
    assert log.alert(action=Action.UPDATE, severity=1, revision=2) == []
    assert log.incident().severity == 4 and log.core.outcomes[Outcome.NOTED] == 1


def test_an_alert_that_clears_is_noted_and_closes_nothing() -> None:
    log = LoopLog()
    log.alert()
    assert shown(log.alert(action=Action.CLEAR, revision=1)) == ["alert_clear: dispatched"]
    assert log.latest().standing_alerts == [] and log.latest().alert_ids == ["A-1"]


def test_records_of_an_alert_that_come_twice_or_late_change_nothing() -> None:
    log = LoopLog()
    log.alert()
    log.alert(action=Action.CLEAR, revision=2)
    assert log.alert(action=Action.UPDATE, severity=4, revision=1) == []
    assert log.alert(action=Action.CLEAR, revision=2) == []
    assert log.core.outcomes[Outcome.DUPLICATE] == 2


def test_the_end_of_an_alert_that_nobody_knows_is_counted_and_its_update_opens_an_incident() -> None:
    log = LoopLog()
    assert log.alert(action=Action.CLEAR, revision=3) == []
    assert log.core.outcomes[Outcome.NOT_HELD] == 1
    log.alert("A-2", action=Action.UPDATE, revision=4)
    assert len(log.ids) == 1


def test_a_case_that_was_closed_while_its_alert_stands_opens_again_unless_the_alert_gets_milder() -> None:
    log = LoopLog()
    log.alert(severity=3)
    log.close()
    log.now_ms += HOUR
    assert log.alert(action=Action.UPDATE, severity=2, revision=1) == []
    assert shown(log.alert(action=Action.UPDATE, severity=2, revision=2)) == [
        "reopen: dispatched",
        "reopened to west-water",
    ]
    assert log.latest().severity == 3


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_an_action_out_of_turn_is_refused_with_what_is_legal() -> None:
    log = LoopLog()
    log.alert()
    answer = refusal(log.act("finish", "handler", "h-1"))
    assert answer.refusal is RefusalReason.ILLEGAL and answer.legal == [
        "accept",
        "return",
        "transfer",
        "whistle",
        "respond",
    ]
    assert answer.to == "h-1" and answer.action_id == "act-1" and answer.incident_id == log.first
    assert "接单" in answer.sentence_zh and "accept" in answer.sentence_en


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        ({"action": "accept", "role": "operator"}, RefusalReason.WRONG_ROLE),
        ({"action": "accept", "role": "handler", "department": "east-water"}, RefusalReason.WRONG_DEPARTMENT),
        ({"action": "accept", "role": "handler", "department": "west-roads"}, RefusalReason.WRONG_DEPARTMENT),
        ({"action": "accept", "role": "handler", "expected_revision": 1}, RefusalReason.STALE),
        ({"action": "accept", "role": "handler", "incident_id": "20260701-nope"}, RefusalReason.UNKNOWN_INCIDENT),
        ({"action": "accept", "role": "handler", "ticket_id": "T-nope"}, RefusalReason.UNKNOWN_INCIDENT),
        ({"action": "accept", "role": "handler", "ts": 1_782_864_000_000 - 301_000}, RefusalReason.OUT_OF_ORDER),
        ({"action": "accept", "role": "handler", "ts": 1_782_864_000_000 + 301_000}, RefusalReason.FUTURE),
        ({"action": "accept", "role": "handler", "ts": "2026-02-30 08:00:00"}, RefusalReason.BAD_TIME),
        ({"action": "return", "role": "handler"}, RefusalReason.INCOMPLETE),
        ({"action": "return", "role": "handler", "reason": "  "}, RefusalReason.INCOMPLETE),
        ({"action": "transfer", "role": "handler", "reason": "r"}, RefusalReason.INCOMPLETE),
        (
            {"action": "transfer", "role": "handler", "reason": "r", "to_department": "x"},
            RefusalReason.UNKNOWN_DEPARTMENT,
        ),
        (
            {"action": "transfer", "role": "handler", "reason": "r", "to_department": "west-water"},
            RefusalReason.NOTHING_TO_DO,
        ),
        ({"action": "whistle", "role": "front_line"}, RefusalReason.INCOMPLETE),
        ({"action": "whistle", "role": "front_line", "departments": ["x"]}, RefusalReason.UNKNOWN_DEPARTMENT),
        ({"action": "whistle", "role": "front_line", "departments": ["west-water"]}, RefusalReason.NOTHING_TO_DO),
        ({"action": "respond", "role": "handler"}, RefusalReason.INCOMPLETE),
        ({"action": "respond", "role": "handler", "department": "west-roads"}, RefusalReason.NOTHING_TO_DO),
        ({"action": "merge", "role": "dispatcher"}, RefusalReason.INCOMPLETE),
        ({"action": "merge", "role": "dispatcher", "into_incident_id": "x"}, RefusalReason.BAD_TARGET),
        ({"action": "suspend", "role": "dispatcher", "reason": "r", "until_ts": "x"}, RefusalReason.BAD_TIME),
        (
            {"action": "suspend", "role": "dispatcher", "reason": "r", "until_ts": 1_782_864_000_000},
            RefusalReason.BAD_TIME,
        ),
        ({"action": "correct", "role": "operator"}, RefusalReason.INCOMPLETE),
        ({"action": "correct", "role": "operator", "lon": 120.0, "lat": 30.0}, RefusalReason.INCOMPLETE),
    ],
)
def test_each_fault_of_an_action_has_its_own_answer_and_changes_nothing(
    ask: dict[str, Any], reason: RefusalReason
) -> None:
    log = LoopLog()
    log.alert()
    before = log.core.parts()
    answer = refusal(log.act(ask.pop("action"), ask.pop("role"), "p-1", **ask))
    assert answer.refusal is reason
    after = log.core.parts()
    assert {name for name in before if before[name] != after[name]} == {"head"}, "only the offset that was read"
    assert log.core.outcomes[Outcome.REFUSED] == 1


def test_an_incident_cannot_be_merged_into_itself_or_into_one_that_ended() -> None:
    log = LoopLog()
    log.alert("A-1")
    log.alert("A-2", place=FAR_IN_WEST)
    log.act("cancel", "operator", on=log.ids[1], reason="exercise")
    for into in log.ids:
        answer = refusal(log.act("merge", "dispatcher", into_incident_id=into))
        assert answer.refusal is RefusalReason.BAD_TARGET


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"\xff", b"{}", b"[" * 5000, b'{"action_id":"a"}', b'{"action":"fly"}', b'{"ts":1e999}'],
)
def test_an_action_that_cannot_be_read_is_answered_and_counted(payload: bytes) -> None:
    log = LoopLog()
    (answer,) = log.put(LoopKind.ACTION, "actions", payload)
    assert isinstance(answer, Notification) and answer.kind is NotificationKind.UNREADABLE
    assert answer.to == DESK and "actions:0:0" in answer.sentence_zh and "schemas/action" in answer.sentence_en
    assert log.core.outcomes[Outcome.UNREADABLE] == 1


def test_the_author_of_an_action_that_cannot_be_read_is_told_when_the_name_can() -> None:
    log = LoopLog()
    (answer,) = log.put(LoopKind.ACTION, "actions", b'{"action_id":"a-7","actor":"h-1","action":"fly"}')
    assert isinstance(answer, Notification)
    assert (answer.to, answer.to_actor, answer.action_id) == ("h-1", True, "a-7")


@pytest.mark.parametrize(
    ("kind", "topic", "payload"),
    [
        (LoopKind.ALERT, "alerts", b"{}"),
        (LoopKind.TICK, "ticks", b'{"at_ms":12}'),
        (LoopKind.TICK, "ticks", b'{"at_ms":4000000000000}'),  # the year 2096: all deadlines would have passed
    ],
)
def test_other_inputs_that_cannot_be_used_go_to_the_duty_desk(kind: LoopKind, topic: str, payload: bytes) -> None:
    log = LoopLog()
    (answer,) = log.put(kind, topic, payload)
    assert isinstance(answer, Notification)
    assert (answer.kind, answer.to) == (NotificationKind.UNREADABLE, DESK)
    assert log.core.clock_ms == 0


def test_an_alert_or_ticket_of_impossible_numbers_is_answered_and_stops_nothing() -> None:
    log = LoopLog()
    log.alert(at_ms=10**17)
    log.alert(revision=2**64)
    log.ticket(event_at_ms=-(10**17))
    log.ticket(due_ms=2**70)
    log.ticket(cell=2**62)
    assert [one.kind for one in log.notifications] == [NotificationKind.UNREADABLE] * 5
    assert log.ids == [] and log.core.parts()


def test_a_person_may_verify_only_what_neither_they_nor_their_department_handled() -> None:
    log = LoopLog()
    log.alert()
    log.act("whistle", "front_line", departments=["east-water"])
    log.act("respond", "handler", "e-1", department="east-water")
    log.act("accept", "handler", "h-1")
    log.act("start", "handler", "h-2")
    log.act("finish", "handler", "h-3")
    for actor in ("h-1", "h-2", "h-3", "e-1", " H-3 "):
        assert refusal(log.act("verify_pass", "verifier", actor)).refusal is RefusalReason.SELF_VERIFICATION
        assert (
            refusal(log.act("verify_fail", "supervisor", actor, reason="r")).refusal is RefusalReason.SELF_VERIFICATION
        )
    for department in ("west-water", "east-water"):
        answer = refusal(log.act("verify_pass", "verifier", "v-1", department=department))
        assert answer.refusal is RefusalReason.SELF_VERIFICATION
    log.act("verify_pass", "verifier", "v-1", department=DESK)
    assert log.latest().state is State.VERIFIED and log.latest().verified_by == "v-1"


# --- repeats ----------------------------------------------------------------------------------------------------------


def test_an_action_sent_twice_is_done_once() -> None:
    log = LoopLog()
    log.alert()
    log.act("accept", "handler", action_id="mine")
    log.act("start", "handler")
    (answer,) = log.act("accept", "handler", action_id="mine")
    assert isinstance(answer, Notification)
    assert (answer.kind, answer.action_id, answer.to) == (NotificationKind.REPEATED, "mine", "p-1")
    assert log.latest().state is State.HANDLING and log.latest().revision == 4
    assert "3" in answer.sentence_zh, "the revision in which it was done"


def test_a_repeat_through_the_ticket_is_a_repeat() -> None:
    log = LoopLog()
    log.ticket("T-1")
    log.act("accept", "handler", action_id="mine")
    (answer,) = log.act("accept", "handler", action_id="mine", ticket_id="T-1")
    assert isinstance(answer, Notification) and answer.kind is NotificationKind.REPEATED


@pytest.mark.parametrize("change", [{"action": "start"}, {"actor": "p-2"}, {"on": "other"}])
def test_an_id_that_was_another_actions_is_refused(change: dict[str, str]) -> None:
    log = LoopLog()
    log.alert("A-1")
    log.alert("A-2", place=FAR_IN_WEST)
    log.act("accept", "handler", "p-1", action_id="mine")
    on = log.ids[1] if "on" in change else log.ids[0]
    answer = log.act(change.get("action", "accept"), "handler", change.get("actor", "p-1"), action_id="mine", on=on)
    assert refusal(answer).refusal is RefusalReason.ID_REUSED
    assert log.latest(log.ids[1]).state is State.DISPATCHED


def test_a_refused_action_may_be_sent_again_when_its_time_has_come() -> None:
    log = LoopLog()
    log.alert()
    refusal(log.act("start", "handler", action_id="mine"))
    log.act("accept", "handler")
    log.act("start", "handler", action_id="mine")
    assert log.latest().state is State.HANDLING


def test_an_input_that_stands_in_the_log_twice_is_read_once() -> None:
    log = LoopLog()
    log.alert()
    log.put(LoopKind.TICKETS, "tickets", b"", tickets=[log.a_ticket("T-1"), log.a_ticket("T-2")], offset=5)
    made = len(log.out)
    assert log.put(LoopKind.TICKETS, "tickets", b"", tickets=[log.a_ticket("T-9")], offset=5) == []
    assert log.put(LoopKind.ALERT, "alerts", b"whatever", offset=0) == []
    assert len(log.out) == made and log.core.outcomes[Outcome.DUPLICATE] == 2


def test_a_frame_of_tickets_that_was_cut_otherwise_after_a_crash_adds_only_what_is_new() -> None:
    log = LoopLog()
    first, second = log.a_ticket("T-1"), log.a_ticket("T-2")
    log.put(LoopKind.TICKETS, "tickets", b"", tickets=[first], offset=0)
    log.put(LoopKind.TICKETS, "tickets", b"", tickets=[first, second], offset=1)
    assert log.latest().ticket_ids == ["T-1", "T-2"]
    assert log.core.outcomes[Outcome.DUPLICATE] == 1


def test_the_same_ticket_told_again_more_urgently_makes_it_worse() -> None:
    log = LoopLog()
    log.ticket("T-1")
    assert log.ticket("T-1") == [] and log.core.outcomes[Outcome.NOTED] == 1
    assert shown(log.ticket("T-1", urgency="urgent")) == ["worsen: dispatched", "worsened to west-water"]
    assert len(log.ids) == 1 and log.latest().ticket_ids == ["T-1"]


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_a_little_behind_counts_as_at_the_same_time() -> None:
    log = LoopLog()
    log.alert()
    log.act("accept", "handler", ts=log.now_ms - 300_000)
    assert log.latest().state is State.ACCEPTED and log.latest().at_ms == log.now_ms


def test_an_action_in_time_that_arrives_after_the_tick_is_in_time() -> None:
    log = LoopLog()
    log.ticket("T-1", due_ms=log.now_ms + HOUR)
    log.act("accept", "handler")
    log.act("start", "handler")
    due_ms = log.latest().handle_due_ms
    assert due_ms is not None
    log.now_ms = due_ms + 1
    log.tick()
    assert log.latest().handle_overdue and log.latest().tickets[0].on_time is False
    log.act("finish", "handler", ts=log.now_ms - 4 * HOUR + HOUR - 1)  # told late, done in time
    assert not log.latest().handle_overdue and log.latest().tickets[0].on_time is True
    assert [change.at_ms for change in log.history()] == sorted(change.at_ms for change in log.history())


def test_times_without_a_zone_are_in_the_citys() -> None:
    log = LoopLog()
    log.alert()
    log.act("accept", "handler", ts="2026-07-01 08:00:07")
    assert log.latest().at_ms == log.now_ms + 7_000


def test_a_tick_that_goes_back_does_nothing() -> None:
    log = LoopLog()
    log.alert()
    log.now_ms += HOUR
    log.tick()
    assert log.tick(log.now_ms - 30 * MINUTE) == []
    assert log.core.clock_ms == log.now_ms


def test_a_tick_that_was_written_straight_into_the_log_is_never_a_duplicate() -> None:
    log = LoopLog()
    for _ in range(2):
        log.now_ms += MINUTE
        log.put(LoopKind.TICK, "ticks", json.dumps({"at_ms": log.now_ms}).encode(), offset=NO_OFFSET)
    assert log.core.clock_ms == log.now_ms and log.core.outcomes[Outcome.TICKED] == 2


# --- tickets in time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due_after_ms", "done_after_ms", "on_time"),
    [(HOUR, HOUR, True), (HOUR, HOUR + 1, False), (HOUR, 1, True), (-HOUR, 1, False)],
)
def test_done_exactly_at_the_deadline_is_in_time(due_after_ms: int, done_after_ms: int, on_time: bool) -> None:
    log = LoopLog()
    start = log.now_ms
    log.ticket("T-1", due_ms=start + due_after_ms)
    log.act("accept", "handler")
    log.act("start", "handler")
    log.now_ms = start + done_after_ms
    log.act("finish", "handler")
    (ticket,) = log.latest().tickets
    assert (ticket.done_ms, ticket.on_time) == (start + done_after_ms, on_time)


def test_a_ticket_is_overdue_from_the_tick_that_passes_its_deadline() -> None:
    log = LoopLog()
    due_ms = log.now_ms + 10 * MINUTE
    log.ticket("T-1", due_ms=due_ms)
    log.now_ms = due_ms
    assert log.tick() == [] and log.latest().tickets[0].on_time is None
    log.now_ms += 1
    assert shown(log.tick()) == ["overdue: dispatched", "overdue to west-water"]
    assert log.latest().tickets[0].on_time is False
    log.now_ms += MINUTE
    assert log.tick() == [], "said once"


def test_a_look_at_an_incident_exactly_at_a_tickets_deadline_finds_it_in_time() -> None:
    log = LoopLog()
    log.ticket("T-1", due_ms=log.now_ms + 24 * MINUTE)
    log.now_ms += 24 * MINUTE  # four fifths of the time to accept: somebody is reminded
    assert shown(log.tick()) == ["remind: dispatched", "reminder to west-water"]
    assert log.latest().tickets[0].on_time is None


def test_a_ticket_without_deadline_is_always_in_time_and_the_city_gives_one_when_asked() -> None:
    log = LoopLog(new_core(DispatchSettings(ticket_deadlines=False)))
    log.ticket("T-1")
    assert log.latest().tickets[0].due_ms is None
    log.now_ms += 20 * 24 * HOUR
    log.tick()
    log.handle()
    assert log.latest().tickets[0].on_time is True
    log = LoopLog()
    log.ticket("T-1", "flood")
    assert log.latest().tickets[0].due_ms == log.now_ms + 4 * HOUR


def test_each_ticket_of_an_incident_keeps_its_own_deadline_and_all_are_closed_with_it() -> None:
    log = LoopLog()
    log.tickets(log.a_ticket("T-1", due_ms=log.now_ms + HOUR), log.a_ticket("T-2", due_ms=log.now_ms + 3 * HOUR))
    log.now_ms += 2 * HOUR
    log.handle()
    log.ticket("T-3", due_ms=log.now_ms + HOUR)  # while it waits for verification
    log.act("verify_pass", "verifier", "v-1")
    log.act("close", "operator")
    assert [(t.ticket_id, t.on_time) for t in log.latest().tickets] == [("T-1", False), ("T-2", True), ("T-3", True)]


# --- beside the straight way ------------------------------------------------------------------------------------------


def test_merging_by_hand_gives_everything_to_the_other_incident() -> None:
    log = LoopLog()
    log.ticket("T-1", due_ms=log.now_ms + HOUR)
    log.alert("A-2", place=FAR_IN_WEST, severity=4)
    one, two = log.ids
    out = log.act("merge", "dispatcher", on=two, into_incident_id=one, reason="同一处")
    assert shown(out) == ["merge: merged", "merged to west-water", "merge: dispatched", "worsened to west-water"]
    assert (log.latest(two).state, log.latest(two).merged_into, log.latest(two).alert_ids) == (State.MERGED, one, [])
    assert log.latest(one).alert_ids == ["A-2"] and log.latest(one).severity == 4
    log.alert("A-2", action=Action.CLEAR, revision=1, place=FAR_IN_WEST)
    assert log.latest(one).standing_alerts == []
    answer = refusal(log.act("accept", "handler", on=two))
    assert one in answer.sentence_zh, "says where it went"


def test_a_correction_moves_the_incident_in_type_place_and_severity() -> None:
    log = LoopLog()
    log.alert(severity=4)
    lon, lat = IN_NORTH_EAST
    log.act("correct", "operator", category="manhole", severity=1, lon=lon, lat=lat, reason="看错了")
    made = log.latest()
    assert (made.type, made.severity, made.jurisdiction, made.cell) == ("manhole", 1, NORTH_EAST, GRID.cell(lon, lat))
    log.ticket("T-1", "manhole", IN_NORTH_EAST)
    log.ticket("T-2", "flood", IN_WEST)
    assert log.latest(log.ids[0]).ticket_ids == ["T-1"] and len(log.ids) == 2


def test_what_a_person_typed_is_masked_in_the_history() -> None:
    log = LoopLog()
    log.alert()
    log.act("accept", "handler")
    log.act("start", "handler")
    log.act("finish", "handler", reason="打 13812345678 确认", result="已联系 13812345678")
    text = json.dumps([log.latest().reason, log.latest().result, log.latest().sentence_zh], ensure_ascii=False)
    assert "13812345678" not in text and "138****5678" in text


def test_a_person_judged_it_a_false_alarm_so_the_system_does_not_open_it_again() -> None:
    log = LoopLog()
    log.alert("A-1")
    log.act("false_alarm", "operator", reason="传感器故障")
    assert log.alert("A-1", action=Action.UPDATE, severity=4, revision=1) == []
    log.alert("A-2")
    assert len(log.ids) == 2
    log.act("reopen", "supervisor", reason="确有积水")
    assert log.latest(log.ids[0]).state is State.DISPATCHED, "filed, and dispatched by the list again"


def test_what_ending_a_case_settled_is_open_again_when_the_case_is() -> None:
    log = LoopLog()
    log.ticket("T-1", due_ms=log.now_ms + HOUR)
    log.act("cancel", "operator", reason="重复")
    assert [(one.done_ms, one.on_time) for one in log.latest().tickets] == [(log.now_ms, True)]
    log.now_ms += 2 * HOUR
    log.act("reopen", "operator", reason="并非重复")
    assert [(one.done_ms, one.on_time) for one in log.latest().tickets] == [(None, None)]
    log.tick()
    assert [one.on_time for one in log.latest().tickets] == [False]


def test_a_late_report_of_what_was_handled_joins_and_is_done() -> None:
    log = LoopLog()
    log.ticket("T-1", due_ms=log.now_ms + HOUR)
    reported_ms = log.now_ms + MINUTE
    log.now_ms += 30 * MINUTE
    log.close()
    assert shown(log.ticket("T-2", event_at_ms=reported_ms, due_ms=reported_ms + HOUR)) == ["attach: closed"]
    assert log.latest().tickets[1].on_time is True


def test_ended_incidents_leave_the_state_with_everything_that_leads_to_them() -> None:
    log = LoopLog(new_core(DispatchSettings(keep_hours=1)))
    log.ticket("T-1", "parking")  # reopen_hours 24 in the list of types
    log.close()
    log.now_ms += 24 * HOUR
    log.tick()
    assert log.core.incidents.by_id
    log.now_ms += MINUTE
    log.tick()
    held = log.core.incidents
    assert not (held.by_id or held.by_ticket or held.by_record or held.by_action or held.timer_of or any(held.buckets))
    answer = refusal(log.act("reopen", "operator", reason="r"))
    assert answer.refusal is RefusalReason.UNKNOWN_INCIDENT and answer.legal == []
    log.ticket("T-1", "parking")
    assert len(log.ids) == 2, "the number of a ticket may come again; the incident is another one"


def test_the_history_of_an_incident_is_a_chain() -> None:
    log = LoopLog()
    log.alert()
    log.ticket("T-1")
    log.close()
    assert verify_chain(log.history()) == []
    assert log.latest().previous_hash == log.history()[-2].hash


def test_unplaced_and_outside_tickets_are_incidents_too() -> None:
    log = LoopLog()
    log.tickets(
        TicketInLoop(ticket_id="T-1", category="gas_leak", event_at_ms=log.now_ms, source="tickets:0:90"),
        TicketInLoop(
            ticket_id="T-2", category="gas_leak", event_at_ms=log.now_ms, source="tickets:0:91",
            lon=OUTSIDE[0], lat=OUTSIDE[1],
        ),
    )  # fmt: skip
    assert [log.latest(one).lead for one in log.ids] == ["city-gas", "city-gas"]
