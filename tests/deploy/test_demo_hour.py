"""The recorded hour: in step with its script, small, and with the alerts that its story is told for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from deploy import demo_hour
from deploy.config import CitySettings, TongguanConfig
from deploy.demo_recording import (
    DEVICES,
    HOUR,
    HOUR_MS,
    LOW_ROAD,
    PARTITIONS,
    START_MS,
    Record,
    decode,
    encode,
    place_near,
    read,
)
from schemas.alert import Action, encode_alert
from schemas.dead_letter import Reason
from schemas.sources import Source
from streams.topics import TopicsSettings
from tests.support.pipeline import Pipeline

MOST_BYTES = 600_000

ALERTS = {
    "traffic_accident-1-ce011-1752745380000": "内环高架黄兴路段",
    "urgent_ticket-1-c24fc-1752746334000-0-71": "漕溪北路下立交",
    "waterlogging-1-c24fc-1752745680000": "漕溪北路下立交",
    "waterlogging-1-c24fd-1752745680000": "漕溪北路下立交",
    "waterlogging-1-c24fe-1752745980000": "漕溪北路下立交",
    "waterlogging-1-c0fcf-1752746160000": "龙吴路近龙漕路",
    "waterlogging-1-c0fda-1752746160000": "龙吴路近龙漕路",
}
"""What the hour must raise, and where. A change here is a change of what Tongguan tells its users: agree it first."""

DEAD = {
    Reason.BAD_JSON: 3,
    Reason.MISSING_FIELD: 2,
    **dict.fromkeys(
        (
            Reason.BAD_TYPE, Reason.BAD_VALUE, Reason.BAD_TIME, Reason.BAD_PLACE, Reason.DUPLICATE_KEY,
            Reason.EMPTY, Reason.FUTURE, Reason.OUTSIDE_CITY,
        ),
        1,
    ),
}  # fmt: skip
LATE = 6


def city(*, devices: Path | None = DEVICES, shards: int = 4) -> TongguanConfig:
    return TongguanConfig(city=CitySettings(devices=devices), topics=TopicsSettings(shards=shards))


def run(records: list[Record], config: TongguanConfig, *, at_once: int) -> Pipeline:
    pipeline = Pipeline(config, PARTITIONS)
    for first in range(0, len(records), at_once):
        some = records[first : first + at_once]
        pipeline.take((record.source, record.partition, record.payload) for record in some)
    return pipeline


@pytest.fixture(scope="module")
def hour() -> list[Record]:
    return read()


@pytest.fixture(scope="module")
def told(hour: list[Record]) -> Pipeline:
    return run(hour, city(), at_once=500)


def test_the_file_is_what_the_script_makes() -> None:
    made = demo_hour.Hour(demo_hour.SEED)
    assert encode(made.build()) == encode(read()), "run `python -m deploy.demo_hour` and agree the new alerts"
    assert made.register() == DEVICES.read_text("utf-8")


def test_the_file_is_small_enough_to_be_shipped() -> None:
    assert HOUR.stat().st_size + DEVICES.stat().st_size < MOST_BYTES


def test_records_survive_their_lines_whatever_bytes_they_hold() -> None:
    records = [
        Record(0, Source.READINGS, b"a", b""),
        Record(1, Source.CAMERA_EVENTS, b"b", b"\x00\xff\ttabs\tinside\r"),
        Record(2, Source.TICKETS, b"", '{"text":"积水"}'.encode()),
    ]
    assert decode(encode(records)) == records
    with pytest.raises(ValueError, match="cannot hold"):
        encode([Record(0, Source.READINGS, b"a", b"two\nlines")])


def test_every_partition_hears_of_something_every_minute_or_its_watermark_would_hold_alerts_back(
    hour: list[Record],
) -> None:
    minutes: dict[tuple[Source, int], set[int]] = {}
    for record in hour:
        minutes.setdefault((record.source, record.partition), set()).add(record.at_ms // 60_000)
    assert set(minutes) == {(source, p) for source, count in PARTITIONS.items() for p in range(count)}
    for key, heard in minutes.items():
        gaps = [minute for minute in range(HOUR_MS // 60_000) if minute not in heard]
        assert not gaps, f"{key} is silent in minutes {gaps}"


def test_the_hour_raises_exactly_the_alerts_of_its_story(told: Pipeline) -> None:
    raised = {alert.alert_id: alert for alert in told.alerts if alert.action is Action.RAISE}
    places = {name: place_near(alert.lon, alert.lat) for name, alert in raised.items()}
    assert {name: place.zh if place else None for name, place in places.items()} == ALERTS


def test_every_alert_clears_within_the_hour_but_the_urgent_ticket_which_a_person_closes(told: Pipeline) -> None:
    cleared = {alert.alert_id for alert in told.alerts if alert.action is Action.CLEAR}
    assert cleared == {name for name in ALERTS if not name.startswith("urgent_ticket")}
    assert all(alert.window_end_ms <= START_MS + HOUR_MS for alert in told.alerts)


def test_the_flooded_road_is_confirmed_by_a_caller_whose_map_is_in_gcj02(told: Pipeline, hour: list[Record]) -> None:
    first = next(a for a in told.alerts if place_near(a.lon, a.lat) == LOW_ROAD)
    assert first.reason == "level_and_tickets"
    (ticket,) = [one for one in first.evidence if one.startswith("tickets:")]
    payloads = [record.payload for record in hour if record.source is Source.TICKETS]
    assert b'"datum":"GCJ-02"' in payloads[int(ticket.rsplit(":", 1)[1])]


def test_without_the_device_register_the_underpass_stays_unnoticed(hour: list[Record]) -> None:
    blind = run(hour, city(devices=None), at_once=5_000)
    assert {a.alert_id for a in blind.alerts if a.detector == "waterlogging"} == {
        name for name, place in ALERTS.items() if place == LOW_ROAD.zh
    }


def test_what_cannot_be_used_is_dead_with_its_reason_and_late_records_are_counted(told: Pipeline) -> None:
    assert Counter(letter.reason for letter in told.letters) == DEAD
    assert told.late == LATE


@pytest.mark.parametrize(("at_once", "shards"), [(7_919, 4), (200, 8)])
def test_other_batches_and_other_shards_tell_the_very_same(
    told: Pipeline, hour: list[Record], at_once: int, shards: int
) -> None:
    again = run(hour, city(shards=shards), at_once=at_once)
    assert sorted(map(encode_alert, again.alerts)) == sorted(map(encode_alert, told.alerts))
