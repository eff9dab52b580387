"""When a consumer is said to stand still, on a hand-moved clock, with a broker that says what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from math import inf

import pytest

from schemas.errors import BrokerError, WorkerStuck
from streams import metrics
from streams.liveness import BUSY, CHECK_EVERY_S, LONGEST_STEP_S, WAITS, Liveness, Partition, Standing, Watched

HERE = Partition("observations", 0)
THERE = Partition("observations", 1)
AFTER_S = 60.0


class Broker:
    """What it says of each partition; `away` leaves questions unanswered."""

    def __init__(self) -> None:
        self.says: dict[Partition, Standing] = {}
        self.members = True
        self.away = False
        self.records = True
        self.probed: list[tuple[Partition, int]] = []

    async def standings(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, Standing]:
        if self.away:
            raise BrokerError("nobody answers")
        return {partition: self.says[partition] for partition in partitions}

    async def has_members(self, group: str) -> bool:
        if self.away:
            raise BrokerError("nobody answers")
        return self.members

    async def has_record(self, partition: Partition, offset: int, *, read_committed: bool) -> bool:
        self.probed.append((partition, offset))
        return self.records

    async def close(self) -> None: ...


class City:
    """One group that is watched, and the clock."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.now_s = 1_000.0
        self.mine = {HERE}
        self.pace = 1.0
        watched = Watched("join", "tongguan-join", lambda: self.mine, lambda: self.pace)
        self.liveness = Liveness([watched], self.broker, stuck_after_s=AFTER_S, clock=lambda: self.now_s)

    async def pass_s(self, seconds: float) -> None:
        """So much time, with its looks."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += CHECK_EVERY_S
            await self.liveness.look()


@pytest.fixture
def city() -> City:
    return City()


async def test_messages_that_wait_for_too_long_are_told_with_place_and_time(city: City) -> None:
    city.broker.says[HERE] = Standing(begin=0, end=50, committed=7)
    before = metrics.STUCK_CONSUMERS.labels("join")._value.get()
    with pytest.raises(
        WorkerStuck, match=r"join: .*tongguan-join: observations\[0\] at offset 7, 43 waiting, for 60 s"
    ):
        await city.pass_s(AFTER_S + 2 * CHECK_EVERY_S)
    assert metrics.STUCK_CONSUMERS.labels("join")._value.get() == before + 1


async def test_a_little_less_is_no_standstill(city: City) -> None:
    city.broker.says[HERE] = Standing(0, 50, 7)
    await city.pass_s(AFTER_S)  # the first look only begins the count


async def test_a_commit_that_moves_begins_the_count_anew_however_large_the_backlog(city: City) -> None:
    for committed in range(20):
        city.broker.says[HERE] = Standing(0, 1_000_000, committed)
        await city.pass_s(AFTER_S - CHECK_EVERY_S)


async def test_nothing_waiting_is_no_standstill(city: City) -> None:
    city.broker.says[HERE] = Standing(0, 7, 7)
    await city.pass_s(100 * AFTER_S)
    city.broker.says[HERE] = Standing(0, 8, 7)  # the count begins with the first message, not before it
    await city.pass_s(AFTER_S - CHECK_EVERY_S)
    city.broker.says[HERE] = Standing(0, 8, 8)
    await city.pass_s(AFTER_S)


async def test_a_partition_without_a_commit_counts_from_its_beginning(city: City) -> None:
    city.broker.says[HERE] = Standing(30, 30, None)  # all was deleted
    await city.pass_s(2 * AFTER_S)
    city.broker.says[HERE] = Standing(30, 31, None)
    with pytest.raises(WorkerStuck, match="at offset 30, 1 waiting"):
        await city.pass_s(AFTER_S + CHECK_EVERY_S)


async def test_a_commit_before_what_was_deleted_counts_from_the_beginning(city: City) -> None:
    city.broker.says[HERE] = Standing(begin=100, end=100, committed=7)
    await city.pass_s(2 * AFTER_S)


async def test_one_of_many_is_enough(city: City) -> None:
    city.mine = {HERE, THERE}
    city.broker.says[THERE] = Standing(0, 9, 3)
    for committed in range(int(AFTER_S / CHECK_EVERY_S)):
        city.broker.says[HERE] = Standing(0, 1_000, committed)
        await city.pass_s(CHECK_EVERY_S)
    with pytest.raises(WorkerStuck, match=r"observations\[1\] at offset 3"):
        await city.pass_s(CHECK_EVERY_S)
    assert city.broker.probed == [(THERE, 3)]


async def test_offsets_without_records_at_the_end_are_nothing_to_consume(city: City) -> None:
    """Markers of transactions and what compaction left: a commit never goes beyond them."""
    city.broker.says[HERE] = Standing(0, 9, 7)
    city.broker.records = False
    await city.pass_s(5 * AFTER_S)
    assert city.broker.probed
    city.broker.records = True
    with pytest.raises(WorkerStuck):
        await city.pass_s(2 * AFTER_S)


async def test_while_the_broker_is_away_nobody_is_to_blame(city: City) -> None:
    city.broker.says[HERE] = Standing(0, 50, 7)
    await city.pass_s(AFTER_S - CHECK_EVERY_S)
    city.broker.away = True
    await city.pass_s(20 * AFTER_S)
    city.broker.away = False
    await city.pass_s(CHECK_EVERY_S)  # the interval that ends with the first answer does not count
    city.broker.says[HERE] = Standing(0, 50, 50)
    await city.pass_s(AFTER_S)


async def test_a_machine_that_slept_is_not_to_blame_either(city: City) -> None:
    city.broker.says[HERE] = Standing(0, 50, 7)
    await city.pass_s(2 * CHECK_EVERY_S)
    city.now_s += 8 * 3_600
    await city.liveness.look()  # counts LONGEST_STEP_S
    await city.pass_s(AFTER_S - LONGEST_STEP_S - 2 * CHECK_EVERY_S)
    city.broker.says[HERE] = Standing(0, 50, 50)
    await city.pass_s(AFTER_S)


async def test_a_consumer_that_waits_for_its_store_may_wait_for_ever(city: City) -> None:
    city.broker.says[HERE] = Standing(0, 50, 7)
    city.pace = WAITS
    await city.pass_s(100 * AFTER_S)
    city.pace = 1.0
    await city.pass_s(AFTER_S - CHECK_EVERY_S)  # and has its time afterwards
    with pytest.raises(WorkerStuck):
        await city.pass_s(2 * CHECK_EVERY_S)


async def test_a_busy_one_has_ten_times_the_time(city: City) -> None:
    city.broker.says[HERE] = Standing(0, 50, 7)
    city.pace = BUSY
    await city.pass_s(AFTER_S / BUSY - CHECK_EVERY_S)
    with pytest.raises(WorkerStuck):
        await city.pass_s(3 * CHECK_EVERY_S)


async def test_partitions_of_other_workers_are_theirs_to_watch(city: City) -> None:
    city.broker.says[HERE] = Standing(0, 50, 7)
    await city.pass_s(AFTER_S - CHECK_EVERY_S)
    city.mine = set()
    await city.pass_s(10 * AFTER_S)
    city.mine = {HERE}  # ours again: it has its whole time
    await city.pass_s(AFTER_S - CHECK_EVERY_S)
    with pytest.raises(WorkerStuck):
        await city.pass_s(inf)


async def test_a_group_without_any_member_is_one_that_we_have_dropped_out_of(city: City) -> None:
    city.mine = set()
    city.broker.members = False
    with pytest.raises(WorkerStuck, match="no member, not even this worker"):
        await city.pass_s(AFTER_S + 2 * CHECK_EVERY_S)


async def test_a_group_that_is_joined_late_is_fine(city: City) -> None:
    city.mine = set()
    city.broker.members = False
    await city.pass_s(AFTER_S - CHECK_EVERY_S)
    city.broker.members = True
    await city.pass_s(10 * AFTER_S)


async def test_the_service_crashes_with_what_it_found(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches the worker's services sees it there."""
    monkeypatch.setattr("streams.liveness.CHECK_EVERY_S", 0.001)
    city.broker.says[HERE] = Standing(0, 50, 7)
    city.liveness._clock = iter(range(0, 10_000, 5)).__next__
    await city.liveness.start()
    try:
        async with asyncio.timeout(5):
            await city.liveness.wait_until_stopped()
        assert isinstance(city.liveness.crash_reason, WorkerStuck)
    finally:
        await city.liveness.stop()
