"""The demo at work: the hour goes in at its pace, alerts come out, and the raw records behind them are looked up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from deploy.demo_recording import START_MS, Record
from deploy.demo_stage import DemoFailed, DemoStopped, Stage
from deploy.endpoints import bootstrap_of
from deploy.follow import Start, follow
from deploy.store import open_store
from schemas.alert import Action, Alert, decode_alert
from schemas.decode import decode
from schemas.sources import Source
from streams.clickhouse import Store
from streams.urgent import DETECTOR as URGENT

TICK_S: Final = 0.05
LOOK_S: Final = 0.5
FETCH_WITHIN_S: Final = 10.0
SETTLED_WITHIN_S: Final = 60.0
"""How long after the last record the rest of the way may take, on a busy machine."""
ORDER: Final = (Source.CAMERA_EVENTS, Source.TICKETS, Source.READINGS)

ARCHIVED_SQL: Final = (
    "SELECT (SELECT count() FROM v_observations), (SELECT count() FROM v_dead_letters), "
    "(SELECT count() FROM v_alert_history)"
)


class Audience(Protocol):
    """Who watches: is told of progress and of each alert."""

    def progress(self, event_ms: int, sent: int, total: int) -> None: ...

    def alert(self, alert: Alert, evidence: Sequence[tuple[str, bytes]], *, was: int | None) -> None:
        """`evidence` are ids and raw records, for a raise; `was` is the severity told before."""
        ...


@dataclass(slots=True)
class Outcome:
    """What came of the replay. Times in seconds."""

    sent: int = 0
    observations: int = 0
    dead: int = 0
    alert_records: int = 0
    archived_alerts: int = 0
    raised: dict[str, int] = field(default_factory=dict)  # alert id: its severity now
    cleared: set[str] = field(default_factory=set)
    began_s: float = 0.0
    replay_s: float = 0.0
    first_alert_s: float | None = None  # after the first record
    first_alert_event_ms: int = 0

    @property
    def active(self) -> set[str]:
        return self.raised.keys() - self.cleared

    @property
    def is_whole(self) -> bool:
        """Whether everything sent is in the history: used or dead, and every alert that was told."""
        return self.observations + self.dead == self.sent and self.archived_alerts == self.alert_records

    @property
    def is_settled(self) -> bool:
        """Whole, and no alert is left that would still clear by itself."""
        return self.is_whole and bool(self.raised) and all(name.startswith(URGENT) for name in self.active)


def replay(
    staged: Stage, records: Sequence[Record], *, speed: float, audience: Audience, stopping: Callable[[], bool]
) -> Outcome:
    """Send the hour at `speed` times its pace and watch until all of it has arrived everywhere, or the time is up.

    Raises DemoStopped when asked to stop, DemoFailed when the worker ends.
    """
    return asyncio.run(_Replay(staged, records, speed, audience, stopping).run())


class _Replay:
    def __init__(
        self, staged: Stage, records: Sequence[Record], speed: float, audience: Audience, stopping: Callable[[], bool]
    ) -> None:
        self._staged = staged
        self._records = records
        self._speed = speed
        self._audience = audience
        self._stopping = stopping
        self._bootstrap = bootstrap_of(staged.config)
        self._names = staged.config.topic_names
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        outcome = self._outcome
        outcome.began_s = time.monotonic()
        watching = asyncio.create_task(self._watch())
        try:
            await self._send(watching)
            outcome.replay_s = time.monotonic() - outcome.began_s
            await self._settle(watching)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        return outcome

    def _check(self, watching: asyncio.Task[None]) -> None:
        if self._stopping():
            raise DemoStopped("stopped")
        self._staged.check()
        if watching.done():
            watching.result()  # raises what ended it

    async def _send(self, watching: asyncio.Task[None]) -> None:
        """The records in their order; each partition keeps it (an idempotent producer does not reorder)."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True, linger_ms=5)
        await producer.start()
        try:
            began, looked = time.monotonic(), 0.0
            answers: list[asyncio.Future[Any]] = []
            for number, record in enumerate(self._records):
                due = began + record.at_ms / 1000 / self._speed
                while (now := time.monotonic()) < due:
                    await asyncio.sleep(min(due - now, TICK_S))
                    self._check(watching)
                if now - looked >= TICK_S:
                    looked = now
                    self._check(watching)
                    self._audience.progress(START_MS + record.at_ms, number, len(self._records))
                answers.append(
                    await producer.send(
                        self._names.raw(record.source), record.payload, key=record.key, partition=record.partition
                    )
                )
            await asyncio.gather(*answers)
            self._outcome.sent = len(answers)
            self._audience.progress(START_MS + self._records[-1].at_ms, len(answers), len(self._records))
        finally:
            await producer.stop()

    async def _settle(self, watching: asyncio.Task[None]) -> None:
        """Wait until the history has everything and the alerts have run their course."""
        outcome = self._outcome
        give_up_at = time.monotonic() + SETTLED_WITHIN_S
        store = open_store(self._staged.config)
        try:
            while not outcome.is_settled and time.monotonic() < give_up_at:
                await asyncio.sleep(LOOK_S)
                self._check(watching)
                await asyncio.to_thread(_count, store, outcome)
        finally:
            store.close()

    async def _watch(self) -> None:
        """Tell the audience of each alert, from the first on."""
        options = self._staged.config.kafka.aiokafka_options()
        records = follow(self._bootstrap, self._names.alerts, options=options, start=Start(beginning=True), once=False)
        zones = self._staged.config.locate.zones()
        async with contextlib.aclosing(records), _RawRecords(self._bootstrap, options) as raw:
            async for record in records:
                alert = decode_alert(record.value or b"")
                outcome = self._outcome
                if outcome.first_alert_s is None:
                    outcome.first_alert_s = time.monotonic() - outcome.began_s
                    outcome.first_alert_event_ms = alert.window_end_ms
                evidence = await look_up(alert, raw.fetch, zones) if alert.action is Action.RAISE else []
                self._audience.alert(alert, evidence, was=outcome.raised.get(alert.alert_id))
                outcome.alert_records += 1
                outcome.raised[alert.alert_id] = alert.severity
                if alert.action is Action.CLEAR:
                    outcome.cleared.add(alert.alert_id)


