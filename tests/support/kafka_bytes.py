"""Kafka record batches as bytes: made by aiokafka's own builders, then placed and marked as a broker would."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from schemas.sources import Source
from streams.batches import RawBatch
from streams.decode import Decoded, Decoder

T0 = 1_782_864_000_000
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
LOG_APPEND, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20
HEADER_BYTES = 61

Value = bytes | None


def batch_bytes(
    values: Sequence[Value],
    *,
    base_offset: int = 0,
    codec: str = "none",
    attributes: int = 0,
    producer_id: int = -1,
    offsets: Sequence[int] | None = None,
    next_offset: int | None = None,
    timestamp_ms: int = T0,
    keys: bool = False,
) -> bytes:
    """A v2 batch. `offsets` leaves gaps inside it, `next_offset` one behind, as compaction does."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=int(bool(attributes & TRANSACTIONAL)),
        producer_id=producer_id,
        producer_epoch=0 if producer_id >= 0 else -1,
        base_sequence=0 if producer_id >= 0 else -1,
        batch_size=1 << 28,
    )
    at = list(offsets) if offsets is not None else [base_offset + index for index in range(len(values))]
    headers: list[tuple[str, bytes | None]] = [("trace", b"x" * 70), ("null", None)]
    for offset, value in zip(at, values, strict=True):
        key = f"key-{offset}".encode() if keys else None
        builder.append(offset - base_offset, timestamp_ms + offset - base_offset, key, value, headers if keys else [])
    data = bytearray(builder.build())
    return remade(
        data,
        base_offset=base_offset,
        attributes=struct.unpack_from(">h", data, 21)[0] | attributes,
        last_delta=(next_offset if next_offset is not None else (at[-1] + 1 if at else base_offset + 1))
        - base_offset
        - 1,
        max_timestamp=timestamp_ms + len(values),
    )


def remade(data: bytes | bytearray, *, crc: bool = True, **header: int) -> bytes:
    """The batch with other header fields, and a checksum that fits unless told otherwise."""
    places: dict[str, tuple[str, int]] = {
        "base_offset": (">q", 0),
        "attributes": (">h", 21),
        "last_delta": (">i", 23),
        "max_timestamp": (">q", 35),
        "count": (">i", 57),
    }
    made = bytearray(data)
    for name, value in header.items():
        form, position = places[name]
        struct.pack_into(form, made, position, value)
    if crc:
        struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)


def abort_marker(base_offset: int, producer_id: int, *, commit: bool = False) -> bytes:
    """The control batch that ends a transaction."""
    key = struct.pack(">hh", 0, int(commit))
    record = b"\x00\x00\x00" + bytes([2 * len(key)]) + key + bytes([2 * 6]) + bytes(6) + b"\x00"
    body = bytes([2 * len(record)]) + record
    template = bytearray(batch_bytes([None], base_offset=base_offset, producer_id=producer_id))[:HEADER_BYTES] + body
    struct.pack_into(">i", template, 8, len(template) - 12)
    return remade(template, attributes=TRANSACTIONAL | CONTROL)


def legacy_bytes(magic: Any, values: Sequence[Value], *, last_offset: int, codec: str = "none") -> bytes:
    """A compressed message of format v0 or v1, or plain messages one behind the other."""
    builder = LegacyRecordBatchBuilder(magic, CODECS[codec], 1 << 28)
    first = last_offset + 1 - len(values)
    for index, value in enumerate(values):
        # v1 has relative offsets inside a compressed message, all others absolute ones
        offset = index if magic == 1 and codec != "none" else first + index
        builder.append(offset, T0 + index, b"key", value)
    data = bytearray(builder.build())
    if codec != "none":
        struct.pack_into(">q", data, 0, last_offset)
    return bytes(data)


def raw_batch(values: Sequence[Value], *, base_offset: int = 0, skip_before: int = -1) -> RawBatch:
    """The batch as the consumer hands it to the decoder."""
    data = batch_bytes(values, base_offset=base_offset)
    count = len(values)
    return RawBatch(base_offset, base_offset + count, count, T0, True, data[HEADER_BYTES:], skip_before=skip_before)


def decoded(decoder: Decoder, source: Source, values: Sequence[Value]) -> Decoded:
    """The values as one batch, decoded."""
    return decoder.decode(source, source.topic, 3, [raw_batch(values)])
