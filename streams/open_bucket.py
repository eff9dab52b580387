"""A bucket that takes rows, and the room that each track has in it: allocated here, filled by streams.bucket_rows."""

from __future__ import annotations

from typing import Final

import numpy as np

from streams.row_kernels import CHANGED, RANKS_AT, ROWS_AT, neutral
from streams.tracks import WIDTHS, FloatArray, IntArray, RankArray, Track

_SPARE: Final = 2  # rooms of ended buckets that a track keeps for the next ones, at least
_SPARE_SMALL: Final = 8  # and at most, where they take little: a frame of a backlog opens many buckets at once
_SPARE_BYTES: Final = 512 * 1024


class Place:
    """Room for a track's rows in one bucket: float64[room, width], and the ranks that have one, in order of arrival."""

    __slots__ = ("ranks", "ranks_at", "rows", "rows_at", "spare")

    def __init__(self, room: int, width: int) -> None:
        self.rows: FloatArray = np.zeros((room, width))
        self.ranks: RankArray = np.empty(room, dtype=np.int32)
        self.rows_at = int(self.rows.ctypes.data)  # kept: to ask numpy each time takes longer than to give it away
        self.ranks_at = int(self.ranks.ctypes.data)
        self.spare = max(_SPARE, min(_SPARE_SMALL, _SPARE_BYTES // self.nbytes))  # so many may be kept unused

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.ranks.nbytes


class OpenBucket:
    """A bucket that still takes rows; `table` int64[tracks, 3] tells the kernels where they are."""

    __slots__ = ("places", "start_ms", "table")

    def __init__(self, start_ms: int, tracks: int) -> None:
        self.start_ms = start_ms
        self.places: list[Place | None] = [None] * tracks
        self.table: IntArray = np.zeros((tracks, 3), dtype=np.int64)

    def give(self, track: int, place: Place) -> None:
        self.places[track] = place
        self.table[track, ROWS_AT] = place.rows_at
        self.table[track, RANKS_AT] = place.ranks_at


def blank_row(track: Track) -> FloatArray:
    """A row of an open bucket as it is before its first record: changed, neutral lanes, no evidence."""
    row = np.full(track.width, CHANGED)
    for op, lane in track.lane_of.items():
        row[1 + lane : 1 + lane + WIDTHS[op]] = neutral(int(op))
    row[1 + track.lanes :].view(np.int64)[:] = -1
    return row
