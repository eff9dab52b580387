"""The join's runner without Faust and Kafka: recovery, catching up, when events are acknowledged, crashes anywhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.alert import Alert, decode_alert
from schemas.errors import BrokerError
from schemas.sources import Source
from streams import join as join_module
from streams import snapshots as snapshots_module
from streams.join import JoinRunner
from streams.join_core import JoinSettings, JoinShard
from streams.shard_claim import OWNER_KEY
from streams.shard_store import ShardStore
from streams.snapshots import Snapshots
from tests.support.memory_log import MemoryLog
from tests.support.probe import Probe
from tests.support.raw_log import RawRow, closing_frame, frames_of
from topology.grid import Grid

GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)
CELL = GRID.cell(121.1, 31.1)
PARTITIONS = [(Source.READINGS, 0), (Source.CAMERA_EVENTS, 0)]
START_MS = 1_700_000_040_000
EVERY_FRAME = JoinSettings(snapshot_every_s=1e-9)
NEVER = JoinSettings(snapshot_every_s=1e9)


class Event:
    """A Faust event, as far as the join uses one."""

    def __init__(self, value: bytes, offset: int) -> None:
        self.value: Any = value
        self.message = SimpleNamespace(partition=0, offset=offset, value=value)
        self.acked = False

    def ack(self) -> bool:
        self.acked = True
        return True


class Alerts:
    """A producer whose sends are durable at once, or when told."""

    def __init__(self) -> None:
        self.sent: list[Alert] = []
        self.held: asyncio.Event | None = None

    async def send(self, topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        self.sent.append(decode_alert(value))
        return asyncio.ensure_future(self.held.wait() if self.held else asyncio.sleep(0))


def rows(count: int = 60) -> list[RawRow]:
    chance = random.Random(5)
    return [
        RawRow(source, 0, i, START_MS + i * 7_000 - chance.randint(0, 4_000), CELL, kind, float(chance.randint(0, 99)))
        for source, kind in ((Source.READINGS, "level"), (Source.CAMERA_EVENTS, "flood"))
        for i in range(count)
    ]


def all_frames() -> list[bytes]:
    return [*frames_of(rows(), PARTITIONS, seed=8), closing_frame(PARTITIONS, START_MS + 900_000)]


def make_runner(log: MemoryLog, alerts: Alerts, settings: JoinSettings) -> JoinRunner:
    return JoinRunner(
        observations="observations",
        alerts="alerts",
        make_core=lambda shard: JoinShard(shard, GRID, (Probe(),), [(int(s), p) for s, p in PARTITIONS], settings),
        make_snapshots=lambda shard: Snapshots(
            shard, ShardStore("join-state", log), log, open_topic="join-open", blocks_topic="join-blocks"
        ),
        sender=alerts,
        log_=log,
        settings=settings,
    )


async def log_of(frames: list[bytes]) -> MemoryLog:
    log = MemoryLog()
    for frame in frames:
        await log.append("observations", 0, frame)
    return log


def manifests_in(log: MemoryLog) -> int:
    return sum(message.key != OWNER_KEY.encode() for message in log.messages["join-state", 0])


async def settle() -> None:
    for _ in range(300):
        await asyncio.sleep(0)


async def uninterrupted() -> list[Alert]:
    alerts = Alerts()
    frames = all_frames()
    runner = make_runner(await log_of(frames), alerts, NEVER)
    for offset, frame in enumerate(frames):
        await runner.handle(Event(frame, offset))
    return alerts.sent


@pytest.mark.parametrize("seed", range(12))
async def test_a_worker_killed_at_any_frame_is_followed_by_one_that_tells_the_same_alerts(seed: int) -> None:
    chance = random.Random(seed)
    frames = all_frames()
    log, told = await log_of(frames), []
    at = 0
    while at < len(frames):
        alerts = Alerts()
        runner = make_runner(log, alerts, JoinSettings(snapshot_every_s=chance.choice([1e-9, 1e9])))
        events = [Event(frames[offset], offset) for offset in range(at, min(len(frames), at + chance.randint(1, 12)))]
        for event in events:
            await runner.handle(event)
            if chance.random() < 0.5:
                await settle()
        told += alerts.sent
        runner.forget([0])  # killed: what was not written is lost
        # Faust may deliver from behind the last acknowledged event or from before it; an owner that acknowledged more
        # than it snapshotted is worse than any, and is borne too
        at = events[-1].message.offset + 1 - chance.choice([0, 0, 1, 3])
        at = at if at > 0 and events[-1].message.offset < len(frames) - 1 else max(1, events[-1].message.offset + 1)
    expected = await uninterrupted()
    by_id = {(alert.alert_id, alert.revision): alert for alert in told}
    assert by_id == {(alert.alert_id, alert.revision): alert for alert in expected}
    assert all(by_id[alert.alert_id, alert.revision] == alert for alert in told)


async def test_frames_that_were_acknowledged_but_are_in_no_snapshot_are_read_again() -> None:
    frames = all_frames()
    log, alerts = await log_of(frames), Alerts()
    runner = make_runner(log, alerts, NEVER)
    await runner.handle(Event(frames[-1], len(frames) - 1))  # as if a lost owner had acknowledged all before
    assert alerts.sent == await uninterrupted()


async def test_an_event_is_acknowledged_only_when_its_alerts_and_snapshot_are_durable() -> None:
    frames = all_frames()
    log, alerts = await log_of(frames), Alerts()
    alerts.held = asyncio.Event()
    runner = make_runner(log, alerts, EVERY_FRAME)
    events = [Event(frame, offset) for offset, frame in enumerate(frames)]

    async def handle_all() -> None:
        for event in events:
            await runner.handle(event)
            await settle()

    working = asyncio.create_task(handle_all())  # it comes to rest when the snapshots fall too far behind
    for _ in range(20):
        await settle()
    assert alerts.sent and not working.done()
    first_alert = next(i for i, event in enumerate(events) if not event.acked)
    assert not any(event.acked for event in events[first_alert:])
    alerts.held.set()
    await working
    await runner.close()
    assert all(event.acked for event in events)


async def test_events_do_not_hold_on_to_their_frames() -> None:
    frames = all_frames()
    runner = make_runner(await log_of(frames), Alerts(), NEVER)
    event = Event(frames[0], 0)
    await runner.handle(event)
    assert event.value is None and event.message.value is None and not event.acked


async def test_a_snapshot_that_cannot_be_written_stops_the_join_and_acknowledges_nothing() -> None:
    frames = all_frames()
    log = await log_of(frames)
    runner = make_runner(log, Alerts(), EVERY_FRAME)
    log.fail_appends = 1000
    events = [Event(frame, offset) for offset, frame in enumerate(frames[:3])]

    async def handle_all() -> None:
        for event in events:
            await runner.handle(event)
            await settle()

    with pytest.raises(BrokerError):
        await handle_all()
    assert not any(event.acked for event in events)


async def test_a_snapshot_that_failed_is_noticed_although_no_frame_comes_any_more() -> None:
    """With it fail the alerts before it: unnoticed, they would never be told."""
    frames = all_frames()
    log = await log_of(frames)
    runner = make_runner(log, Alerts(), EVERY_FRAME)
    await runner.handle(Event(frames[0], 0))
    await settle()
    log.fail_appends = 1000
    await runner.handle(Event(frames[1], 1))
    await settle()  # the second snapshot is refused
    with pytest.raises(BrokerError, match="refused on purpose"):
        await runner.snapshot_due()


async def test_a_crash_between_parts_and_manifest_leaves_the_snapshot_before() -> None:
    frames = all_frames()
    log = await log_of(frames)
    runner = make_runner(log, Alerts(), EVERY_FRAME)
    for offset in range(5):
        await runner.handle(Event(frames[offset], offset))
        await settle()
    manifests = manifests_in(log)
    await log.append("join-open", 0, b"half a snapshot")  # written, never named
    runner.forget([0])
    alerts = Alerts()
    second = make_runner(log, alerts, NEVER)
    for offset in range(5, len(frames)):
        await second.handle(Event(frames[offset], offset))
    expected = await uninterrupted()
    assert alerts.sent == expected[len(expected) - len(alerts.sent) :]
    assert manifests_in(log) == manifests


@pytest.mark.parametrize("topic", ["join-state", "join-open"])
async def test_a_damaged_snapshot_is_refused_with_its_name(topic: str) -> None:
    frames = all_frames()
    log = await log_of(frames)
    runner = make_runner(log, Alerts(), EVERY_FRAME)
    for offset in range(5):
        await runner.handle(Event(frames[offset], offset))
        await settle()
    message = log.messages[topic, 0][-1]
    log.messages[topic, 0][-1] = type(message)(message.offset, message.key, b"\x10\0\0\0\0\0\0\0garbage", 0)
    with pytest.raises(BrokerError, match="join snapshot: damaged"):
        await make_runner(log, Alerts(), NEVER).handle(Event(frames[5], 5))


async def test_large_state_is_copied_and_encoded_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_module, "MANY_CELLS", 0)
    monkeypatch.setattr(snapshots_module, "LARGE_BYTES", 0)
    frames, told, log = all_frames(), Alerts(), await log_of(all_frames())
    for begin in range(0, len(frames), 5):
        runner = make_runner(log, told, EVERY_FRAME)
        for offset, frame in list(enumerate(frames))[begin : begin + 5]:
            await runner.handle(Event(frame, offset))
        await runner.close()
    assert told.sent == await uninterrupted()


async def test_a_foreign_message_among_the_frames_is_passed_over() -> None:
    frames = all_frames()
    frames.insert(4, b"not a frame")
    alerts = Alerts()
    runner = make_runner(await log_of(frames), alerts, NEVER)
    for offset, frame in enumerate(frames):
        await runner.handle(Event(frame, offset))
    assert alerts.sent == await uninterrupted()


async def test_old_parts_are_deleted_and_the_rest_still_restores() -> None:
    frames = all_frames()
    log, alerts = await log_of(frames), Alerts()
    runner = make_runner(log, alerts, EVERY_FRAME)
    for offset, frame in enumerate(frames[:-1]):
        await runner.handle(Event(frame, offset))
        await settle()
    assert log.messages["join-open", 0][0].offset > 0
    runner.forget([0])
    later = Alerts()
    await make_runner(log, later, NEVER).handle(Event(frames[-1], len(frames) - 1))
    assert later.sent == (await uninterrupted())[len(alerts.sent) :]


async def test_an_owner_that_was_paused_leaves_its_successor_a_snapshot_that_can_be_used() -> None:
    """Failed while both wrote under one key: the manifest of the former owner, which goes on beside its successor for a
    while, took the place of the newer one, and named parts that this one had deleted."""
    frames, log = all_frames(), MemoryLog()
    for frame in frames:
        await log.append("observations", 0, frame)
    paused, successor = (make_runner(log, Alerts(), EVERY_FRAME) for _ in range(2))
    half = len(frames) // 2
    for offset in range(half):
        await paused.handle(Event(frames[offset], offset))
        await settle()
    for offset in range(half, len(frames) - 1):
        await successor.handle(Event(frames[offset], offset))
        await settle()
    log.compact("join-state", 0)
    await paused.handle(Event(frames[half], half))  # it goes on, and finds out with its next snapshot
    await settle()
    log.compact("join-state", 0)
    successor.forget([0])
    alerts, expected = Alerts(), await uninterrupted()
    third = make_runner(log, alerts, NEVER)
    await third.handle(Event(frames[-1], len(frames) - 1))
    assert alerts.sent and alerts.sent == expected[len(expected) - len(alerts.sent) :]


class SlowAlerts(Alerts):
    """A producer whose buffer is full from the first alert on, until there is room again."""

    def __init__(self) -> None:
        super().__init__()
        self.full = asyncio.Event()
        self.room = asyncio.Event()

    async def send(self, topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        self.full.set()
        await self.room.wait()
        return await super().send(topic, value, key)


async def stopped_in_mid_frame(
    log: MemoryLog, alerts: SlowAlerts
) -> tuple[JoinRunner, list[Event], asyncio.Task[None]]:
    """A runner that is in the middle of sending a frame's alerts."""
    runner = make_runner(log, alerts, EVERY_FRAME)
    events = [Event(frame, offset) for offset, frame in enumerate(all_frames())]

    async def handle_all() -> None:
        for event in events:
            await runner.handle(event)

    task = asyncio.create_task(handle_all())
    await alerts.full.wait()
    await settle()
    return runner, events, task


