"""Listed addresses by what can be asked for: a road and number, a crossing of two roads, a name.

Only places that the city's own list has; nothing is computed between them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from math import hypot
from pathlib import Path
from typing import Final

from topology.address_file import ListedAddress
from topology.address_text import CUT, DivisionReader, Reading, Road, clean, roads_of
from topology.city_table import FileReport
from topology.divisions import common_prefix
from topology.grid import metres_per_degree
from topology.road_districts import Known

SAME_PLACE_M: Final = 100.0
"""Listed places of one address no further apart than a cell are one place; the first listed counts."""
MAX_NUMBERS_BETWEEN: Final = 100
"""Two listed numbers further apart say nothing about one between them: the road may run through another district."""

_PUNCTUATION: Final = str.maketrans("", "", CUT + ",;、。/:()[]【】-—#~+.&_")

NumberKey = tuple[str, int, str, int | None]


class Fit(Enum):
    """How a text met the list."""

    NAME = "exact"
    NUMBER = "road_number"
    LANE = "lane"  # the lane is listed, the house inside it is not
    CROSSING = "crossing"
    BETWEEN = "road_number_between"


@dataclass(frozen=True, slots=True)
class Hit:
    """What was found: one place, or a code without a place (`place` None: several, or a number between two)."""

    fit: Fit
    place: ListedAddress | None
    code: str | None
    matched: str
    several: bool = False


class AddressPoints:
    """The list of one city. Made once; look-ups are pure."""

    def __init__(self, reader: DivisionReader | None) -> None:
        self._reader = reader
        self._names: dict[str, list[ListedAddress]] = {}
        self._numbers: dict[NumberKey, list[tuple[str, ListedAddress]]] = {}
        self._crossings: dict[frozenset[str], list[ListedAddress]] = {}
        self._roads: dict[tuple[str, int], list[tuple[int, str | None]]] = {}

    def __len__(self) -> int:
        return sum(len(places) for places in self._names.values())

    def fill(self, path: Path, listed: Iterable[ListedAddress], report: FileReport) -> None:
        """Add all addresses of a file. Contradictions between two lines, and inside one, go to the report."""
        for one in listed:
            reading = read_plain(one.name, self._reader)
            name = bare(reading)
            if not name:
                report.problem(path, one.line, f"{one.name[:40]!r} names no place inside a division")
                continue
            place = self._with_code(path, one, reading, report)
            if place is None or not _add(path, self._names.setdefault(name, []), place, report):
                continue
            roads = [road for road in roads_of(reading) if not road.note]
            numbered = [road for road in roads if road.number is not None]
            if len(numbered) == 1 and numbered[0].number is not None:
                number = numbered[0].number
                key = (numbered[0].name, number.main, number.mark, number.inside)
                self._numbers.setdefault(key, []).append((number.unit, place))
                if not number.mark and number.inside is None:
                    side = (numbered[0].name, number.main % 2)
                    self._roads.setdefault(side, []).append((number.main, place.code))
            elif len(roads) == 2 and not numbered:
                self._crossings.setdefault(frozenset(road.name for road in roads), []).append(place)
        for numbers in self._roads.values():
            numbers.sort(key=lambda pair: pair[0])

    def known(self, digits: int) -> Iterator[Known]:
        """What the list says of roads: of each numbered address the first `digits` of its code."""
        for (road, main, mark, inside), places in self._numbers.items():
            if not mark and inside is None:
                codes = {place.code[:digits] for _, place in places if place.code and len(place.code) >= digits}
                yield from (Known(road, main, code) for code in sorted(codes))

    def find(self, reading: Reading, roads: list[Road], inside: str) -> Hit | None:
        """The best hit for a text that lies in division `inside` ("" when it names none); None when there is none."""
        if not self._names:
            return None
        name = bare(reading)
        hit = self._hit(Fit.NAME, self._names.get(name), inside, name)
        if hit is not None:
            return hit
        plain = [road for road in roads if not road.note]
        for road in plain:
            if road.number is not None:
                hit = self._numbered(road, inside)
                if hit is not None:
                    return hit
        if len(plain) == 2 and not any(road.number for road in plain):
            pair = frozenset(road.name for road in plain)
            return self._hit(Fit.CROSSING, self._crossings.get(pair), inside, "".join(sorted(pair)))
        return None

    def _numbered(self, road: Road, inside: str) -> Hit | None:
        number = road.number
        if number is None:
            return None
        matched = f"{road.name}{number}"
        if number.inside is not None:
            found = self._of_unit((road.name, number.main, number.mark, number.inside), number.unit)
            hit = self._hit(Fit.NUMBER, found, inside, f"{matched}{number.inside}号")
            if hit is not None:
                return hit
        found = self._of_unit((road.name, number.main, number.mark, None), number.unit)
        hit = self._hit(Fit.NUMBER if number.inside is None else Fit.LANE, found, inside, matched)
        if hit is not None or number.mark:
            return hit
        code = self._between(road.name, number.main, inside)
        return None if code is None else Hit(Fit.BETWEEN, None, code, matched)

    def _of_unit(self, key: NumberKey, unit: str) -> list[ListedAddress]:
        """Lanes and houses count on in one sequence, so a number without a unit means either."""
        return [place for listed, place in self._numbers.get(key, ()) if not unit or not listed or unit == listed]

    def _between(self, road: str, main: int, inside: str) -> str | None:
        """The division that holds the nearest listed numbers on both sides, both on this side of the road."""
        numbers = [pair for pair in self._roads.get((road, main % 2), ()) if _fits(pair[1], inside)]
        at = bisect_left(numbers, main, key=lambda pair: pair[0])
        if at == 0 or at == len(numbers) or numbers[at][0] - numbers[at - 1][0] > MAX_NUMBERS_BETWEEN:
            return None
        below, above = numbers[at - 1][1], numbers[at][1]
        if below is None or above is None:
            return None
        return self._shared({below, above})

    def _hit(self, fit: Fit, found: list[ListedAddress] | None, inside: str, matched: str) -> Hit | None:
        places = [place for place in found or () if _fits(place.code, inside)]
        if not places:
            return None
        first = places[0]
        if all(_metres(first, other) <= SAME_PLACE_M for other in places[1:]):
            return Hit(fit, first, first.code, matched)
        codes = {place.code for place in places}
        shared = None if None in codes else self._shared({code for code in codes if code is not None})
        return Hit(fit, None, shared, matched, several=True)

    def _shared(self, codes: set[str]) -> str | None:
        """What contains all of these; codes of a city abroad nest in no way that is known here."""
        if len(codes) == 1:
            return next(iter(codes))
        return None if self._reader is None else common_prefix(codes)

    def _with_code(self, path: Path, one: ListedAddress, reading: Reading, report: FileReport) -> ListedAddress | None:
        """The address with the finest code known for it: its own, or that of the divisions in its text."""
        if self._reader is None:
            return one
        told = [mention.code for mention in reading.mentions if mention.code]
        if not told:
            return one
        finest = max(told, key=len)
        if not self._reader.is_home(finest):
            report.problem(path, one.line, f"{one.name[:40]!r} is in another city")
            return None
        if one.code is None:
            return replace(one, code=finest) if len(finest) > len(self._reader.home) else one
        if not (one.code.startswith(finest) or finest.startswith(one.code)):
            report.problem(path, one.line, f"code {one.code} contradicts the text, which names division {finest}")
            return None
        return one if len(one.code) >= len(finest) else replace(one, code=finest)


def read_plain(text: str, reader: DivisionReader | None) -> Reading:
    """A text's reading; without a reader (a city abroad) it has no mentions."""
    cleaned = clean(text)
    return Reading(cleaned, (), cleaned) if reader is None else reader.read(cleaned)


