"""Ended buckets are packed without loss, and running totals equal merging the buckets of the window one by one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.features import Aggregate, Feature
from schemas.sources import Source
from streams.join_core import JoinSettings, JoinShard
from streams.open_bucket import OpenBucket, Place
from streams.sealed import HEAD_COLUMNS, LANE_COLUMNS, REAL, row_of, seal, value_at
from streams.shard_store import ShardStore
from streams.snapshots import Snapshots
from streams.tracks import CODE, COUNT, FIRST_COLUMN, GroupPlan, Op, finish
from streams.windows import WindowGroup
from tests.support.memory_log import MemoryLog
from tests.support.probe import Probe, ProbeSettings
from tests.support.raw_log import RawRow, closing_frame, frames_of
from topology.grid import Grid

GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)
CELLS = GRID.neighbours(GRID.cell(121.1, 31.1), 2)
PARTITIONS = [(Source.READINGS, 0), (Source.CAMERA_EVENTS, 0)]
START_MS = 1_700_000_040_000
MINUTE_MS = 60_000

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    st.integers(0, 300).map(float),
    st.integers(-(10**6), 10**6).map(lambda tenths: tenths / 10),
    st.integers(0, 10**9).map(lambda parts: parts / 10_000),
    st.sampled_from([0.1 + 0.2, 2.0**53, -(2.0**31), 4_294_967_296.0, 1e300]),
)


def sealed_of(values: Sequence[float], ranks: Sequence[int], known: int) -> tuple[GroupPlan, np.ndarray, int]:
    """Values in lane 0 of a track of `known` ranks, sealed: the plan, its table of tracks, and the head's address."""
    plan = GroupPlan.of(
        MINUTE_MS, [Feature(name="most", source=Source.READINGS, kind="level", aggregate=Aggregate.MAX, evidence=False)]
    )
    tracks = plan.track_table()
    tracks[0, COUNT] = known
    bucket = OpenBucket(0, 1)
    place = Place(known, plan.tracks[0].width)
    bucket.give(0, place)
    for i, (value, rank) in enumerate(zip(values, ranks, strict=True)):
        place.rows[rank] = (2.0, value)
        place.ranks[i] = rank
    bucket.table[0, 2] = len(values)
    KEPT.append(seal(0, plan, tracks, bucket.table))
    assert not place.rows[:, 0].any(), "no row keeps its mark"
    return plan, tracks, KEPT[-1].head_at


KEPT: list = []  # type: ignore[type-arg]  # heads are addresses: their bucket must live


@settings(deadline=None, max_examples=150)
@given(st.lists(numbers, min_size=1, max_size=40), st.integers(0, 5_000), st.integers(0, 10_000))
def test_a_sealed_lane_gives_back_every_value_bit_by_bit(values: list[float], spare: int, seed: int) -> None:
    known = len(values) + spare
    ranks = random.Random(seed).sample(range(known), len(values))
    plan, _, head_at = sealed_of(values, ranks, known)
    lane_at = head_at + 8 * HEAD_COLUMNS * len(plan.tracks)
    for value, rank in zip(values, ranks, strict=True):
        row = row_of(head_at, 0, rank)
        assert row >= 0
        assert np.float64(value_at(lane_at, row, np.nan)).tobytes() == np.float64(value).tobytes()
    for rank in set(range(min(known, 300))) - set(ranks):
        assert row_of(head_at, 0, rank) == -1
    assert row_of(head_at, 0, known + 64) == -1


