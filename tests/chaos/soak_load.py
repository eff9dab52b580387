"""The soak's traffic: CityJoin-like records at an even rate in the present, and people who close every incident.

Tickets are thinned to a few a second: a city gets hundreds an hour. People take each incident from beginning to end as
soon as it is filed, so that what the loop holds stays as small as what is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.cityjoin_data import PARTITIONS
from benchmarks.latency_load import CLOSER_MS, PLACES, Load, Pool, draw, render
from deploy.simulation.kafka_batches import BatchMaker, PrebuiltBatch
from schemas.action import ActionName, ActionRecord, Role, encode_action
from schemas.incident import IncidentChange, State, Step, decode_incident
from schemas.sources import Source
from streams.topics import TopicNames
from streams.words import padded

TICK_S: Final = 0.1
ONE_TICKET_OF: Final = 200  # of 1 % of the records
Work = tuple[ActionName, Role, str]
STEPS: Final[tuple[Work, ...]] = (
    (ActionName.DISPATCH, Role.DISPATCHER, "d-1"),
    (ActionName.ACCEPT, Role.HANDLER, "h-1"),
    (ActionName.START, Role.HANDLER, "h-1"),
    (ActionName.FINISH, Role.HANDLER, "h-1"),
    (ActionName.VERIFY_PASS, Role.VERIFIER, "v-1"),
    (ActionName.CLOSE, Role.OPERATOR, "o-1"),
)


class Traffic:
    """`rate` records a second until `stop`; `sent` says how many there were."""

    def __init__(self, bootstrap: str, names: TopicNames, *, rate: int, seed: int) -> None:
        self._bootstrap = bootstrap
        self._names = names
        self._rate = rate
        self._seed = seed
        self._pool = Pool.make(seed, rate)
        self._maker = BatchMaker(self._pool.keys)
        self._over = asyncio.Event()
        self.sent = 0

    def stop(self) -> None:
        self._over.set()

    async def run(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks=1)
        await producer.start()
        try:
            load = Load(self._rate, 1e9, seed=self._seed, start_ms=time.time_ns() // 1_000_000)
            done, began = 0, time.monotonic()
            while not self._over.is_set():
                await asyncio.sleep(TICK_S)
                due = int((time.monotonic() - began) * self._rate)
                await self._send(producer, load, done, min(due - done, 4 * self._rate))
                done = due
            await self._close(producer)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, load: Load, first: int, many: int) -> None:
        entry, event_ms = draw(load, first, many)
        data, starts = render(self._pool, first, entry, event_ms)
        place = self._pool.place[entry]
        numbers = np.arange(first, first + many)
        rows = np.flatnonzero((place < Source.TICKETS * PARTITIONS) | (numbers % ONE_TICKET_OF == 0))
        await self._hand_over(producer, rows, place, self._pool.records.device[entry], data, starts)

    async def _close(self, producer: AIOKafkaProducer) -> None:
        """A last record of each partition, ahead of all others, so that every window is judged."""
        texts = self._pool.closers(time.time_ns() // 1_000_000 + CLOSER_MS)
        starts = np.zeros(PLACES + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=starts[1:])
        places = np.arange(PLACES, dtype=np.int32)
        data = padded(b"".join(texts))
        await self._hand_over(producer, np.arange(PLACES), places, np.zeros(PLACES, dtype=np.int32), data, starts)

    async def _hand_over(
        self, producer: AIOKafkaProducer, rows: np.ndarray, place: np.ndarray, device: np.ndarray, data: np.ndarray,
        starts: np.ndarray,
    ) -> None:  # fmt: skip
        waiting = []
        for batch in self._maker.make(rows, place, device, data, starts, time.time_ns() // 1_000_000):
            source, partition = divmod(batch.partition, PARTITIONS)
            topic = self._names.raw(Source(source))
            waiting.append(await producer.send_batch(PrebuiltBatch(batch), topic, partition=partition))
            self.sent += batch.count
        await asyncio.gather(*waiting)


AGAIN: Final = STEPS[1:]
"""One that is opened again is with its department already."""


class People:
    """Work every incident from beginning to end, as soon as it is filed or opened again; `worked` says how often."""

    def __init__(self, bootstrap: str, names: TopicNames, *, partitions: int, desk: str) -> None:
        self._bootstrap = bootstrap
        self._names = names
        self._partitions = partitions
        self._desk = desk
        self.worked = 0

    async def run(self) -> None:
        """Until cancelled."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, auto_offset_reset="earliest")
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True)
        try:
            await consumer.start()
            await producer.start()
            consumer.assign([TopicPartition(self._names.incidents, p) for p in range(self._partitions)])
            async for message in consumer:
                change = decode_incident(message.value)
                if change.state is State.FILED and change.revision < len(STEPS):
                    await self._work(producer, change, STEPS)
                elif change.action is Step.REOPEN:
                    await self._work(producer, change, AGAIN)
        finally:
            await consumer.stop()
            await producer.stop()

    async def _work(self, producer: AIOKafkaProducer, change: IncidentChange, steps: Sequence[Work]) -> None:
        """All steps at once: they are worked in this order. One that was worked before is refused or repeated."""
        now_ms = time.time_ns() // 1_000_000
        for number, (name, role, actor) in enumerate(steps):
            action = ActionRecord(
                action_id=f"{change.incident_id}-{change.reopenings}-{number}", action=name, actor=actor, role=role,
                incident_id=change.incident_id, ts=now_ms + number,
                to_department=self._desk if name is ActionName.DISPATCH else None,
            )  # fmt: skip
            await producer.send(self._names.actions, encode_action(action), key=change.incident_id.encode())
        self.worked += 1
