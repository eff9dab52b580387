"""Where the CPU time of CityJoin goes: nanoseconds a record by stage, adding up to what the worker used.

Question: which part of a record's way costs what, and what is worth making faster?
Data:     CityJoin's (cityjoin_data.py), the whole path through the real worker on one core, answers checked.
How:      the worker's own functions are timed by the thread's CPU clock, per batch and frame (cost_timers.py); what a
          thread does outside every stage is its rest. The sum is the process's CPU time between the first raw batch
          and the last alert.

    python -m benchmarks.costs --records 4000000 --json
    python -m benchmarks.costs --save
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.cityjoin_run import Given, Observed, console, observe
from benchmarks.cost_timers import GARBAGE, STAGES, cost_of_a_call

Result = dict[str, Any]

LEAST_NS: Final = 0.5  # a record; what costs less goes under "less than that"

# Threads of the worker by the start of their names; Faust reads Kafka in threads without a name of their own.
REST: Final = (
    ("MainThread", "event loop, tasks, sockets: locate, join, producers"),
    ("locate", "locate's thread, outside its stages"),
    ("Thread-", "event loops and sockets of Faust's readers"),
    ("clickhouse", "ClickHouse's thread, outside its stages"),
    ("cost-samples", "taking these samples"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker-cpu", type=int, default=0)
    parser.add_argument("--broker-cpu", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep the result for RESULTS.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="costs-") as name:
        folder = Path(name)
        path = folder / "costs.json"
        seen = observe(
            Given(
                records=given.records, seed=given.seed, worker_cpu=given.worker_cpu, broker_cpu=given.broker_cpu,
                worker_options=("--costs", str(path)),
            ),
            folder,
        )  # fmt: skip
        if not seen.correct:
            print(json.dumps({"alerts_ok": False}))
            return 1
        result = costs_of(seen, json.loads(path.read_text()))
    if given.save:
        console.log(f"kept as {report.save('costs', result).name}")
    if given.json:
        print(json.dumps(result))
    else:
        for stage, ns in result["stages"]:
            console.print(f"{ns:8.1f}  {stage}", highlight=False)
        console.print(f"{result['total_ns']:8.1f}  total, {result['stopwatch_ns']} of it the stopwatches")
    return 0


def costs_of(seen: Observed, report_: Result) -> Result:
    """Nanoseconds a record by stage, between the first raw batch and the last alert."""
    samples = report_["samples"]
    first = min(samples, key=lambda sample: abs(sample["at"] - seen.samples.first_s))
    last = min(samples, key=lambda sample: abs(sample["at"] - seen.last_alert_s))
    spent = dict.fromkeys((*STAGES, GARBAGE), 0)
    rests: dict[str, int] = {}
    in_threads = 0
    for name, thread in last["threads"].items():
        before = first["threads"].get(name, {"total": 0, "spent": {}})
        total = thread["total"] - before["total"]
        in_threads += total
        for stage, ns in thread["spent"].items():
            here = ns - before["spent"].get(stage, 0)
            spent[stage] += here
            total -= here
        words = next((words for start, words in REST if name.startswith(start)), "other threads")
        rests[words] = rests.get(words, 0) + total
    whole = last["process"] - first["process"]
    rests["threads that have ended, and the runtime's own"] = whole - in_threads
    spent = {stage: ns for stage, ns in spent.items() if ns} | rests
    per_record = {stage: ns / seen.total for stage, ns in spent.items()}
    small = sum(ns for ns in per_record.values() if ns < LEAST_NS)
    stages = [(stage, round(ns, 1)) for stage, ns in per_record.items() if ns >= LEAST_NS]
    calls = sum(report_["calls"].values())
    return {
        "records": seen.total,
        "stages": [*stages, (f"stages below {LEAST_NS} ns each", round(small, 1))],
        "total_ns": round(whole / seen.total, 1),
        "stopwatch_ns": round(calls * cost_of_a_call() / seen.total, 1),
        "not_timed": report_["missing"],
        "alerts_ok": True,
    }


def section(result: Result) -> str:
    """Markdown for RESULTS.md."""
    total = result["total_ns"]
    lines = [
        "## Where the time goes",
        "",
        f"CPU nanoseconds a record of CityJoin ({result['records']:,} records, one core, the whole path), by stage.",
        "The worker's functions are timed by the thread's CPU clock per batch and frame, the kernel's work included;",
        "what a thread does outside every stage is a line of its own, so the lines add up to the whole process.",
        "",
        "| stage | ns a record | share |",
        "|---|---:|---:|",
    ]
    lines += [f"| {stage} | {ns:.1f} | {ns / total:.1%} |" for stage, ns in result["stages"]]
    lines += [
        f"| **all** | **{total:.1f}** | |",
        "",
        f"About {result['stopwatch_ns']} ns a record of it are the stopwatches themselves. It does not show what",
        "waits: the broker has a core of its own.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
