"""locate on a real broker: raw JSON in, frames, dead letters and urgent tickets out, through kills and rebalances."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.local.kafka import LocalKafka
from schemas.dead_letter import DeadLetter, Reason, decode_dead_letter
from schemas.errors import BrokerError
from schemas.kinds import built_in_kinds
from schemas.observation import decode_frame
from schemas.sources import Source
from streams import topic_admin, topics
from streams.locate import LocateService
from streams.locate_settings import LocateSettings
from streams.placing import RawKey
from streams.topics import TopicNames, TopicsSettings
from tests.support.shard_reader import ShardReader
from topology.grid import Grid
from topology.shards import Shards

pytestmark = pytest.mark.live

GRID = Grid.degrees(121.0, 31.0, 121.4, 31.4, 0.001)
PARTITIONS, SHARD_COUNT = 2, 3
SHARDS = Shards(GRID, SHARD_COUNT, parent_levels=4)
SETTINGS = LocateSettings(idle_after_ms=300, commit_interval_ms=100)
SHORT_SESSION = {"session_timeout_ms": 1_500, "heartbeat_interval_ms": 400}
WITHIN_S = 30.0
KEYS: list[RawKey] = [(int(source), p) for source in Source for p in range(PARTITIONS)]


class City:
    """Topics of one test under a prefix of its own, a producer for them, and what the readers have seen so far."""

    def __init__(self, bootstrap: str, prefix: str, producer: AIOKafkaProducer) -> None:
        self.bootstrap = bootstrap
        self.names = TopicNames(prefix)
        self.producer = producer
        self.sent: dict[RawKey, int] = Counter()
        self.now_ms = time.time_ns() // 1_000_000

    def service(self, settings: LocateSettings = SETTINGS) -> LocateService:
        return LocateService(
            bootstrap=self.bootstrap,
            names=self.names,
            settings=settings,
            shards=SHARDS,
            kinds=built_in_kinds(),
            consumer_options=SHORT_SESSION,
        )

    @asynccontextmanager
    async def locate(self, settings: LocateSettings = SETTINGS) -> AsyncIterator[LocateService]:
        service = self.service(settings)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()

    async def send(self, source: Source, partition: int, values: Iterable[bytes | None]) -> None:
        futures = []
        for value in values:
            key = b"k" if value is None else None
            futures.append(await self.producer.send(self.names.raw(source), value, key=key, partition=partition))
            self.sent[int(source), partition] += 1
        await asyncio.gather(*futures)

    async def read(self, topic: str, count: int, done: Callable[[list[Any]], bool]) -> list[Any]:
        """All messages of a topic of `count` partitions from its beginning until `done`; fails after a while."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, max_partition_fetch_bytes=1 << 24)
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, p) for p in range(count)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            messages: list[Any] = []
            give_up_at = time.monotonic() + WITHIN_S
            while not done(messages):
                assert time.monotonic() < give_up_at, f"{topic}: {len(messages)} messages are not what is waited for"
                for found in (await consumer.getmany(timeout_ms=200)).values():
                    messages += found
            return messages
        finally:
            await consumer.stop()

    async def shards(self, *, idle: bool = False) -> list[ShardReader]:
        """What every shard holds once all raw records sent are covered (and all partitions are idle, if asked for)."""
        readers: list[ShardReader] = []

        def complete(messages: list[Any]) -> bool:
            readers[:] = [ShardReader() for _ in range(SHARD_COUNT)]
            for message in messages:
                readers[message.partition].read(message.value)
            return all(
                reader.coverage[key].covers(0, self.sent[key] - 1) and (reader.idle.get(key) or not idle)
                for reader in readers
                for key in KEYS
            )

        await self.read(self.names.observations, SHARD_COUNT, complete)
        return readers

    async def placed_tickets(self) -> list[ShardReader]:
        """What placed-tickets holds, by raw partition, once all tickets sent are covered."""
        readers: list[ShardReader] = []

        def complete(messages: list[Any]) -> bool:
            readers[:] = [ShardReader() for _ in range(PARTITIONS)]
            for message in messages:
                readers[message.partition].read(message.value)
            covers = (readers[p].coverage[int(Source.TICKETS), p] for p in range(PARTITIONS))
            return all(cover.covers(0, self.sent[int(Source.TICKETS), p] - 1) for p, cover in enumerate(covers))

        await self.read(self.names.placed_tickets, PARTITIONS, complete)
        return readers

    async def letters(self, count: int) -> list[DeadLetter]:
        messages = await self.read(self.names.dead_letters, 1, lambda found: len({m.key for m in found}) >= count)
        assert all(message.key == decode_dead_letter(message.value).key for message in messages)
        return [decode_dead_letter(message.value) for message in messages]

    # --- records -----------------------------------------------------------------------------------------------------

    def reading(self, number: int, **changes: Any) -> bytes:
        place = random.Random(number)
        record = {
            "device_id": f"gauge-{number % 50}",
            "metric": "water_level_mm",
            "value": float(number % 300),
            "ts": self.now_ms + number - (9_000 if number % 37 == 0 else 0),
            "lon": 121.0 + 0.4 * place.random(),
            "lat": 31.0 + 0.4 * place.random(),
        }
        return msgspec.json.encode(record | changes)

    def ticket(self, number: int, **changes: Any) -> bytes:
        record = {
            "ticket_id": f"T-{number}", "category": "flood", "text": "水", "ts": self.now_ms, "lon": 121.2, "lat": 31.2
        }  # fmt: skip
        return msgspec.json.encode(record | changes)


