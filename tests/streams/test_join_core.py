"""The join of one shard against a naive join, under any arrival order, any framing, any point of restart."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.contract import CellView, Detector, Verdicts
from schemas.alert import Action, Alert
from schemas.observation import Flag
from schemas.sources import Source
from streams.join_core import JoinSettings, JoinShard
from streams.shard_store import ShardStore
from streams.snapshots import Snapshots
from tests.support.memory_log import MemoryLog
from tests.support.probe import Probe, ProbeSettings
from tests.support.raw_log import RawRow, closing_frame, frames_of, late_rows
from topology.grid import Grid

GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)
CELLS = [GRID.cell(121.1, 31.1), *GRID.neighbours(GRID.cell(121.1, 31.1), 1)[:2].tolist(), GRID.cell(121.15, 31.05)]
PARTITIONS = [(Source.READINGS, 0), (Source.READINGS, 1), (Source.CAMERA_EVENTS, 0)]
START_MS = 1_700_000_040_000 - 1_700_000_040_000 % 60_000
BUCKET_MS = 60_000

SHORT = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def make_shard(*detectors: Detector[ProbeSettings]) -> JoinShard:
    return JoinShard(0, GRID, detectors or (Probe(),), [(int(s), p) for s, p in PARTITIONS], JoinSettings())


def make_snapshots(log: MemoryLog) -> Snapshots:
    return Snapshots(0, ShardStore("join-state", log), log, open_topic="join-open", blocks_topic="join-blocks")


def restored(shard: JoinShard, next_offset: int) -> JoinShard:
    """Another shard, filled from the shard's snapshot."""

    async def through_a_log() -> JoinShard:
        log, second = MemoryLog(), make_shard()
        before, after = make_snapshots(log), make_snapshots(log)
        await before.write(before.capture(shard, next_offset))
        assert await after.read(second) == next_offset
        return second

    return asyncio.run(through_a_log())


@st.composite
def raw_logs(draw: st.DrawFn) -> list[RawRow]:
    """Rows of three partitions whose event times climb by up to 20 s a row, jittered by up to 8 s: some are late."""
    rows = []
    for source, partition in PARTITIONS:
        clock = START_MS
        for offset in range(draw(st.integers(0, 25))):
            clock += draw(st.integers(0, 20_000))
            rows.append(
                RawRow(
                    source,
                    partition,
                    offset,
                    clock - draw(st.sampled_from([0, 0, 0, 900, 4_900, 8_000])),
                    draw(st.sampled_from(CELLS)),
                    "level" if source is Source.READINGS else draw(st.sampled_from(["flood", "other"])),
                    draw(st.integers(-50, 1000)) / 10,
                    draw(st.sampled_from([0.3, 0.6, 1.0])),
                    draw(st.sampled_from([0, 0, 0, 1])),
                    draw(st.sampled_from(["a", "b", "c"])),
                )
            )
    return rows


def run(rows: Sequence[RawRow], seed: int, shard: JoinShard | None = None) -> list[Alert]:
    shard = shard or make_shard()
    frames = [*frames_of(rows, PARTITIONS, seed), closing_frame(PARTITIONS, START_MS + 3_600_000)]
    return [alert for frame in frames for alert in shard.process(frame)]


def naive_values(rows: Sequence[RawRow]) -> dict[tuple[int, int], dict[str, float]]:
    """(cell, window end) -> feature values over 3 minutes, row by row, for every cell and bucket with data in reach."""
    late = late_rows(rows)
    good = [row for row in rows if (row.source, row.partition, row.offset) not in late]
    found: dict[tuple[int, int], dict[str, float]] = {}
    for end in range(START_MS, START_MS + 3_600_000, BUCKET_MS):
        for cell in CELLS:
            inside = [r for r in good if r.cell == cell and end - 180_000 <= r.event_at_ms < end]
            levels = [r for r in inside if r.kind == "level" and r.quality == 0]
            seen = [r for r in inside if r.kind == "flood" and r.confidence >= 0.6 and r.quality == 0]
            if not levels and not seen:
                continue
            values = {"count": float(len(levels)), "seen": float(len(seen))}
            values["high"] = float(sum(r.value >= 50 for r in levels))
            values["total"] = sum(round(r.value * 1000) for r in levels) / 1000
            values["devices"] = float(len({r.entity for r in levels}))
            values["mean"] = values["total"] / len(levels) if levels else math.nan
            values["least"] = min((r.value for r in levels), default=math.nan)
            values["most"] = max((r.value for r in levels), default=math.nan)
            values["newest"] = max(levels, key=lambda r: (r.event_at_ms, r.value)).value if levels else math.nan
            found[cell, end] = values
    return found


