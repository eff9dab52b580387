"""Fire and smoke: smoke and heat detectors, cameras and callers, two of these kinds agreeing; or one that is severe.

Steam and dust set off a smoke detector, the sun a camera; the two together seldom err. A single caller needs no window:
such a ticket is urgent and alerts by itself (streams/urgent.py); here it confirms.

Levels: a point smoke detector answers between 0.05 and 0.5 dB/m (GB 4715), that is 1 to 11 % a metre; a heat detector
of class A1 between 54 and 65 degC (GB 4716). Each city will set its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detectors.arrays import counted, measured
from detectors.checks import all_finite
from detectors.contract import CellView, Ints, Screen
from detectors.corroboration import CorroborationSettings
from detectors.features import MINUTE_MS, Aggregate, Feature
from detectors.signs import ALL, Look, Phrase, Sign, SignDetector, count, measure
from schemas.sources import Source

TRUST_SMOKE, TRUST_HEAT, TRUST_CAMERA, TRUST_TICKET = 0.6, 0.7, 0.5, 0.4
MOST_PICTURES, MOST_TICKETS = 2, 3  # more of them repeat the first
LEAST_SEVERITY = 2  # a fire is never minor


@dataclass(frozen=True, slots=True, kw_only=True)
class FireSmokeSettings(CorroborationSettings):
    """Smoke in % a metre, heat in degC, windows in minutes; a value on a level has reached it."""

    smoke_metric: str = "smoke_obscuration"
    heat_metric: str = "heat_c"
    smoke_event: str = "smoke"
    fire_event: str = "fire"
    ticket_category: str = "fire"
    smoke_clear_below: float = 2.0
    smoke_raise_at: float = 5.0
    smoke_severe_at: float = 20.0
    heat_clear_below_c: float = 45.0
    heat_raise_at_c: float = 58.0
    heat_severe_at_c: float = 80.0
    read_minutes: int = 3
    severe_readings: int = 2  # so many severe readings are believed alone: one may be a test or a fault
    fires_alone: int = 2  # so many camera events of open fire are believed alone

    def __post_init__(self) -> None:
        smoke = (self.smoke_clear_below, self.smoke_raise_at, self.smoke_severe_at)
        heat = (self.heat_clear_below_c, self.heat_raise_at_c, self.heat_severe_at_c)
        self.refuse_unless(
            "fire_smoke",
            (all_finite(*smoke, *heat), "all levels must be finite numbers"),
            (
                smoke[0] < smoke[1] <= smoke[2],
                f"smoke_clear_below, smoke_raise_at, smoke_severe_at = {list(smoke)} must rise; "
                "with no gap below the raise the alert would flap",
            ),
            (
                heat[0] < heat[1] <= heat[2],
                f"heat_clear_below_c, heat_raise_at_c, heat_severe_at_c = {list(heat)} must rise; "
                "with no gap below the raise the alert would flap",
            ),
            (self.read_minutes >= 1, f"read_minutes={self.read_minutes} must be at least 1"),
            (self.severe_readings >= 1, f"severe_readings={self.severe_readings} must be at least 1"),
            (self.fires_alone >= 1, f"fires_alone={self.fires_alone} must be at least 1"),
        )


class FireSmoke(SignDetector[FireSmokeSettings]):
    """Severity: 2, one more for three kinds of sign, one more for open fire or severe heat.

    The alert belongs to the cell of the instrument or camera; callers count from the neighbours too. Trust in a smoke
    detector 0.6, a heat detector 0.7, a picture 0.5 (two count), a caller 0.4 (three count).
    """

    name = "fire_smoke"
    version = 1
    title_zh = "火灾烟雾"
    title_en = "Fire"
    category = "fire"
    settings_type = FireSmokeSettings
    phrases: ClassVar[Mapping[str, Phrase]] = {
        "smoke_percent_m": measure("烟雾遮光率", "smoke", "%/m"),
        "heat_c": measure("温度", "temperature", "°C"),
        "fire_events": count("次明火识别", "fire detection"),
        "smoke_events": count("次烟雾识别", "smoke detection"),
        "tickets": count("件火警工单", "ticket"),
    }

    @property
    def features(self) -> tuple[Feature, ...]:
        s = self.settings

        def reading(name: str, metric: str, aggregate: Aggregate, severe_at: float | None = None) -> Feature:
            return Feature(
                name=name,
                source=Source.READINGS,
                kind=metric,
                aggregate=aggregate,
                window_ms=s.read_minutes * MINUTE_MS,
                value_at_least=severe_at,
                evidence=severe_at is None,
            )

        return (
            reading("smoke", s.smoke_metric, Aggregate.MAX),
            reading("smoke_severe", s.smoke_metric, Aggregate.COUNT, s.smoke_severe_at),
            reading("heat", s.heat_metric, Aggregate.MAX),
            reading("heat_severe", s.heat_metric, Aggregate.COUNT, s.heat_severe_at_c),
            self.pictures("smoke_seen", s.smoke_event),
            self.pictures("fire_seen", s.fire_event),
            self.callers(s.ticket_category),
        )

    @property
    def screens(self) -> tuple[Screen, ...]:
        s = self.settings
        return (
            Screen("smoke", s.smoke_raise_at),
            Screen("heat", s.heat_raise_at_c),
            Screen("smoke_seen", 1.0),
            Screen("fire_seen", 1.0),
        )

    def look(self, view: CellView, at: slice = ALL) -> Look:
        s = self.settings
        smoke, heat = measured(view["smoke"][at]), measured(view["heat"][at])
        smoke_severe, heat_severe = counted(view["smoke_severe"][at]), counted(view["heat_severe"][at])
        smoke_seen, fire_seen = counted(view["smoke_seen"][at]), counted(view["fire_seen"][at])
        tickets = counted(view.ring("tickets", s.confirm_rings)[at])
        never = np.zeros(len(smoke), dtype=np.bool_)
        return Look(
            signs=(
                Sign((smoke >= s.smoke_raise_at).astype(np.float64), TRUST_SMOKE, smoke_severe >= s.severe_readings),
                Sign((heat >= s.heat_raise_at_c).astype(np.float64), TRUST_HEAT, heat_severe >= s.severe_readings),
                Sign(smoke_seen + fire_seen, TRUST_CAMERA, fire_seen >= s.fires_alone, most=MOST_PICTURES),
                Sign(tickets, TRUST_TICKET, never, most=MOST_TICKETS),
            ),
            known=~np.isnan(smoke) | ~np.isnan(heat),
            lingering=(smoke >= s.smoke_clear_below) | (heat >= s.heat_clear_below_c),
            values={
                "smoke_percent_m": smoke,
                "heat_c": heat,
                "fire_events": fire_seen,
                "smoke_events": smoke_seen,
                "tickets": tickets,
            },
        )

    def grade(self, look: Look, kinds: Ints) -> Ints:
        burning = (look.values["fire_events"] > 0) | (look.values["heat_c"] >= self.settings.heat_severe_at_c)
        return LEAST_SEVERITY + (kinds >= 3).astype(np.int64) + burning

    @property
    def thresholds(self) -> dict[str, float]:
        s = self.settings
        return {
            "smoke_raise_at": s.smoke_raise_at,
            "smoke_severe_at": s.smoke_severe_at,
            "heat_raise_at_c": s.heat_raise_at_c,
            "heat_severe_at_c": s.heat_severe_at_c,
            "severe_readings": float(s.severe_readings),
            "fires_alone": float(s.fires_alone),
            "camera_confidence_at_least": s.camera_confidence_at_least,
        }
