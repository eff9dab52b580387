"""Strings that repeat (kinds, units, device types) as small integer codes, one table per column and process.

The table lives in numpy arrays, so that a kernel can look a string up, and add it, without the interpreter. It only
ever grows, and codes stay valid, until its owner calls `clear()` at a moment when nobody holds a code any more
(`crowded` says when that is due: a producer that makes up a new metric name for every record must not fill the
memory).
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from streams.words import (
    PADDING,
    address_of,
    as_int,
    load_half,
    load_int,
    load_word,
    padded,
    store_half,
    store_word,
)
from topology.jit import kernel

MISSING = -1
"""What a look-up gives for a string that is not there (and for which, when adding, there is no room)."""

# Entries of a table's header, all int64; addresses are those of the arrays' first elements.
_COUNT, _ARENA_USED, _SEED, _ROOM, _ARENA_ROOM, _LAST_SLOT, _ARENA, _STARTS, _LENGTHS, _SLOTS = range(10)
_HASH_PRIME = np.uint64(0x9E3779B97F4A7C15)
_FIRST_ROOM = 1024
_FIRST_BYTES_EACH = 32


class StringTable:
    """Distinct strings, coded 0, 1, 2 ... in the order of their first appearance.

    Arrays: `arena` the UTF-8 bytes, each string zero-padded to whole words; `starts` and `lengths` int32 per code;
    `slots` the hash table, code + 1 or 0 for empty; `header` what a kernel needs to find its way (`intern`, `lookup`).
    The hash has a random seed per table, so that nobody can send strings chosen to collide. All arrays but the header
    are replaced when the table grows.

    Not for use from two threads at once.
    """

    __slots__ = ("_values", "arena", "crowded_at", "generation", "header", "lengths", "slots", "starts")

    def __init__(self, *, room: int = _FIRST_ROOM, crowded_at: int = 65_536) -> None:
        self.crowded_at = crowded_at
        self.generation = 0
        """Grows by one with each `clear()`: whoever caches something per code compares it."""
        self.header: npt.NDArray[np.int64] = np.zeros(10, dtype=np.int64)
        self._allocate(room, room * _FIRST_BYTES_EACH)

    def _allocate(self, room: int, arena_bytes: int) -> None:
        slots = 16
        while slots < 2 * room:
            slots *= 2
        self._values: list[str] = []
        self.arena: npt.NDArray[np.uint8] = np.zeros(arena_bytes + PADDING, dtype=np.uint8)
        self.starts: npt.NDArray[np.int32] = np.zeros(room, dtype=np.int32)
        self.lengths: npt.NDArray[np.int32] = np.zeros(room, dtype=np.int32)
        self.slots: npt.NDArray[np.int32] = np.zeros(slots, dtype=np.int32)
        self.header[_COUNT] = 0
        self.header[_ARENA_USED] = 0
        self.header[_SEED] = secrets.randbits(62)
        self.header[_ROOM] = room
        self.header[_ARENA_ROOM] = arena_bytes
        self.header[_LAST_SLOT] = slots - 1
        self.header[_ARENA] = self.arena.ctypes.data
        self.header[_STARTS] = self.starts.ctypes.data
        self.header[_LENGTHS] = self.lengths.ctypes.data
        self.header[_SLOTS] = self.slots.ctypes.data

    def __len__(self) -> int:
        return int(self.header[_COUNT])

    @property
    def values(self) -> list[str]:
        """All strings by code. The list is the table's own and grows in place; do not change it."""
        for code in range(len(self._values), len(self)):
            start = int(self.starts[code])
            self._values.append(self.arena[start : start + int(self.lengths[code])].tobytes().decode())
        return self._values

    @property
    def crowded(self) -> bool:
        """More strings than an honest city has: `clear()` as soon as no code is held anywhere."""
        return len(self) > self.crowded_at

    def add(self, text: str) -> int:
        """The code of `text`, adding it (and growing the table) when it is new."""
        data = text.encode()
        code = intern_bytes(padded(data), len(data), self.header)
        if code == MISSING:
            self._grow(len(data))
            code = intern_bytes(padded(data), len(data), self.header)
        return code

    def find(self, text: str) -> int:
        """The code of `text`, or `MISSING`."""
        data = text.encode()
        return lookup_bytes(padded(data), len(data), self.header)

    def clear(self) -> None:
        """Forget every string and code, and start a new generation."""
        self.generation += 1
        self._allocate(_FIRST_ROOM, _FIRST_ROOM * _FIRST_BYTES_EACH)

    def _grow(self, needed: int) -> None:
        values = list(self.values)
        self._allocate(2 * len(self.starts), 2 * len(self.arena) + needed)
        for text in values:
            self.add(text)


