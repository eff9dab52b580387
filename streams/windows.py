"""The windows of one shard: buckets of event time, each a matrix of lanes over cells; a window is a run of buckets.

Buckets are closed-open, `[start, start + bucket_ms)`, aligned to the epoch. A bucket takes rows until it is judged;
after that it is sealed and only read, until no window needs it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.lanes import FloatArray, IntArray, LanePlan, LaneUse, add_rows, merge_into
from streams.slots import SlotArray
from topology.jit import kernel

_BLOCK_ROOM: Final = 1024  # slots are added to a block in steps of this many
_NO_ROWS: Final = np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class Rows:
    """What the windows need of a frame's rows, as arrays of one length; `kind` numbers are the frame's own."""

    slots: SlotArray
    kind: npt.NDArray[np.int32]
    event_at_ms: IntArray
    value: FloatArray
    confidence: npt.NDArray[np.float32]
    quality: npt.NDArray[np.uint8]
    pointer: IntArray
    entity_hash: npt.NDArray[np.uint64]


class Block:
    """One bucket: lanes float64[lanes, room], evidence int64[rows of evidence, room], touched bool[room]."""

    __slots__ = ("evidence", "lanes", "start_ms", "touched")

    def __init__(self, start_ms: int, lanes: FloatArray, evidence: IntArray | None, touched: npt.NDArray[np.bool_]):
        self.start_ms = start_ms
        self.lanes = lanes
        self.evidence = evidence  # None once the bucket is too old to be cited
        self.touched = touched

    @property
    def room(self) -> int:
        return len(self.touched)


class WindowGroup:
    """All buckets of one width on one shard, for all features of that width."""

    def __init__(self, plan: LanePlan, *, evidence_buckets: int = 6) -> None:
        self.plan = plan
        self.blocks: dict[int, Block] = {}  # by start
        self.closed_until_ms: int | None = None  # every bucket that ends at or before it has been judged
        self._evidence_buckets = evidence_buckets
        self._ops = plan.ops()
        self._bounds = plan.bounds()
        self._merges = plan.merges()
        self._empty = plan.empty()
        self._feature_lists: dict[tuple[int, str], list[int]] = {}

    # --- rows in ---------------------------------------------------------------------------------------------------

    def add(self, rows: Rows, kinds: list[tuple[int, str]], slot_count: int) -> IntArray:
        """Add rows (slot -1: skip) to their buckets; returns the rows that came after their bucket had been judged.

        `kinds` names the (source, kind) behind each of the frame's kind numbers.
        """
        first, count, members = self._tables(kinds)
        if not len(members):
            return _NO_ROWS
        index, starts, late = np.empty((3, len(rows.slots)), dtype=np.int64)
        closed_until_ms = -1 if self.closed_until_ms is None else self.closed_until_ms
        taken, too_late, low, high = _choose(
            rows.slots, rows.kind, count, rows.event_at_ms, self.plan.bucket_ms, closed_until_ms, index, starts, late
        )
        for start_ms, part in _by_start(index[:taken], starts[:taken], low, high):
            block = self.open_block(start_ms, slot_count)
            assert block.evidence is not None
            add_rows(
                part, rows.slots, first, count, members, rows.kind, rows.event_at_ms, rows.value, rows.confidence,
                rows.quality, rows.pointer, rows.entity_hash, self._ops, self._bounds, block.lanes, block.evidence,
                block.touched,
            )  # fmt: skip
        return late[:too_late]

    def _tables(
        self, kinds: list[tuple[int, str]]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        members: list[int] = []
        first = np.zeros(max(1, len(kinds)), dtype=np.int32)
        count = np.zeros(max(1, len(kinds)), dtype=np.int32)
        for number, key in enumerate(kinds):
            features = self._feature_lists.get(key)
            if features is None:
                features = self.plan.features_of(*key)
                if features or len(self._feature_lists) < 100_000:  # hostile kinds must not fill the memory
                    self._feature_lists[key] = features
            first[number], count[number] = len(members), len(features)
            members += features
        return first, count, np.array(members, dtype=np.int32)

    def open_block(self, start_ms: int, slot_count: int) -> Block:
        block = self.blocks.get(start_ms)
        if block is not None and block.room >= slot_count:
            return block
        room = -(-slot_count // _BLOCK_ROOM) * _BLOCK_ROOM
        if block is not None:
            room = max(room, block.room * 5 // 4)
        lanes = np.empty((self.plan.lane_count, room))
        lanes[:] = self._empty[:, None]
        evidence = np.full((self.plan.evidence_count, room), -1, dtype=np.int64)
        touched = np.zeros(room, dtype=np.bool_)
        if block is None:
            block = self.blocks[start_ms] = Block(start_ms, lanes, evidence, touched)
            return block
        used = block.room
        assert block.evidence is not None
        lanes[:, :used], evidence[:, :used], touched[:used] = block.lanes, block.evidence, block.touched
        block.lanes, block.evidence, block.touched = lanes, evidence, touched
        return block

    # --- time ------------------------------------------------------------------------------------------------------

    def next_end_ms(self, watermark_ms: int, busy: bool) -> int | None:
        """The end of the next bucket to judge, once the watermark has passed it; None: nothing to judge yet.

        Stretches without any data in reach of a window are skipped, unless the detectors are `busy` with an alert or a
        count of buckets: then each bucket is judged. Skipping marks the stretch as judged.
        """
        width = self.plan.bucket_ms
        last_end = watermark_ms - watermark_ms % width  # the latest bucket end that the watermark has passed
        if self.closed_until_ms is None:
            if not self.blocks or min(self.blocks) + width > last_end:
                return None
            return min(self.blocks) + width
        if self.closed_until_ms >= last_end:
            return None
        end = self.closed_until_ms + width
        if not busy and not any(start + self.plan.window_ms >= end for start in self.blocks if start < end):
            ahead = [start + width for start in self.blocks if start >= self.closed_until_ms]
            end = min(ahead, default=last_end + width)
            if end > last_end:
                self.closed_until_ms = last_end
                return None
        return end

    def close(self, end_ms: int) -> None:
        """The bucket that ends at `end_ms` has been judged: seal it, drop what no later window can reach."""
        self.closed_until_ms = end_ms
        oldest = end_ms + self.plan.bucket_ms - self.plan.window_ms  # start of the oldest bucket in the next window
        for start in [start for start in self.blocks if start < oldest]:
            del self.blocks[start]
        uncited = end_ms - self._evidence_buckets * self.plan.bucket_ms
        for start, block in self.blocks.items():
            if start < uncited:
                block.evidence = None

    # --- windows out -----------------------------------------------------------------------------------------------

    def touched(self, end_ms: int, window_ms: int, slot_count: int) -> npt.NDArray[np.bool_]:
        """Which slots have any row in the window that ends at `end_ms`: bool[slot_count]."""
        seen = np.zeros(slot_count, dtype=np.bool_)
        for block in self._window(end_ms, window_ms):
            used = min(block.room, slot_count)
            seen[:used] |= block.touched[:used]
        return seen

    def lanes_of(self, use: LaneUse, end_ms: int, window_ms: int, index: SlotArray) -> FloatArray:
        """The feature's lanes merged over the window, at the slots `index` (-1 is empty): float64[width, n]."""
        part = slice(use.lane, use.lane + use.width)
        merges = self._merges[part]
        merged: FloatArray | None = None
        for block in self._window(end_ms, window_ms):
            taken = self._taken(block, part, index)
            if merged is None:
                merged = taken
            else:
                merge_into(merged, taken, merges)
        return self._nothing(part, len(index)) if merged is None else merged

    def merge_columns(self, use: LaneUse, columns: FloatArray) -> FloatArray:
        """Merge float64[width, n, m] over its last axis (cells of a neighbourhood): float64[width, n]."""
        merges = self._merges[use.lane : use.lane + use.width]
        merged = np.ascontiguousarray(columns[:, :, 0])
        for at in range(1, columns.shape[2]):
            merge_into(merged, np.ascontiguousarray(columns[:, :, at]), merges)
        return merged

    def evidence_of(self, use: LaneUse, end_ms: int, window_ms: int, slots: list[int]) -> list[int]:
        """The evidence pointers that the window's buckets hold for the feature at these slots, newest bucket first."""
        if use.evidence < 0:
            return []
        found: list[int] = []
        # the age limit is applied here too: a block restored from a snapshot may remember more than a live one
        newest = min(window_ms, self._evidence_buckets * self.plan.bucket_ms)
        for block in reversed(self._window(end_ms, newest)):
            if block.evidence is not None:
                row, room = block.evidence[use.evidence], block.room
                found += [int(row[slot]) for slot in slots if 0 <= slot < room and row[slot] >= 0]
        return found

    def _window(self, end_ms: int, window_ms: int) -> list[Block]:
        starts = range(end_ms - window_ms, end_ms, self.plan.bucket_ms)
        return [self.blocks[start] for start in starts if start in self.blocks]

    def _nothing(self, part: slice, count: int) -> FloatArray:
        lanes = np.empty((part.stop - part.start, count))
        lanes[:] = self._empty[part, None]
        return lanes

    def _taken(self, block: Block, part: slice, index: SlotArray) -> FloatArray:
        outside = (index < 0) | (index >= block.room)
        if not outside.any():
            taken: FloatArray = block.lanes[part].take(index, axis=1)
            return taken
        taken = block.lanes[part].take(np.where(outside, 0, index), axis=1)
        taken[:, outside] = self._empty[part, None]
        return taken


