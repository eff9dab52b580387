"""Whole Kafka record batches from aiokafka: its group membership and fetching, without one Python object per record.

aiokafka's fetcher turns each fetch response into `MemoryRecords` and `PartitionRecords`, which unpack record by record.
Here one fetcher instance gets a private copy of the method that names these two classes, with ours in their place:
`RawPartitionRecords` yields a `RawBatch` per Kafka batch. Nothing global is changed, because Faust uses aiokafka in the
same process. This seam is on aiokafka's inside, so its version is pinned and `check_seam` refuses any other.

A batch stays compressed here; `streams.decode` unpacks it straight into its own buffer.
"""

from __future__ import annotations

import inspect
import struct
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import aiokafka
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher

from schemas.dead_letter import Reason
from schemas.errors import SettingsError
from schemas.raw import MAX_EVENT_MS
from streams import kafka_wire
from streams.batches import Batch, CorruptBatch, RawBatch
from streams.codecs import Codec
from streams.crc32c import crc32c
from streams.legacy_batches import legacy_batch
from streams.steady_clock import steady_ms, wall_ms

__all__ = ["Batch", "CorruptBatch", "RawBatch", "RawBatchConsumer", "check_seam", "install_seam"]

PINNED_AIOKAFKA: Final = "0.14."

_LOG_OVERHEAD: Final = 12  # offset and length
_SMALLEST_LEGACY: Final = _LOG_OVERHEAD + 14
_MAGIC_AT: Final = 16
_CRC_FROM: Final = 21
# Base offset, length, leader epoch, magic, crc, attributes, last offset delta, first timestamp, max timestamp,
# producer id, producer epoch, base sequence, count: the same in every fetch of a v2 batch.
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_LOG_SLICE: Final = struct.Struct(">qi")

_CODEC_MASK: Final = 0x07
_LOG_APPEND: Final = 0x08
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_READ_COMMITTED: Final = 1
_ABORT: Final = 0

# A damaged header may claim any range of offsets; no producer puts this many records into one batch.
_MOST_OFFSETS: Final = 1 << 24


FETCH_BYTES: Final = 10 * 1024 * 1024
"""Of all partitions together. Three responses (one is read, one waits, one comes) must find room in a connection's
buffers (streams/buffers.py): memory that is made anew for each costs as much as copying it out of the socket."""


class RawMemoryRecords:
    """A fetch response cut into batches; takes the place of aiokafka's MemoryRecords.

    The broker may cut the last batch short: that one is left for the next fetch.
    """

    __slots__ = ("_buffer", "_position")

    def __init__(self, data: bytes | None) -> None:
        self._buffer = memoryview(data or b"")
        self._position = 0

    def size_in_bytes(self) -> int:
        return len(self._buffer)

    def has_next(self) -> bool:
        left = len(self._buffer) - self._position
        if left < _LOG_OVERHEAD:
            return False
        _, length = _LOG_SLICE.unpack_from(self._buffer, self._position)
        return bool(length + _LOG_OVERHEAD <= left)

    def next_batch(self) -> memoryview:
        """The bytes of the next batch. One whose length makes no sense takes all that is left with it."""
        start = self._position
        _, length = _LOG_SLICE.unpack_from(self._buffer, start)
        end = start + _LOG_OVERHEAD + length if length > 0 else len(self._buffer)
        self._position = end
        return self._buffer[start:end]

    def next_base_offset(self) -> int | None:
        """The base offset of the batch after the last one given, if it is here."""
        if len(self._buffer) - self._position < _LOG_OVERHEAD:
            return None
        offset, _ = _LOG_SLICE.unpack_from(self._buffer, self._position)
        return int(offset)


