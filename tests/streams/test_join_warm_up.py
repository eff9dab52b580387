"""After the warm-up no frame compiles anything more."""

from __future__ import annotations

from detectors import BUILT_IN
from detectors.loading import build_detectors
from schemas.sources import Source
from streams import lanes, slots, windows
from streams.join_core import JoinSettings, JoinShard
from streams.join_warm_up import MINUTES, ROWS, warm_up
from tests.support.probe import Probe
from topology.grid import Grid

GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)


def test_the_warm_up_takes_rows_into_every_feature_and_judges_them() -> None:
    detectors = (Probe(), *build_detectors([{"name": cls.name} for cls in BUILT_IN if cls.name != "threshold"]))
    core = JoinShard(0, GRID, detectors, [(int(source), 0) for source in Source], JoinSettings())
    warm_up(core, detectors)
    assert core.take_counts().joined == MINUTES * ROWS
    assert all(group.closed_until_ms is not None for group in core.groups.values())
    for kernel in (lanes.add_rows, lanes.merge_into, slots._assign, slots._find_all, windows._choose):
        assert getattr(kernel, "signatures"), kernel  # noqa: B009 - mypy sees the plain function


def test_a_join_without_detectors_needs_none() -> None:
    warm_up(JoinShard(0, GRID, (), [(0, 0)], JoinSettings()), ())
