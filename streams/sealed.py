"""A bucket that has ended: its rows packed, lane by lane, into as few bytes as hold them exactly.

Sensors report decimals of few digits, counts are small, sums are whole numbers. Each lane of each track becomes a
column of whole numbers `q` of 1, 2 or 4 bytes with `value = (least + q) / scale`, scale a power of ten up to 10,000, if
that gives back every value bit by bit, and stays 8 bytes otherwise (adaptive lossless floating point: A. Afroozeh, L.
Kuffo, P. Boncz, "ALP", SIGMOD 2023, much simplified). A day of readings takes a fifth to a tenth of float64.

Which ranks have data is a list, or a bitmap with a running count every 64 ranks, whichever is smaller. All of it lies
in one buffer, which a snapshot stores as it is; evidence lies in another, which is forgotten before the values are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.reals import bit_count, load_quarter, load_real, store_int, store_quarter, store_real
from streams.row_kernels import EMPTY, RANKS_AT, ROWS_AT, TOUCHED
from streams.tracks import COUNT, FIRST_COLUMN, LANES, WIDTH, FloatArray, GroupPlan, IntArray, RankArray
from streams.words import (
    address_of,
    load_byte,
    load_half,
    load_int,
    load_word,
    store_byte,
    store_half,
    store_word,
    trailing_zeros,
)
from topology.jit import kernel

# What a head says of each track: how many ranks, where their list or bitmap begins, the bitmap's words (0: a list), and
# where the evidence begins (0: forgotten). Then, for each lane: how it is coded, where, and scale and least value.
ROWS, LIST_AT, WORDS, EVIDENCE_AT = range(4)
HEAD_COLUMNS: Final = 4
CODING, LANE_AT, SCALE, LEAST = range(4)
LANE_COLUMNS: Final = 4
MISSING, BYTE, QUARTER, HALF, REAL = range(5)
"""Codings; MISSING: a lane that the snapshot did not have. Its counts are 0, its extremes none, its sums not known."""

_SCALES: Final = np.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
_EXACT: Final = 2.0**52
_NOWHERE: Final = np.zeros(1, dtype=np.uint8)


@dataclass(slots=True)
class Sealed:
    """One ended bucket of a group. `head` int64 holds addresses into `data` and `evidence`; see the constants above.

    `data` is not written any more: a snapshot may hold on to it.
    """

    start_ms: int
    data: npt.NDArray[np.uint8]
    evidence: IntArray | None
    head: IntArray
    head_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.head_at = int(self.head.ctypes.data)

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + self.head.nbytes + (0 if self.evidence is None else self.evidence.nbytes)

    def forget_evidence(self, tracks: int) -> None:
        self.evidence = None
        self.head[: tracks * HEAD_COLUMNS].reshape(-1, HEAD_COLUMNS)[:, EVIDENCE_AT] = 0


def relative(sealed: Sealed, plan: GroupPlan) -> IntArray:
    """The head with offsets in place of addresses; -1 for evidence that is forgotten."""
    head = sealed.head.copy()
    tracks = len(plan.tracks)
    base = int(sealed.data.ctypes.data)
    part = head[: tracks * HEAD_COLUMNS].reshape(-1, HEAD_COLUMNS)
    lanes = head[tracks * HEAD_COLUMNS :].reshape(-1, LANE_COLUMNS)
    part[:, LIST_AT] -= base
    lanes[:, LANE_AT] -= base
    part[:, EVIDENCE_AT] -= 0 if sealed.evidence is None else int(sealed.evidence.ctypes.data)
    if sealed.evidence is None:
        part[:, EVIDENCE_AT] = -1
    return head


def absolute(
    start_ms: int, data: npt.NDArray[np.uint8], evidence: IntArray | None, part: IntArray, lanes: IntArray
) -> Sealed:
    """A bucket from buffers and heads with offsets: `part` int64[tracks, 4], `lanes` int64[all lanes, 4]."""
    if not len(data):
        data = _NOWHERE
    part, lanes = part.copy(), lanes.copy()
    base = int(data.ctypes.data)
    part[:, LIST_AT] += base
    lanes[:, LANE_AT] += base
    if evidence is None:
        part[:, EVIDENCE_AT] = 0
    else:
        part[:, EVIDENCE_AT] = np.where(part[:, EVIDENCE_AT] < 0, 0, part[:, EVIDENCE_AT] + int(evidence.ctypes.data))
    return Sealed(start_ms, data, evidence, np.concatenate([part.reshape(-1), lanes.reshape(-1)]))


def seal(start_ms: int, plan: GroupPlan, tracks: IntArray, block: IntArray) -> Sealed:
    """Pack an open bucket (`block` int64[tracks, 3], see streams.row_kernels) and leave its rows without marks."""
    touched = block[:, TOUCHED]
    lanes = tracks[:, LANES]
    pointers = tracks[:, WIDTH] - 1 - lanes
    bitmaps = 12 * (tracks[:, COUNT] // 64 + 1)
    data = np.empty(int((touched * (8 * lanes + 4) + np.minimum(bitmaps, 4 * touched + 12)).sum()) + 16, np.uint8)
    evidence = np.empty(int((touched * pointers).sum()) + 1, dtype=np.int64)
    part = np.zeros((len(tracks), HEAD_COLUMNS), dtype=np.int64)
    columns = np.zeros((int(lanes.sum()), LANE_COLUMNS), dtype=np.int64)
    size = _seal(block, tracks, part, columns, data, evidence, np.empty(int(touched.max(initial=0)), np.int32), _SCALES)
    return absolute(start_ms, data[:size].copy(), evidence[:-1] if evidence.size > 1 else None, part, columns)


# --- kernels: packing ------------------------------------------------------------------------------------------------


@kernel
def _seal(
    block: IntArray,
    tracks: IntArray,
    part: IntArray,
    columns: IntArray,
    data: npt.NDArray[np.uint8],
    evidence: IntArray,
    ranks: RankArray,
    scales: FloatArray,
) -> int:
    """Fill heads (with offsets) and buffers; returns the bytes of `data` that are used."""
    data_at = address_of(data)
    size = 0
    cited = 0
    for track in range(tracks.shape[0]):
        count = block[track, TOUCHED]
        part[track, ROWS] = count
        part[track, EVIDENCE_AT] = -1
        if count == 0:
            continue
        size, words = _write_ranks(block[track, RANKS_AT], count, tracks[track, COUNT], data_at, size, ranks)
        part[track, LIST_AT] = size - (12 * words if words else 4 * count)
        part[track, WORDS] = words
        rows_at = block[track, ROWS_AT]
        stride = 8 * tracks[track, WIDTH]
        lanes = tracks[track, LANES]
        for lane in range(lanes):
            column = tracks[track, FIRST_COLUMN] + lane
            size = _pack(rows_at + 8 + 8 * lane, stride, ranks, count, scales, columns, column, data_at, size)
        pointers = tracks[track, WIDTH] - 1 - lanes
        if pointers:
            part[track, EVIDENCE_AT] = 8 * cited
        for pointer in range(pointers):
            for i in range(count):
                evidence[cited] = load_int(rows_at + ranks[i] * stride + 8 * (1 + lanes + pointer))
                cited += 1
        for i in range(count):
            store_real(rows_at + ranks[i] * stride, EMPTY)
        block[track, TOUCHED] = 0
    return size


@kernel
def _write_ranks(ranks_at: int, count: int, known: int, data_at: int, size: int, ranks: RankArray) -> tuple[int, int]:
    """Write a list or a bitmap of the ranks at `ranks_at`, and sort them into `ranks`; the new size, and the bitmap's
    words."""
    words = known // 64 + 1
    if 12 * words > 4 * count:
        for i in range(count):
            ranks[i] = load_half(ranks_at + 4 * i)
        ranks[:count].sort()
        for i in range(count):
            store_half(data_at + size + 4 * i, ranks[i])
        return size + 4 * count, 0
    bits_at = data_at + size
    for word in range(words):
        store_int(bits_at + 8 * word, 0)
    for i in range(count):
        rank = load_half(ranks_at + 4 * i)
        at = bits_at + 8 * (rank >> 6)
        store_word(at, load_word(at) | (np.uint64(1) << np.uint64(rank & 63)))
    _spread_bits(bits_at, words, ranks)
    before = 0
    for word in range(words):
        store_half(bits_at + 8 * words + 4 * word, before)
        before += bit_count(load_word(bits_at + 8 * word))
    return size + 12 * words, words


@kernel
def _spread_bits(bits_at: int, words: int, ranks: RankArray) -> None:
    """The numbers of the bits that are set, ascending."""
    found = 0
    for word in range(words):
        left = load_word(bits_at + 8 * word)
        while left != np.uint64(0):
            ranks[found] = 64 * word + trailing_zeros(left)
            found += 1
            left &= left - np.uint64(1)


@kernel
def _pack(
    values_at: int,
    stride: int,
    ranks: RankArray,
    count: int,
    scales: FloatArray,
    columns: IntArray,
    column: int,
    data_at: int,
    size: int,
) -> int:
    """Write one lane as a column, in the smallest coding that is exact; the new size."""
    columns[column, LANE_AT] = size
    for index in range(scales.shape[0]):
        scale = scales[index]
        least = np.inf
        most = -np.inf
        exact = True
        for i in range(count):
            value = load_real(values_at + ranks[i] * stride)
            q = np.rint(value * scale)
            # the comparison fails for NaN and infinities too
            if not (q / scale == value and -_EXACT < q < _EXACT):
                exact = False
                break
            least = min(least, q)
            most = max(most, q)
        if exact and most - least < 4294967296.0:
            columns[column, SCALE] = int(scale)
            columns[column, LEAST] = int(least)
            return _write_whole(values_at, stride, ranks, count, scale, least, most, columns, column, data_at, size)
    columns[column, CODING] = REAL
    columns[column, SCALE] = 1
    for i in range(count):
        store_real(data_at + size + 8 * i, load_real(values_at + ranks[i] * stride))
    return size + 8 * count


@kernel
def _write_whole(
    values_at: int,
    stride: int,
    ranks: RankArray,
    count: int,
    scale: float,
    least: float,
    most: float,
    columns: IntArray,
    column: int,
    data_at: int,
    size: int,
) -> int:
    at = data_at + size
    if most - least < 256.0:
        columns[column, CODING] = BYTE
        for i in range(count):
            store_byte(at + i, int(np.rint(load_real(values_at + ranks[i] * stride) * scale) - least))
        return size + count
    if most - least < 65536.0:
        columns[column, CODING] = QUARTER
        for i in range(count):
            store_quarter(at + 2 * i, int(np.rint(load_real(values_at + ranks[i] * stride) * scale) - least))
        return size + 2 * count
    columns[column, CODING] = HALF
    for i in range(count):
        store_half(at + 4 * i, int(np.rint(load_real(values_at + ranks[i] * stride) * scale) - least))
    return size + 4 * count


# --- kernels: reading ------------------------------------------------------------------------------------------------


@kernel
def expand(head_at: int, track: int, out: RankArray) -> int:
    """Write the ranks of a track that have data, ascending; how many."""
    part_at = head_at + 8 * HEAD_COLUMNS * track
    count = load_int(part_at)
    list_at = load_int(part_at + 8 * LIST_AT)
    words = load_int(part_at + 8 * WORDS)
    if words:
        _spread_bits(list_at, words, out)
    else:
        for i in range(count):
            out[i] = load_half(list_at + 4 * i)
    return count


@kernel
def row_of(head_at: int, track: int, rank: int) -> int:
    """The row of a rank in a track's columns, -1 when it has no data in this bucket."""
    part_at = head_at + 8 * HEAD_COLUMNS * track
    count = load_int(part_at)
    if count == 0 or rank < 0:
        return -1
    list_at = load_int(part_at + 8 * LIST_AT)
    words = load_int(part_at + 8 * WORDS)
    if words:
        word = rank >> 6
        if word >= words:
            return -1
        bits = load_word(list_at + 8 * word)
        bit = np.uint64(1) << np.uint64(rank & 63)
        if bits & bit == np.uint64(0):
            return -1
        return load_half(list_at + 8 * words + 4 * word) + bit_count(bits & (bit - np.uint64(1)))
    low = 0
    high = count
    while low < high:
        middle = (low + high) >> 1
        if load_half(list_at + 4 * middle) < rank:
            low = middle + 1
        else:
            high = middle
    return low if low < count and load_half(list_at + 4 * low) == rank else -1


