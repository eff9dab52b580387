"""The state of a shard as bytes and back.

A snapshot is a list of *parts*, each at most some megabytes, and a small `Manifest` that names them. Sealed buckets do
not change any more: their parts are written once and named again by every later manifest. All else (open buckets,
slots, detector states) is *volatile* and written anew each time.

Buckets are stored by feature identity, not by lane number: detectors may change between two starts. A feature that
the snapshot does not have starts empty; one that nobody wants any more is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detectors.hysteresis import SLOT
from schemas.errors import BrokerError
from streams.coverage import Coverage
from streams.join_core import JoinShard, Judge
from streams.lanes import LanePlan
from streams.raw_progress import RawPartition
from streams.windows import Block, WindowGroup

SNAPSHOT_VERSION: Final = 1
PART_BYTES: Final = 6 * 1024 * 1024  # before compression; with it a part fits any sane max.message.bytes


class PartRef(msgspec.Struct, frozen=True, array_like=True):
    """Where a part lies."""

    topic: str
    offset: int
    size: int


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
    parts: list[PartRef]


class Part(msgspec.Struct, tag_field="part"):
    """Common base of the parts."""


class SlotsPart(Part, tag="slots"):
    """Cells `first ..` in slot order: int64[n] and bool[n]."""

    first: int
    cells: bytes
    owned: bytes


class JudgePart(Part, tag="judge"):
    """A detector's slots that are not quiet or have lanes: int32[n], SLOT[n], float64[state_lanes, n]."""

    name: str
    version: int
    slots: bytes
    standing: bytes
    state: bytes


class FeatureLanes(msgspec.Struct, array_like=True):
    """Which rows of a block's arrays belong to which feature; `evidence` -1: none."""

    identity: str
    lane: int
    width: int
    evidence: int


class BlockPart(Part, tag="block"):
    """Touched slots of one bucket: int32[n], lanes float64[lanes, n], evidence int64[rows, n] (empty: forgotten)."""

    bucket_ms: int
    start_ms: int
    features: list[FeatureLanes]
    slots: bytes
    lanes: bytes
    evidence: bytes


AnyPart = SlotsPart | JudgePart | BlockPart
_pack = msgspec.msgpack.Encoder()
_unpack: msgspec.msgpack.Decoder[AnyPart] = msgspec.msgpack.Decoder(AnyPart)
_unpack_manifest = msgspec.msgpack.Decoder(Manifest)
_identity_text = msgspec.json.Encoder()


def encode_part(part: AnyPart) -> bytes:
    raw = _pack.encode(part)
    packed: bytes = pa.compress(raw, codec="lz4", asbytes=True)
    return len(raw).to_bytes(8, "little") + packed


def decode_part(payload: bytes) -> AnyPart:
    """The part in `payload`; BrokerError when it is damaged."""
    try:
        size = int.from_bytes(payload[:8], "little")
        if size > 64 * PART_BYTES:
            raise ValueError(f"a part of {size} bytes")
        raw: bytes = pa.decompress(payload[8:], decompressed_size=size, codec="lz4", asbytes=True)
        return _unpack.decode(raw)
    except (pa.ArrowException, OSError, ValueError, msgspec.DecodeError) as error:
        raise BrokerError(f"join snapshot: damaged part of {len(payload)} bytes: {error}") from error


def encode_manifest(manifest: Manifest) -> bytes:
    return _pack.encode(manifest)


def decode_manifest(payload: bytes) -> Manifest:
    """The manifest in `payload`; BrokerError when it is damaged or of another version."""
    try:
        manifest = _unpack_manifest.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        raise BrokerError(f"join snapshot: damaged manifest: {error}") from error
    if manifest.version != SNAPSHOT_VERSION:
        raise BrokerError(
            f"join snapshot: version {manifest.version}, this program reads {SNAPSHOT_VERSION} - "
            "start the version that wrote it, or delete the join's state to rebuild it from observations"
        )
    return manifest


# --- state -> parts ------------------------------------------------------------------------------------------------


def volatile_parts(shard: JoinShard) -> Iterator[AnyPart]:
    """Everything but the sealed buckets."""
    step = PART_BYTES // 9
    for first in range(0, shard.slots.count, step):
        part = slice(first, first + step)
        yield SlotsPart(first, shard.slots.cells[part].tobytes(), shard.slots.owned[part].tobytes())
    for judges in shard.judges.values():
        for judge in judges:
            yield from _judge_parts(judge)
    for group in shard.groups.values():
        for block in group.blocks.values():
            if not is_sealed(group, block):
                yield from block_parts(group.plan, block)


def is_sealed(group: WindowGroup, block: Block) -> bool:
    return group.closed_until_ms is not None and block.start_ms < group.closed_until_ms


