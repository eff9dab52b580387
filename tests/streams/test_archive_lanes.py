"""Lanes: batches, acknowledgement, crashes at every step, take-over and outages, against a store in memory."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from schemas.errors import BrokerError, BrokerRefused, StoreUnavailable
from schemas.sources import Source
from streams import clickhouse
from streams.archive import Archive
from streams.archive_core import ArchiveSettings, open_frame
from streams.archive_lanes import Delivery, FrameLane, RecordLane
from streams.clickhouse import Store, StoreThread, parse_address
from streams.shard_store import ShardStore
from streams.steady_clock import wall_ms
from streams.topics import TopicNames
from tests.support.archive_frames import T0_MS, cover, frame, reading_frame, row
from tests.support.memory_log import MemoryLog

TOPIC, STATE = "observations", "archive-state"
SETTINGS = ArchiveSettings(batch_rows=10, batch_seconds=0.01)


class Crash(BaseException):
    """Stands for kill -9: nothing that would run after it does."""


class MemoryStore(Store):
    """Tables as lists, an insert window by token like ClickHouse's, and faults at choice."""

    def __init__(self) -> None:
        super().__init__(parse_address("http://nowhere:1"))
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.tokens: set[tuple[str, str | None]] = set()
        self.away = False
        self.before: Callable[[str], None] = lambda table: None
        self.after: Callable[[str], None] = lambda table: None

    def insert(self, table: str, rows: pa.Table, *, token: str | None = None) -> None:
        if self.away:
            raise StoreUnavailable("nowhere: connection refused")
        self.before(table)
        if (table, token) not in self.tokens:
            self.tokens.add((table, token))
            self.tables.setdefault(table, []).extend(rows.to_pylist())
        self.after(table)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        raise AssertionError("the frame lane asks nothing")

    def close(self) -> None:
        pass

    @property
    def offsets(self) -> list[int]:
        return [entry["offset"] for entry in self.tables.get("observations", [])]


class World:
    """One shard's Kafka and ClickHouse, which outlive the lanes that work on them."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.store = MemoryStore()
        self.thread = StoreThread(self.store)
        self.acked: list[int] = []
        self.committed = 0

    def lane(self, settings: ArchiveSettings = SETTINGS) -> FrameLane:
        state = ShardStore(STATE, self.log)
        return FrameLane(TOPIC, 0, self.thread, settings, state=state, log=self.log, begin=self.begin)

    async def begin(self) -> int:
        """Of the group's consumer."""
        return self.committed

    async def produce(self, *frames: bytes) -> None:
        for payload in frames:
            await self.log.append(TOPIC, 0, payload)

    async def feed(
        self, lane: FrameLane, first: int | None = None, last: int | None = None, at_ms: int = T0_MS, end: int = 10**9
    ) -> None:
        """Deliver what Kafka has from the committed offset on, as Faust would; by its time, `at_ms`, long ago."""
        begin = self.committed if first is None else first
        for message in await self.log.read_range(TOPIC, 0, begin, 10**9 if last is None else last):
            is_last = message.offset + 1 == end
            await lane.accept(Delivery(message.offset, message.value, at_ms, self._ack(message.offset), is_last))

    def _ack(self, offset: int) -> Callable[[], object]:
        def ack() -> None:
            self.acked.append(offset)
            self.committed = max(self.committed, offset + 1)

        return ack


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.thread.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("streams.archive_lanes.RETRY_PAUSE_S", 0.01)


async def test_frames_wait_until_a_batch_is_full_and_are_acknowledged_after_it_is_in(world: World) -> None:
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


async def test_what_waits_is_written_when_its_time_has_come_and_not_before(world: World) -> None:
    await world.produce(reading_frame(0, 1))
    lane = world.lane(ArchiveSettings(batch_seconds=100))
    await world.feed(lane, at_ms=wall_ms())
    now = asyncio.get_running_loop().time()
    await lane.flush_if_due(now + 50)
    assert not world.store.offsets
    await lane.flush_if_due(now + 101)
    assert world.store.offsets == [0, 1]


