"""The state of a shard as the parts of a snapshot; streams.snapshot_restore is the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from detectors.hysteresis import SLOT
from streams.join_core import JoinShard
from streams.judging import Judge, SingleJudge, parted
from streams.reals import load_real, store_real
from streams.row_kernels import CHANGED, RANKS_AT, ROWS_AT, SAVED, TOUCHED
from streams.sealed import CODING, HEAD_COLUMNS, LANE_COLUMNS, MISSING, ROWS, Sealed, relative
from streams.snapshot_parts import (
    AnyPart,
    Blob,
    JudgePart,
    Layout,
    Manifest,
    OpenPart,
    PartitionState,
    SealedPart,
    SlotsPart,
    TrackPart,
)
from streams.tracks import FIRST_COLUMN, LANES, WIDTH, FloatArray, IntArray, RankArray, Track, TrackKey
from streams.windows import WindowGroup
from streams.words import load_half
from topology.jit import kernel


@dataclass(slots=True)
class Known:
    """How much of what only grows has been given to snapshots: cells, and ranks by (bucket width, track)."""

    slots: int = 0
    ranks: dict[tuple[int, TrackKey], int] = field(default_factory=dict)

    @classmethod
    def of(cls, shard: JoinShard) -> Known:
        """All that there is."""
        ranks = {(width, t.key): len(g.slots_of(t.number)) for width, g in shard.groups.items() for t in g.plan.tracks}
        return cls(shard.slots.count, ranks)


# --- state -> parts ------------------------------------------------------------------------------------------------


def cell_parts(shard: JoinShard, known: Known) -> Iterator[AnyPart]:
    """Cells and ranks that are not `known` yet."""
    slots = shard.slots
    if slots.count > known.slots:
        new = slice(known.slots, slots.count)
        yield SlotsPart(known.slots, Blob(slots.cells[new].copy()), Blob(slots.owned[new].copy()))
    for width, group in shard.groups.items():
        for track in group.plan.tracks:
            first, ranks = known.ranks.get((width, track.key), 0), group.slots_of(track.number)
            if len(ranks) > first:
                yield TrackPart(width, track.key, first, Blob(ranks[first:].copy()))


def open_parts(group: WindowGroup, *, everything: bool) -> Iterator[OpenPart]:
    """The rows of open buckets that have changed since the last call, or all."""
    layouts = [layout_of(track) for track in group.plan.tracks]
    for bucket in group.open.values():
        touched = bucket.table[:, TOUCHED]
        counts = np.zeros(len(layouts), dtype=np.int64)
        ranks = np.empty(int(touched.sum()), dtype=np.int32)
        words: FloatArray = np.empty(int((touched * (group.tracks[:, WIDTH] - 1)).sum()))
        rows, used = gather_changed(bucket.table, group.tracks, everything, counts, ranks, words)
        if rows:
            yield OpenPart(
                group.plan.bucket_ms,
                bucket.start_ms,
                layouts,
                counts.tolist(),
                Blob(ranks[:rows]),
                Blob(words[:used]),
            )


def sealed_part(group: WindowGroup, bucket: Sealed, layouts: Sequence[Layout]) -> SealedPart:
    """A sealed bucket without the lanes that it does not have; `layouts` of its group's tracks. Its buffers are not
    written any more, so not copied."""
    head, tracks = relative(bucket, group.plan), group.plan.tracks
    parts = head[: len(tracks) * HEAD_COLUMNS]
    lanes = head[len(tracks) * HEAD_COLUMNS :].reshape(-1, LANE_COLUMNS)
    has_rows = np.repeat(parts.reshape(-1, HEAD_COLUMNS)[:, ROWS] > 0, group.tracks[:, LANES])
    if (has_rows & (lanes[:, CODING] == MISSING)).any():
        layouts = [layout_of(track, lanes[group.tracks[track.number, FIRST_COLUMN] :]) for track in tracks]
    evidence = None if bucket.evidence is None else Blob(bucket.evidence)
    return SealedPart(
        group.plan.bucket_ms,
        bucket.start_ms,
        list(layouts),
        Blob(parts),
        Blob(lanes),
        Blob(bucket.data),
        evidence,
    )


def judge_parts(shard: JoinShard) -> Iterator[JudgePart]:
    """What stands, for every detector for which anything does, and what is still to be cleared of those gone."""
    for width, judges in shard.judges.items():
        closed_ms = shard.groups[width].closed_until_ms
        if closed_ms is None:
            continue
        for member in judges.members:
            yield from _member_parts(member, width, closed_ms + width)
    for retired in shard.retired:
        yield retired.part


def _member_parts(member: Judge, width: int, due_ms: int) -> Iterator[JudgePart]:
    number, slots = parted(member.standing.keys)
    for at in range(len(member.detectors)) if isinstance(member, SingleJudge) else np.unique(number).tolist():
        detector = member.detectors[at]
        mine = number == at
        known, rows = slots[mine], member.standing.rows[mine]
        state: FloatArray = np.empty(0)
        if isinstance(member, SingleJudge) and member.state.size:
            with_lanes = np.flatnonzero(~np.isnan(member.state).all(axis=0))
            everywhere = np.union1d(known, with_lanes)
            standing = np.zeros(len(everywhere), dtype=SLOT)
            standing[np.searchsorted(everywhere, known)] = rows
            known, rows = everywhere, standing
            state = member.state[:, known]
        if len(known):
            yield JudgePart(
                detector.name,
                detector.version,
                detector.category,
                width,
                max(feature.window_ms for feature in detector.features),
                due_ms,
                Blob(known.astype(np.int32)),
                Blob(rows),
                Blob(state),
            )


def make_manifest(shard: JoinShard, next_offset: int) -> Manifest:
    """The manifest without its bundles."""
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
        bundles=[],
    )


def layout_of(track: Track, lanes: IntArray | None = None) -> Layout:
    """Where the track's ops lie; with the columns of a sealed bucket only those that it has."""
    lane_of = {int(op): lane for op, lane in track.lane_of.items() if lanes is None or lanes[lane, CODING] != MISSING}
    return Layout(track.key, track.lanes, lane_of, {int(op): at for op, at in track.evidence_of.items()})


@kernel
def gather_changed(
    block: IntArray, tracks: IntArray, everything: bool, counts: IntArray, ranks: RankArray, words: FloatArray
) -> tuple[int, int]:
    """Copy the changed rows of an open bucket, or all, track by track without their marks, and mark them as saved.

    Returns how many ranks and words were written; `counts` says how many ranks of each track.
    """
    row = 0
    used = 0
    for track in range(tracks.shape[0]):
        width = tracks[track, WIDTH]
        for i in range(block[track, TOUCHED]):
            rank = load_half(block[track, RANKS_AT] + 4 * i)
            row_at = block[track, ROWS_AT] + 8 * width * rank
            if not everything and load_real(row_at) != CHANGED:
                continue
            store_real(row_at, SAVED)
            ranks[row] = rank
            row += 1
            counts[track] += 1
            for word in range(1, width):
                words[used] = load_real(row_at + 8 * word)
                used += 1
    return row, used
