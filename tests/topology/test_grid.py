"""Cells, parents, children and neighbours are what the arithmetic promises, for any grid and at its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsError
from topology.grid import (
    MAX_AXIS,
    MAX_LEVEL,
    NO_CELL,
    Grid,
    children,
    decode_cell,
    level_of,
    metres_per_degree,
    morton_decode,
    morton_encode,
    neighbour_cells,
    parent,
    parents_of,
    ring_distance,
)

SHANGHAI = Grid.metric(120.85, 30.67, 122.25, 31.88)

axis = st.integers(0, MAX_AXIS - 1)
grids = st.builds(
    Grid,
    origin_lon=st.floats(-179, 170),
    origin_lat=st.floats(-89, 80),
    step_lon_deg=st.floats(1e-5, 0.5),
    step_lat_deg=st.floats(1e-5, 0.5),
    nx=st.integers(1, 3000),
    ny=st.integers(1, 3000),
)


def _interleaved(column: int, row: int) -> int:
    """Morton code bit by bit."""
    return sum((column >> i & 1) << 2 * i | (row >> i & 1) << 2 * i + 1 for i in range(27))


@settings(deadline=None)  # the first call compiles
@given(axis, axis)
def test_morton_code_interleaves_bits_and_decodes_to_the_same_pair(column: int, row: int) -> None:
    code = morton_encode(column, row)
    assert code == _interleaved(column, row)
    assert morton_decode(code) == (column, row)


@settings(deadline=None)  # the first call compiles
@given(axis, axis, st.integers(0, MAX_LEVEL))
def test_parent_holds_the_cell_and_its_children_tile_it(column: int, row: int, levels: int) -> None:
    cell = morton_encode(column, row)
    above = parent(cell, levels)
    assert level_of(above) == levels
    assert decode_cell(above) == (column >> levels, row >> levels)
    below = children(above, levels)
    assert cell in below
    assert len(below) == 4**levels
    assert parent(below[0], levels) == parent(below[-1], levels) == above
    assert below[0] == 0 or parent(below[0] - 1, levels) != above


@settings(deadline=None)  # the first call compiles
@given(axis, axis, st.integers(0, 13), st.integers(0, 14))
def test_parents_nest(column: int, row: int, first: int, second: int) -> None:
    cell = morton_encode(column, row)
    assert parent(parent(cell, first), second) == parent(cell, first + second)


def test_children_of_a_small_parent_are_exactly_the_cells_inside_it() -> None:
    above = parent(morton_encode(5, 6), 2)
    assert sorted(children(above, 2)) == sorted(morton_encode(x, y) for x in range(4, 8) for y in range(4, 8))
    with pytest.raises(ValueError, match="no children"):
        children(above, 3)


@settings(deadline=None)  # the first call compiles
@given(grids, st.data())
def test_centre_of_a_cell_maps_to_the_cell(grid: Grid, data: st.DataObject) -> None:
    column = data.draw(st.integers(0, grid.nx - 1))
    row = data.draw(st.integers(0, grid.ny - 1))
    cell = morton_encode(column, row)
    lon, lat = grid.centre(cell)
    assert grid.cell(lon, lat) == cell
    west, south, east, north = grid.bounds(cell)
    assert west < lon < east
    assert south < lat < north
    centres = grid.centres(np.array([cell, NO_CELL]))
    assert centres[0][0] == pytest.approx(lon, abs=1e-12)
    assert centres[1][0] == pytest.approx(lat, abs=1e-12)
    assert math.isnan(centres[0][1])


@settings(deadline=None)  # the first call compiles
@given(grids, st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
def test_cells_of_any_points_equal_the_plain_formula(grid: Grid, points: list[tuple[float, float]]) -> None:
    lon = np.array([x for x, _ in points], dtype=np.float64)
    lat = np.array([y for _, y in points], dtype=np.float64)
    expected = []
    for x, y in points:
        column = (x - grid.origin_lon) / grid.step_lon_deg
        row = (y - grid.origin_lat) / grid.step_lat_deg
        inside = 0 <= column < grid.nx and 0 <= row < grid.ny  # False for NaN
        expected.append(_interleaved(int(column), int(row)) if inside else NO_CELL)
    assert grid.cells_of(lon, lat).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 3), st.integers(0, 4))
def test_neighbours_are_symmetric_and_exactly_those_within_the_rings(
    column: int, row: int, rings: int, level: int
) -> None:
    grid = Grid(100.0, 30.0, 0.001, 0.001, 37, 41)
    cell = parent(morton_encode(min(column, grid.nx - 1), min(row, grid.ny - 1)), level)
    found = grid.neighbours(cell, rings).tolist()
    columns, rows = (grid.nx - 1 >> level) + 1, (grid.ny - 1 >> level) + 1
    every = [level << 56 | morton_encode(x, y) for x in range(columns) for y in range(rows)]
    assert sorted(found) == sorted(c for c in every if 0 < ring_distance(c, cell) <= rings)
    for other in found:
        assert cell in grid.neighbours(other, rings)


def test_neighbour_cells_has_the_cell_in_the_middle_and_rows_from_the_south_west() -> None:
    around = neighbour_cells(np.array([morton_encode(1, 1), morton_encode(0, 0), NO_CELL]), 1)
    assert around.shape == (3, 9)
    assert around[0].tolist() == [morton_encode(x, y) for y in range(3) for x in range(3)]
    assert around[1].tolist() == [
        *[NO_CELL] * 4, morton_encode(0, 0), morton_encode(1, 0), NO_CELL, morton_encode(0, 1), morton_encode(1, 1),
    ]  # fmt: skip
    assert (around[2] == NO_CELL).all()
    last = neighbour_cells(np.array([morton_encode(MAX_AXIS - 1, MAX_AXIS - 1)]), 1)[0]
    assert (last >= 0).sum() == 4


def test_points_outside_the_city_have_no_cell() -> None:
    assert SHANGHAI.cell(121.4737, 31.2304) >= 0
    assert SHANGHAI.cell(31.2304, 121.4737) == NO_CELL  # swapped
    assert SHANGHAI.cell(116.4, 39.9) == NO_CELL  # another city
    assert SHANGHAI.cell(120.8499999, 31.2) == NO_CELL
    assert SHANGHAI.cell(121.4, 30.6699999) == NO_CELL
    for bad in (math.nan, math.inf, -math.inf, 1e300, -1e300):
        assert SHANGHAI.cell(bad, 31.2) == NO_CELL
        assert SHANGHAI.cell(121.4, bad) == NO_CELL


def test_city_edge_is_closed_in_the_south_west_and_open_in_the_north_east() -> None:
    grid = Grid(120.0, 30.0, 0.5, 0.25, 4, 8)  # powers of two: the edges are exact
    assert grid.cell(120.0, 30.0) == morton_encode(0, 0)
    assert grid.cell(120.5, 30.25) == morton_encode(1, 1)
    assert grid.cell(math.nextafter(122.0, 0), math.nextafter(32.0, 0)) == morton_encode(3, 7)
    assert grid.cell(122.0, 31.0) == NO_CELL
    assert grid.cell(121.0, 32.0) == NO_CELL
    assert grid.cell(math.nextafter(120.0, 0), 31.0) == NO_CELL


def test_every_function_accepts_no_cell() -> None:
    assert parent(NO_CELL, 6) == NO_CELL
    assert parents_of(np.array([NO_CELL, 12]), 1).tolist() == [NO_CELL, 1 << 56 | 3]
    assert len(children(NO_CELL)) == 0
    assert SHANGHAI.neighbours(NO_CELL).tolist() == []
    assert not SHANGHAI.contains(NO_CELL)
    assert ring_distance(NO_CELL, 5) == -1
    assert ring_distance(5, parent(5)) == -1
    assert all(math.isnan(x) for x in SHANGHAI.centre(NO_CELL))


def test_parent_beyond_the_edge_is_not_of_the_grid() -> None:
    grid = Grid(100.0, 30.0, 0.001, 0.001, 65, 64)
    assert grid.contains(parent(morton_encode(64, 0), 6))
    assert not grid.contains(parent(morton_encode(128, 0), 6))
    assert not grid.contains(parent(morton_encode(0, 64), 6))


@pytest.mark.parametrize(
    ("lat", "lon_km", "lat_km"),  # the usual table for WGS-84, to the metre
    [
        (0, 111.320, 110.574),
        (15, 107.550, 110.649),
        (30, 96.486, 110.852),
        (45, 78.847, 111.132),
        (60, 55.800, 111.412),
    ],
)
def test_degree_lengths_are_those_of_published_tables(lat: float, lon_km: float, lat_km: float) -> None:
    assert metres_per_degree(lat) == pytest.approx((lon_km * 1000, lat_km * 1000), abs=0.6)


def test_metric_grid_has_square_cells_and_covers_the_box() -> None:
    metres_lon, metres_lat = metres_per_degree((30.67 + 31.88) / 2)
    assert SHANGHAI.step_lon_deg * metres_lon == pytest.approx(100.0)
    assert SHANGHAI.step_lat_deg * metres_lat == pytest.approx(100.0)
    assert SHANGHAI.origin_lon + SHANGHAI.nx * SHANGHAI.step_lon_deg >= 122.25
    assert SHANGHAI.origin_lat + SHANGHAI.ny * SHANGHAI.step_lat_deg >= 31.88
    # the width is off by 0.64 % at the edges of a city 1.2 degrees high
    for edge in (30.67, 31.88):
        assert SHANGHAI.step_lon_deg * metres_per_degree(edge)[0] == pytest.approx(100.0, rel=0.0065)


def test_degree_grid_of_whole_steps_has_no_spare_column() -> None:
    grid = Grid.degrees(121.4, 31.1, 121.52, 31.22, 0.001)
    assert (grid.nx, grid.ny) == (120, 120)


def test_wrong_grids_are_refused_with_every_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        Grid.metric(122.0, 121.4, 121.0, 121.9, cell_m=0)
    assert len(caught.value.problems) == 3
    assert "swapped" in caught.value.problems[1]
    with pytest.raises(SettingsError) as caught:
        Grid(math.nan, 30.0, 0.0, 0.001, 0, MAX_AXIS + 1)
    assert len(caught.value.problems) == 4
    with pytest.raises(SettingsError, match="larger cells"):
        Grid.metric(70.0, 10.0, 140.0, 50.0, cell_m=0.01)
    with pytest.raises(ValueError, match="rings"):
        neighbour_cells(np.array([0]), -1)