async def test_a_shard_that_is_taken_away_in_mid_frame_is_not_written_any_more() -> None:
    log, alerts = await log_of(all_frames()), SlowAlerts()
    runner, events, task = await stopped_in_mid_frame(log, alerts)
    written = log.ends["join-state", 0]
    runner.forget([0])
    alerts.room.set()
    reading = [event for event in events if event.value is None][-1]
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.close()
    assert not reading.acked
    # the frames behind it were delivered to the runner as a new owner would get them: it starts from the snapshot
    assert {(a.alert_id, a.revision): a for a in alerts.sent}.items() <= {
        (a.alert_id, a.revision): a for a in await uninterrupted()
    }.items()
    assert log.ends["join-state", 0] >= written


async def test_a_stop_in_mid_frame_waits_for_the_rest_of_its_alerts() -> None:
    log, alerts = await log_of(all_frames()), SlowAlerts()
    runner, _, task = await stopped_in_mid_frame(log, alerts)
    closing = asyncio.create_task(runner.close())
    await settle()
    alerts.room.set()
    await closing
    task.cancel()
    told = alerts.sent
    successor = make_runner(log, alerts, NEVER)
    await successor.handle(Event(all_frames()[-1], len(all_frames()) - 1))
    assert {(a.alert_id, a.revision): a for a in told} == {(a.alert_id, a.revision): a for a in await uninterrupted()}


