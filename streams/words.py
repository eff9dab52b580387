"""Memory read and written by address inside numba kernels: bytes, unaligned little-endian words, trailing zeros.

A kernel that hands an array to another one pays for reference counting, two atomic operations per array and call; that
was nine tenths of the time of the record kernels. So they take the address of an array once, and hand addresses on,
which are plain integers.

Nothing here checks bounds or keeps memory alive: the array whose address is taken must outlive the kernel's call, with
`PADDING` spare bytes behind its last byte where words are read. So it is an argument or a constant, never an array that
the kernel makes: numba frees that after its last mention, and an address is none (tests/test_repository.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Int = int | np.integer[Any]

PADDING: Final = 64
"""Spare bytes a buffer needs at its end, so that a word load that starts on its last byte stays inside."""

if sys.byteorder != "little":
    raise ImportError("streams.words reads words as little-endian; this machine is big-endian")

_BYTE = ir.IntType(8)
_HALF = ir.IntType(32)
_WORD = ir.IntType(64)


def _address_of(typing_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        struct = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(struct.data, _WORD)

    return types.int64(array), generate


def _loader(width: Any, result: Any) -> Any:
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            loaded = builder.load(builder.inttoptr(args[0], width.as_pointer()), align=1)
            return loaded if width is _WORD else builder.zext(loaded, _WORD)

        return result(types.int64), generate

    return load


def _storer(width: Any) -> Any:
    def store(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[1] if width is _WORD else builder.trunc(args[1], width)
            builder.store(value, builder.inttoptr(args[0], width.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.uint64 if width is _WORD else types.int64), generate

    return store


def _trailing_zeros(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def _as_int(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[0]

    return types.int64(types.uint64), generate


# numba's `intrinsic` is untyped; the annotations say what kernels see.
address_of: Callable[[npt.NDArray[Any]], int] = cast("Any", intrinsic(_address_of))
"""address_of(array) -> int: of its first element."""
load_byte: Callable[[Int], int] = cast("Any", intrinsic(_loader(_BYTE, types.int64)))
"""load_byte(address) -> int, 0 to 255."""
load_half: Callable[[Int], int] = cast("Any", intrinsic(_loader(_HALF, types.int64)))
"""load_half(address) -> int: an unsigned 32-bit number."""
load_word: Callable[[Int], np.uint64] = cast("Any", intrinsic(_loader(_WORD, types.uint64)))
"""load_word(address) -> uint64: eight bytes, the first one lowest."""
load_int: Callable[[Int], int] = cast("Any", intrinsic(_loader(_WORD, types.int64)))
"""load_int(address) -> int: an element of an int64 array."""
store_byte: Callable[[Int, Int], None] = cast("Any", intrinsic(_storer(_BYTE)))
"""store_byte(address, int)."""
store_half: Callable[[Int, Int], None] = cast("Any", intrinsic(_storer(_HALF)))
"""store_half(address, int): 32 bits of it."""
store_word: Callable[[Int, np.uint64], None] = cast("Any", intrinsic(_storer(_WORD)))
"""store_word(address, uint64)."""
trailing_zeros: Callable[[np.uint64], int] = cast("Any", intrinsic(_trailing_zeros))
"""trailing_zeros(uint64) -> int: 64 for zero."""
as_int: Callable[[np.uint64], int] = cast("Any", intrinsic(_as_int))
"""as_int(uint64) -> int with the same 64 bits."""


def padded(data: bytes) -> npt.NDArray[np.uint8]:
    """A copy of `data` with the spare bytes that word loads need."""
    buffer = np.zeros(len(data) + PADDING, dtype=np.uint8)
    buffer[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    return buffer
