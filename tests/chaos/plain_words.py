"""The kernels' memory, read and written by plain Python, every access checked: for fuzzing them without compiling.

With NUMBA_DISABLE_JIT=1 a kernel is the Python function that it was written as, but the words of memory that it takes
by address (streams/words.py) exist as machine code only. `install`, called before anything imports the kernels, puts
Python functions in their place, which know the arrays whose addresses were taken and refuse any other place: the
bounds that compiled kernels do not check.
"""

from __future__ import annotations

import bisect
import ctypes
from typing import Any

import numpy as np

from streams import words

_starts: list[int] = []
_ends: list[int] = []


class OutOfBounds(Exception):
    """A kernel read or wrote where no array of its own is."""


def install() -> None:
    """From now on; kernels must not have been imported yet."""
    words.address_of = _address_of
    words.load_byte = lambda at: ctypes.c_uint8.from_address(_checked(at, 1)).value
    words.load_half = lambda at: ctypes.c_uint32.from_address(_checked(at, 4)).value
    words.load_word = lambda at: np.uint64(ctypes.c_uint64.from_address(_checked(at, 8)).value)
    words.load_int = lambda at: ctypes.c_int64.from_address(_checked(at, 8)).value
    words.store_byte = _store_byte
    words.store_half = _store_half
    words.store_word = _store_word
    words.trailing_zeros = _trailing_zeros
    words.as_int = lambda word: int(np.uint64(word).astype(np.int64))
    from streams import reals, strings

    reals.store_int = _store_int
    allocate = strings.StringTable._allocate

    def known(self: strings.StringTable, room: int, arena_bytes: int) -> None:
        allocate(self, room, arena_bytes)
        for array in (self.arena, self.starts, self.lengths, self.slots, self.header):
            know(array)

    setattr(strings.StringTable, "_allocate", known)  # noqa: B010


def know(array: np.ndarray[Any, Any]) -> None:
    """Kernels may read and write this array."""
    start = array.ctypes.data
    at = bisect.bisect_left(_starts, start)
    if at < len(_starts) and _starts[at] == start:
        _ends[at] = start + array.nbytes
    else:
        _starts.insert(at, start)
        _ends.insert(at, start + array.nbytes)


def forget() -> None:
    """No array is known any more: before each call, so that freed memory is not taken for somebody's."""
    _starts.clear()
    _ends.clear()


def _address_of(array: np.ndarray[Any, Any]) -> Any:
    know(array)
    return np.int64(array.ctypes.data)  # so that sums with narrow integers are as wide as they are when compiled


def _checked(at: Any, size: int) -> int:
    place = int(at)
    found = bisect.bisect_right(_starts, place) - 1
    if found < 0 or place + size > _ends[found]:
        raise OutOfBounds(f"{size} bytes at {place}, {place - _ends[found]} behind the array before it")
    return place


def _store_byte(at: Any, value: Any) -> None:
    ctypes.c_uint8.from_address(_checked(at, 1)).value = int(value) & 0xFF


def _store_half(at: Any, value: Any) -> None:
    ctypes.c_uint32.from_address(_checked(at, 4)).value = int(value) & 0xFFFFFFFF


def _store_word(at: Any, value: Any) -> None:
    ctypes.c_uint64.from_address(_checked(at, 8)).value = int(value)


def _store_int(at: Any, value: Any) -> None:
    ctypes.c_int64.from_address(_checked(at, 8)).value = int(value)


def _trailing_zeros(word: Any) -> int:
    value = int(word)
    return (value & -value).bit_length() - 1 if value else 64