class RawPartitionRecords(aiokafka_fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """Iterates the batches of one partition's fetch response; the rest of aiokafka sees a PartitionRecords.

    `suspects` (one dict per consumer) remembers batches whose checksum failed: such a batch is fetched once more, in
    case its bytes were hurt on the way, before it is given up as corrupt. `nothing` (likewise) remembers a run of
    offsets (first, behind the last) at the end of a response that held no records for us: the next batch settles them.
    """

    suspects: dict[TopicPartition, int]
    nothing: dict[TopicPartition, tuple[int, int]]
    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Batch]:
        records: RawMemoryRecords = self._records
        settled, behind = self.nothing.pop(self._tp, (0, -1))
        if behind != self.next_fetch_offset:
            settled = self.next_fetch_offset
        while records.has_next():
            data = records.next_batch()
            position = self.next_fetch_offset
            batch: Batch | None
            if len(data) < _SMALLEST_LEGACY:
                base = int.from_bytes(data[:8], "big", signed=True)
                detail = f"a batch of {len(data)} bytes is smaller than any header"
                batch = CorruptBatch(base, max(base, position) + 1, wall_ms(), data, detail)
            elif data[_MAGIC_AT] == 2 and len(data) >= _HEADER.size:
                if self._check_crcs and not self._checksum_holds(data):
                    base = int.from_bytes(data[:8], "big", signed=True)
                    if self.suspects.get(self._tp) != base:
                        self.suspects[self._tp] = base
                        break
                    batch = _broken_checksum(data, position, records.next_base_offset())
                else:
                    batch = self._read_batch(data, position, settled)
            else:
                batch = legacy_batch(data, position, wall_ms())
            if batch is None:
                continue
            # The next fetch starts behind the batch, also when compaction took its last records.
            self.next_fetch_offset = max(batch.next_offset, position)
            if batch.next_offset > position:
                if batch.skip_before != settled:
                    batch = replace(batch, skip_before=settled)
                settled = batch.next_offset
                yield batch
        if settled < self.next_fetch_offset:
            self.nothing[self._tp] = (settled, self.next_fetch_offset)

    @staticmethod
    def _checksum_holds(data: memoryview) -> bool:
        return bool(crc32c(data[_CRC_FROM:]) == int.from_bytes(data[_CRC_FROM - 4 : _CRC_FROM], "big"))

    def _read_batch(self, data: memoryview, position: int, settled: int) -> Batch | None:
        """The batch, or None for one that holds nothing for us (the position is then moved here)."""
        (base, _, _, _, _, attributes, last_delta, _, timestamp, producer, _, _, count) = _HEADER.unpack_from(data)
        next_offset = base + last_delta + 1
        if last_delta < 0 or count < 0 or count > last_delta + 1:
            detail = f"the header says {count} records in {last_delta + 1} offsets"
            next_offset = base + 1 if last_delta < 0 else next_offset
            return CorruptBatch(base, max(next_offset, position + 1), wall_ms(), data, detail)
        if self._isolation_level == _READ_COMMITTED and producer >= 0:
            self._consume_aborted_up_to(base)
            if attributes & _CONTROL:
                if _is_abort_marker(data):
                    self._aborted_producers.discard(producer)
            elif attributes & _TRANSACTIONAL and producer in self._aborted_producers:
                count = 0
        if attributes & _CONTROL or count == 0:
            self.next_fetch_offset = max(next_offset, position)
            return None
        received = timestamp if 0 <= timestamp < MAX_EVENT_MS else wall_ms()
        code = attributes & _CODEC_MASK
        payload = data[_HEADER.size :]
        if code not in _CODECS:
            detail = f"compression codec {code} is not one of none, gzip, snappy, lz4, zstd"
            reason = Reason.UNSUPPORTED_BATCH
            return CorruptBatch(base, next_offset, received, data, detail, reason)
        log_append = bool(attributes & _LOG_APPEND)
        return RawBatch(base, next_offset, count, received, log_append, payload, _CODECS[code], settled)


_CODECS: Final = {codec.value: codec for codec in Codec}


