"""The intake: one order without gaps, acknowledged when durable; crashes and two intakes at once cost nothing."""

from __future__ import annotations

import asyncio
import random

import pytest

from schemas.action import encode_action
from schemas.alert import encode_alert
from schemas.dead_letter import Reason, decode_dead_letter
from schemas.errors import BrokerError
from schemas.examples import ACTION, ALERT
from schemas.loop_record import LoopKind, LoopRecord, Tick, decode_loop_record, encode_tick
from streams.intake import MOST_WAITING, Intake
from streams.topics import TopicNames
from tests.streams.test_loop_inputs import frame_of
from tests.support.loop_fakes import CountingCore, Event, Sent, settle, values
from tests.support.memory_log import MemoryLog

NAMES = TopicNames("x.")
AT_MS = 1_782_864_000_000


def make_intake(log: MemoryLog, sent: Sent | None = None) -> Intake:
    return Intake(NAMES, log_=log, sender=sent or Sent(), live=True)


def records(log: MemoryLog) -> list[LoopRecord]:
    return [decode_loop_record(value) for value in values(log, NAMES.loop)]


def alert(offset: int, partition: int = 0) -> Event:
    return Event(NAMES.alerts, encode_alert(ALERT), offset, partition=partition, at_ms=AT_MS + offset)


async def test_each_kind_of_input_enters_the_log_as_it_came_with_its_place_and_arrival() -> None:
    log = MemoryLog()
    intake = make_intake(log)
    events = [
        alert(7, partition=3),
        Event(NAMES.placed_tickets, frame_of({"text": "噪音"}, {}, first=5), 0, partition=2),
        Event(NAMES.actions, encode_action(ACTION), 12, partition=1, at_ms=AT_MS + 3),
        Event(NAMES.ticks, encode_tick(Tick(at_ms=AT_MS)), 4, at_ms=AT_MS),
    ]
    for event in events:
        await intake.take(event)
    await intake.flush()
    found = records(log)
    assert [(record.kind, record.cause) for record in found] == [
        (LoopKind.ALERT, "x.alerts:3:7"),
        (LoopKind.TICKETS, "x.tickets:2:6"),
        (LoopKind.ACTION, "x.actions:1:12"),
        (LoopKind.TICK, "x.ticks:0:4"),
    ]
    assert found[0].payload == encode_alert(ALERT) and found[2].payload == encode_action(ACTION)
    assert (found[0].arrived_ms, found[2].arrived_ms) == (AT_MS + 7, AT_MS + 3)
    assert all(event.acked and event.value is None for event in events)


async def test_an_event_is_acknowledged_only_when_its_record_is_durable() -> None:
    log = SlowLog()
    intake = make_intake(log)
    events = [alert(offset) for offset in range(5)]
    for event in events:
        await intake.take(event)
    await settle()
    assert not any(event.acked for event in events) and not records(log)
    log.open.set()
    await intake.flush()
    assert all(event.acked for event in events)
    assert [record.cause_offset for record in records(log)] == [0, 1, 2, 3, 4]


