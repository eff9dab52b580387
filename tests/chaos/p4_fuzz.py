"""P4: hostile records, a few or nothing but: never down, each dead-lettered once, the good ones as if they were alone.

One seed: a city with good records only, and the same good records among 1 % and 50 % hostile ones, and behind nothing
but hostile ones (100 %). Records come from producers with every codec, with keys and headers, and among them are whole
batches that no producer should make: a few KiB that unpack to 80 MiB, and compressed data with something behind it.

What is hostile is what hostile.py draws and the reference decoder refuses, or what lies outside the city or far in the
future. Held in the end, beside all that chaos_city.py holds a city to:

- the worker is the one that was started, and still at work;
- on `dead-letters`, each hostile record once, with its topic, partition, offset and bytes; in ClickHouse likewise;
- alerts in every field, evidence by the place among the good, and the rows of the history: those of the good city
  (in a short run that city is thought, not run, and its history is not compared).

In a full run, what hostile records cost: the CPU time of locate a record at each share (`us_at_50%`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.filling import fill
from schemas import decode as reference
from schemas.alert import Alert
from schemas.dead_letter import PAYLOAD_CAP_BYTES, Reason, decode_dead_letter
from schemas.errors import BadRecord
from schemas.sources import Source
from streams.tasks import end
from tests.chaos.campaign import Stage, run_seeds
from tests.chaos.chaos_city import BEFORE_NOW_MS, ChaosCity
from tests.chaos.chaos_worker import ChaosWorker
from tests.chaos.hostile import Fuzzer
from tests.chaos.lives import complaints
from tests.chaos.promises import Given, Outcome
from tests.live.support import small_city
from tests.live.support.small_city import Record, Where
from tests.support.kafka_bytes import batch_bytes, remade

RECORDS: Final = 2_000
"""Good ones."""
SHORT_RECORDS: Final = 600
SHARES: Final = (0.01, 0.5, 1.0)
SHORT_SHARES: Final = (0.5,)
ONLY_HOSTILE: Final = 1_500
CODECS: Final = (None, "gzip", "snappy", "lz4", "zstd")
CHUNK: Final = 150
"""Records that go through one producer before the next."""
BOMB_BYTES: Final = 80 * 1024 * 1024
ZONE: Final = ZoneInfo("Asia/Shanghai")
MEASURED: Final = 60_000
"""Records at each share for what they cost."""
FAR_MS: Final = 10 * 86_400_000
READ: Final = (
    "SELECT source, partition, entity, kind, value, confidence, quality, event_at, cell, lon, lat, late FROM"
    " v_observations WHERE kind != 'closer' ORDER BY ALL"
)


def run(given: Given) -> Outcome:
    return run_seeds(given, "P4", trial, at_once=1)


async def trial(stage: Stage, seed: int) -> list[str]:
    """All shares of one seed, one city after the other."""
    short = stage.given.short
    start_ms = (time.time_ns() // 1_000_000 - BEFORE_NOW_MS) // 60_000 * 60_000
    alone = _Run.thought(stage, seed, start_ms) if short else await _Run.of(stage, seed, "alone", 0.0, start_ms)
    problems = alone.problems
    if not alone.alerts:
        problems.append("the good records alone raise no alert: nothing can be compared")
    for share in SHORT_SHARES if short else SHARES:
        among = await _Run.of(stage, seed, f"h{share * 100:.0f}", share, start_ms)
        problems += among.problems
        problems += [f"{share:.0%} hostile: {words}" for words in alone.differences(among)]
    if not short and seed == stage.given.first_seed:
        await _cost(stage, seed, start_ms)
    return problems


@dataclass
class _Run:
    """One city, through to its end."""

    alerts: dict[tuple[str, int], Alert]
    problems: list[str]
    rows: list[tuple[Any, ...]] | None = None

    @classmethod
    def thought(cls, stage: Stage, seed: int, start_ms: int) -> _Run:
        """The good records alone, through the pure pieces of the product in place of a worker: without a history."""
        city = stage.city(seed, "alone", start_ms=start_ms)
        city.sent = [r for r in city.make_records(_count(stage), seed) if r.fields is not None]
        alerts = _by_good_places(city.expected_alerts().values(), city)
        return cls({(a.alert_id, a.revision): a for a in alerts}, [])

    @classmethod
    async def of(cls, stage: Stage, seed: int, name: str, share: float, start_ms: int) -> _Run:
        chance = random.Random(f"{seed} {name}")
        city = stage.city(seed, name, start_ms=start_ms)
        await city.set_up_async()
        good = [r for r in city.make_records(_count(stage), seed) if r.fields is not None]
        before, among = _with_hostile(good, share, chance, city)
        with city.chaos_worker() as worker:
            pid = worker.pid
            await send_in_every_way(city, before, chance)
            crafted = await send_crafted_batches(city) if share else {}
            closers = sum(map(_is_closer, among))
            await send_in_every_way(city, _counting_the_dead(among[:-closers], city.sent), chance)
            await send_in_every_way(city, _counting_the_dead(among[-closers:], city.sent), chance)
            if await _stays_up(city, worker) and worker.pid == pid:
                found = [*await city.problems(), *await _letter_problems(city, crafted)]
            else:
                found = [f"the worker went down: {worker.process.poll()}"]
            found += complaints(worker)
        hostile = sum(record.fields is None for record in city.sent)
        stage.outcome.add("hostile", hostile)
        stage.outcome.add("crafted_batches", len(crafted))
        stage.outcome.add("good", len(city.sent) - hostile)
        alerts = {(a.alert_id, a.revision): a for a in _by_good_places(await city.alerts(), city)}
        rows = await asyncio.to_thread(city.ask, READ)
        if not found:
            await asyncio.to_thread(city.tear_down)
        return cls(alerts, [f"{share:.0%} hostile: {words}" for words in found], rows)

    def differences(self, other: _Run) -> Iterator[str]:
        """Of what the good records led to."""
        for key in self.alerts.keys() | other.alerts.keys():
            if self.alerts.get(key) != other.alerts.get(key):
                yield f"alert {key} is {other.alerts.get(key)}, among the good alone {self.alerts.get(key)}"
        if self.rows is not None and other.rows is not None and self.rows != other.rows:
            left, right = Counter(self.rows), Counter(other.rows)
            yield f"rows of the history differ: missing {list(left - right)[:2]}, more {list(right - left)[:2]}"


def _count(stage: Stage) -> int:
    return SHORT_RECORDS if stage.given.short else RECORDS


# --- what is sent ----------------------------------------------------------------------------------------------------


def hostile_values(source: Source, fuzzer: Fuzzer) -> Iterator[bytes | None]:
    """Values of this source that are bad for certain, for ever."""
    while True:
        value = fuzzer.record(source)
        if is_bad(source, value, fuzzer.at_ms):
            yield value


def is_bad(source: Source, value: bytes | None, now_ms: int) -> bool:
    """Refused by the reference, or decoded and then far from the city or from now. Others may be good."""
    try:
        row = reference.decode(source, value, ZONE)
    except BadRecord:
        return True
    if row.event_at_ms > now_ms + FAR_MS:
        return True
    return abs(row.lon - small_city.WEST) > 2 or abs(row.lat - small_city.SOUTH) > 2  # NaN is neither


def _with_hostile(
    good: Sequence[Record], share: float, chance: random.Random, city: ChaosCity
) -> tuple[list[Record], list[Record]]:
    """What is sent first, and the good records with hostile ones among them, closers last."""
    fuzzer = Fuzzer(chance, at_ms=city.start_ms + 120_000)
    values = {source: hostile_values(source, fuzzer) for source in Source}

    def one() -> Record:
        source = chance.choice(list(Source))
        return Record(source, chance.randrange(small_city.PARTITIONS), next(values[source]))

    if share == 1.0:
        return [one() for _ in range(ONLY_HOSTILE)], list(good)
    many = [record for record in good if not _is_closer(record)]
    for _ in range(round(len(many) * share / (1 - share))):
        many.insert(chance.randrange(len(many) + 1), one())
    return [], [*many, *filter(_is_closer, good)]


def _is_closer(record: Record) -> bool:
    return record.fields is not None and "said_dead" in record.fields


def _counting_the_dead(records: Iterable[Record], sent: Sequence[Record]) -> list[Record]:
    """Closers say how many dead records came before them."""
    dead = Counter[Where]((record.source, record.partition) for record in sent if record.fields is None)
    made = []
    for record in records:
        if _is_closer(record):
            fields = dict(record.fields or {}) | {"said_dead": dead[record.source, record.partition]}
            record = Record(record.source, record.partition, msgspec.json.encode(fields), fields, record.late)
        made.append(record)
    return made


async def send_in_every_way(city: ChaosCity, records: Sequence[Record], chance: random.Random) -> None:
    """In their order, by producers of every codec, some with keys and headers."""
    for first in range(0, len(records), CHUNK):
        producer = AIOKafkaProducer(
            bootstrap_servers=city.bootstrap,
            compression_type=chance.choice(CODECS),
            linger_ms=5,
            max_request_size=1 << 23,
        )
        await producer.start()
        try:
            waiting = []
            for record in records[first : first + CHUNK]:
                key = chance.randbytes(chance.randrange(60)) if record.value is None or chance.random() < 0.3 else None
                headers = [("", None), ("trace", chance.randbytes(90)), ("头", b"")] if chance.random() < 0.2 else None
                topic = city.names.raw(record.source)
                waiting.append(
                    await producer.send(topic, record.value, key=key, partition=record.partition, headers=headers)
                )
                city.sent.append(record)
            await asyncio.gather(*waiting)
        finally:
            await producer.stop()


class _Crafted(BatchBuilder):  # type: ignore[misc]  # aiokafka is untyped
    """A batch of bytes of our own in place of what the builder made."""

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data), 0)
        self.append(timestamp=None, key=b"", value=b"")
        self.close()
        self._data = data

    def _build(self) -> bytearray:
        return bytearray(self._data)


async def send_crafted_batches(city: ChaosCity) -> dict[tuple[str, int, int], Reason]:
    """Batches that a producer can make and none should; gives the letters that those lead to which the broker took."""
    reading = msgspec.json.encode(
        {"device_id": "d", "metric": "noise_db", "value": 1, "ts": city.start_ms, "lon": 121.4605, "lat": 31.2105}
    )
    packed = batch_bytes([reading], codec="gzip")
    behind = bytearray(packed + b"more")
    behind[8:12] = (len(behind) - 12).to_bytes(4, "big")
    wanted = [
        batch_bytes([b" " * BOMB_BYTES], codec="zstd"),
        batch_bytes([b"\x00" * BOMB_BYTES], codec="gzip"),
        remade(behind),
    ]
    expected: dict[tuple[str, int, int], Reason] = {}
    producer = AIOKafkaProducer(bootstrap_servers=city.bootstrap, max_request_size=1 << 23)
    await producer.start()
    try:
        for source in Source:
            for data in wanted:
                topic = city.names.raw(source)
                with suppress(KafkaError):  # a broker may refuse it: then nobody has it
                    done = await (await producer.send_batch(_Crafted(data), topic, partition=0))
                    expected[topic, 0, done.offset] = Reason.CORRUPT_BATCH
                    city.sent.append(Record(source, 0, b"\xff"))
    finally:
        await producer.stop()
    return expected


# --- what came of it -------------------------------------------------------------------------------------------------


async def _stays_up(city: ChaosCity, worker: ChaosWorker) -> bool:
    """Wait until everything is through, or the worker is no more."""
    settled = asyncio.create_task(city.all_settled())
    try:
        while not settled.done():
            if not worker.running:
                return False
            await asyncio.wait([settled], timeout=0.5)
        await settled
        return worker.running
    finally:
        await end(settled)


async def _letter_problems(city: ChaosCity, crafted: dict[tuple[str, int, int], Reason]) -> list[str]:
    """Each hostile record once on `dead-letters`, with its bytes; in the history likewise."""
    partitions = next(s.partitions for s in city.config.topic_specs() if s.name == city.names.dead_letters)
    letters = [decode_dead_letter(m.value) for m in await city.read_all(city.names.dead_letters, partitions)]
    found: list[str] = []
    expected: dict[tuple[str, int, int], bytes] = {}
    for record, offset in zip(city.sent, small_city.offsets_of(city.sent), strict=True):
        if record.fields is None:
            expected[city.names.raw(record.source), record.partition, offset] = record.value or b""
    times = Counter((letter.topic, letter.partition, letter.offset) for letter in letters)
    found += [f"{place} was dead-lettered {count} times" for place, count in times.items() if count != 1]
    if times.keys() != expected.keys():
        found.append(
            f"{len(expected.keys() - times.keys())} letters missing, {len(times.keys() - expected.keys())} more"
        )
    for letter in letters:
        place = letter.topic, letter.partition, letter.offset
        if place in crafted:
            if letter.reason is not crafted[place]:
                found.append(f"{place}, a crafted batch, was refused as {letter.reason}: {letter.detail}")
            continue
        value = expected.get(place, b"")
        if letter.payload != value[:PAYLOAD_CAP_BYTES] or letter.payload_bytes != len(value):
            found.append(f"the letter of {place} holds {letter.payload[:80]!r}, sent was {value[:80]!r}")
    stored = await asyncio.to_thread(
        city.ask, "SELECT topic, partition, offset, reason, payload_b64, payload_bytes FROM dead_letters"
    )
    told = [(x.topic, x.partition, x.offset, str(x.reason), x.payload_b64, x.payload_bytes) for x in letters]
    if Counter(stored) != Counter(told):
        found.append(f"the history has {len(stored)} dead letters, other than the {len(told)} that were written")
    return found


def _by_good_places(alerts: Iterable[Alert], city: ChaosCity) -> Iterator[Alert]:
    """The alerts with places among the good records alone, in evidence and in urgent ones' ids."""
    places: dict[str, tuple[Source, int, int]] = {}
    seen = Counter[Where]()
    for record, offset in zip(city.sent, small_city.offsets_of(city.sent), strict=True):
        if record.fields is not None:
            where = record.source, record.partition
            places[f"{city.names.raw(record.source)}:{record.partition}:{offset}"] = (*where, seen[where])
            seen[where] += 1
    for alert in alerts:
        evidence = [places[one] for one in alert.evidence]
        alert_id = alert.alert_id
        if alert.detector == "urgent_ticket":  # its id ends with the ticket's partition and offset
            alert_id = "-".join([*alert_id.split("-")[:-1], str(evidence[0][2])])
        written = tuple(f"{source.topic}:{partition}:{number}" for source, partition, number in evidence)
        yield msgspec.structs.replace(alert, alert_id=alert_id, evidence=written)


