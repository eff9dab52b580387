"""The archive role of the real worker between a real Kafka and a real ClickHouse engine: each row once, whatever dies.

The table itself is counted, not only the views: repeated inserts must be dropped before they are rows.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.config import TongguanConfig
from deploy.local.clickhouse import LocalClickHouse
from deploy.local.clickhouse_front import Fault
from deploy.store import open_store
from schemas.alert import Action, encode_alert
from schemas.dead_letter import DeadLetter, Reason, encode_dead_letter
from schemas.errors import BadRecord
from schemas.sources import Source
from streams.migrations import apply_migrations
from streams.topic_admin import apply
from tests.live.support.archive_worker import ArchiveWorker
from tests.support.archive_frames import T0_MS, alert, cover, frame, many_readings, reading_frame, row

pytestmark = pytest.mark.live

FRAME_ROWS = 2_000
SHARDS = 4
ARCHIVED = 'tongguan_clickhouse_rows_total{table="observations"}'


@dataclass
class City:
    """One prefix on the broker, one database in a store."""

    bootstrap: str
    prefix: str
    directory: Path
    url: str | None = None
    password: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "data_dir": str(self.directory),
            "kafka": {"bootstrap": self.bootstrap},
            "clickhouse": {"url": self.url, "password": self.password},
            "topics": {"prefix": self.prefix, "shards": SHARDS, "replication": 1},
            "archive": {"batch_rows": 20_000, "batch_seconds": 0.3, "buffer_frames": 8},
        }

    @property
    def config(self) -> TongguanConfig:
        return TongguanConfig.model_validate(self.settings)

    def set_up(self) -> None:
        apply(self.bootstrap, self.config.topic_specs())
        with open_store(self.config) as store:
            apply_migrations(store)

    def worker(self, name: str = "worker") -> ArchiveWorker:
        return ArchiveWorker(self.settings, self.directory / f"{name}.log")

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with open_store(self.config) as store:
            return store.rows(sql)

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, enable_idempotence=True, max_request_size=16 * 1024 * 1024
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send_frames(self, first: int, last: int) -> None:
        """Frames number first..last-1, round robin over the shards; number n has its own raw offsets."""
        async with self.producer() as producer:
            for number in range(first, last):
                payload = many_readings(number * FRAME_ROWS, FRAME_ROWS, seed=number)
                await producer.send(self.config.topic_names.observations, payload, partition=number % SHARDS)

    async def wait_until_committed(self, *, within_s: float = 90) -> None:
        """Until the archive's group has committed the end of all its topics."""
        names = self.config.topic_names
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=f"{self.prefix}tongguan-archive",
                                    enable_auto_commit=False)  # fmt: skip
        await consumer.start()
        try:
            places = [
                *(TopicPartition(names.observations, shard) for shard in range(SHARDS)),
                *(TopicPartition(topic, p) for topic in (names.alerts, names.dead_letters) for p in range(4)),
            ]
            consumer.assign(places)
            give_up_at = time.monotonic() + within_s
            while True:
                ends = await consumer.end_offsets(places)
                behind = {tp: end for tp, end in ends.items() if (await consumer.committed(tp) or 0) < end}
                if not behind:
                    return
                assert time.monotonic() < give_up_at, f"not committed within {within_s} s: {behind}"
                await asyncio.sleep(0.2)
        finally:
            await consumer.stop()

    def assert_each_row_once(self, rows: int) -> None:
        assert self.ask("SELECT count(), uniqExact(source, partition, offset) FROM observations") == [(rows, rows)]
        assert self.ask("SELECT count() FROM v_observations") == [(rows,)]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    with LocalClickHouse(tmp_path_factory.mktemp("front"), password="s3cret") as running:
        yield running


@pytest.fixture
def city(kafka: str, tmp_path: Path, request: pytest.FixtureRequest) -> City:
    """With the embedded engine, which only one process at a time can open."""
    made = City(kafka, f"arch-{zlib.crc32(request.node.name.encode()):x}.", tmp_path)
    made.set_up()
    return made


@pytest.fixture
def served_city(front: LocalClickHouse, city: City) -> Iterator[City]:
    """With the server; its database is made anew."""
    city.url, city.password = front.url, "s3cret"
    front.act_out(Fault())
    with open_store(city.config) as store:
        apply_migrations(store)
        for table in ("observations", "tickets", "personal_fields", "alerts", "dead_letters"):
            store.command(f"TRUNCATE TABLE {table}")
    yield city
    front.act_out(Fault())


async def test_kill_9_in_mid_insert_keeps_each_row_once_in_the_embedded_engine(city: City) -> None:
    chance = random.Random(7)
    frames = 120
    await city.send_frames(0, frames)
    with city.worker() as worker:
        worker.wait_for_rows(chance.randrange(40_000, 100_000))
        await asyncio.sleep(chance.random() * 0.3)
    with city.worker() as worker:
        worker.wait_for_rows(chance.randrange(20_000, 60_000))
        await asyncio.sleep(chance.random() * 0.3)
    with city.worker() as worker:
        await city.wait_until_committed()
        assert worker.stop() == 0
    city.assert_each_row_once(frames * FRAME_ROWS)


