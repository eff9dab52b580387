"""What a process holds, over time: memory, files and threads as the kernel sees them, tasks as the process does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

EVERY_S: Final = 2.0
BLOCK_S: Final = 30.0
"""Samples of one block are one observation of the slope: neighbouring ones depend on each other."""

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Samples:
    """Taken every `EVERY_S`; one entry of each list for a moment."""

    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)

    def take(self, pid: int, told: Path) -> None:
        """A sample of the process, which writes its tasks to `told` (see `tell_tasks`)."""
        status = Path(f"/proc/{pid}/status").read_text("ascii", errors="replace")
        numbers = {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)}
        self.at_s.append(time.monotonic())
        self.rss_mb.append(numbers["VmRSS"] / 1024)
        self.threads.append(numbers["Threads"])
        self.files.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        self.tasks.append(json.loads(told.read_text("ascii"))["tasks"] if told.exists() else 0)

    def since(self, at_s: float) -> Samples:
        """Those taken from then on."""
        begin = next((i for i, at in enumerate(self.at_s) if at >= at_s), len(self.at_s))
        return Samples(
            self.at_s[begin:], self.rss_mb[begin:], self.files[begin:], self.threads[begin:], self.tasks[begin:]
        )


def slope(at_s: list[float], values: list[float], *, block_s: float = BLOCK_S) -> tuple[float, float]:
    """(what the values rise by in an hour, its standard error): a straight line through the means of blocks."""
    times, numbers = np.array(at_s), np.array(values)
    block = ((times - times[0]) // block_s).astype(np.int64)
    x: Floats = np.array([times[block == b].mean() for b in np.unique(block)]) / 3600
    y: Floats = np.array([numbers[block == b].mean() for b in np.unique(block)])
    if len(x) < 3:
        raise ValueError(f"{len(x)} blocks of {block_s:.0f} s: too few for a slope and its error")
    centred = x - x.mean()
    per_hour = float((centred * y).sum() / (centred**2).sum())
    left = y - y.mean() - per_hour * centred
    return per_hour, float(np.sqrt((left**2).sum() / (len(x) - 2) / (centred**2).sum()))


def tell_tasks(path: str) -> threading.Event:
    """In the worker: write now and then how many tasks are not done, over all its event loops. Setting what is returned
    ends it."""
    over = threading.Event()
    there = Path(path)

    def tell() -> None:
        while not over.wait(EVERY_S):
            fresh = there.with_suffix(".new")
            fresh.write_text(json.dumps({"tasks": _unfinished()}), "ascii")
            fresh.rename(there)

    threading.Thread(target=tell, name="probe", daemon=True).start()
    return over


def _unfinished() -> int:
    """Lets go of the tasks at once. A list of them kept until the next look is in that look's list in its turn: no task
    that was ever seen would be freed, nor what its coroutine and its error hold."""
    while True:
        with contextlib.suppress(RuntimeError):  # it grew while we looked
            every: Any = asyncio.tasks._all_tasks  # type: ignore[attr-defined]  # of every loop
            return sum(not task.done() for task in list(every))
