"""Intake, log, runner and the real loop together, in memory: crashes anywhere and two intakes change no incident."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from schemas.action import Role
from schemas.alert import Action
from schemas.incident import IncidentChange, decode_incident
from schemas.loop_record import decode_loop_record
from streams.dispatch import make_runner
from streams.dispatch_snapshots import LoopSnapshots
from streams.intake import Intake
from streams.loop_settings import DispatchSettings
from streams.shard_store import ShardStore
from streams.topics import TopicNames
from tests.support.loop_city import FAR_IN_WEST, HOUR, IN_EAST, IN_NORTH_EAST
from tests.support.loop_fakes import Event, Sent, settle, values
from tests.support.loop_log import LoopLog, as_bytes, new_core
from tests.support.memory_log import MemoryLog

NAMES = TopicNames()
APART = DispatchSettings(merge=False)


def a_day() -> LoopLog:
    """Alerts and tickets that come and join, are worked, refused, overdue, suspended, merged and closed."""
    log = LoopLog()
    log.alert()
    log.ticket("T-1", due_ms=log.now_ms + 2 * HOUR)
    log.alert("A-2", "gas_leak", IN_EAST, severity=3)
    log.act("close", Role.OPERATOR)
    log.handle()
    log.now_ms += HOUR
    log.tick()
    log.act("verify_pass", Role.VERIFIER, "v-1")
    log.ticket("T-2", "noise", FAR_IN_WEST, urgency="urgent")
    log.alert("A-3", place=IN_NORTH_EAST)
    log.act("close", Role.OPERATOR)
    log.now_ms += 30 * HOUR
    log.tick()
    log.act("merge", Role.DISPATCHER, "d-1", on=log.ids[2], into_incident_id=log.ids[1], reason="one matter")
    log.alert("A-4", severity=4)
    log.now_ms += 400 * HOUR
    log.tick()
    return log


def snapshots_in(log: MemoryLog) -> LoopSnapshots:
    return LoopSnapshots(ShardStore(NAMES.loop_state, log), log, parts_topic=NAMES.loop_parts)


@pytest.mark.parametrize("seed", range(8))
async def test_the_loop_killed_at_any_record_goes_on_byte_for_byte(seed: int) -> None:
    chance, day, log = random.Random(seed), a_day(), MemoryLog()
    for record in day.records:
        await log.append(NAMES.loop, 0, record)
    told: list[bytes] = []
    at = 0
    while at < len(day.records):
        sent = Sent()
        runner = make_runner(
            NAMES, new_core, lambda: snapshots_in(log),
            sender=sent, log_=log, snapshot_every_s=chance.choice([1e-9, 1e9]),
        )  # fmt: skip
        events = [Event(NAMES.loop, value, offset) for offset, value in list(enumerate(values(log, NAMES.loop)))[at:]][
            : chance.randint(1, 6)
        ]
        for event in events:
            await runner.handle(event)
            if chance.random() < 0.5:
                await settle()
        told += [value for _, value, _ in sent.messages]
        runner.forget([0])  # killed
        at = max(at + 1, events[-1].message.offset + 1 - chance.choice([0, 0, 2]))
    expected = as_bytes(day.out)
    assert set(told) == set(expected)
    assert list(dict.fromkeys(told)) == list(dict.fromkeys(expected)), "told again or not, in the order of the log"


def alerts(count: int) -> Iterator[tuple[int, int, bytes]]:
    """(partition, offset, payload) of alerts that have nothing to do with each other, with their clearings."""
    log = LoopLog()
    offsets = [0, 0]
    for number in range(count):
        for revision, action in enumerate((Action.RAISE, Action.CLEAR)):
            log.alert(f"A-{number}", action=action, revision=revision)
            partition = number % 2
            yield partition, offsets[partition], decode_loop_record(log.records[-1]).payload
            offsets[partition] += 1


@pytest.mark.parametrize("seed", range(8))
async def test_two_intakes_at_once_change_no_incident(seed: int) -> None:
    chance, log = random.Random(seed), MemoryLog()
    inputs = list(alerts(20))
    behind = chance.randint(0, len(inputs))  # the second begins where the first one's last commit was
    by_partition = [[one for one in inputs if one[0] == partition] for partition in (0, 1)]
    first, second = (Intake(NAMES, log_=log, sender=Sent(), live=True) for _ in range(2))

    async def work(intake: Intake, parts: list[list[tuple[int, int, bytes]]]) -> None:
        queues = [list(part) for part in parts]
        while any(queues):
            queue = chance.choice([queue for queue in queues if queue])
            partition, offset, payload = queue.pop(0)
            await intake.take(Event(NAMES.alerts, payload, offset, partition=partition))
            for _ in range(chance.randint(0, 5)):
                await asyncio.sleep(0)
        await intake.flush()

    half = [part[: max(1, len(part) * behind // len(inputs))] for part in by_partition]
    await asyncio.gather(work(first, half), work(second, by_partition))
    assert await histories(log) == await histories(await one_after_the_other(inputs))


async def one_after_the_other(inputs: list[tuple[int, int, bytes]]) -> MemoryLog:
    log = MemoryLog()
    intake = Intake(NAMES, log_=log, sender=Sent(), live=True)
    for partition, offset, payload in inputs:
        await intake.take(Event(NAMES.alerts, payload, offset, partition=partition))
    await intake.flush()
    return log


async def histories(log: MemoryLog) -> dict[str, list[tuple[str, str]]]:
    """(step, state) of each incident that the log leads to."""
    sent = Sent()
    runner = make_runner(
        NAMES, lambda: new_core(APART), lambda: snapshots_in(log), sender=sent, log_=log, snapshot_every_s=1e9
    )
    for offset, value in enumerate(values(log, NAMES.loop)):
        await runner.handle(Event(NAMES.loop, value, offset))
    found: dict[str, list[tuple[str, str]]] = {}
    for payload in sent.on(NAMES.incidents):
        change: IncidentChange = decode_incident(payload)
        found.setdefault(change.incident_id, []).append((change.action, change.state))
    assert len(found) == 20
    return found