async def test_a_batch_may_fill_longer_while_frames_come_that_are_old_already(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("streams.archive_lanes.time", SimpleNamespace(monotonic=lambda: now))
    lane = world.lane(ArchiveSettings(batch_seconds=10))
    for second in range(0, 100, 5):
        await world.produce(reading_frame(second, second))
        now = 1000.0 + second
        await world.feed(lane, first=second // 5, at_ms=wall_ms() - 21_000)
        await lane.flush_if_due(now)
        assert not world.store.offsets
    await lane.flush_if_due(now := 1100.0)
    assert world.store.offsets == list(range(0, 100, 5))


async def test_a_batch_does_not_wait_for_what_does_not_come_though_the_last_was_old(world: World) -> None:
    await world.produce(reading_frame(0, 1))
    lane = world.lane(ArchiveSettings(batch_seconds=100))
    await world.feed(lane, at_ms=wall_ms() - 210_000)
    now = asyncio.get_running_loop().time()
    await lane.flush_if_due(now + 99)
    assert not world.store.offsets
    await lane.flush_if_due(now + 101)
    assert world.store.offsets == [0, 1]


async def test_a_batch_does_not_wait_at_the_end_of_the_backlog(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("streams.archive_lanes.time", SimpleNamespace(monotonic=lambda: now))
    await world.produce(reading_frame(0, 1), reading_frame(2, 3))
    lane = world.lane(ArchiveSettings(batch_seconds=10))
    await world.feed(lane, last=0, end=2)
    now = 1015.0
    await world.feed(lane, first=1, end=2)  # old, but the last: there is nothing that the batch could wait for
    await lane.flush_if_due(now)
    assert world.store.offsets == [0, 1, 2, 3]


async def test_the_largest_batch_is_written_while_all_shards_together_have_more_than_may_wait(world: World) -> None:
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


async def test_a_frame_delivered_again_is_passed_over_and_acknowledged(world: World) -> None:
    await world.produce(reading_frame(0, 9), reading_frame(10, 19))
    lane = world.lane()
    await world.feed(lane)
    await world.feed(lane, first=0)
    assert world.store.offsets == list(range(20))
    assert world.acked == [0, 1, 0, 1]


STEPS = ("before the plan", "before the insert", "after the insert", "after the done mark", "half of the tables in")


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_neither_loses_nor_repeats_a_row(world: World, step: str) -> None:
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


async def test_the_unfinished_batch_is_done_again_exactly_even_when_more_frames_wait(world: World) -> None:
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


async def test_an_heir_knows_the_raw_offsets_of_finished_batches(world: World) -> None:
    await world.produce(reading_frame(0, 9))
    await world.feed(world.lane())
    await world.produce(reading_frame(5, 14))
    heir = world.lane()
    await world.feed(heir)
    await heir.flush()
    assert world.store.offsets == list(range(15))


async def test_frames_that_the_committed_offset_skipped_are_read_from_the_topic(world: World) -> None:
    await world.produce(*(reading_frame(at * 5, at * 5 + 4) for at in range(200)))
    lane = world.lane()
    await world.feed(lane, last=1)
    world.committed = 199  # what faust#606 or a person with kafka-consumer-groups would do
    heir = world.lane()
    await world.feed(heir)
    await heir.flush()
    assert world.store.offsets == list(range(1000))


async def test_a_batch_with_frames_lost_to_retention_is_inserted_under_a_new_token(
    world: World, caplog: pytest.LogCaptureFixture
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


async def test_a_lane_that_lost_its_partition_acknowledges_and_records_nothing(world: World) -> None:
    await world.produce(reading_frame(0, 9), reading_frame(10, 19))
    old = world.lane()
    world.store.after = lambda table: old.revoke()  # the rebalance comes while the insert runs
    await world.feed(old, last=0)
    assert world.store.offsets == list(range(10)) and not world.acked
    world.store.after = lambda table: None
    await world.feed(old)  # events that were already in hand
    assert not world.acked
    heir = world.lane()
    await world.feed(heir)
    assert world.store.offsets == list(range(20))
    assert world.acked == [0, 1]


async def test_while_clickhouse_is_away_accept_does_not_return_and_says_so_once(
    world: World, caplog: pytest.LogCaptureFixture
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


async def test_a_revoked_lane_stops_waiting_for_clickhouse(world: World) -> None:
    await world.produce(reading_frame(0, 9))
    world.store.away = True
    lane = world.lane()
    feeding = asyncio.create_task(world.feed(lane))
    await asyncio.sleep(0.05)
    lane.revoke()
    await asyncio.wait_for(feeding, 5)
    assert not world.acked


async def test_a_checkpoint_ahead_of_its_topic_is_refused(world: World) -> None:
    """Failed silently before: the frames of a topic that was made anew were passed over as known."""
    await world.produce(reading_frame(0, 9), reading_frame(10, 19), reading_frame(20, 29))
    await world.feed(world.lane())
    world.log.messages[TOPIC, 0].clear()
    world.log.ends[TOPIC, 0] = 0
    await world.produce(reading_frame(30, 39))
    with pytest.raises(BrokerError, match=r"observations\[0\]: the checkpoint says that the frames up to offset 2"):
        await world.feed(world.lane(), first=0)


async def test_frames_that_are_gone_before_they_were_archived_are_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.produce(*(reading_frame(at * 10, at * 10 + 9) for at in range(6)))
    await world.feed(world.lane(), last=1)
    await world.log.truncate_before(TOPIC, 0, 4)
    await world.feed(world.lane(), first=5)
    assert world.store.offsets == [*range(20), *range(40, 60)]
    assert "observations[0]: 2 of the frames 2..4 are gone from Kafka and were never archived" in caplog.text


async def test_a_lane_that_begins_late_and_without_a_checkpoint_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.produce(reading_frame(0, 9), reading_frame(10, 19))
    world.committed = 1
    await world.feed(world.lane())
    assert "begins at offset 1 without a checkpoint" in caplog.text
    assert world.store.offsets == list(range(10, 20))


async def test_a_frame_that_comes_before_the_first_is_no_beginning(world: World) -> None:
    """It was on its way while the group was being divided; the consumer then goes back to what is committed."""
    await world.produce(*(reading_frame(at * 10, at * 10 + 9) for at in range(3)))
    await world.feed(world.lane(), first=1, last=1)
    await world.feed(world.lane())
    assert sorted(world.store.offsets) == list(range(30))


async def test_a_lane_asks_until_kafka_says_where_it_begins(world: World) -> None:
    await world.produce(reading_frame(0, 9))
    answers = iter([False, False, True])

    async def begin() -> int:
        if not next(answers):
            raise BrokerError("nobody answers")
        return 0

    lane = FrameLane(TOPIC, 0, world.thread, SETTINGS, state=ShardStore(STATE, world.log), log=world.log, begin=begin)
    await world.feed(lane)
    assert world.store.offsets == list(range(10))


class Frozen(MemoryLog):
    """A log in whose `nth` append the process is frozen, before it or behind it; until `thawed` is set."""

    def __init__(self, log: MemoryLog, side: str, nth: int) -> None:
        self.messages, self.ends, self.fail_appends = log.messages, log.ends, 0
        self.reached, self.thawed = asyncio.Event(), asyncio.Event()
        self._side, self._left = side, nth

    async def append(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        self._left -= 1
        if self._side == "before" and not self._left:
            await self._freeze()
        offset = await super().append(topic, partition, value, key=key)
        if self._side == "after" and not self._left:
            await self._freeze()
        return offset

    async def _freeze(self) -> None:
        self.reached.set()
        await self.thawed.wait()


CLAIM, PLAN, DONE = 1, 2, 3  # what an owner writes, in this order


@pytest.mark.parametrize(
    ("side", "nth"),
    [("before", CLAIM), ("after", CLAIM), ("before", PLAN), ("after", PLAN), ("before", DONE), ("after", DONE)],
)
async def test_an_owner_that_was_frozen_inserts_nothing_beside_its_successor(world: World, side: str, nth: int) -> None:
    """Failed before there were claims: the plan of the former owner overwrote the checkpoint of its successor, and its
    frames went in again under another token."""
    await world.produce(*(reading_frame(at * 5, at * 5 + 4) for at in range(6)))
    frozen = Frozen(world.log, side, nth)
    state = ShardStore(STATE, frozen)
    paused = FrameLane(TOPIC, 0, world.thread, SETTINGS, state=state, log=frozen, begin=world.begin)
    feeding = asyncio.create_task(world.feed(paused))
    await frozen.reached.wait()
    successor = world.lane(ArchiveSettings(batch_rows=15, batch_seconds=0.01))
    await world.feed(successor, first=0)
    frozen.thawed.set()
    await feeding
    await paused.flush()
    await world.produce(reading_frame(30, 34), reading_frame(35, 39))
    await world.feed(successor, first=6)
    await successor.flush()
    paused.revoke()
    third = world.lane()
    await world.feed(third, first=0)
    await third.flush()
    assert Counter(world.store.offsets) == Counter(range(40))


async def test_two_owners_that_do_a_batch_again_do_the_same_one(world: World) -> None:
    """Both claim the shard, then each one's plan stands behind the other's claim. Both plans stay in the topic, and
    each owner chose another one when it claimed the shard again: the frames went in twice, under two tokens."""
    world.store.away = True
    await world.produce(reading_frame(0, 4))
    first, second = world.lane(), world.lane()
    await world.feed(first, first=0)
    await world.feed(second, first=0)
    await first.flush()  # its plan is void
    going_on = [asyncio.create_task(first.flush())]  # finds its plan, and waits for the store
    await _until(lambda: world.thread.away)
    await second.flush()  # void, too
    going_on.append(asyncio.create_task(second.flush()))  # finds both plans
    await _until(lambda: len(world.log.messages[STATE, 0]) > 7)
    world.store.away = False
    await asyncio.gather(*going_on)
    await first.flush()
    await second.flush()
    assert Counter(world.store.offsets) == Counter(range(5))


async def _until(come: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if come():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it did not come")


async def test_what_another_owner_had_planned_is_done_again_and_acknowledged_though_nothing_more_comes(
    world: World,
) -> None:
    await world.produce(reading_frame(0, 1), reading_frame(2, 3))
    ours, other = world.lane(), world.lane()
    await world.feed(ours)
    await world.feed(other)
    world.store.before = lambda table: (_ for _ in ()).throw(Crash)
    with pytest.raises(Crash):
        await other.flush()  # its plan is stored
    world.store.before = lambda table: None
    for _ in range(2):  # sees the claim; does the batch again
        await ours.flush()
    assert world.store.offsets == [0, 1, 2, 3]
    assert world.acked == [0, 1]


@pytest.mark.parametrize("when", ["waiting for the store", "writing the plan"])
async def test_a_lane_that_was_cancelled_in_the_middle_goes_on_from_its_checkpoint(world: World, when: str) -> None:
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


async def test_records_in_hand_when_cancelled_are_written_before_they_are_acknowledged(world: World) -> None:
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


async def test_kafka_away_while_checkpointing_is_waited_out(world: World) -> None:
    await world.produce(reading_frame(0, 9))
    world.log.fail_appends = 3
    await world.feed(world.lane())
    assert world.store.offsets == list(range(10)) and world.acked == [0]


async def test_a_checkpoint_that_kafka_refuses_for_good_ends_the_worker_and_the_next_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
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


async def test_records_are_acknowledged_in_order_after_the_insert(world: World) -> None:
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
