"""Who owns a point: the answer of the tables equals a plain loop over polygons, on borders and at every time."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from schemas.datums import Datum
from schemas.errors import SettingsError
from tests.support.boundaries import feature, write_collection
from topology import cell_table
from topology.cell_table import build_table, table_shift
from topology.grid import NO_CELL, Grid, morton_encode
from topology.jurisdictions import MAX_TABLES, NOBODY, Jurisdiction, Jurisdictions, Level

SHANGHAI = Grid.metric(120.85, 30.65, 122.25, 31.9)
SHIPPED = sorted((Path(__file__).parents[2] / "topology/cities/shanghai/boundaries").glob("*.geojson"))
# 12 x 12 cells of half a degree: with coordinates in eighths, all arithmetic is exact, so points lie exactly on
# borders, corners and the edges of cells
SMALL = Grid(0.0, 0.0, 0.5, 0.5, 12, 12)

FloatArray = npt.NDArray[np.float64]
Entry = tuple[Jurisdiction, BaseGeometry | None]


def entry(
    code: str,
    area: BaseGeometry | None,
    level: Level = Level.DISTRICT,
    *,
    parent: str | None = None,
    valid_from_ms: int | None = None,
    valid_to_ms: int | None = None,
    name_en: str | None = None,
) -> Entry:
    west, south, east, north = (math.nan,) * 4 if area is None else shapely.bounds(area).tolist()
    return Jurisdiction(
        code, f"{code}区", name_en, level, parent, valid_from_ms, valid_to_ms, west, south, east, north
    ), area  # fmt: skip


def naive_code(entries: list[Entry], grid: Grid, lon: float, lat: float, at_ms: int) -> str | None:
    """The rule as it is written: in force, covers the point, finest level, smallest code."""
    if grid.cell(lon, lat) == NO_CELL:
        return None
    point = shapely.Point(lon, lat)
    owners = [e for e, area in entries if e.is_valid(at_ms) and area is not None and shapely.covers(area, point)]
    return min(owners, key=lambda e: (-e.level, e.code)).code if owners else None


def codes_at(city: Jurisdictions, lon: FloatArray, lat: FloatArray, at_ms: npt.NDArray[np.int64]) -> list[str | None]:
    rows = city.rows_at(lon, lat, city.grid.cells_of(lon, lat), at_ms)
    assert rows.dtype == np.int32
    return [None if row < 0 else city.codes[row] for row in rows.tolist()]


eighths = st.integers(-8, 56).map(lambda n: n / 8)  # from west of the grid to east of it
corners = st.tuples(eighths, eighths)


@st.composite
def areas(draw: st.DrawFn) -> BaseGeometry:
    """Convex, with a hole, in two parts, or with a bite taken out; always valid and not empty."""
    hull = shapely.MultiPoint(draw(st.lists(corners, min_size=3, max_size=7))).convex_hull
    other = shapely.MultiPoint(draw(st.lists(corners, min_size=3, max_size=5))).convex_hull
    mixed = draw(st.sampled_from([hull, shapely.difference(hull, other), shapely.symmetric_difference(hull, other)]))
    parts = [part for part in shapely.get_parts(mixed) if part.geom_type == "Polygon" and part.area > 1e-6]
    whole = shapely.union_all(parts) if parts else shapely.box(1, 1, 2.5, 2.5)
    return whole if whole.is_valid else shapely.box(1, 1, 2.5, 2.5)


@st.composite
def cities(draw: st.DrawFn) -> list[Entry]:
    entries: list[Entry] = []
    for i in draw(st.permutations(range(draw(st.integers(1, 6))))):
        level = draw(st.sampled_from([Level.CITY, Level.DISTRICT, Level.DISTRICT, Level.SUBDISTRICT]))
        change = draw(st.sampled_from([None, 0, 10, 20]))
        if change is None:
            entries.append(entry(f"{i:06d}", draw(areas()), level))
        else:  # its border changed
            entries.append(entry(f"{i:06d}", draw(areas()), level, valid_to_ms=change))
            end = draw(st.sampled_from([None, 30]))
            entries.append(entry(f"{i:06d}", draw(areas()), level, valid_from_ms=change, valid_to_ms=end))
    return entries


def telling_points(entries: list[Entry], drawn: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Drawn points, and of every area all corners and the middles of all edges."""
    points = list(drawn)
    for _, area in entries:
        for ring in shapely.get_rings(shapely.get_parts(area)):
            xy = shapely.get_coordinates(ring)
            points += [*map(tuple, xy[:-1].tolist()), *map(tuple, ((xy[1:] + xy[:-1]) / 2).tolist())]
    return points


