"""What is refused or was there before, with which words, and that nothing changes by it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.incident import State
from schemas.loop_record import LoopKind
from schemas.notification import Notification, NotificationKind, RefusalReason
from streams.loop_discovery import Outcome
from tests.support.loop_city import DESK, FAR_IN_WEST
from tests.support.loop_log import LoopLog, refusal, shown

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