@SHORT
@given(raw_logs(), st.integers(0, 1000))
def test_join_equals_a_naive_join(rows: list[RawRow], seed: int) -> None:
    alerts = [a for a in run(rows, seed) if a.action is not Action.CLEAR]
    expected = naive_values(rows)
    assert {(a.cell, a.window_end_ms) for a in alerts} == set(expected)
    for alert in alerts:
        for name, wanted in expected[alert.cell, alert.window_end_ms].items():
            got = alert.values[name]
            assert (got is None) == math.isnan(wanted)
            assert got is None or got == pytest.approx(wanted, abs=1e-9), name


@SHORT
@given(raw_logs(), st.integers(0, 1000), st.integers(0, 1000))
def test_any_interleaving_and_framing_gives_the_same_alerts(rows: list[RawRow], one: int, other: int) -> None:
    assert run(rows, one) == run(rows, other)


@SHORT
@given(raw_logs(), st.integers(0, 1000), st.integers(0, 40))
def test_a_shard_restored_from_its_snapshot_goes_on_as_if_nothing_had_happened(
    rows: list[RawRow], seed: int, cut: int
) -> None:
    frames = [*frames_of(rows, PARTITIONS, seed), closing_frame(PARTITIONS, START_MS + 3_600_000)]
    whole = make_shard()
    expected = [whole.process(frame) for frame in frames]
    first = make_shard()
    for frame in frames[:cut]:
        first.process(frame)
    second = restored(first, cut)
    assert [second.process(frame) for frame in frames[cut:]] == expected[cut:]


@SHORT
@given(raw_logs(), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 40))
def test_frames_sent_again_by_a_restarted_locate_change_nothing(
    rows: list[RawRow], seed: int, again: int, cut: int
) -> None:
    # a second locate starts over from offset 0 after `cut` frames of the first, with other cuts
    frames = frames_of(rows, PARTITIONS, seed)
    end = closing_frame(PARTITIONS, START_MS + 3_600_000)
    shard, plain = make_shard(), make_shard()
    alerts = [a for f in [*frames[:cut], *frames_of(rows, PARTITIONS, again), end] for a in shard.process(f)]
    expected = [a for f in [*frames, end] for a in plain.process(f)]
    key = lambda a: (a.window_end_ms, a.cell, a.revision)  # noqa: E731
    assert sorted(alerts, key=key) == sorted(expected, key=key)
    assert shard.take_counts().joined == plain.take_counts().joined


def rows_at(*minutes: float, cell: int = CELLS[0], value: float = 10.0, first: int = 0) -> list[RawRow]:
    return [
        RawRow(Source.READINGS, 0, first + i, START_MS + int(m * 60_000), cell, "level", value)
        for i, m in enumerate(minutes)
    ]


def test_nothing_is_judged_before_every_raw_partition_has_been_heard_of() -> None:
    shard = make_shard()
    only_one = frames_of(rows_at(0, 1, 2, 3, 10), [(Source.READINGS, 0)], seed=1)
    assert [a for f in only_one for a in shard.process(f)] == []
    assert shard.progress.watermark_ms is None
    rest = closing_frame([(Source.READINGS, 1), (Source.CAMERA_EVENTS, 0)], START_MS + 600_000)
    assert {a.window_end_ms for a in shard.process(rest)} >= {START_MS + 60_000, START_MS + 120_000}