@settings(deadline=None, max_examples=60)
@given(
    cities(),
    st.lists(corners | st.tuples(st.floats(-1, 7), st.floats(-1, 7)), max_size=30),
    st.lists(st.integers(-5, 35), min_size=1, max_size=40),
    st.sampled_from([1 << 24, 40]),
)
def test_rows_equal_a_plain_loop_over_polygons_also_on_borders_corners_and_cell_edges(
    entries: list[Entry], drawn: list[tuple[float, float]], times: list[int], max_cells: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_table, "MAX_TABLE_CELLS", max_cells)  # 40: the table is over parent cells
        city = Jurisdictions(SMALL, entries)
        points = telling_points(entries, drawn)
        lon, lat = np.array(points, dtype=np.float64).T.copy()
        at_ms = np.resize(np.array(times, dtype=np.int64), len(points))
        found = codes_at(city, lon, lat, at_ms)
        expected = [naive_code(entries, SMALL, x, y, t) for (x, y), t in zip(points, at_ms.tolist(), strict=True)]
        assert found == expected
        one_by_one = [city.code_at(x, y, t) for (x, y), t in zip(points[:20], at_ms.tolist(), strict=False)]
        assert one_by_one == expected[:20]
        reverse = codes_at(city, lon[::-1].copy(), lat[::-1].copy(), at_ms[::-1].copy())
        assert reverse[::-1] == expected


@settings(deadline=None, max_examples=30)
@given(areas(), st.floats(-1e-9, 1e-9), st.floats(1e-9, 1.0), st.integers(1, 70))
@example(shapely.box(1, 1, 2.5, 2.5), 0.0, 1.0, 2)  # its western border is the eastern edge of a cell
def test_a_whole_cell_is_whole_at_its_very_edges_for_any_grid(
    area: BaseGeometry, nudge: float, step: float, count: int
) -> None:
    grid = Grid(nudge, 0.1 + nudge, step, step * 1.1, count, count)
    table = build_table(grid, [(0, area)])
    assert table.shift == 0
    rows, columns = np.indices(table.values.shape)
    for east in (0.0, 1.0):
        for north in (0.0, 1.0):
            lon = grid.origin_lon + (columns + east) * grid.step_lon_deg
            lat = grid.origin_lat + (rows + north) * grid.step_lat_deg
            covered = shapely.intersects_xy(area, lon.ravel(), lat.ravel()).reshape(lon.shape)
            assert covered[table.values == 0].all()
            assert not covered[table.values == NOBODY].any()


def test_a_point_on_a_border_belongs_to_the_smallest_code_however_asked() -> None:
    left, right = shapely.box(0, 0, 2.25, 4), shapely.box(2.25, 0, 5, 4)
    for first, second in (("310101", "310104"), ("310104", "310101")):
        city = Jurisdictions(SMALL, [entry(first, left), entry(second, right)])
        assert city.code_at(2.25, 1.0, 0) == "310101"
        lon, lat = np.full(5, 2.25), np.linspace(0, 4, 5)
        assert set(codes_at(city, lon, lat, np.zeros(5, np.int64))) == {"310101"}
        assert city.code_at(2.0, 1.0, 0) == first
        assert city.code_at(2.375, 1.0, 0) == second
        assert city.code_at(5.5, 1.0, 0) is None


