"""What a snapshot of a shard is made of, as messages.

A *part* is a piece of state; parts that are written together form a *bundle*, which is encoded as a whole, cut into
messages of at most some megabytes and compressed. A small *manifest* names the bundles. What stays (sealed buckets,
cells known already) is written once and named again; of open buckets each bundle holds the rows that have changed.

Everything is stored by the track's key and the op's number, not by its place in memory: detectors may change between
two starts. A track or lane that a snapshot does not have starts empty; one that nobody wants any more is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import pyarrow as pa

from schemas.errors import BrokerError
from streams.tracks import TrackKey

SNAPSHOT_VERSION: Final = 2
PART_BYTES: Final = 6 * 1024 * 1024  # before compression; with it a message fits any sane max.message.bytes
MOST_BYTES: Final = 1 << 36  # of one bundle: more is damage

CELLS, OPEN, STATE, SEALED = "cells", "open", "state", "sealed"
"""Kinds of bundles."""


class PartRef(msgspec.Struct, frozen=True, array_like=True):
    """Where a message of a bundle lies."""

    topic: str
    offset: int
    size: int


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


class Part(msgspec.Struct, tag_field="part"):
    """Common base of the parts."""


class SlotsPart(Part, tag="slots"):
    """Cells `first ..` in slot order: int64[n] and bool[n]."""

    first: int
    cells: bytes
    owned: bytes


class TrackPart(Part, tag="track"):
    """The slots of the ranks `first ..` of a track: int32[n]."""

    bucket_ms: int
    key: TrackKey
    first: int
    slots: bytes


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
    ranks: bytes
    words: bytes


class SealedPart(Part, tag="sealed"):
    """A sealed bucket as it is in memory, with offsets in place of addresses: see streams.sealed.

    `parts` int64[tracks, 4] and `lanes` int64[all lanes, 4] in the order of `layouts`; `evidence` None: forgotten.
    """

    bucket_ms: int
    start_ms: int
    layouts: list[Layout]
    parts: bytes
    lanes: bytes
    data: bytes
    evidence: bytes | None


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
    slots: bytes
    standing: bytes
    state: bytes


AnyPart = SlotsPart | TrackPart | OpenPart | SealedPart | JudgePart


class _Versioned(msgspec.Struct):
    version: int


_pack = msgspec.msgpack.Encoder()
_unpack: msgspec.msgpack.Decoder[list[AnyPart]] = msgspec.msgpack.Decoder(list[AnyPart])
_unpack_manifest = msgspec.msgpack.Decoder(Manifest)
_unpack_version = msgspec.msgpack.Decoder(_Versioned)


def encode_bundle(parts: Sequence[AnyPart]) -> list[bytes]:
    """The messages of a bundle."""
    raw = memoryview(_pack.encode(parts))
    return [_compressed(raw[at : at + PART_BYTES]) for at in range(0, len(raw), PART_BYTES)]


def _compressed(raw: memoryview) -> bytes:
    packed: bytes = pa.compress(raw, codec="lz4", asbytes=True)
    return len(raw).to_bytes(8, "little") + packed


def decode_bundle(messages: Iterable[bytes]) -> list[AnyPart]:
    """The parts of a bundle; BrokerError when it is damaged."""
    raw = bytearray()
    size = 0
    try:
        for message in messages:
            size += len(message)
            length = int.from_bytes(message[:8], "little")
            if length > PART_BYTES or len(raw) + length > MOST_BYTES:
                raise ValueError(f"a message of {length} bytes")
            raw += pa.decompress(memoryview(message)[8:], decompressed_size=length, codec="lz4")
        return _unpack.decode(raw)
    except (pa.ArrowException, OSError, ValueError, msgspec.DecodeError) as error:
        raise BrokerError(f"join snapshot: damaged part of {size} bytes: {error}") from error


def encode_manifest(manifest: Manifest) -> bytes:
    return _pack.encode(manifest)


def decode_manifest(payload: bytes) -> Manifest:
    """The manifest in `payload`; BrokerError when it is damaged or of another version."""
    try:
        version = _unpack_version.decode(payload).version
        if version != SNAPSHOT_VERSION:
            raise BrokerError(
                f"join snapshot: version {version}, this program reads {SNAPSHOT_VERSION} - "
                "start the version that wrote it, or delete the join's state to rebuild it from observations"
            )
        return _unpack_manifest.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        raise BrokerError(f"join snapshot: damaged manifest: {error}") from error
