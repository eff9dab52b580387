"""The loop's state as bytes and back, in parts: 64 buckets of incidents by id, and a head.

A snapshot writes only the buckets that changed. The indexes and the heap of times are not stored, they follow from the
incidents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from schemas.errors import BrokerError
from streams.loop_incident import BUCKETS, Incident, Incidents

PARTS_VERSION: Final = 1
HEAD: Final = "head"
BUCKET_NAMES: Final = tuple(f"incidents-{bucket:02d}" for bucket in range(BUCKETS))


class Head(msgspec.Struct, kw_only=True):
    """What belongs to no incident. `seen`: topic, partition and last offset of the causes that were read."""

    version: int = PARTS_VERSION
    clock_ms: int = 0
    seen: list[tuple[str, int, int]] = []


_pack = msgspec.msgpack.Encoder()
_unpack_head = msgspec.msgpack.Decoder(Head)
_unpack_bucket = msgspec.msgpack.Decoder(list[Incident])


def encode_head(clock_ms: int, seen: Mapping[tuple[str, int], int]) -> bytes:
    entries = sorted((topic, partition, offset) for (topic, partition), offset in seen.items())
    return _pack.encode(Head(clock_ms=clock_ms, seen=entries))


def decode_head(part: bytes) -> Head:
    """BrokerError when it is damaged or of another version."""
    try:
        head = _unpack_head.decode(part)
    except (msgspec.DecodeError, ValueError) as error:
        raise BrokerError(f"loop snapshot: damaged head of {len(part)} bytes: {error}") from error
    if head.version != PARTS_VERSION:
        raise BrokerError(
            f"loop snapshot: version {head.version}, this program reads {PARTS_VERSION} - "
            "start the version that wrote it, or delete the loop's state to rebuild it from the topic loop"
        )
    return head


def encode_buckets(incidents: Incidents, buckets: Iterable[int]) -> dict[str, bytes]:
    """The incidents of some buckets, by the names of their parts; an empty bucket is a part too."""
    return {
        BUCKET_NAMES[bucket]: _pack.encode([incident for _, incident in sorted(incidents.buckets[bucket].items())])
        for bucket in buckets
    }


def decode_bucket(name: str, part: bytes) -> list[Incident]:
    """BrokerError when it is damaged."""
    try:
        return _unpack_bucket.decode(part)
    except (msgspec.DecodeError, ValueError) as error:
        raise BrokerError(f"loop snapshot: damaged part {name} of {len(part)} bytes: {error}") from error