def test_the_finest_level_wins_and_a_district_owns_what_no_subdistrict_does() -> None:
    city = Jurisdictions(
        SMALL,
        [
            entry("310000", shapely.box(0, 0, 6, 6), Level.CITY),
            entry("310104", shapely.box(1, 1, 5, 5), Level.DISTRICT, parent="310000", name_en="Xuhui"),
            entry("310104003", shapely.box(2, 2, 3, 3), Level.SUBDISTRICT, parent="310104", name_en="Tianping Road"),
        ],
    )
    assert city.code_at(2.5, 2.5, 0) == "310104003"
    assert city.code_at(2.0, 2.0, 0) == "310104003"  # on its border: finer beats smaller
    assert city.code_at(1.5, 1.5, 0) == "310104"
    assert city.code_at(0.5, 0.5, 0) == "310000"
    assert [link.code for link in city.chain("310104003", 0)] == ["310104003", "310104", "310000"]
    assert city.district_of("310104003", 0) == city.district_of("310104", 0) == "310104"
    assert city.district_of("310000", 0) == "310000"
    assert city.district_of("999999", 0) is None
    assert city.name_zh("310104003", 0) == "310000区310104区310104003区"
    assert city.name_en("310104003", 0) == "Tianping Road, Xuhui"
    assert city.name_en("310000", 0) == "310000区"
    assert city.name_zh("999999", 0) == city.name_en("999999", 0) == "999999"


def test_an_old_observation_keeps_the_jurisdiction_that_was_in_force_then() -> None:
    city = Jurisdictions(
        SMALL,
        [
            entry("310106", shapely.box(0, 0, 6, 6), valid_from_ms=1000),  # merged
            entry("310106", shapely.box(0, 0, 3, 6), valid_to_ms=1000),
            entry("310108", shapely.box(3, 0, 6, 6), valid_to_ms=1000),  # ended
        ],
    )
    assert city.codes == ("310106", "310108")
    assert [e.valid_to_ms for e in city.entries] == [1000, None, 1000]
    assert [city.code_at(4, 1, at) for at in (-5, 999, 1000, 5000)] == ["310108", "310108", "310106", "310106"]
    lon, lat = np.full(4, 4.0), np.full(4, 1.0)
    mixed = np.array([1000, 999, 5000, -5], dtype=np.int64)
    assert codes_at(city, lon, lat, mixed) == ["310106", "310108", "310106", "310108"]
    assert city.find("310108", 999) is not None
    assert city.find("310108", 1000) is None
    assert city.chain("310108", 1000) == ()
    old, new = city.find("310106", 0), city.find("310106", 1000)
    assert old is not None and new is not None
    assert (old.east, new.east) == (3.0, 6.0)


