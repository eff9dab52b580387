"""A host clock that can be put forward and back under a running worker, without touching this machine's.

The worker's process reads its wall clock through Python's `time.time` and `time.time_ns`; `install` puts others in
their place that add an offset from a file which the test changes. (Our code calls both through the module, so it is
enough to come before the worker runs.) The monotonic clock goes on, as it does on a host.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final, Self

VARIABLE: Final = "CHAOS_HOST_CLOCK"
_OFFSET: Final = struct.Struct("<q")


class HostClock:
    """The test's hand on the clock of the processes that are started with its `environment`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.step(0.0)

    def step(self, offset_s: float) -> Self:
        """From now on the processes' wall clock is this far from the machine's."""
        with self._path.open("r+b" if self._path.exists() else "w+b") as file:
            file.write(_OFFSET.pack(round(offset_s * 1e9)))
        return self

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: str(self._path)}


def install() -> None:
    """Take the clock that the environment names; nothing if it names none."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    machine_ns = time.time_ns

    def time_ns() -> int:
        return machine_ns() + int(_OFFSET.unpack(offset)[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
