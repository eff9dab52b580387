"""Eight bytes at a time inside numba kernels: unaligned little-endian loads and stores, and counting trailing zeros.

Nothing here checks bounds: the caller owns a buffer with at least `PADDING` spare bytes behind its last byte.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

PADDING = 64
"""Spare bytes a buffer needs at its end, so that a word load that starts on its last byte stays inside."""

if sys.byteorder != "little":
    raise ImportError("streams.words reads words as little-endian; this machine is big-endian")

_WORD = ir.IntType(64)


def _word_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    struct = context.make_array(array_type)(context, builder, array)
    return builder.bitcast(builder.gep(struct.data, [index]), _WORD.as_pointer())


def _load_word(typing_context: Any, buffer: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_word_pointer(context, builder, signature.args[0], args[0], args[1]), align=1)

    return types.uint64(buffer, types.intp), generate


def _store_word(typing_context: Any, buffer: Any, index: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _word_pointer(context, builder, signature.args[0], args[0], args[1]), align=1)
        return context.get_dummy_value()

    return types.void(buffer, types.intp, types.uint64), generate


def _trailing_zeros(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


# numba's `intrinsic` takes the functions apart by their arguments and is untyped; the casts say what kernels see.
load_word = cast("Any", intrinsic(_load_word))
"""load_word(buffer: uint8[], index) -> uint64: the eight bytes from `index` on, first byte lowest."""
store_word = cast("Any", intrinsic(_store_word))
"""store_word(buffer: uint8[], index, word: uint64): write eight bytes from `index` on."""
trailing_zeros = cast("Any", intrinsic(_trailing_zeros))
"""trailing_zeros(word: uint64) -> int64: 64 for a zero word."""


def padded(data: bytes) -> npt.NDArray[np.uint8]:
    """A copy of `data` with the spare bytes that word loads need."""
    buffer = np.zeros(len(data) + PADDING, dtype=np.uint8)
    buffer[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    return buffer