@pytest.mark.parametrize(
    ("values", "bytes_each"),
    [
        ([float(k) for k in range(256)], 1),
        ([200.0 + k / 10 for k in range(256)], 1),
        ([1_700_000_000_000.0 + 7 * k for k in range(256)], 2),  # times: what counts is how far they are apart
        ([k * 1000.5 for k in range(256)], 4),
        ([1 / (k + 3) for k in range(256)], 8),
    ],
)
def test_a_lane_takes_as_few_bytes_as_hold_it(values: list[float], bytes_each: int) -> None:
    sealed_of(values, range(len(values)), len(values))
    assert len(KEPT[-1].data) - 12 * (len(values) // 64 + 1) == bytes_each * len(values)


# --- running totals ------------------------------------------------------------------------------------------------


def fresh(group: WindowGroup, feature: Feature, end_ms: int) -> np.ndarray:
    """The feature over its window, merged bucket by bucket from the oldest, as if there were no totals."""
    use, plan = group.plan.use(feature), group.plan
    out = np.full(len(CELLS), np.nan)
    ranks = group.ranks_of(use.track, CELLS)
    for i, rank in enumerate(ranks):
        lanes: list[float] | None = None
        for bucket in group.sealed.values():
            if not end_ms - feature.window_ms <= bucket.start_ms < end_ms:
                continue
            row = row_of(bucket.head_at, use.track, rank)
            if row < 0:
                continue
            first = bucket.head_at + 8 * (HEAD_COLUMNS * len(plan.tracks))
            first += 8 * LANE_COLUMNS * int(group.tracks[use.track, FIRST_COLUMN])
            here = [value_at(first + 8 * LANE_COLUMNS * lane, row, np.nan) for lane in use.lanes]
            lanes = here if lanes is None else merged(use.ops, lanes, here)
        if lanes is not None:
            out[i] = finish(use, np.array(lanes).reshape(-1, 1))[0]
        elif feature.aggregate.zero_when_empty:
            out[i] = 0.0
    return out


def merged(ops: Sequence[Op], old: list[float], new: list[float]) -> list[float]:
    made: list[float] = []
    for op in ops:
        at = len(made)
        if op is Op.LAST:
            made += max(tuple(old[at : at + 2]), tuple(new[at : at + 2]))
        elif op is Op.DISTINCT:
            made += [float(int(a) | int(b)) for a, b in zip(old[at : at + 4], new[at : at + 4], strict=True)]
        elif op is Op.QUANTILE:
            made += [a + b for a, b in zip(old[at : at + 128], new[at : at + 128], strict=True)]
        else:
            a, b = old[at], new[at]
            made.append(min(a, b) if op is Op.MIN else max(a, b) if op is Op.MAX else a + b)
    return made


def rows(seed: int, values: Sequence[float], minutes: int = 25) -> list[RawRow]:
    chance = random.Random(seed)
    made = []
    for k, (source, partition) in enumerate(PARTITIONS):
        at_ms = START_MS
        for offset in range(120):
            at_ms += chance.randint(0, 2 * minutes * MINUTE_MS // 120)
            made.append(
                RawRow(
                    source, partition, offset, at_ms, int(chance.choice(CELLS[:6])), ("level", "flood")[k],
                    chance.choice(values), 0.9, 0, chance.choice("abcdefg"),
                )
            )  # fmt: skip
    return made


class Wide(Probe):
    """With a histogram, and over another window too."""

    @property
    def features(self) -> tuple[Feature, ...]:
        w = 2 * self.settings.window_ms
        return (
            *super().features,
            Feature(
                name="median", source=Source.READINGS, kind="level", aggregate=Aggregate.QUANTILE, window_ms=w
            ),
            Feature(name="longer", source=Source.READINGS, kind="level", aggregate=Aggregate.MIN, window_ms=w),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "values",
    [
        [k / 10 for k in range(100)],
        [0.0, 1e20, -1e20, 3.7, 1e300],  # sums beyond what a double counts one by one
        [5.0],
    ],
    ids=["ordinary", "absurd", "constant"],
)
def test_totals_equal_merging_the_buckets_of_the_window(values: list[float], seed: int) -> None:
    detector = Wide(ProbeSettings(window_ms=4 * MINUTE_MS))
    shard = JoinShard(0, GRID, (detector,), [(int(s), p) for s, p in PARTITIONS], JoinSettings())
    (group,) = shard.groups.values()
    compared = 0
    original = group.close

    def comparing(end_ms: int) -> None:
        nonlocal compared
        for feature in detector.features:
            lanes = group.lanes_of(group.plan.use(feature), end_ms, feature.window_ms, CELLS.reshape(-1, 1))
            got = finish(group.plan.use(feature), lanes)
            np.testing.assert_array_equal(got, fresh(group, feature, end_ms), f"{feature.name} at {end_ms}")
            compared += int(np.count_nonzero(np.nan_to_num(got)))
        original(end_ms)

    group.close = comparing  # type: ignore[method-assign]
    frames = [*frames_of(rows(seed, values), PARTITIONS, seed), closing_frame(PARTITIONS, START_MS + 60 * MINUTE_MS)]
    for frame in frames:
        shard.process(frame)
    assert compared > 100


def test_absurd_sums_are_marked_as_inexact_and_made_anew() -> None:
    """What the test above leans on: a total that was beyond 2**53 is not subtracted from."""
    detector = Probe(ProbeSettings(window_ms=3 * MINUTE_MS))
    shard = JoinShard(0, GRID, (detector,), [(int(s), p) for s, p in PARTITIONS], JoinSettings())
    cell = int(CELLS[0])
    values = [1e20, 0.1, 0.2, 0.3, 0.4]
    log = [
        RawRow(Source.READINGS, 0, i, START_MS + i * MINUTE_MS, cell, "level", value) for i, value in enumerate(values)
    ]
    frames = [*frames_of(log, PARTITIONS, 1), closing_frame(PARTITIONS, START_MS + 9 * MINUTE_MS)]
    totals = [a.values["total"] for frame in frames for a in shard.process(frame) if a.action.value != "clear"]
    assert totals[:3] == pytest.approx([1e20] * 3, rel=1e-12)
    assert totals[3:5] == [0.6, 0.9]


def test_totals_after_a_restart_are_those_of_before() -> None:
    detector = Wide(ProbeSettings(window_ms=5 * MINUTE_MS))

    def shard() -> JoinShard:
        return JoinShard(0, GRID, (detector,), [(int(s), p) for s, p in PARTITIONS], JoinSettings())

    async def copied(first: JoinShard) -> JoinShard:
        log, second = MemoryLog(), shard()
        store = ShardStore("state", log)
        one, other = (Snapshots(0, store, log, open_topic="open", blocks_topic="blocks") for _ in range(2))
        await one.write(one.capture(first, 0))
        await other.read(second)
        return second

    frames = frames_of(rows(3, [0.1, 0.7, 1e17]), PARTITIONS, 3)
    first = shard()
    for frame in frames[: len(frames) // 2]:
        first.process(frame)
    second = asyncio.run(copied(first))
    (one,), (other,) = first.groups.values(), second.groups.values()
    end_ms = one.closed_until_ms
    assert end_ms is not None and end_ms == other.closed_until_ms
    for feature in detector.features:
        ours, theirs = (
            group.lanes_of(group.plan.use(feature), end_ms, feature.window_ms, CELLS.reshape(-1, 1))
            for group in (one, other)
        )
        np.testing.assert_array_equal(ours, theirs)
    assert REAL in {int(code) for b in one.sealed.values() for code in _codings(one, b.head)}, "values that do not pack"
    assert one.ops[:, CODE].max() == Op.POINTER


def _codings(group: WindowGroup, head: np.ndarray) -> np.ndarray:
    return head[HEAD_COLUMNS * len(group.plan.tracks) :].reshape(-1, LANE_COLUMNS)[:, 0]
