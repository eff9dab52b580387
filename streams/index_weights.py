"""The definition of the city operation index: categories, their indicators, what is good and bad, and the weights.

It is a table, `schemas/index/weights.csv`, one line an indicator. A version is a block of lines with the same `version`
and `valid_from`; an hour uses the newest version that is valid in it, so that yesterday's index stays what it was when
the definition changes. Change the definition by appending a block, never by editing one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from schemas.errors import SettingsError
from schemas.kinds import KindRegistry, built_in_kinds
from schemas.sources import Source
from topology.city_table import FileReport, Row, place, read_table

WEIGHTS: Final = Path(__file__).resolve().parent.parent / "schemas" / "index" / "weights.csv"
CATEGORIES: Final = (
    "public_order",
    "traffic",
    "environment",
    "municipal_facilities",
    "public_safety",
    "citizens_appeals",
    "public_health",
    "energy_water",
)
"""The eight of Shanghai's 城市运行指数; `v_city_index` has a column for each."""
SOURCES: Final = ("readings", "camera-events", "tickets", "alerts", "incidents", "overdue")
AGGREGATES: Final = ("mean", "max", "min", "count", "sum")
PER: Final = ("", "100k")
ALL_KINDS: Final = "*"
COLUMNS: Final = (
    "version", "valid_from", "category", "category_zh", "category_en", "category_weight", "indicator", "indicator_zh",
    "indicator_en", "unit", "source", "kinds", "aggregate", "good", "bad", "weight",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWeight:
    """One indicator of one version. Times in epoch ms; a value at `good` scores 100, at `bad` 0, linear between."""

    version: int
    valid_from_ms: int
    valid_to_ms: int | None = None  # the next version's beginning
    category: str
    category_zh: str
    category_en: str
    category_weight: float
    indicator: str
    indicator_zh: str
    indicator_en: str
    unit: str
    source: str
    kinds: tuple[str, ...]
    aggregate: str
    per: str  # "100k": for each 100,000 inhabitants where their number is known
    good: float
    bad: float
    weight: float
    line: int


def load_weights(path: Path = WEIGHTS, kinds: KindRegistry | None = None) -> tuple[IndexWeight, ...]:
    """All versions in order. SettingsError with every problem and its line."""
    report = FileReport()
    registry = built_in_kinds() if kinds is None else kinds
    rows = read_table(path, COLUMNS, ("per",), report)
    weights = [weight for row in rows if (weight := _weight(path, row, registry, report)) is not None]
    if not report.problems:
        weights = _versions(path, weights, report)
    if report.problems:
        raise SettingsError(report.all_problems())
    return tuple(weights)


def _weight(path: Path, row: Row, registry: KindRegistry, report: FileReport) -> IndexWeight | None:
    fields, problems = row.fields, []

    def number(name: str) -> float:
        try:
            value = float(fields[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            problems.append(f"{name}: expected a finite number, got {fields[name]!r}")
        return value

    def one_of(name: str, choices: Iterable[str]) -> str:
        value = fields.get(name, "")
        if value not in choices:
            problems.append(f"{name}: {value!r} is none of {', '.join(filter(None, choices))}")
        return value

    version, good, bad = fields["version"], number("good"), number("bad")
    if not (version.isascii() and version.isdecimal()):
        problems.append(f"version: expected a whole number, got {version!r}")
    try:
        valid_from = datetime.strptime(fields["valid_from"], "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        valid_from = datetime(1970, 1, 1, tzinfo=UTC)
        problems.append(f"valid_from: expected a date such as 2026-01-01, got {fields['valid_from']!r}")
    weight, category_weight = number("weight"), number("category_weight")
    for name, value in (("weight", weight), ("category_weight", category_weight)):
        if value <= 0:
            problems.append(f"{name}: expected more than 0, got {value:g}")
    if good == bad:
        problems.append(f"good and bad are both {good:g}: a score needs a way between them")
    category, source = one_of("category", CATEGORIES), one_of("source", SOURCES)
    names = tuple(fields["kinds"].split("|"))
    if source in ("readings", "camera-events", "tickets"):
        unknown = [name for name in names if name != ALL_KINDS and registry.find(Source.of_topic(source), name) is None]
        problems += [f"kinds: {name!r} is no kind of {source} in the registry" for name in unknown]
    found = IndexWeight(
        version=int(version) if version.isdecimal() else 0,
        valid_from_ms=int(valid_from.timestamp()) * 1000,
        category=category,
        category_zh=fields["category_zh"],
        category_en=fields["category_en"],
        category_weight=category_weight,
        indicator=fields["indicator"],
        indicator_zh=fields["indicator_zh"],
        indicator_en=fields["indicator_en"],
        unit=fields["unit"],
        source=source,
        kinds=names,
        aggregate=one_of("aggregate", AGGREGATES),
        per=one_of("per", PER),
        good=good,
        bad=bad,
        weight=weight,
        line=row.line,
    )
    for problem in problems:
        report.problem(path, row.line, problem)
    return None if problems else found


def _versions(path: Path, weights: list[IndexWeight], report: FileReport) -> list[IndexWeight]:
    """The weights with the end of their version's validity, checked for agreement inside each version."""
    by_version: dict[int, list[IndexWeight]] = {}
    for weight in weights:
        by_version.setdefault(weight.version, []).append(weight)
    versions = sorted(by_version)
    starts = [by_version[version][0].valid_from_ms for version in versions]
    for version, start, following in zip(versions, starts, starts[1:], strict=False):
        if following <= start:
            report.problem(path, None, f"version {version} must be valid from before the version after it")
    ends: list[int | None] = [*starts[1:], None]
    finished: list[IndexWeight] = []
    for version, end in zip(versions, ends, strict=True):
        block = by_version[version]
        first = block[0]
        missing = [category for category in CATEGORIES if all(weight.category != category for weight in block)]
        if missing:
            report.problem(path, first.line, f"version {version} has no indicator of {', '.join(missing)}")
        seen: dict[str, int] = {}
        weight_of: dict[str, IndexWeight] = {}
        for weight in block:
            if weight.valid_from_ms != first.valid_from_ms:
                report.problem(path, weight.line, f"valid_from differs from line {first.line} of the same version")
            if weight.indicator in seen:
                report.problem(
                    path, weight.line, f"indicator {weight.indicator!r} is in line {seen[weight.indicator]} already"
                )
            seen[weight.indicator] = weight.line
            same = weight_of.setdefault(weight.category, weight)
            if weight.category_weight != same.category_weight:
                report.problem(path, weight.line, f"category_weight differs from {place(path, same.line)}same category")
            finished.append(replace(weight, valid_to_ms=end))
    return finished
