"""Divisions: codes nest by digits, names are found in every form, and past districts lead to present ones."""

from __future__ import annotations

import pytest

from topology.divisions import (
    Form,
    area_names,
    common_prefix,
    communities_of,
    full_name,
    home_prefix,
    is_zone,
    short_name,
    streets_called,
    streets_of,
)


def test_every_code_lies_in_the_one_that_is_its_beginning() -> None:
    areas = {one.code for readings in area_names().values() for one in readings if len(one.code) == 6}
    assert len(areas) > 2_900
    for code in areas:
        assert full_name(code[:2]) is not None
    streets = dict(streets_of(""))
    assert len(streets) == 41_352
    with_districts_of_their_own = {code[:6] for code in streets} - areas
    assert {full_name(code[:4]) for code in with_districts_of_their_own} == {"东莞市", "中山市", "儋州市", "嘉峪关市"}
    shanghai = [code for code, _ in communities_of("31")]
    assert len(shanghai) == 6_509 and not {code[:9] for code in shanghai} - streets.keys()


def test_streets_and_communities_are_those_of_the_prefix_only() -> None:
    assert ("310104003", "天平路街道") in list(streets_of("310104"))
    assert all(code.startswith("310104") for code, _ in streets_of("310104"))
    assert list(streets_of("99")) == []
    assert list(communities_of("11")) == []


@pytest.mark.parametrize(
    ("code", "prefix"),
    [("310000", "31"), ("310100", "31"), ("31", "31"), ("330100", "3301"), ("441900", "4419"), ("429004", "429004")],
)
def test_a_city_s_home_is_what_its_codes_begin_with(code: str, prefix: str) -> None:
    assert home_prefix(code) == prefix


@pytest.mark.parametrize("code", ["", "boston", "31010", "3101x4", "３１", "-1"])
def test_what_is_no_code_of_a_city_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="expected the code of a city"):
        home_prefix(code)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("上海市", "上海"),
        ("浦东新区", "浦东"),
        ("黔南布依族苗族自治州", "黔南"),
        ("新疆维吾尔自治区", "新疆"),
        ("内蒙古自治区", "内蒙古"),
        ("神农架林区", "神农架"),
        ("香港特别行政区", "香港"),
        ("城区", "城区"),
        ("赣县区", "赣县"),
    ],
)
def test_a_name_loses_the_word_for_its_kind_but_not_itself(name: str, short: str) -> None:
    assert short_name(name) == short


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("闸北区", "310106"),
        ("卢湾区", "310101"),
        ("南汇区", "310115"),
        ("南市区", "310101"),
        ("崇明县", "310151"),
        ("浦东区", "310115"),
        ("下城区", "330105"),
        ("辽中县", "210115"),
    ],
)
def test_a_district_that_is_no_more_is_known_as_what_it_became(name: str, code: str) -> None:
    assert [(one.code, one.form) for one in area_names()[name]] == [(code, Form.FORMER)]


def test_a_district_that_was_divided_is_known_as_all_its_parts() -> None:
    assert {one.code for one in area_names()["江干区"]} == {"330102", "330114"}


def test_an_old_county_does_not_make_its_city_s_name_a_district() -> None:
    assert [one.code for one in area_names()["上海"]] == ["31"]
    assert [one.code for one in area_names()["南昌"]] == ["3601"]
    assert "市中" not in area_names()


def test_the_common_division_is_the_finest_that_holds_all() -> None:
    assert common_prefix({"310104003", "310104004"}) == "310104"
    assert common_prefix({"310104", "310115"}) == "3101"
    assert common_prefix({"310104003007", "310104003"}) == "310104003"
    assert common_prefix({"110105", "310104"}) == ""


def test_zones_of_the_statistics_are_told_from_districts() -> None:
    assert is_zone("320576") and is_zone("320576052")
    assert not is_zone("310115") and not is_zone("3107")
    assert streets_called("城关镇") == 88 and streets_called("天平路街道") == 1
