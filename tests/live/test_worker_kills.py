"""The whole worker killed with -9 in mid-stream: alerts and history equal the uninterrupted truth."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.live.support.city_run import CityRun
from tests.live.support.small_city import make_records

pytestmark = pytest.mark.live

RECORDS = 9_000
KILLS = 2
PART_S = 2.5


async def test_kill_9_at_random_moments_leaves_alerts_and_history_as_if_nothing_had_happened(
    kafka: str, clickhouse_front: str, tmp_path: Path
) -> None:
    """Three seeds side by side, two kills each; the records go on coming while the worker is dead.

    Fails when the join, or the archive, takes rows again that their coverage knows.
    """
    await asyncio.gather(*(kill_again_and_again(kafka, clickhouse_front, tmp_path, seed) for seed in (1, 2, 3)))


async def kill_again_and_again(kafka: str, clickhouse: str, directory: Path, seed: int) -> None:
    chance = random.Random(seed)
    city = CityRun(kafka, clickhouse, f"killed{seed}", directory)
    await asyncio.to_thread(city.set_up)
    records = make_records(RECORDS, seed)
    part = len(records) // (KILLS + 1)
    with city.worker(f"killed{seed}") as worker:
        for kill in range(KILLS):
            await worker.reads()
            sending = asyncio.create_task(city.send(records[kill * part : (kill + 1) * part], lasting_s=PART_S))
            await asyncio.sleep(chance.uniform(0.3, PART_S + 0.5))
            worker.kill()
            worker.start()
            await sending
        await worker.reads()
        await city.send(records[KILLS * part :], lasting_s=PART_S)
        await city.settled()
        await city.assert_all_is_true()
        worker.ask_to_stop()
        assert await asyncio.to_thread(worker.exit_status) == 0
