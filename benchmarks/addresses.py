"""How often the address library is right, and what its confidence is worth.

Question: given address text, does a city's library name the right district and street, and how often does it refuse?
Data:     13,438 public addresses (`addresses_cn`); those whose beginning names their district are labelled with it by
          a second, plainer reading (`address_truth.py`). One tenth, by hash of the text, is held back.
Asked:    each held-back text to the library of its own city, four times: as written; without the district's name;
          without district and city; and what is written after the first naming of the district, without the district.
          Where a text still names its street, the street must be right as well. Texts that name a second district
          besides are asked only as they are written. And texts of other cities to the libraries of three cities:
          the answer must not be a place there.
Check:    the library's table of roads must be what the nine tenths teach, no more; else no figure is printed, status 1.

    python -m benchmarks.addresses --data-dir /path/to/data --json
    python -m benchmarks.addresses --data-dir /path/to/data --write-roads topology/divisions/roads.csv.gz

Reading it: `right`, `wrong` are shares of all; `coarse` named the city only; `refused` named nothing. `confidence` has
one line for each band: how often a district named with so much confidence was the right one. `fit` is how the
confidences of `topology.road_districts` come from the nine tenths; `resolve_us` is CPU time a text. Part of what counts
as wrong is history: the texts are some ten years old, the divisions of 2023, and towns have changed their district.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.address_truth import (
    HELD_BACK_OF,
    Labelled,
    labelled_of,
    names_of,
    read_labelled,
    street_in,
    without,
)
from topology.address_text import DivisionReader, clean, roads_of
from topology.addresses import AddressLibrary, Resolved
from topology.divisions import DISTRICT_DIGITS, STREET_DIGITS, full_name, short_name
from topology.road_districts import CONFIDENCE, SHIPPED, Known, RoadDistricts, read_known

BANDS = (0.0, 0.9, 0.95, 0.97, 1.01)
STRANGERS = ("31", "11", "3301")
"""Cities whose libraries are shown the addresses of all others."""
SPEED_ROUNDS = 10
console = Console(stderr=True)

Ask = Callable[[Labelled], str]


@dataclass(slots=True)
class Score:
    """Outcomes of one way of asking."""

    asked: int = 0
    right: int = 0
    wrong: int = 0
    coarse: int = 0
    refused: int = 0
    streets_asked: int = 0
    streets_right: int = 0
    streets_wrong: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    wrong_texts: list[str] = field(default_factory=list)
    bands: dict[float, list[int]] = field(default_factory=lambda: {low: [0, 0] for low in BANDS[:-1]})

    def add(self, one: Labelled, asked: str, street: str | None, got: Resolved) -> None:
        self.asked += 1
        self.reasons[got.reason] += 1
        if got.code is None:
            self.refused += 1
        elif len(got.code.rstrip("0")) <= len(one.city) and got.code.startswith(one.city):
            self.coarse += 1
        else:
            is_right = got.code[:DISTRICT_DIGITS] == one.district
            self.right += is_right
            self.wrong += not is_right
            band = self.bands[max(low for low in BANDS[:-1] if low <= got.confidence)]
            band[0] += is_right
            band[1] += 1
            if not is_right:
                self.wrong_texts.append(f"{asked} -> {got.code} {got.reason} {got.matched}, not {one.district}")
        if street is not None:
            self.streets_asked += 1
            if got.code is not None and len(got.code) >= STREET_DIGITS:
                self.streets_right += got.code[:STREET_DIGITS] == street
                self.streets_wrong += got.code[:STREET_DIGITS] != street

    def summary(self) -> dict[str, object]:
        def share(count: int, of: int) -> float | None:
            return round(count / of, 4) if of else None

        return {
            "asked": self.asked,
            "right": share(self.right, self.asked),
            "wrong": share(self.wrong, self.asked),
            "coarse": share(self.coarse, self.asked),
            "refused": share(self.refused, self.asked),
            "right_of_named": share(self.right, self.right + self.wrong),
            "streets_asked": self.streets_asked,
            "streets_right": share(self.streets_right, self.streets_asked),
            "streets_wrong": share(self.streets_wrong, self.streets_asked),
            "reasons": dict(self.reasons.most_common()),
            "confidence": {
                f"{low:.2f}": {"named": band[1], "right": share(band[0], band[1])} for low, band in self.bands.items()
            },
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder that has addresses_cn")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--wrong", action="store_true", help="list what was answered wrongly")
    parser.add_argument(
        "--write-roads", type=Path, help="write the table of roads that the nine tenths teach, and stop"
    )
    given = parser.parse_args()
    texts, total = read_labelled(given.data_dir)
    if not texts:
        console.print(f"[red]no text of the {total} names its district at its beginning[/red]")
        return 1
    taught = sorted(known_roads(labelled_of(texts, held_back=False)), key=_order)
    if given.write_roads is not None:
        write_roads(given.write_roads, taught)
        console.print(f"{len(taught)} lines written to {given.write_roads}")
        return 0
    if taught != sorted(read_known(SHIPPED), key=_order):
        console.print("[red]the shipped table of roads is not what the nine tenths teach: write it anew[/red]")
        return 1
    result = run(texts, total, given.wrong)
    if given.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        show(result)
    return 0


def run(texts: list[Labelled], total: int, list_wrong: bool) -> dict[str, object]:
    """Everything that is measured; see the module."""
    held_back = list(labelled_of(texts, held_back=True))
    libraries = {city: AddressLibrary.load(city.ljust(6, "0")) for city in {one.city for one in held_back}}
    scores: dict[str, Score] = {}
    for name, ask in WAYS.items():
        score = scores[name] = Score()
        for one in held_back:
            if ask is _as_written or not one.names_another:
                asked = ask(one)
                score.add(one, asked, street_in(asked, one.district), libraries[one.city].resolve(asked))
        if list_wrong:
            for line in score.wrong_texts:
                console.print(f"{name}: {line}", highlight=False)
    shanghai = AddressLibrary.load("310000")
    local = [ask(one) for one in held_back if one.city == "31" for ask in WAYS.values()]
    began = time.process_time()
    for _ in range(SPEED_ROUNDS):
        for text in local:
            shanghai.resolve(text)
    resolve_us = (time.process_time() - began) / max(1, SPEED_ROUNDS * len(local)) * 1e6
    return {
        "texts": total,
        "labelled": len(texts),
        "held_back": len(held_back),
        "roads_known": len({(city, one.road) for city, one in read_known(SHIPPED)}),
        "ways": {name: score.summary() for name, score in scores.items()},
        "shanghai_only": {name: _only(held_back, libraries, ask, "31") for name, ask in WAYS.items()},
        "strangers": {city: strangers(city, texts) for city in STRANGERS},
        "fit": fit(texts),
        "resolve_us": round(resolve_us, 1),
    }


def _only(held_back: list[Labelled], libraries: dict[str, AddressLibrary], ask: Ask, city: str) -> dict[str, object]:
    score = Score()
    for one in held_back:
        if one.city == city and (ask is _as_written or not one.names_another):
            asked = ask(one)
            score.add(one, asked, street_in(asked, one.district), libraries[city].resolve(asked))
    return score.summary()


def _as_written(one: Labelled) -> str:
    return one.text


def _city_and_rest(one: Labelled) -> str:
    """The city, then the rest without any naming of the district."""
    return (full_name(one.city) or "") + _rest(one)


def _rest_without_city(one: Labelled) -> str:
    name = full_name(one.city) or ""
    return without(_rest(one), [name, short_name(name) * 2])


def _rest(one: Labelled) -> str:
    return without(one.rest, names_of(one.district))


WAYS: dict[str, Ask] = {
    "as written": _as_written,
    "no district": _city_and_rest,
    "no district, no city": _rest_without_city,
    "after the district": _rest,
}


def strangers(city: str, texts: Iterable[Labelled]) -> dict[str, object]:
    """What a city's library says to the addresses of other cities, as they are written."""
    library = AddressLibrary.load(city.ljust(6, "0"))
    reasons: Counter[str] = Counter()
    placed = 0
    for one in texts:
        if one.city != city and not city.startswith(one.city):
            got = library.resolve(one.text)
            reasons[got.reason] += 1
            placed += got.code is not None
    total = sum(reasons.values())
    return {"asked": total, "placed_here": placed, "reasons": dict(reasons.most_common())}


