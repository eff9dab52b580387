"""Road and number -> district, learnt from addresses that name their district.

A text that names no district may still say where it is: 虹漕路461号 is in 徐汇 when others on 虹漕路 say so. One
road often runs through several districts, so the nearest known number decides, and how near it is says how sure that
is. `CONFIDENCE` was fitted to public addresses (see the folder `divisions`): within the nine tenths that the table is
learnt from, each of ten parts was judged by the other nine, and a case's confidence is (right + 1) / (judged + 2). The
tenth that was held back checks it: `python -m benchmarks.addresses` prints both.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

SHIPPED: Final = Path(__file__).with_name("divisions") / "roads.csv.gz"
NEAR: Final = 100
FAR: Final = 300
"""House numbers, not metres."""

CONFIDENCE: Final[dict[str, float]] = {
    "same_number": 0.98,
    "near_number": 0.97,
    "far_number": 0.96,
    "farther_number": 0.82,
    "road_of_one": 0.87,
    "road_of_two": 0.95,
    "road_of_many": 0.97,
    "road_of_several_districts": 0.63,
}
"""By case; see `RoadDistricts.judge`."""


class Known(NamedTuple):
    """One address that names its district: the road, its number if it has one, the district's code."""

    road: str
    number: int | None
    district: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The likeliest district, how sure that is, and by which case of `CONFIDENCE`."""

    district: str
    confidence: float
    case: str


class RoadDistricts:
    """What is known of the roads of one city. Made once; `judge` is pure."""

    def __init__(self, known: Iterable[Known] = ()) -> None:
        self._numbers: dict[str, list[tuple[int, str]]] = {}
        self._districts: dict[str, Counter[str]] = {}
        for road, number, district in known:
            self._districts.setdefault(road, Counter())[district] += 1
            if number is not None:
                self._numbers.setdefault(road, []).append((number, district))
        for numbers in self._numbers.values():
            numbers.sort()

    @classmethod
    def shipped(cls, home: str, more: Iterable[Known] = ()) -> RoadDistricts:
        """The table that comes with the package, for the city whose codes begin with `home`, and what else is known."""
        return cls([*_shipped().get(home, ()), *more])

    def __len__(self) -> int:
        return len(self._districts)

    def judge(self, road: str, number: int | None) -> Verdict | None:
        """None for a road that is not known.

        With a number, the district of the nearest known number counts: the same number, up to `NEAR` or `FAR` numbers
        away, or farther. Without, or where no number is known, the road itself counts, by how many addresses know it.
        """
        districts = self._districts.get(road)
        if districts is None:
            return None
        numbers = self._numbers.get(road)
        if number is not None and numbers is not None:
            district, distance = _nearest(numbers, number)
            if district is None:
                district, case = self._commonest(road), "road_of_several_districts"
            elif distance == 0:
                case = "same_number"
            elif distance <= NEAR:
                case = "near_number"
            else:
                case = "far_number" if distance <= FAR else "farther_number"
        else:
            district = self._commonest(road)
            if len(districts) > 1:
                case = "road_of_several_districts"
            else:
                case = ("road_of_one", "road_of_two", "road_of_many")[min(districts[district], 3) - 1]
        return Verdict(district, CONFIDENCE[case], case)

    def _commonest(self, road: str) -> str:
        districts = self._districts[road]
        return min(districts, key=lambda code: (-districts[code], code))

    def districts(self, road: str) -> frozenset[str]:
        """Every district that the road is known in."""
        return frozenset(self._districts.get(road, ()))


@cache
def _shipped() -> dict[str, list[Known]]:
    cities: dict[str, list[Known]] = {}
    for city, known in read_known(SHIPPED):
        cities.setdefault(city, []).append(known)
    return cities


def read_known(path: Path) -> Iterator[tuple[str, Known]]:
    """(home prefix of the city, what is known) of each line of a table in the form of the shipped one."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        for city, road, number, district in rows:
            yield city, Known(road, int(number) if number else None, district)


def _nearest(numbers: list[tuple[int, str]], number: int) -> tuple[str | None, int]:
    """(district, distance in numbers) of the nearest known number; no district when equally near ones disagree."""
    at = bisect_left(numbers, (number, ""))
    distance = min(abs(numbers[row][0] - number) for row in (at - 1, at) if 0 <= row < len(numbers))
    first = bisect_left(numbers, (number - distance, ""))
    last = bisect_left(numbers, (number + distance + 1, ""))
    votes = {district for found, district in numbers[first:last] if abs(found - number) == distance}
    return (votes.pop() if len(votes) == 1 else None), distance
