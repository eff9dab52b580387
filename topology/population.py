"""Inhabitants by jurisdiction, from a city folder's `population.csv`: what the index relates its counts to."""

from __future__ import annotations

from pathlib import Path

from topology.city_table import FileReport, read_table

MOST_INHABITANTS = 100_000_000


def read_population(path: Path, report: FileReport) -> dict[str, int]:
    """Inhabitants by code of jurisdiction; every problem goes to the report with its line."""
    found: dict[str, int] = {}
    for row in read_table(path, ("code", "inhabitants"), (), report):
        code, text = row.fields["code"], row.fields["inhabitants"]
        if not (text.isascii() and text.isdecimal() and 0 < int(text) <= MOST_INHABITANTS):
            report.problem(path, row.line, f"inhabitants: expected a whole number from 1 to 100 million, got {text!r}")
        elif code in found:
            report.problem(path, row.line, f"code: {code!r} has inhabitants in an earlier line already")
        else:
            found[code] = int(text)
    return found
