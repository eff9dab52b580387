"""The slope of what a process holds, and its error."""

from __future__ import annotations

import asyncio
import json
import random
import weakref
from pathlib import Path

import pytest

from tests.chaos import probe
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


def test_a_task_that_was_seen_is_freed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the soak would measure its own probe: it kept every task that it had ever seen."""
    monkeypatch.setattr(probe, "EVERY_S", 0.01)
    told = tmp_path / "tasks.json"

    async def looked() -> None:
        told.unlink(missing_ok=True)
        for _ in range(1_000):
            if told.exists():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the probe does not look")

    async def watched() -> bool:
        waiting = asyncio.Event()
        task = asyncio.create_task(waiting.wait())
        await looked()
        await looked()  # the first one may have been under way before there was the task
        assert json.loads(told.read_text("ascii"))["tasks"] >= 2
        waiting.set()
        await task
        seen = weakref.ref(task)
        del task
        for _ in range(100):
            if seen() is None:
                return True
            await asyncio.sleep(0.01)
        return False

    over = probe.tell_tasks(str(told))
    try:
        assert asyncio.run(watched())
    finally:
        over.set()