def _count(store: Store, outcome: Outcome) -> None:
    ((outcome.observations, outcome.dead, outcome.archived_alerts),) = store.rows(ARCHIVED_SQL)


async def look_up(
    alert: Alert, fetch: Callable[[str], Awaitable[bytes]], zones: Mapping[Source, ZoneInfo]
) -> list[tuple[str, bytes]]:
    """The most telling record of each source: one with a value that the alert names, then the surest, then the newest.

    All are looked up: the join names some twenty at most.
    """
    found = []
    for source in ORDER:
        names = [name for name in alert.evidence if name.startswith(f"{source.topic}:")]
        records = [(name, await fetch(name)) for name in names]

        def weight(record: tuple[str, bytes], source: Source = source) -> tuple[bool, float, int]:
            row = decode(source, record[1], zones[source])  # it has been decoded before: it is evidence
            return row.value in alert.values.values(), row.confidence, row.event_at_ms

        if records:
            found.append(max(records, key=weight))
    return found


class _RawRecords:
    """Raw records by their place in the log."""

    def __init__(self, bootstrap: str, options: dict[str, Any]) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            max_partition_fetch_bytes=64 * 1024,
            fetch_max_wait_ms=5,  # it asks for what is there; a long poll of the last place would hold up the next
            **options,
        )

    async def __aenter__(self) -> _RawRecords:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._consumer.stop()

    async def fetch(self, name: str) -> bytes:
        """The record at "topic:partition:offset". Raises DemoFailed when it cannot be had."""
        topic, partition, offset = name.rsplit(":", 2)
        place = TopicPartition(topic, int(partition))
        self._consumer.assign([place])
        self._consumer.seek(place, int(offset))
        try:
            record = await asyncio.wait_for(self._consumer.getone(place), FETCH_WITHIN_S)
        except (TimeoutError, KafkaError) as error:
            raise DemoFailed(f"the evidence {name} cannot be read back: {error or 'no answer'}") from error
        return record.value or b""
