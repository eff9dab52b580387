"""The address library (统一地址库): Chinese address text -> the smallest division it is sure of, and a listed point.

What it knows: the divisions of the country and this city's subdistricts and communities (`topology.divisions`), the
city's own list of addresses with points (`topology.address_file`), and which districts the city's roads run through
(`topology.road_districts`). A point is always one that the list has: the library
never computes one. A wrong district sends the wrong people, so what is not sure goes to the next larger division.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology.address_file import read_addresses
from topology.address_points import AddressPoints, Fit, Hit
from topology.address_text import DivisionReader, Mention, Reading, Road, clean, is_beside, reader_for, roads_of
from topology.city_table import FileReport
from topology.divisions import (
    COMMUNITY_DIGITS,
    DISTRICT_DIGITS,
    STREET_DIGITS,
    Form,
    common_prefix,
    full_name,
    home_prefix,
)
from topology.grid import Grid
from topology.levels import Level
from topology.road_districts import RoadDistricts

SURE: Final = 0.9
"""A code with less confidence is given up for a larger division."""

_FULL_NAME: Final = 0.98
_SHORT_NAME: Final = 0.95
_TOWN_OF_A_NAME: Final = 0.95  # with its district not named and 6 to 10 of the name in the country
_RARE: Final = 5

# Confidences that were not fitted but set: there are no recorded addresses with points to fit them on.
_LISTED: Final = 0.98  # name, number and division agree with a listed address
_LISTED_WITHOUT_DIVISION: Final = 0.9  # a number on a road, and which district's road of that name is not said
_LANE: Final = 0.95  # the lane is listed, the house inside it not
_BETWEEN: Final = 0.92
_NEAR: Final = 0.9
_OTHER_CITY: Final = 0.95
_AMBIGUOUS: Final = 0.9


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an address text says.

    `reason` is one of: exact, road_number, road_number_between, road, village, street, district, city, other_city,
    ambiguous, empty, unknown. `matched` is a part of the caller's words, so it is as personal as they are.
    """

    code: str | None
    """The smallest division that is sure. None: not even the city is."""
    level: Level | None
    """None where `code` is, and for the codes of a city abroad, which do not tell it."""
    lon: float | None
    lat: float | None
    """WGS-84 degrees of a listed address; None when none is meant for certain."""
    confidence: float
    """0 to 1: that `code`, and the point if there is one, is right."""
    reason: str
    matched: str


