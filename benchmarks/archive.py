"""How fast history gets into ClickHouse: CityJoin with the archive on the same core, and the archive by itself.

Question: how many raw records a second does one core turn into alerts AND rows of ClickHouse, with the engine embedded
          in the worker, so that its work is on that core too? And what does the archive cost alone, on various rows?
Data:     CityJoin's (cityjoin_data.py); archive_alone.py says what `plain`, `city` and `rich` are.
Check:    the alerts equal the batch computation; every raw record is in ClickHouse once: counts of each source and
          partition, the sum of their offsets (running integers), the sum of the readings' values in tenths, and the
          roll-up's count. Else no speed is printed, status 1.

    python -m benchmarks.archive --records 4000000 --json
    python -m benchmarks.archive --save

Reading it: `rate` is records by the wall clock, from the first raw batch to the last row acknowledged by the engine.
`rate_per_core` is what a core does when none waits: 1 / CPU time a record.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import report
from benchmarks.archive_alone import DATA
from benchmarks.cityjoin_data import make_records
from benchmarks.cityjoin_run import Given, Observed, Scrape, console, observe
from schemas.sources import Source
from streams.clickhouse import Store, connect
from streams.migrations import apply_migrations

Result = dict[str, Any]
BAR: Final = 500_000
PARTS_A_MERGE: Final = 16  # schemas/clickhouse/0011_merges.sql
MERGED_ROWS: Final = 1_000_000_000  # of a part that is merged no more, of 14 GB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=8_000_000, help="of CityJoin with the archive; 0 leaves it out")
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the archive alone; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker-cpu", type=int, default=0)
    parser.add_argument("--broker-cpu", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep the result for RESULTS.md")
    given = parser.parse_args()
    result: Result = {"alone": [], "together": None}
    if given.rows:
        for data in DATA:
            alone = run_alone(data, given.rows, given.seed, given.worker_cpu)
            console.log(alone)
            result["alone"].append(alone)
    if given.records:
        result["together"] = run_together(
            Given(
                records=given.records, seed=given.seed, worker_cpu=given.worker_cpu, broker_cpu=given.broker_cpu,
                roles="locate,join,archive",
            )
        )  # fmt: skip
    good = all(alone["complete"] for alone in result["alone"])
    good = good and (result["together"] is None or result["together"]["complete"])
    if given.save and good:
        console.log(f"kept as {report.save('archive', result).name}")
    if given.json:
        print(json.dumps(result))
    else:
        console.print(result)
    return 0 if good else 1


def run_alone(data: str, rows: int, seed: int, cpu: int) -> Result:
    """In a process of its own: a process has one embedded engine, and its threads shall share one core."""
    command = [sys.executable, "-m", "benchmarks.archive_alone", "--data", data, "--rows", str(rows)]
    command += ["--seed", str(seed), "--cpu", str(cpu)]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=900, check=False)
    lines = made.stdout.splitlines()
    if not lines:
        raise SystemExit(f"archive_alone --data {data} ended with status {made.returncode} and said nothing")
    result: Result = json.loads(lines[-1])
    return result


def run_together(given: Given) -> Result:
    """One run of the worker with its engine; see the module."""
    with tempfile.TemporaryDirectory(prefix="archive-") as name:
        folder = Path(name)
        url = f"chdb://{folder / 'ch'}"
        with connect(url) as store:
            apply_migrations(store)
        done: list[Scrape] = []
        total = given.records + 12

        def archived(seen: Scrape) -> bool:
            if seen.archived >= total:
                done.append(seen)
            return bool(done)

        with_store = Given(
            records=given.records, seed=given.seed, shards=given.shards, worker_cpu=given.worker_cpu,
            broker_cpu=given.broker_cpu, roles=given.roles, config=f'[clickhouse]\nurl = "{url}"\n',
        )  # fmt: skip
        seen = observe(with_store, folder, finished=archived)
        with connect(url) as store:
            problems = problems_of(store, seen)
    for problem in problems:
        console.log(f"[red]{problem}[/red]")
    if not seen.correct or problems:
        return {"records": seen.total, "complete": False, "alerts_ok": seen.correct, "problems": problems}
    end_s = done[0].at_s
    wall_s = end_s - seen.samples.first_s
    cpu_s = seen.samples.cpu_at(end_s) - seen.samples.cpu_at(seen.samples.first_s)
    return {
        "records": seen.total,
        "wall_s": round(wall_s, 3),
        "rate": round(seen.total / wall_s),
        "cpu_us_per_record": round(cpu_s / seen.total * 1e6, 3),
        "rate_per_core": round(seen.total / cpu_s),
        "peak_rss_mb": seen.peak_rss_mb,
        "alerts": len(seen.got),
        "alerts_ok": True,
        "complete": True,
    }


def problems_of(store: Store, seen: Observed) -> list[str]:
    """What ClickHouse does not have exactly as it should."""
    records = make_records(seen.given.records, seen.given.seed)
    problems = []
    stored = {
        (source, partition): (count, total)
        for source, partition, count, total in store.rows(
            "SELECT source, partition, count(), sum(offset) FROM v_observations GROUP BY source, partition"
        )
    }
    for source in Source:
        for partition in range(4):
            # one closer in each
            n = int(np.count_nonzero((records.source == source) & (records.device % 4 == partition))) + 1
            got = stored.pop((source.topic, partition), (0, 0))
            if got != (n, n * (n - 1) // 2):
                problems.append(
                    f"{source.topic}[{partition}]: {got} is count and sum of offsets, {n} records were sent"
                )
    if stored:
        problems.append(f"rows of partitions that nobody sent: {sorted(stored)}")
    tenths = int(np.rint(records.value[records.source == Source.READINGS] * 10).sum()) + 4 * 5  # closers say 0.5
    got_tenths, rolled_up, alerts = store.rows(
        "SELECT (SELECT sum(toInt64(round(value * 10))) FROM v_observations WHERE source = 'readings'),"
        " (SELECT sum(records) FROM observation_hours),"
        " (SELECT uniqExact(alert_id) FROM alerts WHERE action != 'clear')"
    )[0]
    if got_tenths != tenths:
        problems.append(f"the readings add up to {got_tenths} tenths, {tenths} were sent")
    if rolled_up != seen.total:
        problems.append(f"the roll-up has {rolled_up} records of {seen.total}")
    if alerts > len(seen.expected):
        problems.append(f"{alerts} alerts are stored, {len(seen.expected)} were raised")
    return problems


def section(result: Result) -> str:
    """Markdown for RESULTS.md."""
    lines = [
        "## Into ClickHouse",
        "",
        "How fast history is written, with ClickHouse's engine embedded in the worker, so that everything it does",
        "(parsing, sorting, compressing, merging, rolling up) is on the same core. Every record is in it once, by",
        f"count, by the sum of offsets and by the sum of values. The bar is {BAR:,} observations/s on one core.",
        "",
    ]
    if result["together"] is not None:
        row = result["together"]
        lines += [
            "| CityJoin and archive together | |",
            "|---|---:|",
            f"| records | {row['records']:,} |",
            f"| records/s by the wall clock | {row['rate']:,} |",
            f"| CPU µs a record | {row['cpu_us_per_record']:.3f} |",
            f"| records/s of a busy core | {row['rate_per_core']:,} |",
            f"| peak MB | {row['peak_rss_mb']:,} |",
            "",
        ]
    if result["alone"]:
        lines += [
            "| archive alone, rows | rows/s | CPU µs a row | rows an insert | one merge, CPU µs a row |"
            " tickets | personal fields | bytes a row on disk |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for row in result["alone"]:
            stored = row["stored"]
            lines.append(
                f"| {row['data']} | {row['rate']:,} | {row['cpu_us_per_row']:.3f} | {row['rows_per_insert']:,} |"
                f" {row['merge_us_per_row']:.3f} | {stored['tickets']:,} |"
                f" {stored['personal_fields']:,} | {stored['disk_bytes_per_row']} |"
            )
        lines += [
            "",
            "`plain` is readings; `city` CityJoin's mix with 1 % tickets; `rich` the same where camera events name a",
            "track, a picture and a plate, and tickets address, caller and telephone: these are taken out of the row,",
            "masked and kept apart.",
            "",
            *_sustained(result),
        ]
    lines += [
        "",
        "The whole run ends with the last row's acknowledgement. What has waited a second by the end of the backlog",
        "(`archive.batch_seconds`) is written at once, but a few rows that come behind a full batch wait for it while",
        "the core rests: the fewer the records, the further the two rates lie apart. It does not show a ClickHouse",
        "server on its own cores, which leaves the worker only the sending.",
    ]
    return "\n".join(lines)


def _sustained(result: Result) -> list[str]:
    """What is left when merges have caught up, which a run of some seconds does not show."""
    city = next((row for row in result["alone"] if row["data"] == "city"), None)
    if city is None or result["together"] is None:
        return []
    merges = math.log(MERGED_ROWS / city["rows_per_insert"], PARTS_A_MERGE)
    cpu_us = result["together"]["cpu_us_per_record"] + merges * city["merge_us_per_row"]
    return [
        "Few merges take part in runs as short as these; after a peak they come due when it is over. ClickHouse merges",
        f"{PARTS_A_MERGE} parts or more at once, so on its way from such an insert to a part of {MERGED_ROWS:,} rows,",
        f"of which a month of full load leaves some hundreds, a row is merged {merges:.1f} times. Whoever runs at full",
        f"load day and night, with those merges on the same core too, thus has {cpu_us:.2f} µs a record:",
        f"{1e6 / cpu_us:,.0f} records/s.",
    ]


if __name__ == "__main__":
    sys.exit(main())
