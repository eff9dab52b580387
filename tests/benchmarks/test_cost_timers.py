"""The stopwatches add up: each stage its own time, coroutines step by step; what they name is there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter

import pytest

from benchmarks import archive, cityjoin, costs
from benchmarks.cost_timers import STAGES, Timers


def spin(ms: int) -> None:
    end = time.thread_time_ns() + ms * 1_000_000
    while time.thread_time_ns() < end:
        pass


def spent(timers: Timers) -> Counter[str]:
    total: Counter[str] = Counter()
    for stages in timers._spent.values():
        total.update(stages)
    return total


def test_a_stage_within_a_stage_counts_for_itself_alone() -> None:
    timers = Timers()
    inner = timers._timed("inner", lambda: spin(20))

    def both() -> None:
        spin(10)
        inner()
        spin(10)

    timers._timed("outer", both)()
    found = spent(timers)
    assert found["inner"] == pytest.approx(20e6, rel=0.2)
    assert found["outer"] == pytest.approx(20e6, rel=0.2)


async def test_a_coroutine_is_timed_while_it_runs_and_not_while_it_waits() -> None:
    timers = Timers()

    async def work(value: int) -> int:
        spin(10)
        await asyncio.sleep(0.05)
        spin(10)
        return value

    async def other() -> None:
        spin(30)

    timed = timers._timed_coroutine("work", work)
    answer, _ = await asyncio.gather(timed(7), other())
    assert answer == 7
    assert spent(timers)["work"] == pytest.approx(20e6, rel=0.2)


async def test_an_error_and_a_cancellation_pass_through() -> None:
    timers = Timers()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        await timers._timed_coroutine("fails", fails)()

    async def waits() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(timers._timed_coroutine("waits", waits)())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not timers._local.stack


def test_what_is_timed_of_locate_and_of_kafka_is_there() -> None:
    code = "from benchmarks.cost_timers import Timers; t = Timers(); t.install(); print('\\n'.join(t.missing))"
    missing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [
        place for place in missing if not place.startswith(("streams.join", "streams.windows", "streams.slots"))
    ] == []


def test_the_sections_say_their_figures() -> None:
    stages = [[stage, 10.0] for stage in STAGES]
    text = costs.section({"records": 12, "stages": stages, "total_ns": 10.0 * len(stages), "stopwatch_ns": 1.5})
    assert all(f"| {stage} | 10.0 |" in text for stage in STAGES)
    row = {
        "records": 2_000_012, "rate": 1_000_000, "rate_second_half": 1_100_000, "cpu_us_per_record": 0.9,
        "peak_rss_mb": 500, "alerts": 2196,
    }  # fmt: skip
    text = cityjoin.section({"runs": [row, {**row, "rate": 1_200_000}]})
    assert "| 2,000,012 | 2 | 1,100,000 (1,000,000–1,200,000) | 1,100,000 (1,100,000–1,100,000) |" in text
    stored = {"tickets": 5, "personal_fields": 0, "disk_bytes_per_row": 13.1}
    together = {**row, "rate_per_core": 520_000}
    merged = {"rows_per_insert": 1_000_000_000 // 16**2, "merge_us_per_row": 0.6}
    alone = [
        {"data": data, "rate": 700_000, "cpu_us_per_row": 1.1, "stored": stored, **merged} for data in ("plain", "city")
    ]
    text = archive.section({"alone": alone, "together": together})
    assert "| plain | 700,000 | 1.100 | 3,906,250 | 0.600 | 5 | 0 | 13.1 |" in text
    assert "row is merged 2.0 times" in text
    assert f"thus has {row['cpu_us_per_record'] + 1.2:.2f} µs a record" in text
    assert "| records/s of a busy core | 520,000 |" in text
