"""Pace: portions of a run at the moments at which they are due."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deploy.simulation.pace import SLICE_S, Pace


@given(
    gaps=st.lists(st.integers(0, 20_000), min_size=1, max_size=50),
    speed=st.sampled_from((0.0, 1.0, 60.0)),
    rate=st.sampled_from((0.0, 10.0, 5_000.0)),
    sent=st.integers(0, 1_000),
)
def test_portions_are_the_whole_in_order_and_never_early_by_more_than_one(
    gaps: list[int], speed: float, rate: float, sent: int
) -> None:
    times = 1_000 + np.cumsum(np.array(gaps, dtype=np.int64))
    portions = list(Pace(speed=speed, rate=rate).slices(times, 1_000, sent))
    assert np.concatenate([rows for rows, _ in portions]).tolist() == list(range(len(times)))
    for rows, due_s in portions:
        for row in rows.tolist():
            wanted = max((times[row] - 1_000) / 1000 / speed if speed else 0.0, (sent + row) / rate if rate else 0.0)
            assert wanted - SLICE_S - 1e-6 <= due_s <= wanted + 1e-6


def test_without_a_pace_everything_is_due_at_once() -> None:
    ((rows, due_s),) = Pace().slices(np.arange(100, dtype=np.int64), 0, 12_345)
    assert (len(rows), due_s) == (100, 0.0)
