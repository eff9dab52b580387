"""Road and number -> district: the nearest known number decides, and how near it is says how sure."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from topology.addresses import SURE, AddressLibrary
from topology.divisions import full_name
from topology.road_districts import CONFIDENCE, SHIPPED, Known, RoadDistricts, read_known

ROADS = RoadDistricts(
    [
        Known("中山西路", 1055, "310105"),
        Known("中山西路", 1279, "310105"),
        Known("中山西路", 2025, "310104"),
        Known("虹漕路", 461, "310104"),
        Known("人民路", 8, "310101"),
        Known("人民路", 8, "310117"),
        Known("四平路", None, "310110"),
        Known("五原路", None, "310104"),
        Known("五原路", None, "310104"),
        Known("岳阳路", 1, "310104"),
        Known("岳阳路", None, "310104"),
        Known("岳阳路", None, "310104"),
        Known("华山路", None, "310104"),
        Known("华山路", None, "310106"),
    ]
)


@pytest.mark.parametrize(
    ("road", "number", "district", "case"),
    [
        ("中山西路", 1279, "310105", "same_number"),
        ("中山西路", 1265, "310105", "near_number"),
        ("中山西路", 1800, "310104", "far_number"),
        ("中山西路", 2326, "310104", "farther_number"),
        ("中山西路", 1, "310105", "farther_number"),
        ("人民路", 8, "310101", "road_of_several_districts"),
        ("人民路", 10, "310101", "road_of_several_districts"),
        ("四平路", 1230, "310110", "road_of_one"),
        ("五原路", None, "310104", "road_of_two"),
        ("岳阳路", None, "310104", "road_of_many"),
        ("华山路", 2, "310104", "road_of_several_districts"),
    ],
)
def test_each_case_has_its_confidence(road: str, number: int | None, district: str, case: str) -> None:
    verdict = ROADS.judge(road, number)
    assert verdict is not None
    assert (verdict.district, verdict.case, verdict.confidence) == (district, case, CONFIDENCE[case])


def test_numbers_equally_near_that_disagree_decide_nothing() -> None:
    roads = RoadDistricts([Known("界路", 10, "310104"), Known("界路", 30, "310105")])
    verdict = roads.judge("界路", 20)
    assert verdict is not None and verdict.case == "road_of_several_districts"
    near = roads.judge("界路", 19)
    assert near is not None and near.district == "310104"


def test_an_unknown_road_has_no_verdict() -> None:
    assert ROADS.judge("无名路", 1) is None
    assert ROADS.districts("无名路") == frozenset()


def test_the_shipped_table_names_districts_of_its_cities() -> None:
    rows = list(read_known(SHIPPED))
    assert len(rows) > 6_000
    for city, known in rows:
        assert known.district.startswith(city) and len(known.district) == 6 and full_name(known.district)
        assert known.number is None or 0 < known.number < 100_000
    assert Counter(city for city, _ in rows)["31"] > 500


def test_a_text_without_its_district_is_placed_by_a_road_that_is_sure_and_only_then() -> None:
    shanghai = AddressLibrary.load("310000")
    known = [one for city, one in read_known(SHIPPED) if city == "31" and one.number is not None]
    sure = refused = 0
    for one in known:
        got = shanghai.resolve(f"{one.road}{one.number}号5楼")
        if got.reason == "road":
            sure += 1
            assert got.code == one.district and got.confidence >= SURE
        else:
            refused += 1
            assert got.code in (None, "310000", one.district)
    assert sure > 20 * refused


def test_what_a_city_lists_teaches_its_roads_too(tmp_path: Path) -> None:
    path = tmp_path / "addresses.csv"
    path.write_text("road,number,lon,lat,code\n无名小路,10号,121.4,31.2,310104\n无名小路,30号,121.4,31.2,310104\n")
    got = AddressLibrary.load("310000", path).resolve("无名小路51号")
    assert (got.code, got.reason, got.lon) == ("310104", "road", None)
