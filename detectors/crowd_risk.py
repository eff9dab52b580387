"""Crowd risk: a crowd larger than its place bears, one that grows fast, or in which people fall.

A camera counts the people that it sees (event `crowding`, its `count`), counters at passages count those who walk by,
and callers say that it is too tight. A count may be a reflection or a bus stop once; twice, or with another kind of
sign, it is believed. How many people are too many depends on the place: set the levels from its area. The default
takes a square of some 100 m2 in a camera's view: 3 people on a square metre is where movement becomes forced, 5 where
crushing begins (J. J. Fruin, Pedestrian Planning and Design, 1971; K. Still, Introduction to Crowd Science, 2014). A
walkway carries 82 people a minute and metre of width (Fruin, level of service E): 4 m carry some 3,000 in ten minutes.
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

TRUST_CAMERA, TRUST_FLOW, TRUST_TICKET, TRUST_FALL = 0.6, 0.6, 0.3, 0.5
MOST_PICTURES, MOST_TICKETS = 2, 3  # more of them repeat the first


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdRiskSettings(CorroborationSettings):
    """Crowds in persons within a camera's view, flow in persons within `confirm_minutes`; windows in minutes."""

    crowd_event: str = "crowding"
    fall_event: str = "fall"
    flow_metric: str = "pedestrian_count"
    ticket_category: str = "crowding"
    clear_below: float = 200.0
    raise_at: float = 300.0
    severity_from: tuple[float, float, float] = (400.0, 500.0, 700.0)  # severities 2, 3, 4
    flow_at: float = 3_000.0
    size_minutes: int = 3  # the crowd "now" is the largest count of these
    surge_minutes: int = 10  # and is held against the one so long ago
    surge_factor: float = 1.5  # grown so much: one severity worse
    pictures_alone: int = 2  # so many counts at `raise_at` are believed alone

    def __post_init__(self) -> None:
        second, third, fourth = self.severity_from
        self.refuse_unless(
            "crowd_risk",
            (
                all_finite(self.clear_below, self.raise_at, *self.severity_from, self.flow_at, self.surge_factor),
                "all levels must be finite numbers",
            ),
            (
                0.0 < self.clear_below < self.raise_at < second < third < fourth,
                f"clear_below={self.clear_below}, raise_at={self.raise_at}, severity_from={list(self.severity_from)} "
                "must rise; with no gap below the raise the alert would flap",
            ),
            (self.flow_at > 0.0, f"flow_at={self.flow_at} must be more than 0 persons"),
            (self.size_minutes >= 1, f"size_minutes={self.size_minutes} must be at least 1"),
            (
                self.surge_minutes >= self.size_minutes,
                f"surge_minutes={self.surge_minutes} must not be below size_minutes={self.size_minutes}",
            ),
            (self.surge_factor > 1.0, f"surge_factor={self.surge_factor} must be more than 1"),
            (self.pictures_alone >= 1, f"pictures_alone={self.pictures_alone} must be at least 1"),
        )


