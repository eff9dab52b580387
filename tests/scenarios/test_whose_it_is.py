"""From raw records to alerts and rows in a city of two districts: everything names who answers for it."""

from __future__ import annotations

import json
from typing import Any

from deploy.config import DetectorChoice, TongguanConfig
from schemas.observation import NO_CELL, Flag
from schemas.sources import Source
from streams.topics import TopicsSettings
from tests.scenarios.timeline import START_MS
from tests.support.pipeline import Pipeline
from tests.support.small_places import EAST, NORTH_EAST, WEST, FewAddresses, division, listed, two_district_city

CONFIG = TongguanConfig(topics=TopicsSettings(shards=4), detectors=(DetectorChoice(name="waterlogging", settings={}),))
GRID = CONFIG.city.grid()
BORDER = 121.4700
CITY = two_district_city(GRID, (121.3, 31.0, 121.6, 31.4), BORDER, 31.25)
ADDRESSES = FewAddresses({"东区北街1号": listed(NORTH_EAST, 121.5, 31.3), "东区某处": division(EAST)})
MINUTE = 60_000
YEAR = 365 * 86_400_000


def played(start_ms: int, *records: tuple[Source, dict[str, Any]]) -> Pipeline:
    """The records in their order, minute by minute, and what closes the windows behind them."""
    path = Pipeline(CONFIG, dict.fromkeys(Source, 1), city=CITY, addresses=ADDRESSES, now_ms=start_ms + 10 * MINUTE)
    path.take([(source, 0, json.dumps(fields, ensure_ascii=False).encode()) for source, fields in records])
    path.now_ms += 20 * MINUTE
    path.take([(source, 0, json.dumps(quiet(source, start_ms + 20 * MINUTE)).encode()) for source in Source])
    return path


def quiet(source: Source, ts: int) -> dict[str, Any]:
    """A record that only moves time on."""
    names: dict[Source, dict[str, Any]] = {
        Source.READINGS: {"device_id": "q", "metric": "noise_db", "value": 1.0},
        Source.CAMERA_EVENTS: {"camera_id": "q", "event": "crowd", "confidence": 0.9},
        Source.TICKETS: {"ticket_id": "q", "category": "noise", "text": ""},
    }
    return {**names[source], "ts": ts, "lon": 121.35, "lat": 31.05}


def flood(lon: float, lat: float, start_ms: int) -> list[tuple[Source, dict[str, Any]]]:
    place = {"lon": lon, "lat": lat}
    level = {"device_id": "WL", "metric": "water_level_mm", "value": 400.0, **place}
    camera = {"camera_id": "C", "event": "waterlogging", "confidence": 0.9, **place}
    return [
        (Source.READINGS, {**level, "ts": start_ms + MINUTE}),
        (Source.CAMERA_EVENTS, {**camera, "ts": start_ms + MINUTE}),
    ]


def test_an_alert_names_the_jurisdiction_of_its_cell_and_its_unit_and_both_names() -> None:
    for lon, lat, code, zh, en in (
        (BORDER - 0.002, 31.2, WEST, "测试市西区", "West"),
        (BORDER + 0.002, 31.2, EAST, "测试市东区", "East"),
        (BORDER + 0.002, 31.3, NORTH_EAST, "测试市东区北街道", "North Street, East"),
    ):
        path = played(START_MS, *flood(lon, lat, START_MS))
        alert = path.alerts[0]
        assert (alert.jurisdiction, alert.place_zh, alert.place_en) == (code, zh, en)
        assert alert.unit == CITY.jurisdictions.unit_at(alert.lon or 0, alert.lat or 0, alert.onset_ms)
        assert alert.unit is not None and len(alert.unit) == 15 and alert.unit.startswith(code[:6])
        assert path.rows[0]["jurisdiction"] == code


def test_rows_on_both_sides_of_a_border_in_one_cell_are_told_apart_and_the_alert_goes_by_the_centre() -> None:
    cell = GRID.cell(BORDER, 31.2)
    west, _, east, _ = GRID.bounds(cell)
    assert west < BORDER < east
    records = [*flood(west + 1e-6, 31.2, START_MS), *flood(east - 1e-6, 31.2, START_MS)]
    path = played(START_MS, *records)
    assert [row["jurisdiction"] for row in path.rows if row["cell"] == cell and row["source"] == "readings"] == [
        WEST,
        EAST,
    ]
    (alert, *_) = path.alerts
    assert alert.cell == cell
    assert alert.jurisdiction == (WEST if GRID.centre(cell)[0] < BORDER else EAST)


def test_records_a_year_old_are_the_business_of_who_was_there_then() -> None:
    path = played(START_MS - YEAR, *flood(BORDER + 0.002, 31.2, START_MS - YEAR))
    assert path.rows[0]["jurisdiction"] == WEST
    assert (path.alerts[0].jurisdiction, path.alerts[0].place_zh) == (WEST, "测试市西区")


def test_urgent_tickets_of_words_alone_alert_with_the_place_that_the_words_tell() -> None:
    def call(number: int, **words: str) -> tuple[Source, dict[str, Any]]:
        fields = {"ticket_id": f"T-{number}", "category": "fire", "text": "", "ts": START_MS + number, **words}
        return Source.TICKETS, fields

    path = played(START_MS, call(0, address="东区北街1号"), call(1, text="东区某处"), call(2, text="救命"))
    point, code, nothing = path.alerts
    assert (point.jurisdiction, point.lon, point.lat, point.place_zh) == (NORTH_EAST, 121.5, 31.3, "测试市东区北街道")
    assert point.unit is not None
    assert (code.jurisdiction, code.lon, code.cell, code.unit, code.place_en) == (EAST, None, NO_CELL, None, "East")
    assert (nothing.jurisdiction, nothing.place_zh, nothing.cell) == (None, None, NO_CELL)
    flags = [row["flags"] for row in path.rows if row["entity"] in ("T-0", "T-1", "T-2")]
    assert sorted(flags) == [Flag.UNPLACED, Flag.UNPLACED, Flag.PLACE_FROM_ADDRESS]