@kernel
def value_at(lane_at: int, row: int, missing: float) -> float:
    """The value of a lane, whose columns in the head are at `lane_at`, in one row; `missing` for a lane not there."""
    coding = load_int(lane_at)
    at = load_int(lane_at + 8 * LANE_AT)
    if coding == REAL:
        return load_real(at + 8 * row)
    if coding == BYTE:
        q = load_byte(at + row)
    elif coding == QUARTER:
        q = load_quarter(at + 2 * row)
    elif coding == HALF:
        q = load_half(at + 4 * row)
    else:
        return missing
    return float(load_int(lane_at + 8 * LEAST) + q) / float(load_int(lane_at + 8 * SCALE))


@kernel
def read_column(lane_at: int, count: int, missing: float, out: FloatArray) -> None:
    """The values of a lane in all its `count` rows."""
    coding = load_int(lane_at)
    at, least = load_int(lane_at + 8 * LANE_AT), load_int(lane_at + 8 * LEAST)
    scale = float(load_int(lane_at + 8 * SCALE))
    if coding == REAL:
        for row in range(count):
            out[row] = load_real(at + 8 * row)
    elif coding == BYTE:
        for row in range(count):
            out[row] = float(least + load_byte(at + row)) / scale
    elif coding == QUARTER:
        for row in range(count):
            out[row] = float(least + load_quarter(at + 2 * row)) / scale
    elif coding == HALF:
        for row in range(count):
            out[row] = float(least + load_half(at + 4 * row)) / scale
    else:
        for row in range(count):
            out[row] = missing
