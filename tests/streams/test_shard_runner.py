"""The runner of shards with the simplest work there is: what it does when its topic is not what its snapshot says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas.errors import BrokerError
from streams.shard_runner import Outgoing, ShardRunner
from tests.support.loop_fakes import Event, Sent, settle
from tests.support.memory_log import MemoryLog

TOPIC = "log"


@dataclass
class Size:
    size: int = 0


@dataclass
class Work:
    """Remembers what it took. `of_use`: whether its snapshots are, one after the other; then always."""

    begin: int | None = None
    of_use: list[bool] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    written: int = 0
    label = "test"

    async def restore(self) -> int | None:
        return self.begin

    def take(self, payload: bytes, offset: int) -> Sequence[Outgoing]:
        self.taken.append(offset)
        return []

    async def capture(self, next_offset: int) -> Size:
        return Size()

    async def write(self, captured: Size) -> bool:
        self.written += 1
        return self.of_use.pop(0) if self.of_use else True

    def gone(self, first: int, last: int) -> None:
        self.lost.append((first, last))

    def forget(self) -> None: ...


async def log_of(count: int) -> MemoryLog:
    log = MemoryLog()
    for number in range(count):
        await log.append(TOPIC, 0, f"{number}".encode())
    return log


def runner_on(log: MemoryLog, work: Work, *, every_s: float = 1e9) -> ShardRunner[Any]:
    return ShardRunner(TOPIC, lambda _: work, sender=Sent(), log_=log, snapshot_every_s=every_s)


async def test_a_snapshot_ahead_of_its_topic_is_refused() -> None:
    """The topic was made anew. Before, as many messages as the old one had were passed over as known."""
    work = Work(begin=7)
    runner = runner_on(await log_of(3), work)
    for offset in range(3):  # those behind the first were passed over as known, and a snapshot that says so was stored
        with pytest.raises(BrokerError, match=r"log\[0\]: the snapshot contains the messages up to offset 6"):
            await runner.handle(Event(TOPIC, b"0", offset))
    await runner.close()
    assert (work.taken, work.written) == ([], 0)


async def test_messages_that_a_snapshot_contains_are_passed_over_as_long_as_the_topic_has_them() -> None:
    work, log = Work(begin=2), await log_of(4)
    runner = runner_on(log, work)
    for offset in range(4):
        await runner.handle(Event(TOPIC, b"", offset))
    assert (work.taken, work.lost) == ([2, 3], [])


async def test_messages_that_retention_took_before_they_were_taken_in_are_told_to_the_work() -> None:
    work, log = Work(begin=2), await log_of(30)
    log.messages[TOPIC, 0] = [m for m in log.messages[TOPIC, 0] if m.offset not in (2, 3, 4, 9, 27)]
    await runner_on(log, work).handle(Event(TOPIC, b"", 28))
    assert work.lost == [(2, 4), (9, 9), (27, 27)]
    assert work.taken == [at for at in range(2, 29) if at not in (2, 3, 4, 9, 27)]


async def test_events_of_a_snapshot_of_no_use_are_acknowledged_with_the_next() -> None:
    work, log = Work(of_use=[False]), await log_of(3)
    runner = runner_on(log, work, every_s=1e-9)
    events = [Event(TOPIC, b"", offset) for offset in range(3)]
    await runner.handle(events[0])
    await settle()
    assert work.written == 1 and not events[0].acked
    for event in events[1:]:
        await runner.handle(event)
        await settle()
    await runner.close()
    assert all(event.acked for event in events)


class Telling(Work):
    """Of each message something follows."""

    def take(self, payload: bytes, offset: int) -> Sequence[Outgoing]:
        super().take(payload, offset)
        if payload == b"a bug":
            raise ZeroDivisionError
        return [Outgoing("told", payload, b"")]


class Away(Sent):
    """A producer that takes the first message only."""

    async def send(self, topic: str, value: bytes, key: bytes) -> Any:
        if value == b"0":
            return await super().send(topic, value, key)
        raise OSError("the buffer is full")


@pytest.mark.parametrize(("sender", "payload"), [(Away(), b"1"), (Sent(), b"a bug")])
async def test_a_message_that_was_taken_in_halfway_is_in_no_snapshot(sender: Sent, payload: bytes) -> None:
    """The orderly stop after such an error wrote one all the same: what followed from the message was never told."""
    work = Telling()
    runner: ShardRunner[Any] = ShardRunner(
        TOPIC, lambda _: work, sender=sender, log_=await log_of(2), snapshot_every_s=1e9
    )
    events = Event(TOPIC, b"0", 0), Event(TOPIC, payload, 1)
    await runner.handle(events[0])
    with pytest.raises((OSError, ZeroDivisionError)):
        await runner.handle(events[1])
    await runner.snapshot_due()
    await runner.close()
    assert work.written == 0
    assert not any(event.acked for event in events)


class SlowCopy(Work):
    """Whose capture takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.copying, self.go_on = asyncio.Event(), asyncio.Event()

    async def capture(self, next_offset: int) -> Size:
        self.copying.set()
        await self.go_on.wait()
        return Size()


async def test_no_message_is_taken_while_the_state_is_copied() -> None:
    work, log = SlowCopy(), await log_of(2)
    runner = runner_on(log, work, every_s=1e-9)
    first = asyncio.create_task(runner.handle(Event(TOPIC, b"", 0)))
    await work.copying.wait()
    second = asyncio.create_task(runner.handle(Event(TOPIC, b"", 1)))
    await settle()
    assert work.taken == [0]
    work.go_on.set()
    await asyncio.gather(first, second)
    assert work.taken == [0, 1]


class BrokenCopy(Work):
    async def capture(self, next_offset: int) -> Size:
        raise MemoryError


async def test_after_a_copy_that_failed_no_snapshot_is_written() -> None:
    """Copying notes what has changed since the last snapshot as stored: the orderly stop wrote one that lacked it."""
    work, log = BrokenCopy(), await log_of(1)
    runner = runner_on(log, work, every_s=1e-9)
    with pytest.raises(MemoryError):
        await runner.handle(Event(TOPIC, b"", 0))
    await runner.close()
    assert not work.written


async def test_an_event_that_is_given_up_while_the_state_is_copied_leaves_it_alone_until_it_is() -> None:
    work, log = SlowCopy(), await log_of(2)
    runner = runner_on(log, work, every_s=1e-9)
    first = asyncio.create_task(runner.handle(Event(TOPIC, b"", 0)))
    await work.copying.wait()
    first.cancel()
    second = asyncio.create_task(runner.handle(Event(TOPIC, b"", 1)))
    await settle()
    assert work.taken == [0]
    work.go_on.set()
    await second
    assert first.cancelled() and work.taken == [0, 1]


async def test_a_shard_that_goes_while_it_is_copied_is_not_written() -> None:
    work, log = SlowCopy(), await log_of(1)
    runner = runner_on(log, work, every_s=1e-9)
    handling = asyncio.create_task(runner.handle(Event(TOPIC, b"", 0)))
    await work.copying.wait()
    runner.forget([0])
    work.go_on.set()
    await handling
    await settle()
    assert work.written == 0