def _broken_checksum(data: memoryview, position: int, following: int | None) -> CorruptBatch:
    """The corrupt batch; its own header cannot be trusted, so the batch behind it, if here, says where it ends."""
    base, *_, last_delta, _, timestamp, _, _, _, count = _HEADER.unpack_from(data)
    next_offset = base + last_delta + 1
    if following is not None and base < following <= base + _MOST_OFFSETS:
        next_offset = following
    elif not (0 <= last_delta < _MOST_OFFSETS and 0 <= count <= last_delta + 1):
        next_offset = base + 1
    received = timestamp if 0 <= timestamp < MAX_EVENT_MS else wall_ms()
    detail = "the checksum of the batch (CRC-32C) does not match its bytes, fetched twice"
    return CorruptBatch(base, max(next_offset, position + 1), received, data, detail)


def _is_abort_marker(data: memoryview) -> bool:
    """Whether a control batch's one record, whose key is (version int16, type int16), says abort."""
    # length, attributes, timestamp delta, offset delta and key length are one or more bytes of varint each.
    at = _HEADER.size
    at = _behind_varint(data, at) + 1
    for _ in range(3):
        at = _behind_varint(data, at)
    return len(data) >= at + 4 and int.from_bytes(data[at + 2 : at + 4], "big") == _ABORT


def _behind_varint(data: memoryview, at: int) -> int:
    while at < len(data) and data[at] & 0x80:
        at += 1
    return at + 1


def check_seam() -> None:
    """SettingsError unless the aiokafka that is installed has the insides that this module was written against."""
    problems = []
    if not aiokafka.__version__.startswith(PINNED_AIOKAFKA):
        problems.append(
            f"streams/raw_batches: aiokafka {aiokafka.__version__} is installed, needed is {PINNED_AIOKAFKA}x"
        )
    method = getattr(aiokafka_fetcher.Fetcher, "_proc_fetch_request", None)
    names = method.__code__.co_names if inspect.iscoroutinefunction(method) else ()
    for name in ("MemoryRecords", "PartitionRecords", "FetchResult"):
        if name not in names:
            problems.append(f"streams/raw_batches: aiokafka's Fetcher._proc_fetch_request does not use {name} any more")
    parameters = tuple(inspect.signature(aiokafka_fetcher.PartitionRecords.__init__).parameters)
    if parameters != _PARTITION_RECORDS_PARAMETERS or not hasattr(
        aiokafka_fetcher.PartitionRecords, "_consume_aborted_up_to"
    ):
        problems.append(f"streams/raw_batches: aiokafka's PartitionRecords changed: it takes {', '.join(parameters)}")
    if problems:
        raise SettingsError([*problems, "streams/raw_batches: install the versions of the lock file"])


_PARTITION_RECORDS_PARAMETERS: Final = (
    "self",
    "tp",
    "records",
    "aborted_transactions",
    "fetch_offset",
    "key_deserializer",
    "value_deserializer",
    "check_crcs",
    "isolation_level",
)


def install_seam(fetcher: Any) -> None:
    """Make this one aiokafka fetcher, which has not fetched yet, yield whole batches."""
    own_records = type("RawPartitionRecordsOfOneConsumer", (RawPartitionRecords,), {"suspects": {}, "nothing": {}})
    install_records(fetcher, RawMemoryRecords, own_records)


def install_records(fetcher: Any, memory_records: type, partition_records: type) -> None:
    """Make this one aiokafka fetcher, which has not fetched yet, unpack what it fetches by these classes."""
    check_seam()
    original = aiokafka_fetcher.Fetcher._proc_fetch_request
    names = dict(original.__globals__)
    names["MemoryRecords"] = memory_records
    names["PartitionRecords"] = partition_records
    private = types.FunctionType(
        original.__code__, names, original.__name__, original.__defaults__, original.__closure__
    )
    fetcher._proc_fetch_request = types.MethodType(private, fetcher)


