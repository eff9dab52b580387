"""All boundary files of a city: read, related to each other and checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.datums import Datum
from topology.boundary_checks import check_boundaries
from topology.boundary_file import Boundary, read_boundary_file
from topology.boundary_relations import find_parents
from topology.grid import Grid


@dataclass(frozen=True, slots=True)
class Boundaries:
    """What all files say; `parents` has the code of each boundary's parent. With any problem they are incomplete."""

    boundaries: list[Boundary]
    parents: list[str | None]
    problems: list[str]
    warnings: list[str]


def read_boundaries(files: Sequence[Path | str], grid: Grid, *, default_datum: Datum, zone: str) -> Boundaries:
    """Read the files of one city. Never raises for what is in them.

    `default_datum` is that of files that say none; `zone` is where the midnights of their dates are.
    """
    read = [read_boundary_file(Path(path), grid, default_datum=default_datum, zone=zone) for path in files]
    boundaries = [boundary for one in read for boundary in one.boundaries]
    problems = [problem for one in read for problem in one.problems]
    warnings = [warning for one in read for warning in one.warnings]
    unusable = {code for one in read for code in one.codes} - {boundary.code for boundary in boundaries}
    parents, more_problems, more_warnings = find_parents(boundaries, unusable)
    misfits, odd_fits = check_boundaries(boundaries, parents, grid)
    if not problems:  # where features are missing, gaps are no wonder
        warnings += more_warnings + odd_fits
    return Boundaries(boundaries, parents, problems + more_problems + misfits, warnings)
