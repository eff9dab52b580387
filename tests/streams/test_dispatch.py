"""The loop's runner and its clock, without Faust and Kafka: crashes anywhere, two owners, when time is written."""

from __future__ import annotations

import random

import pytest

from schemas.examples import INCIDENT
from schemas.incident import encode_incident
from schemas.loop_record import NO_OFFSET, LoopKind, LoopRecord, decode_loop_record, decode_tick, encode_loop_record
from schemas.notification import Notification, decode_notification
from streams.dispatch import LoopWork, Ticker, make_runner
from streams.dispatch_snapshots import CapturedLoop, LoopSnapshots
from streams.shard_runner import ShardRunner
from streams.shard_store import ShardStore
from streams.topics import TopicNames
from tests.support.loop_fakes import CountingCore, Event, Sent, settle, values
from tests.support.memory_log import MemoryLog

NAMES = TopicNames()
COUNT = 80


def snapshots_in(log: MemoryLog) -> LoopSnapshots:
    return LoopSnapshots(ShardStore(NAMES.loop_state, log), log, parts_topic=NAMES.loop_parts)


def runner_on(log: MemoryLog, sent: Sent, *, every_s: float = 1e9) -> ShardRunner[CapturedLoop]:
    return make_runner(NAMES, CountingCore, lambda: snapshots_in(log), sender=sent, log_=log, snapshot_every_s=every_s)


async def log_with(count: int = COUNT) -> MemoryLog:
    """Records of three source partitions, some of them twice, as an intake leaves them after a crash."""
    log, chance = MemoryLog(), random.Random(3)
    next_offset = [0, 0, 0]
    for _ in range(count):
        partition = chance.randint(0, 2)
        offset = max(0, next_offset[partition] - chance.choice([0, 0, 0, 2]))
        next_offset[partition] = max(next_offset[partition], offset + 1)
        record = LoopRecord(
            kind=LoopKind.ALERT, cause_topic="alerts", cause_partition=partition, cause_offset=offset, arrived_ms=7
        )
        await log.append(NAMES.loop, 0, encode_loop_record(record))
    return log


def events_of(log: MemoryLog, begin: int = 0) -> list[Event]:
    return [Event(NAMES.loop, value, offset) for offset, value in enumerate(values(log, NAMES.loop))][begin:]


def told(sent: Sent) -> list[Notification]:
    return [decode_notification(value) for value in sent.on(NAMES.notifications)]


async def uninterrupted() -> list[Notification]:
    log, sent = await log_with(), Sent()
    runner = runner_on(log, sent)
    for event in events_of(log):
        await runner.handle(event)
    return told(sent)


@pytest.mark.parametrize("seed", range(10))
async def test_a_worker_killed_at_any_record_is_followed_by_one_that_tells_the_same(seed: int) -> None:
    chance = random.Random(seed)
    log, everything, at = await log_with(), [], 0
    while at < COUNT:
        sent = Sent()
        runner = runner_on(log, sent, every_s=chance.choice([1e-9, 1e9]))
        events = events_of(log, at)[: chance.randint(1, 15)]
        for event in events:
            await runner.handle(event)
            if chance.random() < 0.5:
                await settle()
        everything += told(sent)
        runner.forget([0])  # killed: what was not written is lost
        if events[-1].message.offset == COUNT - 1:
            break
        at = max(0, events[-1].message.offset + 1 - chance.choice([0, 0, 1, 3]))
    expected = await uninterrupted()
    assert {message.notification_id: message for message in everything} == {
        message.notification_id: message for message in expected
    }
    by_id = {message.notification_id: message for message in expected}
    assert all(by_id[message.notification_id] == message for message in everything), "told again, it is the same"


async def test_each_cause_counts_once_however_often_it_is_in_the_log() -> None:
    causes = [message.cause for message in await uninterrupted()]
    assert len(causes) == len(set(causes)) < COUNT


async def test_an_event_is_acknowledged_only_when_what_it_told_and_its_snapshot_are_durable() -> None:
    log, sent = await log_with(), Sent()
    runner = runner_on(log, sent)
    events = events_of(log)
    for event in events:
        await runner.handle(event)
    await settle()
    assert not any(event.acked for event in events)
    await runner.close()
    assert all(event.acked for event in events)
    assert log.messages[NAMES.loop_state, 0]


async def test_two_owners_for_a_moment_tell_the_same_and_leave_a_usable_snapshot() -> None:
    log = await log_with()
    first_sent, second_sent = Sent(), Sent()
    first, second = runner_on(log, first_sent, every_s=1e-9), runner_on(log, second_sent, every_s=1e-9)
    events, again = events_of(log), events_of(log)
    for number, event in enumerate(events):
        await first.handle(event)
        await settle()
        if number > 20:
            await second.handle(again[number])
            await settle()
    assert told(first_sent) == await uninterrupted()
    ids = {message.notification_id: message for message in told(first_sent)}
    assert all(ids[message.notification_id] == message for message in told(second_sent))
    third = Sent()
    await runner_on(log, third).handle(Event(NAMES.loop, b"", COUNT))
    assert all(ids[message.notification_id] == message for message in told(third))


