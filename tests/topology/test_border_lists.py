"""Orientation tests are certain only where rounding cannot decide, as exact arithmetic shows."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.border_lists import _orientation

coordinates = st.floats(-180, 180)


def exact_side(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> int:
    fax, fay, fbx, fby, fcx, fcy = map(Fraction, (ax, ay, bx, by, cx, cy))
    determinant = (fax - fcx) * (fby - fcy) - (fay - fcy) * (fbx - fcx)
    return (determinant > 0) - (determinant < 0)


@pytest.mark.parametrize("turned", [False, True])
def test_a_side_is_never_wrong_where_rounding_is_as_large_as_the_answer(turned: bool) -> None:
    """The plane around a line, by units of the last place: where naive arithmetic gives a wrong pattern (Shewchuk)."""
    ends = (24.0, 24.0, 12.0, 12.0) if turned else (12.0, 12.0, 24.0, 24.0)
    unsure = 0
    for i in range(64):
        for j in range(64):
            x, y = 0.5 + i * 2.0**-53, 0.5 + j * 2.0**-53
            side, exact = _orientation(*ends, x, y), exact_side(*ends, x, y)
            assert side in (0, exact)
            unsure += side != exact
    assert unsure > 0


@given(coordinates, coordinates, coordinates, coordinates, coordinates, coordinates)
def test_a_side_is_the_exact_one_or_none(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> None:
    assert _orientation(ax, ay, bx, by, cx, cy) in (0, exact_side(ax, ay, bx, by, cx, cy))


def test_clear_sides_are_told() -> None:
    assert _orientation(0.0, 0.0, 1.0, 0.0, 0.5, 1e-9) == 1
    assert _orientation(0.0, 0.0, 1.0, 0.0, 0.5, -1e-9) == -1
    assert _orientation(0.0, 0.0, 1.0, 0.0, 0.5, 0.0) == 0
