"""CityJoin: raw records to alerts, the whole path through the real worker, on one core.

Question: how many raw records a second does one core of this machine turn into exact composite alerts?
Data:     see cityjoin_data.py; the backlog is in Kafka before the worker starts.
Path:     raw topics -> locate -> observations -> join -> alerts, snapshots on, worker pinned to one core and the broker
          to another. The clock runs from the first raw batch that the worker fetches to the broker's append time of
          the last alert; start-up (imports, compiled kernels, joining the groups) is not in it.
Check:    the set of (cell, window, m, c, t) equals a plain batch computation; else no speed is printed, status 1.

    python -m benchmarks.cityjoin --records 2000000 --json
    python -m benchmarks.cityjoin --sizes 2000000 8000000 --runs 3 --save
    python -m benchmarks.cityjoin --records 8000000 --seed 7 --profile worker.prof

Reading it: `rate` is records / wall_s of the whole run; `rate_second_half` leaves out the first half of the backlog.
`cpu_us_per_record` is the worker's own CPU time. The last line with --json is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.cityjoin_run import Given, Observed, console, observe

Result = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", help="several backlogs, one after the other, for --save")
    parser.add_argument("--runs", type=int, default=1, help="of each backlog; the median counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--worker-cpu", type=int, default=0)
    parser.add_argument("--broker-cpu", type=int, default=1)
    parser.add_argument("--profile", type=Path, help="profile the worker (slows it down) and write it here")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep the result for RESULTS.md")
    given = parser.parse_args()
    options = ("--profile", str(given.profile.absolute())) if given.profile else ()
    rows: list[Result] = []
    for records in given.sizes or [given.records]:
        runs = [
            run(
                Given(
                    records=records, seed=given.seed + number, shards=given.shards,
                    worker_cpu=given.worker_cpu, broker_cpu=given.broker_cpu, worker_options=options,
                )
            )
            for number in range(given.runs)
        ]  # fmt: skip
        rows += runs
        if not all(row["alerts_ok"] for row in runs):
            break
    good = all(row["alerts_ok"] for row in rows)
    result = rows[0] if len(rows) == 1 else {"runs": rows, "alerts_ok": good}
    if given.save and good:
        console.log(f"kept as {report.save('cityjoin', {'runs': rows}).name}")
    if given.json:
        print(json.dumps(result))
    else:
        console.print(result)
    return 0 if good else 1


def run(given: Given) -> Result:
    """One run on topics of its own; see the module."""
    with tempfile.TemporaryDirectory(prefix="cityjoin-") as folder:
        return result_of(observe(given, Path(folder)))


def result_of(seen: Observed) -> Result:
    """What is told of a run; of one with wrong alerts no speed."""
    if not seen.correct:
        return {
            "records": seen.total, "alerts": len(seen.got), "alerts_expected": len(seen.expected), "alerts_ok": False
        }  # fmt: skip
    return {
        "records": seen.total,
        "wall_s": round(seen.wall_s, 3),
        "rate": round(seen.total / seen.wall_s),
        "rate_second_half": round(seen.total / 2 / (seen.last_alert_s - seen.half_s)),
        "cpu_us_per_record": round(seen.cpu_s / seen.total * 1e6, 3),
        "peak_rss_mb": seen.peak_rss_mb,
        "alerts": len(seen.got),
        "alerts_ok": True,
        "seed": seen.given.seed,
    }


def section(result: Result) -> str:
    """Markdown for RESULTS.md."""
    by_size: dict[int, list[Result]] = {}
    for row in result["runs"]:
        by_size.setdefault(row["records"], []).append(row)
    lines = [
        "## CityJoin on one core",
        "",
        "How many raw records a second does one core turn into exact alerts, the observations hop through the",
        "broker and snapshots included? Worker on one core, broker on another; the alert set of every run equals a",
        "plain batch computation. Median of the runs, least and most in brackets.",
        "",
        "| records | runs | records/s, whole run | records/s, second half | CPU µs a record | peak MB | alerts |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for records, rows in sorted(by_size.items()):
        cells = [f"{records:,}", str(len(rows))]
        for key, form in (
            ("rate", ",.0f"), ("rate_second_half", ",.0f"), ("cpu_us_per_record", ".3f"), ("peak_rss_mb", ",.0f"),
        ):  # fmt: skip
            cells.append(_spread([row[key] for row in rows], form))
        cells.append(f"{rows[0]['alerts']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The whole run begins with the first raw batch that the worker fetches, so connections, first pages of memory",
        "and an empty window state are in it; the second half shows what a worker does that has been running. CPU µs a",
        "record is the whole worker process, Kafka's client and the kernel's work for it included. It does not show",
        "latency (below), or how it goes on more cores (scale-out).",
    ]
    return "\n".join(lines)


def _spread(values: Sequence[float], form: str) -> str:
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({format(min(values), form)}–{format(max(values), form)})"


if __name__ == "__main__":
    sys.exit(main())
