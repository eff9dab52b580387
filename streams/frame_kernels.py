"""The kernels under `streams.frames`: sort rows by shard, gather columns, copy strings, number codes.

A row is written once for the shard that owns its cell and once more for each neighbour shard in whose reach it lies (a
halo copy). "Destinations" below counts both. All sorts are stable: rows of one block keep their offset order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.packed import MOST_SCALED
from streams.reals import store_int, store_quarter
from streams.words import Int, address_of, load_word, store_byte, store_half, store_word
from topology.jit import kernel

_STRETCH = 256
SLACK = 8
"""Spare bytes behind each shard's strings: they are copied eight bytes at a time, and the last word may run over."""


@kernel
def count_destinations(
    shard: npt.NDArray[np.int32], halo_shard: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
) -> None:
    """Add to counts[shards] how many rows of a block go to each shard; shard -1 (a dead row) goes nowhere."""
    for row in range(len(shard)):
        if shard[row] >= 0:
            counts[shard[row]] += 1
    for copy in range(len(halo_shard)):
        counts[halo_shard[copy]] += 1


@kernel
def sort_by_shard(
    shard: npt.NDArray[np.int32],
    halo_row: npt.NDArray[np.int32],
    halo_shard: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    order: npt.NDArray[np.int32],
) -> None:
    """Counting sort of one block: order[starts[s]:starts[s+1]] are the rows for shard s, ascending.

    `counts` is `count_destinations` of this block alone and is used up. `halo_row` ascends.
    """
    total = 0
    for s in range(len(counts)):
        starts[s] = total
        total += counts[s]
        counts[s] = starts[s]
    starts[len(counts)] = total
    copy = 0
    for row in range(len(shard)):
        s = shard[row]
        if s >= 0:
            order[counts[s]] = row
            counts[s] += 1
        while copy < len(halo_row) and halo_row[copy] == row:
            s = halo_shard[copy]
            order[counts[s]] = row
            counts[s] += 1
            copy += 1


@kernel
def _store(to: Int, width: int, number: Int) -> None:
    """Store a whole number in `width` bytes."""
    if width == 1:
        store_byte(to, number)
    elif width == 2:
        store_quarter(to, number)
    elif width == 4:
        store_half(to, number)
    else:
        store_int(to, number)


@kernel
def gather_numbers(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    values: npt.NDArray[Any],
    base: int,
    width: int,
    out: npt.NDArray[np.uint8],
) -> None:
    """Write a column of whole numbers of one block to its places, less `base`, `width` bytes each; at[s] is the row at
    which shard s is written next."""
    out_at = address_of(out)
    for s in range(len(at)):
        to = out_at + at[s] * width
        for j in range(starts[s], starts[s + 1]):
            _store(to, width, np.int64(values[order[j]]) - base)
            to += width


@kernel
def gather_scaled(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    values: npt.NDArray[Any],
    scale: int,
    base: int,
    width: int,
    out: npt.NDArray[np.uint8],
) -> None:
    """Write a column of decimal fractions (see `scaled_range`) likewise."""
    out_at = address_of(out)
    for s in range(len(at)):
        to = out_at + at[s] * width
        for j in range(starts[s], starts[s + 1]):
            _store(to, width, np.int64(np.rint(float(values[order[j]]) * scale)) - base)
            to += width


@kernel
def gather_reals(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    values: npt.NDArray[Any],
    out: npt.NDArray[Any],
) -> None:
    """Write a column of real numbers as they are; `out` has their type."""
    for s in range(len(at)):
        shift = at[s] - starts[s]
        for j in range(starts[s], starts[s + 1]):
            out[j + shift] = values[order[j]]


@kernel
def gather_flags(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    flags: npt.NDArray[np.uint16],
    shard: npt.NDArray[np.int32],
    halo_flag: int,
    base: int,
    width: int,
    out: npt.NDArray[np.uint8],
) -> None:
    """Write the flags likewise, and mark the copies for other shards with `halo_flag`."""
    out_at = address_of(out)
    for s in range(len(at)):
        to = out_at + at[s] * width
        for j in range(starts[s], starts[s + 1]):
            row = order[j]
            flag = np.int64(flags[row])
            _store(to, width, (flag if shard[row] == s else flag | halo_flag) - base)
            to += width


@kernel
def fill_numbers(
    starts: npt.NDArray[np.int64], at: npt.NDArray[np.int64], number: int, width: int, out: npt.NDArray[np.uint8]
) -> None:
    """Write one number for all rows of a block."""
    out_at = address_of(out)
    for s in range(len(at)):
        to = out_at + at[s] * width
        for _ in range(starts[s], starts[s + 1]):
            _store(to, width, number)
            to += width


@kernel
def gather_codes(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int32],
    number_of: npt.NDArray[np.int32],
    width: int,
    out: npt.NDArray[np.uint8],
) -> None:
    """Write the numbers that codes have in this flush, number_of[code + 1], as code -1 stands for no string."""
    out_at = address_of(out)
    for s in range(len(at)):
        to = out_at + at[s] * width
        for j in range(starts[s], starts[s + 1]):
            _store(to, width, np.int64(number_of[codes[order[j]] + 1]))
            to += width


@kernel
def range_of(values: npt.NDArray[Any]) -> tuple[Int, Int]:
    """The least and the greatest of whole numbers, of which there is at least one."""
    low = high = np.int64(values[0])
    for i in range(1, len(values)):
        value = np.int64(values[i])
        low = min(low, value)
        high = max(high, value)
    return low, high


