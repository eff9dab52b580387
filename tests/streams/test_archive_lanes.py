"""Lanes: batches, acknowledgement, crashes at every step, and what is missing on Kafka, against a store in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.errors import BrokerError
from schemas.sources import Source
from streams.archive import Archive
from streams.archive_core import ArchiveSettings, open_frame
from streams.archive_frame_lane import FrameLane
from streams.archive_lane import Delivery
from streams.archive_record_lane import RecordLane
from streams.clickhouse import Store
from streams.shard_store import ShardStore
from streams.steady_clock import wall_ms
from streams.topics import TopicNames
from tests.support.archive_frames import T0_MS, cover, frame, reading_frame, row
from tests.support.archive_shard import SETTINGS, STATE, TOPIC, ArchiveShard, Crash


async def test_frames_wait_until_a_batch_is_full_and_are_acknowledged_after_it_is_in(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 4), reading_frame(5, 9), reading_frame(10, 12))
    world.store.before = lambda table: pytest.fail("acknowledged too early") if world.acked else None
    lane = world.lane()
    await world.feed(lane)
    assert world.store.offsets == list(range(10))
    assert world.acked == [0, 1]
    world.store.before = lambda table: None
    await lane.flush()
    assert world.store.offsets == list(range(13))
    assert world.acked == [0, 1, 2]


async def test_what_waits_is_written_when_its_time_has_come_and_not_before(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 1))
    lane = world.lane(ArchiveSettings(batch_seconds=100))
    await world.feed(lane, at_ms=wall_ms())
    now = asyncio.get_running_loop().time()
    await lane.flush_if_due(now + 50)
    assert not world.store.offsets
    await lane.flush_if_due(now + 101)
    assert world.store.offsets == [0, 1]


async def test_a_batch_may_fill_longer_while_frames_come_that_are_old_already(
    world: ArchiveShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("streams.archive_lane.time", SimpleNamespace(monotonic=lambda: now))
    lane = world.lane(ArchiveSettings(batch_seconds=10))
    for second in range(0, 100, 5):
        await world.produce(reading_frame(second, second))
        now = 1000.0 + second
        await world.feed(lane, first=second // 5, at_ms=wall_ms() - 21_000)
        await lane.flush_if_due(now)
        assert not world.store.offsets
    await lane.flush_if_due(now := 1100.0)
    assert world.store.offsets == list(range(0, 100, 5))


async def test_a_batch_does_not_wait_for_what_does_not_come_though_the_last_was_old(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 1))
    lane = world.lane(ArchiveSettings(batch_seconds=100))
    await world.feed(lane, at_ms=wall_ms() - 210_000)
    now = asyncio.get_running_loop().time()
    await lane.flush_if_due(now + 99)
    assert not world.store.offsets
    await lane.flush_if_due(now + 101)
    assert world.store.offsets == [0, 1]


async def test_a_batch_does_not_wait_at_the_end_of_the_backlog(
    world: ArchiveShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("streams.archive_lane.time", SimpleNamespace(monotonic=lambda: now))
    await world.produce(reading_frame(0, 1), reading_frame(2, 3))
    lane = world.lane(ArchiveSettings(batch_seconds=10))
    await world.feed(lane, last=0, end=2)
    now = 1015.0
    await world.feed(lane, first=1, end=2)  # old, but the last: there is nothing that the batch could wait for
    await lane.flush_if_due(now)
    assert world.store.offsets == [0, 1, 2, 3]


async def test_the_largest_batch_is_written_while_all_shards_together_have_more_than_may_wait(
    world: ArchiveShard,
) -> None:
    small, large = reading_frame(0, 1), reading_frame(0, 99)
    both = sum(open_frame(TOPIC, 0, 0, payload, T0_MS).size for payload in (small, large))
    archive = Archive(
        ArchiveSettings(batch_seconds=100, waiting_bytes=both), TopicNames(), store=world.thread,
        state=ShardStore(STATE, world.log), log_=world.log, begin_of=lambda *_: world.begin(), zone=ZoneInfo("UTC"),
    )  # fmt: skip

    async def take(shard: int, payload: bytes) -> None:
        offset = await world.log.append(TOPIC, shard, payload)
        message = SimpleNamespace(topic=TOPIC, partition=shard, offset=offset, timestamp=T0_MS / 1000, value=payload)
        event: Any = SimpleNamespace(message=message, value=payload, ack=lambda: world.acked.append(shard))
        await archive.take(event)

    await take(0, small)
    await take(1, large)
    assert not world.acked
    await take(2, small)
    assert world.acked == [1]
    assert len(world.store.offsets) == 100
    await archive.flush()
    assert sorted(world.acked) == [0, 1, 2]


async def test_a_frame_delivered_again_is_passed_over_and_acknowledged(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 9), reading_frame(10, 19))
    lane = world.lane()
    await world.feed(lane)
    await world.feed(lane, first=0)
    assert world.store.offsets == list(range(20))
    assert world.acked == [0, 1, 0, 1]


async def test_a_frame_that_comes_twice_is_not_acknowledged_before_it_is_in(world: ArchiveShard) -> None:
    """The simulator: of the frames in hand the last came again, was acknowledged as known, and the commit went past
    all of them."""
    await world.produce(reading_frame(0, 9), reading_frame(10, 19), reading_frame(20, 29))
    lane = world.lane(ArchiveSettings(batch_seconds=100))
    await world.feed(lane)
    await world.feed(lane, first=2)
    assert world.acked == []
    await lane.flush()
    assert world.store.offsets == list(range(30))
    assert world.acked == [0, 1, 2, 2]


STEPS = ("before the plan", "before the insert", "after the insert", "after the done mark", "half of the tables in")


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_neither_loses_nor_repeats_a_row(world: ArchiveShard, step: str) -> None:
    tickets = [row(Source.TICKETS, 0, offset) for offset in range(3)]
    await world.produce(
        reading_frame(0, 9),
        frame(tickets, [cover(Source.TICKETS, 0, 0, 2)]),
        reading_frame(10, 19),
        reading_frame(15, 29),
    )
    lane = world.lane(ArchiveSettings(batch_rows=12, batch_seconds=100))
    puts = 0
    put = world.log.append

    async def counted_put(topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        nonlocal puts
        puts += 1
        if step == "before the plan" and puts == 1:
            raise Crash
        offset = await put(topic, partition, value, key=key)
        if step == "after the done mark" and puts == 2:
            raise Crash
        return offset

    def crash_on(table: str) -> Callable[[str], None]:
        def crash(name: str) -> None:
            if name == table:
                raise Crash

        return crash

    world.log.append = counted_put  # type: ignore[method-assign]
    if step == "before the insert":
        world.store.before = crash_on("observations")
    elif step == "half of the tables in":
        world.store.before = crash_on("tickets")
    elif step == "after the insert":
        world.store.after = crash_on("tickets")
    with pytest.raises(Crash):
        await world.feed(lane)
    world.log.append = put  # type: ignore[method-assign]
    world.store.before = world.store.after = lambda table: None

    heir = world.lane()
    await world.feed(heir)
    await heir.flush()
    where = [(entry["source"], entry["offset"]) for entry in world.store.tables["observations"]]
    assert Counter(where) == Counter(
        [("readings", offset) for offset in range(30)] + [("tickets", offset) for offset in range(3)]
    )
    assert [entry["offset"] for entry in world.store.tables["tickets"]] == [0, 1, 2]
    assert world.committed == 4


async def test_the_unfinished_batch_is_done_again_exactly_even_when_more_frames_wait(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 9))

    def crash(table: str) -> None:
        raise Crash

    world.store.after = crash
    with pytest.raises(Crash):
        await world.feed(world.lane())
    world.store.after = lambda table: None
    await world.produce(reading_frame(10, 14), reading_frame(15, 99))
    heir = world.lane(ArchiveSettings(batch_rows=100_000, batch_seconds=100))
    await world.feed(heir)
    assert world.store.offsets == list(range(10))  # dropped by its token, not merged into a larger batch
    await heir.flush()
    assert world.store.offsets == list(range(100))


async def test_an_heir_knows_the_raw_offsets_of_finished_batches(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 9))
    await world.feed(world.lane())
    await world.produce(reading_frame(5, 14))
    heir = world.lane()
    await world.feed(heir)
    await heir.flush()
    assert world.store.offsets == list(range(15))


async def test_frames_that_the_committed_offset_skipped_are_read_from_the_topic(world: ArchiveShard) -> None:
    await world.produce(*(reading_frame(at * 5, at * 5 + 4) for at in range(200)))
    lane = world.lane()
    await world.feed(lane, last=1)
    world.committed = 199  # what faust#606 or a person with kafka-consumer-groups would do
    heir = world.lane()
    await world.feed(heir)
    await heir.flush()
    assert world.store.offsets == list(range(1000))


async def test_a_batch_with_frames_lost_to_retention_is_inserted_under_a_new_token(
    world: ArchiveShard, caplog: pytest.LogCaptureFixture
) -> None:
    await world.produce(reading_frame(0, 4), reading_frame(5, 9))

    def crash(table: str) -> None:
        raise Crash

    world.store.before = crash
    with pytest.raises(Crash):
        await world.feed(world.lane())
    world.store.before = lambda table: None
    await world.log.truncate_before(TOPIC, 0, 1)
    await world.produce(reading_frame(10, 14))
    heir = world.lane()
    await world.feed(heir)
    await heir.flush()
    assert world.store.offsets == list(range(5, 15))
    assert "1 of 2 frames of the unfinished batch are gone" in caplog.text


async def test_a_checkpoint_ahead_of_its_topic_is_refused(world: ArchiveShard) -> None:
    """Failed silently before: the frames of a topic that was made anew were passed over as known."""
    await world.produce(reading_frame(0, 9), reading_frame(10, 19), reading_frame(20, 29))
    await world.feed(world.lane())
    world.log.messages[TOPIC, 0].clear()
    world.log.ends[TOPIC, 0] = 0
    await world.produce(reading_frame(30, 39), reading_frame(40, 49))
    acked, lane = len(world.acked), world.lane()
    for _ in range(2):  # it comes to the next frame before the worker has ended
        with pytest.raises(BrokerError, match=r"observations\[0\]: the checkpoint says that the frames up to offset 2"):
            await world.feed(lane, first=0)
    assert len(world.acked) == acked


async def test_frames_that_are_gone_before_they_were_archived_are_told(
    world: ArchiveShard, caplog: pytest.LogCaptureFixture
) -> None:
    await world.produce(*(reading_frame(at * 10, at * 10 + 9) for at in range(6)))
    await world.feed(world.lane(), last=1)
    await world.log.truncate_before(TOPIC, 0, 4)
    await world.feed(world.lane(), first=5)
    assert world.store.offsets == [*range(20), *range(40, 60)]
    assert "observations[0]: 2 of the frames 2..4 are gone from Kafka and were never archived" in caplog.text


async def test_a_lane_that_begins_late_and_without_a_checkpoint_says_so(
    world: ArchiveShard, caplog: pytest.LogCaptureFixture
) -> None:
    await world.produce(reading_frame(0, 9), reading_frame(10, 19))
    world.committed = 1
    await world.feed(world.lane())
    assert "begins at offset 1 without a checkpoint" in caplog.text
    assert world.store.offsets == list(range(10, 20))


async def test_a_frame_that_comes_before_the_first_is_no_beginning(world: ArchiveShard) -> None:
    """It was on its way while the group was being divided; the consumer then goes back to what is committed."""
    await world.produce(*(reading_frame(at * 10, at * 10 + 9) for at in range(3)))
    await world.feed(world.lane(), first=1, last=1)
    await world.feed(world.lane())
    assert sorted(world.store.offsets) == list(range(30))


async def test_a_lane_asks_until_kafka_says_where_it_begins(world: ArchiveShard) -> None:
    await world.produce(reading_frame(0, 9))
    answers = iter([False, False, True])

    async def begin() -> int:
        if not next(answers):
            raise BrokerError("nobody answers")
        return 0

    lane = FrameLane(TOPIC, 0, world.thread, SETTINGS, state=ShardStore(STATE, world.log), log=world.log, begin=begin)
    await world.feed(lane)
    assert world.store.offsets == list(range(10))


async def test_records_are_acknowledged_in_order_after_the_insert(world: ArchiveShard) -> None:
    taken: list[list[int]] = []
    acked: list[int] = []

    def insert_new(store: Store, records: Any, token: str) -> None:
        assert not acked
        taken.append(list(records))

    lane = RecordLane(
        *("alerts", 3, world.thread, ArchiveSettings(record_batch=3)),
        read=lambda topic, partition, delivery: delivery.offset,
        insert_new=insert_new,
    )
    for offset in range(3):
        await lane.accept(Delivery(offset, b"", T0_MS, lambda offset=offset: acked.append(offset)))  # type: ignore[misc]
    assert taken == [[0, 1, 2]] and acked == [0, 1, 2]
