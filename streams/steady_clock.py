"""Clocks that nobody sets: the host's wall clock may jump by an hour, and deadlines and idle sources must not.

`steady_ms` measures how long something lasts. `SteadyClock` tells the time of day for the log: it starts with the wall
clock, follows its small corrections, and goes on by itself when it jumps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from streams import metrics

log = logging.getLogger(__name__)

FOLLOWED_MS: Final = 2_000
"""Corrections up to this are the work of NTP; what is more is a step (chrony's default limit of an offset that it may
step is 1 s)."""


def steady_ms() -> int:
    """Milliseconds since some moment in the past; runs on whatever is done to the host's clock."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """The host's clock, epoch ms: as a receive time, and in gauges."""
    return time.time_ns() // 1_000_000


class SteadyClock:
    """Epoch ms by the host's clock, less its jumps. It never goes back.

    After a jump the host's clock may be wrong or may have been wrong before: that is for people to say. Until the
    worker is started anew the time goes on as it went, and the log and `tongguan_clock_step_seconds` tell of it.
    """

    def __init__(self, *, wall: Callable[[], int] = wall_ms, steady: Callable[[], int] = steady_ms) -> None:
        self._wall = wall
        self._steady = steady
        self._ahead_ms = wall() - steady()
        self._last_ms = 0
        self._stepped = False

    def __call__(self) -> int:
        now_ms = self._steady() + self._ahead_ms
        step_ms = self._wall() - now_ms
        if abs(step_ms) <= FOLLOWED_MS:
            self._ahead_ms += step_ms
            now_ms += step_ms
            step_ms = 0
        self._tell(step_ms)
        self._last_ms = max(self._last_ms, now_ms)
        return self._last_ms

    def _tell(self, step_ms: int) -> None:
        metrics.CLOCK_STEP_SECONDS.set(step_ms / 1000)
        if self._stepped == bool(step_ms):
            return
        self._stepped = bool(step_ms)
        if self._stepped:
            log.error(
                "the host's clock was put %s by %.0f s; deadlines go on by the time before that. "
                "If the host is right now, start this worker anew",
                "forward" if step_ms > 0 else "back", abs(step_ms) / 1000,
            )  # fmt: skip
        else:
            log.info("the host's clock is back where it was")
