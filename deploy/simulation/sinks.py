"""Where a run's records go: Kafka, a file of JSON lines, or nowhere (to see how fast they are made)."""

from __future__ import annotations

import asyncio
import base64
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.simulation.kafka_batches import BatchMaker, PrebuiltBatch
from deploy.simulation.pace import Pace
from deploy.simulation.simulation import Block, Simulation
from schemas.errors import BrokerError
from schemas.sources import Source
from streams.codecs import Codec
from streams.tasks import end

RECORDS: Final = "records.jsonl"
IN_FLIGHT: Final = 24
"""Batches that may be on their way: about 12 MB."""
AHEAD: Final = 2
"""Blocks made before the last one is sent."""

Progress = Callable[[int, int, int], None]
"""(event time reached, records sent, bytes sent)"""


class Sent(msgspec.Struct, kw_only=True):
    """What a sink has done."""

    records: int = 0
    payload_bytes: int = 0
    seconds: float = 0.0


class Sink(Protocol):
    """Takes all blocks of a run, at a pace."""

    def run(self, simulated: Simulation, pace: Pace, progress: Progress) -> Sent: ...


class NullSink:
    """Makes every record and keeps none."""

    def run(self, simulated: Simulation, pace: Pace, progress: Progress) -> Sent:
        return _each_block(simulated, pace, progress, lambda block, rows: None)


class FileSink:
    """One JSON object a line: topic, key, event_ms, send_ms, payload (payload_base64 where it is no UTF-8)."""

    def __init__(self, folder: Path, topics: Mapping[Source, str]) -> None:
        self._folder = folder
        self._topics = topics

    def run(self, simulated: Simulation, pace: Pace, progress: Progress) -> Sent:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / RECORDS).open("wb") as file:

            def write(block: Block, rows: np.ndarray) -> None:
                file.write(b"".join(self._lines(simulated, block, rows)))

            return _each_block(simulated, pace, progress, write)

    def _lines(self, simulated: Simulation, block: Block, rows: np.ndarray) -> list[bytes]:
        data, starts, keys = block.data.tobytes(), block.starts.tolist(), simulated.keys
        columns = (block.rows.source, block.rows.entity, block.rows.event_ms, block.rows.send_ms)
        sources, entities, events, sends = (column.tolist() for column in columns)
        lines = []
        for i in rows.tolist():
            payload = data[starts[i] : starts[i + 1]]
            fields: dict[str, Any] = {
                "topic": self._topics[Source(sources[i])],
                "key": keys[entities[i]].decode(),
                "event_ms": events[i],
                "send_ms": sends[i],
            }
            try:
                fields["payload"] = payload.decode()
            except UnicodeDecodeError:  # one of the records that were spoilt on purpose
                fields["payload_base64"] = base64.b64encode(payload).decode()
            lines.append(msgspec.json.encode(fields) + b"\n")
        return lines


class KafkaSink:
    """Sends to the raw topics; a record's partition follows from its key, so that a device keeps its order."""

    def __init__(
        self, bootstrap: str, topics: Mapping[Source, str], partitions: Mapping[Source, int], *,
        options: Mapping[str, Any] | None = None, codec: Codec = Codec.LZ4,
    ) -> None:  # fmt: skip
        self._bootstrap = bootstrap
        self._topics = topics
        self._partitions = partitions
        self._options = dict(options or {})
        self._codec = codec

    def run(self, simulated: Simulation, pace: Pace, progress: Progress) -> Sent:
        """Raises BrokerError when Kafka does not take the records."""
        try:
            return asyncio.run(self._run(simulated, pace, progress))
        except KafkaError as error:
            raise BrokerError(f"kafka at {self._bootstrap}: {error or type(error).__name__}") from error

    async def _run(self, simulated: Simulation, pace: Pace, progress: Progress) -> Sent:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks=1, linger_ms=0, **self._options)
        ready: asyncio.Queue[Block | None] = asyncio.Queue(AHEAD)
        making: asyncio.Task[None] | None = None
        try:
            await producer.start()
            making = asyncio.create_task(_make(simulated, ready))
            sent = await self._send(producer, simulated, pace, progress, ready)
            await making
        finally:
            await end(making)
            await producer.stop()
        return sent

    async def _send(
        self, producer: AIOKafkaProducer, simulated: Simulation, pace: Pace, progress: Progress,
        ready: asyncio.Queue[Block | None],
    ) -> Sent:  # fmt: skip
        maker = BatchMaker(simulated.keys, codec=self._codec)
        hashes = np.array([zlib.crc32(key) for key in simulated.keys], dtype=np.int64)
        counts = np.array([self._partitions[source] for source in Source], dtype=np.int64)
        sent, began = Sent(), time.monotonic()
        waiting: list[asyncio.Future[object]] = []
        while (block := await ready.get()) is not None:
            rows = block.rows
            partition = (hashes[rows.entity] % counts[rows.source]).astype(np.int32)
            for portion, due_s in pace.slices(rows.send_ms, simulated.settings.start_ms, sent.records):
                if (left := began + due_s - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                for source in Source:
                    mine = portion[rows.source[portion] == source]
                    now_ms = time.time_ns() // 1_000_000
                    for batch in maker.make(mine, partition, rows.entity, block.data, block.starts, now_ms):
                        future = await producer.send_batch(
                            PrebuiltBatch(batch), self._topics[source], partition=batch.partition
                        )
                        waiting.append(future)
                sent.records += len(portion)
                sent.payload_bytes += int(block.starts[portion[-1] + 1] - block.starts[portion[0]])
                sent.seconds = time.monotonic() - began
                progress(int(rows.send_ms[portion[-1]]), sent.records, sent.payload_bytes)
                if len(waiting) >= IN_FLIGHT:
                    await asyncio.gather(*waiting)
                    waiting = []
        await asyncio.gather(*waiting)
        sent.seconds = time.monotonic() - began
        return sent


async def _make(simulated: Simulation, ready: asyncio.Queue[Block | None]) -> None:
    """Put the blocks on the queue, made beside the event loop; None is the end, however it comes."""
    blocks = simulated.blocks()
    try:
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            await ready.put(block)
    finally:
        if not asyncio.current_task().cancelling():  # type: ignore[union-attr]  # it runs in a task
            await ready.put(None)


def _each_block(
    simulated: Simulation, pace: Pace, progress: Progress, take: Callable[[Block, np.ndarray], None]
) -> Sent:
    sent, began = Sent(), time.monotonic()
    for block in simulated.blocks():
        for portion, due_s in pace.slices(block.rows.send_ms, simulated.settings.start_ms, sent.records):
            if (left := began + due_s - time.monotonic()) > 0:
                time.sleep(left)
            take(block, portion)
            sent.records += len(portion)
            sent.payload_bytes += int(block.starts[portion[-1] + 1] - block.starts[portion[0]])
            sent.seconds = time.monotonic() - began
            progress(int(block.rows.send_ms[portion[-1]]), sent.records, sent.payload_bytes)
    sent.seconds = time.monotonic() - began
    return sent
