"""Snapshots of the loop: only what changed is written, old parts do not pile up, a late owner does no harm."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping

import msgspec
import pytest

from schemas.errors import BrokerError
from streams.dispatch_snapshots import DELETE_EVERY, MOVE_BEYOND, LoopSnapshots
from streams.shard_store import ShardStore
from tests.support.memory_log import MemoryLog


class State:
    """Named numbers."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.dirty: set[str] = set()

    def set(self, name: str, number: int) -> None:
        self.numbers[name] = number
        self.dirty.add(name)

    def dirty_parts(self) -> Mapping[str, bytes]:
        names, self.dirty = self.dirty, set()
        return {name: part for name, part in self.parts().items() if name in names}

    def parts(self) -> Mapping[str, bytes]:
        return {name: str(number).encode() for name, number in sorted(self.numbers.items())}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        self.numbers = {name: int(part) for name, part in parts.items()}


def make(log: MemoryLog) -> LoopSnapshots:
    return LoopSnapshots(ShardStore("loop-state", log), log, parts_topic="loop-parts")


async def restored(log: MemoryLog) -> tuple[int | None, dict[str, int]]:
    state = State()
    return await make(log).read(state), state.numbers


async def test_there_is_nothing_to_restore_before_the_first_snapshot() -> None:
    assert await restored(MemoryLog()) == (None, {})


async def test_a_snapshot_comes_back_and_only_what_changed_is_written() -> None:
    log, state = MemoryLog(), State()
    snapshots = make(log)
    for name in "abc":
        state.set(name, 1)
    await snapshots.write(snapshots.capture(state, 10))
    state.set("b", 2)
    await snapshots.write(snapshots.capture(state, 20))
    assert len(log.messages["loop-parts", 0]) == 4
    assert await restored(log) == (20, {"a": 1, "b": 2, "c": 1})


async def test_a_capture_does_not_see_what_changes_while_it_is_written() -> None:
    log, state = MemoryLog(), State()
    snapshots = make(log)
    state.set("a", 1)
    captured = snapshots.capture(state, 10)
    state.set("a", 2)
    await snapshots.write(captured)
    assert await restored(log) == (10, {"a": 1})


async def test_a_crash_between_parts_and_manifest_leaves_the_snapshot_before() -> None:
    log, state = MemoryLog(), State()
    snapshots = make(log)
    state.set("a", 1)
    await snapshots.write(snapshots.capture(state, 10))
    state.set("a", 2)
    captured = snapshots.capture(state, 20)
    await log.append("loop-parts", 0, captured.parts["a"])  # and then the worker was killed
    assert await restored(log) == (10, {"a": 1})


@pytest.mark.parametrize("seed", range(6))
async def test_the_parts_topic_stays_short_also_when_most_parts_never_change_again(seed: int) -> None:
    chance = random.Random(seed)
    log, state = MemoryLog(), State()
    snapshots = make(log)
    for number in range(30):
        state.set(f"p{number}", number)
    for offset in range(600):
        state.set(f"p{chance.randint(0, 2)}", offset)
        await snapshots.write(snapshots.capture(state, offset))
        if offset % 37 == 0:
            log.compact("loop-state", 0)
            snapshots = make(log)  # another owner
            state = State()
            assert await snapshots.read(state) == offset
    assert len(log.messages["loop-parts", 0]) < (MOVE_BEYOND + 1) * 30 + 2 * DELETE_EVERY
    assert await restored(log) == (599, state.numbers)


async def test_an_owner_that_was_paused_cannot_put_its_older_state_in_place_of_a_newer_one() -> None:
    log, state = MemoryLog(), State()
    paused = make(log)
    state.set("a", 1)
    await paused.write(paused.capture(state, 10))
    state.set("a", 2)
    late = paused.capture(state, 15)
    successor, own = make(log), State()
    assert await successor.read(own) == 10
    own.set("a", 5)
    await successor.write(successor.capture(own, 30))
    assert not await paused.write(late)
    log.compact("loop-state", 0)
    assert await restored(log) == (30, {"a": 5})


