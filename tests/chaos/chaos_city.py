"""One city under faults, the whole way: raw records in, alerts, incidents and history out, and what is wrong with them.

A `ChaosCity` has topics under a prefix and a database of its own, so that many share one broker and one ClickHouse.
Whatever befell its workers, in the end `problems` holds what came out

- to the arithmetic in the data (ledger.py), in ClickHouse;
- to the uninterrupted truth: the pure pieces of the product in one go over the same records. Alerts in every field;
  dead letters by place; incidents byte for byte as the pure loop makes them of the log, hashes included, and their
  transitions as the pure loop makes them of the inputs, whatever order the log has them in.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from kafka import KafkaAdminClient

from deploy.store import open_store
from schemas.action import ActionName, ActionRecord, encode_action
from schemas.dead_letter import decode_dead_letter
from schemas.incident import decode_incident
from schemas.sources import Source
from streams.loop_core import LoopCore
from streams.migrations import apply_migrations
from streams.topic_admin import apply
from tests.chaos import ledger
from tests.chaos.chaos_worker import ALL_ROLES, ChaosWorker
from tests.chaos.loop_check import Message, Told, loop_problems
from tests.chaos.zygote import Zygote
from tests.live.support import small_city
from tests.live.support.city_run import ALERTS_PARTITIONS, CityRun
from tests.live.support.loop_run import SESSION_S, WORK
from tests.live.support.small_city import BEHIND, Record

RECORDS_PER_S: Final = 8.0  # of event time: five minutes, and so five windows, in 2,400 records
FUTURE_BOUND_MS: Final = 2 * small_city.CLOSER_MS  # closers are an hour ahead
BEFORE_NOW_MS: Final = 400_000
WITHIN_S: Final = 240.0
TABLES: Final = ("observations", "tickets", "personal_fields", "alerts", "dead_letters", "incidents", "notifications",
                 "actions")  # fmt: skip
RECORDS: Final = ("alerts", "dead_letters", "incidents", "notifications", "actions")  # known by id, not by offset
IDENTITY: Final = {
    "alerts": "alert_id, revision", "dead_letters": "topic, partition, offset", "incidents": "incident_id, revision",
    "notifications": "notification_id", "actions": "partition, offset", "tickets": "partition, offset",
    "personal_fields": "topic, partition, offset, field",
}  # fmt: skip


@dataclass
class ChaosCity(CityRun):
    """See above. `worker_bootstrap`: where the workers find Kafka, when that is not where we do (a proxy)."""

    worker_bootstrap: str | None = None
    zygote: Zygote | None = None
    off: tuple[str, ...] = ()
    idle_after_ms: int = 3_600_000
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings by section, over those below."""
    start_ms: int = field(default_factory=lambda: (time.time_ns() // 1_000_000 - BEFORE_NOW_MS) // 60_000 * 60_000)
    raw_create_time: bool = False  # raw records carry their producer's time, not the broker's
    acted: list[tuple[Message, int]] = field(default_factory=list)  # what was sent to `actions`, and its offset

    @property
    def settings(self) -> dict[str, Any]:
        made = super().settings
        made["kafka"] = {"bootstrap": self.worker_bootstrap or self.bootstrap, "session_timeout_s": SESSION_S}
        made["topics"] |= {"replication": 1}
        made["locate"] |= {"future_bound_ms": FUTURE_BOUND_MS}
        made["join"] = {"snapshot_every_s": 0.4}
        made["dispatch"] = {"tick_every_s": 1.0, "snapshot_every_s": 0.4, "merge": False}
        for section, values in self.overrides.items():
            made[section] = made[section] | dict(values)
        return made

    def set_up(self, *, stop_merges: bool = True) -> None:
        specs = self.config.topic_specs()
        if self.raw_create_time:
            raw = {self.names.raw(source) for source in Source}
            of_producer = {"message.timestamp.type": "CreateTime"}
            specs = tuple(
                dataclasses.replace(spec, config={**spec.config, **of_producer}) if spec.name in raw else spec
                for spec in specs
            )
        apply(self.bootstrap, specs)
        with open_store(self.config) as store:
            apply_migrations(store)
            for table in TABLES if stop_merges else ():
                store.command(f"SYSTEM STOP MERGES {self.name}.{table}")  # they would hide a row that came twice

    async def set_up_async(self) -> None:
        await asyncio.to_thread(self.set_up)

    def tear_down(self) -> None:
        """Delete topics and database: a campaign has hundreds of cities."""
        with open_store(self.config) as store:
            store.command(f"DROP DATABASE IF EXISTS `{self.name}`")
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.delete_topics([spec.name for spec in self.config.topic_specs()])
        finally:
            admin.close()

    def make_records(
        self, count: int, seed: int, *, per_s: float = RECORDS_PER_S, behind: float = BEHIND
    ) -> list[Record]:
        return ledger.make_records(count, seed, start_ms=self.start_ms, per_s=per_s, behind=behind)

    def chaos_worker(
        self,
        name: str = "worker",
        *,
        roles: tuple[str, ...] = ALL_ROLES,
        executed: bool = False,
        env: Mapping[str, str] | None = None,
        probe: Path | None = None,
        configured: bool = False,
    ) -> ChaosWorker:
        """`executed`: not forked, although there is a zygote. `probe`: where it tells its tasks (probe.py).
        `configured`: with the detectors of the configuration, not those of the small city."""
        return ChaosWorker(
            self.settings, self.directory / f"{self.name}-{name}.log", roles=roles,
            zygote=None if executed else self.zygote, off=self.off, env=env, probe=probe,
            configured=configured,
        )  # fmt: skip

    # --- actions ---------------------------------------------------------------------------------------------------

    async def incidents_to_work(self, count: int, chance: random.Random) -> list[str]:
        """Some of the incidents that there are, not those of the closers, which lie ahead of now."""
        changes = [decode_incident(m.value) for m in await self.read_all(self.names.incidents, ALERTS_PARTITIONS)]
        now_ms = time.time_ns() // 1_000_000
        found = sorted({change.incident_id for change in changes if change.opened_ms < now_ms})
        return chance.sample(found, min(count, len(found)))

    def work_on(self, incidents: Iterable[str]) -> list[Message]:
        """All steps of each incident, every third of them twice."""
        made: list[Message] = []
        now_ms = time.time_ns() // 1_000_000
        for incident in incidents:
            for number, (name, role, actor) in enumerate(WORK):
                action = ActionRecord(
                    action_id=f"{incident}-{number}", action=name, actor=actor, role=role, incident_id=incident,
                    ts=now_ms + number,
                    to_department=self.config.load_city().duty_desk if name is ActionName.DISPATCH else None,
                )  # fmt: skip
                message = (self.names.actions, sum(incident.encode()) % ALERTS_PARTITIONS, encode_action(action))
                made += [message, message] if number % 3 == 1 else [message]
        return made

    async def act(self, messages: Sequence[Message], *, lasting_s: float = 0.0) -> None:
        """Send actions, each acknowledged before the next."""
        async with self.producer() as producer:
            for message in messages:
                done = await producer.send_and_wait(message[0], message[2], partition=message[1])
                self.acted.append((message, done.offset))
                await asyncio.sleep(lasting_s / len(messages))

    # --- until all is through --------------------------------------------------------------------------------------

    async def all_settled(
        self, *, archived: bool = True, within_s: float = WITHIN_S, running: Sequence[ChaosWorker] = ()
    ) -> None:
        """Until every group has committed what there was, one after the other along the flow. AssertionError when that
        takes too long, or when one of the workers that should be `running` is not."""
        names, tongguan = self.names, f"{self.names.prefix}tongguan"
        counts = {spec.name: spec.partitions for spec in self.config.topic_specs()}

        def all_of(*topics: str) -> list[TopicPartition]:
            return [TopicPartition(topic, p) for topic in topics for p in range(counts[topic])]

        flow: list[tuple[str, list[TopicPartition]]] = [
            (f"{names.prefix}locate", all_of(*(names.raw(source) for source in Source))),
            (f"{tongguan}-join", all_of(names.observations)),
            (f"{tongguan}-urgent", all_of(names.urgent_tickets)),
            (f"{tongguan}-intake", all_of(names.alerts, names.placed_tickets, names.actions)),
            (f"{tongguan}-dispatch", all_of(names.loop)),
        ]
        if archived:
            topics = (names.observations, names.alerts, names.dead_letters, names.incidents, names.notifications)
            flow.append((f"{tongguan}-archive", all_of(*topics, names.actions)))
        give_up_at = time.monotonic() + within_s
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await consumer.start()
            await admin.start()
            for group, places in flow:
                ends = await _patiently(lambda places=places: consumer.end_offsets(places), give_up_at)  # type: ignore[misc]
                while behind := await _behind(admin, group, ends):
                    assert time.monotonic() < give_up_at, f"group {group} is behind: {behind}"
                    for worker in running:
                        assert worker.running, f"the worker ended by itself:\n{worker.log_of_this_life[-5_000:]}"
                    await asyncio.sleep(0.1)
        finally:
            await consumer.stop()
            await admin.close()

    # --- what is wrong ---------------------------------------------------------------------------------------------

    async def problems(self, *, frozen: bool = False, history: bool = True) -> list[str]:
        """Everything that is not as it should be, in sentences; empty when all promises were kept.

        `frozen`: a worker was declared dead and went on. What it had asked ClickHouse about before, it may insert
        once more beside its successor: then alerts, dead letters, incidents, notifications and actions need be there
        once only for whoever reads them through FINAL, as the views do. Observations are there once in any case.
        """
        found: list[str] = []
        flow = await asyncio.to_thread(
            small_city.pure_flow, self.sent, self.names, self.config.locate, self.config.join
        )
        for check in (self._alert_problems(flow), self._letter_problems(), self._loop_problems(flow)):
            found += await check
        if history:
            found += await asyncio.to_thread(self._history_problems, frozen, len(flow.alerts))
        return found

    async def _alert_problems(self, flow: small_city.PureFlow) -> list[str]:
        told = await self.alerts()
        by_id = {(alert.alert_id, alert.revision) for alert in told}
        found = [f"alert {key} is missing" for key in flow.alerts.keys() - by_id]
        found += [f"alert {key} should not be" for key in by_id - flow.alerts.keys()]
        found += [
            f"alert {key} is {alert}, not {flow.alerts[key]}"
            for alert in told
            if (key := (alert.alert_id, alert.revision)) in flow.alerts and alert != flow.alerts[key]
        ]
        return found

    async def _letter_problems(self) -> list[str]:
        counts = Counter(
            (letter.topic, letter.partition, letter.offset)
            for letter in map(
                decode_dead_letter,
                [
                    m.value
                    for m in await self.read_all(
                        self.names.dead_letters, await self._partitions_of(self.names.dead_letters)
                    )
                ],
            )
        )
        expected = {(self.names.raw(s), p, offset) for s, p, offset in small_city.counts_of(self.sent).letters}
        found = [f"dead letter of {place} is missing" for place in expected - counts.keys()]
        return found + [f"dead letter of {place} should not be" for place in counts.keys() - expected]

    async def _loop_problems(self, flow: small_city.PureFlow) -> list[str]:
        names, config = self.names, self.config
        acknowledged = await self._acknowledged(f"{names.prefix}tongguan-dispatch", TopicPartition(names.loop, 0))
        told = Told(
            acknowledged,
            await self.read_all(names.incidents, ALERTS_PARTITIONS),
            await self.read_all(names.notifications, ALERTS_PARTITIONS),
            await self.read_all(names.loop, 1),
        )

        def make_core() -> LoopCore:
            return LoopCore(config.load_city(), config.incident_types(), config.dispatch)

        return await asyncio.to_thread(loop_problems, make_core, told, flow, self.acted, names.raw(Source.TICKETS))

    async def _acknowledged(self, group: str, place: TopicPartition) -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            done = await admin.list_consumer_group_offsets(group)
            return int(done[place].offset) if place in done else 0
        finally:
            await admin.close()

    def _history_problems(self, frozen: bool, alerts: int) -> list[str]:
        with open_store(self.config) as store:

            def ask(sql: str) -> list[tuple[Any, ...]]:
                return store.rows(sql)

            found = ledger.history_problems(ask, self.names.prefix, frozen=frozen)
            found += ledger.sent_problems(self.sent, ask)
            for table, key in IDENTITY.items():
                rows, distinct = ask(f"SELECT count(), uniqExact({key}) FROM {table}")[0]
                if rows != distinct and not (frozen and table in RECORDS):
                    found.append(f"table {table} has {rows} rows for {distinct} records")
            if (stored := ask("SELECT uniqExact(alert_id, revision) FROM alerts")[0][0]) != alerts:
                found.append(f"{stored} alerts are in the history, {alerts} there should be")
            found += ledger.loop_problems(ask)
            if (acted := ask("SELECT uniqExact(partition, offset) FROM actions")[0][0]) != len(self.acted):
                found.append(f"{acted} actions are in the history, {len(self.acted)} were sent")
        return found


async def _behind(
    admin: AIOKafkaAdminClient, group: str, ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Any]:
    try:
        done = await admin.list_consumer_group_offsets(group)
    except KafkaError as error:  # the broker is being restarted
        return {next(iter(ends)): error}
    at = {place: done[place].offset if place in done else 0 for place in ends}
    return {place: (at[place], end) for place, end in ends.items() if at[place] < end}


async def _patiently(
    ask: Callable[[], Awaitable[dict[TopicPartition, int]]], give_up_at: float
) -> dict[TopicPartition, int]:
    while True:
        try:
            return await ask()
        except KafkaError:
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(0.3)
