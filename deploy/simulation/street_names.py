"""Names of roads: some that exist, roughly where they are, and made-up ones between them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

SHANGHAI_ROADS: Final = Path(__file__).with_name("shanghai_roads.csv")

NUMBERS: Final = ("lon1", "lat1", "lon2", "lat2", "free_kmh")

FIRST: Final = "永松兴泰康和安宁广长福德嘉瑞庆文景清云梅竹荷柳枫桐海浦江河"
SECOND: Final = "乐平昌盛源丰华顺明阳春秋桥塘泾园林田溪湾台城新康泰和义仁"
ENDS: Final = ("路", "路", "路", "街", "支路")


@dataclass(frozen=True, slots=True)
class Road:
    """A straight road from (lon1, lat1) to (lon2, lat2), WGS-84."""

    name: str
    lon1: float
    lat1: float
    lon2: float
    lat2: float
    lanes: int
    free_kmh: float


def known_roads() -> Iterator[Road]:
    with SHANGHAI_ROADS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            lon1, lat1, lon2, lat2, free_kmh = (float(row[column]) for column in NUMBERS)
            yield Road(row["name"], lon1, lat1, lon2, lat2, int(row["lanes"]), free_kmh)


def made_up_names(chance: np.random.Generator, count: int) -> list[str]:
    """Different names, none of a known road: all of them end in 路, 街 or 支路 after two characters of the pool."""
    taken = {road.name for road in known_roads()}
    stems = [a + b for a in FIRST for b in SECOND if a != b]
    chance.shuffle(stems)
    names: list[str] = []
    number = 0
    while len(names) < count:
        stem, round_ = stems[number % len(stems)], number // len(stems)
        end = ENDS[int(chance.integers(len(ENDS)))]
        name = stem + ("", "东", "西", "南", "北", "中")[round_ % 6] + end
        if name not in taken:
            taken.add(name)
            names.append(name)
        number += 1
    return names
