"""The second reading that the address library is compared with: it tells a district, or says that it cannot."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benchmarks.address_truth import (
    HELD_BACK_OF,
    district_of,
    names_of,
    part_of,
    plain_text,
    read_labelled,
    street_in,
    without,
)


@pytest.mark.parametrize(
    ("text", "district", "rest"),
    [
        ("上海上海徐汇区天钥桥路1号", "310104", "天钥桥路1号"),
        ("上海市徐汇区天钥桥路1号", "310104", "天钥桥路1号"),
        ("徐汇区天钥桥路1号", "310104", "天钥桥路1号"),
        ("广东深圳宝安区中国广东", "440306", "中国广东"),
        ("上海闸北区共和新路", "310106", "共和新路"),
        ("福建福州鼓楼区六一路", "350102", "六一路"),
        ("黔南布依族苗族自治州长顺县长寨街道", "522729", "长寨街道"),
    ],
)
def test_the_district_at_the_beginning_is_told(text: str, district: str, rest: str) -> None:
    told = district_of(plain_text(text))
    assert told is not None
    assert (told[0], text[told[1] :]) == (district, rest)


@pytest.mark.parametrize(
    "text", ["", "上海市", "鼓楼区六一路", "天钥桥路1号 徐汇区", "浦东大道720号", "浙江杭州江干区凤起路"]
)
def test_what_is_not_said_at_the_beginning_is_not_guessed(text: str) -> None:
    assert district_of(plain_text(text)) is None


def test_masking_takes_every_full_name_of_the_district_and_nothing_of_roads() -> None:
    assert without("静安区闸北区静安寺", names_of("310106")) == "静安寺"
    assert "310115" not in names_of("310115") and "浦东" not in names_of("310115")


def test_a_street_is_told_when_one_only_stands_in_the_text() -> None:
    assert street_in("天平路街道衡山路1号", "310104") == "310104003"
    assert street_in("天平路街道湖南路街道", "310104") is None
    assert street_in("天平路1号", "310104") is None


def test_a_text_is_always_in_the_same_part(tmp_path: Path) -> None:
    assert part_of("上海徐汇区天钥桥路1号") == part_of("上海徐汇区天钥桥路1号")
    assert {part_of(str(number)) for number in range(200)} == set(range(HELD_BACK_OF))
    folder = tmp_path / "addresses_cn"
    folder.mkdir()
    for name, text in (
        ("street", "上海上海徐汇区中国上海上海徐汇区天钥桥路1号\n公司\n"),
        ("company", "湖北省仙桃市1号\n"),
    ):
        (folder / f"{name}_addresses.txt.gz").write_bytes(gzip.compress(text.encode()))
    found, total = read_labelled(tmp_path)
    assert total == 3
    assert [(one.city, one.district, one.rest) for one in found] == [("31", "310104", "中国上海上海徐汇区天钥桥路1号")]
    assert not found[0].names_another
