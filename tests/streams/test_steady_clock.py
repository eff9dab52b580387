"""The loop's time follows small corrections of the host's clock, and none of its jumps."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from streams import metrics
from streams.steady_clock import FOLLOWED_MS, SteadyClock

HOUR_MS = 3_600_000
T0_MS = 1_750_000_000_000


@dataclass
class Host:
    wall_ms: int = T0_MS
    steady_ms: int = 5_000

    def clock(self) -> SteadyClock:
        return SteadyClock(wall=lambda: self.wall_ms, steady=lambda: self.steady_ms)

    def passes(self, ms: int) -> None:
        self.wall_ms += ms
        self.steady_ms += ms


def test_it_tells_the_hosts_time_and_follows_small_corrections() -> None:
    host = Host()
    clock = host.clock()
    assert clock() == T0_MS
    host.passes(10_000)
    host.wall_ms += FOLLOWED_MS
    assert clock() == T0_MS + 10_000 + FOLLOWED_MS
    host.passes(1_000)
    host.wall_ms += FOLLOWED_MS  # once more, from where it is now
    assert clock() == host.wall_ms


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS, FOLLOWED_MS + 1])
def test_it_goes_on_by_itself_when_the_clock_jumps_and_says_so_once(
    step_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    host = Host()
    clock = host.clock()
    host.passes(60_000)
    host.wall_ms += step_ms
    assert clock() == T0_MS + 60_000
    host.passes(60_000)
    assert clock() == T0_MS + 120_000
    assert metrics.CLOCK_STEP_SECONDS._value.get() == step_ms / 1000
    host.wall_ms -= step_ms
    assert clock() == T0_MS + 120_000
    assert metrics.CLOCK_STEP_SECONDS._value.get() == 0
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_it_never_goes_back_not_even_by_a_small_correction() -> None:
    host = Host()
    clock = host.clock()
    host.passes(10_000)
    assert clock() == T0_MS + 10_000
    host.wall_ms -= 1_500
    assert clock() == T0_MS + 10_000
    host.passes(2_000)
    assert clock() == T0_MS + 10_500
