"""The windows of one shard: buckets of event time, each with the rows of all tracks; a window is a run of buckets.

Buckets are closed-open, `[start, start + bucket_ms)`, aligned to the epoch. A bucket takes rows until it is judged;
then it is sealed (streams.sealed), added to the totals of every window (streams.window_kernels) and only read, until
no window needs it any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from streams import bucket_rows, row_kernels, window_kernels
from streams.frame_columns import FrameRows
from streams.open_bucket import OpenBucket, Place, blank_row
from streams.row_kernels import TOUCHED
from streams.sealed import Sealed, seal
from streams.slots import Slots, grown, table_of
from streams.tracks import (
    BLANK_AT,
    COUNT,
    MASK,
    ROOM,
    SLOTS_AT,
    TABLE_AT,
    TOTAL_WIDTH,
    FeatureUse,
    FloatArray,
    GroupPlan,
    IntArray,
    RankArray,
)
from topology.jit import kernel

_FIRST_ROOM: Final = 256
_NO_CELLS: Final = table_of(1)
_LARGE: Final = 65_536  # ranks; up to here a track's room is doubled


class WindowGroup:
    """All buckets of one width on one shard, for all features of that width."""

    def __init__(self, plan: GroupPlan, slots: Slots, *, evidence_buckets: int = 6) -> None:
        self.plan = plan
        self.open: dict[int, OpenBucket] = {}  # by start
        self.sealed: dict[int, Sealed] = {}  # by start, oldest first
        self.closed_until_ms: int | None = None  # every bucket that ends at or before it has been judged
        self.tracks = plan.track_table()
        self.ops = plan.op_table()
        self._slots = slots
        self._evidence_buckets = evidence_buckets
        self._bounds = plan.bounds()
        self._needed = plan.needed()
        self._tables: list[IntArray] = [_NO_CELLS] * len(plan.tracks)
        self._slots_of: list[RankArray] = [np.empty(0, dtype=np.int32)] * len(plan.tracks)
        self._totals: dict[tuple[int, int], FloatArray] = {}  # by (window's number, track)
        self.totals_at: IntArray = np.zeros((len(plan.windows), len(plan.tracks)), dtype=np.int64)
        self._reads = self._windows_read()
        self._inside: list[list[Sealed]] = [[] for _ in plan.windows]  # what the totals hold, oldest first
        self._pool: list[list[Place]] = [[] for _ in plan.tracks]
        self._kind_tracks: dict[tuple[int, str], list[int]] = {}
        self._uses: dict[FeatureUse, IntArray] = {}
        self.newest: Sealed | None = None  # the bucket being judged, if it had rows
        self.left: list[list[Sealed]] = [[] for _ in plan.windows]  # what left each window with that bucket's end
        self._judged_ms = 0
        self._cited: dict[tuple[tuple[FeatureUse, int], ...], IntArray] = {}  # by features: what may be cited for them
        self._blanks = [blank_row(track) for track in plan.tracks]
        self.tracks[:, BLANK_AT] = [blank.ctypes.data for blank in self._blanks]
        self._work = bucket_rows.work_room()
        self.tracks[:, TABLE_AT], self.tracks[:, MASK] = _NO_CELLS.ctypes.data, len(_NO_CELLS) - 1

    @property
    def starts(self) -> list[int]:
        """Starts of all buckets with data, in no particular order."""
        return [*self.sealed, *self.open]

    def _windows_read(self) -> npt.NDArray[np.bool_]:
        """Which track is read over which window: bool[windows, tracks]."""
        windows = [{w for some in track.windows_of.values() for w in some} for track in self.plan.tracks]
        rows = [[window in of for of in windows] for window in self.plan.windows]
        return np.array(rows, dtype=np.bool_).reshape(len(self.plan.windows), len(self.plan.tracks))

    # --- rows in ---------------------------------------------------------------------------------------------------

    def add(self, rows: FrameRows) -> IntArray:
        """Add rows to their buckets; returns the rows that came after their bucket had been judged."""
        first, count, members = self._members(rows)
        if not len(members):
            return np.empty(0, dtype=np.int64)
        late = np.zeros(rows.count + 1, dtype=np.int64)
        counts = np.zeros(len(count), dtype=np.int32)
        state = np.zeros(bucket_rows.STATE_WORDS, dtype=np.int64)
        closed_until_ms = -1 if self.closed_until_ms is None else self.closed_until_ms
        what, which = bucket_rows.NEEDS_ROWS, -1
        while what != bucket_rows.DONE:
            buckets = list(self.open.values())
            starts = np.array([bucket.start_ms for bucket in buckets], dtype=np.int64)
            blocks = np.array([bucket.table for bucket in buckets]).reshape(-1, len(self.plan.tracks), 3)
            what, which = bucket_rows.take_rows(
                state, rows.use, rows.table, len(rows.kind_names), rows.sources, rows.entity_offsets, rows.entity_data,
                first, count, members, self.plan.bucket_ms, closed_until_ms,
                self.tracks, self._bounds, self.ops, self._slots.header, starts, blocks, counts,
                *self._work, late,
            )  # fmt: skip
            for bucket, table in zip(buckets, blocks, strict=True):
                bucket.table[:, TOUCHED] = table[:, TOUCHED]
            if what == bucket_rows.NEEDS_BLOCK:
                bucket = self.open[which] = OpenBucket(which, len(self.plan.tracks))
                for track in np.flatnonzero(self.tracks[:, COUNT]).tolist():
                    self._give_rows(bucket, track)
            elif what == bucket_rows.NEEDS_ROOM:
                self._grow(which)
            elif what == bucket_rows.NEEDS_ROWS:  # a bucket that was opened before the track had any cell
                for bucket in buckets:
                    if bucket.places[which] is None:
                        self._give_rows(bucket, which)
            elif what == bucket_rows.NEEDS_SLOTS:
                self._slots.grow()
        return late[1 : 1 + late[0]]

    def _members(self, rows: FrameRows) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Which tracks the frame's kinds may belong to: first, count by kind, and the list."""
        members: list[int] = []
        kinds = len(rows.sources) * len(rows.kind_names)
        first = np.zeros(max(1, kinds), dtype=np.int32)
        count = np.zeros(max(1, kinds), dtype=np.int32)
        number = 0
        for source in rows.sources.tolist():
            for name in rows.kind_names:
                tracks = self._kind_tracks.get((source, name))
                if tracks is None:
                    tracks = self.plan.tracks_of(source, name)
                    if tracks or len(self._kind_tracks) < 100_000:  # hostile kinds must not fill the memory
                        self._kind_tracks[source, name] = tracks
                first[number], count[number] = len(members), len(tracks)
                members += tracks
                number += 1
        return first, count, np.array(members, dtype=np.int32)

    def _grow(self, track: int, needed: int = 0) -> None:
        """Room for more cells in a track: its table, its totals, and its rows in every open bucket."""
        row, width = self.tracks[track], self.plan.tracks[track].width
        used, room = int(row[COUNT]), int(row[ROOM])
        room = max(_FIRST_ROOM, needed, room * 2 if room < _LARGE else room * 5 // 4)
        slots = self._slots_of[track] = grown(self._slots_of[track], room, used)
        row[ROOM], row[SLOTS_AT] = room, slots.ctypes.data
        if 2 * room > len(self._tables[track]):
            table = self._tables[track] = table_of(2 * room)
            row[TABLE_AT], row[MASK] = table.ctypes.data, len(table) - 1
            row_kernels.fill_table(row[TABLE_AT], row[MASK], self._slots.cells_at, row[SLOTS_AT], used)
        for window in np.flatnonzero(self._reads[:, track]).tolist():
            old = self._totals.get((window, track), np.empty((0, int(row[TOTAL_WIDTH]))))
            total = np.zeros((room, int(row[TOTAL_WIDTH])))
            total[:used] = old[:used]
            self._totals[window, track] = total
            self.totals_at[window, track] = total.ctypes.data
        self._pool[track].clear()
        for bucket in self.open.values():
            place = bucket.places[track]
            if place is not None:
                larger, touched = Place(room, width), bucket.table[track, TOUCHED]
                larger.rows[:used] = place.rows[:used]
                larger.ranks[:touched] = place.ranks[:touched]
                bucket.give(track, larger)

    def _give_rows(self, bucket: OpenBucket, track: int) -> None:
        pool = self._pool[track]
        bucket.give(track, pool.pop() if pool else Place(int(self.tracks[track, ROOM]), self.plan.tracks[track].width))

    # --- time ------------------------------------------------------------------------------------------------------

    def next_end_ms(self, watermark_ms: int, busy: bool) -> int | None:
        """The end of the next bucket to judge, once the watermark has passed it; None: nothing to judge yet.

        Stretches without any data in reach of a window are skipped, unless the detectors are `busy` with an alert or a
        count of buckets: then each bucket is judged. Skipping marks the stretch as judged.
        """
        width = self.plan.bucket_ms
        last_end = watermark_ms - watermark_ms % width  # the latest bucket end that the watermark has passed
        if self.closed_until_ms is None:
            first = min(self.open, default=None)
            return None if first is None or first + width > last_end else first + width
        if self.closed_until_ms >= last_end:
            return None
        end = self.closed_until_ms + width
        if not busy and not any(start + self.plan.window_ms >= end for start in self.starts if start < end):
            ahead = [start + width for start in self.open if start >= self.closed_until_ms]
            end = min(ahead, default=last_end + width)
            if end > last_end:
                self.closed_until_ms = last_end
                return None
        return end

    def end(self, end_ms: int) -> None:
        """Seal the bucket that ends at `end_ms` and bring every window's totals to it; then the group can be read."""
        start_ms = end_ms - self.plan.bucket_ms
        bucket = self.open.pop(start_ms, None)
        self.newest = None
        if bucket is not None:
            self.newest = self.sealed[start_ms] = seal(start_ms, self.plan, self.tracks, bucket.table)
            for pool, place in zip(self._pool, bucket.places, strict=True):
                if place is not None and len(pool) < place.spare:
                    pool.append(place)
        room = self._work_room()
        for window, buckets in enumerate(self.plan.windows):
            self._take_out(window, end_ms - buckets * self.plan.bucket_ms, room)
        if self.newest is not None:
            self._add(range(len(self.plan.windows)), self.newest, room)
        self._judged_ms = end_ms
        self._cited.clear()

    def _take_out(self, window: int, low_ms: int, room: tuple[RankArray, FloatArray]) -> None:
        """Take out of a window what starts before `low_ms`."""
        inside = self._inside[window]
        left = self.left[window] = [old for old in inside if old.start_ms < low_ms]
        if left:
            inside = self._inside[window] = inside[len(left) :]
        for at, old in enumerate(left):
            # while one is taken out, those behind it are inside still, or were added before
            rest = [*left[at + 1 :], *inside]
            window_kernels.take_bucket_out(
                old.head_at, old.start_ms // self.plan.bucket_ms, window, self.tracks, self.ops, self._needed,
                self.totals_at, *room, np.array([one.head_at for one in rest], dtype=np.int64),
                np.array([one.start_ms // self.plan.bucket_ms for one in rest], dtype=np.int64),
            )  # fmt: skip

    def _add(self, windows: Iterable[int], bucket: Sealed, room: tuple[RankArray, FloatArray]) -> None:
        some = np.array(list(windows), dtype=np.int64)
        window_kernels.add_bucket(
            bucket.head_at, bucket.start_ms // self.plan.bucket_ms, some, self.tracks, self.ops, self._needed,
            self.totals_at, *room,
        )  # fmt: skip
        for window in some.tolist():
            self._inside[window].append(bucket)

    def close(self, end_ms: int) -> None:
        """The bucket that ends at `end_ms` has been judged: drop what no later window can reach."""
        self.closed_until_ms = end_ms
        # the oldest bucket of the longest window is needed once more, to be taken out of its totals
        oldest = end_ms - self.plan.window_ms if self.plan.windows else end_ms
        for start in [start for start in self.sealed if start < oldest]:
            del self.sealed[start]
        self.newest = None
        self.left = [[] for _ in self.plan.windows]
        uncited = end_ms - self._evidence_buckets * self.plan.bucket_ms
        for start, bucket in self.sealed.items():
            if start < uncited and bucket.evidence is not None:
                bucket.forget_evidence(len(self.plan.tracks))

    # --- windows out -----------------------------------------------------------------------------------------------

    def ranks_of(self, track: int, cells: IntArray) -> RankArray:
        """Ranks int32, of the same shape, that cells have in a track; -1 where one has none."""
        out = np.empty(cells.shape, dtype=np.int32)
        row = self.tracks[track]
        find_ranks(row[TABLE_AT], row[MASK], cells.reshape(-1), out.reshape(-1))
        return out

    def lanes_of(self, use: FeatureUse, end_ms: int, window_ms: int, cells: IntArray) -> FloatArray:
        """The feature's lanes over the window that ends at `end_ms`, merged over cells[i, :]: float64[width, n]."""
        ranks = self.ranks_of(use.track, cells)
        out = np.empty((use.width, len(cells)))
        ops = self._ops_of(use)
        buckets, row = window_ms // self.plan.bucket_ms, self.tracks[use.track]
        bucket = self.sealed.get(end_ms - window_ms)
        if not row[COUNT]:
            window_kernels.prepare_lanes(ops, out)
        elif buckets > 1:
            total_at = self.totals_at[self.plan.windows.index(buckets), use.track]
            window_kernels.gather_totals(total_at, row[TOTAL_WIDTH], ranks, ops, out)
        elif bucket is not None:
            window_kernels.gather_bucket(bucket.head_at, use.track, self.tracks, ranks, ops, out)
        else:
            window_kernels.prepare_lanes(ops, out)
        return out

    def evidence_of(self, features: Iterable[tuple[FeatureUse, int]], cells: IntArray) -> list[int]:
        """The evidence pointers that the buckets of the window being judged hold for these (feature, window in ms) at
        these cells: feature by feature, newest bucket first."""
        key = tuple(features)
        cited = self._cited.get(key)
        if cited is None:
            rows = [
                (head, use.track, use.evidence) for use, window_ms in key for head in self._cited_heads(use, window_ms)
            ]
            cited = self._cited[key] = np.array(rows, dtype=np.int64).reshape(-1, 3)
        out = np.empty(len(cited) * len(cells) + 1, dtype=np.int64)
        found = window_kernels.gather_evidence(cited, self.tracks, cells, out)
        pointers: list[int] = out[:found].tolist()
        return pointers

    def _cited_heads(self, use: FeatureUse, window_ms: int) -> list[int]:
        """The heads of the buckets that may be cited for a feature, newest first."""
        if use.evidence < 0:
            return []
        newest = min(window_ms, self._evidence_buckets * self.plan.bucket_ms)
        return [self.sealed[start].head_at for start in reversed(self.sealed) if self._judged_ms - start <= newest]

    def seen(self, uses: Iterable[tuple[FeatureUse, int]]) -> npt.NDArray[np.bool_]:
        """Which slots have data for any of these (feature, window in ms) in the bucket being judged: bool[slots]."""
        marks = np.zeros(self._slots.count, dtype=np.bool_)
        room, _ = self._work_room()
        for track, window_ms in {(use.track, window_ms) for use, window_ms in uses}:
            row, buckets = self.tracks[track], window_ms // self.plan.bucket_ms
            total_at = self.totals_at[self.plan.windows.index(buckets), track] if buckets > 1 else 0
            if total_at or self.newest is not None:
                head_at = 0 if self.newest is None else self.newest.head_at
                window_kernels.mark_slots(
                    total_at, row[TOTAL_WIDTH], head_at, track, row[COUNT], row[SLOTS_AT], room, marks
                )
        return marks

    def _ops_of(self, use: FeatureUse) -> IntArray:
        """The feature's ops for kernels, int64[ops, 2]: code, first lane."""
        ops = self._uses.get(use)
        if ops is None:
            ops = self._uses[use] = ops_of(self.plan, use)
        return ops

    def _work_room(self) -> tuple[RankArray, FloatArray]:
        """Room for the ranks of a track, and for two columns of values."""
        most = int(self.tracks[:, COUNT].max(initial=0)) + 1
        return np.empty(most, dtype=np.int32), np.empty((2, most))

    # --- from and to a snapshot ------------------------------------------------------------------------------------

    def slots_of(self, track: int) -> RankArray:
        """The slot of each rank of a track."""
        return self._slots_of[track][: self.tracks[track, COUNT]]

    def restore_track(self, track: int, slots: RankArray) -> None:
        """Give an empty track its cells, in the order of their ranks."""
        if not len(slots):
            return
        self._grow(track, len(slots))
        self._slots_of[track][: len(slots)] = slots
        row = self.tracks[track]
        row[COUNT] = len(slots)
        row_kernels.fill_table(row[TABLE_AT], row[MASK], self._slots.cells_at, row[SLOTS_AT], len(slots))

    def open_rows(self, start_ms: int, track: int) -> OpenBucket:
        """An open bucket, opened if need be, with room for the rows of a track."""
        bucket = self.open.setdefault(start_ms, OpenBucket(start_ms, len(self.plan.tracks)))
        if bucket.places[track] is None:
            self._give_rows(bucket, track)
        return bucket

    def rebuild_totals(self) -> None:
        """Make the totals of every window from the sealed buckets, as they were at the last bucket's end."""
        if self.closed_until_ms is None:
            return
        self.sealed = dict(sorted(self.sealed.items()))
        room = self._work_room()
        for window, buckets in enumerate(self.plan.windows):
            low_ms = self.closed_until_ms - buckets * self.plan.bucket_ms
            for start_ms, bucket in self.sealed.items():
                if start_ms >= low_ms:
                    self._add([window], bucket, room)

    @property
    def nbytes(self) -> dict[str, int]:
        """Memory by what it is for, as allocated."""
        return {
            "tables": sum(a.nbytes for a in self._tables) + sum(a.nbytes for a in self._slots_of),
            "totals": sum(total.nbytes for total in self._totals.values()),
            "open": sum(place.nbytes for bucket in self.open.values() for place in bucket.places if place is not None),
            "spare": sum(place.nbytes for pool in self._pool for place in pool),
            "sealed": sum(bucket.nbytes for bucket in self.sealed.values()),
        }


def ops_of(plan: GroupPlan, use: FeatureUse) -> IntArray:
    """A feature's ops for kernels, int64[ops, 2]: code, first lane in the track."""
    lanes = plan.tracks[use.track].lane_of
    return np.array([(int(op), lanes[op]) for op in use.ops], dtype=np.int64)


@kernel
def find_ranks(table_at: int, mask: int, cells: IntArray, out: RankArray) -> None:
    """Ranks of the cells in a track's table, -1 where a cell is not in it or is no cell."""
    for i in range(cells.shape[0]):
        out[i] = row_kernels.find_rank(table_at, mask, cells[i]) if cells[i] >= 0 else -1
