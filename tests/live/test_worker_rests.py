"""The worker in quiet times: stopped cleanly and started again, and sources that send nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from schemas.sources import Source
from tests.live.support.city_run import CityRun
from tests.live.support.small_city import SHARDS, make_records

pytestmark = pytest.mark.live


async def test_sigterm_in_mid_stream_ends_cleanly_and_the_second_start_has_little_to_replay(
    kafka: str, clickhouse_front: str, tmp_path: Path
) -> None:
    """The first life commits and snapshots at its end only, so that what it leaves behind is the work of its stop.

    Fails without the last flush of locate (`_give_back` in `on_stop`), and without `JoinRunner.close`.
    """
    city = CityRun(kafka, clickhouse_front, "stopped", tmp_path)
    await asyncio.to_thread(city.set_up)
    records = make_records(6_000, seed=21)
    half = len(records) // 2
    city.lazy = True
    with city.worker() as first:
        await first.reads()
        sending = asyncio.create_task(city.send(records[:half], lasting_s=4.0))
        await asyncio.sleep(3.0)
        read_before = first.total("tongguan_records_total")
        assert read_before > 0
        asked_at = time.monotonic()
        first.ask_to_stop()
        assert await asyncio.to_thread(first.exit_status) == 0
        assert time.monotonic() - asked_at < 10
        await sending
    city.lazy = False
    with city.worker() as second:
        await second.reads()
        await city.send(records[half:], lasting_s=1.0)
        await city.settled()
        await city.assert_all_is_true()
        read_again = read_before + second.total("tongguan_records_total") - len(city.sent)
        assert read_again < 0.02 * len(city.sent), "the second start read again what the first had acknowledged"
        log = second.log_of_this_life
        assert log.count("restored") >= SHARDS - 1, log  # one shard may have had no frame before the stop
        # the archive may do one batch again: a frame that came between its last flush and its end
        assert "reading messages" not in log and "Traceback" not in second.log, log


async def test_a_silent_partition_and_a_source_without_any_record_do_not_hold_alerts_back(
    kafka: str, clickhouse_front: str, tmp_path: Path
) -> None:
    """One of two partitions of readings is empty, and nobody calls the hotline at all.

    Fails when locate calls no source idle.
    """
    city = CityRun(kafka, clickhouse_front, "silent", tmp_path, idle_after_ms=1_500)
    await asyncio.to_thread(city.set_up)
    silent = frozenset({(Source.READINGS, 1), (Source.TICKETS, 0), (Source.TICKETS, 1)})
    await city.send(make_records(5_000, seed=22, silent=silent))  # at once: pauses must not make the others idle too
    with city.worker() as worker:
        await worker.reads()
        await city.settled()
        assert len(await city.assert_alerts_are_true()) > 20
        await city.assert_all_is_true()
        assert worker.running
