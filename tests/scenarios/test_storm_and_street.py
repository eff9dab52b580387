"""Stories as an operations centre would tell them; every line is one thing that happened."""

from __future__ import annotations

from typing import Any

from schemas.alert import Action
from tests.scenarios.timeline import Story

UNDERPASS = (121.4701, 31.2301)
NEXT_TO_IT = (121.4712, 31.2301)  # the neighbouring cell
FAR_AWAY = (121.3500, 31.1000)
ROAD = (121.5003, 31.2003)

Fields = dict[str, Any]


def level(mm: float) -> Fields:
    return {"metric": "water_level_mm", "value": mm, "unit": "mm"}


def speed(kmh: float) -> Fields:
    return {"metric": "traffic_speed_kmh", "value": kmh}


def everyday(story: Story, *, minutes: int) -> Story:
    """A sensor elsewhere keeps event time moving, as a city does, on both partitions of the readings."""
    for second in range(0, minutes * 60, 10):
        at = story.at(second / 60)
        at.reading("quiet-0", FAR_AWAY, partition=0, metric="noise_db", value=50.0)
        at.reading("quiet-1", FAR_AWAY, partition=1, metric="noise_db", value=50.0)
    return story


def test_a_storm_fills_an_underpass_is_confirmed_by_camera_and_callers_and_drains() -> None:
    story = everyday(Story({"waterlogging": {}}), minutes=30)
    story.at(1.2).reading("WL-1", UNDERPASS, **level(40))  # rain begins
    story.at(2.2).reading("WL-1", UNDERPASS, **level(160))  # over the threshold, but a sensor alone may be wrong
    story.at(4.2).reading("WL-1", UNDERPASS, **level(180))
    story.at(4.5).camera("waterlogging", NEXT_TO_IT)  # the camera stands in the next cell
    story.at(5.2).reading("WL-1", UNDERPASS, **level(290))  # half a wheel: moderate
    story.at(5.6).ticket("flood", UNDERPASS, ago_s=20)  # the caller was on the line for a while
    story.at(6.2).reading("WL-1", UNDERPASS, **level(300))
    for minute in range(7, 15):
        story.at(minute + 0.2).reading("WL-1", UNDERPASS, **level(60))  # the pumps work
    story.run(until=30)
    story.between(0, 5).expect_nothing()
    # the minute from 4 to 5 can be judged once no record of it can come in time any more: 5 s after its end
    story.between(5, 6).expect((Action.RAISE, "level_and_camera", 1))
    story.between(6, 7).expect((Action.UPDATE, "level_camera_and_tickets", 2))
    (clear,) = story.between(7, 30).alerts
    assert (clear.action, clear.reason) == (Action.CLEAR, "level_low")


def test_a_sensor_alone_and_a_camera_alone_raise_nothing() -> None:
    story = everyday(Story({"waterlogging": {}}), minutes=12)
    for minute in range(1, 10):
        story.at(minute + 0.1).reading("WL-1", UNDERPASS, **level(200))
    story.at(3.5).camera("waterlogging", FAR_AWAY)
    story.at(4.5).camera("waterlogging", UNDERPASS, confidence=0.4)  # not sure enough
    story.run(until=12).between(0, 12).expect_nothing()


def test_a_confirmation_that_comes_too_late_is_told_but_not_joined() -> None:
    story = everyday(Story({"waterlogging": {}}), minutes=12)
    story.at(8.1).reading("WL-1", UNDERPASS, **level(200))
    story.at(8.9).camera("waterlogging", FAR_AWAY)  # the camera topic's own time is at minute 8.9
    story.at(8.95).camera("waterlogging", UNDERPASS, ago_s=20)  # 17 s behind that: its minute is open, it is late still
    story.run(until=12).between(0, 12).expect_nothing()


def test_silence_ends_an_alert_as_no_data_not_as_all_clear() -> None:
    story = everyday(Story({"waterlogging": {"stale_after": 5}}), minutes=20)
    story.at(1.1).reading("WL-1", UNDERPASS, **level(200))
    story.at(1.2).camera("waterlogging", UNDERPASS)  # then the underpass floods its own power supply
    story.run(until=20)
    story.between(2, 3).expect((Action.RAISE, "level_and_camera", 1))
    story.between(3, 20).expect((Action.CLEAR, "no_data", 1))


def test_an_accident_is_seen_by_a_camera_and_by_the_speed_that_drops() -> None:
    story = everyday(Story({"traffic_accident": {}}), minutes=20)
    for minute in range(10):
        story.at(minute + 0.3).reading("SP-1", ROAD, **speed(52))
    story.at(10.1).camera("stopped_vehicle", ROAD)
    for minute in range(10, 14):
        story.at(minute + 0.3).reading("SP-1", ROAD, **speed(12))
    story.run(until=14)
    story.between(0, 11).expect_nothing()
    (raised,) = story.between(11, 14).alerts
    assert raised.action is Action.RAISE
    assert {name.split(":")[0] for name in raised.evidence} == {"readings", "camera-events"}


def test_an_urgent_call_alerts_within_a_second_while_windows_wait() -> None:
    story = everyday(Story({"waterlogging": {}}), minutes=4)
    story.at(2.5).ticket("trapped_person", UNDERPASS, urgency="critical", text="车里有人被困")
    story.run(until=4)
    story.between(2.5, 2.6).expect((Action.RAISE, "critical", 4))


def test_topics_that_fall_silent_do_not_hold_the_others_back() -> None:
    story = Story({"waterlogging": {}})
    story.at(0.1).ticket("noise", FAR_AWAY)  # the only ticket of the day
    story.at(0.2).reading("quiet-1", FAR_AWAY, partition=1, metric="noise_db", value=50.0)  # and that sensor dies
    for second in range(0, 600, 10):
        story.at(second / 60).reading("quiet-0", FAR_AWAY, metric="noise_db", value=50.0)
    story.at(3.1).reading("WL-1", UNDERPASS, **level(200))
    story.at(3.2).camera("waterlogging", UNDERPASS)
    story.run(until=10)
    story.between(4, 5).expect((Action.RAISE, "level_and_camera", 1))
