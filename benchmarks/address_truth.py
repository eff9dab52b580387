"""What an address says by itself: a second, plainer reading that the library's answers are compared with.

Many of the sample's texts begin with their divisions in order (上海上海徐汇区..., 广东深圳宝安区..., 徐汇区...). This
reads that beginning and nothing else: province, city, district by their names, in this order, the first two also
abbreviated or left out. Texts for which that gives no single district are left out of the comparison. It shares the
table of names with the library, and no code.
"""

from __future__ import annotations

import gzip
import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from topology.divisions import MUNICIPALITIES, Form, area_names, full_name, short_name, streets_of

FILES = ("street_addresses.txt.gz", "company_addresses.txt.gz")
HELD_BACK_OF = 10


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text: its district by its own beginning, and what follows that beginning."""

    text: str
    source: str
    city: str  # the digits that codes of its city begin with
    district: str
    rest: str  # cleaned
    part: int  # 0 to 9 by hash of the text; part 0 is held back

    @property
    def names_another(self) -> bool:
        """Whether what follows names another district of the city: the text contradicts itself."""
        return any(name in self.rest for name in _other_names(self.city, self.district))

    @property
    def held_back(self) -> bool:
        return self.part == 0


def read_labelled(folder: Path) -> tuple[list[Labelled], int]:
    """(texts whose district is told, number of all texts)."""
    found: list[Labelled] = []
    total = 0
    for file in FILES:
        with gzip.open(folder / "addresses_cn" / file, "rt", encoding="utf-8") as lines:
            for line in lines:
                total += 1
                text = line.rstrip("\n")
                plain = plain_text(text)
                told = district_of(plain)
                if told is not None:
                    district, end = told
                    city = district[:2] if district[:2] in MUNICIPALITIES else district[:4]
                    if full_name(city) is None:
                        continue  # counties directly under a province are cities of their own, without districts
                    found.append(Labelled(text, file.split("_")[0], city, district, plain[end:], part_of(text)))
    return found, total


def part_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % HELD_BACK_OF


def plain_text(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def district_of(text: str) -> tuple[str, int] | None:
    """(district, where its name ends) that the beginning of a text names; None when none or several could be meant."""
    full, short = _by_form()
    readings: dict[str, tuple[int, bool]] = {}

    def follow(at: int, above: str) -> None:
        for length in range(2, 13):
            word = text[at : at + length]
            if len(word) < length:
                return
            for code in full.get(word, ()):
                if code.startswith(above) and len(code) == 6:
                    known = readings.get(code, (0, False))
                    readings[code] = (max(known[0], at + length), known[1] or bool(above))
                elif code.startswith(above) and len(code) > len(above):
                    follow(at + length, code)
            for code in short.get(word, ()):
                if code.startswith(above) and len(code) > len(above):
                    follow(at + length, code)

    start = 2 if text.startswith("中国") else 0
    for code in MUNICIPALITIES:
        twice = short_name(full_name(code) or "")
        if text.startswith(twice * 2, start):
            start += len(twice)
    follow(start, "")
    with_parent = {code: end for code, (end, placed) in readings.items() if placed}
    chosen = with_parent if len(with_parent) == 1 else {code: end for code, (end, _) in readings.items()}
    return next(iter(chosen.items())) if len(chosen) == 1 else None


def names_of(district: str) -> list[str]:
    """Every full name, past or present, that tells this district; the longest first."""
    full, _ = _by_form()
    return sorted((name for name, codes in full.items() if district in codes), key=len, reverse=True)


def street_in(text: str, district: str) -> str | None:
    """The one subdistrict or town of this district whose full name stands in the text; None for none or several."""
    found = {code for code, name in streets_of(district) if len(name) > 2 and name in text}
    return found.pop() if len(found) == 1 else None


def without(text: str, names: list[str]) -> str:
    for name in names:
        text = text.replace(name, "")
    return text


@cache
def _other_names(city: str, district: str) -> tuple[str, ...]:
    full, _ = _by_form()
    return tuple(
        name
        for name, codes in full.items()
        if len(name) > 2 and any(len(code) == 6 and code.startswith(city) for code in codes) and district not in codes
    )


@cache
def _by_form() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Codes by full name (with the ending of its kind, past names too), and codes of provinces and cities by short."""
    full: dict[str, list[str]] = {}
    short: dict[str, list[str]] = {}
    for name, readings in area_names().items():
        for one in readings:
            if one.form is Form.FULL or (one.form is Form.FORMER and name[-1] in "区县市" and len(name) > 2):
                full.setdefault(name, []).append(one.code)
            elif one.form is Form.SHORT and len(one.code) < 6:
                short.setdefault(name, []).append(one.code)
    return full, short


def labelled_of(texts: list[Labelled], held_back: bool) -> Iterator[Labelled]:
    return (one for one in texts if one.held_back == held_back)
