"""Coverage against a plain Python set."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.coverage import Coverage

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(-2, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)


@given(INTERVALS)
def test_coverage_equals_a_plain_set_of_offsets(intervals: list[tuple[int, int]]) -> None:
    coverage = Coverage()
    plain: set[int] = set()
    for first, last in intervals:
        coverage.add(first, last)
        plain.update(range(first, last + 1))
    offsets = np.arange(-3, 80, dtype=np.int64)
    assert coverage.mask(offsets).tolist() == [int(o) in plain for o in offsets]
    for first in range(0, 70, 7):
        for last in range(first - 1, first + 9):
            wanted = set(range(first, last + 1))
            assert coverage.covers(first, last) == (wanted <= plain)
            assert coverage.overlaps(first, last) == bool(wanted & plain)


@given(INTERVALS)
def test_intervals_are_disjoint_and_rebuild_the_same_coverage(intervals: list[tuple[int, int]]) -> None:
    coverage = Coverage(intervals)
    pairs = coverage.intervals
    assert all(a_last + 1 < b_first for (_, a_last), (b_first, _) in pairwise(pairs))
    assert Coverage(pairs) == coverage
    twin = coverage.copy()
    twin.add(1000, 1001)
    assert twin != coverage


def test_neighbouring_ranges_become_one_interval() -> None:
    coverage = Coverage([(0, 4), (5, 9), (11, 12)])
    assert coverage.intervals == [(0, 9), (11, 12)]
    coverage.add(10, 10)
    assert coverage.intervals == [(0, 12)]
