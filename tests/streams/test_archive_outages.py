"""Lanes while ClickHouse or Kafka is away, and lanes that are cancelled or revoked while they wait."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from schemas.errors import BrokerRefused, StoreUnavailable
from streams.archive_core import ArchiveSettings
from streams.archive_lane import Delivery
from streams.archive_record_lane import RecordLane
from streams.clickhouse import Store
from tests.support.archive_frames import T0_MS, reading_frame
from tests.support.archive_shard import ArchiveShard


async def test_while_clickhouse_is_away_accept_does_not_return_and_says_so_once(
    world: ArchiveShard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await world.produce(*(reading_frame(at * 10, at * 10 + 9) for at in range(50)))
    world.store.away = True
    lane = world.lane()
    feeding = asyncio.create_task(world.feed(lane))
    await asyncio.sleep(0.2)
    assert not feeding.done() and not world.acked
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1
    world.store.away = False
    await feeding
    assert world.store.offsets == list(range(500))
    assert world.acked == list(range(50))
    assert "answers again" in caplog.text


async def test_a_revoked_lane_stops_waiting_for_clickhouse(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 9))
    world.store.away = True
    lane = world.lane()
    feeding = asyncio.create_task(world.feed(lane))
    await asyncio.sleep(0.05)
    lane.revoke()
    await asyncio.wait_for(feeding, 5)
    assert not world.acked


@pytest.mark.parametrize("when", ["waiting for the store", "writing the plan"])
async def test_a_lane_that_was_cancelled_in_the_middle_goes_on_from_its_checkpoint(
    world: ArchiveShard, when: str
) -> None:
    await world.produce(*(reading_frame(at * 10, at * 10 + 9) for at in range(5)))
    lane = world.lane()
    if when == "waiting for the store":
        world.store.away = True
    else:
        world.log.fail_appends = 10**9
    feeding = asyncio.create_task(world.feed(lane))
    await asyncio.sleep(0.05)
    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    world.store.away, world.log.fail_appends = False, 0
    await world.feed(lane, first=1)  # frame 0 was taken off Faust's queue already: it does not come again
    assert world.store.offsets == list(range(50))
    assert world.acked == [0, 1, 2, 3, 4]


async def test_records_in_hand_when_cancelled_are_written_before_they_are_acknowledged(world: ArchiveShard) -> None:
    taken: list[int] = []
    acked: list[int] = []
    world.store.away = True

    def insert_new(store: Store, records: Any, token: str) -> None:
        if world.store.away:
            raise StoreUnavailable("nowhere: connection refused")
        taken.extend(records)

    lane = RecordLane(
        *("alerts", 3, world.thread, ArchiveSettings(record_batch=1)),
        read=lambda topic, partition, delivery: delivery.offset,
        insert_new=insert_new,
    )
    waiting = asyncio.create_task(lane.accept(Delivery(0, b"", T0_MS, lambda: acked.append(0))))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    world.store.away = False
    await lane.accept(Delivery(1, b"", T0_MS, lambda: acked.append(1)))
    assert taken == [0, 1] and acked == [0, 1]


async def test_kafka_away_while_checkpointing_is_waited_out(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 9))
    world.log.fail_appends = 3
    await world.feed(world.lane())
    assert world.store.offsets == list(range(10)) and world.acked == [0]


async def test_a_checkpoint_that_kafka_refuses_for_good_ends_the_worker_and_the_next_goes_on(
    world: ArchiveShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting does not help a producer that has lost its sequence: the archive would stand still for ever."""

    async def refused(*_: object, **__: object) -> int:
        raise BrokerRefused("write to archive-state[0]: OutOfOrderSequenceNumber()")

    await world.produce(reading_frame(0, 9))
    with monkeypatch.context() as patched:
        patched.setattr(world.log, "append", refused)
        with pytest.raises(BrokerRefused):
            await asyncio.wait_for(world.feed(world.lane()), 1)
    await world.feed(world.lane())
    assert world.store.offsets == list(range(10))
