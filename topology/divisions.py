"""Administrative divisions of China: codes, names, abbreviations, and the names of districts that are no more.

A code nests by its digits: province 2, city 4, district or county 6, subdistrict or town 9, community or village 12.
So a parent is a prefix (GB/T 2260 and the National Bureau of Statistics' statistical codes, as of 2023-06-30; origin
and licence of the tables are in the folder `divisions` beside this file). Communities are shipped for Shanghai and
Hangzhou only.

Tables are read once, when first asked for. Nothing here knows of coordinates.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("divisions")
MUNICIPALITIES: Final = frozenset({"11", "12", "31", "50"})
"""Provinces that are one city (直辖市): their "cities" are a formality of the code."""
OUTSIDE_THE_TABLES: Final = {"71": "台湾省", "81": "香港特别行政区", "82": "澳门特别行政区"}
"""Province-level names that the statistical codes leave out; GB/T 2260 has them."""

PROVINCE_DIGITS: Final = 2
CITY_DIGITS: Final = 4
DISTRICT_DIGITS: Final = 6
STREET_DIGITS: Final = 9
COMMUNITY_DIGITS: Final = 12

_NATIONS: Final = (
    "蒙古族|蒙古|回族|藏族|维吾尔族|维吾尔|苗族|彝族|壮族|布依族|朝鲜族|满族|侗族|瑶族|白族|土家族|哈尼族|哈萨克族|哈萨克|"
    "傣族|黎族|傈僳族|佤族|畲族|高山族|拉祜族|水族|东乡族|纳西族|景颇族|柯尔克孜族|柯尔克孜|土族|达斡尔族|仫佬族|羌族|布朗族|"
    "撒拉族|毛南族|仡佬族|锡伯族|锡伯|阿昌族|普米族|塔吉克族|塔吉克|怒族|鄂温克族|鄂伦春|裕固族|保安族|门巴族|独龙族|各族"
)
_AUTONOMOUS: Final = re.compile(rf"(?:{_NATIONS})*自治(?:区|州|县|旗)$")
_AUTONOMY: Final = re.compile(r"自治(?:区|州|县|旗)$")
_ENDINGS: Final = ("特别行政区", "地区", "新区", "林区", "省", "市", "盟", "区", "县", "旗")
_FORMALITIES: Final = frozenset({"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"})
_CHANGES: Final = {"区": "县市", "市": "县", "县": ""}
"""What the last character of a district's name used to be: a county becomes a city or a district, never the reverse."""


class Form(IntEnum):
    """How sure a name is by itself: the full name, an abbreviation, or the name of what has been merged or renamed."""

    FULL = 0
    SHORT = 1
    FORMER = 2


@dataclass(frozen=True, slots=True)
class Name:
    """One reading of a name: the division's code and the form the name has."""

    code: str
    form: Form


Names = Mapping[str, tuple[Name, ...]]


def home_prefix(city_code: str) -> str:
    """The digits that every code inside a city begins with: "31" for 310000 or 310100, "3301" for 330100.

    Raises ValueError for what is not the code of a city (or of a county-level city, which stays as it is).
    """
    if not (city_code.isascii() and city_code.isdigit()) or len(city_code) not in (2, 4, 6, 12):
        raise ValueError(f"expected the code of a city such as 310000 or 330100, got {city_code!r}")
    digits = city_code[:DISTRICT_DIGITS]
    while digits.endswith("00"):
        digits = digits[:-2]
    if digits[:PROVINCE_DIGITS] in MUNICIPALITIES and len(digits) <= CITY_DIGITS:
        return digits[:PROVINCE_DIGITS]
    return digits


def common_prefix(codes: list[str] | set[str] | frozenset[str]) -> str:
    """The smallest division that contains all of these; "" when they share not even the province."""
    first, last = min(codes), max(codes)
    for digits in (COMMUNITY_DIGITS, STREET_DIGITS, DISTRICT_DIGITS, CITY_DIGITS, PROVINCE_DIGITS):
        if len(first) >= digits and first[:digits] == last[:digits]:
            return first[:digits]
    return ""