def block_parts(plan: LanePlan, block: Block) -> Iterator[BlockPart]:
    slots = np.flatnonzero(block.touched).astype(np.int32)
    features = [
        FeatureLanes(_identity_text.encode(identity).decode(), use.lane, use.width, use.evidence)
        for identity, use in plan.uses.items()
    ]
    step = max(1, PART_BYTES // (8 * (plan.lane_count + plan.evidence_count) + 4))
    for first in range(0, len(slots), step):
        some = slots[first : first + step]
        evidence = b"" if block.evidence is None else block.evidence[:, some].tobytes()
        yield BlockPart(
            plan.bucket_ms, block.start_ms, features, some.tobytes(), block.lanes[:, some].tobytes(), evidence
        )


def _judge_parts(judge: Judge) -> Iterator[JudgePart]:
    known = ~judge.standing.quiet
    if judge.state.size:
        known |= ~np.isnan(judge.state).all(axis=0)
    slots = np.flatnonzero(known)
    step = max(1, PART_BYTES // (SLOT.itemsize + 4 + 8 * judge.state.shape[0]))
    for first in range(0, len(slots), step):
        some = slots[first : first + step]
        yield JudgePart(
            judge.detector.name,
            judge.detector.version,
            some.astype(np.int32).tobytes(),
            judge.standing.encode(some),
            judge.state[:, some].tobytes(),
        )


def make_manifest(shard: JoinShard, next_offset: int) -> Manifest:
    """The manifest without its parts."""
    progress = shard.progress
    return Manifest(
        shard=shard.shard,
        next_offset=next_offset,
        watermark_ms=progress.watermark_ms,
        partitions=[
            PartitionState(*key, p.coverage.intervals, p.watermark_ms, p.max_event_ms, p.idle)
            for key, p in progress.partitions.items()
        ],
        closed_until_ms={width: group.closed_until_ms for width, group in shard.groups.items()},
        parts=[],
    )


# --- parts -> state ------------------------------------------------------------------------------------------------


def restore(shard: JoinShard, manifest: Manifest, parts: Iterable[AnyPart]) -> list[str]:
    """Fill an empty shard; returns what could not be taken over, as sentences for the log."""
    if manifest.shard != shard.shard:
        raise BrokerError(f"join snapshot: of shard {manifest.shard}, wanted {shard.shard}")
    progress = shard.progress
    progress.watermark_ms = manifest.watermark_ms
    for p in manifest.partitions:
        progress.partitions[p.source, p.partition] = RawPartition(
            Coverage(p.intervals), p.watermark_ms, p.max_event_ms, p.idle
        )
    for width, group in shard.groups.items():
        # a width that is new starts at the watermark: its earlier buckets would be half empty
        group.closed_until_ms = manifest.closed_until_ms.get(width, _floor(manifest.watermark_ms, width))
    problems: list[str] = []
    parts = list(parts)
    _restore_slots(shard, [part for part in parts if isinstance(part, SlotsPart)])
    judges = {(j.detector.name, j.detector.version): j for some in shard.judges.values() for j in some}
    for part in parts:
        if isinstance(part, BlockPart):
            if part.bucket_ms in shard.groups:
                _restore_block(shard.groups[part.bucket_ms], part, shard.slots.count)
        elif isinstance(part, JudgePart):
            judge = judges.get((part.name, part.version))
            if judge is None:
                problems.append(f"detector {part.name} version {part.version} is gone; its standing alerts stay open")
            else:
                _restore_judge(judge, part, shard.slots.count)
    return problems


def _floor(at_ms: int | None, width: int) -> int | None:
    return None if at_ms is None else at_ms - at_ms % width


def _restore_slots(shard: JoinShard, parts: list[SlotsPart]) -> None:
    ordered = sorted(parts, key=lambda part: part.first)
    cells = np.frombuffer(b"".join(part.cells for part in ordered), dtype=np.int64)
    shard.slots.restore(cells, np.frombuffer(b"".join(part.owned for part in ordered), dtype=np.bool_))


def _restore_judge(judge: Judge, part: JudgePart, slot_count: int) -> None:
    slots = np.frombuffer(part.slots, dtype=np.int32).astype(np.int64)
    judge.grow(slot_count)
    judge.standing.decode(part.standing, slots)
    judge.state[:, slots] = np.frombuffer(part.state, dtype=np.float64).reshape(-1, len(slots))


def _restore_block(group: WindowGroup, part: BlockPart, slot_count: int) -> None:
    slots = np.frombuffer(part.slots, dtype=np.int32)
    lanes = np.frombuffer(part.lanes, dtype=np.float64).reshape(-1, len(slots))
    evidence: npt.NDArray[np.int64] | None = None
    if part.evidence:
        evidence = np.frombuffer(part.evidence, dtype=np.int64).reshape(-1, len(slots))
    block = group.open_block(part.start_ms, slot_count)
    block.touched[slots] = True
    if evidence is None:
        block.evidence = None
    stored: dict[str, FeatureLanes] = {feature.identity: feature for feature in part.features}
    for identity, use in group.plan.uses.items():
        feature = stored.get(_identity_text.encode(identity).decode())
        if feature is None:
            continue
        block.lanes[use.lane : use.lane + use.width, slots] = lanes[feature.lane : feature.lane + feature.width]
        if use.evidence >= 0 and feature.evidence >= 0 and evidence is not None and block.evidence is not None:
            block.evidence[use.evidence, slots] = evidence[feature.evidence]
