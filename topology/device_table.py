"""Where in a register's columns an id is: a hash table over the bytes of all ids, made once.

A slot holds a row plus one and the upper half of its id's hash, 0 where free; so most other ids are told apart without
a look at the columns, which lie elsewhere in memory. Equal hashes are never enough: ids are compared byte by byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from topology.device_columns import Bytes, Columns, IntArray
from topology.jit import kernel
from topology.shards import fnv1a64

Offsets = npt.NDArray[np.int32]
RowArray = npt.NDArray[np.int32]
HashArray = npt.NDArray[np.uint64]
FloatArray = npt.NDArray[np.float64]

NOT_REGISTERED: Final = -1
_ROW: Final = np.uint64(0xFFFFFFFF)
_TAG: Final = np.uint64(0xFFFFFFFF00000000)
_FREE: Final = np.uint64(0)


@dataclass(frozen=True, slots=True)
class IdTable:
    """`slots` uint64[a power of two]; `repeats` int64[m, 2] are rows whose id an earlier row has, with that row."""

    slots: HashArray
    repeats: IntArray

    @classmethod
    def of(cls, columns: Columns) -> IdTable:
        # at most two thirds full, so that the id of an unregistered device meets a free slot soon
        slots = np.zeros(1 << max(4, (len(columns) * 3 // 2).bit_length()), dtype=np.uint64)
        repeats = np.empty((len(columns), 2), dtype=np.int64)  # untouched memory costs nothing
        count = _fill_table(columns.data, columns.starts, slots, repeats)
        return cls(slots, repeats[:count].copy())


# --- kernels ---------------------------------------------------------------------------------------------------------


@kernel
def _home(id_hash: np.uint64, mask: int) -> int:
    return np.int64((id_hash ^ (id_hash >> np.uint64(32))) & np.uint64(mask))  # type: ignore[return-value]


@kernel
def slot_of(id_hash: np.uint64, row: int) -> np.uint64:
    """What stands in the slot of `row`."""
    return np.uint64((id_hash & _TAG) | np.uint64(row + 1))


@kernel
def _fill_table(arena: Bytes, starts: IntArray, slots: HashArray, repeats: IntArray) -> int:
    """Put every row in; of equal ids the first. Returns the number of repeats."""
    count = 0
    mask = slots.shape[0] - 1
    for row in range(starts.shape[0] - 1):
        id_hash = fnv1a64(arena, starts[row], starts[row + 1])
        first = _probe(arena, starts[row], starts[row + 1], id_hash, arena, starts, slots)
        if first >= 0:
            repeats[count, 0] = row
            repeats[count, 1] = first
            count += 1
            continue
        slot = _home(id_hash, mask)
        while slots[slot] != _FREE:
            slot = (slot + 1) & mask
        slots[slot] = slot_of(id_hash, row)
    return count


@kernel
def _probe(
    data: Bytes, start: int, end: int, id_hash: np.uint64, arena: Bytes, starts: IntArray, slots: HashArray
) -> int:
    mask = slots.shape[0] - 1
    slot = _home(id_hash, mask)
    while slots[slot] != _FREE:
        if (slots[slot] ^ id_hash) & _TAG == _FREE:
            row = np.int64(slots[slot] & _ROW) - 1
            at = starts[row]
            if starts[row + 1] - at == end - start:
                same = True
                for i in range(end - start):
                    if data[start + i] != arena[at + i]:
                        same = False
                        break
                if same:
                    return int(row)
        slot = (slot + 1) & mask
    return NOT_REGISTERED


@kernel
def find_row(data: Bytes, start: int, end: int, arena: Bytes, starts: IntArray, slots: HashArray) -> int:
    """Row of the id data[start:end], `NOT_REGISTERED` if it is not in the table. Equal hashes are not enough."""
    return _probe(data, start, end, fnv1a64(data, start, end), arena, starts, slots)


@kernel
def fill_rows(data: Bytes, offsets: Offsets, arena: Bytes, starts: IntArray, slots: HashArray, out: RowArray) -> None:
    """The row of each id data[offsets[i]:offsets[i + 1]]."""
    for i in range(out.shape[0]):
        out[i] = find_row(data, offsets[i], offsets[i + 1], arena, starts, slots)


@kernel
def fill_places(
    data: Bytes,
    offsets: Offsets,
    need: npt.NDArray[np.bool_],
    arena: Bytes,
    starts: IntArray,
    slots: HashArray,
    places: FloatArray,
    lon: FloatArray,
    lat: FloatArray,
    found: npt.NDArray[np.bool_],
) -> np.uint64:
    """Where each id that is needed stands; NaN where it is not needed or not registered.

    What it returns means nothing: it keeps the compiler from leaving out the loop that only touches memory.
    """
    hashes = np.empty(found.shape[0], dtype=np.uint64)
    mask = slots.shape[0] - 1
    # A large table is not in any cache. To touch all slots first, one independent of the other, lets the processor wait
    # for many of them at once.
    touched = _FREE
    for i in range(found.shape[0]):
        if need[i]:
            hashes[i] = fnv1a64(data, offsets[i], offsets[i + 1])
            touched ^= slots[_home(hashes[i], mask)]
    for i in range(found.shape[0]):
        row = NOT_REGISTERED
        if need[i]:
            row = _probe(data, offsets[i], offsets[i + 1], hashes[i], arena, starts, slots)
        found[i] = row >= 0
        lon[i] = places[row, 0] if row >= 0 else np.nan
        lat[i] = places[row, 1] if row >= 0 else np.nan
    return touched
