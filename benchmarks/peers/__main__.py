"""CityJoin on every engine: the same broker, the same backlog, the same check of the answer.

Question: how many raw records a second does an engine turn into exact composite alerts, on one core and on two, and
          how does ours compare with the best of the others?
Data:     benchmarks/cityjoin_data.py; written to Kafka once, before any engine starts. Slow engines get fewer records.
Runs:     each engine alone, in new processes, with groups, topics and state of its own; round after round, so that an
          hour's drift of the machine meets all alike. The broker is pinned to processor 1, the engine to 0; on two
          cores the engine has both and shares the second with the broker. A new consumer group waits 3 s for more
          members, as a broker's does by default, so that no group is divided anew in the middle of a run.
Clock:    from the first data that the engine's sockets receive from the broker (the kernel's count) to the broker's
          append time of the last alert. Start-up is told apart.
Check:    the alerts must be exactly those of a plain batch computation. A wrong answer gets no speed.

    python -m benchmarks.peers --records 10000000 --slow-records 1000000 --runs 3 --json --save
    python -m benchmarks.peers --engines ours flink-datastream --cores 1 --records 2000000
    python -m benchmarks.peers --engines bytewax --save --add       one engine again, the other rows as they were

Reading it: `rate` is records a second over the whole run, warm-up of JVMs and compilers of kernels included;
`rate_half_by_bytes` and `rate_half_by_alerts` are of its second half, hence warm, and stand below and above the truth
(page.py says why). `cpu_us_per_record` is user and system time of all the engine's processes within the clock. The
last line with --json is one JSON object. Status 1 if ours was wrong or an engine could not be run; a peer that runs
and answers wrongly is a result.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.peers.backlog import CLOSERS, fill_backlog
from benchmarks.peers.engine import Engine, Pace
from benchmarks.peers.engines import ENGINES
from benchmarks.peers.page import section
from benchmarks.peers.run import BROKER_CPU, run
from benchmarks.peers.summary import Row, ratios, row
from deploy.local.kafka import LocalKafka
from schemas.errors import TongguanError

SETTLE_MS: Final = 3_000
"""Kafka's own default. The broker of our tests has 0: then the first process of an engine takes all partitions, reads,
and has to be interrupted when the second one asks for its half, seconds into the run."""


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def say_of(name: str, line: str) -> None:
    say(f"{name}: {line}")


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the engine and the broker, remove what was written
    runs = Runs.of(given)
    prepare(runs)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        for _ in measure(given, runs, Path(folder)):  # after each round
            if given.save:
                say(f"kept in {report.save('peers', result_of(given, runs))}")
    result = result_of(given, runs)
    print(json.dumps(result, ensure_ascii=False) if given.json else section(result))
    rows = runs.rows()
    return 1 if any(row["failures"] or (row["ours"] and not row["right"]) for row in rows) else 0


@dataclass(slots=True)
class Runs:
    """What is to be run, and what came of it so far."""

    plan: list[tuple[Engine, int]]
    """Engine and number of cores, first all on one core."""
    records: dict[Pace, int]
    """In each backlog, closers included."""
    done: dict[tuple[str, int], list[Row]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, given: argparse.Namespace) -> Runs:
        chosen = [engine for engine in ENGINES if engine.name in given.engines]
        plan = [(engine, cores) for cores in sorted(set(given.cores)) for engine in chosen if cores in engine.cores]
        return cls(plan, {Pace.FAST: given.records + CLOSERS, Pace.SLOW: given.slow_records + CLOSERS})

    def rows(self) -> list[Row]:
        return [
            row(
                about(engine, cores, self.records[engine.pace]),
                self.done[engine.name, cores],
                self.failures[engine.name, cores],
            )
            for engine, cores in self.plan
        ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [engine.name for engine in ENGINES]
    parser.add_argument("--engines", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--records", type=int, default=10_000_000, help="for fast engines (%(default)s)")
    parser.add_argument("--slow-records", type=int, default=1_000_000, help="for slow engines (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each engine on each number of cores (%(default)s)")
    parser.add_argument("--cores", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--give-up", type=float, default=900.0, metavar="S", help="end a run after this (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep the result for RESULTS.md")
    parser.add_argument("--add", action="store_true", help="with the saved rows of the engines not run now")
    given = parser.parse_args()
    if len(os.sched_getaffinity(0)) <= BROKER_CPU:
        parser.error("two processors are needed: one for the broker, one for the engine")
    if given.add and (problem := cannot_add(given)):
        parser.error(problem)
    return given


def cannot_add(given: argparse.Namespace) -> str | None:
    """Why the saved rows do not go with these; None when they do."""
    kept = report.load("peers")
    if kept is None:
        return "--add: nothing is saved yet"
    for name in ("records", "slow_records", "seed"):
        if kept["result"][name] != getattr(given, name):
            return f"--add: the saved rows have {name}={kept['result'][name]}, not {getattr(given, name)}"
    return None


def prepare(runs: Runs) -> None:
    """Get what the engines need, before any clock runs; one that cannot be had is a failure, the others go on."""
    for engine in dict.fromkeys(engine for engine, _ in runs.plan):
        try:
            engine.prepare(partial(say_of, engine.name))
        except TongguanError as error:
            say(f"{engine.name}: {error}")
            for cores in engine.cores:
                runs.failures[engine.name, cores].append(str(error))


def measure(given: argparse.Namespace, runs: Runs, folder: Path) -> Iterator[int]:
    """All runs, round after round; yields the number of each round that is over."""
    sizes = {Pace.FAST: given.records, Pace.SLOW: given.slow_records}
    with LocalKafka(folder / "kafka", cpus=[BROKER_CPU], heap="2g", settle_ms=SETTLE_MS) as broker:
        backlogs = {
            pace: fill_backlog(broker.bootstrap, f"{pace}-", sizes[pace], given.seed, say)
            for pace in sorted({engine.pace for engine, _ in runs.plan})
        }
        os.sched_setaffinity(0, {BROKER_CPU})  # what is measured has its core for itself
        for number in range(1, given.runs + 1):
            for engine, cores in runs.plan:
                if runs.failures[engine.name, cores]:
                    continue  # it would fail again, and cost as much time
                title = f"{engine.name}, {cores} core{'s' * (cores > 1)}, run {number} of {given.runs}"
                try:
                    with tempfile.TemporaryDirectory(prefix="run-", dir=folder) as scratch:
                        backlog = backlogs[engine.pace]
                        seen = run(engine, backlog, broker.bootstrap, cores, Path(scratch), given.give_up, say)
                except TongguanError as error:
                    say(f"{title}: {error}")
                    runs.failures[engine.name, cores].append(str(error))
                else:
                    say(f"{title}: {told(seen)}")
                    runs.done[engine.name, cores].append(seen)
            yield number


def about(engine: Engine, cores: int, records: int) -> Row:
    """What a row says of its engine."""
    return {
        "engine": engine.name,
        "title": engine.title,
        "ours": engine.ours,
        "cores": cores,
        "records": records,
        "pace": str(engine.pace),
        "settle_ms": SETTLE_MS,
        "recovers": engine.recovers,
        "recovery": engine.recovery,
        "versions": engine.versions,
        "notes": list(engine.notes),
    }


def told(seen: Row) -> str:
    if not seen["right"]:
        return f"wrong: {seen['missing']} alerts missing, {seen['extra']} too many"
    low, high = seen["rate_half_by_bytes"], seen["rate_half_by_alerts"]
    return (
        f"{seen['rate']:,} records/s"
        + (f" (second half {low:,} by bytes, {high:,} by alerts)" if low else "")
        + f", {seen['cpu_us_per_record']} us CPU a record, {seen['peak_rss_mb']:,} MB, up in {seen['start_s']} s"
    )


def result_of(given: argparse.Namespace, runs: Runs) -> dict[str, Any]:
    """The whole result, with --add together with what was saved of engines that are not run now."""
    rows = runs.rows()
    if given.add and (kept := report.load("peers")) is not None:
        new = {(row["engine"], row["cores"]) for row in rows}
        rows += [row for row in kept["result"]["rows"] if (row["engine"], row["cores"]) not in new]
    order = [engine.name for engine in ENGINES]
    rows.sort(key=lambda row: (row["cores"], order.index(row["engine"]) if row["engine"] in order else len(order)))
    return {
        "records": given.records,
        "slow_records": given.slow_records,
        "seed": given.seed,
        "rows": rows,
        "ratios": ratios(rows),
    }


if __name__ == "__main__":
    sys.exit(main())
