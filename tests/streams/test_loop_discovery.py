"""From signs to incidents: what an alert or a ticket opens, and what news of an alert change."""

from __future__ import annotations

from dataclasses import replace

from schemas.action import Role
from schemas.alert import Action
from schemas.incident import State
from streams.loop_discovery import Outcome
from streams.loop_settings import DispatchSettings
from tests.support.loop_city import DESK, FAR_IN_WEST, GRID, HOUR, IN_EAST, IN_NORTH_EAST, IN_WEST, MINUTE, loop_city
from tests.support.loop_log import LoopLog, new_core, shown
from tests.support.small_places import WEST
from topology.city import City

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
