"""P7: the host's clock is put an hour forward and back under a running worker; nothing that comes out differs.

In each trial the clock of the worker's host jumps several times, by an hour or two, either way. In every stretch
between two jumps all that was sent must be worked through to the loop's end before the clock is touched again: a
worker that waits for its clock does not pass. Half of the trials have raw topics without the broker's append time, so
that the worker's own clock is also that of arrival, and what lies in the future is judged by it.

Ticks must keep the machine's time: a jump is no reason to call incidents overdue.

Not stepped is the broker's clock: its arrival times reach the worker as a record batch's, which the trials without
append time stand in for; the simulator and tests/streams/test_placing.py do the rest.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.loop_record import LoopKind, decode_loop_record, decode_tick
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.chaos_worker import ChaosWorker
from tests.chaos.host_clock import HostClock
from tests.chaos.promises import Given, Outcome
from tests.live.support.small_city import CLOSER_MS

RECORDS: Final = 2_400
STEPS_S: Final = (3_600, -3_600, 7_200, -7_200, 0)
SHORT_STEPS_S: Final = (7_200, -3_600, 0)
STRETCH_S: Final = 1.5
WITHIN_S: Final = 30.0  # far less than any step
BOUND_MS: Final = CLOSER_MS + 600_000
"""For the future: closers lie an hour ahead. With an arrival an hour too early they would be beyond it."""
APART_MS: Final = 5_000  # of a tick from the machine's time


def run(given: Given) -> Outcome:
    outcome = Outcome("P7")
    with LocalKafka(given.folder / "kafka") as broker, LocalClickHouse(given.folder / "clickhouse") as store:
        for seed in given.seed_range:
            folder = given.folder / str(seed)
            folder.mkdir()
            problems = asyncio.run(_trial(broker.bootstrap, store.url, folder, seed, outcome, given))
            outcome.tried(seed, problems)
            given.progress(f"seed {seed}: {'held' if not problems else problems[0]}")
    return outcome


async def _trial(bootstrap: str, store_url: str, folder: Path, seed: int, outcome: Outcome, given: Given) -> list[str]:
    chance = random.Random(seed)
    clock = HostClock(folder / "clock")
    city = ChaosCity(
        bootstrap, store_url, f"p7_{seed}", folder, raw_create_time=seed % 2 == 0, off=given.off,
        overrides={"locate": {"future_bound_ms": BOUND_MS}},
    )  # fmt: skip
    await city.set_up_async()
    records = city.make_records(RECORDS, seed)
    steps_s = chance.sample(SHORT_STEPS_S, 3) if given.short else chance.sample(STEPS_S, 5)
    found: list[str] = []
    with city.chaos_worker(executed=True, env=clock.environment) as worker:
        await worker.reads()
        ends = [*(RECORDS * number // len(steps_s) for number in range(1, len(steps_s))), len(records)]
        for step_s, first, behind in zip(steps_s, [0, *ends], ends, strict=False):
            part = records[first:behind]
            half = len(part) // 2
            await city.send(part[:half], lasting_s=STRETCH_S)
            clock.step(step_s)
            found += await _not_noticed(worker, step_s)
            outcome.add("steps", 1)
            await city.send(part[half:], lasting_s=STRETCH_S)
            await city.all_settled(archived=False, within_s=WITHIN_S)
        await city.all_settled()
        found += await city.problems()
        if "Traceback" in worker.log:
            found.append(f"the worker's log has a traceback: {worker.log[-2_000:]}")
    return found + await _tick_problems(city, outcome)


async def _not_noticed(worker: ChaosWorker, step_s: int) -> list[str]:
    """Wait until the worker's own gauge tells the jump: a clock that did not jump would prove nothing."""
    for _ in range(100):
        await asyncio.sleep(0.1)
        told_s = worker.total("tongguan_clock_step_seconds")
        if abs(told_s - step_s) < 1:
            return []
    return [f"the clock was put {step_s} s ahead, the worker's gauge says {told_s}"]


async def _tick_problems(city: ChaosCity, outcome: Outcome) -> list[str]:
    """Ticks against the time at which the broker, whose clock is the machine's, took them."""
    found = []
    for message in await city.read_all(city.names.loop, 1):
        record = decode_loop_record(message.value)
        if record.kind is LoopKind.TICK:
            outcome.add("ticks", 1)
            apart_ms = decode_tick(record.payload).at_ms - message.timestamp
            if abs(apart_ms) > APART_MS:
                found.append(f"tick at offset {message.offset} is {apart_ms / 1000:.0f} s from the machine's time")
    return found
