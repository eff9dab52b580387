"""What records do to the rows of open buckets: op by op, each over many records of one track in a loop of its own."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.frame_columns import EVENT_AT, whole_number
from streams.reals import load_real, store_int, store_real
from streams.row_kernels import CHANGED, EMPTY, RANKS_AT, TOUCHED
from streams.tracks import (
    BLANK_AT,
    DISTINCT_BITS,
    DISTINCT_TOTAL,
    QUANTILE_LANES,
    QUANTILE_LOG_WIDTH,
    QUANTILE_LOW,
    SUM_SCALE,
    WIDTH,
    FloatArray,
    IntArray,
    Op,
)
from streams.words import load_int, store_half
from topology.jit import kernel

# Rows of `work`, of each record: where its row in a bucket is, of which rank and bucket, its row in the frame, and its
# pointer. `values` are the records' values.
HIT_AT, HIT_RANK, HIT_BLOCK, HIT_ROW, POINTER = range(5)
HIT_COLUMNS: Final = 5

_COUNT, _SUM, _MIN, _MAX, _LAST, _DISTINCT, _QUANTILE = (int(op) for op in list(Op)[:7])


@kernel
def hash_text(data: npt.NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """FNV-1a, 64 bits, with a final mix: its low bits alone are too regular for a sketch."""
    value = np.uint64(0xCBF29CE484222325)
    for at in range(start, end):
        value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)  # the finaliser of MurmurHash3
    return value ^ (value >> np.uint64(33))


@kernel
def quantile_bin(value: float) -> int:
    if value <= QUANTILE_LOW:
        return 0
    return min(QUANTILE_LANES - 1, 1 + int(np.log(value / QUANTILE_LOW) / QUANTILE_LOG_WIDTH))


@kernel
def mark_rows(hits: int, track: int, tracks: IntArray, blocks: IntArray, work: IntArray) -> None:
    """Mark the rows that take a record as changed; those without data begin as the track's blank row."""
    blank_at, width = tracks[track, BLANK_AT], tracks[track, WIDTH]
    for h in range(hits):
        row_at = work[HIT_AT, h]
        if load_real(row_at) == EMPTY:
            for word in range(width):
                store_int(row_at + 8 * word, load_int(blank_at + 8 * word))
            block = work[HIT_BLOCK, h]
            touched = blocks[block, track, TOUCHED]
            store_half(blocks[block, track, RANKS_AT] + 4 * touched, work[HIT_RANK, h])
            blocks[block, track, TOUCHED] = touched + 1
        else:
            store_real(row_at, CHANGED)


@kernel
def apply_op(
    hits: int,
    code: int,
    lane: int,
    evidence: int,
    columns: IntArray,
    entity_offsets: npt.NDArray[np.int32],
    entity_data: npt.NDArray[np.uint8],
    work: IntArray,
    values: FloatArray,
) -> None:
    """Apply one op, whose lane and evidence (0: none) lie so many bytes into a row, to the records of a track."""
    if code == _COUNT:
        for h in range(hits):
            lane_at = work[HIT_AT, h] + lane
            store_real(lane_at, load_real(lane_at) + 1.0)
    elif code == _SUM:
        for h in range(hits):
            lane_at = work[HIT_AT, h] + lane
            store_real(lane_at, load_real(lane_at) + np.rint(values[h] * SUM_SCALE))
    elif code in (_MAX, _MIN):
        sign = 1.0 if code == _MAX else -1.0
        for h in range(hits):
            row_at = work[HIT_AT, h]
            value, old = values[h], load_real(row_at + lane)
            better = sign * value > sign * old
            if better:
                store_real(row_at + lane, value)
            if evidence:
                pointer = work[POINTER, h]
                if better or (value == old and pointer > load_int(row_at + evidence)):
                    store_int(row_at + evidence, pointer)
    elif code == _LAST:
        for h in range(hits):
            row_at = work[HIT_AT, h]
            value, when = values[h], float(whole_number(columns, EVENT_AT, work[HIT_ROW, h]))
            old, newest = load_real(row_at + lane), load_real(row_at + lane + 8)
            better = when > old or (when == old and value > newest)
            if better:
                store_real(row_at + lane, when)
                store_real(row_at + lane + 8, value)
            if evidence:
                pointer = work[POINTER, h]
                same = when == old and value == newest
                if better or (same and pointer > load_int(row_at + evidence)):
                    store_int(row_at + evidence, pointer)
    elif code == _DISTINCT:
        for h in range(hits):
            i = work[HIT_ROW, h]
            text = hash_text(entity_data, entity_offsets[i], entity_offsets[i + 1])
            bit = int(text % np.uint64(DISTINCT_TOTAL))
            target_at = work[HIT_AT, h] + lane + 8 * (bit // DISTINCT_BITS)
            store_real(target_at, float(int(load_real(target_at)) | (1 << (bit % DISTINCT_BITS))))
    elif code == _QUANTILE:
        for h in range(hits):
            target_at = work[HIT_AT, h] + lane + 8 * quantile_bin(values[h])
            store_real(target_at, load_real(target_at) + 1.0)
    else:
        for h in range(hits):
            evidence_at = work[HIT_AT, h] + evidence
            if work[POINTER, h] > load_int(evidence_at):
                store_int(evidence_at, work[POINTER, h])
