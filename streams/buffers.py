"""Large buffers that are used again as soon as nobody looks at them: fresh memory costs more than filling it.

Every page of a new buffer of megabytes is a fault and is cleared by the kernel: measured, a fourth of a nanosecond a
byte, several times what a copy costs. What is handed out is a view; a buffer is free again when no view of it is left,
which its reference count says, so nobody has to give anything back and nothing is overwritten under a reader.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

SMALLEST: Final = 64 * 1024
"""Smaller ones are made anew: the allocator keeps such memory by itself."""
STEP: Final = 1024 * 1024
"""Buffers are made in whole steps of this, so that one fits the next response or frame, too."""
FORGET_AFTER: Final = 64
"""Leases without need of a buffer: what a burst has made is not kept for ever, on each of a worker's connections."""
_ALIGNED_TO: Final = 64


class Buffers:
    """A few buffers of at most `most_bytes` together. For one thread's use; views may be let go of in any."""

    __slots__ = ("_held", "_leases", "_most_bytes", "_used_at")

    def __init__(self, most_bytes: int = 32 * 1024 * 1024) -> None:
        self._most_bytes = most_bytes
        self._held: list[npt.NDArray[np.uint8]] = []
        self._used_at: list[int] = []  # of each, the number of its last lease
        self._leases = 0

    def lease(self, size: int) -> npt.NDArray[np.uint8]:
        """`size` bytes of any content, one's own for as long as one keeps them or a view of them."""
        if size < SMALLEST or size > self._most_bytes:
            return np.empty(size, dtype=np.uint8)
        self._leases += 1
        sizes = [(len(held), at) for at, held in enumerate(self._held) if len(held) >= size]
        for _, at in sorted(sizes):
            if _is_free(self._held, at):
                self._used_at[at] = self._leases
                found = self._held[at][:size]
                self._forget()
                return found
        made = np.empty(-(-size // STEP) * STEP, dtype=np.uint8)
        self._make_room(len(made))
        self._held.append(made)
        self._used_at.append(self._leases)
        return made[:size]

    def _forget(self) -> None:
        """Let go of the buffer that was needed longest ago, if nobody looks at it and that was long ago."""
        at = self._used_at.index(min(self._used_at))
        if self._leases - self._used_at[at] > FORGET_AFTER and _is_free(self._held, at):
            self._drop(at)

    def _drop(self, at: int) -> int:
        """Its bytes."""
        self._used_at.pop(at)
        return len(self._held.pop(at))

    def _make_room(self, size: int) -> None:
        """Let go of older buffers, free ones first, so that one more of this size is within bounds."""
        excess = size + sum(map(len, self._held)) - self._most_bytes
        for only_free in (True, False):
            at = 0
            while excess > 0 and at < len(self._held):
                if only_free and not _is_free(self._held, at):
                    at += 1
                else:
                    excess -= self._drop(at)


class Room:
    """Several columns in one leased piece, which is free again when none of them is left."""

    __slots__ = ("_data", "_used")

    def __init__(self, buffers: Buffers, size: int, columns: int) -> None:
        """For so many columns of `size` bytes together."""
        self._data = buffers.lease(size + columns * _ALIGNED_TO)
        self._used = 0

    def column(self, kind: type[np.generic], count: int) -> npt.NDArray[Any]:
        """A column of `count` elements of any content."""
        size = count * np.dtype(kind).itemsize
        if self._used + size > len(self._data):
            raise ValueError(f"streams/buffers: {size} bytes wanted, {len(self._data) - self._used} are left of a room")
        made = self._data[self._used : self._used + size].view(kind)
        self._used += -(-size // _ALIGNED_TO) * _ALIGNED_TO
        return made


def _is_free(held: list[npt.NDArray[np.uint8]], at: int) -> bool:
    """Whether nothing but the list knows the array."""
    return sys.getrefcount(held[at]) <= _ALONE


_PROBE: Final = [np.empty(1, dtype=np.uint8)]
_ALONE: Final = sys.getrefcount(_PROBE[0])
"""What is counted for an array that only a list knows."""