def test_halo_rows_count_for_neighbours_but_their_cell_is_not_judged() -> None:
    halo = [RawRow(Source.READINGS, 0, 0, START_MS, CELLS[1], "level", 80.0, flags=int(Flag.HALO))]
    own = [RawRow(Source.READINGS, 0, 1, START_MS + 1, CELLS[0], "level", 20.0)]
    alerts = [a for a in run(halo + own, 3) if a.action is Action.RAISE]
    assert [a.cell for a in alerts] == [CELLS[0]]
    assert alerts[0].values["most"] == 20.0
    assert alerts[0].values["most_ring"] == 80.0


def test_unplaced_rows_are_not_joined() -> None:
    rows = [RawRow(Source.READINGS, 0, 0, START_MS, -1, "level", 80.0, flags=int(Flag.UNPLACED))]
    assert run(rows, 1) == []


def test_a_year_without_data_is_skipped_not_stepped_through() -> None:
    shard = make_shard()
    year_ms = 365 * 86_400_000
    late = [RawRow(Source.READINGS, 0, 9, START_MS + year_ms, CELLS[0], "level", 1.0)]
    judged: list[int] = []
    detector = shard.judges[BUCKET_MS].members[0].detectors[0]
    original = detector.judge

    def counting(view: CellView) -> Verdicts:
        judged.append(view.end_ms)
        return original(view)

    detector.judge = counting  # type: ignore[method-assign]
    frames = [*frames_of(rows_at(0, 1) + late, PARTITIONS, 5), closing_frame(PARTITIONS, START_MS + year_ms + 600_000)]
    alerts = [a for f in frames for a in shard.process(f)]
    assert len(judged) < 40
    assert next(a.action for a in alerts if a.window_end_ms > START_MS + year_ms) is Action.RAISE
    assert any(a.action is Action.CLEAR and a.window_end_ms < START_MS + 600_000 for a in alerts)


def test_rows_that_resume_after_idleness_behind_the_shard_are_counted_not_joined() -> None:
    shard = make_shard()
    for f in [*frames_of(rows_at(0, 1, 2, 9), PARTITIONS, 2), closing_frame(PARTITIONS, START_MS + 540_000)]:
        shard.process(f)
    shard.take_counts()
    stale = [RawRow(Source.READINGS, 1, 0, START_MS + 60_000, CELLS[0], "level", 99.0)]
    for f in frames_of(stale, [(Source.READINGS, 1)], 1):
        assert shard.process(f) == []
    assert dict(shard.take_counts().late) == {"readings": 1}


def test_evidence_names_the_records_behind_the_values() -> None:
    rows = [
        RawRow(Source.READINGS, 0, 0, START_MS + 1000, CELLS[0], "level", 30.0),
        RawRow(Source.READINGS, 1, 7, START_MS + 2000, CELLS[0], "level", 70.0),
        RawRow(Source.CAMERA_EVENTS, 0, 3, START_MS + 3000, CELLS[1], "flood", confidence=0.9),
    ]
    raised = [a for a in run(rows, 4) if a.cell == CELLS[0] and a.action is Action.RAISE]
    assert raised[0].evidence == ["readings:1:7", "camera-events:0:3"]


def test_detectors_that_share_a_feature_keep_it_once() -> None:
    second = Probe(ProbeSettings(window_ms=60_000), name="short")
    alone, both = make_shard(), make_shard(Probe(), second)
    assert both.groups[BUCKET_MS].plan.lane_count == alone.groups[BUCKET_MS].plan.lane_count
    by_name: dict[str, int] = defaultdict(int)
    for alert in run(rows_at(0, 1, 2, 3), 1, both):
        by_name[alert.detector] += 1
    assert by_name["short"] > 0 and by_name["probe"] > by_name["short"]


def test_arrays_that_a_detector_gets_cannot_be_written() -> None:
    shard = make_shard()
    detector = shard.judges[BUCKET_MS].members[0].detectors[0]
    original = detector.judge

    def vandal(view: CellView) -> Verdicts:
        with pytest.raises(ValueError, match="read-only"):
            view["count"][:] = 0
        return original(view)

    detector.judge = vandal  # type: ignore[method-assign]
    assert run(rows_at(0), 1, shard)
    assert np.isfinite(shard.slots.cells).all()
