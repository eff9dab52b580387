"""Memory that bursts have left in the allocator goes back to the system, once a minute.

glibc has an arena for each thread and gives back only what is free at an arena's end. What a burst has left in the
middle stays: with 120 MB in use as before, a soaked worker's arenas grew from 150 to 200 MB in ten minutes. Looking
through all of them takes some 30 ms of a thread of its own, and as much again to get the pages that are needed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

from deploy.own_thread import OwnThread

EVERY_S: Final = 60.0


def _of_glibc() -> Callable[[int], int] | None:
    """`malloc_trim`, which other C libraries do not have. While it runs, other threads do too: ctypes sees to it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    found: Callable[[int], int] = trim
    return found


_trim: Final = _of_glibc()


def give_back() -> None:
    """Once."""
    if _trim is not None:
        _trim(0)


class GiveBack(OwnThread):
    """While entered, gives back again and again."""

    def __init__(self, *, every_s: float = EVERY_S) -> None:
        super().__init__("give-back")
        self._every_s = every_s

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            give_back()
