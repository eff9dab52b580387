"""What an alert says of its place beside the point: who answers there, the unit grid cell, its name."""

from __future__ import annotations

from typing import Final, NamedTuple

from topology.jurisdictions import Jurisdictions


class AlertPlace(NamedTuple):
    """The place of one alert; fields of `schemas.alert.Alert`."""

    jurisdiction: str | None
    unit: str | None
    place_zh: str | None
    place_en: str | None


NOWHERE: Final = AlertPlace(None, None, None, None)
_DIVISION_DIGITS: Final = (12, 9, 6)  # community, subdistrict, district


def place_at(city: Jurisdictions, lon: float, lat: float, at_ms: int) -> AlertPlace:
    """The place of a point (WGS-84 degrees) as it was at a time."""
    if not len(city):
        return NOWHERE
    return place_of(city, city.code_at(lon, lat, at_ms), (lon, lat), at_ms)


def place_of(city: Jurisdictions, code: str | None, point: tuple[float, float] | None, at_ms: int) -> AlertPlace:
    """The place that has this code; `point` as far as there is one.

    A division without a boundary (an address told it) bears the name of the finest one above it that has one.
    """
    if code is None:
        return NOWHERE
    unit = None if point is None else city.unit_at(*point, at_ms)
    above = (code, *(code[:digits] for digits in _DIVISION_DIGITS if digits < len(code)))
    named = next((known for known in above if city.find(known, at_ms) is not None), code)
    return AlertPlace(code, unit, city.name_zh(named, at_ms), city.name_en(named, at_ms))