@pytest.fixture
async def city(kafka: str) -> AsyncIterator[City]:
    async with open_city(kafka) as city:
        yield city


@asynccontextmanager
async def open_city(bootstrap: str, *, shards: int = SHARD_COUNT) -> AsyncIterator[City]:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    settings = TopicsSettings(
        prefix=prefix, readings_partitions=PARTITIONS, camera_events_partitions=PARTITIONS,
        tickets_partitions=PARTITIONS, shards=shards, alerts_partitions=1,
    )  # fmt: skip
    await asyncio.to_thread(topic_admin.apply, bootstrap, topics.topic_specs(settings))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, max_batch_size=1 << 18)
    await producer.start()
    try:
        yield City(bootstrap, prefix, producer)
    finally:
        await producer.stop()


def owned(readers: list[ShardReader]) -> dict[tuple[RawKey, int], tuple[int, int]]:
    """Every row with its time and flags, from the shard that owns it; each must be there once."""
    rows: dict[tuple[RawKey, int], tuple[int, int]] = {}
    for reader in readers:
        for at, (event_at_ms, flags) in reader.taken.items():
            if not flags & 2:  # HALO
                assert at not in rows
                rows[at] = (event_at_ms, flags)
    return rows


async def test_hostile_bytes_become_dead_letters_once_and_the_records_around_them_rows(city: City) -> None:
    hostile: list[tuple[bytes | None, Reason]] = [
        (b"", Reason.EMPTY),
        (None, Reason.NULL_VALUE),
        (b"\xff\xfe\x00", Reason.BAD_JSON),
        (b"[" * 5_000, Reason.BAD_JSON),
        (city.reading(1, value="12"), Reason.BAD_TYPE),
        (city.reading(1).replace(b'"value":1.0', b'"value":1e400'), Reason.BAD_VALUE),
        (city.reading(1, ts=0), Reason.BAD_TIME),
        (city.reading(1, ts=city.now_ms // 1000), Reason.BAD_TIME),
        (city.reading(1, ts=city.now_ms + 3_600_000), Reason.FUTURE),
        (city.reading(1, lon=10.0, lat=10.0), Reason.OUTSIDE_CITY),
        (city.reading(1, lon=31.2, lat=121.2), Reason.BAD_PLACE),
        (b'{"device_id":"a","device_id":"b","metric":"m","value":1,"ts":1700000000000}', Reason.DUPLICATE_KEY),
        (b"x" * 70_000, Reason.TOO_LARGE),
    ]
    values: list[bytes | None] = []
    for number, (value, _) in enumerate(hostile):
        values += [city.reading(number), value]
    values.append(city.reading(len(hostile)))
    await city.send(Source.READINGS, 0, values)
    async with city.locate():
        readers = await city.shards()
        letters = await city.letters(len(hostile))
    assert set(owned(readers)) == {((0, 0), offset) for offset in range(0, len(values), 2)}
    assert [letter.offset for letter in letters] == sorted({letter.offset for letter in letters}), "each once, in order"
    found = {letter.offset: letter for letter in letters}
    for number, (value, reason) in enumerate(hostile):
        letter = found[2 * number + 1]
        assert (letter.topic, letter.partition) == (city.names.raw(Source.READINGS), 0)
        assert letter.payload_bytes == len(value or b"")
        assert letter.payload == (value or b"")[: 16 * 1024]
        # which of two faults of a record is named first is the decoder's business
        assert letter.reason == reason or {letter.reason, reason} <= {Reason.BAD_JSON, Reason.BAD_VALUE}


async def test_records_of_three_sources_reach_their_shards_and_idle_sources_are_told(city: City) -> None:
    await city.send(Source.READINGS, 0, [city.reading(n) for n in range(2_000)])
    await city.send(Source.READINGS, 1, [city.reading(n) for n in range(500)])
    await city.send(Source.TICKETS, 1, [city.ticket(n) for n in range(20)])
    async with city.locate():
        readers = await city.shards(idle=True)
    rows = owned(readers)
    assert len(rows) == 2_520
    assert sum(bool(flags & 1) for _, flags in rows.values()) > 30  # late ones are there, and flagged
    assert any(flags & 2 for reader in readers for _, flags in reader.taken.values()), "no halo copies"


async def test_an_urgent_ticket_is_passed_on_at_once_and_is_also_an_observation(city: City) -> None:
    async with city.locate():
        await city.send(
            Source.TICKETS, 0, [city.ticket(0), city.ticket(1, category="fire"), city.ticket(2, urgency="critical")]
        )
        messages = await city.read(city.names.urgent_tickets, PARTITIONS, lambda found: len(found) >= 2)
        assert len(owned(await city.shards())) == 3
    assert sorted(message.key for message in messages) == [b"T-1", b"T-2"]
    header, batch = decode_frame(messages[0].value)
    assert batch.num_rows == 1
    assert header.covers[0].source == Source.TICKETS


async def test_a_clean_restart_goes_on_where_it_stopped(city: City) -> None:
    await city.send(Source.READINGS, 0, [city.reading(n) for n in range(1_000)])
    async with city.locate():
        await city.shards()
    await city.send(Source.READINGS, 0, [city.reading(n) for n in range(1_000, 1_500)])
    async with city.locate():
        rows = owned(await city.shards())
    assert len(rows) == 1_500
    assert_flags_are_those_of_an_uninterrupted_run(city, rows)


def assert_flags_are_those_of_an_uninterrupted_run(city: City, rows: dict[tuple[RawKey, int], tuple[int, int]]) -> None:
    """Lateness by the plainest loop over each partition."""
    for key in {key for key, _ in rows}:
        newest = 0
        for offset in sorted(offset for k, offset in rows if k == key):
            event_at_ms, flags = rows[key, offset]
            late = bool(newest) and event_at_ms < newest - SETTINGS.source(Source(key[0])).lateness_ms
            assert bool(flags & 1) == late, f"{key} {offset}"
            newest = max(newest, event_at_ms)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_kill_9_in_mid_stream_loses_no_row_and_changes_no_flag(city: City, seed: int) -> None:
    chance = random.Random(seed)
    worker = start_worker(city)
    try:
        for step in range(6):
            for partition in range(PARTITIONS):
                await city.send(Source.READINGS, partition, [city.reading(400 * step + n) for n in range(400)])
                await city.send(Source.TICKETS, partition, [city.ticket(20 * step + n) for n in range(20)])
            await city.send(Source.READINGS, 0, [b"broken"])
            await asyncio.sleep(chance.random() * 0.3)
            if step in (2, 4):
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                worker = start_worker(city)
        readers = await city.shards()
        placed = await city.placed_tickets()
        letters = await city.letters(6)
    finally:
        worker.kill()
        worker.wait()
    rows = owned(readers)
    assert len(rows) == 6 * 420 * PARTITIONS
    assert_flags_are_those_of_an_uninterrupted_run(city, rows)
    tickets = {at: told for at, told in rows.items() if at[0][0] == Source.TICKETS}
    assert {at: told for reader in placed for at, told in reader.taken.items()} == tickets
    assert len({letter.key for letter in letters}) == 6


def start_worker(city: City) -> subprocess.Popen[bytes]:
    """locate in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "tests.live.locate_worker", city.bootstrap, city.names.prefix])


async def test_two_workers_share_the_partitions_and_one_may_leave(city: City) -> None:
    async with city.locate():
        leaving = city.service()
        await leaving.start()
        for step in range(10):
            for partition in range(PARTITIONS):
                await city.send(Source.READINGS, partition, [city.reading(100 * step + n) for n in range(100)])
            await asyncio.sleep(0.2)
            if step == 6:
                await leaving.stop()
        rows = owned(await city.shards())
    assert len(rows) == 2_000
    assert_flags_are_those_of_an_uninterrupted_run(city, rows)


async def test_a_broker_that_goes_away_and_comes_back_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = LocalKafka(tmp_path / "kafka").start()
    try:
        async with open_city(broker.bootstrap) as city, city.locate() as service:
            await city.send(Source.READINGS, 0, [city.reading(n) for n in range(300)])
            await city.shards()
            with caplog.at_level(logging.INFO, "streams"):
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(3)
                await asyncio.to_thread(broker.start)
            await city.send(Source.READINGS, 0, [city.reading(n) for n in range(300, 600)])
            rows = owned(await city.shards())
            assert not service.crashed
    finally:
        await asyncio.to_thread(broker.stop)
    assert len(rows) == 600
    assert_flags_are_those_of_an_uninterrupted_run(city, rows)
    assert not [record for record in caplog.records if record.exc_info], "a traceback in the log"


async def test_a_number_of_shards_that_does_not_fit_the_topic_is_refused(kafka: str) -> None:
    async with open_city(kafka, shards=SHARD_COUNT + 1) as city:
        service = city.service()
        await service.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while not service.crashed:  # noqa: ASYNC110  # mode has no event for it
                    await asyncio.sleep(0.05)
        finally:
            await service.stop()
    assert isinstance(service.crash_reason, BrokerError)
    assert "topics.shards is 3" in str(service.crash_reason)
