"""One storm from the first reading to the closed case: sensors, camera and caller, detector, loop, departments.

The city is the Shanghai that ships. Everything between the raw records and the incident runs: decoder, datum, place,
join, detector, intake, loop.
"""

from __future__ import annotations

import pytest

from schemas.alert import encode_alert
from schemas.datums import Datum
from schemas.incident import IncidentChange, State
from schemas.loop_record import LoopKind
from streams.loop_hash import verify_chain
from streams.loop_inputs import ticket_records
from tests.scenarios.timeline import START_MS, Story
from tests.support.loop_log import LoopLog, new_core
from topology.city import City
from topology.datum import convert

XUJIAHUI = (121.4337, 31.1963)  # Xuhui district
PUDONG_FAR_AWAY = (121.5440, 31.2210)
XUHUI = "310104"


@pytest.fixture(scope="module")
def city() -> City:
    return City.load("shanghai")


@pytest.fixture(scope="module")
def loop(city: City) -> LoopLog:
    """The storm, and what the loop makes of its alerts and tickets in the order in which they come."""
    story = storm()
    log = LoopLog(new_core(city=city))
    inputs = [(seen.minute, LoopKind.ALERT, encode_alert(seen.alert)) for seen in story.seen]
    inputs += [(minute, LoopKind.TICKETS, bytes(frame)) for minute, frame in story.tickets]
    for minute, kind, payload in sorted(inputs, key=lambda one: one[0]):
        log.now_ms = START_MS + round(minute * 60_000)
        if kind is LoopKind.ALERT:
            log.put(kind, "alerts", payload)
        else:
            for record in ticket_records(payload, "tickets"):
                log.put(kind, "tickets", b"", tickets=record.tickets)
    return log


def storm() -> Story:
    story = Story({"waterlogging": {}})
    for second in range(0, 30 * 60, 10):
        story.at(second / 60).reading("quiet-0", PUDONG_FAR_AWAY, partition=0, metric="noise_db", value=50.0)
        story.at(second / 60).reading("quiet-1", PUDONG_FAR_AWAY, partition=1, metric="noise_db", value=50.0)
    gcj02 = convert(*XUJIAHUI, Datum.WGS84, Datum.GCJ02)
    for minute, level_mm in enumerate((30, 90, 170, 260, 310, 330, 320, 200, 90, 60, 50, 40, 40, 30)):
        story.at(minute + 0.2).reading("WL-1", XUJIAHUI, metric="water_level_mm", value=float(level_mm), unit="mm")
    story.at(3.5).camera("waterlogging", gcj02, datum="GCJ-02")  # a source in the datum of maps: half a km off as given
    story.at(5.4).ticket("flood", XUJIAHUI, ticket_id="T-placed", text="漕溪北路积水到膝盖，手机13800138000")
    story.at(6.4).call("flood", "上海市徐汇区天钥桥路", ticket_id="T-words")  # a second caller, who only says where
    story.at(8.4).ticket("noise", PUDONG_FAR_AWAY, ticket_id="T-other", text="夜间施工噪声")
    return story.run(until=30)


def incident_of(loop: LoopLog, ticket_id: str) -> IncidentChange:
    return next(latest for i in loop.ids if ticket_id in (latest := loop.latest(i)).ticket_ids)


def test_sensor_camera_and_caller_make_one_incident_at_one_place(loop: LoopLog) -> None:
    flood = incident_of(loop, "T-placed")
    assert flood.type == "waterlogging" and len(flood.alert_ids) == 1
    assert (flood.jurisdiction or "").startswith(XUHUI) and flood.district == XUHUI
    assert flood.unit is not None and len(flood.unit) == 15 and flood.unit.startswith(XUHUI)
    assert "徐汇" in flood.place_zh


def test_the_camera_in_another_datum_confirms_the_same_cell(loop: LoopLog) -> None:
    raised = next(change for change in loop.history(incident_of(loop, "T-placed").incident_id) if change.alert_ids)
    assert raised.at_ms < START_MS + 6 * 60_000, "without the camera the level is not believed so early"


def test_who_answers_for_the_place_has_it_at_once_with_deadlines_that_run(city: City, loop: LoopLog) -> None:
    flood = incident_of(loop, "T-placed")
    listed = city.responsibilities.find(
        "waterlogging", city.chain(flood.jurisdiction, flood.opened_ms), flood.opened_ms
    )
    assert listed is not None and flood.lead == listed.lead
    assert [change.state for change in loop.history(flood.incident_id)][:3] == [
        State.DISCOVERED, State.FILED, State.DISPATCHED,
    ]  # fmt: skip
    assert flood.accept_due_ms is not None and flood.accept_due_ms > flood.opened_ms


def test_a_caller_who_only_says_a_road_is_in_the_district_and_at_no_made_up_point(loop: LoopLog) -> None:
    words = incident_of(loop, "T-words")
    assert (words.lon, words.lat, words.cell) == (None, None, -1)
    assert words.district == XUHUI


def test_noise_elsewhere_is_a_case_of_its_own_for_another_district(loop: LoopLog) -> None:
    noise = incident_of(loop, "T-other")
    assert noise.ticket_ids == ["T-other"] and noise.district == "310115"


def test_the_case_stays_open_when_the_water_is_gone_until_it_is_handled_and_verified(loop: LoopLog) -> None:
    flood = incident_of(loop, "T-placed")
    assert flood.standing_alerts == [] and flood.state is State.DISPATCHED
    loop.now_ms = START_MS + 40 * 60_000
    loop.close(flood.incident_id)
    assert loop.latest(flood.incident_id).state is State.CLOSED
    assert verify_chain(loop.history(flood.incident_id)) == []


def test_no_telephone_number_leaves_the_raw_record(loop: LoopLog) -> None:
    assert all(b"13800138000" not in record for record in loop.records)
