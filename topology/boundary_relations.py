"""Boundaries -> whom each belongs to, and which codes stand twice.

A parent that is not named is found by the official code (310104003 belongs to 310104, and that to 310000), then by the
shape (the finest coarser jurisdiction around a point of it), and at last it is the city, if the files have one only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from typing import Final

import shapely

from topology.boundary_file import Boundary
from topology.levels import Level, overlap_in_time

_BEGINNING: Final = -(1 << 63)
_END: Final = (1 << 63) - 1


def find_parents(
    boundaries: Sequence[Boundary], codes: Set[str] = frozenset()
) -> tuple[list[str | None], list[str], list[str]]:
    """(code of each boundary's parent or None, problems, warnings).

    `codes` are those of boundaries that are there but could not be used: that one of them is missing is no problem.
    """
    problems: list[str] = []
    warnings: list[str] = []
    by_code: dict[str, list[Boundary]] = defaultdict(list)
    for boundary in boundaries:
        for other in by_code[boundary.code]:
            if _same_time(boundary, other):
                problems.append(
                    f"{boundary.where}: the same code is in force at the same time as {other.named_beside(boundary)}; "
                    "give both valid_from and valid_to, or each a code of its own"
                )
        by_code[boundary.code].append(boundary)
    cities = sorted({boundary.code for boundary in boundaries if boundary.level == Level.CITY})
    areas = [boundary for boundary in boundaries if boundary.geometry is not None]
    tree = shapely.STRtree([boundary.geometry for boundary in areas])
    parents: list[str | None] = []
    for boundary in boundaries:
        parent = boundary.parent
        if parent is None:
            parent = _by_code(boundary, by_code) or _by_shape(boundary, areas, tree)
            if parent is None and len(cities) == 1 and boundary.level != Level.CITY:
                parent = cities[0]
        else:
            _check_named(boundary, parent, by_code, codes, problems, warnings)
        parents.append(parent)
    named = set(parents)
    for boundary in boundaries:
        if boundary.geometry is None and boundary.code not in named and not codes:
            problems.append(f"{boundary.where}: it has no geometry, and no other jurisdiction belongs to it")
    return parents, problems, warnings


def _check_named(
    boundary: Boundary,
    parent: str,
    by_code: dict[str, list[Boundary]],
    codes: Set[str],
    problems: list[str],
    warnings: list[str],
) -> None:
    found = by_code.get(parent, [])
    if not found:
        if parent in codes:
            return
        problems.append(f"{boundary.where}: parent {parent} is in none of the files")
        return
    coarser = [other for other in found if other.level < boundary.level]
    if not coarser:
        problems.append(
            f"{boundary.where}: parent {parent} is a {found[0].level.name.lower()}, which no "
            f"{boundary.level.name.lower()} belongs to"
        )
    elif not _covered(boundary, coarser):
        warnings.append(f"{boundary.where}: parent {parent} is not in force during all of its validity")


def _covered(boundary: Boundary, others: list[Boundary]) -> bool:
    """Whether at each moment of a boundary's validity one of the others is in force."""
    reached, end = _span(boundary)
    for start, stop in sorted(_span(other) for other in others):
        if start > reached:
            break
        reached = max(reached, stop)
    return reached >= end


def _by_code(boundary: Boundary, by_code: dict[str, list[Boundary]]) -> str | None:
    for code in _official_parents(boundary.code):
        for other in by_code.get(code, ()):
            if other.level < boundary.level and _same_time(other, boundary):
                return code
    return None


def _official_parents(code: str) -> Iterator[str]:
    """The codes that an official code is built on, the longest first."""
    if not (code.isascii() and code.isdigit()):
        return
    for length in (12, 9, 6):
        if len(code) > length:
            yield code[:length]
    if len(code) >= 6:
        yield code[:4] + "00"
        yield code[:2] + "0000"


def _by_shape(boundary: Boundary, areas: list[Boundary], tree: shapely.STRtree) -> str | None:
    if boundary.geometry is None:
        return None
    inside = boundary.geometry.representative_point()
    around = [
        areas[i]
        for i in tree.query(inside, predicate="intersects")
        if areas[i].level < boundary.level and _same_time(areas[i], boundary)
    ]
    return min(around, key=lambda other: (-other.level, other.code)).code if around else None


def _same_time(a: Boundary, b: Boundary) -> bool:
    return overlap_in_time(a.valid_from_ms, a.valid_to_ms, b.valid_from_ms, b.valid_to_ms)


def _span(boundary: Boundary) -> tuple[int, int]:
    start = _BEGINNING if boundary.valid_from_ms is None else boundary.valid_from_ms
    return start, _END if boundary.valid_to_ms is None else boundary.valid_to_ms
