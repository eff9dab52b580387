"""Rows -> Kafka record batches (format v2), built by one kernel: no Python object for each record.

A batch is a header of 61 bytes and its records, each with varints for lengths and deltas (Kafka documentation, section
"Record Batch"). All records of a block that go to one partition follow each other, cut where a batch is full.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from aiokafka.codec import lz4_encode
from aiokafka.producer.message_accumulator import BatchBuilder

from deploy.simulation.rows import Bytes, Ints, copied, packed
from streams.codecs import Codec
from streams.crc32c import crc32c
from streams.words import PADDING, address_of, store_byte
from topology.jit import kernel

BATCH_BYTES: Final = 512 * 1024
"""Below the largest message that brokers accept by default (1 MiB), a single large record included."""
LZ4_LEVEL: Final = 1
"""The fast one: level 9, aiokafka's own, takes ten times as long for a tenth less."""
RECORD_BYTES: Final = 40
"""Varints and attributes of a record at most."""

# Base offset, length, leader epoch, magic, crc; then, under the crc: attributes, last offset delta, first timestamp,
# max timestamp, producer id, producer epoch, base sequence, count.
_HEAD: Final = struct.Struct(">qiibI")
_TAIL: Final = struct.Struct(">hiqqqhii")
_LENGTH_FROM: Final = 12


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, ready to be sent to a partition."""

    partition: int
    count: int
    data: bytes


class PrebuiltBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka is untyped
    """Hands an aiokafka producer a batch that is built already; nothing can be appended to it."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(len(batch.data), 0)
        self._buffer = bytearray(batch.data)
        self._relative_offset = batch.count
        self._closed = True

    def _set_producer_state(self, producer_id: Any, producer_epoch: Any, base_sequence: Any) -> None:
        raise ValueError("simulation: a prebuilt batch belongs to a producer that is not idempotent")


class BatchMaker:
    """Makes the batches of blocks. `keys[i]` is the record key of entity i."""

    def __init__(self, keys: Sequence[bytes], *, codec: Codec = Codec.LZ4) -> None:
        self._keys, self._key_starts = packed(keys)
        self._codec = codec

    def make(
        self, rows: Ints, partition: npt.NDArray[np.int32], entity: npt.NDArray[np.int32], data: Bytes, starts: Ints,
        now_ms: int,
    ) -> list[Batch]:  # fmt: skip
        """Batches of the block's `rows` (ascending); `partition` and `entity` are of all its rows."""
        if len(rows) == 0:
            return []
        order = rows[np.argsort(partition[rows], kind="stable")]
        sizes = starts[order + 1] - starts[order]
        key_sizes = self._key_starts[entity[order] + 1] - self._key_starts[entity[order]]
        out: Bytes = np.empty(int(sizes.sum() + key_sizes.sum()) + RECORD_BYTES * len(order) + PADDING, dtype=np.uint8)
        ends = np.empty((len(order), 2), dtype=np.int64)  # of each batch: the row behind it, the byte behind it
        count = _fill(
            order, partition, entity, data, starts, self._keys, self._key_starts, BATCH_BYTES, out, ends
        )  # fmt: skip
        batches, row, at = [], 0, 0
        for row_end, byte_end in ends[:count].tolist():
            records = out[at:byte_end].tobytes()
            batches.append(self._finished(int(partition[order[row]]), row_end - row, records, now_ms))
            row, at = row_end, byte_end
        return batches

    def _finished(self, partition: int, count: int, records: bytes, now_ms: int) -> Batch:
        if self._codec is Codec.LZ4:
            records = lz4_encode(records, level=LZ4_LEVEL)
        tail = _TAIL.pack(int(self._codec), count - 1, now_ms, now_ms, -1, -1, -1, count) + records
        head = _HEAD.pack(0, len(tail) + _HEAD.size - _LENGTH_FROM, -1, 2, crc32c(tail))
        return Batch(partition, count, head + tail)


@kernel
def _put_varint(value: int, at: int) -> int:
    """A value of 0 or more in zigzag form."""
    value <<= 1
    while value > 127:
        store_byte(at, 128 | (value & 127))
        value >>= 7
        at += 1
    store_byte(at, value)
    return at + 1


@kernel
def _varint_bytes(value: int) -> int:
    value <<= 1
    size = 1
    while value > 127:
        value >>= 7
        size += 1
    return size


@kernel
def _fill(
    order: Ints, partition: npt.NDArray[np.int32], entity: npt.NDArray[np.int32], data: Bytes, starts: Ints,
    keys: Bytes, key_starts: Ints, most: int, out: Bytes, ends: Ints,
) -> int:  # fmt: skip
    """Records of all batches behind each other; returns how many batches. A record longer than `most` is alone."""
    out_at, data_at, keys_at = address_of(out), address_of(data), address_of(keys)
    at = begun_at = out_at
    batches = 0
    offset = 0
    for i in range(len(order)):
        row = order[i]
        key_from, begin = key_starts[entity[row]], starts[row]
        key_size, size = key_starts[entity[row] + 1] - key_from, starts[row + 1] - begin
        full = at - begun_at + key_size + size + RECORD_BYTES > most
        if offset > 0 and (full or partition[row] != partition[order[i - 1]]):
            ends[batches, 0] = i
            ends[batches, 1] = at - out_at
            batches += 1
            begun_at = at
            offset = 0
        # attributes, timestamp delta (0), offset delta, key, value, no headers
        length = 2 + _varint_bytes(offset) + _varint_bytes(key_size) + key_size + _varint_bytes(size) + size + 1
        at = _put_varint(length, at)
        store_byte(at, 0)
        store_byte(at + 1, 0)
        at = _put_varint(offset, at + 2)
        at = _put_varint(key_size, at)
        at = copied(keys_at + key_from, key_size, at)
        at = _put_varint(size, at)
        at = copied(data_at + begin, size, at)
        store_byte(at, 0)
        at += 1
        offset += 1
    ends[batches, 0] = len(order)
    ends[batches, 1] = at - out_at
    return batches + 1