@cache
def area_names() -> Names:
    """Every province, city and district of the country by each of its names; the likelier readings first."""
    readings: dict[str, list[Name]] = {}
    table = dict(_rows("areas.csv.gz"))
    real = set(table.values())
    for code, name in [*table.items(), *OUTSIDE_THE_TABLES.items()]:
        if name in _FORMALITIES or (len(code) == DISTRICT_DIGITS and table.get(code[:CITY_DIGITS]) == name):
            continue  # 东莞市 and a few more have no districts: the table repeats the city in their place
        _add(readings, name, Name(code, Form.FULL))
        stem = short_name(name)
        if stem != name and not _means_more(stem, code, table):
            _add(readings, stem, Name(code, Form.SHORT))
        if len(code) == DISTRICT_DIGITS and len(name) > 2:
            for before in _changed(name):
                if before not in real:
                    _add(readings, before, Name(code, Form.FORMER))
    _add(readings, "内蒙", Name("15", Form.SHORT))
    for name, codes in _former():
        for code in codes:
            _add(readings, name, Name(code, Form.FORMER))
        if len(codes) == 1 and len(name) > 2 and name[:-1] not in readings:  # 上海县 does not make 上海 a district
            _add(readings, name[:-1], Name(codes[0], Form.FORMER))
    return {name: tuple(sorted(found, key=lambda one: (one.form, one.code))) for name, found in readings.items()}


def full_name(code: str) -> str | None:
    """The name of a province, city or district."""
    return _area_table().get(code) or OUTSIDE_THE_TABLES.get(code)


def short_name(name: str) -> str:
    """上海市 -> 上海, 浦东新区 -> 浦东, 黔南布依族苗族自治州 -> 黔南; a name that would lose too much stays."""
    stem = _AUTONOMOUS.sub("", name)
    if len(stem) < 2:  # 内蒙古 is not what is left of the Mongols
        stem = _AUTONOMY.sub("", name)
    if stem == name:
        for ending in _ENDINGS:
            if name.endswith(ending):
                stem = name[: -len(ending)]
                break
    return stem if len(stem) >= 2 else name


def streets_of(prefix: str) -> Iterator[tuple[str, str]]:
    """(code of 9 digits, name) of every subdistrict and town whose code begins so."""
    return _starting_with(_streets(), prefix)


def streets_called(name: str) -> int:
    """How many subdistricts and towns of the country have this name: 88 are called 城关镇."""
    return _street_names()[name]


def is_zone(code: str) -> bool:
    """Whether a district of the table is a development zone that only the statistical office counts as one.

    Their land is by law part of ordinary districts, so a text may name the one or the other.
    """
    return len(code) >= DISTRICT_DIGITS and code[CITY_DIGITS] == "7"


def communities_of(prefix: str) -> Iterator[tuple[str, str]]:
    """(code of 12 digits, name) of every community and village whose code begins so; none where none are shipped."""
    return _starting_with(_communities(), prefix) if prefix[:2] in ("31", "33") else iter(())


def _starting_with(table: list[tuple[str, str]], prefix: str) -> Iterator[tuple[str, str]]:
    for row in range(bisect_left(table, (prefix, "")), len(table)):
        if not table[row][0].startswith(prefix):
            return
        yield table[row]


def _means_more(stem: str, code: str, table: Mapping[str, str]) -> bool:
    """Whether a district's abbreviation reads rather as the city (南昌 for 南昌县) or its middle (市中 for 市中区)."""
    if len(code) < DISTRICT_DIGITS:
        return False
    return stem.startswith("市") or stem == short_name(table.get(code[:CITY_DIGITS], ""))


def _changed(name: str) -> list[str]:
    """What a district may have been called before, or is called by those who leave out 新."""
    if name.endswith("新区"):
        return [name[:-2] + "区"]
    return [name[:-1] + ending for ending in _CHANGES.get(name[-1], "")]


def _add(readings: dict[str, list[Name]], name: str, reading: Name) -> None:
    found = readings.setdefault(name, [])
    if all(one.code != reading.code for one in found):
        found.append(reading)


@cache
def _area_table() -> dict[str, str]:
    return {code: name for code, name in _rows("areas.csv.gz") if name not in _FORMALITIES}


@cache
def _streets() -> list[tuple[str, str]]:
    return _rows("streets.csv.gz")


@cache
def _street_names() -> Counter[str]:
    return Counter(name for _, name in _streets())


@cache
def _communities() -> list[tuple[str, str]]:
    return _rows("communities.csv.gz")


def _rows(file: str) -> list[tuple[str, str]]:
    """(code, name), in order of codes."""
    with gzip.open(FOLDER / file, "rt", encoding="utf-8", newline="") as lines:
        return [(code, name) for code, name in csv.reader(lines)][1:]


def _former() -> Iterator[tuple[str, list[str]]]:
    text = (FOLDER / "former.csv").read_text("utf-8")
    lines = io.StringIO("".join(line + "\n" for line in text.splitlines() if not line.startswith("#")))
    for row in csv.DictReader(lines):
        yield row["name"], row["codes"].split(";")
