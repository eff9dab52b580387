"""Kafka's record layout (message format v2) taken apart by a kernel: where each record's value lies, and its offset.

    record  = length varint, attributes int8, timestamp delta varint, offset delta varint,
              key length varint, key, value length varint, value, headers        (varints are zigzag coded)

One call takes all batches of a poll, laid one after the other in one buffer. What a producer wrote is not trusted: a
length that leads out of its batch, offsets that do not rise, or a count that does not fit make the whole batch corrupt.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.words import address_of, as_int, load_byte
from topology.jit import kernel

SMALLEST_RECORD: Final = 7
"""Bytes of a record with neither key nor value: a batch that claims more records than its bytes allow is corrupt."""

NULL: Final = -1
"""The length given for a null value (a tombstone)."""

# Columns of the table of batches.
START, END, BASE_OFFSET, NEXT_OFFSET, COUNT, TIMESTAMP, SKIP_BEFORE = range(7)
TABLE_COLUMNS: Final = 7

# What `split` says about a batch.
WHOLE, BAD_LENGTH, BAD_OFFSET, BAD_COUNT = range(4)
PROBLEMS: Final = (
    "",
    "a length inside a record leads out of the record or the batch",
    "record offsets do not rise inside the batch's range",
    "the number of records is not the one the batch header says",
)


@kernel
def read_varint(at: int, end: int) -> tuple[int, int]:
    """The zigzag varint at address `at` and the address behind it, or (0, -1) if it leads past `end` or 64 bits."""
    if at >= end:
        return 0, -1
    byte = load_byte(at)
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    raw = np.uint64(byte & 0x7F)
    shift = 7
    while True:
        if at >= end or shift > 63:
            return 0, -1
        byte = load_byte(at)
        at += 1
        raw |= np.uint64(byte & 0x7F) << np.uint64(shift)
        if byte < 0x80:
            break
        shift += 7
    return as_int(raw >> np.uint64(1)) ^ -as_int(raw & np.uint64(1)), at


@kernel
def split(
    buffer: npt.NDArray[np.uint8],
    table: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    received_at_ms: npt.NDArray[np.int64],
    status: npt.NDArray[np.uint8],
) -> int:
    """Fill one entry per wanted record, in offset order, and one `status` per batch; gives the number of entries.

    `table` has one row per batch (columns above), positions in `buffer`. The four arrays of records have room for the
    sum of the batches' counts. Records below their batch's SKIP_BEFORE are passed over. A batch whose status is not
    WHOLE leaves no entries.
    """
    found = 0
    first = address_of(buffer)
    for batch in range(len(table)):
        position = first + table[batch, START]
        end = first + table[batch, END]
        base = table[batch, BASE_OFFSET]
        top = table[batch, NEXT_OFFSET]
        count = table[batch, COUNT]
        timestamp = table[batch, TIMESTAMP]
        skip_before = table[batch, SKIP_BEFORE]
        found_before = found
        problem = WHOLE
        previous = base - 1
        if count < 0 or count * SMALLEST_RECORD > end - position:
            problem = BAD_COUNT
            count = 0
        for _ in range(count):
            length, position = read_varint(position, end)
            if position < 0 or length < SMALLEST_RECORD - 1 or length > end - position:
                problem = BAD_LENGTH
                break
            record_end = position + length
            _, position = read_varint(position + 1, record_end)
            if position < 0:
                problem = BAD_LENGTH
                break
            delta, position = read_varint(position, record_end)
            if position < 0:
                problem = BAD_LENGTH
                break
            key_length, position = read_varint(position, record_end)
            if position < 0 or key_length > record_end - position:
                problem = BAD_LENGTH
                break
            if key_length > 0:
                position += key_length
            value_length, position = read_varint(position, record_end)
            if position < 0 or value_length >= record_end - position:  # at least the count of headers follows
                problem = BAD_LENGTH
                break
            if delta < 0 or delta >= top - base or base + delta <= previous:
                problem = BAD_OFFSET
                break
            previous = base + delta
            if previous >= skip_before:
                starts[found] = position - first
                lengths[found] = max(value_length, NULL)
                offsets[found] = previous
                received_at_ms[found] = timestamp
                found += 1
            position = record_end
        if problem == WHOLE and position != end:
            problem = BAD_COUNT
        if problem != WHOLE:
            found = found_before
        status[batch] = problem
    return found
