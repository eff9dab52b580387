"""The one decorator for machine-code kernels: ``numba.njit(cache=True, nogil=True)`` that keeps the function's types.

numba's own decorators are untyped, so under ``mypy --strict`` each decorated function would lose its signature.
``kernel`` keeps it: to the type checker a kernel is the plain function it was written as.

- ``cache=True``: compiled once per machine and signature, later processes load it in milliseconds. numba keys the cache
  by the *file* that holds the kernel: after a change in a helper of **another** file the stale machine code of its
  callers stays. Helpers that change are therefore rebuilt by ``make clean``, or by touching the callers.
- ``nogil=True``: a kernel runs beside the event loop when called through a thread.
- Bounds are not checked: callers size their arrays. ``NUMBA_BOUNDSCHECK=1`` in the environment turns checks on in
  tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

_P = ParamSpec("_P")
_R = TypeVar("_R")


def kernel(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile ``function`` lazily, once per argument types; callable from Python and from other kernels."""
    return cast("Callable[_P, _R]", numba.njit(cache=True, nogil=True)(function))
