"""The archive's bookkeeping for one shard: which frames make a batch, and which of their rows are new. Pure.

Exactly once into ClickHouse rests on five things, each of which covers what the one before it cannot:

1. A batch is *planned*: before frames first..last of the shard are inserted, a `Checkpoint` with these offsets, a fresh
   insert token and the coverage before them is durable. After a crash exactly this batch is done again, first, with the
   same token; ClickHouse drops it if it was in.
2. When the batch is in, a checkpoint says so with the coverage after it. Frames up to there are never read again.
3. A frame may repeat raw offsets that came in other frames (locate was restarted): rows whose offset is covered are
   dropped. Coverage is exact because it is part of the checkpoint, not of the process.
4. An owner that was declared dead and goes on (a machine that was paused) finds its successor's claim in front of its
   next checkpoint, and inserts nothing more (streams/shard_claim.py). A plan of its own that stood before the claim is
   known to the successor, which makes it its own, durably, and does it with the same token.
5. The tables identify a row by its raw record (ReplacingMergeTree) and the views read them duplicate-free. That catches
   what is left: an insert that comes after ten thousand others, when ClickHouse has forgotten its token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from schemas.dead_letter import DeadLetter, Reason
from schemas.errors import BadRecord, BrokerError, FrameError
from schemas.observation import OBSERVATION, Flag, FrameHeader, decode_packed
from schemas.packed import check, unpack
from schemas.sources import Source
from streams.archive_rows import DEAD_LETTERS, dead_letter_rows, observation_rows
from streams.coverage import Coverage

CHECKPOINT_KEY: Final = "checkpoint"
CHECKPOINT_VERSION: Final = 1

RawPartition = tuple[int, int]  # source number, partition


class ArchiveSettings(BaseModel):
    """How observations, alerts and dead letters are gathered for ClickHouse."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    batch_rows: Annotated[int, Field(ge=1, le=5_000_000)] = 500_000
    """Rows that make a batch of observations full. Few large inserts cost fewer merges, but more memory, which costs
    time when it is touched for the first time."""
    batch_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 64 * 1024 * 1024
    """Bytes of frames that make a batch full."""
    waiting_bytes: Annotated[int, Field(ge=1024, le=100_000_000_000)] = 256 * 1024 * 1024
    """Bytes of frames that wait in all shards of a worker, the memory bound: beyond it the largest batch is written."""
    batch_seconds: Annotated[float, Field(gt=0, le=300)] = 1.0
    """Longest time that anything waits for its batch to fill; ten times that while frames come that are old."""
    record_batch: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    """Alerts or dead letters that make a batch full."""
    buffer_frames: Annotated[int, Field(ge=2, le=4096)] = 32
    """Frames read ahead from Kafka while an insert runs or ClickHouse is away; a frame is up to several MB."""


