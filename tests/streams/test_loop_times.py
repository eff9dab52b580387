"""Clocks, ticks and deadlines of the loop."""

from __future__ import annotations

import json

import pytest

from schemas.incident import State
from schemas.loop_record import NO_OFFSET, LoopKind
from streams.loop_discovery import Outcome
from streams.loop_settings import DispatchSettings
from tests.support.loop_city import HOUR, MINUTE
from tests.support.loop_log import LoopLog, new_core, shown

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