def test_rows_without_a_place_have_no_owner() -> None:
    city = Jurisdictions(SMALL, [entry("310101", shapely.box(-1, -1, 9, 9))])
    lon = np.array([math.nan, 1.0, 1.0, 1.0, 1.0, 1.0])
    lat = np.ones(6)
    cells = np.array([0, NO_CELL, 0, morton_encode(12, 0), morton_encode(0, 12), 1 << 56], dtype=np.int64)
    rows = city.rows_at(lon, lat, cells, np.zeros(6, np.int64))
    assert rows.tolist() == [-1, -1, 0, -1, -1, -1]
    assert city.row_at(math.nan, 1.0, 0) == -1
    assert city.code_at(7.0, 1.0, 0) is None
    nothing = np.empty(0)
    assert city.rows_at(nothing, nothing, np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


def test_no_jurisdictions_answer_everything_with_nobody() -> None:
    city = Jurisdictions.empty(SMALL)
    assert (len(city), city.codes, city.entries, city.warnings) == (0, (), (), ())
    assert city.rows_at(np.ones(3), np.ones(3), np.zeros(3, np.int64), np.zeros(3, np.int64)).tolist() == [-1] * 3
    assert city.unit_at(1, 1, 0) is None and city.code_at(1, 1, 0) is None
    assert city.chain("310104", 0) == () and city.name_zh("310104", 0) == "310104"


def test_a_jurisdiction_without_area_stands_in_chains_and_owns_nothing() -> None:
    city = Jurisdictions(
        SMALL,
        [entry("310000", None, Level.CITY), entry("310104", shapely.box(1, 1, 2, 2), parent="310000")],
    )
    assert city.code_at(1.5, 1.5, 0) == "310104"
    assert city.code_at(3, 3, 0) is None
    assert [link.code for link in city.chain("310104", 0)] == ["310104", "310000"]


def test_many_epochs_asked_in_any_order_give_the_same_answers_and_keep_few_tables() -> None:
    entries = [
        entry("000001", shapely.box(0, 0, i / 2 + 0.25, 6), valid_from_ms=i * 10, valid_to_ms=i * 10 + 10)
        for i in range(10)
    ]
    city = Jurisdictions(SMALL, entries)
    rng = np.random.default_rng(7)
    for _ in range(3):
        at_ms = rng.integers(-10, 120, 300)
        lon, lat = rng.uniform(0, 6, 300), rng.uniform(0, 6, 300)
        expected = [
            naive_code(entries, SMALL, *p) for p in zip(lon.tolist(), lat.tolist(), at_ms.tolist(), strict=True)
        ]
        assert codes_at(city, lon, lat, at_ms) == expected
        assert len(city._tables) <= MAX_TABLES


def test_threads_get_the_same_answers() -> None:
    entries = [
        entry(f"{i:06d}", shapely.Point(i % 3 * 2, i // 3 * 2).buffer(1.3), valid_from_ms=i % 2 * 10) for i in range(9)
    ]
    rng = np.random.default_rng(3)
    lon, lat, at_ms = rng.uniform(0, 6, 20_000), rng.uniform(0, 6, 20_000), rng.integers(-5, 20, 20_000)
    expected = codes_at(Jurisdictions(SMALL, entries), lon, lat, at_ms)
    city = Jurisdictions(SMALL, entries)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(lambda _: codes_at(city, lon, lat, at_ms), range(8)))


def test_a_grid_of_too_many_cells_gets_a_table_over_parent_cells() -> None:
    fine = Grid(0.0, 0.0, 6 / 2**20, 6 / 2**20, 2**20, 2**20)
    assert table_shift(fine) == 8 and table_shift(SMALL) == 0
    city = Jurisdictions(fine, [entry("310101", shapely.box(1, 1, 2, 2)), entry("310104", shapely.box(2, 1, 3, 2))])
    assert [city.code_at(x, 1.5, 0) for x in (0.999999, 1.0, 1.5, 2.0, 2.000001, 3.0)] == [
        None, "310101", "310101", "310101", "310104", "310104",
    ]  # fmt: skip


@pytest.mark.parametrize("shuffle", [False, True])
def test_shanghai_agrees_with_its_polygons_on_its_borders_and_everywhere_else(shuffle: bool) -> None:
    city = Jurisdictions.load(SHIPPED[::-1] if shuffle else SHIPPED, SHANGHAI, default_datum=Datum.WGS84)
    assert len(city.codes) == 18
    entries = [(e, shapely.multipolygons(shapely.get_parts(a))) for e, a in zip(city.entries, city._areas, strict=True)]
    rng = np.random.default_rng(11)
    corners = [shapely.get_coordinates(ring) for _, area in entries for ring in shapely.get_rings(area.geoms)]
    # between two corners: by one rounding error on the border, or on either side of it
    between = np.concatenate([ring[:-1] + t * (ring[1:] - ring[:-1]) for ring in corners for t in (0.5, 0.3)])
    on_borders = np.concatenate(corners)[::40]
    near = on_borders + rng.normal(0, 2e-4, on_borders.shape)  # about 20 m
    anywhere = np.column_stack([rng.uniform(120.8, 122.3, 2000), rng.uniform(30.6, 31.95, 2000)])
    points = np.concatenate([on_borders, between, near, anywhere])
    lon, lat = points.T.copy()
    expected = np.full(len(points), None, dtype=object)
    for e, area in sorted(entries, key=lambda pair: (pair[0].level, [-ord(c) for c in pair[0].code])):
        shapely.prepare(area)
        expected[shapely.covers(area, shapely.points(lon, lat))] = e.code
    expected[city.grid.cells_of(lon, lat) == NO_CELL] = None
    assert codes_at(city, lon, lat, np.zeros(len(points), np.int64)) == expected.tolist()
    assert city.code_at(121.4403, 31.2068, 0) == "310104003"
    assert city.name_zh("310104003", 0) == "上海市徐汇区天平路街道"
    assert city.name_en("310104003", 0) == "Tianping Road, Xuhui"
    assert city.code_at(121.4737, 31.2304, 0) == "310101"  # People's Square
    assert city.unit_at(121.4737, 31.2304, 0) is not None


def test_the_datum_of_boundaries_counts_near_a_border(tmp_path: Path) -> None:
    """About 450 m lie between the datums: a point near a border belongs to the neighbour if it is not converted."""
    ring = [[121.40, 31.10], [121.50, 31.10], [121.50, 31.20], [121.40, 31.20], [121.40, 31.10]]
    path = write_collection(tmp_path / "a.geojson", [feature("310104", ring)], datum="GCJ-02")
    city = Jurisdictions.load([path], SHANGHAI)
    assert city.code_at(121.397, 31.15, 0) == "310104"  # outside of the ring as written
    assert city.code_at(121.498, 31.15, 0) is None


def test_loading_names_all_problems_of_all_files(tmp_path: Path) -> None:
    ring = [[121.40, 31.10], [121.50, 31.10], [121.50, 31.20], [121.40, 31.20], [121.40, 31.10]]
    first = write_collection(tmp_path / "a.geojson", [feature("310104", ring), feature("310105", ring)])
    second = write_collection(tmp_path / "b.geojson", [feature("", ring, level="town"), {"type": "Feature"}])
    with pytest.raises(SettingsError) as caught:
        Jurisdictions.load([first, second, tmp_path / "no.geojson"], SHANGHAI)
    places = [problem.removeprefix(f"{tmp_path}/").split(": ")[0] for problem in caught.value.problems]
    assert places == ["b.geojson:2", "b.geojson:2", "b.geojson:3", "b.geojson:3", "no.geojson", "a.geojson:2"]


def test_dates_are_midnights_of_the_city(tmp_path: Path) -> None:
    ring = [[121.40, 31.10], [121.50, 31.10], [121.50, 31.20], [121.40, 31.20], [121.40, 31.10]]
    path = write_collection(tmp_path / "a.geojson", [feature("310104", ring, valid_from="2024-01-01")])
    first_ms = 1_704_067_200_000 - 8 * 3_600_000  # midnight in Shanghai is 16:00 UTC of the day before
    city = Jurisdictions.load([path], SHANGHAI)
    assert city.code_at(121.45, 31.15, first_ms - 1) is None
    assert city.code_at(121.45, 31.15, first_ms) == "310104"
    elsewhere = Jurisdictions.load([path], SHANGHAI, zone="UTC")
    assert elsewhere.code_at(121.45, 31.15, first_ms) is None


@settings(deadline=None, max_examples=15)
@given(cities(), st.randoms())
def test_the_order_of_the_files_does_not_matter(entries: list[Entry], random: Random) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)
    one, other = Jurisdictions(SMALL, entries), Jurisdictions(SMALL, shuffled)
    assert one.codes == other.codes and one.entries == other.entries
    lon, lat = np.meshgrid(np.arange(0, 6, 0.25), np.arange(0, 6, 0.25))
    at_ms = np.resize(np.array([-1, 5, 15, 40], dtype=np.int64), lon.size)
    assert codes_at(one, lon.ravel(), lat.ravel(), at_ms) == codes_at(other, lon.ravel(), lat.ravel(), at_ms)