def known_roads(texts: Iterable[Labelled]) -> Iterable[tuple[str, Known]]:
    """What labelled texts teach: (city, road with number and district)."""
    readers: dict[str, DivisionReader] = {}
    for one in texts:
        reader = readers.get(one.city)
        if reader is None:
            reader = readers[one.city] = DivisionReader(one.city)
        roads = roads_of(reader.read(clean(one.rest)))
        for road, number in {(r.name, r.number.main if r.number else None) for r in roads if not r.note}:
            yield one.city, Known(road, number, one.district)


def fit(texts: Iterable[Labelled]) -> dict[str, dict[str, float]]:
    """For each case of `RoadDistricts.judge`: how often it is right in the nine tenths, each judged by the others."""
    parts: dict[int, list[tuple[str, Known]]] = {
        part: list(known_roads([one for one in texts if one.part == part])) for part in range(1, HELD_BACK_OF)
    }
    outcomes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for part, asked in parts.items():
        cities: dict[str, list[Known]] = defaultdict(list)
        for other, known in parts.items():
            if other != part:
                for city, one in known:
                    cities[city].append(one)
        judges = {city: RoadDistricts(known) for city, known in cities.items()}
        for city, one in asked:
            verdict = judges[city].judge(one.road, one.number) if city in judges else None
            if verdict is not None:
                outcomes[verdict.case][0] += verdict.district == one.district
                outcomes[verdict.case][1] += 1
    return {
        case: {
            "judged": outcomes[case][1],
            "fitted": round((outcomes[case][0] + 1) / (outcomes[case][1] + 2), 3),
            "used": CONFIDENCE[case],
        }
        for case in CONFIDENCE
    }