@kernel
def _choose(
    slots: SlotArray,
    kind: npt.NDArray[np.int32],
    features: npt.NDArray[np.int32],
    event_at_ms: IntArray,
    bucket_ms: int,
    closed_until_ms: int,
    index: IntArray,
    starts: IntArray,
    late: IntArray,
) -> tuple[int, int, int, int]:
    """Which rows go into buckets: fills `index` and the `starts` of their buckets, and `late` with those whose bucket
    has been judged. `features` by kind says how many a row of it touches. Returns how many of each, and the first and
    the last start."""
    taken = too_late = 0
    low, high = 1 << 62, -1
    for i in range(slots.shape[0]):
        if slots[i] < 0 or features[kind[i]] == 0:
            continue
        start = int(event_at_ms[i] - event_at_ms[i] % bucket_ms)
        if start < closed_until_ms:
            late[too_late] = i
            too_late += 1
            continue
        index[taken] = i
        starts[taken] = start
        taken += 1
        low = min(low, start)
        high = max(high, start)
    return taken, too_late, low, high


def _by_start(index: IntArray, starts: IntArray, low: int, high: int) -> list[tuple[int, IntArray]]:
    """The rows `index` grouped by the start of their bucket; nearly always one or two groups."""
    if not len(index):
        return []
    if low == high:
        return [(int(low), index)]
    order = np.argsort(starts, kind="stable")
    ordered = starts[order]
    cuts = np.flatnonzero(np.diff(ordered)) + 1
    firsts = ordered[np.concatenate(([0], cuts))].tolist()
    return list(zip(firsts, np.split(index[order], cuts), strict=True))
