"""A shard of the archive that changes hands: lost while an insert runs, frozen and thawed, claimed by two at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from streams.archive_core import ArchiveSettings
from streams.archive_frame_lane import FrameLane
from streams.shard_store import ShardStore
from tests.support.archive_frames import reading_frame
from tests.support.archive_shard import SETTINGS, STATE, TOPIC, ArchiveShard, Crash
from tests.support.memory_log import MemoryLog


async def test_a_lane_that_lost_its_partition_acknowledges_and_records_nothing(world: ArchiveShard) -> None:
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
async def test_an_owner_that_was_frozen_inserts_nothing_beside_its_successor(
    world: ArchiveShard, side: str, nth: int
) -> None:
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


async def test_two_owners_that_do_a_batch_again_do_the_same_one(world: ArchiveShard) -> None:
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
    world: ArchiveShard,
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
