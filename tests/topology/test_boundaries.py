"""Boundaries: what a feature may say, what is wrong with a shape, and whether neighbours, parents and datums fit."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from schemas.datums import Datum
from tests.support.boundaries import Ring, feature, square, write_collection
from topology.boundaries import Boundaries, read_boundaries
from topology.boundary_shapes import faults, wgs84
from topology.datum import from_wgs84
from topology.grid import Grid
from topology.levels import Level

SHANGHAI = Grid.metric(120.85, 30.65, 122.25, 31.9)
JTS = Path(__file__).parents[2].parent / "shared/data/geometry_vectors/jts/general/TestValid.xml"
BOX = square(121.40, 31.10, 121.50, 31.20)


def read(path: Path, features: Sequence[object], default_datum: Datum = Datum.WGS84, /, **members: Any) -> Boundaries:
    write_collection(path / "a.geojson", features, **members)
    return read_boundaries([path / "a.geojson"], SHANGHAI, default_datum=default_datum, zone="Asia/Shanghai")


def problems(path: Path, features: Sequence[object], **members: Any) -> list[str]:
    found = read(path, features, **members).problems
    return [problem.removeprefix(f"{path}/a.geojson:") for problem in found]


def warnings(path: Path, features: Sequence[object], **members: Any) -> list[str]:
    found = read(path, features, **members)
    assert found.problems == []
    return [warning.removeprefix(f"{path}/a.geojson:") for warning in found.warnings]


def as_gcj(ring: Ring) -> list[list[float]]:
    lon, lat = np.array(ring, dtype=np.float64).T.copy()
    return [list(point) for point in zip(*(a.tolist() for a in from_wgs84(lon, lat, Datum.GCJ02)), strict=True)]


# --- what a feature says ----------------------------------------------------------------------------------------------


def test_official_codes_say_level_and_parent_by_themselves(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        [
            feature("310104003", square(121.41, 31.11, 121.43, 31.13)),
            feature("310104", BOX),
            feature("310000"),  # no geometry: it stands in chains
            {"type": "Feature", "properties": {"adcode": 310105, "name": "长宁区"},
             "geometry": {"type": "Polygon", "coordinates": [square(121.30, 31.10, 121.40, 31.20)]}},
            feature("310105002001", square(121.31, 31.11, 121.32, 31.12)),
        ],
    )  # fmt: skip
    assert found.problems == []
    levels = {boundary.code: boundary.level for boundary in found.boundaries}
    assert levels == {
        "310104003": Level.SUBDISTRICT,
        "310104": Level.DISTRICT,
        "310000": Level.CITY,
        "310105": Level.DISTRICT,
        "310105002001": Level.COMMUNITY,
    }
    assert found.parents == ["310104", "310000", None, "310000", "310105"]


def test_codes_of_other_countries_find_their_parents_by_shape(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        [
            feature("BOS", BOX, level="city", name="Boston"),
            feature("BOS-1", square(121.40, 31.10, 121.45, 31.20), level=2),
            feature("BOS-1a", square(121.41, 31.11, 121.42, 31.12), level="Community"),
            feature("BOS-9", square(121.60, 31.10, 121.65, 31.20), level="district"),  # beside the city
        ],
    )
    assert found.parents == [None, "BOS", "BOS-1", "BOS"]  # the only city, for want of anything around it
    assert found.problems[0].count("BOS-9") and "more than half of its area" in found.problems[0]


def test_every_property_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        [
            {"type": "Feature", "properties": None, "geometry": None},
            feature("31 01", BOX, name=7, level="town", parent=5, valid_from="2024-1-1", valid_to=20240101),
            {"type": "Feature", "properties": {"code": 310104, "name": " ", "level": True}, "geometry": None},
            feature("310104", BOX, valid_from="2024-02-01", valid_to="2024-02-01", datum="mars", name_en=[]),
            feature("310105", BOX, valid_from="2024-02-30", valid_to="0001-01-01", level="district"),
            feature("ABC", BOX),
        ],
    ) == [
        "2: feature 1: code is missing",
        "2: feature 1: name is missing",
        "2: feature 1: level is missing; choose one of city, district, subdistrict, community, unit",
        "3: feature 2 (31 01 7): code '31 01' must be 1 to 32 letters, digits, dots, dashes or underscores",
        "3: feature 2 (31 01 7): name must be a name, got '7'",
        "3: feature 2 (31 01 7): level 'town' is unknown; choose one of city, district, subdistrict, community, unit",
        "3: feature 2 (31 01 7): parent must be a code, got '5'",
        "3: feature 2 (31 01 7): valid_from must be a date YYYY-MM-DD from 1900 to 2200, got '2024-1-1'",
        "3: feature 2 (31 01 7): valid_to must be a date YYYY-MM-DD from 1900 to 2200, got '20240101'",
        "4: feature 3 (310104  ): code must be a string, got 310104; put it in quotes",
        "4: feature 3 (310104  ): name must be a name, got ' '",
        "4: feature 3 (310104  ): level 'True' is unknown; choose one of city, district, subdistrict, community, unit",
        "5: feature 4 (310104 310104区): name_en must be a name, got '[]'",
        "5: feature 4 (310104 310104区): valid_from=2024-02-01 must be before valid_to=2024-02-01",
        "5: feature 4 (310104 310104区): datum 'mars' is unknown; choose one of WGS-84, CGCS2000, GCJ-02, BD-09",
        "6: feature 5 (310105 310105区): valid_from must be a date YYYY-MM-DD from 1900 to 2200, got '2024-02-30'",
        "6: feature 5 (310105 310105区): valid_to must be a date YYYY-MM-DD from 1900 to 2200, got '0001-01-01'",
        "7: feature 6 (ABC ABC区): level is missing; choose one of city, district, subdistrict, community, unit",
    ]


def test_a_property_that_looks_misspelt_is_warned_of(tmp_path: Path) -> None:
    assert warnings(tmp_path, [feature("310104", BOX, valid_form="2024-01-01", colour="red")]) == [
        "2: feature 1 (310104 310104区): property 'valid_form' is not used; is 'valid_from' meant?"
    ]


def test_a_code_may_stand_twice_only_at_different_times(tmp_path: Path) -> None:
    early, late = feature("310104", BOX, valid_to="2024-01-01"), feature("310104", BOX, valid_from="2024-01-01")
    assert problems(tmp_path, [early, late]) == []
    first, second = problems(tmp_path, [early, late, feature("310104", square(121.6, 31.1, 121.7, 31.2))])
    assert first.startswith("4: feature 3 (310104 310104区): the same code is in force at the same time as 310104")
    assert "(line 2)" in first and "(line 3)" in second


def test_a_named_parent_must_be_there_coarser_and_in_force(tmp_path: Path) -> None:
    child = square(121.41, 31.11, 121.43, 31.13)
    assert problems(
        tmp_path,
        [
            feature("310104", BOX, valid_from="2020-01-01"),
            feature("310104001", child, parent="310199"),
            feature("310104002", square(121.45, 31.11, 121.47, 31.13), parent="310104001"),
            feature("310107"),
        ],
    ) == [
        "3: feature 2 (310104001 310104001区): parent 310199 is in none of the files",
        "4: feature 3 (310104002 310104002区): parent 310104001 is a subdistrict, which no subdistrict belongs to",
        "5: feature 4 (310107 310107区): it has no geometry, and no other jurisdiction belongs to it",
    ]
    found = warnings(
        tmp_path, [feature("310104", BOX, valid_from="2020-01-01"), feature("310104001", child, parent="310104")]
    )
    assert found[0].endswith("parent 310104 is not in force during all of its validity")


def test_a_faulty_feature_makes_no_second_problems_of_those_who_name_it(tmp_path: Path) -> None:
    bowtie = [[121.4, 31.1], [121.5, 31.2], [121.5, 31.1], [121.4, 31.2], [121.4, 31.1]]
    child = feature("310104001", square(121.41, 31.11, 121.43, 31.13), parent="310104")
    (problem,) = problems(tmp_path, [feature("310104", bowtie), child])
    assert problem.startswith("2: feature 1")


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rings", "kind", "expected"),
    [
        (
            [[[121.4, 31.1], [121.5, 31.2], [121.5, 31.1], [121.4, 31.2], [121.4, 31.1]]],
            "Polygon",
            "the border crosses itself (self-intersection) near lon 121.45, lat 31.15",
        ),
        (
            [BOX, square(121.6, 31.1, 121.65, 31.15)],
            "Polygon",
            "a hole lies outside its outer ring near lon 121.6, lat 31.1",
        ),
        (
            [BOX, square(121.41, 31.11, 121.49, 31.19), square(121.43, 31.13, 121.44, 31.14)],
            "Polygon",
            "a hole lies inside another hole near lon 121.43, lat 31.13",
        ),
        (
            [BOX, square(121.41, 31.11, 121.45, 31.15), square(121.43, 31.13, 121.47, 31.17)],
            "Polygon",
            "the border crosses itself (self-intersection) near lon 121.4",
        ),
        (
            [BOX, square(121.45, 31.15, 121.6, 31.3)],
            "MultiPolygon",
            "two parts overlap near lon 121.",
        ),
        (
            [BOX, square(121.41, 31.11, 121.45, 31.15)],
            "MultiPolygon",
            "one part lies inside another part near lon 121.4",
        ),
        (
            [[[121.4, 31.1], [121.5, 31.1], [121.4, 31.1], [121.4, 31.1]]],
            "Polygon",
            "a ring has fewer than 3 different positions near lon 121.4, lat 31.1",
        ),
        (
            [BOX, [[121.45, 31.1], [121.5, 31.15], [121.45, 31.2], [121.4, 31.15], [121.45, 31.1]]],
            "Polygon",
            "its rings cut the inside apart (interior disconnected)",
        ),
    ],
)  # fmt: skip
def test_a_shape_that_is_not_sound_is_named_with_its_place(
    tmp_path: Path, rings: list[Ring], kind: str, expected: str
) -> None:
    (problem,) = problems(tmp_path, [feature("310104", *rings, kind=kind)])
    assert problem.startswith(f"2: feature 1 (310104 310104区): {expected}")


def test_each_broken_part_of_an_area_is_named(tmp_path: Path) -> None:
    bowtie = [[121.4, 31.1], [121.5, 31.2], [121.5, 31.1], [121.4, 31.2], [121.4, 31.1]]
    east = [[lon + 0.2, lat] for lon, lat in bowtie]
    found = problems(tmp_path, [feature("310104", bowtie, square(121.7, 31.1, 121.8, 31.2), east, kind="MultiPolygon")])
    assert [text.split(": ")[2] for text in found] == ["part 1", "part 3"]


def test_only_areas_can_be_jurisdictions(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[121.4, 31.1], [121.5, 31.1]]}
    empty = {"type": "Polygon", "coordinates": []}
    base = {"type": "Feature", "properties": {"code": "310104", "name": "徐汇区"}}
    found = problems(tmp_path, [{**base, "geometry": line}, {**base, "geometry": empty}])
    assert [text.split("): ")[1] for text in found] == [
        "a jurisdiction's geometry is a Polygon or MultiPolygon, got LineString",
        "the geometry is empty; a jurisdiction needs an area",
    ]


def test_swapped_axes_are_recognised(tmp_path: Path) -> None:
    (swapped,) = problems(tmp_path, [feature("310104", [[lat, lon] for lon, lat in BOX])])
    assert "5 positions are no degrees of longitude and latitude" in swapped and "look swapped" in swapped
    # where both would be degrees, only the city's box tells
    boston = Grid.metric(-71.2, 42.2, -70.9, 42.4)
    path = write_collection(tmp_path / "b.geojson", [feature("B", square(42.25, -71.1, 42.35, -71.0), level="city")])
    (problem,) = read_boundaries([path], boston, default_datum=Datum.WGS84, zone="America/New_York").problems
    assert "lon and lat look swapped: only once swapped all its points lie inside the city's box" in problem


def test_metres_of_a_projection_are_recognised(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, [feature("310104", square(351000, 3440000, 361000, 3450000))])
    assert "look like metres of a projection" in problem


def test_a_shape_outside_the_box_is_a_problem_and_one_across_its_edge_is_odd(tmp_path: Path) -> None:
    (outside,) = problems(tmp_path, [feature("110101", square(116.3, 39.8, 116.5, 40.0))])
    assert "it lies outside the city's box, lon 120.85 to 122.2" in outside
    (across,) = warnings(tmp_path, [feature("310104", square(120.75, 31.1, 120.95, 31.2))])
    assert "50.0" in across and "of it lie outside the city's box" in across


def test_a_wrong_datum_shows_where_it_pushes_a_shape_out_of_the_box(tmp_path: Path) -> None:
    edge = square(120.851, 31.1, 120.95, 31.2)
    assert problems(tmp_path, [feature("310104", as_gcj(edge), datum="GCJ-02")]) == []
    (problem,) = problems(tmp_path, [feature("310104", edge, datum="GCJ-02")])
    assert "but all of it inside if its datum is WGS-84 instead of GCJ-02: say the right datum" in problem


# --- datums -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "members", "expected"),
    [
        ({}, {}, Datum.BD09),
        ({"datum": "gcj02"}, {}, Datum.GCJ02),
        ({"crs": "WGS-84"}, {}, Datum.WGS84),
        ({}, {"datum": "CGCS2000"}, Datum.CGCS2000),
        ({}, {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}, Datum.WGS84),
        ({}, {"crs": {"type": "name", "properties": {"name": "EPSG:4490"}}}, Datum.CGCS2000),
        ({"datum": "GCJ-02"}, {"crs": "GCJ-02"}, Datum.GCJ02),
    ],
)
def test_a_feature_or_its_collection_says_the_datum(
    tmp_path: Path, own: dict[str, str], members: dict[str, Any], expected: Datum
) -> None:
    found = read(tmp_path, [feature("310104", BOX, **own)], Datum.BD09, **members)
    assert found.problems == []
    assert found.boundaries[0].datum == expected
    shift = found.boundaries[0].geometry.centroid.x - 121.45  # type: ignore[union-attr]  # it has one
    assert (abs(shift) > 0.003) is (expected in (Datum.GCJ02, Datum.BD09))


def test_datums_that_contradict_each_other_are_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, [feature("310104", BOX, datum="GCJ-02")], datum="WGS-84") == [
        "2: feature 1 (310104 310104区): its datum is GCJ-02, the collection's is WGS-84: which is it?"
    ]
    assert problems(tmp_path, [feature("310104", BOX)], datum="WGS-84", crs="BD09") == [
        "1: the collection: two datums, datum WGS-84 and crs BD-09: which is it?"
    ]
    assert problems(tmp_path, [feature("310104", BOX)], crs={"type": "name"}) == [
        "1: the collection: crs 'None' is unknown; choose one of WGS-84, CGCS2000, GCJ-02, BD-09"
    ]


def test_an_area_whose_rings_touch_stays_sound_when_it_is_converted() -> None:
    # a hole that touches the middle of an edge of the outer ring, which conversion moves by nanometres
    area = shapely.Polygon(BOX, [[[121.43, 31.10], [121.4412345, 31.12], [121.42, 31.12], [121.43, 31.10]]])
    assert faults(area) == []
    converted = wgs84(area, Datum.GCJ02)
    assert converted.is_valid and converted.geom_type in ("Polygon", "MultiPolygon")
    assert converted.area == pytest.approx(area.area, rel=3e-3)  # in square degrees, which GCJ-02 stretches


def test_one_district_in_the_wrong_datum_is_named_though_it_overlaps_several(tmp_path: Path) -> None:
    """Moving any of its neighbours would end that one overlap; only moving the culprit ends all of them."""
    cells = [
        (
            f"31011{i}",
            square(121.40 + i % 3 * 0.05, 31.10 + i // 3 * 0.05, 121.45 + i % 3 * 0.05, 31.15 + i // 3 * 0.05),
        )
        for i in range(9)
    ]
    features = [feature(code, as_gcj(ring), datum="GCJ-02") for code, ring in cells]
    assert problems(tmp_path, features) == []
    features[4]["properties"]["datum"] = "WGS-84"
    found = problems(tmp_path, features)
    assert found
    for problem in found:
        assert "they fit if the datum of 310114 310114区 is GCJ-02 instead of WGS-84: which is it?" in problem


def test_a_child_in_the_wrong_datum_is_told_by_its_parent(tmp_path: Path) -> None:
    inside = square(121.401, 31.101, 121.45, 31.15)
    for ring, datum, right in ((as_gcj(inside), "WGS-84", "GCJ-02"), (inside, "GCJ-02", "WGS-84")):
        (problem,) = problems(tmp_path, [feature("310104", BOX), feature("310104003", ring, datum=datum)])
        assert problem.startswith("3: feature 2 (310104003 310104003区): it reaches out of its parent 310104 310104区")
        assert f"they fit if the datum of 310104003 310104003区 is {right} instead of {datum}: which is it?" in problem


# --- neighbours, children and parents ---------------------------------------------------------------------------------


def test_an_overlap_is_a_problem_with_its_area(tmp_path: Path) -> None:
    left, right = square(121.40, 31.10, 121.45, 31.20), square(121.44, 31.10, 121.50, 31.20)
    (problem,) = problems(tmp_path, [feature("310104", left), feature("310105", right)])
    found = re.search(r"it overlaps 310105 310105区 \(line 3\) by ([\d,]+) m2 near lon 121\.44500, lat 31\.", problem)
    assert found is not None and problem.startswith("2: feature 1 (310104 310104区): ")
    assert int(found[1].replace(",", "")) == pytest.approx(0.01 * 95_400 * 0.1 * 110_900, rel=0.01)
    assert "two of one level cannot be in charge" in problem


def test_borders_that_were_digitised_twice_are_slivers_in_one_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lat = np.linspace(31.10, 31.20, 60)
    west, east = (np.column_stack([121.45 + rng.normal(0, 5e-5, 60), lat]).tolist() for _ in range(2))  # 5 m
    left = [[121.40, 31.10], *west, [121.40, 31.20], [121.40, 31.10]]
    right = [[121.50, 31.20], *east[::-1], [121.50, 31.10], [121.50, 31.20]]
    found = warnings(tmp_path, [feature("310104", left), feature("310105", right)])
    sliver = re.compile(r"\d+ slivers, overlaps between neighbours \(district\): [\d,]+ m2 in all")
    assert any(sliver.match(text) for text in found)
    assert all("sliver" in text for text in found)


def test_the_same_small_area_twice_is_no_sliver(tmp_path: Path) -> None:
    tiny = square(121.4000, 31.1000, 121.4005, 31.1004)  # 48 m x 44 m
    (problem,) = problems(tmp_path, [feature("310104", tiny), feature("310105", tiny)])
    assert "it overlaps 310105" in problem


def test_an_overlap_of_other_levels_or_times_is_none(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        [
            feature("310104", BOX, valid_to="2020-01-01"),
            feature("310105", BOX, valid_from="2020-01-01"),
            feature("310105003", BOX, valid_from="2020-01-01"),
        ],
    ) == []  # fmt: skip
    (problem,) = problems(
        tmp_path, [feature("310104", BOX, valid_to="2020-01-02"), feature("310105", BOX, valid_from="2020-01-01")]
    )
    assert "overlaps" in problem


def test_a_gap_between_children_is_warned_of_with_its_area_at_each_time(tmp_path: Path) -> None:
    west, east = square(121.40, 31.10, 121.45, 31.20), square(121.45, 31.10, 121.49, 31.20)
    whole = feature("310000", BOX, level="city")
    (gap,) = warnings(tmp_path, [whole, feature("310104", west), feature("310105", east)])
    assert gap.startswith(
        "2: feature 1 (310000 310000区): what belongs to it covers 90.0% of it; points in the rest get"
    )
    area = re.search(r"310000 itself: ([\d,]+) m2 near lon 121.49500", gap)
    assert area is not None and int(area[1].replace(",", "")) == pytest.approx(0.01 * 95_400 * 0.1 * 110_900, rel=0.01)
    later = [feature("310105", east, valid_from="2020-01-01"), feature("310106", square(121.49, 31.1, 121.5, 31.2))]
    (missing,) = warnings(tmp_path, [whole, feature("310104", west), *later])
    assert "covers 60.0% of it" in missing
    ending = [feature("310105", square(121.45, 31.10, 121.50, 31.20), valid_to="2020-01-01")]
    (ended,) = warnings(tmp_path, [whole, feature("310104", west), *ending])
    assert "covers 50.0% of it" in ended
    assert (
        warnings(tmp_path, [whole, feature("310104", west), feature("310105", square(121.45, 31.1, 121.5, 31.2))]) == []
    )


def test_a_hole_between_neighbours_without_a_parent_is_warned_of(tmp_path: Path) -> None:
    frame = [
        square(121.40, 31.10, 121.50, 31.13),
        square(121.40, 31.17, 121.50, 31.20),
        square(121.40, 31.13, 121.43, 31.17),
        square(121.47, 31.13, 121.50, 31.17),
    ]
    (hole,) = warnings(tmp_path, [feature(f"31011{i}", ring) for i, ring in enumerate(frame)])
    assert "nobody is in charge of what it and its neighbours enclose: 16," in hole


def test_a_child_outside_its_parent_is_a_problem_and_one_across_its_border_a_warning(tmp_path: Path) -> None:
    (far,) = problems(tmp_path, [feature("310104", BOX), feature("310104003", square(121.6, 31.1, 121.7, 31.2))])
    assert "more than half of its area: is the parent or the place wrong?" in far
    found = warnings(tmp_path, [feature("310104", BOX), feature("310104003", square(121.39, 31.15, 121.51, 31.2))])
    assert any("it reaches out of its parent 310104 310104区 (line 2) by" in text for text in found)


def test_validity_is_judged_like_the_jts_vectors() -> None:
    if not JTS.is_file():
        pytest.skip(
            "the vectors are not here; put JTS's TestValid.xml under ../shared/data/geometry_vectors/jts/general"
        )
    judged = 0
    for case in ElementTree.parse(JTS).getroot().iter("case"):
        with np.errstate(invalid="ignore"):  # some cases have NaN, which GeoJSON cannot hold
            area = shapely.from_wkt((case.findtext("a") or "").strip(), on_invalid="ignore")
        if area is None or area.geom_type not in ("Polygon", "MultiPolygon") or area.is_empty:
            continue
        # JTS draws in units of its own; scaled down they are degrees near 0 N 0 E
        found = faults(shapely.transform(area, lambda xy: xy / 2**14))
        expected = (case.findtext("test/op") or "").strip() == "true"
        assert (found == []) is expected, (case.findtext("desc"), found)
        judged += 1
    assert judged > 30
