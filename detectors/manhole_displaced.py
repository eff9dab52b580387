"""Manhole displaced: a cover that its sensor reports open, a camera sees missing, or callers stumble over.

An open cover may be a crew at work, a picture a shadow: one reading or picture alone is held, two are believed. Under
water an open manhole cannot be seen and has killed people: standing water in or next to the cell makes it extreme.
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

TRUST_SENSOR, TRUST_CAMERA, TRUST_TICKET = 0.6, 0.5, 0.4
MOST_READINGS, MOST_PICTURES, MOST_TICKETS = 2, 2, 3  # more of them repeat the first
OPEN_AT = 0.5  # of `manhole_open`, which is 0 or 1
LEAST_SEVERITY, UNDER_WATER = 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ManholeDisplacedSettings(CorroborationSettings):
    """Water in mm, windows in minutes."""

    open_metric: str = "manhole_open"
    camera_event: str = "manhole_missing"
    ticket_category: str = "manhole"
    level_metric: str = "water_level_mm"
    hidden_from_mm: float = 50.0  # from here water hides a hole in the road
    read_minutes: int = 10  # covers report rarely
    readings_alone: int = 2
    pictures_alone: int = 2
    stale_after: int = 120

    def __post_init__(self) -> None:
        self.refuse_unless(
            "manhole_displaced",
            (
                all_finite(self.hidden_from_mm) and self.hidden_from_mm > 0.0,
                f"hidden_from_mm={self.hidden_from_mm} must be more than 0",
            ),
            (self.read_minutes >= 1, f"read_minutes={self.read_minutes} must be at least 1"),
            (self.readings_alone >= 1, f"readings_alone={self.readings_alone} must be at least 1"),
            (self.pictures_alone >= 1, f"pictures_alone={self.pictures_alone} must be at least 1"),
        )


class ManholeDisplaced(SignDetector[ManholeDisplacedSettings]):
    """Severity 2, 3 where two kinds of sign agree, 4 where water may hide the hole.

    The alert belongs to the cell of the sensor or camera; callers and water count from the neighbours too. Trust in a
    reading 0.6 (two count), a picture 0.5 (two count), a caller 0.4 (three count).
    """

    name = "manhole_displaced"
    version = 1
    title_zh = "井盖移位缺失"
    title_en = "Displaced manhole cover"
    category = "manhole"
    settings_type = ManholeDisplacedSettings
    phrases: ClassVar[Mapping[str, Phrase]] = {
        "open_readings": count("次井盖开启上报", "open-cover reading"),
        "camera_events": count("次井盖缺失识别", "missing-cover detection"),
        "tickets": count("件井盖工单", "ticket"),
        "water_mm": measure("附近积水", "water nearby", "mm"),
    }

    @property
    def features(self) -> tuple[Feature, ...]:
        s = self.settings
        read_ms = s.read_minutes * MINUTE_MS

        def cover(name: str, aggregate: Aggregate, at_least: float | None = None) -> Feature:
            return Feature(
                name=name,
                source=Source.READINGS,
                kind=s.open_metric,
                aggregate=aggregate,
                window_ms=read_ms,
                value_at_least=at_least,
                evidence=at_least is not None,
            )

        return (
            cover("latest", Aggregate.LAST),
            cover("open", Aggregate.COUNT, OPEN_AT),
            self.pictures("missing", s.camera_event),
            self.callers(s.ticket_category),
            Feature(
                name="water",
                source=Source.READINGS,
                kind=s.level_metric,
                aggregate=Aggregate.MAX,
                window_ms=read_ms,
                evidence=False,
            ),
        )

    @property
    def screens(self) -> tuple[Screen, ...]:
        return Screen("open", 1.0), Screen("missing", 1.0)

    def look(self, view: CellView, at: slice = ALL) -> Look:
        s = self.settings
        rings = s.confirm_rings
        latest, readings = measured(view["latest"][at]), counted(view["open"][at])
        missing, tickets = counted(view["missing"][at]), counted(view.ring("tickets", rings)[at])
        closed = latest < OPEN_AT  # put back: what was read before does not count
        open_readings = np.where(closed, 0.0, readings)
        return Look(
            signs=(
                Sign(open_readings, TRUST_SENSOR, open_readings >= s.readings_alone, most=MOST_READINGS),
                Sign(missing, TRUST_CAMERA, missing >= s.pictures_alone, most=MOST_PICTURES),
                Sign(tickets, TRUST_TICKET, np.zeros(len(latest), dtype=np.bool_), most=MOST_TICKETS),
            ),
            known=~np.isnan(latest),
            lingering=np.zeros(len(latest), dtype=np.bool_),
            values={
                "open_readings": open_readings,
                "camera_events": missing,
                "tickets": tickets,
                "water_mm": measured(view.ring("water", rings)[at]),
            },
        )

    def grade(self, look: Look, kinds: Ints) -> Ints:
        hidden = look.values["water_mm"] >= self.settings.hidden_from_mm
        return np.where(hidden, UNDER_WATER, LEAST_SEVERITY + (kinds >= 2))

    @property
    def thresholds(self) -> dict[str, float]:
        s = self.settings
        return {
            "hidden_from_mm": s.hidden_from_mm,
            "readings_alone": float(s.readings_alone),
            "pictures_alone": float(s.pictures_alone),
            "camera_confidence_at_least": s.camera_confidence_at_least,
        }