async def test_an_outage_of_the_server_leaves_no_gap_no_duplicate_and_bounded_memory(
    served_city: City, front: LocalClickHouse
) -> None:
    city, frames = served_city, 60
    await city.send_frames(0, frames)
    with city.worker() as worker:
        worker.wait_for_rows(60_000)
        before_mb = worker.rss_mb()
        front.act_out(Fault(mode="down"))
        await city.send_frames(frames, frames + 250)  # 55 MB of frames wait in Kafka
        frames += 250
        await asyncio.sleep(2)
        assert worker.rss_mb() < before_mb + 45
        front.act_out(Fault(mode="lose_answer", only_inserts=True, times=3))
        worker.wait_for_rows(100_000)
        front.act_out(Fault(mode="refuse", code=516, status=403, message="Authentication failed"))
        await asyncio.sleep(1)
        front.act_out(Fault(mode="refuse", code=252, status=500, message="Too many parts. (TOO_MANY_PARTS)", times=4))
        await city.wait_until_committed()
        assert "Traceback" not in worker.log and "s3cret" not in worker.log
        assert worker.log.count("waiting, nothing is lost") <= 6 and "answers again" in worker.log
        assert worker.stop() == 0
    city.assert_each_row_once(frames * FRAME_ROWS)


async def test_kill_9_of_the_server_keeps_each_row_once(kafka: str, tmp_path: Path) -> None:
    server = LocalClickHouse(tmp_path / "front").start()
    port = int(server.url.rpartition(":")[2])
    city = City(kafka, "arch-server-kill.", tmp_path, url=server.url)
    try:
        city.set_up()
        await city.send_frames(0, 100)
        with city.worker() as worker:
            for rows in (40_000, 100_000):
                worker.wait_for_rows(rows)
                server.kill()
                server = LocalClickHouse(tmp_path / "front", port).start()
            await city.wait_until_committed()
            assert worker.stop() == 0
        city.assert_each_row_once(100 * FRAME_ROWS)
    finally:
        server.stop()


async def test_two_workers_share_the_shards_and_one_leaving_loses_nothing(served_city: City) -> None:
    city, sent = served_city, 60
    await city.send_frames(0, sent)
    with city.worker("first") as first:
        first.wait_for_rows(20_000)
        with city.worker("second") as second:
            while second.metric(ARCHIVED) < 10_000:  # it has shards of its own now
                assert sent < 600, second.log
                await city.send_frames(sent, sent + 10)
                sent += 10
                await asyncio.sleep(0.2)
            first.kill()
            await city.send_frames(sent, sent + 20)
            await city.wait_until_committed()
            assert second.stop() == 0
    city.assert_each_row_once((sent + 20) * FRAME_ROWS)


async def test_frames_sent_again_in_other_cuts_alerts_and_letters_sent_again_are_stored_once(served_city: City) -> None:
    city, names = served_city, served_city.config.topic_names
    records = [alert(0, Action.RAISE, 2), alert(1, Action.CLEAR, 2)]
    letter = DeadLetter.of(
        BadRecord(Reason.BAD_JSON, "$", "expected an object"),
        topic="readings",
        partition=0,
        offset=77,
        payload=b"caller_phone 13800138000",
        received_at_ms=T0_MS,
    )
    ticket = row(Source.TICKETS, 0, 0, extra='{"text":"电话13800138000","caller_phone":"13800138000"}')

    async def send() -> None:
        async with city.producer() as producer:
            for first in range(0, 100, 7):
                payload = reading_frame(max(0, first - 3), first + 9)
                await producer.send(names.observations, payload, partition=1)
            tickets = frame([ticket], [cover(Source.TICKETS, 0, 0, 0)])
            await producer.send(names.observations, tickets, partition=2)
            await producer.send(names.observations, b"no frame", partition=2)
            for record in records:
                await producer.send(names.alerts, encode_alert(record), record.key)
            await producer.send(names.alerts, b"no alert", partition=0)
            await producer.send(names.dead_letters, encode_dead_letter(letter), letter.key)

    await send()
    with city.worker() as worker:
        await city.wait_until_committed()
        await send()
        await city.wait_until_committed()
    await send()
    with city.worker() as worker:
        await city.wait_until_committed()
        assert worker.stop() == 0
    readings = 98 + 9 + 1
    city.assert_each_row_once(readings + 1)
    assert city.ask("SELECT count(), uniqExact(alert_id, revision) FROM alerts") == [(2, 2)]
    assert city.ask("SELECT status, revision FROM v_alerts") == [("cleared", 1)]
    assert city.ask("SELECT text FROM v_tickets") == [("电话138****8000",)]
    assert city.ask("SELECT count() FROM personal_fields") == [(1,)]
    # the letter itself once; what is no frame and no alert is a message of its own each of the three times
    assert city.ask("SELECT topic, count() FROM dead_letters GROUP BY topic ORDER BY topic") == [
        (names.alerts, 3),
        (names.observations, 3),
        ("readings", 1),
    ]
