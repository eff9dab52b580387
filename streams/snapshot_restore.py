"""A shard out of the parts of a snapshot, also of one that other detectors have written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.hysteresis import SLOT
from schemas.errors import BrokerError
from streams.coverage import Coverage
from streams.join_core import JoinShard
from streams.judging import Judge, SingleJudge, joined
from streams.raw_progress import RawPartition
from streams.retired import Retired
from streams.row_kernels import EMPTY, SAVED, TOUCHED
from streams.sealed import CODING, EVIDENCE_AT, HEAD_COLUMNS, LANE_AT, LANE_COLUMNS, MISSING, ROWS, absolute
from streams.snapshot_codec import layout_of
from streams.snapshot_parts import (
    AnyPart,
    Blob,
    JudgePart,
    Layout,
    Manifest,
    OpenPart,
    SealedPart,
    SlotsPart,
    TrackPart,
)
from streams.tracks import FIRST_COLUMN, WIDTHS, FloatArray, IntArray, RankArray, Track, TrackKey
from streams.window_kernels import missing
from streams.windows import WindowGroup


class Restoring:
    """Fills an empty shard: cells first, the bundles of open buckets in the order in which they were written.

    `changed` once other detectors turn out to have written the snapshot, so that its buckets must be written anew;
    `problems` are sentences for the log.
    """

    def __init__(self, shard: JoinShard, manifest: Manifest) -> None:
        if manifest.shard != shard.shard:
            raise BrokerError(f"join snapshot: of shard {manifest.shard}, wanted {shard.shard}")
        self.changed = False
        self.problems: list[str] = []
        self._shard = shard
        progress = shard.progress
        progress.watermark_ms = manifest.watermark_ms
        for p in manifest.partitions:
            progress.partitions[p.source, p.partition] = RawPartition(
                Coverage(p.intervals), p.watermark_ms, p.max_event_ms, p.idle
            )
        for width, group in shard.groups.items():
            # a width that is new starts at the watermark: its earlier buckets would be half empty
            group.closed_until_ms = manifest.closed_until_ms.get(width, _floor(manifest.watermark_ms, width))
        self._members = {
            (detector.name, detector.version): (member, number)
            for judges in shard.judges.values()
            for member in judges.members
            for number, detector in enumerate(member.detectors)
        }

    def take_cells(self, parts: Iterable[AnyPart]) -> None:
        """All parts of all bundles of cells."""
        shard, parts = self._shard, list(parts)
        slots = sorted((part for part in parts if isinstance(part, SlotsPart)), key=lambda part: part.first)
        cells = _together([part.cells for part in slots], np.int64)
        shard.slots.restore(cells, _together([part.owned for part in slots], np.bool_))
        ranks: dict[tuple[int, TrackKey], list[TrackPart]] = defaultdict(list)
        for part in parts:
            if isinstance(part, TrackPart):
                ranks[part.bucket_ms, part.key].append(part)
        wanted = {(width, track.key) for width, group in shard.groups.items() for track in group.plan.tracks}
        self.changed |= bool(ranks.keys() - wanted)
        for width, group in shard.groups.items():
            for track in group.plan.tracks:
                some = sorted(ranks[width, track.key], key=lambda part: part.first)
                group.restore_track(track.number, _together([part.slots for part in some], np.int32))

    def take(self, parts: Iterable[AnyPart]) -> None:
        """The parts of another bundle."""
        for part in parts:
            if isinstance(part, JudgePart):
                self._take_judge(part)
            elif isinstance(part, OpenPart | SealedPart):
                group = self._shard.groups.get(part.bucket_ms)
                if group is None:
                    self.changed = True
                elif isinstance(part, OpenPart):
                    self.changed |= _restore_open(group, part)
                else:
                    self.changed |= _restore_sealed(group, part)

    def finish(self) -> None:
        """When all is taken: bring the windows' totals to where they were."""
        for group in self._shard.groups.values():
            group.rebuild_totals()

    def _take_judge(self, part: JudgePart) -> None:
        known = self._members.get((part.name, part.version))
        if known is not None:
            _restore_judge(*known, part, self._shard.slots.count)
            return
        retired = Retired(part, self._shard.slots)
        if len(retired):
            self._shard.retired.append(retired)
        self.problems.append(
            f"detector {part.name} version {part.version} is gone; its {len(retired)} alerts are cleared"
        )