async def test_a_foreign_message_in_the_log_is_passed_over() -> None:
    log, sent = MemoryLog(), Sent()
    await log.append(NAMES.loop, 0, b"not a record")
    await log.append(NAMES.loop, 0, values_of_one())
    runner = runner_on(log, sent)
    for event in [*events_of(log), Event(NAMES.loop, None, 2)]:
        await runner.handle(event)
    assert [message.cause for message in told(sent)] == ["alerts:0:0"]


def values_of_one() -> bytes:
    return encode_loop_record(
        LoopRecord(kind=LoopKind.ALERT, cause_topic="alerts", cause_partition=0, cause_offset=0, arrived_ms=7)
    )


async def test_changes_go_to_incidents_and_notifications_to_theirs_under_their_keys() -> None:
    class Telling(CountingCore):
        def apply(self, record: LoopRecord, offset: int) -> list:  # type: ignore[type-arg]
            return [INCIDENT, *super().apply(record, offset)]

    work = LoopWork(Telling(), snapshots_in(MemoryLog()), NAMES)
    change, notification = work.take(values_of_one(), 0)
    assert (change.topic, change.value, change.key) == (NAMES.incidents, encode_incident(INCIDENT), INCIDENT.key)
    assert (notification.topic, notification.key) == (NAMES.notifications, b"alerts:0")


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_782_864_000_000

    def __call__(self) -> int:
        return self.now_ms


class Nothing:
    """No backlog."""

    async def is_taken(self) -> bool:
        return True

    def forget(self) -> None:
        pass


def ticks(log: MemoryLog) -> list[int]:
    records = [decode_loop_record(value) for value in values(log, NAMES.loop)]
    assert all(record.kind is LoopKind.TICK and record.cause_offset == NO_OFFSET for record in records)
    return [decode_tick(record.payload).at_ms for record in records]


async def test_only_the_owner_of_the_log_writes_the_time_and_only_so_often() -> None:
    log, clock = MemoryLog(), Clock()
    ticker = Ticker(NAMES, log, every_s=5, backlog=Nothing(), now_ms=clock)
    began = clock.now_ms

    async def for_seconds(seconds: int) -> None:
        for _ in range(seconds * 4):
            clock.now_ms += 250
            ticker.tick_if_due()
            await settle()

    await for_seconds(20)
    assert ticks(log) == []
    ticker.own(True)
    await for_seconds(16)
    assert [at - began for at in ticks(log)] == [20_250, 25_250, 30_250, 35_250]
    ticker.own(False)
    await for_seconds(20)
    assert len(ticks(log)) == 4


async def test_a_clock_that_is_put_back_goes_on_ticking() -> None:
    log, clock = MemoryLog(), Clock()
    ticker = Ticker(NAMES, log, every_s=5, backlog=Nothing(), now_ms=clock)
    ticker.own(True)
    for step in (0, -3_600_000, 1_000, 5_000):
        clock.now_ms += step
        ticker.tick_if_due()
        await settle()
    assert len(ticks(log)) == 3


async def test_time_waits_for_the_actions_that_came_while_nobody_worked() -> None:
    log, clock, behind = MemoryLog(), Clock(), [True, True, False]

    class Actions(Nothing):
        async def is_taken(self) -> bool:
            return not behind.pop(0)

    ticker = Ticker(NAMES, log, every_s=5, backlog=Actions(), now_ms=clock)
    ticker.own(True)
    counts = []
    for _ in range(8):
        ticker.tick_if_due()
        await settle()
        counts.append(len(ticks(log)))
        clock.now_ms += 5_000
    assert counts == [0, 0, 1, 2, 3, 4, 5, 6] and behind == []


async def test_after_a_pause_of_ours_time_waits_for_actions_again() -> None:
    """A paused worker that goes on would call overdue what people did in time, and what lies unread."""
    log, clock = MemoryLog(), Clock()

    class Actions(Nothing):
        taken, stopped = True, False
        forgotten = 0

        async def is_taken(self) -> bool:
            if self.stopped:  # the process is stopped in the middle of asking
                clock.now_ms += 60_000
                self.stopped, self.taken = False, True
            return self.taken

        def forget(self) -> None:
            self.forgotten += 1

    actions = Actions()
    ticker = Ticker(NAMES, log, every_s=5, backlog=actions, now_ms=clock)
    ticker.own(True)

    async def look() -> int:
        ticker.tick_if_due()
        await settle()
        return len(ticks(log))

    assert (await look(), actions.forgotten) == (1, 1)
    actions.taken = False
    clock.now_ms += 60_000
    assert (await look(), actions.forgotten) == (1, 2)
    clock.now_ms += 1_000
    actions.stopped = True
    assert (await look(), actions.forgotten) == (1, 3), "the answer is of before the pause"
    clock.now_ms += 1_000
    assert await look() == 2


async def test_a_tick_that_cannot_be_written_is_not_passed_over() -> None:
    log, clock = MemoryLog(), Clock()
    ticker = Ticker(NAMES, log, every_s=5, backlog=Nothing(), now_ms=clock)
    ticker.own(True)
    log.fail_appends = 1
    ticker.tick_if_due()
    await settle()
    with pytest.raises(Exception, match="refused on purpose"):
        ticker.tick_if_due()
