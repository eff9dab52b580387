"""Unit grid codes: 15 digits, one for each cell and jurisdiction, in reading order."""

from __future__ import annotations

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.topology.test_jurisdictions import areas, entry
from topology.cell_table import touched_cells
from topology.grid import NO_CELL, Grid, morton_encode
from topology.jurisdictions import Jurisdictions, Level
from topology.unit_grid import BLOCK_SIDE, MAX_NUMBER, WIDE_BLOCK_SIDE, UnitGrid

SHANGHAI = Grid.metric(120.85, 30.65, 122.25, 31.9)
# about 100 m near the equator, so that the areas of the other tests (6 degrees wide there) cover some blocks here
STEP = 0.0009
SMALL = Grid(0.0, 0.0, STEP, STEP, 120, 100)


def small(area: shapely.Geometry) -> shapely.Geometry:
    """The area of 7 x 7 degrees squeezed into the grid of 120 cells."""
    return shapely.transform(area, lambda xy: xy * (120 * STEP / 6))


@settings(deadline=None, max_examples=12)
@given(st.lists(areas(), min_size=1, max_size=3), st.sampled_from(["310104", "310104003", "310104003007"]))
def test_codes_are_15_digits_unique_for_a_cell_and_jurisdiction_and_in_reading_order(
    shapes: list[shapely.Geometry], last: str
) -> None:
    codes = {"310101": shapes[0], "310102005": shapes[-1], last: shapes[len(shapes) // 2]}
    owner_of: dict[str, tuple[str, int]] = {}
    for code, shape in codes.items():
        area = small(shape)
        units = UnitGrid.of(code, area, SMALL)
        touched = touched_cells(SMALL, area)
        assert (units is None) is (touched is None)
        if units is None or touched is None:
            continue
        mask = touched.edge | touched.whole
        rank: list[tuple[tuple[int, ...], str]] = []
        for y in range(mask.shape[0]):
            for x in range(mask.shape[1]):
                column, row = x + touched.west, y + touched.south
                found = units.code(morton_encode(column, row))
                if not mask[y, x]:
                    continue
                assert found is not None and len(found) == 15 and found.isdigit() and found.startswith(code)
                if len(code) < 9:
                    assert found[6:9] == "000"
                if units.shift == 0:
                    assert owner_of.setdefault(found, (code, morton_encode(column, row))) == (
                        code, morton_encode(column, row)
                    )  # fmt: skip
                step = max(units.side, 1)
                column, row = column >> units.shift, row >> units.shift
                block = (-(row // step), column // step)
                rank.append(((*block, -(row % step), column % step), found))
        ordered = [found for _, found in sorted(rank)]
        assert ordered == sorted(ordered)  # reading order: -row grows to the south


def test_a_unit_keeps_its_code_when_the_border_moves_within_its_block() -> None:
    one = UnitGrid.of("310104", shapely.box(0.5 * STEP, 0.5 * STEP, 60.5 * STEP, 60.5 * STEP), SMALL)
    other = UnitGrid.of("310104", shapely.box(7.5 * STEP, 9.5 * STEP, 50.5 * STEP, 63.5 * STEP), SMALL)
    assert one is not None and other is not None
    assert one.code(morton_encode(20, 20)) == other.code(morton_encode(20, 20)) is not None


def test_numbers_begin_in_the_north_west() -> None:
    units = UnitGrid.of("310104", shapely.box(0, 0, 120 * STEP, 100 * STEP), SMALL)
    assert units is not None and units.side == BLOCK_SIDE
    # 100 rows are 6 blocks of 16 and one of 4 in the north
    assert units.code(morton_encode(0, 99)) == "310104000001" + f"{12 * 16 + 1:03d}"
    assert units.code(morton_encode(1, 99)) == "310104000001" + f"{12 * 16 + 2:03d}"
    assert units.code(morton_encode(16, 99)) == "310104000002" + f"{12 * 16 + 1:03d}"
    assert units.code(morton_encode(0, 95)) == "310104000009001"  # 8 blocks a row
    assert units.code(morton_encode(119, 0)) == "310104000056" + f"{15 * 16 + 8:03d}"


def test_a_community_numbers_its_units_itself() -> None:
    units = UnitGrid.of("310104003007", shapely.box(2.5 * STEP, 2.5 * STEP, 4.5 * STEP, 3.5 * STEP), SMALL)
    assert units is not None
    codes = {(c, r): units.code(morton_encode(c, r)) for c in (2, 3, 4) for r in (3, 2)}
    assert codes == {
        (2, 3): "310104003007001", (3, 3): "310104003007002", (4, 3): "310104003007003",
        (2, 2): "310104003007004", (3, 2): "310104003007005", (4, 2): "310104003007006",
    }  # fmt: skip
    assert units.code(morton_encode(5, 3)) is None
    assert units.code(NO_CELL) is None


@pytest.mark.parametrize(
    ("cells", "side", "shift"),
    [
        ((400, 400), BLOCK_SIDE, 0),
        ((700, 700), WIDE_BLOCK_SIDE, 0),  # 44 x 44 blocks of 16
        ((1200, 1200), WIDE_BLOCK_SIDE, 1),  # 600 x 600 units are 38 x 38 blocks of 16, 20 x 20 of 31
    ],
)
def test_what_is_too_large_for_three_digits_gets_wider_blocks_and_then_larger_units(
    cells: tuple[int, int], side: int, shift: int
) -> None:
    grid = Grid(0.0, 0.0, STEP, STEP, *cells)
    units = UnitGrid.of("310151", shapely.box(0, 0, cells[0] * STEP, cells[1] * STEP), grid)
    assert units is not None
    assert (units.side, units.shift) == (side, shift)
    assert len(units.numbered) <= MAX_NUMBER
    last = units.code(morton_encode(cells[0] - 1, 0))
    assert last is not None and len(last) == 15


@pytest.mark.parametrize(("step", "shift"), [(0.0009, 0), (0.00045, 1), (0.0001, 3), (0.009, 0)])
def test_a_unit_is_as_near_to_100_m_as_whole_cells_can_be(step: float, shift: int) -> None:
    units = UnitGrid.of("310104", shapely.box(0, 0, 3 * step, 3 * step), Grid(0.0, 0.0, step, step, 20, 20))
    assert units is not None and units.shift == shift


def test_codes_that_are_not_official_have_no_units() -> None:
    box = shapely.box(0, 0, 1, 1)
    assert UnitGrid.of("BOS-1", box, SMALL) is None
    assert UnitGrid.of("３１０１０４", box, SMALL) is None  # digits, but not those
    assert UnitGrid.of("310104", shapely.box(50, 50, 51, 51), SMALL) is None


def test_every_owned_point_has_a_unit_of_its_owner() -> None:
    entries = [
        entry("310104", shapely.box(0, 0, 50 * STEP, 50 * STEP)),
        entry("310105", shapely.box(50 * STEP, 0, 100 * STEP, 50 * STEP)),
        entry("310104003", shapely.box(STEP, STEP, 9.5 * STEP, 9 * STEP), Level.SUBDISTRICT, parent="310104"),
        entry("310105001000001", shapely.box(60 * STEP, STEP, 61 * STEP, 2 * STEP), Level.UNIT, parent="310105"),
        entry("north", shapely.box(0, 60 * STEP, 9 * STEP, 70 * STEP), Level.DISTRICT),
        entry("yard", shapely.box(20 * STEP, STEP, 25 * STEP, 9 * STEP), Level.COMMUNITY, parent="310104"),
    ]
    city = Jurisdictions(SMALL, entries)

    def unit_at(column: float, row: float) -> str | None:
        return city.unit_at(column * STEP, row * STEP, 0)

    assert (unit_at(30.5, 30.5) or "").startswith("310104000")
    assert (unit_at(5.5, 5.5) or "").startswith("310104003")
    assert (unit_at(70.5, 5.5) or "").startswith("310105000")
    assert unit_at(60.5, 1.5) == "310105001000001"  # the city's own
    assert (unit_at(22.5, 5.5) or "").startswith("310104000")  # a yard has no official code, its district has
    assert unit_at(5.5, 65.5) is None
    assert unit_at(5.5, 90.5) is None
    # one cell, two jurisdictions, two codes
    west, east = unit_at(9.25, 5.5), unit_at(9.75, 5.5)
    assert west is not None and east is not None and west[:9] == "310104003" and east[:9] == "310104000"


def test_every_district_of_shanghai_fits_into_its_numbers() -> None:
    # Chongming with its waters is the largest, about 2,500 square kilometres
    units = UnitGrid.of("310151", shapely.box(121.15, 31.35, 121.95, 31.86), SHANGHAI)
    assert units is not None and units.shift == 0