def write_roads(path: Path, taught: Iterable[tuple[str, Known]]) -> None:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("city", "road", "number", "district"))
    writer.writerows((city, one.road, "" if one.number is None else one.number, one.district) for city, one in taught)
    path.write_bytes(gzip.compress(lines.getvalue().encode(), 9, mtime=0))


def _order(known: tuple[str, Known]) -> tuple[str, str, int, str]:
    city, one = known
    return city, one.road, -1 if one.number is None else one.number, one.district


def show(result: dict[str, object]) -> None:
    """The result for people."""
    console.print(
        f"{result['texts']} texts, {result['labelled']} labelled, {result['held_back']} held back, "
        f"{result['roads_known']} roads known; {result['resolve_us']} us a text"
    )
    ways = result["ways"]
    assert isinstance(ways, dict)
    columns = ("asked", "right", "wrong", "coarse", "refused", "streets_asked", "streets_right", "streets_wrong")
    table = Table("asked as", *(column.replace("_", " ") for column in columns))
    for name, score in ways.items():
        table.add_row(name, *(str(score[column]) for column in columns))
    console.print(table)
    table = Table("asked as", *(f"confidence >= {low:.2f}" for low in BANDS[:-1]))
    for name, score in ways.items():
        bands = score["confidence"].values()
        table.add_row(name, *(f"{band['right']} of {band['named']}" for band in bands))
    console.print(table)
    console.print("shanghai only:", result["shanghai_only"])
    console.print("texts of other cities:", result["strangers"])
    console.print("fit:", result["fit"])


if __name__ == "__main__":
    sys.exit(main())
