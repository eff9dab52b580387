"""The capacity model: linear where it should be, measured constants before fall-backs, a page it can be put into."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import capacity, report
from benchmarks.capacity import CITY, COUNTRY, PROVINCE, Constant, constants, need, table, written


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the saved results."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def save(results: Path, name: str, result: dict[str, Any]) -> None:
    (results / f"{name}.json").write_text(json.dumps({"date": "2026-01-02", "result": result}))


def test_a_missing_result_is_marked_as_a_fall_back(results: Path) -> None:
    known = constants()
    assert known["join_us"].origin.startswith("fall-back:")
    assert all(one.origin.startswith(("measured:", "fall-back:", "assumed:", "the settings")) for one in known.values())


def test_a_saved_result_takes_the_place_of_the_fall_back(results: Path) -> None:
    runs = [
        {"records": 2_000_000, "cpu_us_per_record": 9.0},
        {"records": 8_000_000, "cpu_us_per_record": 0.5},
        {"records": 8_000_000, "cpu_us_per_record": 0.7},
    ]
    save(results, "cityjoin", {"runs": runs})
    known = constants()["join_us"]
    assert known.value == pytest.approx(0.6)  # the longest backlog's
    assert known.origin == "measured: results/cityjoin.json, 2026-01-02"


def test_the_cost_of_sharing_is_that_of_the_most_workers_and_at_least_one(results: Path) -> None:
    rows = [{"workers": 1, "cores": 1, "cost": 1.0}, {"workers": 4, "cores": 1, "cost": 1.3}]
    save(results, "scaleout", {"shared": [*rows, {"workers": 8, "cores": 2, "cost": 9.0}]})
    assert constants()["scale_cost"].value == 1.3
    save(results, "scaleout", {"shared": [{"workers": 2, "cores": 1, "cost": 0.8}]})
    assert constants()["scale_cost"].value == 1.0


def test_a_city_has_the_records_that_its_devices_send(results: Path) -> None:
    # 5 million a minute, 200 thousand events a minute, 30 thousand tickets a day
    assert CITY.records_s == pytest.approx(5_000_000 / 60 + 200_000 / 60 + 30_000 / 86_400)


def test_disks_hold_the_days_and_the_copies(results: Path) -> None:
    known = {name: constant.value for name, constant in constants().items()}
    city = need(CITY, constants())
    day = CITY.records_s * 86_400 / 1e12
    assert city.store_tb == pytest.approx(day * known["stored_bytes"] * 400 * 2)
    assert city.kafka_tb == pytest.approx(day * (known["raw_wire"] * 7 + known["frame_bytes"] * 3) * 3)


def test_needs_grow_with_the_place_and_disks_in_proportion(results: Path) -> None:
    known = constants()
    city, province, country = (need(place, known) for place in (CITY, PROVINCE, COUNTRY))
    assert province.kafka_tb == pytest.approx(4 * city.kafka_tb)
    assert country.store_tb == pytest.approx(56 * city.store_tb)
    assert city.worker_cores < province.worker_cores < country.worker_cores
    assert city.brokers <= province.brokers <= country.brokers


def test_nothing_runs_on_one_machine_alone(results: Path) -> None:
    hamlet = dataclasses.replace(CITY, devices=10, cameras=1, tickets_a_day=1)
    least = need(hamlet, constants())
    assert (least.worker_machines, least.brokers, least.store_nodes) == (2, 3, 2)


def test_twice_the_cost_of_a_record_takes_twice_the_cores(results: Path) -> None:
    known = constants()
    dearer = known | {"join_us": dataclasses.replace(known["join_us"], value=known["join_us"].value * 2)}
    dearer |= {"archive_us": dataclasses.replace(known["archive_us"], value=known["archive_us"].value * 2)}
    once, twice = need(COUNTRY, known).worker_cores, need(COUNTRY, dearer).worker_cores
    assert twice == pytest.approx(2 * once, abs=2)


def test_the_loop_is_what_ends_first_for_a_country(results: Path) -> None:
    limits = need(COUNTRY, constants()).limits
    assert limits[0][0].startswith("the loop") and limits[0][1] > 1
    assert [share for _, share in limits] == sorted((share for _, share in limits), reverse=True)


def test_the_table_goes_between_its_marks_and_can_be_written_again() -> None:
    page = f"before\n{capacity.BEGIN}\nold\n{capacity.END}\nafter\n"
    once = written(page, "| new |\n")
    assert once == f"before\n{capacity.BEGIN}\n\n| new |\n\n{capacity.END}\nafter\n"
    assert written(once, "| new |\n") == once
    with pytest.raises(SystemExit):
        written("no marks", "")


def test_the_page_has_its_marks_and_the_table_every_constant(results: Path) -> None:
    known = constants() | {"join_us": Constant(0.123, "µs of the test", "assumed: test")}
    text = table((CITY, PROVINCE), known)
    assert "| µs of the test | 0.123 | assumed: test |" in text
    assert text.count("\n| ") >= len(known)
    written(capacity.PAGE.read_text("utf-8"), text)
