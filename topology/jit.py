"""The one decorator for machine-code kernels: `numba.njit(cache=True, nogil=True)` that keeps the function's types and
notices when a kernel it calls has changed.

- Types: numba's decorators are untyped, so under `mypy --strict` each decorated function would lose its signature. To
  the type checker a kernel is the plain function it was written as.
- `cache=True`: compiled once per machine and signature, later processes load it in milliseconds. numba itself
  compares only the file that holds the kernel, so after a change in a helper of *another* file the old machine code,
  in which that helper was inlined, would go on being used. `kernel` adds what a kernel can draw from other files to the
  comparison.
- `nogil=True`: a kernel runs beside the event loop when called through a thread.

Array bounds are not checked: callers size their arrays. `NUMBA_BOUNDSCHECK=1` in the environment turns checks on.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

_P = ParamSpec("_P")
_R = TypeVar("_R")


def kernel(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile `function` lazily, once per argument types; callable from Python and from other kernels.

    What a module's kernels use from other modules must be imported at its top, above them.
    """
    return _compiled(function, forceinline=False)


def inlined(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`kernel`, for a small one that others call for every record or value: its code becomes part of theirs.

    LLVM leaves most kernels alone, and what a call gives back goes through memory: that took a fourth of the JSON scan.
    """
    return _compiled(function, forceinline=True)


def _compiled(function: Callable[_P, _R], *, forceinline: bool) -> Callable[_P, _R]:
    compiled = numba.njit(cache=True, nogil=True, forceinline=forceinline)(function)
    if isinstance(compiled, Dispatcher):  # it is the plain function under NUMBA_DISABLE_JIT
        cache_file = cast(Any, compiled)._cache._cache_file  # private: test_jit.py fails if another numba differs
        cache_file._source_stamp = (cache_file._source_stamp, foreign_stamp(function.__globals__))
    return cast("Callable[_P, _R]", compiled)


def foreign_stamp(namespace: Mapping[str, Any]) -> tuple[object, ...]:
    """Everything that machine code compiled in a module may have taken in: constants, and the files of called kernels.

    `namespace` is the module's globals; the kernels in it are followed to their modules, and on from there.
    """
    files: dict[str, tuple[object, ...]] = {}
    waiting = [namespace]
    while waiting:
        for value in waiting.pop().values():
            if not isinstance(value, Dispatcher):
                continue
            module = value.py_func.__globals__
            path = value.py_func.__code__.co_filename
            if module is not namespace and path not in files:  # the module's own file is what numba compares
                found = os.stat(path)
                files[path] = (found.st_mtime_ns, found.st_size, *_constants(module))
                waiting.append(module)
    return (*_constants(namespace), *sorted(files.items()))


def _constants(namespace: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((name, _frozen(value)) for name, value in namespace.items() if _is_constant(value))


def _is_constant(value: object) -> bool:
    """Whether numba freezes a global of this kind into machine code."""
    if isinstance(value, tuple):
        return all(_is_constant(item) for item in value)
    return isinstance(value, int | float | np.generic | np.ndarray)


def _frozen(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {zlib.crc32(value.tobytes())}"
    return repr(value)
