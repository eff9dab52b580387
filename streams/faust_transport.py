"""Faust's Kafka transport for frames: fetched in place, summed by the processor, handed on without a copy.

Faust reads through an AIOKafkaConsumer in a thread of its own. Here that consumer gets connections of
streams/kafka_wire.py, and its fetcher a private copy of the method that names the classes which unpack a response: a
batch of one large record (which is what a frame is) becomes a record whose value is a view of the response. Every other
batch goes through aiokafka's own classes. Everything else is Faust's and aiokafka's.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from typing import Any, Final, cast

import faust
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers import aiokafka as driver

from streams import kafka_wire
from streams.crc32c import crc32c
from streams.footing import Footing
from streams.raw_batches import FETCH_BYTES, RawMemoryRecords, install_records

VIEW_FROM: Final = 16 * 1024
"""Values from this length on are views: they keep the whole response in memory, which is worth it for frames only."""

FETCH_WAIT_MS: Final = 200
"""How long the broker may hold a fetch back that finds nothing; Faust says 1500. A partition whose records are still
being worked off is left out of a fetch, so that its next ones wait until that fetch is answered."""

# As in streams/raw_batches.py: base offset, length, leader epoch, magic, crc, attributes, last offset delta, first
# timestamp, max timestamp, producer id, producer epoch, base sequence, count.
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_MAGIC: Final = 2
_CRC_FROM: Final = 21
_CREATE_TIME, _LOG_APPEND_TIME = 0, 8
# no codec, no transaction, no control batch; the time of the broker is fine
_PLAIN_ATTRIBUTES: Final = (_CREATE_TIME, _LOG_APPEND_TIME)


class FrameRecords(aiokafka_fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """The records of one partition's fetch response; large ones that are alone in their batch are views."""

    next_fetch_offset: int
    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        batches: RawMemoryRecords = self._records
        while batches.has_next():
            data = batches.next_batch()
            if len(data) >= VIEW_FROM and (record := self._in_place(data)) is not None:
                wanted = record.offset >= self.next_fetch_offset
                self.next_fetch_offset = record.offset + 1
                if wanted:
                    yield record
                continue
            self._records = MemoryRecords(data.tobytes())
            yield from super()._unpack_records()

    def _in_place(self, data: memoryview) -> Any:
        """The record of a plain batch that holds one; None when it is another kind of batch."""
        base, _, _, magic, checksum, attributes, last_delta, first_ms, max_ms, *_, count = _HEADER.unpack_from(data)
        if magic != _MAGIC or attributes not in _PLAIN_ATTRIBUTES or count != 1 or last_delta != 0:
            return None
        if self._check_crcs and crc32c(data[_CRC_FROM:]) != checksum:
            raise CorruptRecordException(f"Invalid CRC - {self._tp}")
        # length, attributes, timestamp delta, offset delta, key length, key, value length, value, headers
        _, at = _varint(data, _HEADER.size)
        delta_ms, at = _varint(data, at + 1)
        _, at = _varint(data, at)
        key_size, at = _varint(data, at)
        key = None
        if key_size >= 0:
            key = data[at : at + key_size].tobytes()
            at += key_size
        size, at = _varint(data, at)
        if size < VIEW_FROM or data[at + size] != 0:  # it has headers: not ours
            return None
        time_ms = first_ms + delta_ms if attributes == _CREATE_TIME else max_ms
        return ConsumerRecord(
            self._tp.topic, self._tp.partition, base, time_ms, attributes // _LOG_APPEND_TIME, key,
            data[at : at + size], None, key_size, size, (),
        )  # fmt: skip


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The zigzag varint at `at`, and what follows it."""
    raw = shift = 0
    while True:
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
        shift += 7


class _Thread(driver.AIOKafkaConsumerThread):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._seeking = asyncio.Lock()

    async def on_start(self) -> None:
        await super().on_start()
        assert self._consumer is not None
        # nothing is subscribed yet, so nothing has been unpacked in aiokafka's own way
        install_records(self._consumer._fetcher, RawMemoryRecords, FrameRecords)

    async def seek_to_committed(self) -> Any:
        return await self.call_thread(self._seek_to_committed)

    async def _seek_to_committed(self) -> Any:
        """Go back to what is committed; where nothing is, to the first message there is.

        aiokafka leaves the position of such a partition where it is. Faust throws away what was fetched while the group
        was being divided and then calls this: the first messages of a new group would never be read again.

        One after the other. When the group is divided anew, Faust lets go of the call in its own loop, but here it goes
        on: it could end after the next one, and take a consumer back that had begun to hand on by then.
        """
        async with self._seeking:
            consumer = self._ensure_consumer()
            committed = await consumer.seek_to_committed()
            ours = consumer.assignment()
            never = [partition for partition, offset in committed.items() if not offset and partition in ours]
            if never:
                await consumer.seek_to_beginning(*never)
            return committed

    def highwater(self, tp: Any) -> Any:
        """Where the partition ends as of the last fetch; None when that is not known, or the partition not ours at the
        moment, where aiokafka fails: an event may be looked at when its partition has just been taken away."""
        subscription = self._consumer._subscription.subscription if self._consumer is not None else None
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None or tp not in assignment.tps:
            return None
        return assignment.state_value(tp).highwater

    def _create_consumer(self, loop: Any) -> Any:
        consumer = super()._create_consumer(loop=loop)
        kafka_wire.install(consumer._client)
        # Faust has no settings for these; the fetcher is made when it starts
        consumer._fetch_max_bytes, consumer._fetch_max_wait_ms = FETCH_BYTES, FETCH_WAIT_MS
        return consumer


class _Consumer(driver.Consumer):
    """Faust's consumer, on a footing (see there)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._footing = Footing()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        self._footing.revoked()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        self._footing.assigned()
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        since = self._footing.division
        # what is fetched between the seek and the footing would be passed over; who called lets the flow go on
        self.stop_flow()
        self.app.flow_control.suspend()
        await super().perform_seek()
        if self._footing.went_back(since):
            for kept in (self._acked, self._acked_index, self._gap):
                kept.clear()

    def stop_flow(self) -> None:
        self._footing.stopped()
        super().stop_flow()

    def ack(self, message: Any) -> bool:
        counts = self._footing.counts(message.generation_id, self.app.consumer_generation_id)
        return counts and bool(super().ack(message))

    def _to_message(self, tp: Any, record: Any) -> Any:
        message = super()._to_message(tp, record)
        message.generation_id = self._footing.mark(message.generation_id)  # Faust's stream passes a stray one over
        return message

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class FrameTransport(driver.Transport):
    """The transport of an app whose topics carry frames."""

    Consumer = _Consumer


def use_frame_transport(app: faust.App) -> None:
    """Let this app, which has not started, read in place."""
    app.transport = FrameTransport(app.conf.broker_consumer, cast(Any, app))
