"""Kafka's compression codecs, decoded straight into a buffer of ours and never beyond its end.

Kafka frames: gzip as such, snappy either raw or in xerial's blocks (Java producers), lz4 as LZ4 frames, zstd as such.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

import cramjam
import numpy as np
import numpy.typing as npt

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = 16  # magic, version int32, oldest compatible version int32
_BLOCK: Final = struct.Struct(">i")


class Codec(IntEnum):
    """The codec's number in the attributes of a batch."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class BrokenData(Exception):
    """The bytes are not what the codec makes."""


class NoRoom(Exception):
    """The data does not fit into the room given."""


def decompress_into(codec: Codec, data: bytes | memoryview, room: npt.NDArray[np.uint8]) -> int:
    """Decompress `data` to the start of `room`; gives the number of bytes. Raises NoRoom or BrokenData."""
    if codec is Codec.NONE:
        if len(data) > len(room):
            raise NoRoom
        room[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        return len(data)
    if codec is Codec.SNAPPY:
        return _snappy_into(data, room)
    return _cramjam_into(_INTO[codec], data, room)


def _snappy_into(data: bytes | memoryview, room: npt.NDArray[np.uint8]) -> int:
    if bytes(data[:8]) != _XERIAL_MAGIC:
        return _snappy_block_into(data, room)
    position = _XERIAL_HEADER
    written = 0
    while position < len(data):
        if len(data) - position < _BLOCK.size:
            raise BrokenData("a snappy block ends before its length does")
        (size,) = _BLOCK.unpack_from(data, position)
        position += _BLOCK.size
        if not 0 < size <= len(data) - position:
            raise BrokenData(f"a snappy block claims {size} bytes of the {len(data) - position} that are left")
        written += _snappy_block_into(data[position : position + size], room[written:])
        position += size
    return written


def _snappy_block_into(data: bytes | memoryview, room: npt.NDArray[np.uint8]) -> int:
    try:
        size = cramjam.snappy.decompress_raw_len(data)
    except cramjam.DecompressionError as error:
        raise BrokenData(str(error)) from error
    if size > len(room):
        raise NoRoom
    if size == 0:
        return 0
    return _cramjam_into(cramjam.snappy.decompress_raw_into, data, room)


def _cramjam_into(into: Callable[[Any, Any], int], data: bytes | memoryview, room: npt.NDArray[np.uint8]) -> int:
    try:
        return into(data, room)
    except cramjam.DecompressionError as error:
        # cramjam has one exception for both; these words are Rust's for a writer that is full.
        if "failed to write whole buffer" in str(error):
            raise NoRoom from None
        raise BrokenData(str(error)) from error


_INTO: Final[dict[Codec, Callable[[Any, Any], int]]] = {
    Codec.GZIP: cramjam.gzip.decompress_into,
    Codec.LZ4: cramjam.lz4.decompress_into,
    Codec.ZSTD: cramjam.zstd.decompress_into,
}
