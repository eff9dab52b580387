"""Strings that repeat (kinds, units, device types) as small integer codes, one table per column and process.

The table lives in numpy arrays, so that a kernel can look a string up, and add it, without the interpreter. It only ever
grows, and codes stay valid, until its owner calls `clear()` at a moment when nobody holds a code any more (`crowded` says
when that is due: a producer that makes up a new metric name for every record must not fill the memory).
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from streams.words import PADDING, load_word, padded, store_word
from topology.jit import kernel

MISSING = -1
"""What a look-up gives for a string that is not there (and for which, when adding, there is no room)."""

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]

_COUNT, _ARENA_USED, _SEED = 0, 1, 2
_HASH_PRIME = np.uint64(0x9E3779B97F4A7C15)


class StringTable:
    """Distinct strings, coded 0, 1, 2 ... in the order of their first appearance.

    Arrays (replaced when the table grows, so fetch them anew for every kernel call; hold no view across `add`):
    `arena` the UTF-8 bytes, each string zero-padded to whole words; `starts` and `lengths` int32 per code; `slots` the
    hash table, code + 1 or 0 for empty; `state` int64 [count, arena bytes used, hash seed]. The seed is random per table,
    so that nobody can send strings chosen to collide.

    Not for use from two threads at once.
    """

    __slots__ = ("_values", "arena", "crowded_at", "generation", "lengths", "slots", "starts", "state")

    def __init__(self, *, room: int = 1024, crowded_at: int = 65_536) -> None:
        self.crowded_at = crowded_at
        self.generation = 0
        """Grows by one with each `clear()`: whoever caches something per code compares it."""
        self._values: list[str] = []
        self._allocate(room, room * 32)

    def _allocate(self, room: int, arena_bytes: int) -> None:
        slots = 16
        while slots < 2 * room:
            slots *= 2
        self.arena: Bytes = np.zeros(arena_bytes + PADDING, dtype=np.uint8)
        self.starts: Ints = np.zeros(room, dtype=np.int32)
        self.lengths: Ints = np.zeros(room, dtype=np.int32)
        self.slots: Ints = np.zeros(slots, dtype=np.int32)
        self.state: npt.NDArray[np.int64] = np.array([0, 0, secrets.randbits(62)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.state[_COUNT])

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
        buffer = padded(data)
        code = int(intern(buffer, 0, len(data), self.arena, self.starts, self.lengths, self.slots, self.state))
        if code == MISSING:
            self._grow(len(data))
            code = int(intern(buffer, 0, len(data), self.arena, self.starts, self.lengths, self.slots, self.state))
        return code

    def find(self, text: str) -> int:
        """The code of `text`, or `MISSING`."""
        data = text.encode()
        return int(lookup(padded(data), 0, len(data), self.arena, self.starts, self.lengths, self.slots, self.state))

    def clear(self) -> None:
        """Forget every string and code, and start a new generation."""
        self.generation += 1
        self._values = []
        self._allocate(1024, 1024 * 32)

    def _grow(self, needed: int) -> None:
        values = list(self.values)
        self._allocate(2 * len(self.starts), 2 * len(self.arena) + needed)
        for text in values:
            self.add(text)


@kernel
def hash_words(buffer: Bytes, start: int, length: int, seed: int) -> np.uint64:
    """Hash of `length` bytes from `start`; reads whole words, the last one masked."""
    h = np.uint64(seed) ^ np.uint64(length)
    position = start
    left = length
    while left >= 8:
        h = (h ^ load_word(buffer, position)) * _HASH_PRIME
        h ^= h >> np.uint64(32)
        position += 8
        left -= 8
    if left > 0:
        mask = (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
        h = (h ^ (load_word(buffer, position) & mask)) * _HASH_PRIME
        h ^= h >> np.uint64(32)
    h *= _HASH_PRIME
    return h ^ (h >> np.uint64(32))


@kernel
def same_bytes(buffer: Bytes, start: int, arena: Bytes, arena_start: int, length: int) -> bool:
    """Whether `length` bytes are equal; `arena` entries are zero-padded to whole words."""
    offset = 0
    while length - offset >= 8:
        if load_word(buffer, start + offset) != load_word(arena, arena_start + offset):
            return False
        offset += 8
    left = length - offset
    if left > 0:
        mask = (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
        if (load_word(buffer, start + offset) & mask) != load_word(arena, arena_start + offset):
            return False
    return True


@kernel
def lookup(
    buffer: Bytes,
    start: int,
    length: int,
    arena: Bytes,
    starts: Ints,
    lengths: Ints,
    slots: Ints,
    state: npt.NDArray[np.int64],
) -> int:
    """The code of buffer[start:start+length], or `MISSING`."""
    last_slot = len(slots) - 1
    slot = np.int64(hash_words(buffer, start, length, state[_SEED])) & last_slot
    while True:
        code: int = slots[slot] - 1
        if code < 0:
            return MISSING
        if lengths[code] == length and same_bytes(buffer, start, arena, starts[code], length):
            return code
        slot = (slot + 1) & last_slot


@kernel
def intern(
    buffer: Bytes,
    start: int,
    length: int,
    arena: Bytes,
    starts: Ints,
    lengths: Ints,
    slots: Ints,
    state: npt.NDArray[np.int64],
) -> int:
    """The code of buffer[start:start+length], added if it is new; `MISSING` if it is new and there is no room."""
    last_slot = len(slots) - 1
    slot = np.int64(hash_words(buffer, start, length, state[_SEED])) & last_slot
    while True:
        code: int = slots[slot] - 1
        if code < 0:
            break
        if lengths[code] == length and same_bytes(buffer, start, arena, starts[code], length):
            return code
        slot = (slot + 1) & last_slot
    code = state[_COUNT]
    used = state[_ARENA_USED]
    whole = (length + 7) & ~7
    if code >= len(starts) or used + whole > len(arena) - PADDING:
        return MISSING
    offset = 0
    while length - offset >= 8:
        store_word(arena, used + offset, load_word(buffer, start + offset))
        offset += 8
    left = length - offset
    if left > 0:
        mask = (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
        store_word(arena, used + offset, load_word(buffer, start + offset) & mask)
    starts[code] = used
    lengths[code] = length
    slots[slot] = code + 1
    state[_COUNT] = code + 1
    state[_ARENA_USED] = used + whole
    return code