class RawBatchConsumer:
    """A member of a consumer group that is handed whole record batches.

    `options` go to AIOKafkaConsumer as they are (security, timeouts, fetch sizes). Offsets are committed by `commit`
    only.
    """

    def __init__(
        self,
        topics: Iterable[str],
        *,
        bootstrap_servers: str | list[str],
        group_id: str,
        listener: ConsumerRebalanceListener | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_seam()
        self._topics = tuple(topics)
        self._listener = listener
        self._options: dict[str, Any] = {
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "max_partition_fetch_bytes": 2 * 1024 * 1024,  # of compressed bytes, prefetched per partition
            "fetch_max_bytes": FETCH_BYTES,
            "fetch_max_wait_ms": 100,
            **(options or {}),
            "bootstrap_servers": bootstrap_servers,
            "group_id": group_id,
            "enable_auto_commit": False,
        }
        self._consumer: Any = None

    async def start(self) -> None:
        """Connect, then join the group; the listener hears of the assignment later. Errors are aiokafka's."""
        consumer = AIOKafkaConsumer(**self._options)
        kafka_wire.install(consumer._client)
        try:
            await consumer.start()
            install_seam(consumer._fetcher)
            # Only now, so that no response is unpacked in aiokafka's own way.
            consumer.subscribe(self._topics, listener=self._listener)
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer

    async def stop(self) -> None:
        """Leave the group. Commits nothing."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_batches: int | None = None
    ) -> dict[TopicPartition, list[Batch]]:
        """Batches that have arrived, waiting up to `timeout_ms` for the first; only of `partitions`, if named."""
        batches: dict[TopicPartition, list[Batch]] = await self._consumer.getmany(
            *partitions, timeout_ms=timeout_ms, max_records=max_batches
        )
        return batches

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Commit (next offset, metadata) per partition. CommitFailedError when the group went on without us."""
        await self._consumer.commit(dict(offsets))

    async def committed(self, partition: TopicPartition) -> tuple[int, str] | None:
        """The committed (next offset, metadata) of a partition, or None; aiokafka's own call hides the metadata."""
        found = await self._consumer._coordinator.fetch_committed_offsets([partition])
        if partition not in found or found[partition].offset < 0:
            return None
        return int(found[partition].offset), str(found[partition].metadata or "")

    async def position(self, partition: TopicPartition) -> int:
        """The offset that is handed out next; waits until it is known."""
        return int(await self._consumer.position(partition))

    def highwater(self, partition: TopicPartition) -> int | None:
        """The offset behind the partition's last record, as the last fetch saw it; None before the first fetch."""
        mark = self._consumer.highwater(partition)
        return None if mark is None else int(mark)

    def standing(self, partition: TopicPartition) -> tuple[int, int, int] | None:
        """(position, end, when): the offset handed out next, and the partition's end as a fetch saw it at `when`
        (by `steady_ms`).

        None while the partition is not ours, or before its first fetch. A broker that does not answer leaves `when`
        behind. aiokafka notes the time of a fetch by the wall clock: when that is put back meanwhile, nobody knows how
        long ago the fetch was, and nothing is told until the next one. The broker notes the high watermark before it
        reads the log, so that a fetch from a partition that is being written to may hold records from beyond it: what
        has been handed out is below the end, too.
        """
        if partition not in self._consumer.assignment():
            return None
        state = self._consumer._subscription.subscription.assignment.state_value(partition)
        if state is None or not state.has_valid_position or state.highwater is None or state.timestamp is None:
            return None
        age_ms = wall_ms() - int(state.timestamp)
        if age_ms < 0:
            return None
        position = int(state.position)
        return position, max(position, int(state.highwater)), steady_ms() - age_ms

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._consumer.assignment())

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._consumer.seek(partition, offset)

    def pause(self, *partitions: TopicPartition) -> None:
        self._consumer.pause(*partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._consumer.resume(*partitions)

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset(self._consumer.paused())

    async def beginning(self, partition: TopicPartition) -> int:
        """The first offset that the broker still has of a partition, asked now."""
        first: dict[TopicPartition, int] = await self._consumer.beginning_offsets([partition])
        return int(first[partition])

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The end of each partition, asked of the broker now."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(list(partitions))
        return ends