class SlowLog(MemoryLog):
    """Every write waits until the log is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()

    async def append(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        await self.open.wait()
        return await super().append(topic, partition, value, key=key)


async def test_a_log_that_is_away_stops_the_reading_and_not_the_memory() -> None:
    log = SlowLog()
    intake = make_intake(log)

    async def read_all() -> None:
        for offset in range(3 * MOST_WAITING):
            await intake.take(alert(offset))

    reading = asyncio.create_task(read_all())
    for _ in range(50):
        await settle()
    assert not reading.done()
    log.open.set()
    await reading
    await intake.flush()
    assert [record.cause_offset for record in records(log)] == list(range(3 * MOST_WAITING))


async def test_a_write_that_fails_for_good_stops_the_intake_and_acknowledges_nothing_behind_it() -> None:
    log = MemoryLog()
    intake = make_intake(log)
    log.fail_appends = 1
    events = [alert(offset) for offset in range(3)]
    await intake.take(events[0])
    await settle()
    with pytest.raises(BrokerError):
        await intake.take(events[1])
    assert not any(event.acked for event in events)
    assert records(log) == [], "a record behind one that is not there would hide it from whoever reads the log"


async def test_what_waits_when_nothing_comes_any_more_still_stops_the_worker_if_it_cannot_be_written() -> None:
    log = MemoryLog()
    intake = make_intake(log)
    log.fail_appends = 1
    await intake.take(alert(0))
    await settle()
    with pytest.raises(BrokerError):
        intake.go_on()


@pytest.mark.parametrize("seed", range(8))
async def test_crashes_and_two_intakes_at_once_lose_nothing_and_repeat_nothing(seed: int) -> None:
    """Intakes are killed after any number of records; now and then the old one goes on beside the new one."""
    chance = random.Random(seed)
    log = MemoryLog()
    count = 60
    committed = {0: 0, 1: 0}
    zombie: asyncio.Task[None] | None = None
    while min(committed.values()) < count:
        intake = make_intake(log)
        events = [
            alert(offset, partition=partition)
            for partition, begin in committed.items()
            for offset in range(begin, min(count, begin + chance.randint(0, 25)))
        ]
        if chance.random() < 0.5:
            events.sort(key=lambda event: event.message.offset)  # partitions come interleaved

        async def work(intake: Intake = intake, events: list[Event] = events) -> None:
            for event in events:
                await intake.take(event)
                await asyncio.sleep(0)
            await intake.flush()

        working = asyncio.create_task(work())
        for _ in range(chance.randint(1, 120)):
            await asyncio.sleep(0)
        if chance.random() < 0.5 and zombie is None:
            zombie = working  # it does not know yet that its partitions are another's
        else:
            await working if chance.random() < 0.5 else working.cancel()
        for event in events:  # in order, as Kafka commits
            partition = event.message.partition
            if event.acked and event.message.offset == committed[partition]:
                committed[partition] += 1
    if zombie is not None:
        await asyncio.gather(zombie, return_exceptions=True)
    core = CountingCore()
    told = [message for offset, record in enumerate(records(log)) for message in core.apply(record, offset)]
    causes = sorted(message.cause for message in told)
    assert causes == sorted(f"x.alerts:{partition}:{offset}" for partition in (0, 1) for offset in range(count))


async def test_what_cannot_be_read_becomes_a_dead_letter_and_stays_out_of_the_log() -> None:
    log, sent = MemoryLog(), Sent()
    intake = make_intake(log, sent)
    events = [
        Event(NAMES.actions, b"not json", 0, partition=1),
        Event(NAMES.ticks, encode_tick(Tick(at_ms=AT_MS + 86_400_000)), 1),
        Event(NAMES.alerts, None, 2),
        Event(NAMES.placed_tickets, b"not a frame", 3),
    ]
    for event in events:
        await intake.take(event)
    await intake.flush()
    letters = [decode_dead_letter(value) for value in sent.on(NAMES.dead_letters)]
    assert [(letter.topic, letter.partition, letter.offset, letter.reason) for letter in letters] == [
        ("x.actions", 1, 0, Reason.BAD_JSON),
        ("x.ticks", 0, 1, Reason.FUTURE),
        ("x.alerts", 0, 2, Reason.NULL_VALUE),
        ("x.placed-tickets", 0, 3, Reason.CORRUPT_BATCH),
    ]
    assert letters[0].payload == b"not json"
    assert records(log) == []
    assert all(event.acked for event in events)


async def test_a_bad_action_whose_id_can_be_read_enters_the_log_too_for_somebody_waits_for_an_answer() -> None:
    log, sent = MemoryLog(), Sent()
    intake = make_intake(log, sent)
    payload = b'{"action_id":"web-1","actor":"a","action":"explode"}'
    await intake.take(Event(NAMES.actions, payload, 9))
    await intake.flush()
    assert len(sent.on(NAMES.dead_letters)) == 1
    assert [(record.kind, record.payload) for record in records(log)] == [(LoopKind.ACTION, payload)]


async def test_a_dead_letter_is_durable_before_its_record_is_acknowledged() -> None:
    log, sent = MemoryLog(), Sent()
    sent.held = asyncio.Event()
    intake = make_intake(log, sent)
    event = Event(NAMES.actions, b"not json", 0)
    taking = asyncio.create_task(intake.take(event))
    await settle()
    assert not event.acked and not taking.done()
    sent.held.set()
    await taking
    await intake.flush()
    assert event.acked