class CoveredOffsets(msgspec.Struct, frozen=True, array_like=True):
    """Coverage of one raw partition, as stored."""

    source: int
    partition: int
    intervals: list[tuple[int, int]]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a shard's archive in topic `archive-state`.

    `done` False: frames first..last are about to be, or being, inserted under `token`; `covered` is before them.
    `done` True: they are in; `covered` is after them.
    """

    version: int = CHECKPOINT_VERSION
    first: int
    last: int
    frames: int
    token: str
    done: bool
    covered: list[CoveredOffsets]
    epoch: int = -1
    """Of the owner that wrote it (streams/shard_claim.py): the greatest one counts. -1: before there were claims."""


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    return msgspec.msgpack.encode(checkpoint)


def decode_checkpoint(payload: bytes) -> Checkpoint:
    """BrokerError when the stored bytes are not a checkpoint that this program understands."""
    try:
        checkpoint = msgspec.msgpack.decode(payload, type=Checkpoint)
    except (msgspec.MsgspecError, ValueError) as problem:
        raise BrokerError(f"archive-state: unreadable checkpoint: {problem}") from problem
    if checkpoint.version != CHECKPOINT_VERSION:
        raise BrokerError(f"archive-state: version {checkpoint.version}, this program reads {CHECKPOINT_VERSION}")
    return checkpoint


class Covered:
    """Coverage of every raw partition that the shard's frames have spoken of."""

    def __init__(self, stored: Iterable[CoveredOffsets] = ()) -> None:
        self._by: dict[RawPartition, Coverage] = {
            (entry.source, entry.partition): Coverage(entry.intervals) for entry in stored
        }

    def __getitem__(self, where: RawPartition) -> Coverage:
        return self._by.setdefault(where, Coverage())

    def encode(self) -> list[CoveredOffsets]:
        return [CoveredOffsets(*where, coverage.intervals) for where, coverage in sorted(self._by.items())]

    def copy(self) -> Covered:
        twin = Covered()
        twin._by = {where: coverage.copy() for where, coverage in self._by.items()}
        return twin


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of `observations`. `letter` stands for a message that is no frame."""

    offset: int
    size: int  # bytes in memory, with the texts that unpacking will write out
    header: FrameHeader | None = None
    packed: pa.RecordBatch | None = None  # it waits as it came, which takes less than half of the memory
    letter: DeadLetter | None = None

    @property
    def rows(self) -> int:
        return self.packed.num_rows if self.packed is not None else 0


def open_frame(topic: str, partition: int, offset: int, payload: bytes | None, timestamp_ms: int) -> Frame:
    """The frame in a message. Bytes that are none become a dead letter of topic `observations`: kept, never fatal."""
    try:
        header, packed = decode_packed(payload or b"", OBSERVATION.names)
        texts = check(packed, OBSERVATION) if packed is not None else 0
        for cover in header.covers:
            if cover.source not in _SOURCES:
                raise FrameError(f"schemas/observation: unknown source {cover.source} in a cover")
    except FrameError as problem:
        letter = DeadLetter.of(
            BadRecord(Reason.CORRUPT_BATCH, "$", str(problem)),
            topic=topic,
            partition=partition,
            offset=offset,
            payload=payload,
            received_at_ms=timestamp_ms,
        )
        return Frame(offset, len(payload or b""), letter=letter)
    return Frame(offset, len(payload or b"") + texts, header, packed)


class Rows(NamedTuple):
    """What a batch of frames inserts, and what it leaves out."""

    tables: Mapping[str, pa.Table]  # by table name, in the order of inserting; empty tables are left out
    archived: int
    duplicates: int
    halo: int


def make_rows(frames: Sequence[Frame], covered: Covered) -> Rows:
    """The new rows of these frames, in their order; adds the frames' offsets to `covered`.

    Depends on nothing else: the same frames and the same coverage give the same tables, which a repeated insert needs.
    """
    batches: list[pa.RecordBatch] = []
    letters: list[DeadLetter] = []
    duplicates = halo = 0
    for frame in frames:
        if frame.letter is not None:
            letters.append(frame.letter)
        if frame.header is None:
            continue
        if frame.packed is not None:
            batch = unpack(frame.packed, OBSERVATION)
            is_halo = (_numpy(batch, "flags") & int(Flag.HALO)) != 0
            is_known = _known(batch, frame.header, covered) & ~is_halo
            left_out = is_halo | is_known
            if left_out.any():
                halo += int(is_halo.sum())
                duplicates += int(is_known.sum())
                batch = batch.filter(pa.array(~left_out))
            if batch.num_rows:
                batches.append(batch)
        for cover in frame.header.covers:
            covered[cover.source, cover.partition].add(cover.first, cover.last)
    separated = observation_rows(batches)
    tables = {
        "observations": separated.observations,
        "tickets": separated.tickets,
        "personal_fields": separated.personal_fields,
        "dead_letters": dead_letter_rows(letters) if letters else DEAD_LETTERS.empty_table(),
    }
    return Rows(
        {name: table for name, table in tables.items() if table.num_rows},
        separated.observations.num_rows,
        duplicates,
        halo,
    )


@dataclass(slots=True)
class ShardArchive:
    """Frames of one shard between Kafka and ClickHouse: `offer` them, `plan` when `due`, then `finish`."""

    covered: Covered
    next_offset: int  # frames below are in, or pending
    pending: list[Frame] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def knows(self, offset: int) -> bool:
        """Whether the frame at this offset is in, or pending."""
        return offset < self.next_offset

    def offer(self, frame: Frame) -> None:
        """Take the next frame, one that is not known; frames come in ascending order."""
        self.pending.append(frame)
        self.rows += frame.rows
        self.size += frame.size
        self.next_offset = frame.offset + 1

    def full(self, settings: ArchiveSettings) -> bool:
        return self.rows >= settings.batch_rows or self.size >= settings.batch_bytes

    def plan(self, token: str, epoch: int = -1) -> tuple[Checkpoint, list[Frame]]:
        """Everything pending as one batch. The checkpoint must be durable before the first row is inserted."""
        frames, self.pending, self.rows, self.size = self.pending, [], 0, 0
        return plan_of(frames, self.covered, token, epoch), frames

    def finish(self, plan: Checkpoint, covered: Covered) -> Checkpoint:
        """The batch is in; `covered` is the coverage that `make_rows` made. Returns what to store."""
        self.covered = covered
        return msgspec.structs.replace(plan, done=True, covered=covered.encode())


def plan_of(frames: Sequence[Frame], covered: Covered, token: str, epoch: int) -> Checkpoint:
    return Checkpoint(
        epoch=epoch,
        first=frames[0].offset,
        last=frames[-1].offset,
        frames=len(frames),
        token=token,
        done=False,
        covered=covered.encode(),
    )


_SOURCES: Final = frozenset(int(source) for source in Source)


def _known(batch: pa.RecordBatch, header: FrameHeader, covered: Covered) -> npt.NDArray[np.bool_]:
    """Rows whose raw offset came in an earlier frame. Ordinarily no cover overlaps, and no row is looked at."""
    known = np.zeros(batch.num_rows, dtype=np.bool_)
    repeated = {
        (cover.source, cover.partition)
        for cover in header.covers
        if covered[cover.source, cover.partition].overlaps(cover.first, cover.last)
    }
    if not repeated:
        return known
    column = batch.column("source")
    names = column.dictionary.to_pylist()
    codes = column.indices.to_numpy(zero_copy_only=False)
    partitions, offsets = _numpy(batch, "partition"), _numpy(batch, "offset")
    for source, partition in repeated:
        topic = Source(source).topic
        if topic in names:
            rows = np.flatnonzero((codes == names.index(topic)) & (partitions == partition))
            known[rows] = covered[source, partition].mask(offsets[rows])
    return known


def _numpy(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    column: npt.NDArray[np.int64] = batch.column(name).to_numpy(zero_copy_only=False)
    return column
