"""Every data set that has a mapping file: its small cut becomes records that the platform reads, its traps handled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deploy.replay.dataset import DataSet, Survey
from deploy.replay.mapping_file import find_mapping, set_names
from deploy.replay.records import Record
from deploy.replay.tally import Note, Skip
from schemas.datums import Datum
from schemas.decode import decode
from schemas.kinds import built_in_kinds
from schemas.sources import Source
from tests.deploy.replay.made_up import metr_la, tickets_la

CUTS = Path(__file__).parents[2] / "data" / "replay"
WHOLE = Path(__file__).resolve().parents[4] / "shared" / "data"  # beside the checkout, where there is one
SETS = (
    "camera_deepstream", "camera_frigate", "camera_opendatacam", "sensors_beijing_air", "sensors_melbourne_pedestrian",
    "sensors_metr_la", "tickets_boston", "tickets_la", "tickets_nyc",
)  # fmt: skip
MADE_UP: dict[str, Callable[[Path], Path]] = {"sensors_metr_la": metr_la, "tickets_la": tickets_la}
ROWS = {  # of the whole sets, as their description says
    "camera_deepstream": 1514, "camera_frigate": 8, "camera_opendatacam": 10_245, "sensors_beijing_air": 8 * 8784,
    "sensors_melbourne_pedestrian": 32_276, "sensors_metr_la": 1152 * 207, "tickets_boston": 31_828, "tickets_la": 9999,
    "tickets_nyc": 3378,
}  # fmt: skip
UTC_ZONE = ZoneInfo("UTC")


def small(name: str, folder: Path) -> DataSet:
    """The small cut: shipped, in the tests' data, or made up in the same form where no licence lets us ship one."""
    if name in MADE_UP:
        return DataSet(find_mapping(name), MADE_UP[name](folder))
    return DataSet(find_mapping(name), None if name == "tickets_boston" else CUTS)


def read(data: DataSet) -> tuple[Survey, list[Record]]:
    survey = data.survey()
    return survey, list(data.records(survey))


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def of(records: list[Record]) -> list[dict[str, Any]]:
    return [json.loads(record.payload) for record in records]


def test_the_sets_are_those_of_this_list() -> None:
    assert set_names() == list(SETS)


@pytest.mark.parametrize("name", SETS)
def test_the_small_cut_gives_records_that_the_platform_reads_with_their_own_times(name: str, tmp_path: Path) -> None:
    survey, records = read(small(name, tmp_path))
    assert len(records) == survey.tally.records > 0
    assert survey.tally.unusable == 0, survey.tally.places
    for record in records:
        row = decode(record.source, record.payload, UTC_ZONE)
        assert row.event_at_ms == record.at_ms == json.loads(record.payload)["ts"]
        assert row.entity.encode() == record.key
    if find_mapping(name).order == "time":
        assert [record.at_ms for record in records] == sorted(record.at_ms for record in records)


@pytest.mark.parametrize("name", SETS)
def test_categories_and_metrics_are_names_that_the_platform_knows(name: str) -> None:
    kinds = {source: {kind.name for kind in built_in_kinds().of(source)} for source in Source}
    mapping = find_mapping(name)
    assert set(mapping.tables.get("category", {})) <= kinds[Source.TICKETS]
    metrics = {
        record.fields["metric"].constant
        for rule in mapping.inputs
        for record in rule.records
        if "metric" in record.fields
    }
    assert metrics - {"dew_point_c"} <= kinds[Source.READINGS], (
        "all but the dew point, for which the registry has no name"
    )


@pytest.mark.parametrize("name", SETS)
def test_the_whole_set_is_read_without_a_row_lost(name: str) -> None:
    if not WHOLE.is_dir():
        pytest.skip(f"the whole recorded sets are not on this machine ({WHOLE}); the small cuts are tested everywhere")
    if name == "tickets_boston":
        pytest.skip("test_boston.py reads the whole quarter")
    if name == "sensors_beijing_air":
        pytest.skip("836,376 records take a busy machine half a minute; its small cut has every column and gap")
    tally = DataSet(find_mapping(name), WHOLE).survey().tally
    assert tally.rows == ROWS[name]
    assert tally.records + tally.skipped[Skip.NOT_A_RECORD] == ROWS[name]


def test_boston_leaves_the_city_hall_fallback_out_and_keeps_the_words_of_the_address() -> None:
    survey, records = read(small("tickets_boston", Path()))
    tickets = of(records)
    assert len(tickets) == 5236
    placed = [ticket for ticket in tickets if "lon" in ticket]
    assert not [ticket for ticket in placed if (ticket["lon"], ticket["lat"]) == (-71.0587, 42.3594)]
    left_out = [ticket for ticket in tickets if "lon" not in ticket]
    assert len(left_out) == survey.tally.notes[Note.NOT_HERE] == sum(survey.tally.not_here.values()) > 300
    assert any(ticket.get("address", "").startswith("1010-1010 Massachusetts Ave") for ticket in left_out)
    assert any("address" not in ticket for ticket in left_out), "a blank address is none"


def test_boston_says_nothing_that_was_not_known_when_the_ticket_was_opened() -> None:
    _, records = read(small("tickets_boston", Path()))
    first = of(records)[0]
    assert first["ticket_id"] == "101000295613" and first["category"] == "street_light"
    assert first["ts"] == at("2011-07-01T01:32:33-04:00") and first["due_ts"] == at("2011-07-15T01:32:32-04:00")
    assert not any(b"amp fuse" in record.payload or b"closed" in record.payload.lower() for record in records[:1])
    fields = {name for ticket in of(records) for name in ticket}
    assert fields.isdisjoint({"closed_dt", "closure_reason", "ontime", "case_status"})