# --- what it costs ---------------------------------------------------------------------------------------------------


async def _cost(stage: Stage, seed: int, start_ms: int) -> None:
    """What a record costs a worker with role locate, in microseconds of CPU time, at each share of hostile ones."""
    for share in (0.0, *SHARES):
        chance = random.Random(f"{seed} cost")
        city = stage.city(seed, f"c{share * 100:.0f}", start_ms=start_ms)
        await city.set_up_async()
        good = [r for r in small_city.make_records(MEASURED, seed, start_ms=start_ms, per_s=1_000) if r.fields]
        fuzzer = Fuzzer(chance, at_ms=start_ms)
        values = {source: hostile_values(source, fuzzer) for source in Source}
        lines = []
        for record in good[:MEASURED]:
            bad = chance.random() < share
            value = (next(values[record.source]) or b"") if bad else record.value
            lines.append((city.names.raw(record.source), record.partition, value or b""))
        with city.chaos_worker(roles=("locate",)) as worker:
            await worker.reads()  # what it takes to start is another question
            before = _cpu_s(worker)
            await fill(city.bootstrap, lines)
            raw = [TopicPartition(city.names.raw(s), p) for s in Source for p in range(small_city.PARTITIONS)]
            await city._committed(f"{city.names.prefix}locate", raw, 300.0)
            used = _cpu_s(worker) - before
        stage.outcome.figures[f"us_at_{share * 100:.0f}%"] = round(used / len(lines) * 1e6, 1)
        await asyncio.to_thread(city.tear_down)


def _cpu_s(worker: ChaosWorker) -> float:
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
