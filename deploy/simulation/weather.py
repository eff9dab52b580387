"""Weather: rain cells that grow, move over the city and fade; the rest of the weather follows the sky and the hour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from deploy.simulation.chance import Floats, generator
from deploy.simulation.settings import StormSettings

TEXTURE: Final = 0.25
"""How much rain differs from place to place inside a cell."""


@dataclass(frozen=True, slots=True)
class RainCell:
    """One storm with its track in metres: at `minutes[i]` its middle is at (x[i], y[i]); it moves on behind it."""

    settings: StormSettings
    minutes: Floats
    x: Floats
    y: Floats

    @classmethod
    def over(cls, settings: StormSettings, track: Sequence[tuple[float, float]]) -> RainCell:
        """A cell that passes the points of the track (metres) in turn; over one point alone it stays."""
        minutes: Floats = settings.begins_minute + settings.minutes_between * np.arange(len(track), dtype=np.float64)
        x: Floats = np.array([point[0] for point in track], dtype=np.float64)
        y: Floats = np.array([point[1] for point in track], dtype=np.float64)
        return cls(settings, minutes, x, y)

    def centre(self, minute: float) -> tuple[float, float]:
        at = self.minutes
        if len(at) == 1:
            return float(self.x[0]), float(self.y[0])
        leg = min(max(int(np.searchsorted(at, minute, side="right")) - 1, 0), len(at) - 2)
        share = (minute - at[leg]) / (at[leg + 1] - at[leg])
        return (
            float(self.x[leg] + share * (self.x[leg + 1] - self.x[leg])),
            float(self.y[leg] + share * (self.y[leg + 1] - self.y[leg])),
        )

    def strength(self, minute: float) -> float:
        """0 to 1: full while the middle is between the first and the last place."""
        fades = self.settings.fades_minutes
        rises = (minute - (float(self.minutes[0]) - fades / 2)) / fades
        falls = ((float(self.minutes[-1]) + 1.5 * fades) - minute) / fades
        share = min(max(min(rises, falls), 0.0), 1.0)
        return share * share * (3 - 2 * share)

    def rain_mm_h(self, x: Floats, y: Floats, minute: float) -> Floats:
        cx, cy = self.centre(minute)
        far = ((x - cx) ** 2 + (y - cy) ** 2) / self.settings.radius_m**2
        return self.settings.peak_mm_h * self.strength(minute) * np.exp2(-far)


class Weather:
    """The sky over points (x, y in metres) that are given once."""

    def __init__(self, seed: int, cells: Sequence[RainCell], x: Floats, y: Floats) -> None:
        chance = generator(seed, "weather")
        self._cells = tuple(cells)
        self._x, self._y = x, y
        self._texture = np.ones(len(x))
        for wave_m in (1_800.0, 900.0):
            angle, phase = chance.uniform(0, 2 * math.pi, 2)
            waves = np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / wave_m + phase)
            self._texture += TEXTURE / 2 * waves
        self._day_c, self._swing_c = chance.uniform(27.5, 30.0), chance.uniform(3.0, 4.5)
        self._humidity, self._wind_ms = chance.uniform(60.0, 72.0), chance.uniform(1.5, 4.0)
        self._wind_deg, self._pressure_hpa = chance.uniform(90.0, 200.0), chance.uniform(1003.0, 1010.0)
        self.rain_mm_h: Floats = np.zeros(len(x))
        self._cooled = np.zeros(len(x))  # 0..1: how much rain has cooled the air

    def step(self, minute: float, dt_s: float) -> None:
        """The sky at `minute` since the start, after a step of dt_s."""
        rain = np.zeros(len(self._x))
        for cell in self._cells:
            if cell.strength(minute) > 0.0:  # of a run of days nearly all are over, or yet to come
                rain += cell.rain_mm_h(self._x, self._y, minute)
        self.rain_mm_h = rain * self._texture
        wet = np.clip(self.rain_mm_h / 40.0, 0.0, 1.0)
        pace = np.where(wet > self._cooled, dt_s / 240.0, dt_s / 3_600.0)
        self._cooled += (wet - self._cooled) * np.minimum(pace, 1.0)

    def temperature_c(self, hour: float) -> Floats:
        """`hour` of the local day; warmest at three in the afternoon."""
        return self._day_c + self._swing_c * math.cos(2 * math.pi * (hour - 15.0) / 24.0) - 6.0 * self._cooled

    def humidity_percent(self, hour: float) -> Floats:
        dry = self._humidity - 8.0 * math.cos(2 * math.pi * (hour - 15.0) / 24.0)
        return np.minimum(dry + 28.0 * self._cooled, 100.0)

    def wind_ms(self) -> Floats:
        return self._wind_ms + 11.0 * np.clip(self.rain_mm_h / 90.0, 0.0, 1.2)

    def wind_deg(self) -> Floats:
        return (self._wind_deg + 60.0 * self._cooled) % 360.0

    def pressure_hpa(self) -> Floats:
        return self._pressure_hpa - 3.0 * self._cooled

    def visibility_m(self) -> Floats:
        return 18_000.0 / (1.0 + 0.18 * self.rain_mm_h)
