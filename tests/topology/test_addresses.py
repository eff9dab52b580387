"""The address library: the smallest division that is sure, points from the city's list only, a reason for all else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology.addresses import SURE, AddressLibrary, Resolved
from topology.datum import convert
from topology.grid import Grid
from topology.levels import Level

GRID = Grid.metric(120.85, 30.67, 122.25, 31.88)
SHANGHAI = AddressLibrary.load("310000")
HANGZHOU = AddressLibrary.load("330100")
REASONS = {
    "exact", "road_number", "road_number_between", "road", "village", "street", "district", "city", "other_city",
    "ambiguous", "empty", "unknown",
}  # fmt: skip
LIST = """text,road,number,lon,lat,code,datum
徐汇区虹桥路1号,,,121.4351,31.1957,,
,虹桥路,5号,121.4349,31.1960,310104,
,虹桥路,1265弄,121.4101,31.1960,310105,
,中山西路,1265弄18号,121.4107,31.1927,310105010,
,中山西路,1265弄,121.4105,31.1925,310105010,
黄浦区人民路8号,,,121.4905,31.2301,,
松江区人民路8号,,,121.2240,31.0100,,
四川北路海宁路路口,,,121.4811,31.2498,310109009,
人民广场,,,121.4737,31.2304,310101,
"""


def _library(tmp_path: Path, text: str = LIST, city: str = "310000", **options: object) -> AddressLibrary:
    path = tmp_path / "addresses.csv"
    path.write_text(text, encoding="utf-8")
    return AddressLibrary.load(city, path, **options)  # type: ignore[arg-type]


def _problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _library(tmp_path, text)
    start = f"{tmp_path / 'addresses.csv'}:"
    assert all(problem.startswith(start) for problem in caught.value.problems)
    return [problem.removeprefix(start) for problem in caught.value.problems]


def _said(library: AddressLibrary, text: str) -> tuple[str | None, str]:
    got = library.resolve(text)
    return got.code, got.reason


# --- divisions


@pytest.mark.parametrize(
    ("text", "code", "level", "reason"),
    [
        ("上海市", "310000", Level.CITY, "city"),
        ("上海市徐汇区", "310104", Level.DISTRICT, "district"),
        ("上海徐汇区天钥桥路", "310104", Level.DISTRICT, "district"),
        ("浦东张江路", "310115", Level.DISTRICT, "district"),
        ("闸北区共和新路3088弄5号楼", "310106", Level.DISTRICT, "district"),
        ("南汇新场镇", "310115133", Level.SUBDISTRICT, "street"),
        ("天平路街道", "310104003", Level.SUBDISTRICT, "street"),
        ("崇明县向化镇卫星村永春一队", "310151106209", Level.COMMUNITY, "village"),
        ("上海市徐汇区北京东路1号", "310104", Level.DISTRICT, "district"),
        ("浦东新区某某新村（三林镇附近）", "310115", Level.DISTRICT, "district"),
    ],
)
def test_text_resolves_to_the_smallest_division_it_names(text: str, code: str, level: Level, reason: str) -> None:
    got = SHANGHAI.resolve(text)
    assert (got.code, got.level, got.reason) == (code, level, reason)
    assert got.confidence >= SURE and (got.lon, got.lat) == (None, None)


def test_the_city_comes_back_by_the_code_that_the_library_was_given() -> None:
    assert AddressLibrary.load("310100").resolve("上海市").code == "310100"
    assert HANGZHOU.resolve("浙江省杭州市").code == "330100"


def test_a_road_named_after_another_city_is_a_road() -> None:
    for text in ("北京东路1号", "浙江中路1号", "四川北路1468号", "江苏路1号", "广东路1号", "香港路1号"):
        assert SHANGHAI.resolve(text).reason != "other_city"


@pytest.mark.parametrize(
    "text",
    [
        "北京市朝阳区上海路3号",
        "北京朝阳区",
        "昆山市花桥镇",
        "江苏省",
        "我家的地址是江苏淮安清江浦区上海路111号",
        "杭州",
        "临安市雅观村",
    ],
)
def test_another_city_is_told_and_never_given_a_code(text: str) -> None:
    got = SHANGHAI.resolve(text)
    assert (got.code, got.level, got.reason) == (None, None, "other_city")
    assert got.matched and got.matched in text


def test_two_districts_resolve_to_what_they_share() -> None:
    assert _said(SHANGHAI, "徐汇区虹桥路1号，浦东新区世纪大道1号") == ("310000", "ambiguous")
    assert _said(SHANGHAI, "新泾镇、天山路街道") == ("310105", "ambiguous")
    assert _said(SHANGHAI, "上海市徐汇区虹桥路，北京市朝阳区") == (None, "ambiguous")
    assert _said(HANGZHOU, "杭州市江干区凤起东路") == ("330100", "city")  # divided among two in 2021


def test_two_numbered_roads_are_two_addresses() -> None:
    assert _said(SHANGHAI, "徐汇区虹桥路1号和肇嘉浜路2号") == ("310104", "ambiguous")
    assert _said(SHANGHAI, "肇嘉浜路2号、徐汇区虹桥路1号") == ("310000", "ambiguous")


def test_a_town_of_a_common_name_does_not_tell_its_district_alone() -> None:
    anyang = AddressLibrary.load("410500")
    assert _said(anyang, "安阳城关镇赵庄村") == ("410500", "city")
    assert _said(anyang, "汤阴县城关镇")[0] == "410523100"
    assert _said(anyang, "内黄县城关镇赵庄村") == (
        "410527",
        "district",
    )  # the table has none there: not a contradiction


@pytest.mark.parametrize("text", ["", "   ", "\n\t\u3000", "😀🚒", "——！？。", "\u200b\ufeff\u0000", "()【】"])
def test_text_without_words_is_empty(text: str) -> None:
    assert SHANGHAI.resolve(text) == Resolved(None, None, None, None, 1.0, "empty", "")


@pytest.mark.parametrize("text", ["门口有人吵架", "A座", "12号楼", "asdf", "𠀀𠀁", "\ud800"])
def test_text_that_names_no_place_is_unknown(text: str) -> None:
    got = SHANGHAI.resolve(text)
    assert (got.code, got.confidence, got.reason) in ((None, 0.0, "unknown"), (None, 1.0, "empty"))


@given(
    st.text(max_size=500)
    | st.lists(
        st.sampled_from(
            [
                "上海",
                "市",
                "徐汇区",
                "浦东",
                "北京",
                "虹桥路",
                "1号",
                "1265弄",
                "路口",
                "附近",
                "(",
                ")",
                "、",
                "镇",
                "😀",
                "村",
            ]
        ),
        max_size=60,
    ).map("".join)
)
@example("徐" * 100_000)
@example("上海市徐汇区虹桥路1号" * 10_000)
@example("（" * 100_000)
@example("\u0301" * 100_000)
@example("\ufdfa" * 100_000)
@settings(max_examples=400, deadline=None)
def test_any_text_gets_one_of_the_reasons_and_no_point_out_of_nowhere(text: str) -> None:
    got = SHANGHAI.resolve(text)
    assert got.reason in REASONS
    assert 0.0 <= got.confidence <= 1.0
    assert got.lon is None and got.lat is None
    assert (got.code is None) == (got.level is None)
    assert got.code is None or (got.code.startswith("31") and got.confidence >= SURE)
    assert got == SHANGHAI.resolve(text)


# --- points


def test_a_listed_number_gives_its_point_whatever_stands_around_it(tmp_path: Path) -> None:
    library = _library(tmp_path)
    assert len(library) == 9
    for text in (
        "徐汇区虹桥路1号",
        "上海市徐汇区虹桥路１号",
        "徐汇虹桥路1号3楼302室",
        "上海上海徐汇区中国上海徐汇区【虹桥路 1号】",
    ):
        got = library.resolve(text)
        assert (got.lon, got.lat, got.code) == (121.4351, 31.1957, "310104"), text
        assert got.reason in ("exact", "road_number") and got.confidence >= SURE


def test_a_number_that_is_not_listed_gets_no_point(tmp_path: Path) -> None:
    library = _library(tmp_path)
    for text in (
        "徐汇区虹桥路3号",
        "徐汇区虹桥路9号",
        "徐汇区虹桥路2号",
        "徐汇区虹桥路",
        "徐汇区虹桥路甲1号",
        "徐汇区番禺路1号",
    ):
        got = library.resolve(text)
        assert (got.lon, got.code) == (None, "310104"), text


def test_between_two_listed_numbers_of_one_side_is_their_division_without_a_point(tmp_path: Path) -> None:
    library = _library(tmp_path)
    got = library.resolve("虹桥路3号")
    assert (got.code, got.lon, got.reason) == ("310104", None, "road_number_between")
    assert library.resolve("虹桥路2号").reason != "road_number_between"  # the other side
    assert library.resolve("虹桥路555号").reason != "road_number_between"  # too far from both


def test_the_house_in_a_lane_is_looked_up_before_the_lane(tmp_path: Path) -> None:
    library = _library(tmp_path)
    house, lane = library.resolve("长宁区中山西路1265弄18号603室"), library.resolve("长宁区中山西路1265弄7号")
    assert (house.lon, house.code) == (121.4107, "310105010")
    assert (lane.lon, lane.code) == (121.4105, "310105010")
    assert lane.confidence < house.confidence


def test_a_road_of_two_districts_needs_the_district(tmp_path: Path) -> None:
    library = _library(tmp_path)
    assert library.resolve("黄浦区人民路8号").lon == 121.4905
    assert library.resolve("松江区人民路8号").lon == 121.2240
    got = library.resolve("人民路8号")
    assert (got.lon, got.code, got.reason) == (None, "310000", "ambiguous")


def test_a_listed_point_of_another_district_is_not_taken(tmp_path: Path) -> None:
    got = _library(tmp_path).resolve("浦东新区虹桥路1号")
    assert (got.lon, got.code, got.reason) == (None, "310115", "district")


def test_a_crossing_is_found_in_either_order(tmp_path: Path) -> None:
    library = _library(tmp_path)
    for text in ("四川北路海宁路路口", "海宁路近四川北路", "虹口区海宁路与四川北路交叉口"):
        got = library.resolve(text)
        assert (got.lon, got.code, got.reason) == (121.4811, "310109009", "exact"), text


def test_near_a_listed_place_is_not_at_it(tmp_path: Path) -> None:
    library = _library(tmp_path)
    assert library.resolve("人民广场").lon == 121.4737
    for text in ("人民广场附近", "黄浦区（虹桥路1号附近）", "虹桥路1号附近"):
        assert library.resolve(text).lon is None, text


def test_two_listed_addresses_in_one_text_give_no_point(tmp_path: Path) -> None:
    got = _library(tmp_path).resolve("徐汇区虹桥路1号、虹桥路5号")
    assert (got.lon, got.code, got.reason) == (None, "310104", "ambiguous")


def test_lines_without_a_code_get_that_of_their_point(tmp_path: Path) -> None:
    text = "road,number,lon,lat\n虹桥路,1号,121.4351,31.1957\n"
    assert _library(tmp_path, text, code_at=lambda lon, lat: "310104").resolve("虹桥路1号").code == "310104"
    assert _library(tmp_path, text).resolve("虹桥路1号").code == "310000"


@pytest.mark.parametrize(
    ("listed", "code"),
    [
        ("310104", "310104"),
        ("310104000000", "310104"),
        ("310104003000", "310104003"),
        ("310104003007", "310104003007"),
        ("310104003007001", "310104003007001"),
        ("310000", "310000"),
        ("310100000000", "310000"),
        ("31", "310000"),
    ],
)
def test_listed_codes_may_be_filled_with_zeros(tmp_path: Path, listed: str, code: str) -> None:
    library = _library(tmp_path, f"text,lon,lat,code\n外滩,121.49,31.24,{listed}\n")
    got = library.resolve("外滩")
    assert (got.code, got.lon) == (code, 121.49)
    assert got.level == {"310000": Level.CITY}.get(code, Level(min(5, len(code) // 3)))
    assert library.resolve("上海市外滩").lon == 121.49


def test_points_are_converted_to_wgs84(tmp_path: Path) -> None:
    text = "text,lon,lat,datum\n人民广场,121.4737,31.2304,GCJ-02\n外滩,121.4900,31.2400,\n"
    library = _library(tmp_path, text, default_datum=Datum.BD09)
    got, other = library.resolve("人民广场"), library.resolve("外滩")
    assert (got.lon, got.lat) == convert(121.4737, 31.2304, Datum.GCJ02, Datum.WGS84)
    assert (other.lon, other.lat) == convert(121.49, 31.24, Datum.BD09, Datum.WGS84)


def test_a_city_abroad_has_its_listed_addresses_only(tmp_path: Path) -> None:
    library = _library(tmp_path, "text,lon,lat,code\n1 City Hall Sq,-71.0587,42.3594,D1\n", city="boston")
    got = library.resolve("1  City Hall SQ")
    assert (got.lon, got.code, got.reason) == (-71.0587, "D1", "exact")
    assert library.resolve("上海市徐汇区").reason == "unknown"
    library = _library(
        tmp_path, "text,lon,lat,code\nA,-71.05,42.35,D12\nA,-71.15,42.35,D13\nB,-71.05,42.35,\n", city="boston"
    )
    assert library.resolve("A") == Resolved(None, None, None, None, 0.9, "ambiguous", "a")
    assert (library.resolve("b").code, library.resolve("b").level) == ("boston", Level.CITY)


def test_every_problem_of_a_list_is_named_with_its_line(tmp_path: Path) -> None:
    assert _problems(
        tmp_path,
        "text,road,number,lon,lat,code,datum\n"
        "徐汇区虹桥路1号,,,x,31.2,,\n"
        ",,,121.4,31.2,,\n"
        "人民广场,虹桥路,1号,121.4,31.2,,\n"
        "外滩,,,31.2,121.4,,\n"
        "豫园,,,0,0,,\n"
        "城隍庙,,,nan,1_0,,\n"
        "徐汇区豫园,,,121.4,31.2,310101,\n"
        "天安门,,,121.4,31.2,110101,\n"
        "北京市天安门,,,121.4,31.2,,\n"
        "上海市徐汇区,,,121.4,31.2,,\n"
        "龙华寺,,,121.4,31.2,,MARS\n"
        "静安公园,,,121.4,31.2,310106,\n"
        "静安公园,,,121.5,31.2,310106,\n"
        "龙华寺,,,121.4\n",
    ) == [
        "15: 4 fields where the header has 7",
        "2: lon: expected a number of degrees, got 'x'",
        "3: expected text, or road with a number, got neither",
        "4: expected either text or road and number, got both",
        "5: lat: expected -90 to 90 degrees, got 121.4; lon and lat look swapped",
        "6: lon=0, lat=0 is written when the place is not known; leave the line out",
        "7: lon: expected a number of degrees, got 'nan'",
        "7: lat: expected a number of degrees, got '1_0'",
        "9: code: '110101' is not in this city, whose codes begin with 31",
        "12: datum: 'MARS' is unknown; choose WGS-84, CGCS2000, GCJ-02 or BD-09",
        "8: code 310101 contradicts the text, which names division 310104",
        "10: '北京市天安门' is in another city",
        "11: '上海市徐汇区' names no place inside a division",
        "14: '静安公园' stands at another place in line 13: lon=121.400000, lat=31.200000 there, "
        "lon=121.500000, lat=31.200000 here",
    ]  # fmt: skip


def test_repeats_and_places_outside_the_grid_are_warned_of(tmp_path: Path) -> None:
    text = "text,lon,lat,owner\n外滩,121.49,31.24,x\n外滩,121.4901,31.24,x\n天涯,110.0,18.0,x\n"
    library = _library(tmp_path, text, grid=GRID)
    assert len(library) == 2
    assert len(library.warnings) == 3
    for warning, part in zip(
        library.warnings, ("'owner' is not used", "outside the city's grid", "repeats line 2"), strict=True
    ):
        assert part in warning
    assert library.resolve("外滩").lon == 121.49


def test_a_list_that_cannot_be_read_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "addresses.csv"
    path.write_bytes("text,lon,lat\n外滩,121,31\n".encode("gbk"))
    with pytest.raises(SettingsError, match="not UTF-8"):
        AddressLibrary.load("310000", path)
    with pytest.raises(SettingsError, match="cannot be read"):
        AddressLibrary.load("310000", tmp_path / "none.csv")
