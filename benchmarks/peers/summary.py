"""Runs to rows: the median and the spread of each figure, and how ours compares with the best peer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

RATES: Final = ("rate", "rate_half_by_bytes", "rate_half_by_alerts")
FIGURES: Final = ("wall_s", *RATES, "cpu_us_per_record", "peak_rss_mb", "start_s")
APART: Final = 1.6
"""The two figures of the second half are a lower and an upper bound. Where they are farther apart, alerts came in a
heap at the end, and the upper one says nothing: it is compared with nobody's."""
COUNTS: Final = ("missing", "extra", "repeated", "taken_back")

Row = dict[str, Any]
"""One engine on one number of cores."""


def row(about: Row, runs: Sequence[Row], failures: Sequence[str]) -> Row:
    """`about` (engine, cores, ...) with the runs' figures; speed only where every run was right and none failed."""
    right = bool(runs) and not failures and all(run["right"] for run in runs)
    result = about | {"runs": len(runs) + len(failures), "right": right, "failures": list(failures)}
    if runs:
        result |= {name: max(run[name] for run in runs) for name in COUNTS}
        result["alerts"] = runs[0]["alerts"]
    if right:
        result |= {name: spread([run[name] for run in runs]) for name in FIGURES}
    return result


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median, least and greatest; None where a run has no such figure."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return {"median": median(known), "min": min(known), "max": max(known)}


def ratios(rows: Sequence[Row]) -> list[Row]:
    """For each number of cores, ours against the best peer, by whole run and by second half, both ways; medians.

    Twice: against every peer, and against those with recovery on, which ours has always. By alerts only against peers
    of which that says something (`APART`).
    """
    found = []
    for cores in sorted({row["cores"] for row in rows}):
        for figure in RATES:
            speeds = {row["engine"]: row for row in rows if row["cores"] == cores and row["right"] and row.get(figure)}
            ours = next((row for row in speeds.values() if row["ours"]), None)
            peers = [row for row in speeds.values() if not row["ours"]]
            if ours is None:
                continue
            for like_with_like in (False, True):
                among = [
                    row
                    for row in peers
                    if (row["recovers"] or not like_with_like) and (figure != RATES[-1] or _bounded(row))
                ]
                if among:
                    best = max(among, key=lambda row: float(row[figure]["median"]))
                    found.append(
                        {
                            "cores": cores,
                            "figure": figure,
                            "recovery": like_with_like,
                            "best_peer": best["engine"],
                            "ratio": round(ours[figure]["median"] / best[figure]["median"], 2),
                        }
                    )
    return found


def _bounded(row: Row) -> bool:
    """Whether the two figures of the second half are near each other."""
    low, high = row["rate_half_by_bytes"], row["rate_half_by_alerts"]
    return bool(low) and high["median"] <= APART * low["median"]
