"""The loop beside the straight way: merging by hand, corrections, masking, reopening, history."""

from __future__ import annotations

import json

from schemas.alert import Action
from schemas.incident import State
from schemas.loop_record import TicketInLoop
from schemas.notification import RefusalReason
from streams.loop_hash import verify_chain
from streams.loop_settings import DispatchSettings
from tests.support.loop_city import FAR_IN_WEST, GRID, HOUR, IN_NORTH_EAST, IN_WEST, MINUTE, OUTSIDE
from tests.support.loop_log import LoopLog, new_core, refusal, shown
from tests.support.small_places import NORTH_EAST


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