@kernel
def scaled_range(values: npt.NDArray[Any], scale: int) -> tuple[bool, Int, Int]:
    """Whether every value is a whole number divided by `scale`, to the very bit, and the range of these numbers.

    A stretch at a time, without a branch inside, so that several values are looked at with one instruction.
    """
    low = np.int64(MOST_SCALED)
    high = np.int64(-MOST_SCALED)
    again = np.empty_like(values[:1])
    for first in range(0, len(values), _STRETCH):
        wrong = 0
        for i in range(first, min(first + _STRETCH, len(values))):
            real = float(values[i])
            number = np.rint(real * scale)
            again[0] = number / scale  # rounded to the type of the values
            minus_zero = (number == 0.0) & (np.copysign(1.0, real) < 0.0)
            wrong |= (again[0] != values[i]) | (abs(number) > MOST_SCALED) | minus_zero
            low = min(low, np.int64(number))
            high = max(high, np.int64(number))
        if wrong:
            return False, low, high
    return True, low, high


@kernel
def count_bytes(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    total: npt.NDArray[np.int64],
) -> None:
    """Add to total[shards] the bytes of a string column that each shard receives from one block."""
    for s in range(len(total)):
        length = np.int64(0)
        for j in range(starts[s], starts[s + 1]):
            row = order[j]
            length += offsets[row + 1] - offsets[row]
        total[s] += length


@kernel
def gather_strings(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int32],
    base: npt.NDArray[np.int64],
    used: npt.NDArray[np.int64],
    out_offsets: npt.NDArray[np.int32],
    out_data: npt.NDArray[np.uint8],
) -> None:
    """Copy the strings of one block. Shard s's bytes begin at base[s], of which used[s] are taken.

    Shard s's offsets stand at out_offsets[at[s] + s + 1 ...] (every shard has one more offset than rows) and count from
    base[s].
    """
    safe = len(data) - 8
    source = address_of(data)
    target = address_of(out_data)
    for s in range(len(at)):
        shift = at[s] - starts[s] + s + 1
        to = base[s] + used[s]
        for j in range(starts[s], starts[s + 1]):
            row = order[j]
            start = np.int64(offsets[row])
            length = np.int64(offsets[row + 1]) - start
            done = np.int64(0)
            while done < length and start + done <= safe:
                store_word(target + to + done, load_word(source + start + done))
                done += 8
            while done < length:  # the last string of a buffer without spare bytes
                out_data[to + done] = data[start + done]
                done += 1
            to += length
            out_offsets[j + shift] = to - base[s]
        used[s] = to - base[s]


@kernel
def gather_sparse(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    index: npt.NDArray[np.int32],
    out_index: npt.NDArray[np.int32],
) -> None:
    """Gather which text (-1 none) each row has; `index` is empty when no row of the block has one."""
    for s in range(len(at)):
        shift = at[s] - starts[s]
        for j in range(starts[s], starts[s + 1]):
            out_index[j + shift] = index[order[j]] if len(index) else -1


@kernel
def measure_texts(
    index: npt.NDArray[np.int32], text_offsets: npt.NDArray[np.int64], out_offsets: npt.NDArray[np.int64]
) -> None:
    """Offsets (one more than rows) of the texts that `index` names, -1 being none."""
    total = np.int64(0)
    out_offsets[0] = 0
    for k in range(len(index)):
        if index[k] >= 0:
            total += text_offsets[index[k] + 1] - text_offsets[index[k]]
        out_offsets[k + 1] = total


@kernel
def copy_texts(
    index: npt.NDArray[np.int32],
    text: npt.NDArray[np.uint8],
    text_offsets: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> None:
    """The bytes that belong to the offsets of `measure_texts`, one text after the other."""
    to = np.int64(0)
    for k in range(len(index)):
        if index[k] >= 0:
            start = text_offsets[index[k]]
            stop = text_offsets[index[k] + 1]
            out[to : to + stop - start] = text[start:stop]
            to += stop - start


@kernel
def collect_codes(
    codes: npt.NDArray[np.int32], seen: npt.NDArray[np.int64], stamp: int, found: npt.NDArray[np.int32], count: int
) -> tuple[int, bool]:
    """Add the distinct codes >= 0 to the `count` that are in `found`; how many there are then, and whether any was -1.

    `seen` has one entry for each code of the table and is stamped, so that it needs no clearing between frames.
    """
    missing = False
    for k in range(len(codes)):
        code = codes[k]
        if code < 0:
            missing = True
        elif seen[code] != stamp:
            seen[code] = stamp
            found[count] = code
            count += 1
    return count, missing


@kernel
def renumber(
    codes: npt.NDArray[np.int32],
    found: npt.NDArray[np.int32],
    number_of: npt.NDArray[np.int32],
    bits: npt.NDArray[np.uint8],
) -> int:
    """Replace codes by their index in `found` (0 for -1), set a bit for each that is not -1, return how many are -1.

    `bits` is zero and has room for one bit a row; `number_of` has one entry for each code of the table.
    """
    for i in range(len(found)):
        number_of[found[i]] = i
    missing = 0
    for k in range(len(codes)):
        code = codes[k]
        if code >= 0:
            codes[k] = number_of[code]
            bits[k >> 3] |= np.uint8(1 << (k & 7))
        else:
            codes[k] = 0
            missing += 1
    return missing
