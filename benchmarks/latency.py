"""Latency: how long after the record that makes it possible does an alert stand on the topic, at a steady rate?

Question: p50, p99, p99.9 and the maximum at 50 thousand records a second for five minutes, and the highest rate at
          which p99 stays below a second, with broker, worker and generator together on this machine's two cores.
Data:     latency_load.py: CityJoin's records with windows of 250 ms, so that alerts come at all times.
Load:     open loop. Each record has its moment on a schedule fixed beforehand; the generator, a process of its own,
          never waits for the system. A latency counts from the scheduled moment, so time that a record spends waiting
          because the system (or the generator) stood still is in it: no coordinated omission.
Measured: - alert, from due: the broker's append time of the alert minus the scheduled moment of the record that makes
            the alert possible: the first that brings the last raw partition to window end + lateness bound. The bound
            itself is thereby left out.
          - alert, from append: the same from the broker's append time of that record.
          - urgent ticket: scheduled moment of the ticket to the append time of its alert; no window is waited for.
Check:    all alerts with their values, and all urgent tickets, warm-up included, equal a batch computation from the
          schedule; else no figure is told, status 1.

    python -m benchmarks.latency --rate 50000 --minutes 5 --json --save
    python -m benchmarks.latency --find-highest --json --save
    python -m benchmarks.latency --minutes 0.5 --trace      also: where the time goes, part by part
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from benchmarks import report
from benchmarks.latency_chart import write_chart
from benchmarks.latency_figures import Measured, figures, measure, summary
from benchmarks.latency_page import page
from benchmarks.latency_run import FellBehind, Plan, RunFailed, delete_topics, run_once
from deploy.local.kafka import LocalKafka

HEAP: Final = "1g"
BAR_MS: Final = 500
RUN_MINUTES: Final = 5.0
STEP_MINUTES: Final = 0.5
TRACED_S: Final = 30.0
HIGHEST_P99_MS: Final = 1_000
NEAR: Final = 1.1
"""The search ends when the highest rate that holds and the lowest that does not are so near to each other."""
console = Console(stderr=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=50_000, help="records a second")
    parser.add_argument("--minutes", type=float, help="measured time, 5; with --find-highest that of each step, 0.5")
    parser.add_argument("--warm-up", type=float, default=20.0, metavar="SECONDS", help="at the same rate, not measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--roles", default="locate,join", help="what the worker runs")
    parser.add_argument("--find-highest", action="store_true", help="search the highest rate with p99 < 1 s")
    parser.add_argument("--settings", type=Path, help="lines to add to the worker's configuration")
    parser.add_argument("--trace", action="store_true", help="also note each part of the way (costs a little)")
    parser.add_argument(
        "--freeze", type=float, default=0.0, metavar="SECONDS",
        help="stop the worker for so long in the middle: what it did not do then must show in every percentile",
    )  # fmt: skip
    parser.add_argument("--keep", type=Path, help="keep logs and tables of the run in this folder")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep result and chart in benchmarks/results")
    given = parser.parse_args()
    given.minutes = given.minutes or (STEP_MINUTES if given.find_highest else RUN_MINUTES)
    try:
        with tempfile.TemporaryDirectory(prefix="latency-") as scratch:
            folder = given.keep or Path(scratch)
            with LocalKafka(folder / "kafka", heap=HEAP) as broker:
                result = find_highest(given, broker, folder) if given.find_highest else steady(given, broker, folder)
    except (RunFailed, FellBehind) as problem:
        console.log(f"[red]{problem}[/red]")
        return 1
    if given.save:
        kept = report.load("latency")
        report.save("latency", ({} if kept is None else kept["result"]) | result)
    if given.json:
        print(json.dumps(result))
    else:
        console.print(result)
    return 0


def _run(given: argparse.Namespace, broker: LocalKafka, folder: Path, **changed: Any) -> Measured:
    plan = Plan(
        rate=given.rate,
        warm_s=given.warm_up,
        measured_s=given.minutes * 60,
        seed=given.seed,
        roles=given.roles,
        settings="" if given.settings is None else given.settings.read_text("utf-8"),
        trace=given.trace,
        freeze_s=given.freeze,
    )
    return measure(run_once(broker, folder, replace(plan, **changed), console.log))


def steady(given: argparse.Namespace, broker: LocalKafka, folder: Path) -> dict[str, Any]:
    """The main figure: one rate, for long. What is kept for the page has a short run with a trace beside it."""
    measured = _run(given, broker, folder / "steady")
    result = {"steady": figures(measured)}
    if given.keep and measured.hops_ns is not None:
        np.save(given.keep / "hops.npy", measured.hops_ns)
    if given.save:
        result["steady"]["chart"] = write_chart(measured).name
        result["traced"] = figures(_run(given, broker, folder / "traced", measured_s=TRACED_S, trace=True))
    return result


def find_highest(given: argparse.Namespace, broker: LocalKafka, folder: Path) -> dict[str, Any]:
    """Double the rate until p99 is a second or more, then halve the gap until it is a tenth."""
    steps: list[dict[str, Any]] = []
    holds, fails = 0, 0
    rate = given.rate
    while not (holds and fails and fails / holds <= NEAR):
        step = _step(given, broker, folder / f"step{len(steps)}", rate)
        delete_topics(broker, f"step{len(steps)}")  # gigabytes
        steps.append(step)
        console.log(f"{rate:,} records/s: {'holds' if step['holds'] else 'too much'}", step.get("alert", ""))
        if step["holds"]:
            holds = rate
        else:
            fails = rate
        if not holds and rate < 1_000:
            break
        rate = holds * 2 if not fails else (fails // 2 if not holds else int((holds * fails) ** 0.5))
    found = {
        "highest_rate": holds,
        "p99_below_ms": HIGHEST_P99_MS,
        "seconds": given.minutes * 60,
        "warm_up_s": given.warm_up,
        "steps": sorted(steps, key=lambda step: step["rate"]),
    }
    return {"highest": found}


def _step(given: argparse.Namespace, broker: LocalKafka, folder: Path, rate: int) -> dict[str, Any]:
    try:
        measured = _run(given, broker, folder, rate=rate)
    except FellBehind as problem:
        console.log(str(problem))
        return {"rate": rate, "holds": False, "fell_behind": True}
    alert = summary(measured.alerts.from_due)
    return {
        "rate": rate,
        "holds": alert["p99_ms"] < HIGHEST_P99_MS,
        "fell_behind": False,
        "alert": alert,
        "cpu_cores": asdict(measured.run.cpu),
    }


# --- the page ------------------------------------------------------------------------------------------------------


def section(result: Mapping[str, Any]) -> str:
    """The benchmark's part of RESULTS.md."""
    return page(result, bar_ms=BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
