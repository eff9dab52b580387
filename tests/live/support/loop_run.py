"""The loop of one small city on a real broker: inputs in, and what came out held against the pure loop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from deploy.config import TongguanConfig
from schemas.action import ActionName, ActionRecord, Role, encode_action
from schemas.alert import Action, Alert, encode_alert
from schemas.incident import IncidentChange, decode_incident, encode_incident
from schemas.loop_record import LoopRecord, decode_loop_record
from schemas.notification import Notification, decode_notification, encode_notification
from streams.loop_core import LoopCore
from streams.topic_admin import apply
from streams.topics import TopicNames
from tests.live.support import small_city
from tests.live.support.city_worker import CityWorker
from tests.live.support.small_city import GRID
from tests.live.support.topic_messages import messages_of
from tests.support.ticket_frames import PlacedTicket, ticket_frame

PARTITIONS: Final = 2
WITHIN_S: Final = 120.0  # a machine that does much else starts a worker in half a minute
SESSION_S: Final = 3.0
WORK: Final = (
    (ActionName.DISPATCH, Role.DISPATCHER, "d-1"),
    (ActionName.ACCEPT, Role.HANDLER, "h-1"),
    (ActionName.START, Role.HANDLER, "h-1"),
    (ActionName.CLOSE, Role.OPERATOR, "o-1"),  # refused: not verified
    (ActionName.FINISH, Role.HANDLER, "h-1"),
    (ActionName.VERIFY_PASS, Role.VERIFIER, "h-1"),  # refused: who handled it
    (ActionName.VERIFY_PASS, Role.VERIFIER, "v-1"),
    (ActionName.CLOSE, Role.OPERATOR, "o-1"),
)
"""What is asked of an incident, step by step."""
Place = tuple[str, int, int]
"""topic, partition, offset"""


@dataclass
class LoopRun:
    """Topics under a prefix of their own; what was sent, by its place."""

    bootstrap: str
    name: str
    directory: Path
    snapshot_every_s: float = 0.4
    sent: dict[Place, bytes] = field(default_factory=dict)
    raw_tickets: Counter[int] = field(default_factory=Counter)
    began_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "data_dir": str(self.directory),
            "kafka": {"bootstrap": self.bootstrap, "session_timeout_s": SESSION_S},
            "city": {"west": small_city.WEST, "south": small_city.SOUTH, "cell_deg": small_city.STEP_DEG,
                     "east": small_city.WEST + small_city.SIDE * small_city.STEP_DEG,
                     "north": small_city.SOUTH + small_city.SIDE * small_city.STEP_DEG},
            "topics": {"prefix": f"{self.name}.", "shards": 1, "alerts_partitions": PARTITIONS,
                       "tickets_partitions": PARTITIONS, "replication": 1},
            "dispatch": {"tick_every_s": 0.5, "snapshot_every_s": self.snapshot_every_s, "merge": False},
        }  # fmt: skip

    @cached_property
    def config(self) -> TongguanConfig:
        return TongguanConfig.model_validate(self.settings)

    @property
    def names(self) -> TopicNames:
        return self.config.topic_names

    def set_up(self) -> None:
        apply(self.bootstrap, self.config.topic_specs())

    def worker(self, name: str = "dispatch") -> CityWorker:
        return CityWorker(self.settings, self.directory / f"{self.name}-{name}.log", roles=("dispatch",))

    def core(self) -> LoopCore:
        config = self.config
        return LoopCore(config.load_city(), config.incident_types(), config.dispatch)

    # --- in --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send(self, messages: Iterable[tuple[str, int, bytes]], *, pause_s: float = 0.0) -> None:
        """(topic, partition, payload), in order, each acknowledged before the next."""
        async with self.producer() as producer:
            for topic, partition, payload in messages:
                done = await producer.send_and_wait(topic, payload, partition=partition)
                self.sent[topic, partition, done.offset] = payload
                await asyncio.sleep(pause_s)

    def alert(
        self, number: int, action: Action = Action.RAISE, *, revision: int = 0, category: str = "waterlogging"
    ) -> tuple[str, int, bytes]:
        """An alert in a cell of its own."""
        lon, lat = small_city.WEST + (2 * number + 0.5) * small_city.STEP_DEG, small_city.SOUTH + 0.0105
        alert = Alert(
            alert_id=f"A-{number}", revision=revision, action=action, detector="d", detector_version=1,
            category=category, cell=GRID.cell(lon, lat), lon=lon, lat=lat, onset_ms=self.began_ms - 60_000,
            window_start_ms=self.began_ms - 60_000, window_end_ms=self.began_ms + revision, severity=2, confidence=0.9,
            reason="r", values={}, thresholds={}, evidence=[], sentence_zh="", sentence_en="",
        )  # fmt: skip
        return self.names.alerts, number % PARTITIONS, encode_alert(alert)

    def tickets(self, *numbers: int, repeat: int = 0) -> tuple[str, int, bytes]:
        """A frame of tickets; the last `repeat` raw records before it once more, as after a crash of locate."""
        partition = numbers[-1] % PARTITIONS
        first = self.raw_tickets[partition] - repeat
        self.raw_tickets[partition] = first + len(numbers)
        made = [
            PlacedTicket(f"T-{number}", "noise", self.began_ms, extra={"text": "噪音", "due_ms": self.began_ms + 10**8})
            for number in numbers
        ]
        return self.names.placed_tickets, partition, ticket_frame(made, partition=partition, first=first)

    def action(self, name: ActionName, role: Role, actor: str, incident: str, number: int) -> tuple[str, int, bytes]:
        action = ActionRecord(
            action_id=f"{incident}-{number}", action=name, actor=actor, role=role, incident_id=incident,
            ts=self.began_ms + number,
            to_department=self.config.load_city().duty_desk if name is ActionName.DISPATCH else None,
        )  # fmt: skip
        return self.names.actions, sum(incident.encode()) % PARTITIONS, encode_action(action)

    # --- out -------------------------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Until everything sent is in the log and everything in the log is worked through, ticks aside."""
        give_up_at = time.monotonic() + WITHIN_S
        while True:
            log = await self.read(self.names.loop, 1)
            known = {(record.cause_topic, record.cause_partition, record.cause_offset) for record in map(_record, log)}
            missing = [place for place in self.sent if place[0] != self.names.placed_tickets and place not in known]
            tickets = {ticket.ticket_id for record in map(_record, log) for ticket in record.tickets}
            if not missing and len(tickets) == self._tickets_sent():
                break
            assert time.monotonic() < give_up_at, f"not in the log: {missing[:5]}"
            await asyncio.sleep(0.3)
        last = max(offset for offset, message in enumerate(log) if _record(message).kind != "tick")
        told = self.told_by_the_pure_loop(log[: last + 1])
        while True:
            found = {message.value for topic in (self.names.incidents, self.names.notifications)
                     for message in await self.read(topic, PARTITIONS)}  # fmt: skip
            if {value for _, value in told} <= found:
                return
            assert time.monotonic() < give_up_at, f"{len({value for _, value in told} - found)} messages are missing"
            await asyncio.sleep(0.3)

    def _tickets_sent(self) -> int:
        return sum(self.raw_tickets.values())

    async def read(self, topic: str, partitions: int) -> list[Any]:
        """Every message of a topic that is there now, partition by partition."""
        messages = await messages_of(self.bootstrap, topic, partitions)
        return sorted(messages, key=lambda message: (message.partition, message.offset))

    def told_by_the_pure_loop(self, log: list[Any]) -> list[tuple[str, bytes]]:
        """(topic, bytes) of everything that the log leads to, in order; the truth."""
        core = self.core()
        told: list[tuple[str, bytes]] = []
        for message in log:
            for output in core.apply(_record(message), message.offset):
                if isinstance(output, IncidentChange):
                    told.append((self.names.incidents, encode_incident(output)))
                else:
                    told.append((self.names.notifications, encode_notification(output)))
        return told

    async def assert_told_the_truth(self) -> dict[str, list[IncidentChange]]:
        """What is on incidents and notifications is, byte for byte, what the pure loop makes of the log; every change
        of an incident is there, in order. Returns the histories."""
        log = await self.read(self.names.loop, 1)
        told = self.told_by_the_pure_loop(log)
        histories: dict[str, list[IncidentChange]] = defaultdict(list)
        for message in await self.read(self.names.incidents, PARTITIONS):
            change = decode_incident(message.value)
            history = histories[change.incident_id]
            if change.revision < len(history):  # told again after a crash
                assert encode_incident(history[change.revision]) == message.value, "told again, it is another"
            else:
                assert change.revision == len(history), f"{change.incident_id}: a gap before {change.revision}"
                history.append(change)
        expected: dict[str, list[IncidentChange]] = defaultdict(list)
        for topic, payload in told:
            if topic == self.names.incidents:
                change = decode_incident(payload)
                expected[change.incident_id].append(change)
        assert histories == expected
        answers = await self.read(self.names.notifications, PARTITIONS)
        found = {decode_notification(message.value).notification_id: message.value for message in answers}
        assert all(found[_id(message)] == message.value for message in answers)
        wanted = {payload for topic, payload in told if topic == self.names.notifications}
        assert set(found.values()) == wanted
        return dict(histories)

    async def assert_each_input_once(self) -> None:
        """Of every source partition the log has each record once and in order, when repeats are left out."""
        seen: dict[tuple[str, int], list[int]] = defaultdict(list)
        for message in await self.read(self.names.loop, 1):
            record = _record(message)
            if record.cause_offset < 0:
                continue
            offsets = seen[record.cause_topic, record.cause_partition]
            if not offsets or record.cause_offset > offsets[-1]:
                offsets.append(record.cause_offset)
        for topic in (self.names.alerts, self.names.actions):
            for partition in range(PARTITIONS):
                sent = sorted(offset for where, at, offset in self.sent if (where, at) == (topic, partition))
                assert seen[topic, partition] == sent


def _record(message: Any) -> LoopRecord:
    return decode_loop_record(message.value)


def _id(message: Any) -> str:
    notification: Notification = decode_notification(message.value)
    return notification.notification_id
