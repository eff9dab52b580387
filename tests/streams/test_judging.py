"""Judging only what can matter, and many rules at once, tells exactly what judging each rule on every cell would."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.battery import CHECKS
from detectors.contract import RETIRED, Detector
from detectors.features import Aggregate
from detectors.gas_leak import GasLeak
from detectors.threshold import Threshold, ThresholdSettings
from detectors.waterlogging import Waterlogging
from schemas.alert import Action, Alert
from schemas.sources import Source
from streams import judging
from streams.join_core import JoinSettings, JoinShard
from streams.shard_store import ShardStore
from streams.snapshots import Snapshots
from tests.support.memory_log import MemoryLog
from tests.support.raw_log import RawRow, closing_frame, frames_of
from topology.grid import Grid

GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)
CENTRE = GRID.cell(121.1, 31.1)
CELLS = [CENTRE, *GRID.neighbours(CENTRE, 2).tolist()[:9], GRID.cell(121.15, 31.05)]
PARTITIONS = [(Source.READINGS, 0), (Source.READINGS, 1), (Source.CAMERA_EVENTS, 0), (Source.TICKETS, 0)]
START_MS = 1_700_000_040_000
MINUTE_MS = 60_000
CUT = 10
SEEDS = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Alone(Threshold):
    """The same rule, but judged by itself on every cell that has data."""

    bulk_type = None
    screens = None


class WaterloggingEverywhere(Waterlogging):
    """Shown every cell that has data."""

    screens = None  # type: ignore[assignment]


def rules(of: type[Threshold]) -> list[Detector[Any]]:
    """Rules of every aggregate, length of window, side, neighbourhood and pace."""
    chance = random.Random(1)
    made: list[Detector[Any]] = []
    for k, aggregate in enumerate([*Aggregate] * 3):
        counts = aggregate in (Aggregate.COUNT, Aggregate.DISTINCT)
        levels = sorted(chance.sample(range(2, 7) if counts else range(20, 90), 2))
        if aggregate is Aggregate.SUM:
            levels = [4 * level for level in levels]
        above = k % 3 != 1
        camera = k % 7 == 3 and counts
        made.append(
            of(
                ThresholdSettings(
                    metric="flood" if camera else ("level", "gas")[k % 2],
                    source="camera-events" if camera else "readings",
                    aggregate=aggregate,
                    raise_at=tuple(map(float, levels if above else levels[::-1])),
                    clear_at=levels[0] - 1.5 if above else levels[1] + 1.5,
                    comparison="above" if above else "below",
                    quantile=chance.choice([0.5, 0.9]),
                    window_minutes=(1, 2, 5, 10)[k % 4],
                    rings=(0, 0, 1, 2)[k // 2 % 4],
                    min_samples=chance.choice([None, 2]),
                    raise_after=chance.choice([1, 1, 2]),
                    lower_after=chance.choice([1, 3]),
                    clear_after=chance.choice([1, 3]),
                    stale_after=chance.choice([2, 30]),
                    update=chance.choice(["change", "always"]),
                ),
                name=f"rule_{k:02d}",
            )
        )
    return made


def raw_log(seed: int, minutes: int = 25) -> list[RawRow]:
    """Rows now dense, now sparse, with pauses longer than the windows."""
    chance = random.Random(seed)
    rows = []
    pause = chance.randint(0, minutes)
    for source, partition in PARTITIONS:
        clock, offset = START_MS, 0
        while clock < START_MS + minutes * MINUTE_MS:
            clock += int(chance.expovariate(1 / chance.choice([5_000, 30_000])))
            if abs(clock - START_MS - pause * MINUTE_MS) < 8 * MINUTE_MS and seed % 2:
                continue
            kind = {Source.READINGS: ("level", "gas"), Source.CAMERA_EVENTS: ("flood",), Source.TICKETS: ("flood",)}
            value = chance.choice([chance.randint(0, 1000) / 10, chance.random() * 100, chance.choice([0.0, -0.0])])
            rows.append(
                RawRow(
                    source, partition, offset, clock - chance.choice([0, 0, 900, 4_900, 9_000]), chance.choice(CELLS),
                    chance.choice(kind[source]), value if source is Source.READINGS else 1.0,
                    chance.choice([0.3, 0.9]), chance.choice([0, 0, 0, 1]), chance.choice("abcdef"),
                )
            )  # fmt: skip
            offset += 1
    return rows


def make_shard(detectors: Sequence[Detector[Any]]) -> JoinShard:
    return JoinShard(0, GRID, detectors, [(int(source), p) for source, p in PARTITIONS], JoinSettings())


def run(shard: JoinShard, frames: Sequence[bytes]) -> list[Alert]:
    return [alert for frame in frames for alert in shard.process(frame)]


def frames_from(seed: int) -> list[bytes]:
    frames = frames_of(raw_log(seed), PARTITIONS, seed, biggest=40)
    return [*frames, closing_frame(PARTITIONS, START_MS + 120 * MINUTE_MS)]


@SEEDS
@given(st.integers(0, 10_000))
def test_rules_in_bulk_tell_what_each_of_them_tells_alone(seed: int) -> None:
    frames = frames_from(seed)
    together = run(make_shard(rules(Threshold)), frames)
    assert together == run(make_shard(rules(Alone)), frames)


@SEEDS
@given(st.integers(0, 10_000), st.integers(0, 60))
def test_a_restart_anywhere_changes_no_alert_of_many_rules(seed: int, cut: int) -> None:
    frames = frames_from(seed)
    expected = run(make_shard(rules(Threshold)), frames)
    first = make_shard(rules(Threshold))
    told = run(first, frames[:cut])
    second = make_shard(rules(Threshold))
    asyncio.run(through_snapshots(first, second))
    assert told + run(second, frames[cut:]) == expected


@SEEDS
@given(st.integers(0, 10_000))
def test_a_detector_behind_screens_tells_what_it_tells_without(seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        row if row.source is not Source.READINGS else RawRow(
            row.source, row.partition, row.offset, row.event_at_ms, row.cell, "water_level_mm",
            chance.choice([10.0, 120.0, 160.0, 400.0]),
        )
        for row in raw_log(seed)
    ]  # fmt: skip
    rows = [
        RawRow(row.source, row.partition, row.offset, row.event_at_ms, row.cell, "waterlogging", 1.0, 0.9)
        if row.source is Source.CAMERA_EVENTS and chance.random() < 0.2 else row
        for row in rows
    ]  # fmt: skip
    frames = [*frames_of(rows, PARTITIONS, seed), closing_frame(PARTITIONS, START_MS + 120 * MINUTE_MS)]
    screened, everywhere = Waterlogging(), WaterloggingEverywhere()
    alerts = run(make_shard([screened]), frames)
    assert alerts == run(make_shard([everywhere]), frames)


def test_the_screened_story_has_alerts() -> None:
    """Otherwise the test above would hold for nothing."""
    assert any(run(make_shard(rules(Threshold)), frames_from(seed)) for seed in range(3))


def test_a_detectors_alerts_do_not_depend_on_which_others_run() -> None:
    frames = frames_from(8)
    everyone = rules(Threshold)
    together = run(make_shard([*everyone, GasLeak(), Waterlogging()]), frames)
    for rule in everyone[::4]:
        assert [a for a in together if a.detector == rule.name] == run(make_shard([rule]), frames)


def test_a_rule_without_reached_cells_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = [
        Threshold(ThresholdSettings(metric="level", raise_at=(1e9,), clear_at=0.0), name=f"quiet_{k}") for k in range(3)
    ]
    shard = make_shard([*quiet, Waterlogging()])

    def never(*_: object) -> None:
        raise AssertionError("judged")

    monkeypatch.setattr(judging.Standing, "step", never)
    assert run(shard, frames_from(4)) == []


# --- detectors that are gone ---------------------------------------------------------------------------------------


async def through_snapshots(first: JoinShard, second: JoinShard, *, log: MemoryLog | None = None) -> list[str]:
    """Fill the second shard from a snapshot of the first."""
    log = MemoryLog() if log is None else log
    store = ShardStore("join-state", log)
    before, after = (Snapshots(0, store, log, open_topic="join-open", blocks_topic="blocks") for _ in range(2))
    await before.write(before.capture(first, 7))
    assert await after.read(second) == 7
    return [f"{part.part.name} {part.part.version}" for part in second.retired]


def standing(detectors: Sequence[Detector[Any]]) -> tuple[JoinShard, dict[str, Alert]]:
    """A shard in the middle of a story, and the alerts that stand by id."""
    shard = make_shard(detectors)
    alerts: dict[str, Alert] = {}
    for alert in run(shard, frames_from(8)[:CUT]):
        alerts[alert.alert_id] = alert
    return shard, {key: alert for key, alert in alerts.items() if alert.action is not Action.CLEAR}


def test_alerts_of_a_detector_that_is_gone_are_cleared_at_the_next_end_of_a_bucket() -> None:
    everyone = rules(Threshold)
    first, open_alerts = standing(everyone)
    gone = {alert.detector for alert in open_alerts.values()} - {everyone[0].name}
    assert gone
    second = make_shard([rule for rule in everyone if rule.name not in gone])
    retired = asyncio.run(through_snapshots(first, second))
    assert {name.split()[0] for name in retired} == gone
    (width,) = first.groups
    closed_ms = first.groups[width].closed_until_ms
    assert closed_ms is not None
    cleared = [a for a in run(second, frames_from(8)[CUT:]) if a.detector in gone]
    wanted = {key: alert for key, alert in open_alerts.items() if alert.detector in gone}
    assert {a.alert_id for a in cleared} == set(wanted)
    for alert in cleared:
        before = wanted[alert.alert_id]
        assert (alert.action, alert.reason, alert.window_end_ms) == (Action.CLEAR, RETIRED, closed_ms + width)
        assert (alert.revision, alert.severity, alert.cell) == (before.revision + 1, before.severity, before.cell)
        assert (alert.onset_ms, alert.category, alert.lon) == (before.onset_ms, before.category, before.lon)
    assert second.retired == []


def test_those_alerts_are_cleared_once_whatever_crashes_and_wherever() -> None:
    everyone = rules(Threshold)
    first, open_alerts = standing(everyone)
    second, third, fourth = make_shard([]), make_shard([]), make_shard([])
    asyncio.run(through_snapshots(first, second))
    asyncio.run(through_snapshots(second, third))  # before the watermark moved: still to be cleared
    frames = frames_from(8)[CUT:]
    told = run(third, frames)
    assert sorted(a.alert_id for a in told) == sorted(open_alerts)
    assert told == run(second, frames)
    asyncio.run(through_snapshots(third, fourth))
    assert fourth.retired == [] and run(fourth, frames) == []


def test_a_detector_of_another_version_clears_the_alerts_of_the_one_before() -> None:
    class Newer(Threshold):
        version = 2

    settings_ = ThresholdSettings(metric="level", raise_at=(1.0,), clear_at=0.5, window_minutes=10)
    first, open_alerts = standing([Threshold(settings_, name="rule")])
    second = make_shard([Newer(settings_, name="rule")])
    asyncio.run(through_snapshots(first, second))
    told = run(second, frames_from(8)[CUT:])
    assert {a.alert_id for a in told if a.reason == RETIRED} == set(open_alerts) != set()
    assert {a.detector_version for a in told if a.action is Action.RAISE} == {2}


@pytest.mark.parametrize("check", CHECKS[:1])
def test_the_detectors_of_these_tests_keep_the_contract(check: Any) -> None:
    for rule in rules(Threshold):
        check(rule)


@SEEDS
@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_the_keys_to_be_judged_are_those_reached_and_those_where_something_stands(
    reached: set[int], stands: set[int]
) -> None:
    standing = judging.Standing(keys=np.array(sorted(stands), dtype=np.int64))
    found = standing.with_others(np.array(sorted(reached), dtype=np.int64))
    assert found.tolist() == sorted(reached | stands)
    assert found.dtype == np.int64
