"""Datum conversions against recorded cities, against the plain formula, and as inverses of each other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.datums import Datum
from topology.datum import (
    GCJ_MEAN_NOISE_M,
    bd09_to_gcj02,
    convert,
    from_wgs84,
    gcj02_shift,
    gcj02_to_bd09,
    gcj02_to_wgs84,
    to_wgs84,
    wgs84_to_gcj02,
)

ROOT = Path(__file__).resolve().parents[2]
CITIES = ROOT / "tests/data/coord/china_cities.json"
ALL_CITIES = ROOT.parent / "shared/data/coord/gcoord_china_cities.json"

CHINA_LON = st.floats(72.004, 137.8347)
CHINA_LAT = st.floats(0.8293, 55.8271)

Points = npt.NDArray[np.float64]


def _cities(where: str) -> dict[Datum, Points]:
    if where == "cut":
        coords = json.loads(CITIES.read_text(encoding="utf-8"))
    else:
        if not ALL_CITIES.exists():
            pytest.skip("the full 664 cities are not here; put gcoord's china-cities.json under ../shared/data/coord")
        coords = [city["coords"] for city in json.loads(ALL_CITIES.read_text(encoding="utf-8"))]
    names = {Datum.WGS84: "WGS84", Datum.GCJ02: "GCJ02", Datum.BD09: "BD09"}
    return {datum: np.array([city[name] for city in coords]).T.copy() for datum, name in names.items()}


def _convert(points: Points, source: Datum, target: Datum) -> Points:
    codes = np.full(points.shape[1], int(source), dtype=np.uint8)
    return np.array(from_wgs84(*to_wgs84(points[0], points[1], codes), target))


@pytest.mark.parametrize("where", ["cut", "full"])
@pytest.mark.parametrize(
    ("source", "target", "within_deg"),
    [
        # the recorded GCJ-02 was rounded by its service to 1/1024 second, 2.7e-7 degrees, once or twice
        (Datum.WGS84, Datum.GCJ02, 7e-7),
        (Datum.GCJ02, Datum.WGS84, 7e-7),
        (Datum.WGS84, Datum.BD09, 7e-7),
        (Datum.BD09, Datum.WGS84, 7e-7),
        # these two only by printing 7 decimals
        (Datum.GCJ02, Datum.BD09, 1.1e-7),
        (Datum.BD09, Datum.GCJ02, 1.1e-7),
    ],
)
def test_recorded_cities_are_met(where: str, source: Datum, target: Datum, within_deg: float) -> None:
    cities = _cities(where)
    assert np.abs(_convert(cities[source], source, target) - cities[target]).max() < within_deg


def test_recorded_cities_contain_the_mean_of_the_noise() -> None:
    """The reason for the 0.5 m: without it every city is off by that much in both axes, and in one direction."""
    cities = _cities("cut")
    lon, lat = cities[Datum.WGS84]
    residual = cities[Datum.GCJ02] - np.array([_plain_gcj02(x, y, 0.0) for x, y in zip(lon, lat, strict=True)]).T
    north_m = residual[1] * 111_000
    assert GCJ_MEAN_NOISE_M == 0.5
    assert 0.40 < north_m.min() < north_m.max() < 0.55


def _plain_gcj02(lon: float, lat: float, noise_m: float) -> tuple[float, float]:
    """The readable form of the public program, sine by sine."""
    x, y, pi, sin = lon - 105.0, lat - 35.0, math.pi, math.sin
    both = (20 * sin(6 * x * pi) + 20 * sin(2 * x * pi)) * 2 / 3
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x)) + both
    north += (20 * sin(y * pi) + 40 * sin(y / 3 * pi)) * 2 / 3
    north += (160 * sin(y / 12 * pi) + 320 * sin(y * pi / 30)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x)) + both
    east += (20 * sin(x * pi) + 40 * sin(x / 3 * pi)) * 2 / 3
    east += (150 * sin(x / 12 * pi) + 300 * sin(x / 30 * pi)) * 2 / 3
    a, e2, phi = 6378245.0, 0.00669342162296594323, lat / 180 * pi
    w2 = 1 - e2 * sin(phi) ** 2
    return (
        lon + (east + noise_m) * 180 / (a / math.sqrt(w2) * math.cos(phi) * pi),
        lat + (north + noise_m) * 180 / (a * (1 - e2) / (w2 * math.sqrt(w2)) * pi),
    )


@settings(deadline=None)  # the first call compiles
@given(CHINA_LON, CHINA_LAT)
def test_gcj02_equals_the_readable_form(lon: float, lat: float) -> None:
    assert wgs84_to_gcj02(lon, lat) == pytest.approx(_plain_gcj02(lon, lat, GCJ_MEAN_NOISE_M), abs=1e-12)


@settings(deadline=None, max_examples=300)
@given(CHINA_LON, CHINA_LAT)
def test_gcj02_there_and_back_is_the_same_point(lon: float, lat: float) -> None:
    back = gcj02_to_wgs84(*wgs84_to_gcj02(lon, lat))
    assert back == pytest.approx((lon, lat), abs=1e-10)


@settings(deadline=None)
@given(st.floats(-1e-3, 1e-3), CHINA_LAT)
def test_gcj02_there_and_back_holds_where_the_root_is_steepest(from_centre: float, lat: float) -> None:
    back = gcj02_to_wgs84(*wgs84_to_gcj02(105.0 + from_centre, lat))
    assert back == pytest.approx((105.0 + from_centre, lat), abs=1e-10)


@settings(deadline=None, max_examples=300)
@given(CHINA_LON, CHINA_LAT)
def test_bd09_there_and_back_is_the_same_point(lon: float, lat: float) -> None:
    assert bd09_to_gcj02(*gcj02_to_bd09(lon, lat)) == pytest.approx((lon, lat), abs=1e-10)
    there = convert(lon, lat, Datum.WGS84, Datum.BD09)
    assert convert(*there, Datum.BD09, Datum.WGS84) == pytest.approx((lon, lat), abs=1e-10)
    assert convert(*convert(lon, lat, Datum.GCJ02, Datum.BD09), Datum.BD09, Datum.GCJ02) == pytest.approx(
        (lon, lat), abs=1e-10
    )


@pytest.mark.parametrize("point", [(2.35, 48.85), (-74.0, 40.7), (151.2, -33.9), (139.7, 35.7), (0.0, 0.0)])
def test_gcj02_is_not_shifted_outside_china(point: tuple[float, float]) -> None:
    assert wgs84_to_gcj02(*point) == point
    assert gcj02_to_wgs84(*point) == point


def test_gcj02_shift_in_shanghai_is_several_cells() -> None:
    east, north = gcj02_shift(121.4737, 31.2304)
    metres = math.hypot(east * math.cos(math.radians(31.23)), north) * 111_200
    assert 400 < metres < 550


def test_cgcs2000_and_a_missing_datum_are_taken_as_they_are() -> None:
    lon, lat = np.array([121.4, 121.5]), np.array([31.2, 31.3])
    codes = np.array([Datum.CGCS2000, Datum.NOT_GIVEN], dtype=np.uint8)
    found = to_wgs84(lon, lat, codes)
    assert found[0].tolist() == lon.tolist()
    assert found[1].tolist() == lat.tolist()
    assert from_wgs84(lon, lat, Datum.CGCS2000)[0].tolist() == lon.tolist()


def test_each_row_has_its_own_datum_and_the_source_its_default() -> None:
    wgs = (121.4737, 31.2304)
    order = [Datum.BD09, Datum.WGS84, Datum.GCJ02, Datum.NOT_GIVEN, Datum.CGCS2000, Datum.GCJ02]
    sent = [convert(*wgs, Datum.WGS84, Datum.GCJ02 if datum == Datum.NOT_GIVEN else datum) for datum in order]
    lon, lat = np.array(sent).T.copy()
    found = to_wgs84(lon, lat, np.array(order, dtype=np.uint8), default=Datum.GCJ02)
    assert found[0] == pytest.approx([wgs[0]] * 6, abs=1e-10)
    assert found[1] == pytest.approx([wgs[1]] * 6, abs=1e-10)


@pytest.mark.parametrize("datum", list(Datum))
def test_missing_coordinates_stay_missing(datum: Datum) -> None:
    nan = np.array([math.nan, math.nan])
    for lon, lat in (
        to_wgs84(nan, nan, np.full(2, int(datum), dtype=np.uint8)),
        from_wgs84(nan, nan, datum),
    ):
        assert np.isnan(lon).all()
        assert np.isnan(lat).all()


@settings(deadline=None)
@given(st.floats(), st.floats(), st.sampled_from(list(Datum)))
def test_any_numbers_at_all_come_to_an_end(lon: float, lat: float, datum: Datum) -> None:
    found = to_wgs84(np.array([lon]), np.array([lat]), np.array([datum], dtype=np.uint8))
    assert found[0].shape == (1,)