def bare(reading: Reading) -> str:
    """What names the place: the text without divisions and punctuation, in lower case."""
    return reading.rest.translate(_PUNCTUATION).lower()


def _fits(code: str | None, inside: str) -> bool:
    return code is None or code.startswith(inside) or inside.startswith(code)


def _add(path: Path, places: list[ListedAddress], place: ListedAddress, report: FileReport) -> bool:
    """Keep a place of a name; the same name in another division is another place, in the same one a contradiction."""
    for other in places:
        if other.code == place.code:
            if _metres(other, place) <= SAME_PLACE_M:
                report.warn(path, place.line, f"{place.name[:40]!r} repeats line {other.line}; the first one counts")
            else:
                report.problem(
                    path,
                    place.line,
                    f"{place.name[:40]!r} stands at another place in line {other.line}: lon={other.lon:.6f}, "
                    f"lat={other.lat:.6f} there, lon={place.lon:.6f}, lat={place.lat:.6f} here",
                )
            return False
    places.append(place)
    return True


def _metres(one: ListedAddress, other: ListedAddress) -> float:
    """Distance on the plane at their latitude: exact enough for a few hundred metres."""
    per_lon, per_lat = metres_per_degree((one.lat + other.lat) / 2)
    return hypot((one.lon - other.lon) * per_lon, (one.lat - other.lat) * per_lat)
