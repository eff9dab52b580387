"""The kernels under `streams.frames`: sort rows by shard, gather columns, copy strings, compact codes, pack bits.

A row is written once for the shard that owns its cell and once more for each neighbour shard in whose reach it lies (a
halo copy). "Destinations" below counts both. All sorts are stable: rows of one block keep their offset order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.words import address_of, load_word, store_word
from topology.jit import kernel

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
def gather_words(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    event_at: npt.NDArray[np.int64],
    received_at: npt.NDArray[np.int64],
    cell: npt.NDArray[np.int64],
    offset: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
    out_event_at: npt.NDArray[np.int64],
    out_received_at: npt.NDArray[np.int64],
    out_cell: npt.NDArray[np.int64],
    out_offset: npt.NDArray[np.int64],
    out_value: npt.NDArray[np.float64],
) -> None:
    """Write the eight-byte columns of one block to their places; at[s] is where shard s is written next."""
    for s in range(len(at)):
        shift = at[s] - starts[s]
        for j in range(starts[s], starts[s + 1]):
            row = order[j]
            k = j + shift
            out_event_at[k] = event_at[row]
            out_received_at[k] = received_at[row]
            out_cell[k] = cell[row]
            out_offset[k] = offset[row]
            out_value[k] = value[row]


@kernel
def gather_small(
    order: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    source: int,
    partition: int,
    halo_flag: int,
    shard: npt.NDArray[np.int32],
    kind: npt.NDArray[np.int32],
    unit: npt.NDArray[np.int32],
    device_type: npt.NDArray[np.int32],
    confidence: npt.NDArray[np.float32],
    lon_e7: npt.NDArray[np.int32],
    lat_e7: npt.NDArray[np.int32],
    flags: npt.NDArray[np.uint16],
    quality: npt.NDArray[np.uint8],
    out_source: npt.NDArray[np.int8],
    out_partition: npt.NDArray[np.int32],
    out_kind: npt.NDArray[np.int32],
    out_unit: npt.NDArray[np.int32],
    out_device_type: npt.NDArray[np.int32],
    out_confidence: npt.NDArray[np.float32],
    out_lon_e7: npt.NDArray[np.int32],
    out_lat_e7: npt.NDArray[np.int32],
    out_flags: npt.NDArray[np.uint16],
    out_quality: npt.NDArray[np.uint8],
) -> None:
    """Write the narrower columns of one block to their places, and mark the copies for other shards HALO."""
    for s in range(len(at)):
        shift = at[s] - starts[s]
        for j in range(starts[s], starts[s + 1]):
            row = order[j]
            k = j + shift
            out_kind[k] = kind[row]
            out_unit[k] = unit[row]
            out_device_type[k] = device_type[row]
            out_confidence[k] = confidence[row]
            out_lon_e7[k] = lon_e7[row]
            out_lat_e7[k] = lat_e7[row]
            out_flags[k] = flags[row] if shard[row] == s else flags[row] | halo_flag
            out_quality[k] = quality[row]
        for k in range(starts[s] + shift, starts[s + 1] + shift):
            out_source[k] = source
            out_partition[k] = partition


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
    out_offsets: npt.NDArray[np.int64],
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
    codes: npt.NDArray[np.int32], seen: npt.NDArray[np.int64], stamp: int, found: npt.NDArray[np.int32]
) -> int:
    """The distinct codes >= 0 into `found`, and how many there are.

    `seen` has one entry for each code of the table and is stamped, so that it needs no clearing between frames.
    """
    count = 0
    for k in range(len(codes)):
        code = codes[k]
        if code >= 0 and seen[code] != stamp:
            seen[code] = stamp
            found[count] = code
            count += 1
    return count


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


@kernel
def pack_present(index: npt.NDArray[np.int32], bits: npt.NDArray[np.uint8]) -> int:
    """Set a bit for each entry >= 0 in the zeroed `bits`, and return how many entries are not."""
    missing = 0
    for k in range(len(index)):
        if index[k] >= 0:
            bits[k >> 3] |= np.uint8(1 << (k & 7))
        else:
            missing += 1
    return missing