async def test_a_shard_that_is_taken_away_while_its_snapshot_is_waited_for_leaves_the_agent_alive() -> None:
    """The cancelled snapshot must not look as if the agent had been cancelled: Faust would end it without a word."""
    log, alerts = await log_of(all_frames()), Alerts()
    alerts.held = asyncio.Event()
    runner = make_runner(log, alerts, EVERY_FRAME)  # every wait for a snapshot is overdue at once
    frames = all_frames()

    async def handle_all() -> str:
        for offset, frame in enumerate(frames):
            await runner.handle(Event(frame, offset))
        return "alive"

    task = asyncio.create_task(handle_all())
    await settle()
    assert alerts.sent and not task.done(), "it waits for a snapshot whose alerts are not acknowledged"
    runner.forget([0])
    alerts.held.set()
    assert await task == "alive"
    assert {(a.alert_id, a.revision) for a in alerts.sent} == {(a.alert_id, a.revision) for a in await uninterrupted()}


async def test_what_a_quiet_shard_has_taken_in_is_snapshotted_without_another_frame() -> None:
    frames = all_frames()
    log, alerts = await log_of(frames), Alerts()
    runner = make_runner(log, alerts, JoinSettings(snapshot_every_s=0.05))
    events = [Event(frame, offset) for offset, frame in enumerate(frames)]
    for event in events:
        await runner.handle(event)
    await asyncio.sleep(0.06)
    await runner.snapshot_due()
    await settle()
    await runner.snapshot_due()
    assert all(event.acked for event in events)
