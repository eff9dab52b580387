"""One city on a broker and a store of the test run: fed while workers come and go, then held to the truth."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.config import TongguanConfig
from deploy.store import open_store
from schemas.alert import Action, Alert, decode_alert
from schemas.dead_letter import decode_dead_letter
from schemas.sources import Source
from streams.migrations import apply_migrations
from streams.topic_admin import apply
from streams.topics import TopicNames
from tests.live.support import small_city
from tests.live.support.city_worker import ROLES, CityWorker
from tests.live.support.small_city import GRID, PARTITIONS, SHARDS, Record
from tests.live.support.topic_messages import messages_of

WITHIN_S: Final = 60.0
BROKER_WITHIN_MS: Final = 180_000
SESSION_S: Final = (
    3.0  # a member that is silent for so long is dead: short for the test's sake, long for a busy machine
)
ALERTS_PARTITIONS: Final = 2


@dataclass
class CityRun:
    """Topics under a prefix of their own, a database of its own, and the records sent so far."""

    bootstrap: str
    clickhouse_url: str
    name: str
    directory: Path
    lazy: bool = False  # commit and snapshot at the end only
    idle_after_ms: int = 600_000  # far longer than any test: what is idle depends on the clock, and truth must not
    sent: list[Record] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "data_dir": str(self.directory),
            "kafka": {"bootstrap": self.bootstrap, "session_timeout_s": SESSION_S},
            "clickhouse": {"url": self.clickhouse_url, "database": self.name},
            "city": {"west": small_city.WEST, "south": small_city.SOUTH, "cell_deg": small_city.STEP_DEG,
                     "east": small_city.WEST + small_city.SIDE * small_city.STEP_DEG,
                     "north": small_city.SOUTH + small_city.SIDE * small_city.STEP_DEG},
            "topics": {"prefix": f"{self.name}.", "shards": SHARDS, "alerts_partitions": ALERTS_PARTITIONS,
                       "readings_partitions": PARTITIONS, "camera_events_partitions": PARTITIONS,
                       "tickets_partitions": PARTITIONS, "replication": 1},
            "locate": {"idle_after_ms": self.idle_after_ms, "tickets": {"lateness_ms": small_city.DISORDER_MS},
                       "commit_interval_ms": 60_000 if self.lazy else 300},
            "join": {"snapshot_every_s": 60 if self.lazy else 0.7},
            "archive": {"batch_rows": 5_000, "batch_seconds": 0.3, "buffer_frames": 8},
        }  # fmt: skip

    @property
    def config(self) -> TongguanConfig:
        return TongguanConfig.model_validate(self.settings)

    @property
    def names(self) -> TopicNames:
        return self.config.topic_names

    def set_up(self) -> None:
        apply(self.bootstrap, self.config.topic_specs())
        with open_store(self.config) as store:
            apply_migrations(store)
            for table in ("observations", "tickets", "alerts", "dead_letters"):
                store.command(f"SYSTEM STOP MERGES {self.name}.{table}")  # they would hide a row that came twice

    def worker(self, name: str = "worker", *, roles: tuple[str, ...] = ROLES) -> CityWorker:
        return CityWorker(self.settings, self.directory / f"{name}.log", roles=roles)

    # --- in --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """Idempotent, so that the n-th record of a partition has offset n even if the broker is killed meanwhile. It
        waits longer than by default (40 s) for one that comes back slowly on a crowded machine."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, enable_idempotence=True, linger_ms=5, request_timeout_ms=BROKER_WITHIN_MS
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send(self, records: Sequence[Record], *, lasting_s: float = 0.0) -> None:
        """All records, acknowledged; evenly over about `lasting_s`."""
        began, waiting = time.monotonic(), []
        async with self.producer() as producer:
            for number, record in enumerate(records):
                key = b"tombstone" if record.value is None else None
                waiting.append(
                    await producer.send(
                        self.names.raw(record.source), record.value, key=key, partition=record.partition
                    )
                )
                self.sent.append(record)
                ahead_s = lasting_s * number / len(records) - (time.monotonic() - began)
                if ahead_s > 0.02:
                    await asyncio.sleep(ahead_s)
            await asyncio.gather(*waiting)

    # --- out -------------------------------------------------------------------------------------------------------

    async def settled(self, *, archived: bool = True, within_s: float = WITHIN_S) -> None:
        """Until every group has committed the end of what it reads, one after the other along the flow."""
        names = self.names
        raw = [TopicPartition(names.raw(source), p) for source in Source for p in range(PARTITIONS)]
        frames = [TopicPartition(names.observations, shard) for shard in range(SHARDS)]
        records = [
            *(TopicPartition(names.alerts, p) for p in range(ALERTS_PARTITIONS)),
            *(TopicPartition(names.dead_letters, p) for p in range(await self._partitions_of(names.dead_letters))),
        ]
        prefix = names.prefix
        await self._committed(f"{prefix}locate", raw, within_s)
        await self._committed(f"{prefix}tongguan-join", frames, within_s)
        if archived:
            await self._committed(f"{prefix}tongguan-archive", frames + records, within_s)

    async def _partitions_of(self, topic: str) -> int:
        return next(spec.partitions for spec in self.config.topic_specs() if spec.name == topic)

    async def _committed(self, group: str, places: Sequence[TopicPartition], within_s: float) -> None:
        give_up_at = time.monotonic() + within_s
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await consumer.start()
            await admin.start()
            while True:
                behind: dict[TopicPartition, Any] = {}
                try:
                    ends = await consumer.end_offsets(places)
                    done = await admin.list_consumer_group_offsets(group)
                    for place, end in ends.items():
                        at = done[place].offset if place in done else 0
                        if at < end:
                            behind[place] = (at, end)
                except KafkaError as error:  # the broker is being restarted
                    behind = {places[0]: error}
                if not behind:
                    return
                assert time.monotonic() < give_up_at, f"group {group} is behind: {behind}"
                await asyncio.sleep(0.1)
        finally:
            await consumer.stop()
            await admin.close()

    async def read_all(self, topic: str, partitions: int) -> list[Any]:
        """Every message of a topic that is there now."""
        return await messages_of(self.bootstrap, topic, partitions)

    async def alerts(self) -> list[Alert]:
        """What was told, in the order of each partition; an alert may be told twice, but not in two ways."""
        return [decode_alert(message.value) for message in await self.read_all(self.names.alerts, ALERTS_PARTITIONS)]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with open_store(self.config) as store:
            return store.rows(sql)

    # --- the truth -------------------------------------------------------------------------------------------------

    def expected_alerts(self) -> dict[tuple[str, int], Alert]:
        config = self.config
        return small_city.pure_alerts(self.sent, self.names, config.locate, config.join)

    async def assert_alerts_are_true(self) -> dict[tuple[str, int], Alert]:
        """Ids, revisions and every field of the content; twice the same is no fault on Kafka, two versions are."""
        expected = self.expected_alerts()
        told = await self.alerts()
        by_id = {(alert.alert_id, alert.revision): alert for alert in told}
        missing, extra = expected.keys() - by_id.keys(), by_id.keys() - expected.keys()
        assert not missing and not extra, (
            f"{len(missing)} alerts are missing, {len(extra)} are too many: {missing} {extra}"
        )
        wrong = [alert for alert in told if alert != expected[alert.alert_id, alert.revision]]
        assert not wrong, (
            f"{len(wrong)} alerts differ: {wrong[0]} is not {expected[wrong[0].alert_id, wrong[0].revision]}"
        )
        assert {
            (a.cell, a.window_start_ms, a.values["m"], a.values["c"], a.values["t"])
            for a in expected.values()
            if a.detector == "cityjoin" and a.action is not Action.CLEAR
        } == small_city.cityjoin_answer(self.sent)
        return expected

    async def assert_all_is_true(self, *, tables: bool = True) -> None:
        """Alerts and dead letters on Kafka, and the history in ClickHouse: what is true, and each once.

        `tables` False leaves it to the views that each row is there once.
        """
        expected = await self.assert_alerts_are_true()
        counts = small_city.counts_of(self.sent)
        partitions = await self._partitions_of(self.names.dead_letters)
        letters = [
            decode_dead_letter(message.value) for message in await self.read_all(self.names.dead_letters, partitions)
        ]
        places = {(self.names.raw(source), partition, offset) for source, partition, offset in counts.letters}
        assert {(letter.topic, letter.partition, letter.offset) for letter in letters} == places
        self.assert_history_is_true(expected, tables=tables)

    def assert_history_is_true(self, expected: dict[tuple[str, int], Alert], *, tables: bool = True) -> None:
        """Counts through the views, and in the tables themselves, where a repeated insert must not have left rows."""
        counts = small_city.counts_of(self.sent)
        places = {(self.names.raw(source), partition, offset) for source, partition, offset in counts.letters}
        identity = {"observations": "source, partition, offset", "tickets": "partition, offset",
                    "alerts": "alert_id, revision", "dead_letters": "topic, partition, offset"}  # fmt: skip
        rows = {"observations": counts.observations, "tickets": counts.tickets, "alerts": len(expected),
                "dead_letters": len(places)}  # fmt: skip
        found = {name: self.ask(f"SELECT count(), uniqExact({key}) FROM {name}")[0] for name, key in identity.items()}
        assert {name: distinct for name, (_, distinct) in found.items()} == rows
        if tables:
            assert {name: count for name, (count, _) in found.items()} == rows
        views = {"v_observations": counts.observations, "v_tickets": counts.tickets, "v_alert_history": len(expected),
                 "v_alerts": len({alert_id for alert_id, _ in expected}), "v_dead_letters": len(places)}  # fmt: skip
        assert {name: self.ask(f"SELECT count() FROM {name}")[0][0] for name in views} == views
        assert self.ask("SELECT countIf(late) FROM v_observations") == [(counts.late,)]
        assert set(self.ask("SELECT topic, partition, offset FROM v_dead_letters")) == places
        by_source = Counter(r.source.topic for r in self.sent if r.fields is not None)
        assert dict(self.ask("SELECT source, count() FROM v_observations GROUP BY source")) == by_source
        stored = self.ask(
            "SELECT alert_id, revision, action, severity, evidence, sentence_zh, sentence_en FROM v_alert_history"
        )
        assert {(alert_id, revision): tuple(rest) for alert_id, revision, *rest in stored} == {
            key: (a.action, a.severity, a.evidence, a.sentence_zh, a.sentence_en) for key, a in expected.items()
        }
        cells = {cell for (cell,) in self.ask("SELECT DISTINCT cell FROM v_observations")}
        assert cells <= {GRID.cell(r.fields["lon"], r.fields["lat"]) for r in self.sent if r.fields is not None}
