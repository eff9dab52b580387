"""The dispatch role killed with -9 while alerts, tickets and actions come: the loop as if nothing had happened."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.alert import Action
from schemas.incident import IncidentChange, State
from schemas.loop_record import LoopKind, LoopRecord
from schemas.sources import Source
from streams.loop_core import LoopCore
from streams.loop_inputs import ticket_records
from tests.live.support.city_worker import CityWorker
from tests.live.support.loop_run import WORK, LoopRun

pytestmark = pytest.mark.live

ALERTS = 24
TICKETS = 24


async def test_kill_9_at_random_moments_leaves_every_incident_as_if_nothing_had_happened(
    kafka: str, tmp_path: Path
) -> None:
    """Three seeds side by side. Fails when an event is acknowledged before its snapshot, or a record of the log before
    the one in front of it is durable."""
    await asyncio.gather(
        kill_now_and_then(kafka, tmp_path, seed=1, signs_too=True, actions_too=False),
        kill_now_and_then(kafka, tmp_path, seed=2, signs_too=False, actions_too=True),
        kill_now_and_then(kafka, tmp_path, seed=3, signs_too=True, actions_too=True),
    )


async def kill_now_and_then(kafka: str, directory: Path, seed: int, *, signs_too: bool, actions_too: bool) -> None:
    chance = random.Random(seed)
    run = LoopRun(kafka, f"loop{seed}", directory)
    await asyncio.to_thread(run.set_up)
    with run.worker() as worker:
        await worker.says("dispatch running", within_s=120)
        await send_all(run, worker, list(signs(run)), kill_after_s=chance.uniform(0.2, 4.0) if signs_too else None)
        incidents = sorted(await run.assert_told_the_truth())
        actions = [one for incident in incidents for one in worked(run, incident)]
        await send_all(run, worker, actions, kill_after_s=chance.uniform(0.2, 4.0) if actions_too else None)
        worker.ask_to_stop()
        assert await asyncio.to_thread(worker.exit_status) == 0
    histories = await run.assert_told_the_truth()
    await run.assert_each_input_once()
    assert told(histories) == uninterrupted(run)
    assert {history[-1].state for history in histories.values()} == {State.CLOSED}
    assert "Traceback" not in worker.log, worker.log[-4000:]


async def send_all(
    run: LoopRun, worker: CityWorker, messages: list[tuple[str, int, bytes]], *, kill_after_s: float | None
) -> None:
    """Send all within some three seconds, and wait until they are worked through. A worker that is killed starts again
    at once."""
    sending = asyncio.create_task(run.send(messages, pause_s=3.0 / len(messages)))
    if kill_after_s is not None:
        await asyncio.sleep(kill_after_s)
        worker.kill()
        worker.start()
    await sending
    await run.settled()


def signs(run: LoopRun) -> Iterator[tuple[str, int, bytes]]:
    """Alerts and tickets that open an incident each, some of them twice, as after crashes of join and locate."""
    for number in range(ALERTS):
        yield run.alert(number)
        if number % 3 == 0:
            yield run.alert(number)
        if number % 4 == 0:
            yield run.alert(number, Action.CLEAR, revision=1)
    for number in range(0, TICKETS, 4):
        yield run.tickets(number, number + 2)
        yield run.tickets(number + 2, number + 2 + TICKETS, repeat=1)
        yield run.tickets(number + 1, number + 3)


def worked(run: LoopRun, incident: str) -> Iterator[tuple[str, int, bytes]]:
    for number, (action, role, actor) in enumerate(WORK):
        yield run.action(action, role, actor, incident, number)
        if number % 3 == 1:
            yield run.action(action, role, actor, incident, number)  # sent twice


def uninterrupted(run: LoopRun) -> dict[str, list[str]]:
    """What the pure loop makes of the inputs in the order of the script, none twice: (step, state) of each incident."""
    core: LoopCore = run.core()
    histories: dict[str, list[IncidentChange]] = {}
    for offset, record in enumerate(inputs(run)):
        for output in core.apply(record, offset):
            if isinstance(output, IncidentChange):
                histories.setdefault(output.incident_id, []).append(output)
    return told(histories)


def inputs(run: LoopRun) -> Iterator[LoopRecord]:
    names = run.names
    for (topic, partition, offset), payload in run.sent.items():
        if topic == names.placed_tickets:
            yield from ticket_records(payload, names.raw(Source.TICKETS))
        else:
            kind = LoopKind.ALERT if topic == names.alerts else LoopKind.ACTION
            yield LoopRecord(
                kind=kind, cause_topic=topic, cause_partition=partition, cause_offset=offset,
                arrived_ms=run.began_ms + 10, payload=payload,
            )  # fmt: skip


def told(histories: dict[str, list[IncidentChange]]) -> dict[str, list[str]]:
    return {
        incident: [f"{change.action}: {change.state} {change.alert_ids} {change.ticket_ids}" for change in history]
        for incident, history in histories.items()
    }