class CrowdRisk(SignDetector[CrowdRiskSettings]):
    """Severity by the size of the crowd, one more if it has grown by half, one more if people fall in it.

    The alert belongs to the cell of the camera or counter; callers count from the neighbours too. Trust in a camera's
    count 0.6 (two count), in a counter 0.6, in a fall 0.5, in a caller 0.3 (three count). Falls alone are no crowd.
    """

    name = "crowd_risk"
    version = 1
    title_zh = "人群聚集风险"
    title_en = "Crowd risk"
    category = "crowding"
    settings_type = CrowdRiskSettings
    phrases: ClassVar[Mapping[str, Phrase]] = {
        "crowd": measure("画面人数", "persons in view:", ""),
        "crowd_before": measure("此前人数", "before:", ""),
        "flow": measure("通行人数", "persons passing:", ""),
        "falls": count("次人员倒地识别", "fall detection"),
        "tickets": count("件人群聚集工单", "ticket"),
    }

    @property
    def features(self) -> tuple[Feature, ...]:
        s = self.settings

        def crowd(name: str, aggregate: Aggregate, minutes: int, at_least: float | None = None) -> Feature:
            return Feature(
                name=name,
                source=Source.CAMERA_EVENTS,
                kind=s.crowd_event,
                aggregate=aggregate,
                window_ms=minutes * MINUTE_MS,
                confidence_at_least=s.camera_confidence_at_least,
                value_at_least=at_least,
                evidence=name == "crowd",
            )

        return (
            crowd("crowd", Aggregate.MAX, s.size_minutes),
            crowd("crowd_long", Aggregate.MAX, s.surge_minutes + s.size_minutes),
            crowd("crowds", Aggregate.COUNT, s.confirm_minutes, s.raise_at),
            self.pictures("falls", s.fall_event),
            Feature(
                name="flow",
                source=Source.READINGS,
                kind=s.flow_metric,
                aggregate=Aggregate.SUM,
                window_ms=s.confirm_minutes * MINUTE_MS,
            ),
            Feature(
                name="flow_readings",
                source=Source.READINGS,
                kind=s.flow_metric,
                aggregate=Aggregate.COUNT,
                window_ms=s.confirm_minutes * MINUTE_MS,
                evidence=False,
            ),
            self.callers(s.ticket_category),
        )

    @property
    def screens(self) -> tuple[Screen, ...]:
        # a fall is a sign only in a crowd
        return Screen("crowd", self.settings.clear_below), Screen("flow", self.settings.flow_at)

    def look(self, view: CellView, at: slice = ALL) -> Look:
        s = self.settings
        crowd, crowds = measured(view["crowd"][at]), counted(view["crowds"][at])
        back = s.surge_minutes  # the bucket that ended so many minutes ago, and those just before it
        before = np.full(len(crowd), np.nan)
        for bucket in range(back, back + s.size_minutes):
            before = np.fmax(before, measured(view.bucket("crowd_long", bucket)[at]))
        readings = counted(view["flow_readings"][at])
        flow = np.where(readings > 0, measured(view["flow"][at]), np.nan)
        falls, tickets = counted(view["falls"][at]), counted(view.ring("tickets", s.confirm_rings)[at])
        large, streaming = crowd >= s.raise_at, flow >= s.flow_at
        never = np.zeros(len(crowd), dtype=np.bool_)
        dense = large | streaming | (crowd >= s.clear_below)
        return Look(
            signs=(
                Sign(np.where(large, np.maximum(crowds, 1.0), 0.0), TRUST_CAMERA, crowds >= s.pictures_alone,
                     most=MOST_PICTURES),
                Sign(streaming.astype(np.float64), TRUST_FLOW, never),
                Sign(np.where(dense, np.minimum(falls, 1.0), 0.0), TRUST_FALL, never),
                Sign(tickets, TRUST_TICKET, never, most=MOST_TICKETS),
            ),
            known=~np.isnan(crowd) | ~np.isnan(flow),
            lingering=crowd >= s.clear_below,
            values={"crowd": crowd, "crowd_before": before, "flow": flow, "falls": falls, "tickets": tickets},
        )  # fmt: skip

    def grade(self, look: Look, kinds: Ints) -> Ints:
        s = self.settings
        crowd = np.nan_to_num(look.values["crowd"], nan=0.0)
        by_size = 1 + np.searchsorted(np.array(s.severity_from), crowd, side="right")
        surging = (crowd >= s.raise_at) & (crowd >= s.surge_factor * look.values["crowd_before"])  # False where NaN
        return by_size + surging + (look.values["falls"] > 0)

    @property
    def thresholds(self) -> dict[str, float]:
        s = self.settings
        second, third, fourth = s.severity_from
        return {
            "clear_below": s.clear_below,
            "raise_at": s.raise_at,
            "severity_2_from": second,
            "severity_3_from": third,
            "severity_4_from": fourth,
            "flow_at": s.flow_at,
            "surge_factor": s.surge_factor,
            "pictures_alone": float(s.pictures_alone),
            "camera_confidence_at_least": s.camera_confidence_at_least,
        }
