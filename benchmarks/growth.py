"""What growth costs: rules, cells, devices and shards a hundred- or a thousandfold, as curves of CPU and memory.

Question: does anything grow faster than linearly, what do 100 rules cost against one, and does the join keep a million
          cells with 8 features over 60 buckets within 4 GiB?
Data:     growth_data.py: cities of any size, record by record from a seed; rules as an operations centre has them.
How:      raw Kafka batches -> locate -> frames -> join -> alerts, and snapshots, in one process on one core, without a
          broker (growth_path.py); CPU is the process's, step by step. Each point is measured in a process of its own
          (growth_point.py), three times where that is cheap; the median is told, memory is the highest of them.
Check:    the alerts of every point equal those of a plain batch computation (growth_rules.py); else no figure is told
          and the status is 1.

    python -m benchmarks.growth --json --save           all curves and the chart, some 10 minutes
    python -m benchmarks.growth --only rules shards     some of them; with --save the others stay as they were
    python -m benchmarks.growth --quick                 small numbers, a minute: does it still run?

An exponent is the slope of a straight line through (log size, log cost) by ordinary least squares, every point with the
same weight: 0 means that it costs the same, 1 that it grows with the size, 2 that it grows with its square.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from rich.console import Console

from benchmarks import report
from benchmarks.growth_chart import write_chart
from benchmarks.growth_page import section
from benchmarks.growth_point import NEVER, Point, argument

__all__ = ["main", "section"]

Result = dict[str, Any]

CURVES: Final = ("rules", "cells", "devices", "shards", "memory")
RUNS: Final = 3
CHEAP_RECORDS: Final = 2_000_000  # up to here a point is measured RUNS times
LIMIT_S: Final = 900
MEMORY_BAR_MIB: Final = 4 * 1024

console = Console(stderr=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES), metavar="CURVE", help=str(CURVES))
    parser.add_argument("--quick", action="store_true", help="small sizes, each once; not to be kept")
    parser.add_argument("--cpu", type=int, default=1, help="the core that is measured on")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep the result and the chart for RESULTS.md")
    given = parser.parse_args()
    if given.quick and given.save:
        parser.error("--quick is no measurement: it cannot be saved")
    try:
        result = {name: _curve(name, given.quick, given.cpu) for name in given.only}
    except WrongAnswer as error:
        console.print(f"[red]{error}")
        if given.json:
            print(json.dumps({"alerts_ok": False}))
        return 1
    if given.save:
        result = _with_kept(result)
        console.log(f"kept as {report.save('growth', result).name}, drawn as {write_chart(result).name}")
    if given.json:
        print(json.dumps(result))
    else:
        console.print(section(result), highlight=False, markup=False)
    return 0


class WrongAnswer(Exception):
    """The alerts of a point are not those of the batch computation."""


def points(name: str, quick: bool) -> dict[str, list[tuple[int, Point]]]:
    """The lines of a curve: (size, point) from small to large.

    A thousandth of the records or less where it is only tried out.
    """
    few = 10 if quick else 1
    if name == "rules":
        sizes = (1, 10, 100) if quick else (1, 10, 100, 1000)
        busy: dict[str, Any] = {"cells": 10_000, "devices": 20_000, "period_s": 1.0, "records": 2_000_000 // few}
        calm = busy | {"period_s": 60.0, "records": 1_000_000 // few}
        return {
            "two records a second and cell, no alert": [(n, Point(rules=n, spike_every=NEVER, **busy)) for n in sizes],
            "two records a second and cell, alerts": [(n, Point(rules=n, **busy)) for n in sizes],
            "two records a minute and cell, alerts": [(n, Point(rules=n, **calm)) for n in sizes],
        }
    if name == "cells":
        # each cell with two devices, each of them with a record a minute, for five minutes
        return {
            "two records a minute and cell": [
                (n, Point(cells=n, devices=2 * n, period_s=60.0, records=10 * n, rules=10, repeats=repeats))
                for n, repeats in ((10_000 // few, 10), (100_000 // few, 1), (1_000_000 // few, 1))
            ]
        }
    if name == "devices":
        return {
            "20,000 records a second, all placed by the register": [
                (n, Point(cells=10_000, devices=n, period_s=n / 20_000, records=1_000_000 // few, rules=10,
                          registered=True))
                for n in (20_000, 200_000, *(() if quick else (2_000_000, 10_000_000)))
            ]
        }  # fmt: skip
    return {
        "250,000 cells, two records a minute and cell": [
            (n, Point(cells=250_000 // few, devices=500_000 // few, period_s=60.0, records=2_000_000 // few, rules=10,
                      shards=n))
            for n in (1, 4, 16, 64)
        ]
    }  # fmt: skip


def _curve(name: str, quick: bool, cpu: int) -> Result:
    if name == "memory":
        return _memory(quick, cpu)
    lines = {}
    for words, some in points(name, quick).items():
        measured = [_measure(name, size, point, 1 if quick else RUNS, cpu) for size, point in some]
        lines[words] = {"points": measured, **_exponents(measured)}
    return {"lines": lines}


def _memory(quick: bool, cpu: int) -> Result:
    """Every value of 8 features in 60 buckets there: readings in tenths, and numbers that cannot be packed."""
    filled = []
    for cells, values in ((20_000, "tenths"), (20_000, "doubles")) if quick else (
        (1_000_000, "tenths"), (100_000, "doubles")
    ):  # fmt: skip
        told = _ask(json.dumps({"cells": cells, "values": values}), cpu)
        console.log(f"memory: {cells:,} cells of {values}: {told['memory_mib']:,.0f} MiB")
        filled.append({"cells": cells, "values": values, **told})
    return {"filled": filled, "bar_mib": MEMORY_BAR_MIB}


def _measure(name: str, size: int, point: Point, runs: int, cpu: int) -> Result:
    """The median of CPU a record and the highest memory of some processes; their alerts are all the same."""
    if point.records > CHEAP_RECORDS:
        runs = 1
    told = [_ask(argument(point), cpu)]
    again = argument(Point(**json.loads(argument(point)) | {"check": False}))
    told += [_ask(again, cpu) for _ in range(runs - 1)]
    if len({one["digest"] for one in told}) != 1:
        raise WrongAnswer(f"{name} {size:,}: not the same alerts each time")
    if point.spike_every == NEVER and told[0]["alerts"]:
        raise WrongAnswer(f"{name} {size:,}: {told[0]['alerts']} alerts where nothing happened")
    totals = [one["cpu_us"]["total"] for one in told]
    middle = sorted(told, key=lambda one: one["cpu_us"]["total"])[len(told) // 2]
    console.log(f"{name}: {size:,}: {median(totals):.3f} us a record, {told[0]['alerts']:,} alerts")
    kept = {"size": size, "records": point.records, "runs": runs, "spread_us": [min(totals), max(totals)]}
    for field in ("cpu_us", "alerts", "snapshot_mib", "load_s", "load_cpu_s", "load_peak_mib", "register_mib"):
        if field in middle:
            kept[field] = middle[field]
    kept["memory_mib"] = max(one["memory_mib"] for one in told)
    return kept


def _ask(argument_: str, cpu: int) -> Result:
    """What a process that measures one point says in its last line."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth_point", str(cpu), argument_],
        stdout=subprocess.PIPE,
        timeout=LIMIT_S,
        check=True,
        cwd=report.HERE.parent,
    )
    result: Result = json.loads(ended.stdout.splitlines()[-1])
    if result["wrong"]:
        raise WrongAnswer(f"{argument_}: {result['wrong']}")
    return result


def _exponents(measured: Sequence[Result]) -> Result:
    sizes = [point["size"] for point in measured]
    return {
        "cpu_exponent": exponent(sizes, [point["cpu_us"]["total"] for point in measured]),
        "memory_exponent": exponent(sizes, [max(1.0, point["memory_mib"]) for point in measured]),
        "cpu_ratio": round(measured[-1]["cpu_us"]["total"] / measured[0]["cpu_us"]["total"], 2),
    }


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the straight line through (log size, log cost) by ordinary least squares."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return round(above / sum((a - mean_x) ** 2 for a in x), 3)


def _with_kept(result: Result) -> Result:
    """Curves that were not measured now as they were kept before."""
    kept = report.load("growth")
    before: Result = {} if kept is None else kept["result"]
    return {name: (result | {}).get(name, before.get(name)) for name in CURVES if name in result or name in before}


if __name__ == "__main__":
    sys.exit(main())