class AddressLibrary:
    """The addresses of one city. Made once; `resolve` is pure and may run in several threads."""

    def __init__(
        self, city_code: str, reader: DivisionReader | None, points: AddressPoints, roads: RoadDistricts
    ) -> None:
        self.city_code: Final = city_code
        self.warnings: tuple[str, ...] = ()
        self._reader = reader
        self._home = reader.home if reader is not None else ""
        self._points = points
        self._roads = roads

    @classmethod
    def load(
        cls,
        city_code: str,
        path: Path | None = None,
        *,
        default_datum: Datum = Datum.WGS84,
        grid: Grid | None = None,
        code_at: Callable[[float, float], str | None] | None = None,
    ) -> AddressLibrary:
        """The library of a city; `path` is its addresses.csv, if it has one.

        `default_datum` is that of lines that name none, `grid` serves to warn of places outside, `code_at` (lon, lat ->
        code) fills in the codes of lines that give none. A city that is none of China's has listed addresses only.
        Raises SettingsError with every problem of the file, each with its line.
        """
        home = _home_of(city_code)
        reader = None if home is None else reader_for(home)
        points = AddressPoints(reader)
        report = FileReport()
        if path is not None:
            listed = read_addresses(path, home, default_datum, grid, report)
            if code_at is not None:
                listed = [one if one.code else replace(one, code=code_at(one.lon, one.lat)) for one in listed]
            if home is not None:
                listed = [replace(one, code=_inner(one.code, home)) for one in listed]
            points.fill(path, listed, report)
        if report.problems:
            raise SettingsError(report.all_problems())
        library = cls(city_code, reader, points, RoadDistricts.shipped(home or "", points.known(DISTRICT_DIGITS)))
        library.warnings = tuple(report.warnings)
        return library

    def __len__(self) -> int:
        """How many addresses the city's own list has."""
        return len(self._points)

    def resolve(self, text: str) -> Resolved:
        """Never raises, whatever the text; the work is bounded by `address_text.MAX_CHARS`."""
        cleaned = clean(text)
        if not any(char.isalnum() for char in cleaned):
            return Resolved(None, None, None, None, 1.0, "empty", "")
        reading = Reading(cleaned, (), cleaned) if self._reader is None else self._reader.read(cleaned)
        roads = roads_of(reading)
        said, abroad, conflict = self._said(reading)
        if abroad is not None:
            matched = cleaned[abroad.start : abroad.end]
            if said is None:
                return Resolved(None, None, None, None, _OTHER_CITY, "other_city", matched)
            return Resolved(None, None, None, None, _AMBIGUOUS, "ambiguous", matched)
        if conflict is not None:
            return self._division(conflict, _AMBIGUOUS, "ambiguous", cleaned)
        inside = "" if said is None else said.code
        if _two_addresses(roads):
            both = said is not None and said.start < roads[0].start  # a division named later holds for the second alone
            return self._division((inside if both else self._home) or None, _AMBIGUOUS, "ambiguous", cleaned)
        hit = self._points.find(reading, roads, inside)
        if hit is not None:
            return self._listed(hit, inside)
        if len(inside) < DISTRICT_DIGITS or inside == self._home:
            by_road = self._by_road(roads)
            if by_road is not None:
                return by_road
        if said is not None:
            return self._by_name(said, cleaned)
        return Resolved(None, None, None, None, 0.0, "unknown", "")

    def _said(self, reading: Reading) -> tuple[Mention | None, Mention | None, str | None]:
        """(the finest division of this city that is named, another city that is named, what two divisions share)."""
        home: list[Mention] = []
        abroad: Mention | None = None
        counts = False  # a lone 海港区 after a district of this city is not another address
        beside: list[Mention] = []
        for mention in reading.mentions:
            if not mention.code:
                continue
            if not mention.code.startswith(self._home):
                if not self._home.startswith(mention.code) and not is_beside(reading, mention):
                    abroad = abroad or mention
                    counts = counts or mention.placed or not home
            elif is_beside(reading, mention):
                beside.append(mention)
            else:
                home.append(mention)
        if not home:
            home = [replace(one, code=one.code[: max(DISTRICT_DIGITS, len(self._home))]) for one in beside]
        if not home:
            return None, abroad, None
        if not counts:
            abroad = None
        strong = [one for one in home if not one.is_weak]
        if not strong:
            return replace(home[0], code=self._home), abroad, None
        finest = max(strong, key=lambda one: len(one.code))
        if not all(finest.code.startswith(one.code) for one in strong):
            return finest, abroad, common_prefix({one.code for one in strong})
        for one in home:  # a village, or a town of a common name, counts only inside what is named besides
            inside = len(finest.code) >= DISTRICT_DIGITS and one.code.startswith(finest.code)
            if inside and len(one.code) > len(finest.code):
                finest = replace(one, alike=finest.alike)
        return finest, abroad, None

    def _by_name(self, said: Mention, cleaned: str) -> Resolved:
        digits = len(said.code)
        confidence = _FULL_NAME if said.form is Form.FULL else _SHORT_NAME
        if said.alike > _RARE:
            confidence = _TOWN_OF_A_NAME
        matched = cleaned[said.start : said.end]
        if digits <= len(self._home):
            return self._division(self._home, confidence, "city", matched)
        if digits >= COMMUNITY_DIGITS:
            return self._division(said.code, confidence, "village", matched)
        return self._division(said.code, confidence, "street" if digits >= STREET_DIGITS else "district", matched)

    def _by_road(self, roads: list[Road]) -> Resolved | None:
        """The district that the roads of a text are known to lie in, when that is sure."""
        plain = [road for road in roads if not road.note]
        judged = [(road, self._roads.judge(road.name, road.number.main if road.number else None)) for road in plain]
        known = [(road, verdict) for road, verdict in judged if verdict is not None]
        if not known:
            return None
        road, best = max(known, key=lambda pair: pair[1].confidence)
        matched = f"{road.name}{road.number or ''}"
        if best.confidence >= SURE and all(verdict.district == best.district for _, verdict in known):
            return self._division(best.district, best.confidence, "road", matched)
        if len({code for one, _ in known for code in self._roads.districts(one.name)}) > 1:
            return self._division(self._home, _AMBIGUOUS, "ambiguous", matched)
        return None

    def _listed(self, hit: Hit, inside: str) -> Resolved:
        code = hit.code if hit.code is not None and len(hit.code) >= len(inside) else inside or None
        if hit.several:
            return self._division(code or self._home or None, _AMBIGUOUS, "ambiguous", hit.matched)
        if hit.place is None:
            return self._division(code, _BETWEEN, Fit.BETWEEN.value, hit.matched)
        confidence = _LISTED if hit.fit in (Fit.NAME, Fit.CROSSING) or inside else _LISTED_WITHOUT_DIVISION
        if hit.fit is Fit.LANE:
            confidence = min(confidence, _LANE)
        reason = "exact" if hit.fit in (Fit.NAME, Fit.CROSSING) else "road_number"
        found = self._division(code or self._home or self.city_code, confidence, reason, hit.matched)
        return replace(found, lon=hit.place.lon, lat=hit.place.lat)

    def _division(self, code: str | None, confidence: float, reason: str, matched: str) -> Resolved:
        if code is not None and self._reader is not None and len(code) < DISTRICT_DIGITS:
            code = self.city_code if code.startswith(self._home) else None
        return Resolved(code, self._level(code), None, None, confidence, reason, matched)

    def _level(self, code: str | None) -> Level | None:
        if code == self.city_code:
            return Level.CITY
        if code is None or self._reader is None:
            return None
        for digits, level in _LEVELS:
            if len(code) <= digits:
                return level
        return Level.UNIT


_LEVELS: Final = (
    (DISTRICT_DIGITS, Level.DISTRICT),
    (STREET_DIGITS, Level.SUBDISTRICT),
    (COMMUNITY_DIGITS, Level.COMMUNITY),
)


def _home_of(city_code: str) -> str | None:
    try:
        home = home_prefix(city_code)
    except ValueError:
        return None
    return home if full_name(home) is not None else None


def _inner(code: str | None, home: str) -> str | None:
    """A listed code without its filling zeros (310104000000); None for the city's own, which tells nothing."""
    if code is None or not (code.isascii() and code.isdecimal()):
        return code
    for digits in (DISTRICT_DIGITS, STREET_DIGITS):
        if len(code) == COMMUNITY_DIGITS and code[digits:].strip("0") == "":
            code = code[:digits]
    is_city = len(code) < DISTRICT_DIGITS or code[len(home) :] in ("", "00", "0000", "0100")
    return None if is_city else code


def _two_addresses(roads: list[Road]) -> bool:
    """Numbers on two roads: 虹桥路1号和肇嘉浜路2号."""
    return len({(road.name, road.number) for road in roads if road.number is not None and not road.note}) > 1
