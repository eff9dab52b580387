"""P3: the same raw log gives the same alerts, byte for byte, however it is read.

The records of one seed are written into the raw topics of several cities, partition by partition the same; the cities
differ in when the records come, how they are cut into batches, and how many workers share the work. Every city's
alerts, incidents and history must be the true ones, and the alerts of all of them the same bytes (but for the prefix of
the topics, which evidence names).

    backlog      everything is there before the only worker starts
    live         records come while it works: in the pace of their own event time in a full run, faster in a short one
    crumbs       batches of one record, flushes every few records, frames of a few rows
    lumps        large batches, rare flushes
    two, four    so many workers
    skewed       each raw partition is minutes of event time behind the one before it
    one by one   a raw partition comes only when the one before has come to its end
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from tests.chaos.campaign import Stage, run_seeds
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.lives import complaints
from tests.chaos.promises import Given, Outcome
from tests.live.support.city_run import ALERTS_PARTITIONS
from tests.live.support.small_city import Record

EVENT_S: Final = 180  # three windows
PER_S: Final = 16.0  # records in a second of event time
SHORT_FASTER: Final = 20.0
SKEW_MS: Final = 60_000  # from one raw partition to the next
AT_ONCE: Final = 3
Order = Callable[[Record], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    name: str
    workers: int = 1
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    order: Order | None = None
    """By what the records are sorted before they are sent; those of one partition keep their order."""
    crumbs: bool = False
    """One record in a batch."""
    live: bool = False


def _skewed(record: Record) -> float:
    ts = record.fields["ts"] if record.fields is not None else 0
    return float(ts + SKEW_MS * (record.partition + 2 * int(record.source)))


def _one_by_one(record: Record) -> float:
    return float(record.partition + 2 * int(record.source))


FEW: Final[Mapping[str, Mapping[str, Any]]] = {
    "locate": {"flush_interval_ms": 1, "max_flush_rows": 20, "max_frame_rows": 7, "header_interval_ms": 5},
    "archive": {"batch_rows": 40, "batch_seconds": 0.05, "record_batch": 3},
}
MANY: Final[Mapping[str, Mapping[str, Any]]] = {
    "locate": {"flush_interval_ms": 700, "header_interval_ms": 900, "commit_interval_ms": 2_000},
    "join": {"snapshot_every_s": 3.0},
    "archive": {"batch_rows": 1_000_000, "batch_seconds": 3.0},
}
VARIANTS: Final = (
    Variant(name="backlog"),
    Variant(name="crumbs", overrides=FEW, crumbs=True),
    Variant(name="lumps", overrides=MANY),
    Variant(name="two", workers=2),
    Variant(name="four", workers=4),
    Variant(name="skewed", order=_skewed),
    Variant(name="one_by_one", order=_one_by_one, workers=2),
    Variant(name="live", live=True),
)
SHORT: Final = ("backlog", "crumbs", "skewed", "two")


def run(given: Given) -> Outcome:
    return run_seeds(given, "P3", trial, at_once=1)


async def trial(stage: Stage, seed: int) -> list[str]:
    variants = [one for one in VARIANTS if not stage.given.short or one.name in SHORT]
    start_ms = (time.time_ns() // 1_000_000 - (EVENT_S + 60) * 1_000) // 60_000 * 60_000
    room = asyncio.Semaphore(AT_ONCE)
    told: dict[str, set[bytes]] = {}

    async def one(variant: Variant) -> list[str]:
        async with room:
            name = f"v{variant.name.replace('_', '')}"
            city = stage.city(seed, name, start_ms=start_ms, overrides=variant.overrides)
            problems = await _run(stage, city, variant, seed)
            told[variant.name] = await _alerts(city)
            if not problems:
                await asyncio.to_thread(city.tear_down)
            return [f"{variant.name}: {problem}" for problem in problems]

    problems = [problem for found in await asyncio.gather(*map(one, variants)) for problem in found]
    first = told.get("backlog", set())
    for name, alerts in told.items():
        if alerts != first:
            problems.append(
                f"{name} told {len(alerts - first)} alerts that backlog did not, and not {len(first - alerts)} of its: "
                f"{sorted(alerts ^ first)[:2]}"
            )
    stage.outcome.add("variants", len(variants))
    stage.outcome.add("alerts", len(first))
    return problems


async def _run(stage: Stage, city: ChaosCity, variant: Variant, seed: int) -> list[str]:
    await city.set_up_async()
    records = city.make_records(int(EVENT_S * PER_S), seed, per_s=PER_S)
    if variant.order is not None:
        records = _ordered(records, variant.order)
    workers = [city.chaos_worker(f"w{number}") for number in range(variant.workers)]
    async with AsyncExitStack() as stack:
        if not variant.live:
            await _send(city, records, variant)
        for worker in workers:
            stack.enter_context(worker)
        await asyncio.gather(*(worker.says("running on") for worker in workers))
        if variant.live:
            await city.send(records, lasting_s=EVENT_S / (SHORT_FASTER if stage.given.short else 1.0))
        await city.all_settled()
        return await city.problems() + [words for worker in workers for words in complaints(worker)]


def _ordered(records: Sequence[Record], order: Order) -> list[Record]:
    """Sorted between the partitions, while each partition keeps the order that its offsets stand for."""
    greatest: dict[Any, float] = {}
    keys: list[float] = []
    for record in records:
        where = record.source, record.partition
        greatest[where] = max(greatest.get(where, 0.0), order(record))
        keys.append(greatest[where])
    return [records[at] for at in sorted(range(len(records)), key=lambda at: (keys[at], at))]


async def _send(city: ChaosCity, records: Sequence[Record], variant: Variant) -> None:
    if not variant.crumbs:
        await city.send(records)
        return
    async with AIOKafkaProducer(
        bootstrap_servers=city.bootstrap, enable_idempotence=True, max_batch_size=1
    ) as producer:
        acknowledged = []
        for record in records:
            acknowledged.append(
                await producer.send(
                    city.names.raw(record.source), record.value, partition=record.partition,
                    key=b"tombstone" if record.value is None else None,
                )
            )  # fmt: skip
            city.sent.append(record)
        await asyncio.gather(*acknowledged)


async def _alerts(city: ChaosCity) -> set[bytes]:
    """The bytes of all alerts, without the prefix that the raw topics have in the evidence."""
    prefix = city.names.prefix.encode()
    return {m.value.replace(prefix, b"") for m in await city.read_all(city.names.alerts, ALERTS_PARTITIONS)}
