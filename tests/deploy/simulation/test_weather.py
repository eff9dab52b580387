"""Storms pass where they are told to, and are the same whatever else there is in the city."""

from __future__ import annotations

import numpy as np

from deploy.simulation.chance import Floats
from deploy.simulation.settings import StormSettings
from deploy.simulation.weather import RainCell, Weather

X: Floats = np.array([0.0, 5_000.0, 10_000.0, 0.0])
Y: Floats = np.array([0.0, 0.0, 0.0, 20_000.0])
STORM = StormSettings(begins_minute=5, minutes_between=20, peak_mm_h=80, radius_m=2_000, fades_minutes=10)


def rain_over_time(seed: int = 1) -> Floats:
    """[minute, place]"""
    weather = Weather(seed, [RainCell.over(STORM, [(0.0, 0.0), (10_000.0, 0.0)])], X, Y)
    rain = []
    for minute in range(60):
        weather.step(float(minute), 60.0)
        rain.append(weather.rain_mm_h)
    return np.array(rain)


def test_a_storm_passes_its_places_in_turn_and_spares_others() -> None:
    rain = rain_over_time()
    first, middle, second, _ = rain.argmax(axis=0)
    assert first < middle < second and rain[:, :3].max(axis=0).min() > 40
    assert rain[:, 3].max() < 1e-6


def test_it_never_rains_less_than_nothing_nor_more_than_the_peak_and_its_texture() -> None:
    rain = rain_over_time()
    assert rain.min() >= 0 and rain.max() <= 80 * 1.25 + 1e-9


def test_a_storm_begins_and_ends() -> None:
    rain = rain_over_time()
    assert rain[0].max() == 0 and rain[-1].max() == 0


def test_rain_cools_the_air_and_hides_the_view() -> None:
    weather = Weather(1, [RainCell.over(STORM, [(0.0, 0.0)])], X, Y)
    for minute in range(12):
        weather.step(float(minute), 60.0)
    temperature, visibility = weather.temperature_c(15.0), weather.visibility_m()
    assert temperature[0] < temperature[3] - 2 and visibility[0] < visibility[3] / 3
    assert (weather.humidity_percent(5.0) <= 100).all()


def test_the_same_seed_gives_the_same_sky() -> None:
    assert np.array_equal(rain_over_time(4), rain_over_time(4)) and not np.array_equal(
        rain_over_time(4), rain_over_time(5)
    )