def test_new_york_times_are_local_and_its_due_dates_go_along() -> None:
    _, records = read(small("tickets_nyc", Path()))
    first = of(records)[0]
    assert first["ts"] == at("2018-10-21T00:00:00-04:00") and first["due_ts"] == at("2018-11-20T00:00:00-05:00")
    assert first["category"] == "public_health" and first["address"] == "255 WILSON AVENUE, BROOKLYN, 11237"
    assert any("due_ts" not in ticket for ticket in of(records))


def test_los_angeles_keeps_unknown_types_and_tickets_without_position_and_sorts_them(tmp_path: Path) -> None:
    survey, records = read(small("tickets_la", tmp_path))
    tickets = of(records)
    assert [ticket["ticket_id"] for ticket in tickets] == ["1-1", "1-3", "1-2", "1-4"]
    assert tickets[1]["category"] == "other" and tickets[1]["type"] == "Something New"
    assert "lon" not in tickets[2] and tickets[2]["address"] == "2 S BROADWAY, 90012"
    assert survey.tally.notes == {Note.EARLIER: 1, Note.OTHERWISE: 2, Note.NO_POSITION: 1}


def test_metr_la_becomes_km_h_at_the_place_of_its_sensor(tmp_path: Path) -> None:
    _, records = read(small("sensors_metr_la", tmp_path))
    first = of(records)[0]
    assert len(records) == 36
    assert (first["device_id"], first["value"], first["unit"]) == ("773869", 96.561, "km/h")
    assert (first["lon"], first["lat"], first["datum"]) == (-118.31829, 34.15497, "WGS-84")
    assert first["ts"] == at("2012-03-01T00:00:00-08:00")


def test_beijing_keeps_gaps_as_gaps_and_turns_winds_and_carbon_monoxide_into_our_units() -> None:
    survey, records = read(small("sensors_beijing_air", Path()))
    readings = of(records)
    assert survey.tally.rows == 96 and survey.tally.skipped == {Skip.MISSING_VALUE: 96 * 12 - len(records)}
    assert survey.tally.skipped[Skip.MISSING_VALUE] > 48, "the cut has two days of hours with gaps"
    at_noon = {
        r["metric"]: r["value"]
        for r in readings
        if r["device_id"] == "Dongsi" and r["ts"] == at("2015-12-01T12:00:00+08:00")
    }
    assert at_noon["co_ppm"] == pytest.approx(9900 * 22.414 / 28.010 / 1000, abs=1e-4), "9,900 ug/m3 of CO"
    assert {r["value"] for r in readings if r["metric"] == "wind_direction_deg"} <= {n * 22.5 for n in range(16)}
    assert all(r["datum"] == "WGS-84" and abs(r["lon"] - 116.4) < 0.2 for r in readings)


def test_melbourne_reads_the_repeated_hour_once_and_says_so() -> None:
    survey, records = read(small("sensors_melbourne_pedestrian", Path()))
    assert survey.tally.notes[Note.REPEATED_HOUR] == 4
    assert survey.tally.notes[Note.SKIPPED_HOUR] == 0, "the set has no rows for the hour that did not exist"
    times = Counter(r["ts"] for r in of(records) if r["device_id"] == "Birrarung Marr")
    assert times[at("2015-04-05T02:00:00+11:00")] == 1 and times[at("2015-04-05T02:00:00+10:00")] == 0
    assert times[at("2015-04-05T03:00:00+10:00")] == 1
    assert max(times.values()) == 1


def test_deepstream_keeps_the_recorded_order_and_drops_the_dummy_position() -> None:
    survey, records = read(small("camera_deepstream", Path()))
    events = of(records)
    assert any(one["ts"] > next_["ts"] for one, next_ in pairwise(events)), "out of order, as recorded"
    assert survey.tally.notes[Note.EARLIER] > 10
    assert survey.tally.notes[Note.NOT_HERE] == len(events)
    assert all("lon" not in event and "datum" not in event for event in events)
    assert events[0]["x_m"] == pytest.approx(-54.3318) and events[0]["bbox"] == [504.0, 24.0, 648.0, 65.0]
    assert {event["event"] for event in events} == {"moving", "parked", "empty"}


def test_frigate_sends_no_names_and_no_plates_and_counts_what_is_no_event() -> None:
    survey, records = read(small("camera_frigate", Path()))
    assert survey.tally.skipped == {Skip.NOT_A_RECORD: 2} and len(survey.tally.not_records) == 2
    sent = b"".join(record.payload for record in records)
    assert all(word not in sent for word in (b"John", b"Bob", b"123ABC", b"ABC12345"))
    events = {event["event"]: event for event in of(records)}
    assert events["person"]["ts"] == 1_607_123_962_083 and events["person"]["confidence"] == 0.87890625
    assert events["car_trigger"]["ts"] == 1_751_565_549_853, "the time is in the id of its object"


def test_opendatacam_gives_one_event_per_box_at_thirty_frames_a_second() -> None:
    _, records = read(small("camera_opendatacam", Path()))
    events = of(records)
    frames = sorted({(event["frame"], event["ts"]) for event in events})
    assert len(frames) == 30 and frames[0][0] == 16
    assert frames[29][1] - frames[0][1] == round(29 * 1000 / 30)
    assert all(0 < event["relative_box"]["width"] < 1 for event in events)


def test_positions_go_out_with_their_datum_so_that_no_source_rule_shifts_them(tmp_path: Path) -> None:
    for name in SETS:
        for record in read(small(name, tmp_path / name))[1][:50]:
            row = decode(record.source, record.payload, UTC_ZONE)
            assert row.lon != row.lon or row.datum == Datum.WGS84, name
