"""The city operation index over a long history: how long an analyst waits for it.

Question: how long does a question to v_city_index take over many observations, asked of the roll-ups?
Data:     observations that the engine makes itself, spread evenly over the days, the districts of the shipped Shanghai
          and the kinds that the index reads; they go through the ordinary table, so the roll-up is the one in use.
Check:    for one district and hour the index's mean of PM2.5 and count of tickets equal those of the observations
          themselves; and the contributions of all indicators add up to the index. Else no time is printed, status 1.

    python -m benchmarks.index_query --observations 100000000 --json --save

Reading it: `hour_ms`, `day_ms`, `month_ms` and `explained_ms` are medians over repeated questions (all districts in one
hour, in one day, one district over 30 days, every indicator of one district and hour), the first one left out.
Making 100 million rows takes some minutes and 2.5 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks.report import save
from streams.clickhouse import Store, connect
from streams.index_weights import load_weights
from streams.migrations import apply_migrations
from streams.reference_rows import load_reference
from topology.city import City

DAYS = 30
BLOCK = 5_000_000
T0 = "2026-06-01 00:00:00"
ASKED_HOUR = "toDateTime('2026-06-12 08:00:00', 'UTC')"
ASKED_DISTRICT = "310104"
console = Console(stderr=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep the result for benchmarks/RESULTS.md")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="index-query-") as folder,
        connect(f"chdb://{Path(folder) / 'ch'}", request_timeout_s=3600) as store,
    ):
        apply_migrations(store)
        load_reference(store, City.load("shanghai"), load_weights(), now_ms=1)
        fill(store, given.observations)
        wrong = check(store)
        if wrong:
            console.print(f"[red]wrong answer: {wrong}")
            return 1
        result = {
            "observations": store.rows("SELECT count() FROM observations")[0][0],
            "rolled_up_rows": store.rows("SELECT count() FROM observation_hours")[0][0],
            "engine": store.ping(),
            **ask(store, given.repeats),
        }
    if given.save:
        save("index_query", result)
    print(json.dumps(result)) if given.json else console.print(result)
    return 0


def fill(store: Store, observations: int) -> None:
    """Rows by arithmetic on their number: the same every time."""
    districts = (
        "(SELECT groupArray(code) FROM (SELECT code FROM v_jurisdictions WHERE level = 'district' ORDER BY code))"
    )
    weights = load_weights()
    kinds = [
        (weight.source, kind)
        for weight in weights
        if weight.source in ("readings", "camera-events", "tickets")
        for kind in weight.kinds
        if kind != "*"
    ]
    names = ", ".join(f"('{source}', '{kind}')" for source, kind in dict.fromkeys(kinds))
    for first in range(0, observations, BLOCK):
        count = min(BLOCK, observations - first)
        store.command(
            "INSERT INTO observations (event_at, received_at, cell, source, partition, offset, kind, entity, value,"
            " confidence, quality, flags, lon_e7, lat_e7, jurisdiction)"
            f" WITH {districts} AS codes, [{names}] AS kinds,"
            # neighbours in number fall into one hour, as they would arrive
            f" toUInt64(number * {DAYS * 86_400} / {observations}) AS second, cityHash64(number) AS chance"
            f" SELECT toDateTime64('{T0}', 3, 'UTC') + second AS event_at, event_at, chance % 600000,"
            " kinds[1 + chance % length(kinds)].1, chance % 4, number, kinds[1 + chance % length(kinds)].2,"
            " concat('d', toString(chance % 20000)), (chance % 1000) / 10, 1, if(chance % 50 = 0, 1, 0), 0, 0, 0,"
            " codes[1 + intDiv(chance, 7) % length(codes)]"
            f" FROM numbers({first}, {count})"
        )
        console.log(f"{first + count:,} of {observations:,} observations")


def check(store: Store) -> str:
    """What is wrong with the index's answer for one district and hour; empty when it is right."""
    where = f"jurisdiction = '{ASKED_DISTRICT}' AND toStartOfHour(event_at) = {ASKED_HOUR}"
    direct = store.rows(
        "SELECT avgIf(value, kind = 'pm25_ugm3' AND quality = 0), countIf(source = 'tickets')"
        f" / any((SELECT any(population) FROM v_jurisdictions WHERE code = '{ASKED_DISTRICT}')) * 1e5"
        f" FROM observations WHERE {where}"
    )[0]
    told = dict(
        store.rows(
            "SELECT indicator, value FROM v_city_index_indicators"
            f" WHERE district = '{ASKED_DISTRICT}' AND hour = {ASKED_HOUR}"
        )
    )
    for name, expected in zip(("pm25", "appeals"), direct, strict=True):
        if abs(told[name] - expected) > 1e-9 * max(1.0, abs(expected)):
            return f"{name} is {told[name]} in the index, {expected} in the observations"
    score, parts = store.rows(
        f"SELECT (SELECT any(score) FROM v_city_index WHERE district = '{ASKED_DISTRICT}' AND hour = {ASKED_HOUR}),"
        " (SELECT sum(contribution) FROM v_city_index_indicators"
        f" WHERE district = '{ASKED_DISTRICT}' AND hour = {ASKED_HOUR})"
    )[0]
    return "" if abs(score - parts) < 1e-9 else f"the index is {score}, its parts add up to {parts}"


def ask(store: Store, repeats: int) -> dict[str, float]:
    day = f"hour >= toStartOfDay({ASKED_HOUR}) AND hour < toStartOfDay({ASKED_HOUR}) + 86400"
    questions = {
        "hour_ms": f"SELECT district, score FROM v_city_index WHERE hour = {ASKED_HOUR}",
        "day_ms": f"SELECT district, hour, score FROM v_city_index WHERE {day}",
        "month_ms": f"SELECT hour, score FROM v_city_index WHERE district = '{ASKED_DISTRICT}'",
        "explained_ms": (
            "SELECT indicator, value, contribution FROM v_city_index_indicators"
            f" WHERE district = '{ASKED_DISTRICT}' AND hour = {ASKED_HOUR}"
        ),
    }
    return {name: _median_ms(store, sql, repeats) for name, sql in questions.items()}


def section(result: dict[str, Any]) -> str:
    """The result's part of RESULTS.md."""
    return f"""## The city operation index over {result["observations"]:,} observations

How long an analyst waits for an answer of `v_city_index`, asked of the hourly roll-up ({result["rolled_up_rows"]:,}
rows) in the embedded engine ({result["engine"]}). Before it was timed, the index of one district and hour was held to
the observations themselves.

| question | median, ms |
|---|---:|
| all districts, one hour | {result["hour_ms"]} |
| all districts, one day | {result["day_ms"]} |
| one district, {DAYS} days | {result["month_ms"]} |
| one district and hour, every indicator with its share | {result["explained_ms"]} |

The bar is 200 ms. A server with other work to do, or a cold disk, takes longer."""


def _median_ms(store: Store, sql: str, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        store.rows(sql)
        times.append((time.perf_counter() - began) * 1000)
    return round(median(times[1:]), 1)


if __name__ == "__main__":
    sys.exit(main())
