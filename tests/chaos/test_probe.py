"""The slope of what a process holds, and its error."""

from __future__ import annotations

import random

import pytest

from tests.chaos.probe import slope


def test_a_straight_line_has_its_slope_and_no_error() -> None:
    at_s = [2.0 * i for i in range(900)]
    per_hour, error = slope(at_s, [400 + at / 3600 * 12 for at in at_s])
    assert per_hour == pytest.approx(12)
    assert error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_noise_without_a_trend_is_within_some_errors_of_nothing_and_a_trend_is_not(seed: int) -> None:
    chance = random.Random(seed)
    at_s = [2.0 * i for i in range(900)]
    noise, level = [], 0.0
    for _ in at_s:
        level = 0.8 * level + chance.gauss(0, 1)  # neighbouring samples depend on each other
        noise.append(400 + level)
    per_hour, error = slope(at_s, noise)
    assert abs(per_hour) < 4 * error
    rising, error = slope(at_s, [value + at / 3600 * 60 for value, at in zip(noise, at_s, strict=True)])
    assert rising - 2 * error > 20


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        slope([0.0, 2.0, 40.0], [1.0, 1.0, 1.0])
