"""Scale-out: 1, 2 and 4 workers over the same topics, and what it costs when one joins, leaves or dies.

Question: what does it cost to share the work (CPU a record of all workers together, against one), do all the alerts
          stay right, and how long are alerts held up when the number of workers changes?
Data:     benchmarks/cityjoin_data.py, 4 partitions a topic, 8 region shards.
Shared:   all workers are pinned to one core and the broker to another, so that the rows differ by coordination alone.
          The backlog goes to the broker when all members of the groups hold their partitions; the clock runs from then
          to the broker's append time of the last alert. One more row has two workers on a core each, the second of
          which they share with the broker: this machine has no more.
Changes:  event time runs 60 times as fast as the clock (1,000 records a second of event time), so that windows end
          every second. Two workers run; a third joins, one is asked to leave, one is killed with -9. An alert is due
          when the records that end its window have been sent.
Check:    the alerts of every scenario must equal a plain batch computation; else status 1 and no figures of it.

    python -m benchmarks.scaleout --json
    python -m benchmarks.scaleout --records 8000000 --runs 3 --save
    python -m benchmarks.scaleout --only changes

Reading it: `cpu_us_per_record` is user and system time of all the workers; `cost` is that against one worker.
`longest_delay_s` is that of the alerts due between a change and the next.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiokafka import AIOKafkaProducer

from benchmarks import report
from benchmarks.cityjoin_data import (
    DISORDER_MS,
    PARTITIONS,
    SIDE,
    SOUTH,
    START_MS,
    STEP_DEG,
    WEST,
    WINDOW_MS,
    Answer,
    Records,
    batch_answer,
    json_records,
    make_records,
)
from benchmarks.scaleout_page import section
from benchmarks.scaleout_run import (
    Batch,
    Groups,
    Told,
    Worker,
    make_batches,
    make_producer,
    make_topics,
    read_told,
    right,
    send,
)
from deploy.local.kafka import LocalKafka
from schemas.sources import Source
from streams.topics import TopicNames

WORKER_CPU: Final = 0
BROKER_CPU: Final = 1
CPU_EVERY_S: Final = 0.02
SCRAPE_EVERY_S: Final = 0.5
GIVE_UP_S: Final = 300.0
PATIENCE_S: Final = 20.0

SPEED: Final = 60
"""Event time against the clock where workers come and go."""
CHANGES_RECORDS_PER_S: Final = 1_000  # of event time
CELLS_APART: Final = 4  # devices stand in every fourth cell, so that thin data still raise dozens of alerts a window
SLICE_S: Final = 0.1
SETTLING_S: Final = 8.0
"""Before the first change, for what is usual."""
BETWEEN_S: Final = 18.0
"""From one change to the next: more than the session timeout, after which a dead worker is given up, and a start."""
IDLE = "\n[locate]\nidle_after_ms = 600000\n"
"""Partitions are empty until the backlog comes, one after the other: none of them is idle."""

Result = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=3_000_000, help="of the shared backlog (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--runs", type=int, default=1, help="of each number of workers; the median counts")
    parser.add_argument("--only", choices=("shared", "changes"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep the result for RESULTS.md")
    given = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two processors are needed: one for the broker, one for the workers")
    with tempfile.TemporaryDirectory(prefix="scaleout-") as folder:
        result = asyncio.run(measure(given, Path(folder)))
    if given.save and result["right"]:
        say(f"kept as {report.save('scaleout', result).name}")
    print(json.dumps(result) if given.json else section(result))
    return 0 if result["right"] else 1


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


async def measure(given: argparse.Namespace, folder: Path) -> Result:
    """All scenarios on one broker; each has topics and groups of its own."""
    result: Result = {"records": given.records, "seed": given.seed, "shared": [], "changes": None}
    with LocalKafka(folder / "kafka", cpus=[BROKER_CPU], heap="2g") as broker:
        producer = make_producer(broker.bootstrap)
        await producer.start()
        try:
            if given.only != "changes":
                result["shared"] = await shared(given, producer, broker.bootstrap, folder)
            if given.only != "shared":
                result["changes"] = await changes(given, producer, broker.bootstrap, folder)
        finally:
            await producer.stop()
    told = [*result["shared"], *([result["changes"]] if result["changes"] else [])]
    return result | {"right": all(row["right"] for row in told)}


# --- the same backlog, shared among workers --------------------------------------------------------------------------


async def shared(given: argparse.Namespace, producer: AIOKafkaProducer, bootstrap: str, folder: Path) -> list[Result]:
    """A row for each number of workers on one core, and one for two workers on two."""
    say(f"making {given.records:,} records and their answer")
    records = make_records(given.records, given.seed)
    expected = batch_answer(records)
    batches = make_batches(producer, json_records(records))
    total = given.records + len(Source) * PARTITIONS
    plan = [(count, 1) for count in given.workers] + [(2, 2)]
    runs: dict[tuple[int, int], list[Result]] = {}
    for number in range(given.runs):
        for workers, cores in plan:
            prefix = f"s{workers}-{cores}-{number}-"
            seen = await share(workers, cores, batches, expected, total, producer, bootstrap, folder / prefix)
            say(f"{workers} workers on {cores} cores: {seen}")
            runs.setdefault((workers, cores), []).append(seen)
    one = runs.get((1, 1))
    rows = [
        {"workers": workers, "cores": cores} | middle(seen)
        for (workers, cores), seen in runs.items()
    ]  # fmt: skip
    if one and rows[0]["right"]:
        for row in rows:
            if row["right"]:
                row["cost"] = round(row["cpu_us_per_record"] / middle(one)["cpu_us_per_record"], 3)
    return rows


async def share(
    count: int,
    cores: int,
    batches: Sequence[Batch],
    expected: Answer,
    total: int,
    producer: AIOKafkaProducer,
    bootstrap: str,
    folder: Path,
) -> Result:
    """One run: start the workers, give them the backlog when they are ready, see what it takes."""
    topics = make_topics(bootstrap, folder.name)
    names = TopicNames(topics.prefix)
    workers: list[Worker] = []
    groups = Groups(bootstrap, names).start()
    try:
        began_s = time.time()
        for number in range(count):
            cpus = [WORKER_CPU] if cores == 1 else [(WORKER_CPU, BROKER_CPU)[number % 2]]
            workers.append(Worker(folder / f"worker-{number}", bootstrap, topics, cpus=cpus, config=IDLE))
        await groups.until_settled(count, workers)
        ready_s = (groups.settled_since(count) or began_s) - began_s
        await asyncio.to_thread(groups.stop)  # asking the broker is work for it
        idle_s = sum(worker.cpu_s() for worker in workers)
        first_s = time.time()
        sending = asyncio.create_task(send(producer, names, batches))
        cpu = await until_told(workers, total, len(expected), idle_s)
        await sending
        shares = sorted(worker.records()[0] / total for worker in workers)
        peaks = [worker.peak_rss_mb() for worker in workers]
    finally:
        groups.stop()
        for worker in workers:
            worker.stop()
    told = await asyncio.to_thread(read_told, bootstrap, names, topics.alerts_partitions)
    if not right(told, expected):
        return {"right": False, "alerts": len({alert.row for alert in told}), "alerts_expected": len(expected)}
    last_s = max(alert.at_s for alert in told)
    times, spent = zip(*cpu, strict=True)
    return {
        "right": True,
        "wall_s": round(last_s - first_s, 3),
        "rate": round(total / (last_s - first_s)),
        "cpu_us_per_record": round((float(np.interp(last_s, times, spent)) - idle_s) / total * 1e6, 3),
        "least_share": round(shares[0], 3),
        "most_share": round(shares[-1], 3),
        "peak_rss_mb": sum(peaks),
        "ready_s": round(ready_s, 2),
        "alerts": len(expected),
    }


async def until_told(workers: Sequence[Worker], total: int, alerts: int, idle_s: float) -> list[tuple[float, float]]:
    """Wait until all records have been read and all alerts told; returns (epoch seconds, CPU seconds of all)."""
    cpu = [(time.time(), idle_s)]
    give_up_at = time.monotonic() + GIVE_UP_S
    scrape_at = read_at = 0.0
    while True:
        await asyncio.sleep(CPU_EVERY_S)
        cpu.append((time.time(), sum(worker.cpu_s() for worker in workers)))
        now = time.monotonic()
        if now < scrape_at:
            continue
        scrape_at = now + SCRAPE_EVERY_S
        for worker in workers:
            worker.check()
        seen = [await asyncio.to_thread(worker.records) for worker in workers]
        read = sum(records for records, _ in seen)
        if read >= total:
            read_at = read_at or now
            if sum(told for _, told in seen) >= alerts or now - read_at > PATIENCE_S:
                return cpu
        if now > give_up_at:
            raise SystemExit(f"no end after {GIVE_UP_S:.0f} s: {read:,.0f} of {total:,} records read")


def middle(runs: Sequence[Result]) -> Result:
    """The median of each figure; a wrong run makes the row wrong."""
    wrong = next((run for run in runs if not run["right"]), None)
    if wrong is not None:
        return wrong
    row = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "right"}
    return {"right": True, "runs": len(runs)} | row


# --- workers that come and go ----------------------------------------------------------------------------------------


def thin_records(count: int, seed: int) -> Records:
    """CityJoin's records, fewer a second of event time and in fewer cells."""
    records = make_records(count, seed)
    random = np.random.default_rng(seed + 1)
    produced_ms = START_MS + np.arange(count) * 1000 // CHANGES_RECORDS_PER_S
    cell = records.cell // CELLS_APART * CELLS_APART
    return dataclasses.replace(
        records,
        event_at_ms=produced_ms - random.integers(0, DISORDER_MS, count),
        cell=cell,
        lon=np.round(WEST + STEP_DEG * (cell % SIDE + 0.5), 6),
        lat=np.round(SOUTH + STEP_DEG * (cell // SIDE + 0.5), 6),
    )


async def changes(given: argparse.Namespace, producer: AIOKafkaProducer, bootstrap: str, folder: Path) -> Result:
    """Two workers under a steady load; a third joins, one leaves, one dies."""
    seconds = SETTLING_S + 3 * BETWEEN_S
    a_slice = round(CHANGES_RECORDS_PER_S * SPEED * SLICE_S)
    records = thin_records(int(seconds / SLICE_S) * a_slice, given.seed)
    say(f"making {records.count:,} records for {seconds:.0f} s of a steady load")
    expected = batch_answer(records)
    lines = list(json_records(records))
    slices = [make_batches(producer, lines[at : at + a_slice]) for at in range(0, records.count, a_slice)]
    closers = make_batches(producer, lines[records.count :])
    del lines
    folder = folder / "changes-"
    topics = make_topics(bootstrap, folder.name)
    names = TopicNames(topics.prefix)
    groups = Groups(bootstrap, names).start()
    workers = [
        Worker(folder / f"worker-{number}", bootstrap, topics, cpus=[WORKER_CPU, BROKER_CPU]) for number in range(2)
    ]
    at: dict[str, float] = {}
    try:
        await groups.until_settled(2, workers)
        at["steady"] = time.time()
        feeding = asyncio.create_task(feed(producer, names, slices, closers))
        await asyncio.sleep(SETTLING_S)
        at["joins"] = time.time()
        workers.append(Worker(folder / "worker-2", bootstrap, topics, cpus=[WORKER_CPU, BROKER_CPU]))
        await asyncio.gather(asyncio.sleep(BETWEEN_S), groups.until_settled(3, workers))
        at["leaves"] = time.time()
        workers[0].leave()
        await asyncio.gather(asyncio.sleep(BETWEEN_S), groups.until_settled(2, workers[1:]))
        at["dies"] = time.time()
        await asyncio.to_thread(workers[1].kill)
        await feeding
        told = await until_right(bootstrap, names, topics.alerts_partitions, expected)
    finally:
        groups.stop()
        for worker in workers:
            await asyncio.to_thread(worker.stop)
    if not right(told, expected):
        rows = {alert.row for alert in told}
        return {"right": False, "missing": len(expected - rows), "extra": len(rows - expected)}
    about = {"alerts": len(expected), "records": records.count, "rate": CHANGES_RECORDS_PER_S * SPEED, "speed": SPEED}
    return {"right": True} | about | delays(told, at, groups)


async def feed(
    producer: AIOKafkaProducer, names: TopicNames, slices: Sequence[Sequence[Batch]], closers: Sequence[Batch]
) -> None:
    """Each slice at its time, whatever became of the one before."""
    began = time.monotonic()
    for number, batches in enumerate(slices):
        await asyncio.sleep(max(0.0, began + number * SLICE_S - time.monotonic()))
        await send(producer, names, batches)
    await send(producer, names, closers)


async def until_right(bootstrap: str, names: TopicNames, partitions: int, expected: Answer) -> list[Told]:
    """The alerts, once they are those expected or time is up."""
    give_up_at = time.monotonic() + 3 * PATIENCE_S
    while True:
        told = await asyncio.to_thread(read_told, bootstrap, names, partitions)
        if right(told, expected) or time.monotonic() > give_up_at:
            return told


def delays(told: Sequence[Told], at: dict[str, float], groups: Groups) -> Result:
    """How late alerts came after each change, and how long the groups were not settled."""
    began_s = at["steady"]
    first: dict[tuple[int, int, float, int, int], float] = {}
    for alert in told:
        first[alert.row] = min(alert.at_s, first.get(alert.row, alert.at_s))
    # a window ends when a record 5 s past it has come from each partition, and records are up to 5 s behind
    due = {row: began_s + (row[1] + WINDOW_MS + 2 * DISORDER_MS - START_MS) / 1000 / SPEED for row in first}
    moments = [*at.values(), float("inf")]
    phases: Result = {}
    for (name, since), until in zip(at.items(), moments[1:], strict=True):
        late = [first[row] - due[row] for row in first if since <= due[row] < until]
        over = [due[row] - since for row in first if since <= due[row] < until and first[row] - due[row] > 1.0]
        phases[name] = {
            "alerts": len(late),
            "median_delay_s": round(statistics.median(late), 3) if late else None,
            "longest_delay_s": round(max(late), 3) if late else None,
            "over_1_s_for_s": round(max(over, default=0.0), 2),
        }
    for name, members in (("joins", 3), ("leaves", 2), ("dies", 1)):
        settled = groups.first_settled(at[name], members)
        phases[name]["settled_after_s"] = {
            role: None if (moment := settled[group]) is None else round(moment - at[name], 2)
            for role, group in zip(("locate", "join"), groups.ids, strict=True)
        }
    return {"phases": phases}


if __name__ == "__main__":
    sys.exit(main())
