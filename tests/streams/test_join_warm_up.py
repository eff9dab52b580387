"""After the warm-up no frame compiles anything more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from detectors import BUILT_IN
from detectors.loading import build_detectors
from detectors.threshold import Threshold, ThresholdSettings
from schemas.observation import Flag
from schemas.sources import Source
from streams import (
    bucket_rows,
    frame_columns,
    row_kernels,
    screen_kernels,
    sealed,
    snapshot_codec,
    window_kernels,
    windows,
)
from streams.join_core import JoinSettings, JoinShard
from streams.join_warm_up import MINUTES, ROWS, warm_up
from streams.snapshot_codec import open_parts
from tests.support.probe import Probe
from tests.support.raw_log import RawRow, closing_frame, frames_of
from topology.grid import Grid

T0 = 1_700_000_040_000
ENTRIES: tuple[Callable[..., Any], ...] = (  # the kernels that Python calls
    frame_columns.choose,
    bucket_rows.take_rows,
    row_kernels.fill_table,
    sealed._seal,
    window_kernels.add_bucket,
    window_kernels.take_bucket_out,
    window_kernels.gather_totals,
    window_kernels.gather_bucket,
    window_kernels.prepare_lanes,
    window_kernels.gather_evidence,
    window_kernels.mark_slots,
    windows.find_ranks,
    screen_kernels.screen,
    screen_kernels.count_reached,
    snapshot_codec.gather_changed,
)
GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)


def test_the_warm_up_takes_rows_into_every_feature_and_judges_them() -> None:
    detectors = (Probe(), *build_detectors([{"name": cls.name} for cls in BUILT_IN if cls.name != "threshold"]))
    core = JoinShard(0, GRID, detectors, [(int(source), 0) for source in Source], JoinSettings())
    warm_up(core, detectors)
    assert core.take_counts().joined == MINUTES * ROWS
    assert all(group.closed_until_ms is not None for group in core.groups.values())
    assert [kernel for kernel in ENTRIES if not signatures_of(kernel)] == []


def test_after_the_warm_up_no_frame_compiles_anything_more() -> None:
    rule = ThresholdSettings(metric="level", raise_at=(50.0,), clear_at=20.0, window_minutes=5, rings=1)
    detectors = (Probe(), Threshold(rule, name="rule"))
    partitions = [(Source.READINGS, 0), (Source.CAMERA_EVENTS, 0)]
    core = JoinShard(0, GRID, detectors, [(int(source), p) for source, p in partitions], JoinSettings())
    warm_up(JoinShard(0, GRID, detectors, core.progress.partitions, JoinSettings()), detectors)
    compiled = {kernel: signatures_of(kernel) for kernel in ENTRIES}
    cells = GRID.neighbours(GRID.cell(121.1, 31.1), 1).tolist()
    rows = [
        RawRow(Source.READINGS, 0, i, T0 + 7_000 * i, cells[i % 8], "level", float(i), flags=int(Flag.HALO) * (i % 2))
        for i in range(200)
    ]
    frames = [*frames_of(rows, partitions, 3), closing_frame(partitions, T0 + 3_600_000)]
    assert {alert.detector for frame in frames for alert in core.process(frame)} == {"probe", "rule"}
    for group in core.groups.values():
        assert list(open_parts(group, everything=False)) == []
    assert {kernel: signatures_of(kernel) for kernel in ENTRIES} == compiled


def signatures_of(kernel: Callable[..., Any]) -> list[Any]:
    return list(cast(Any, kernel).signatures)


def test_a_join_without_detectors_needs_none() -> None:
    warm_up(JoinShard(0, GRID, (), [(0, 0)], JoinSettings()), ())
