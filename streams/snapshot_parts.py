"""What a snapshot of a shard is made of, as messages.

A *part* is a piece of state; parts that are written together form a *bundle*, which is encoded as a whole, cut into
messages of at most some megabytes and compressed. A small *manifest* names the bundles, each message with its
checksum: one that was damaged on its way or on a disk is refused, however well it may decode. What stays (sealed
buckets, cells known already) is written once and named again; of open buckets each bundle holds the rows that have
changed.

A bundle is a head (msgpack) and behind it the arrays of its parts as they are in memory. Writing and reading copy
arrays of gigabytes once, outside of the interpreter's lock, and may run in a thread beside the event loop.

Everything is stored by the track's key and the op's number, not by its place in memory: detectors may change between
two starts. A track or lane that a snapshot does not have starts empty; one that nobody wants any more is dropped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import BrokerError
from streams.tracks import TrackKey

SNAPSHOT_VERSION: Final = 2
PART_BYTES: Final = 1024 * 1024
"""Of a message, before compression. What the client does with a message is done on the event loop: some 2 ms each."""
MOST_BYTES: Final = 1 << 36  # of one bundle: more is damage
SIZE_BYTES: Final = 8
ALIGNED: Final = 8  # arrays begin at a multiple of it: the widest number that is read out of them

WITHOUT: Final = (
    "delete the records of join-state to have the shard rebuilt from observations, as far back as these are kept"
)
"""How to go on without a snapshot, and at what price."""

CELLS, OPEN, STATE, SEALED = "cells", "open", "state", "sealed"
"""Kinds of bundles."""


class PartRef(msgspec.Struct, frozen=True, array_like=True):
    """Where a message of a bundle lies, and the CRC-32 of its bytes."""

    topic: str
    offset: int
    size: int
    checksum: int


class BundleRef(msgspec.Struct, frozen=True, array_like=True):
    """One bundle: its kind, the buckets (width, start) that it speaks of, and its messages in order."""

    kind: str
    buckets: list[tuple[int, int]]
    refs: list[PartRef]


class PartitionState(msgspec.Struct, frozen=True, array_like=True):
    """One raw partition's progress."""

    source: int
    partition: int
    intervals: list[tuple[int, int]]
    watermark_ms: int | None
    max_event_ms: int | None
    idle: bool


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot consists of. `next_offset` is the first offset of `observations` that it does not contain."""

    version: int = SNAPSHOT_VERSION
    shard: int
    next_offset: int
    watermark_ms: int | None
    partitions: list[PartitionState]
    closed_until_ms: dict[int, int | None]  # by bucket width
    bundles: list[BundleRef]


class Blob:
    """An array of a part as plain bytes: uint8[n], with `array` as what it is."""

    __slots__ = ("bytes",)

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.bytes: npt.NDArray[np.uint8] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def array(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return self.bytes.view(dtype)

    def __len__(self) -> int:
        return len(self.bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and np.array_equal(self.bytes, other.bytes)

    __hash__ = None  # type: ignore[assignment]  # it is as mutable as its array


class Part(msgspec.Struct, tag_field="part"):
    """Common base of the parts."""


class SlotsPart(Part, tag="slots"):
    """Cells `first ..` in slot order: int64[n] and bool[n]."""

    first: int
    cells: Blob
    owned: Blob


class TrackPart(Part, tag="track"):
    """The slots of the ranks `first ..` of a track: int32[n]."""

    bucket_ms: int
    key: TrackKey
    first: int
    slots: Blob


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """Where the ops of a track have their lanes and evidence, in the rows and columns of the same part."""

    key: TrackKey
    lanes: int
    lane_of: dict[int, int]  # by op
    evidence_of: dict[int, int]


class OpenPart(Part, tag="open"):
    """Rows of an open bucket, track by track as in `layouts`: `counts` of them, their ranks int32[all], and of each its
    lanes float64 and its evidence int64."""

    bucket_ms: int
    start_ms: int
    layouts: list[Layout]
    counts: list[int]
    ranks: Blob
    words: Blob


class SealedPart(Part, tag="sealed"):
    """A sealed bucket as it is in memory, with offsets in place of addresses: see streams.sealed.

    `parts` int64[tracks, 4] and `lanes` int64[all lanes, 4] in the order of `layouts`; `evidence` None: forgotten.
    """

    bucket_ms: int
    start_ms: int
    layouts: list[Layout]
    parts: Blob
    lanes: Blob
    data: Blob
    evidence: Blob | None


class JudgePart(Part, tag="judge"):
    """What stands for one detector: slots int32[n], SLOT[n], and its own lanes float64[state_lanes, n].

    `due_ms` is the next end of its buckets; the rest is what its alerts need to be cleared when it is gone.
    """

    name: str
    version: int
    category: str
    bucket_ms: int
    window_ms: int
    due_ms: int
    slots: Blob
    standing: Blob
    state: Blob


AnyPart = SlotsPart | TrackPart | OpenPart | SealedPart | JudgePart


def bytes_of(part: AnyPart) -> int:
    """What the arrays of a part take."""
    fields = (getattr(part, name) for name in part.__struct_fields__)
    return sum(len(field) for field in fields if isinstance(field, Blob))


class _Versioned(msgspec.Struct):
    version: int


_pack = msgspec.msgpack.Encoder()
_unpack_manifest = msgspec.msgpack.Decoder(Manifest)
_unpack_version = msgspec.msgpack.Decoder(_Versioned)


def encode_bundle(parts: Sequence[AnyPart]) -> Iterator[bytes]:
    """The messages of a bundle, made one by one."""
    blobs: list[Blob] = []

    def set_apart(blob: Blob) -> int:
        blobs.append(blob)
        return len(blob)

    head = msgspec.msgpack.encode(parts, enc_hook=set_apart)
    begin = np.frombuffer(len(head).to_bytes(SIZE_BYTES, "little") + head, dtype=np.uint8)
    pieces = [begin, *(blob.bytes for blob in blobs)]
    raw = np.empty(min(PART_BYTES, sum(_aligned(len(piece)) for piece in pieces)), dtype=np.uint8)
    used = 0
    for piece in pieces:
        at = 0
        while at < len(piece):
            count = min(len(piece) - at, len(raw) - used)
            raw[used : used + count] = piece[at : at + count]
            used, at = used + count, at + count
            if used == len(raw):
                yield _compressed(raw)
                used = 0
        # messages have whole numbers of ALIGNED bytes, so there is room in this one
        gap = _aligned(len(piece)) - len(piece)
        raw[used : used + gap] = 0
        used += gap
        if used == len(raw):
            yield _compressed(raw)
            used = 0
    if used:
        yield _compressed(raw[:used])


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _compressed(raw: npt.NDArray[np.uint8]) -> bytes:
    return b"".join((len(raw).to_bytes(SIZE_BYTES, "little"), pa.compress(raw, codec="lz4")))


def checksum(message: bytes) -> int:
    return zlib.crc32(message)


def decode_bundle(messages: Sequence[bytes]) -> list[AnyPart]:
    """The parts of a bundle, whose arrays are views of one buffer; BrokerError when it is damaged."""
    try:
        return _parts_of(_unpacked(messages))
    except (pa.ArrowException, OSError, ValueError, msgspec.DecodeError) as error:
        raise BrokerError(f"join snapshot: damaged part of {sum(map(len, messages))} bytes: {error}") from error


def _unpacked(messages: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    lengths = [int.from_bytes(message[:SIZE_BYTES], "little") for message in messages]
    if max(lengths, default=0) > PART_BYTES or sum(lengths) > MOST_BYTES:
        raise ValueError(f"messages of {max(lengths)} bytes, {sum(lengths)} in all")
    raw = np.empty(sum(lengths), dtype=np.uint8)
    at = 0
    for message, length in zip(messages, lengths, strict=True):
        part = pa.decompress(memoryview(message)[SIZE_BYTES:], decompressed_size=length, codec="lz4")
        raw[at : at + length] = np.frombuffer(part, dtype=np.uint8)
        at += length
    return raw


def _parts_of(raw: npt.NDArray[np.uint8]) -> list[AnyPart]:
    head = int.from_bytes(raw[:SIZE_BYTES].tobytes(), "little")
    at = _aligned(SIZE_BYTES + head)

    def put_back(wanted: type, size: object) -> Blob:
        nonlocal at
        if wanted is not Blob or not isinstance(size, int) or not 0 <= size <= len(raw) - at:
            raise ValueError(f"an array of {size} bytes where {len(raw) - at} are left")
        blob, at = Blob(raw[at : at + size]), at + _aligned(size)
        return blob

    parts: list[AnyPart] = msgspec.msgpack.decode(
        raw[SIZE_BYTES : SIZE_BYTES + head].tobytes(), type=list[AnyPart], dec_hook=put_back
    )
    return parts


def encode_manifest(manifest: Manifest) -> bytes:
    return _pack.encode(manifest)


def decode_manifest(payload: bytes) -> Manifest:
    """The manifest in `payload`; BrokerError when it is damaged or of another version."""
    try:
        version = _unpack_version.decode(payload).version
        if version != SNAPSHOT_VERSION:
            raise BrokerError(
                f"join snapshot: version {version}, this program reads {SNAPSHOT_VERSION} - "
                f"start the version that wrote it, or {WITHOUT}"
            )
        return _unpack_manifest.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        raise BrokerError(f"join snapshot: damaged manifest: {error} - restore join-state, or {WITHOUT}") from error
