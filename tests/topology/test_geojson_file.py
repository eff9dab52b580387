"""GeoJSON: what the standard allows is read, and every fault of the form is named with its line and path."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from topology import geojson_file
from topology.geojson_file import MAX_PROBLEMS, GeoJsonFile, parse, read

VECTORS = Path(__file__).parents[2].parent / "shared/data/geojson_vectors"
RING = "[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]"


def parsed(text: str | bytes) -> GeoJsonFile:
    found = GeoJsonFile(Path("a.geojson"))
    parse(text if isinstance(text, bytes) else text.encode(), found)
    return found


def problems(text: str | bytes) -> list[str]:
    return [problem.removeprefix("a.geojson:") for problem in parsed(text).problems]


def test_a_collection_is_read_with_the_lines_of_its_features() -> None:
    found = parsed(
        '{"type": "FeatureCollection", "datum": "GCJ-02", "features": [\n'
        '{"type": "Feature", "id": 7, "properties": {"code": "1"}, "geometry": {"type": "Polygon", "coordinates": '
        f"[{RING}, [[1, 1], [2, 1], [2, 2], [1, 1]]]}}}},\n\n"
        '  {"type": "Feature", "properties": null,\n "geometry": null}, {"type": "Feature", "properties": {},\n'
        f'"geometry":{{"type": "MultiPolygon", "coordinates": [[{RING}], [[[9, 9, 5], [8, 9, 5], [8, 8, 5], [9, 9, 5]]]'
        "]}}]}"
    )
    assert found.problems == []
    assert found.members == {"type": "FeatureCollection", "datum": "GCJ-02"}
    assert [(f.line, f.index, f.identity) for f in found.features] == [(2, 1, "7"), (4, 2, None), (5, 3, None)]
    first, second, third = (f.geometry for f in found.features)
    assert first is not None and first.area == 15.5
    assert second is None
    assert third is not None and third.geom_type == "MultiPolygon" and not shapely.has_z(third)


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ('{"type": "Polgon", "coordinates": []}', "$.geometry.type: expected one of Point, MultiPoint, LineString,"),
        ('{"type": "Polygon"}', "$.geometry.coordinates: missing"),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0]]]}',
            "$.geometry.coordinates[0]: a ring needs at least 4",
        ),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}',
            "$.geometry.coordinates[0]: the ring is not closed: it begins at [0.0, 0.0] and ends at [0.0, 1.0];",
        ),
        (
            f'{{"type": "MultiPolygon", "coordinates": [[{RING}], [[[0, 0], [1, 0], [1], [0, 0]]]]}}',
            "$.geometry.coordinates[1][0][2]: a position needs longitude and latitude, got [1.0]",
        ),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, true], [1, 1], [0, 0]]]}',
            "$.geometry.coordinates[0][1][1]: expected `float`, got `bool`",
        ),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], ["121.4", 1], [1, 1], [0, 0]]]}',
            "$.geometry.coordinates[0][1][0]: expected `float`, got `str`",
        ),
        ('{"type": "Point", "coordinates": [null, 1]}', "$.geometry.coordinates[0]: expected `float`, got `null`"),
        ('{"type": "LineString", "coordinates": [[1, 1]]}', "$.geometry.coordinates: a line needs at least 2"),
        ('{"type": "Point", "coordinates": [1, 1], "bbox": [1, 2, 3]}', "$.geometry.bbox: expected 4 or 6 numbers,"),
        ('{"type": "GeometryCollection"}', "$.geometry.geometries: expected a list of geometries"),
        (
            '{"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}, 7]}',
            "$.geometry.geometries[1]: expected a geometry, got the number 7",
        ),
        ("[]", "$.geometry: expected a geometry, got a list"),
    ],
)
def test_a_fault_of_a_geometry_is_named_with_its_path(geometry: str, expected: str) -> None:
    (problem,) = problems(f'{{"type": "Feature", "properties": {{}},\n"geometry": {geometry}}}')
    assert problem.startswith(f"1: feature 1: {expected}")


def test_all_problems_of_a_file_are_named_at_once() -> None:
    found = problems(
        '{"type": "FeatureCollection", "features": [\n'
        "3,\n"
        '{"type": "feature", "id": {}, "geometry": null},\n'
        '{"type": "Feature", "id": true, "properties": [], "bbox": 4},\n'
        '{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon"}}]}'
    )
    assert found == [
        "2: feature 1: expected an object, got the number 3",
        "3: feature 2: $.type: expected 'Feature', got 'feature'",
        "3: feature 2: $.id: expected a string or a number, got an object",
        "3: feature 2: $.properties: expected an object or null, got nothing",
        "4: feature 3: $.id: expected a string or a number, got true or false",
        "4: feature 3: $.properties: expected an object or null, got a list",
        "4: feature 3: $.bbox: expected 4 or 6 numbers, got 4",
        "4: feature 3: $.geometry: expected a geometry or null, got nothing",
        "5: feature 4: $.geometry.coordinates: missing",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "1: not JSON: Input data was truncated"),
        (b'{"type": "Feature",\n"geometry": nan}', "2: not JSON: JSON is malformed"),
        (b'\n{"a": 1e999}', "1: not JSON: Number out of range"),
        (b"[1]", "1: expected a GeoJSON object, got a list"),
        (b"[" * 100_000, "1: not JSON: maximum recursion depth"),
        ('{"type":\n"区"}'.encode("gbk"), "2: byte 0xc7 is not UTF-8; save the file as UTF-8"),
        (b'{"type": "FeatureCollection"}', "1: $.features: expected a list of features, got null or nothing"),
        (b'{"features": []}', "1: $.type: expected 'FeatureCollection', got None"),
        (b'{"type": "Topology"}', "1: the geometry: $.type: expected one of"),
    ],
)
def test_a_text_that_is_no_geojson_is_refused_in_words(content: bytes, expected: str) -> None:
    (problem,) = problems(content)
    assert problem.startswith(expected)


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "no.geojson"
    assert read(missing).problems == [f"{missing}: the GeoJSON file cannot be read: No such file or directory"]
    assert read(tmp_path).problems == [f"{tmp_path}: the GeoJSON file cannot be read: Is a directory"]
    large = tmp_path / "large.geojson"
    large.write_text('{"type": "FeatureCollection", "features": []}')
    monkeypatch.setattr(geojson_file, "MAX_FILE_BYTES", 10)
    assert read(large).problems == [f"{large}: larger than 10 bytes; is it the right file?"]


def test_the_byte_order_mark_of_spreadsheets_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text('\ufeff{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    assert read(path).problems == []


def test_a_file_of_a_wrong_kind_does_not_fill_the_screen_for_ever() -> None:
    found = parsed('{"type": "FeatureCollection", "features": [' + ",".join(["1"] * 1500) + "]}")
    assert len(found.problems) == MAX_PROBLEMS + 1
    assert found.problems[-1] == "a.geojson: and 500 more problems"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["Feature", "FeatureCollection", "Polygon", "MultiPolygon", "Point", "GeometryCollection", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "features", "geometry", "coordinates", "geometries", "properties", "bbox", "id"]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(json_values | st.binary(max_size=40))
def test_no_text_makes_the_reader_raise(value: object) -> None:
    found = parsed(value if isinstance(value, bytes) else msgspec.json.encode(value))
    for one in found.features:
        assert one.geometry is None or isinstance(one.geometry.geom_type, str)


def test_the_vectors_of_the_geojson_schema_are_told_apart() -> None:
    if not VECTORS.is_dir():
        pytest.skip("the vectors are not here; put those of geojson/schema under ../shared/data/geojson_vectors")
    files = sorted(VECTORS.rglob("*.json"))
    assert len(files) == 66
    for path in files:
        valid = path.relative_to(VECTORS).parts[0] == "valid"
        assert (read(path).problems == []) is valid, path
