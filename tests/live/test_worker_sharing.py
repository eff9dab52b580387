"""Two workers share the partitions and one goes: politely, killed, or frozen until the others have given it up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from tests.live.support.city_run import SESSION_S, CityRun
from tests.live.support.small_city import make_records

pytestmark = pytest.mark.live

RECORDS = 8_000
PART_S = 3.0

Way = Literal["leaves", "killed", "frozen"]


async def test_two_workers_share_the_city_and_one_going_in_mid_stream_changes_nothing(
    kafka: str, clickhouse_front: str, tmp_path: Path
) -> None:
    """Three cities side by side, one for each way of going.

    Failed (frozen) while locate took batches that it had dropped at a revocation for offsets without records.
    """
    ways: tuple[Way, ...] = ("leaves", "killed", "frozen")
    await asyncio.gather(*(one_of_two_goes(kafka, clickhouse_front, tmp_path, way) for way in ways))


async def one_of_two_goes(kafka: str, clickhouse: str, directory: Path, way: Way) -> None:
    city = CityRun(kafka, clickhouse, way, directory)
    await asyncio.to_thread(city.set_up)
    records = make_records(RECORDS, seed=len(way))
    third = len(records) // 3
    with city.worker(f"{way}-stays") as stays, city.worker(f"{way}-goes") as goes:
        await asyncio.gather(stays.reads(), goes.reads())
        await city.send(records[:third], lasting_s=PART_S)
        sending = asyncio.create_task(city.send(records[third : 2 * third], lasting_s=PART_S))
        await asyncio.sleep(PART_S / 2)
        if way == "leaves":
            goes.ask_to_stop()
            assert await asyncio.to_thread(goes.exit_status) == 0
        elif way == "killed":
            goes.kill()
        else:
            goes.freeze()
            await asyncio.sleep(2 * SESSION_S)
            goes.thaw()
        await sending
        await city.send(records[2 * third :], lasting_s=PART_S)
        await city.settled()
        # a frozen worker's insert may end beside its successor's: then it is the views that show each row once
        await city.assert_all_is_true(tables=way != "frozen")
        assert stays.running
        assert (stays.total("tongguan_records_total") > 0) and (way != "frozen" or goes.running), goes.log[-3000:]