@kernel
def hash_words(at: int, length: int, seed: int) -> np.uint64:
    """Hash of `length` bytes at address `at`; reads whole words, the last one masked."""
    h = np.uint64(seed) ^ np.uint64(length)
    left = length
    while left >= 8:
        h = (h ^ load_word(at)) * _HASH_PRIME
        h ^= h >> np.uint64(32)
        at += 8
        left -= 8
    if left > 0:
        h = (h ^ (load_word(at) & _first_bytes(left))) * _HASH_PRIME
        h ^= h >> np.uint64(32)
    h *= _HASH_PRIME
    return h ^ (h >> np.uint64(32))


@kernel
def _first_bytes(count: int) -> np.uint64:
    """The mask of a word's first 1 to 7 bytes."""
    return (np.uint64(1) << np.uint64(8 * count)) - np.uint64(1)


@kernel
def _same(at: int, stored_at: int, length: int) -> bool:
    """Whether `length` bytes are equal; stored ones are zero-padded to whole words."""
    while length >= 8:
        if load_word(at) != load_word(stored_at):
            return False
        at += 8
        stored_at += 8
        length -= 8
    if length == 0:
        return True
    same: bool = (load_word(at) & _first_bytes(length)) == load_word(stored_at)
    return same


@kernel
def _find(at: int, length: int, header_at: int) -> tuple[int, int]:
    """The code of a string, or MISSING and the address of the slot where it belongs."""
    last_slot = load_int(header_at + 8 * _LAST_SLOT)
    slots_at = load_int(header_at + 8 * _SLOTS)
    lengths_at = load_int(header_at + 8 * _LENGTHS)
    slot = as_int(hash_words(at, length, load_int(header_at + 8 * _SEED))) & last_slot
    while True:
        slot_at = slots_at + 4 * slot
        code = load_half(slot_at) - 1
        if code < 0:
            return MISSING, slot_at
        if load_half(lengths_at + 4 * code) == length:
            stored_at = load_int(header_at + 8 * _ARENA) + load_half(load_int(header_at + 8 * _STARTS) + 4 * code)
            if _same(at, stored_at, length):
                return code, slot_at
        slot = (slot + 1) & last_slot


@kernel
def lookup(at: int, length: int, header_at: int) -> int:
    """The code of the `length` bytes at address `at` in the table whose header is at `header_at`, or `MISSING`."""
    code, _ = _find(at, length, header_at)
    return code


@kernel
def intern(at: int, length: int, header_at: int) -> int:
    """As `lookup`, but a new string is added; `MISSING` when there is no room for it."""
    code, slot_at = _find(at, length, header_at)
    if code >= 0:
        return code
    code = load_int(header_at + 8 * _COUNT)
    used = load_int(header_at + 8 * _ARENA_USED)
    whole = (length + 7) & ~7
    if code >= load_int(header_at + 8 * _ROOM) or used + whole > load_int(header_at + 8 * _ARENA_ROOM):
        return MISSING
    to = load_int(header_at + 8 * _ARENA) + used
    for step in range(0, length & ~7, 8):
        store_word(to + step, load_word(at + step))
    left = length & 7
    if left > 0:
        store_word(to + length - left, load_word(at + length - left) & _first_bytes(left))
    store_half(load_int(header_at + 8 * _STARTS) + 4 * code, used)
    store_half(load_int(header_at + 8 * _LENGTHS) + 4 * code, length)
    store_half(slot_at, code + 1)
    store_word(header_at + 8 * _COUNT, np.uint64(code + 1))
    store_word(header_at + 8 * _ARENA_USED, np.uint64(used + whole))
    return code


@kernel
def lookup_bytes(data: npt.NDArray[np.uint8], length: int, header: npt.NDArray[np.int64]) -> int:
    """`lookup` of the first bytes of an array that has `PADDING` bytes more."""
    return lookup(address_of(data), length, address_of(header))


@kernel
def intern_bytes(data: npt.NDArray[np.uint8], length: int, header: npt.NDArray[np.int64]) -> int:
    """`intern` of the first bytes of an array that has `PADDING` bytes more."""
    return intern(address_of(data), length, address_of(header))
