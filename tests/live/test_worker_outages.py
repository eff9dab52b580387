"""ClickHouse or Kafka goes away while the worker runs, or is not there when it starts."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.clickhouse_front import Fault
from deploy.local.kafka import LocalKafka
from deploy.local.process import free_port
from tests.live.support.city_run import CityRun
from tests.live.support.small_city import make_records

pytestmark = pytest.mark.live

PART_S = 2.0
MORE_MB = 80  # of memory in an outage: buffers of eight frames a lane, and the allocator's habits


@pytest.fixture
def own_clickhouse(tmp_path: Path) -> Iterator[LocalClickHouse]:
    with LocalClickHouse(tmp_path / "front") as server:
        yield server


async def test_alerts_go_on_without_clickhouse_and_the_history_catches_up_without_gap_or_duplicate(
    kafka: str, own_clickhouse: LocalClickHouse, tmp_path: Path
) -> None:
    """Down, refusing, then answers that get lost; the worker is stopped and started while it is away.

    Fails when a repeated insert does not carry the token of the first.
    """
    city = CityRun(kafka, own_clickhouse.url, "no_store", tmp_path)
    await asyncio.to_thread(city.set_up)
    records = make_records(9_000, seed=11)
    third = len(records) // 3
    with city.worker() as worker:
        await worker.reads()
        await city.send(records[:third], lasting_s=PART_S)
        before_mb = worker.rss_mb()
        own_clickhouse.act_out(Fault(mode="down"))
        await city.send(records[third : 2 * third], lasting_s=PART_S)
        own_clickhouse.act_out(Fault(mode="refuse"))
        await city.send(records[2 * third :], lasting_s=PART_S)
        await city.settled(archived=False)
        expected = await city.assert_alerts_are_true()
        assert worker.rss_mb() < before_mb + MORE_MB
        asked_at = time.monotonic()
        worker.ask_to_stop()
        assert await asyncio.to_thread(worker.exit_status) == 0
        assert time.monotonic() - asked_at < 12, "a store that is away must not keep the worker from ending"
        worker.start()
        await worker.says("waiting, nothing is lost")
        own_clickhouse.act_out(Fault(mode="lose_answer", only_inserts=True, times=3))
        await city.settled()
        await asyncio.to_thread(city.assert_history_is_true, expected)
        assert "Traceback" not in worker.log, worker.log[-4000:]


async def test_a_broker_that_is_away_at_the_start_and_dies_in_mid_stream_costs_nothing(
    clickhouse_front: str, tmp_path: Path
) -> None:
    """Killed in mid-stream and started on the same port and data; killed again before the worker is asked to end.

    Fails (hangs) without the time limit of the end: Kafka's clients wait for their broker without one.
    """
    port = free_port()
    broker = LocalKafka(tmp_path / "kafka", port)
    await asyncio.to_thread(broker.start)
    try:
        city = CityRun(broker.bootstrap, clickhouse_front, "no_broker", tmp_path)
        await asyncio.to_thread(city.set_up)
        await asyncio.to_thread(broker.stop)
        with city.worker() as worker:
            await worker.says("no broker answers")
            await asyncio.to_thread(broker.start)
            await worker.reads()
            assert worker.log.count("no broker answers") == 1
            records = make_records(9_000, seed=12)
            third = len(records) // 3
            await city.send(records[:third], lasting_s=PART_S)
            sending = asyncio.create_task(city.send(records[third : 2 * third], lasting_s=2 * PART_S))
            await asyncio.sleep(PART_S)
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(2)
            await asyncio.to_thread(broker.start)
            await sending
            await city.send(records[2 * third :], lasting_s=PART_S)
            await city.settled()
            await city.assert_all_is_true()
            await asyncio.to_thread(broker.kill)
            worker.ask_to_stop()
            assert await asyncio.to_thread(worker.exit_status) == 0, "a broker that is away must not hold up the end"
            assert "Traceback" not in worker.log, worker.log[-4000:]
    finally:
        await asyncio.to_thread(broker.stop)


async def test_a_wrong_address_is_said_in_one_line_and_the_worker_can_be_stopped(tmp_path: Path) -> None:
    city = CityRun(f"127.0.0.1:{free_port()}", "http://127.0.0.1:1", "nowhere", tmp_path)
    with city.worker() as worker:
        await worker.says("no broker answers at " + city.bootstrap)
        await asyncio.sleep(2)
        worker.ask_to_stop()
        assert await asyncio.to_thread(worker.exit_status, within_s=10) == 0
        complaints = re.findall(r"^.* (?:WARNING|ERROR) .*$", worker.log, re.MULTILINE)
        assert len(complaints) == 1, worker.log
        assert "Traceback" not in worker.log
