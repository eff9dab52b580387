"""The city operation index in a real engine: what its views say of rows whose answer can be computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from streams.clickhouse import Store
from streams.index_weights import CATEGORIES, load_weights
from streams.reference_rows import load_reference
from tests.support.stores import embedded_store
from topology.city import City
from topology.levels import Level

HOUR_MS = 3_600_000
T0 = 1_782_864_000_000  # 2026-07-01T00:00Z
CITY = City.load("shanghai")
XUHUI, PUDONG = "310104", "310115"
TIANPING = next(place.code for place in CITY.jurisdictions.entries if place.level is Level.SUBDISTRICT)
UNMAPPED = "310115999"  # a division without a boundary, as an address may tell it
IN_100K = CITY.population[XUHUI] / 100_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with embedded_store(tmp_path_factory.mktemp("index") / "ch") as store:
        load_reference(store, CITY, load_weights(), now_ms=T0)
        fill(store)
        yield store


Seen = tuple[int, str | None, str, str, float]  # hour, jurisdiction, source, kind, value


def observations(rows: list[Seen], *, quality: int = 0, first_offset: int = 0) -> pa.Table:
    at = pa.array([T0 + hour * HOUR_MS + 60_000 * n for n, (hour, *_) in enumerate(rows)], pa.int64())
    return pa.table(
        {
            "event_at": at.cast(pa.timestamp("ms", "UTC")),
            "received_at": at.cast(pa.timestamp("ms", "UTC")),
            "cell": pa.array([7] * len(rows), pa.int64()),
            "source": [row[2] for row in rows],
            "partition": pa.array([0] * len(rows), pa.int32()),
            "offset": pa.array(range(first_offset, first_offset + len(rows)), pa.int64()),
            "kind": [row[3] for row in rows],
            "entity": ["e"] * len(rows),
            "value": [row[4] for row in rows],
            "quality": pa.array([quality] * len(rows), pa.uint8()),
            "jurisdiction": pa.array([row[1] for row in rows], pa.utf8()),
        }
    )


def fill(store: Store) -> None:
    seen: list[Seen] = [
        (0, XUHUI, "readings", "pm25_ugm3", 60.0),
        (0, TIANPING, "readings", "pm25_ugm3", 125.0),  # a subdistrict counts for its district: mean 92.5 scores 50
        (0, XUHUI, "tickets", "garbage", 1.0),
        (0, XUHUI, "tickets", "noise", 1.0),
        (0, None, "readings", "pm25_ugm3", 900.0),  # outside every jurisdiction
        (0, PUDONG, "readings", "water_level_mm", 400.0),  # as bad as it gets
        (0, UNMAPPED, "tickets", "food_safety", 1.0),
        (1, XUHUI, "readings", "traffic_speed_kmh", 50.0),
    ]
    store.insert("observations", observations(seen), token="first")
    store.insert("observations", observations(seen), token="first")  # a batch sent again after a crash
    suspect: list[Seen] = [(0, XUHUI, "readings", "pm25_ugm3", 1900.0)]
    store.insert("observations", observations(suspect, quality=1, first_offset=100), token="second")
    store.insert("alerts", alerts(("a", 0, "raise", XUHUI, 0, 3), ("a", 1, "clear", XUHUI, 1, 3)))
    store.insert("incidents", incidents())


def alerts(*rows: tuple[str, int, str, str, int, int]) -> pa.Table:
    """(id, revision, action, jurisdiction, hour of the window, severity); all with their onset in hour 0."""
    stamp = pa.timestamp("ms", "UTC")
    return pa.table(
        {
            "alert_id": [row[0] for row in rows],
            "revision": pa.array([row[1] for row in rows], pa.int32()),
            "action": [row[2] for row in rows],
            "detector": ["waterlogging"] * len(rows),
            "category": ["waterlogging"] * len(rows),
            "onset_at": pa.array([T0 + 60_000] * len(rows), pa.int64()).cast(stamp),
            "window_end_at": pa.array([T0 + row[4] * HOUR_MS + 120_000 for row in rows], pa.int64()).cast(stamp),
            "severity": pa.array([row[5] for row in rows], pa.uint8()),
            "jurisdiction": pa.array([row[3] for row in rows], pa.utf8()),
        }
    )


def incidents() -> pa.Table:
    """One incident that is open in hours 0 and 1 and past its deadline in hour 1."""
    stamp = pa.timestamp("ms", "UTC")
    at = [T0 + 60_000, T0 + HOUR_MS + 60_000]
    return pa.table(
        {
            "incident_id": ["i", "i"],
            "revision": pa.array([0, 1], pa.int32()),
            "state": ["dispatched", "dispatched"],
            "type": ["waterlogging", "waterlogging"],
            "severity": pa.array([2, 2], pa.uint8()),
            "district": [XUHUI, XUHUI],
            "opened_at": pa.array([at[0]] * 2, pa.int64()).cast(stamp),
            "at": pa.array(at, pa.int64()).cast(stamp),
            "accept_overdue": [False, True],
            "handle_overdue": [False, False],
            "verify_overdue": [False, False],
        }
    )


def indicator(store: Store, name: str, *, hour: int = 0, district: str = XUHUI) -> dict[str, Any]:
    rows = store.query_arrow(
        "SELECT * FROM v_city_index_indicators WHERE indicator = {name:String} AND district = {district:String}"
        " AND hour = toDateTime({at:Int64}, 'UTC')",
        {"name": name, "district": district, "at": (T0 + hour * HOUR_MS) // 1000},
    ).to_pylist()
    (row,) = rows
    return dict(row)


def test_a_reading_counts_for_its_district_with_its_mean_over_good_values(store: Store) -> None:
    pm25 = indicator(store, "pm25")
    assert (pm25["value"], pm25["score"]) == (92.5, 50.0)
    assert pm25["indicator_zh"] == "PM2.5 浓度" and pm25["district_zh"] == "徐汇区"


def test_what_was_not_measured_is_null_and_takes_no_part(store: Store) -> None:
    speed = indicator(store, "road_speed")
    assert (speed["value"], speed["score"], speed["contribution"]) == (None, None, None)


def test_what_is_counted_is_zero_when_there_was_none(store: Store) -> None:
    fires = indicator(store, "fires")
    assert (fires["value"], fires["score"]) == (0.0, 100.0)


def test_tickets_are_related_to_inhabitants(store: Store) -> None:
    assert indicator(store, "environment_tickets")["value"] == pytest.approx(2 / IN_100K)
    assert indicator(store, "appeals")["value"] == pytest.approx(2 / IN_100K)


def test_a_ticket_of_a_division_without_a_boundary_counts_for_its_district(store: Store) -> None:
    assert indicator(store, "health_tickets", district=PUDONG)["value"] == pytest.approx(
        1 / (CITY.population[PUDONG] / 100_000)
    )


def test_a_batch_that_was_sent_twice_counts_once(store: Store) -> None:
    assert store.rows("SELECT sum(records) FROM observation_hours")[0][0] == 9


def test_an_alert_counts_in_every_hour_in_which_it_stands(store: Store) -> None:
    assert indicator(store, "waterlogging")["value"] == pytest.approx(3 / IN_100K)
    assert indicator(store, "waterlogging", hour=1)["value"] == pytest.approx(3 / IN_100K)
    assert indicator(store, "waterlogging", district=PUDONG)["value"] == 0.0


def test_an_incident_counts_while_it_is_open_and_once_more_when_overdue(store: Store) -> None:
    assert [indicator(store, "open_incidents", hour=hour)["value"] for hour in (0, 1)] == pytest.approx(
        [1 / IN_100K] * 2
    )
    assert [indicator(store, "overdue", hour=hour)["value"] for hour in (0, 1)] == pytest.approx([0.0, 1 / IN_100K])


def test_the_worst_value_scores_nothing(store: Store) -> None:
    assert indicator(store, "standing_water", district=PUDONG)["score"] == 0.0


@pytest.mark.parametrize("depth", ["categories", "indicators"])
def test_the_contributions_add_up_to_the_index(store: Store, depth: str) -> None:
    rows = store.rows(
        f"SELECT i.district, i.hour, any(i.score), sum(parts.contribution) FROM v_city_index AS i"
        f" JOIN v_city_index_{depth} AS parts ON i.district = parts.district AND i.hour = parts.hour"
        " GROUP BY i.district, i.hour"
    )
    assert len(rows) == 2 * 16  # every district, in both hours that have any data
    for _, _, score, total in rows:
        assert total == pytest.approx(score)


def test_the_columns_of_the_index_are_its_categories(store: Store) -> None:
    (row,) = store.query_arrow(
        "SELECT * FROM v_city_index WHERE district = {district:String} AND hour = toDateTime({at:Int64}, 'UTC')",
        {"district": XUHUI, "at": T0 // 1000},
    ).to_pylist()
    by_category = dict(
        store.rows(
            "SELECT category, score FROM v_city_index_categories WHERE district = {district:String}"
            " AND hour = toDateTime({at:Int64}, 'UTC')",
            {"district": XUHUI, "at": T0 // 1000},
        )
    )
    assert {category: row[category] for category in CATEGORIES} == pytest.approx(by_category)
    assert 0 < row["coverage"] < 1  # no speeds, no pressures


def test_a_new_version_of_the_definition_leaves_yesterday_as_it_was(store: Store) -> None:
    before = indicator(store, "pm25")
    first = [replace(weight, valid_to_ms=T0 + HOUR_MS) for weight in load_weights()]
    second = [replace(weight, version=2, valid_from_ms=T0 + HOUR_MS, good=60.0) for weight in load_weights()]
    assert load_reference(store, CITY, [*first, *second], now_ms=T0 + 1) == ["index_weights"]
    assert indicator(store, "pm25") == before
    assert indicator(store, "road_speed")["version"] == 1
    assert indicator(store, "road_speed", hour=1)["version"] == 2
    assert indicator(store, "road_speed", hour=1)["score"] == pytest.approx(100 * (50 - 12) / (60 - 12))
    assert load_reference(store, CITY, load_weights(), now_ms=T0 + 2) == ["index_weights"]  # as it was, for the others


def test_reference_that_has_not_changed_is_not_loaded_again(store: Store) -> None:
    load_reference(store, CITY, load_weights(), now_ms=T0 + 3)
    assert load_reference(store, CITY, load_weights(), now_ms=T0 + 4) == []
    assert store.rows("SELECT count(), uniqExact(code) FROM v_jurisdictions WHERE level = 'district'") == [(16, 16)]
    assert store.rows("SELECT district FROM v_jurisdictions WHERE code = {code:String}", {"code": TIANPING}) == [
        (XUHUI,)
    ]
    assert store.rows("SELECT count() FROM v_departments")[0][0] == len(CITY.departments)
