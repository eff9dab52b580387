"""Kafka's old message formats (v0 and v1), rewritten as the records of a v2 batch.

Brokers still serve what was written in them. They are rare, so this is plain Python; own code rather than aiokafka's
reader, which decompresses without limit and never ends on a message that claims a negative length.

    message = offset int64, length int32, crc int32, magic int8, attributes int8, [v1: timestamp int64],
              key length int32, key, value length int32, value

A compressed message's value is a message set. In v1 its offsets are relative, and the wrapper has the last one's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from schemas.dead_letter import Reason
from schemas.raw import MAX_EVENT_MS
from streams.batches import Batch, CorruptBatch, RawBatch
from streams.codecs import BrokenData, Codec, NoRoom, decompress_into

MOST_BYTES: Final = 16 * 1024 * 1024  # of one message set unpacked; brokers of that time took 1 MB compressed

_HEAD: Final = struct.Struct(">qiIbb")
_TIMESTAMP: Final = struct.Struct(">q")
_LENGTH: Final = struct.Struct(">i")
_CODEC_MASK: Final = 0x07
_LOG_APPEND: Final = 0x08
_CODECS: Final = {0: Codec.NONE, 1: Codec.GZIP, 2: Codec.SNAPPY, 3: Codec.LZ4}


class _Message(NamedTuple):
    offset: int
    attributes: int
    timestamp: int  # -1 in v0
    value: memoryview | None


def legacy_batch(data: memoryview, position: int, now_ms: int) -> Batch:
    """The message (with all that is compressed in it) in `data`, which the consumer came to at offset `position`.

    `now_ms` is the receive time for messages that carry none.
    """
    offset = int.from_bytes(data[:8], "big", signed=True)
    magic = data[16]

    def refused(detail: str, reason: Reason) -> CorruptBatch:
        # A wrapper has the offset of its last message; where its first one is, only its inside would say.
        first, following = min(offset, position), max(offset, position) + 1
        return CorruptBatch(first, following, now_ms, data, detail, reason)

    if magic > 1:
        return refused(f"message format {magic} is not one of 0, 1, 2", Reason.UNSUPPORTED_BATCH)
    try:
        (wrapper,) = _messages(data, magic)
        codec = _CODECS.get(wrapper.attributes & _CODEC_MASK)
        if codec is None or (codec is Codec.LZ4 and magic == 0):
            # v0's lz4 has wrong checksums of its own (KAFKA-3160)
            detail = (
                f"compression codec {wrapper.attributes & _CODEC_MASK} is not one of those of message format {magic}"
            )
            return refused(detail, Reason.UNSUPPORTED_BATCH)
        messages = [wrapper] if codec is Codec.NONE else _unpack(wrapper, codec, magic)
        return _as_batch(wrapper, messages, now_ms)
    except (ValueError, struct.error, BrokenData) as error:
        return refused(f"message format {magic}: {error}", Reason.CORRUPT_BATCH)
    except NoRoom:
        return refused(f"message format {magic}: more than {MOST_BYTES} bytes unpacked", Reason.CORRUPT_BATCH)


def _messages(data: memoryview, magic: int) -> Iterator[_Message]:
    """The messages of a set. ValueError or struct.error when it is damaged."""
    position = 0
    while position < len(data):
        offset, length, crc, own_magic, attributes = _HEAD.unpack_from(data, position)
        end = position + 12 + length
        if length < 14 or end > len(data):
            raise ValueError(f"a message claims {length} bytes of the {len(data) - position - 12} that are left")
        if own_magic != magic:
            raise ValueError(f"a message of format {own_magic} inside one of format {magic}")
        if zlib.crc32(data[position + 16 : end]) != crc:
            raise ValueError("the checksum of a message (CRC-32) does not match its bytes")
        at = position + _HEAD.size
        timestamp = -1
        if magic == 1:
            (timestamp,) = _TIMESTAMP.unpack_from(data, at)
            at += _TIMESTAMP.size
        _, at = _bytes(data, at, end)
        value, at = _bytes(data, at, end)
        if at != end:
            raise ValueError(f"{end - at} bytes are left over behind a message's value")
        yield _Message(offset, attributes, timestamp, value)
        position = end


def _bytes(data: memoryview, at: int, end: int) -> tuple[memoryview | None, int]:
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    if length < -1 or length > end - at:
        raise ValueError(f"a key or value claims {length} bytes of the {end - at} that are left")
    return (None, at) if length == -1 else (data[at : at + length], at + length)


def _unpack(wrapper: _Message, codec: Codec, magic: int) -> list[_Message]:
    if wrapper.value is None:
        raise ValueError("a compressed message has no value")
    room = np.empty(MOST_BYTES, dtype=np.uint8)
    size = decompress_into(codec, wrapper.value, room)
    messages = list(_messages(memoryview(room[:size].tobytes()), magic))
    if not messages:
        raise ValueError("a compressed message has nothing in it")
    if any(message.attributes & _CODEC_MASK for message in messages):
        raise ValueError("a message is compressed twice")
    shift = wrapper.offset - messages[-1].offset if magic == 1 else 0
    return [message._replace(offset=message.offset + shift) for message in messages]


def _as_batch(wrapper: _Message, messages: list[_Message], now_ms: int) -> RawBatch:
    base = messages[0].offset
    payload = bytearray()
    previous = base - 1
    for message in messages:
        if message.offset <= previous:
            raise ValueError("offsets do not rise inside a compressed message")
        previous = message.offset
        record = bytearray(b"\0\0")  # attributes, timestamp delta
        _append_varint(record, message.offset - base)
        _append_varint(record, -1)  # no key: nobody reads it
        _append_varint(record, -1 if message.value is None else len(message.value))
        record += message.value or b""
        record.append(0)  # no headers
        _append_varint(payload, len(record))
        payload += record
    log_append = bool(wrapper.attributes & _LOG_APPEND)
    timestamp = wrapper.timestamp if log_append else max(message.timestamp for message in messages)
    received = timestamp if 0 <= timestamp < MAX_EVENT_MS else now_ms
    return RawBatch(base, previous + 1, len(messages), received, log_append, bytes(payload))


def _append_varint(data: bytearray, value: int) -> None:
    raw = (value << 1) ^ (value >> 63)
    while raw > 0x7F:
        data.append((raw & 0x7F) | 0x80)
        raw >>= 7
    data.append(raw)
