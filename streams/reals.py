"""float64, 16-bit and bit-count access by address inside numba kernels: what streams.words has for bytes and words.

The windows keep thousands of small arrays (a track's rows in one bucket); a kernel gets a table of their addresses,
since a list of arrays costs more to hand over than to work through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from streams.words import Int

_QUARTER: Final = ir.IntType(16)
_WORD: Final = ir.IntType(64)
_REAL: Final = ir.DoubleType()


def _load_real(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], _REAL.as_pointer()), align=1)

    return types.float64(types.int64), generate


def _store_real(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], _REAL.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), generate


def _load_quarter(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(builder.inttoptr(args[0], _QUARTER.as_pointer()), align=1), _WORD)

    return types.int64(types.int64), generate


def _store_quarter(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(builder.trunc(args[1], _QUARTER), builder.inttoptr(args[0], _QUARTER.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _bit_count(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


def _store_int(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], _WORD.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


# numba's `intrinsic` is untyped; the annotations say what kernels see.
load_real: Callable[[Int], float] = cast("Any", intrinsic(_load_real))
"""load_real(address) -> float: an element of a float64 array."""
store_real: Callable[[Int, float], None] = cast("Any", intrinsic(_store_real))
"""store_real(address, float)."""
store_int: Callable[[Int, Int], None] = cast("Any", intrinsic(_store_int))
"""store_int(address, int): an element of an int64 array."""
load_quarter: Callable[[Int], int] = cast("Any", intrinsic(_load_quarter))
"""load_quarter(address) -> int: an unsigned 16-bit number."""
store_quarter: Callable[[Int, Int], None] = cast("Any", intrinsic(_store_quarter))
"""store_quarter(address, int): 16 bits of it."""
bit_count: Callable[[np.uint64], int] = cast("Any", intrinsic(_bit_count))
"""bit_count(uint64) -> int: how many bits are set."""
