"""A Kafka record batch that holds one large value, not copied at all and summed by the processor's own instruction.

aiokafka's own builder copies a value twice and sums it from tables, which for frames of a megabyte is a tenth of what
locate costs. This one is handed to `AIOKafkaProducer.send_batch` in its place; it answers what the accumulator asks of
a `BatchBuilder`, of which `check_seam` makes sure. What it builds are `Pieces`, which streams/produce_request.py knows
how to write.
"""

from __future__ import annotations

import inspect
import struct
import time
from typing import Any, Final

from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.errors import SettingsError
from streams.crc32c import crc32c
from streams.produce_request import Pieces

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_CRC_AT: Final = 17
_CRC_FROM: Final = 21
_LOG_OVERHEAD: Final = 12  # offset and length are not counted in the length
_MAGIC: Final = 2
_NO_LEADER_EPOCH: Final = -1

# What the accumulator and the sender of the pinned aiokafka call on a builder.
_ASKED: Final = ("append", "close", "closed", "record_count", "size", "_build", "_set_producer_state")


class FrameBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka is untyped
    """A closed batch of one record without key. `timestamp_ms` is its create time, by default now."""

    def __init__(self, value: bytes | memoryview, timestamp_ms: int | None = None) -> None:
        self._value = value
        self._timestamp_ms = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        self._producer = (-1, -1, -1)
        self._pieces: Pieces | None = None

    def append(self, **_fields: Any) -> None:
        """Full: None makes the accumulator open another batch."""
        return

    def close(self) -> None:
        """It is closed from the start."""

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        return 1

    def size(self) -> int:
        return _HEADER.size + len(self._value) + 16

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> Pieces:
        if self._pieces is None:
            # attributes, timestamp delta, offset delta, no key (-1), the value, no headers
            head = b"\x00\x00\x00\x01" + _varint(len(self._value))
            record = _varint(len(head) + len(self._value) + 1) + head
            at = self._timestamp_ms
            length = _HEADER.size - _LOG_OVERHEAD + len(record) + len(self._value) + 1
            header = bytearray(_HEADER.pack(0, length, _NO_LEADER_EPOCH, _MAGIC, 0, 0, 0, at, at, *self._producer, 1))
            header += record
            struct.pack_into(">I", header, _CRC_AT, crc32c(header[_CRC_FROM:], self._value, b"\x00"))
            self._pieces = Pieces((bytes(header), self._value, b"\x00"))
        return self._pieces


def _varint(number: int) -> bytes:
    """Zigzag varint of a number >= 0."""
    left = number << 1
    out = bytearray()
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def check_seam() -> None:
    """SettingsError when the aiokafka that is installed has another builder than the one imitated here."""
    own = {name for name, _ in inspect.getmembers(BatchBuilder, inspect.isfunction)}
    known = {*_ASKED, "__init__", "_serialize"}
    if own != known:
        raise SettingsError(
            f"streams/frame_batch: aiokafka's BatchBuilder has {', '.join(sorted(own ^ known))} more or less than "
            "expected; install the versions of the lock file"
        )
