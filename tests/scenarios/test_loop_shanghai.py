"""The city that comes along and the types that come along fit each other: everything finds who is responsible."""

from __future__ import annotations

import pytest

from schemas.incident import State
from schemas.incident_types import built_in_types
from streams.loop_core import LoopCore
from streams.loop_settings import DispatchSettings
from tests.support.loop_log import LoopLog
from topology.city import City

XUJIAHUI = (121.4365, 31.1934)


@pytest.fixture(scope="module")
def shanghai() -> City:
    return City.load("shanghai")


def log_of(city: City) -> LoopLog:
    return LoopLog(LoopCore(city, built_in_types(), DispatchSettings()))


def test_every_known_category_of_tickets_is_dispatched_to_a_known_department(shanghai: City) -> None:
    log = log_of(shanghai)
    lon, lat = XUJIAHUI
    for category in built_in_types().by_ticket:
        log.ticket(f"T-{category}", category, XUJIAHUI, cell=shanghai.grid.cell(lon, lat))
    made = [log.latest(one) for one in log.ids]
    assert len(made) == len(built_in_types().by_ticket)
    assert [one.category for one in made if one.state is not State.DISPATCHED] == []
    assert {one.lead for one in made} <= {department.id for department in shanghai.departments}
    assert all(one.district == "310104" and one.place_zh.startswith("上海市徐汇区") for one in made)


def test_every_department_escalates_to_the_city_in_the_end(shanghai: City) -> None:
    tops = {(shanghai.departments.superiors(one.id) or (one,))[-1].id for one in shanghai.departments}
    assert {int(top.level) for id in tops if (top := shanghai.departments.find(id))} == {1}


def test_deadlines_of_a_flood_run_by_day_and_night_and_those_of_a_question_do_not(shanghai: City) -> None:
    log = log_of(shanghai)
    flood = shanghai.deadlines.find("flood", 3)
    question = shanghai.deadlines.find("consultation", 1)
    assert (flood.clock, question.clock) == ("calendar", "working")
    log.ticket("T-1", "flood", XUJIAHUI, urgency="urgent", cell=shanghai.grid.cell(*XUJIAHUI))
    assert log.latest().handle_due_ms == log.now_ms + flood.handle_ms