async def test_an_owner_that_was_paused_deletes_nothing_that_its_successor_needs() -> None:
    """Failed while an owner deleted what its own manifest did not name: the part "rare" of the successor's."""
    log, state = MemoryLog(), State()
    paused = make(log)
    await paused.read(state)
    state.set("rare", 7)
    for offset in range(DELETE_EVERY - 1):
        state.set("often", offset)
        assert await paused.write(paused.capture(state, offset))
    for number in range(MOVE_BEYOND * 3):  # so that the part "rare" is old enough to be moved
        await log.append("loop-parts", 0, b"")
        state.set("often", number)
    late = paused.capture(state, 50)
    successor, own = make(log), State()
    assert await successor.read(own) == DELETE_EVERY - 2
    assert not await paused.write(late)  # its twelfth, which moves and deletes
    own.set("often", 100)
    assert not await successor.write(successor.capture(own, 60)), "the paused one has claimed the loop again"
    own.set("often", 101)
    assert await successor.write(successor.capture(own, 70))
    assert await restored(log) == (70, {"often": 101, "rare": 7})


async def test_a_snapshot_of_no_use_is_followed_by_a_whole_one() -> None:
    log, state = MemoryLog(), State()
    first, second = make(log), make(log)
    await first.read(state)
    state.set("a", 1)
    state.set("b", 2)
    assert await first.write(first.capture(state, 10))
    await second.read(State())
    state.set("a", 3)
    assert not await first.write(first.capture(state, 20))
    await log.truncate_before("loop-parts", 0, log.ends["loop-parts", 0])  # whatever the other one deletes
    state.set("a", 4)
    assert await first.write(first.capture(state, 30))
    assert await restored(log) == (30, {"a": 4, "b": 2})


async def test_a_late_manifest_whose_parts_are_gone_is_passed_over() -> None:
    log, state = MemoryLog(), State()
    paused, successor = make(log), make(log)
    state.set("a", 1)
    await paused.write(paused.capture(state, 50))  # it was ahead, and nobody knew
    own = State()
    own.set("a", 2)
    await successor.write(successor.capture(own, 30))
    await log.truncate_before("loop-parts", 0, 1)
    assert await restored(log) == (30, {"a": 2})


async def test_manifests_of_earlier_owners_are_cleared_away() -> None:
    log = MemoryLog()
    for offset in (10, 20, 30):
        snapshots, state = make(log), State()
        await snapshots.read(state)
        state.set("a", offset)
        await snapshots.write(snapshots.capture(state, offset))
    keys = await ShardStore("loop-state", log).load(0)
    assert len([key for key in keys if key.startswith("manifest")]) == 1


async def test_when_no_snapshot_can_be_used_that_is_said_and_nothing_begins_from_scratch() -> None:
    log, state = MemoryLog(), State()
    snapshots = make(log)
    state.set("a", 1)
    await snapshots.write(snapshots.capture(state, 10))
    log.messages["loop-parts", 0].clear()
    with pytest.raises(BrokerError, match="none of 1 can be used"):
        await restored(log)


async def test_a_damaged_manifest_is_refused_with_its_name() -> None:
    log = MemoryLog()
    await ShardStore("loop-state", log).put(0, "manifest-x", b"garbage of a version without checksums")
    with pytest.raises(BrokerError, match="damaged manifest in loop-state"):
        await restored(log)


async def test_a_part_with_a_flipped_bit_is_refused_though_it_can_be_read() -> None:
    log, state = MemoryLog(), State()
    snapshots = make(log)
    state.set("a", 10)
    await snapshots.write(snapshots.capture(state, 10))
    (part,) = log.messages["loop-parts", 0]
    assert part.value == b"10"
    log.messages["loop-parts", 0] = [dataclasses.replace(part, value=b"11")]
    with pytest.raises(BrokerError, match=r"part a in loop-parts\[0\] offset 0 is damaged.*delete the topic's records"):
        await restored(log)


async def test_parts_that_were_written_before_there_were_checksums_are_still_read() -> None:
    log = MemoryLog()
    await log.append("loop-parts", 0, b"7")
    old = {"version": 1, "next_offset": 5, "parts": [["a", 0]]}
    await ShardStore("loop-state", log).put(0, "manifest-x", msgspec.msgpack.encode(old))
    assert await restored(log) == (5, {"a": 7})