def _together(blobs: Sequence[Blob], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    if not blobs:
        return np.empty(0, dtype=dtype)
    return np.concatenate([blob.array(dtype) for blob in blobs])


def _floor(at_ms: int | None, width: int) -> int | None:
    return None if at_ms is None else at_ms - at_ms % width


def _restore_judge(member: Judge, number: int, part: JudgePart, slot_count: int) -> None:
    slots = part.slots.array(np.int32)
    rows = part.standing.array(SLOT)
    stands = np.flatnonzero(rows["phase"])
    member.standing.put(joined(number, slots[stands]), rows[stands])
    if isinstance(member, SingleJudge) and len(part.state):
        member.grow(slot_count)
        member.state[:, slots] = part.state.array(np.float64).reshape(-1, len(slots))


def track_of(group: WindowGroup, layout: Layout) -> Track | None:
    """The group's track of that key."""
    return next((track for track in group.plan.tracks if track.key == layout.key), None)


def _layout_of(group: WindowGroup, layout: Layout) -> Layout | None:
    track = track_of(group, layout)
    return None if track is None else layout_of(track)


def _restore_open(group: WindowGroup, part: OpenPart) -> bool:
    """Put the rows of an open bucket in place; whether any of its tracks has changed."""
    every = part.ranks.array(np.int32)
    words = part.words.array(np.float64)
    changed = False
    row = word = 0
    for layout, count in zip(part.layouts, part.counts, strict=True):
        width = layout.lanes + len(layout.evidence_of)
        ranks, some = every[row : row + count], words[word : word + count * width].reshape(count, width)
        row, word = row + count, word + count * width
        track = track_of(group, layout)
        changed |= track is None or layout_of(track) != layout
        if track is not None and count:
            _restore_rows(group, part.start_ms, track, layout, ranks, some)
    return changed


def _restore_rows(
    group: WindowGroup, start_ms: int, track: Track, layout: Layout, ranks: RankArray, stored: FloatArray
) -> None:
    """Put rows (lanes, then evidence) of one track into an open bucket, over what they may have had before."""
    bucket = group.open_rows(start_ms, track.number)
    place = bucket.places[track.number]
    assert place is not None
    rows, touched = place.rows, place.ranks
    new = ranks[rows[ranks, 0] == EMPTY]
    count = int(bucket.table[track.number, TOUCHED])
    touched[count : count + len(new)] = new
    bucket.table[track.number, TOUCHED] = count + len(new)
    some: FloatArray = np.zeros((len(ranks), track.width))
    some[:, 0] = SAVED
    for op, lane in track.lane_of.items():
        there = layout.lane_of.get(int(op))
        for step in range(WIDTHS[op]):
            some[:, 1 + lane + step] = missing(int(op)) if there is None else stored[:, there + step]
    pointers, stored_pointers = some.view(np.int64), stored.view(np.int64)
    for op, at in track.evidence_of.items():
        there = layout.evidence_of.get(int(op))
        pointers[:, 1 + track.lanes + at] = -1 if there is None else stored_pointers[:, layout.lanes + there]
    rows[ranks] = some


def _restore_sealed(group: WindowGroup, part: SealedPart) -> bool:
    """Put a sealed bucket in place; whether any of its tracks has changed."""
    heads = part.parts.array(np.int64).reshape(-1, HEAD_COLUMNS)
    columns = part.lanes.array(np.int64).reshape(-1, LANE_COLUMNS)
    evidence = None if part.evidence is None else part.evidence.array(np.int64)
    new_heads = np.zeros((len(group.plan.tracks), HEAD_COLUMNS), dtype=np.int64)
    new_heads[:, EVIDENCE_AT] = -1
    new_columns = np.zeros((group.plan.lane_count, LANE_COLUMNS), dtype=np.int64)
    cited = np.zeros(0, dtype=np.int64)  # where layouts differ: all evidence, anew
    # a track that has no rows in this bucket has no lanes there either, whatever detectors there are
    same = [
        not head[ROWS] or _layout_of(group, layout) == layout for layout, head in zip(part.layouts, heads, strict=True)
    ]
    first = 0
    for layout, head in zip(part.layouts, heads, strict=True):
        track = track_of(group, layout)
        if track is not None:
            new_heads[track.number] = head
            if evidence is not None and not all(same):
                new_heads[track.number, EVIDENCE_AT] = 8 * len(cited)
                cited = np.concatenate([cited, _evidence(track, layout, head, evidence)])
            column = int(group.tracks[track.number, FIRST_COLUMN])
            for op, lane in track.lane_of.items():
                stored = layout.lane_of.get(int(op))
                if stored is not None:
                    width = WIDTHS[op]
                    there = columns[first + stored : first + stored + width]
                    new_columns[column + lane : column + lane + width] = there
        first += layout.lanes
    new_columns[new_columns[:, CODING] == MISSING, LANE_AT] = 0
    if evidence is not None and not all(same):
        evidence = cited
    data = part.data.array(np.uint8)
    if evidence is not None:  # it is forgotten before the data: neither must keep the buffer of both
        data, evidence = data.copy(), evidence.copy()
    group.sealed[part.start_ms] = absolute(part.start_ms, data, evidence, new_heads, new_columns)
    return not all(same)


def _evidence(track: Track, layout: Layout, head: IntArray, stored: IntArray) -> IntArray:
    """A track's pointers in the order of its present ops; -1 for those that the bucket does not have."""
    rows = int(head[ROWS])
    pointers = np.full((track.evidence, rows), -1, dtype=np.int64)
    begin = int(head[EVIDENCE_AT]) // 8
    for op, at in track.evidence_of.items():
        there = layout.evidence_of.get(int(op))
        if there is not None and rows:
            pointers[at] = stored[begin + there * rows : begin + (there + 1) * rows]
    return pointers.reshape(-1)
