"""Waterlogging: a high water level, confirmed by a camera or a caller in the same cell or next to it.

A level alone may be a leaf on the sensor, a picture alone a reflection, a caller's place is often off by a block;
together they are worth sending someone. Only a severe level, read more than once, is believed alone.

Levels: 15 cm on the carriageway is what GB 50014 lets a design storm leave on one lane; 27 cm is half a car's wheel
and its exhaust; at 40 cm cars stall and at 60 cm they float. Each city will set its own.
"""

from dataclasses import dataclass

import numpy as np

from detectors.arrays import counted, measured, noisy_or
from detectors.checks import all_finite
from detectors.contract import CellView, Explanation, Floats, Screen, Verdict, Verdicts
from detectors.corroboration import CorroboratingDetector, CorroborationSettings
from detectors.features import MINUTE_MS, Aggregate, Feature
from detectors.wording import listed_en, listed_zh, number, or_none
from schemas.alert import SEVERITY_EN, SEVERITY_ZH
from schemas.sources import Source

REASONS = (
    "level_unknown",
    "level_low",
    "level_between",
    "level_unconfirmed",
    "camera_without_level",
    "level_and_camera",
    "level_and_tickets",
    "level_camera_and_tickets",
    "severe_level",
    "camera_and_tickets",
)
(
    LEVEL_UNKNOWN,
    LEVEL_LOW,
    LEVEL_BETWEEN,
    LEVEL_UNCONFIRMED,
    CAMERA_WITHOUT_LEVEL,
    LEVEL_AND_CAMERA,
    LEVEL_AND_TICKETS,
    LEVEL_CAMERA_AND_TICKETS,
    SEVERE_LEVEL,
    CAMERA_AND_TICKETS,
) = range(len(REASONS))

TRUST_LEVEL, TRUST_CAMERA, TRUST_TICKET = 0.7, 0.6, 0.4
MOST_TICKETS = 3  # later callers repeat the first ones
MOST_SURE_WITHOUT_LEVEL = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterloggingSettings(CorroborationSettings):
    """Depths in mm, windows in minutes; a value on a level has reached it."""

    level_metric: str = "water_level_mm"
    camera_event: str = "waterlogging"
    ticket_category: str = "flood"
    clear_below_mm: float = 100.0  # the gap up to raise_at_mm stops flapping
    raise_at_mm: float = 150.0  # severity 1, if confirmed
    severity_from_mm: tuple[float, float, float] = (270.0, 400.0, 600.0)  # severities 2, 3, 4
    severe_at_mm: float = 400.0  # from here the level is believed alone
    severe_readings: int = 2  # so many of them within level_minutes: one may be a splash
    level_minutes: int = 3
    tickets_without_level: int = 2
    confirm_minutes: int = 5
    clear_after: int = 3

    def __post_init__(self) -> None:
        second, third, fourth = self.severity_from_mm
        self.refuse_unless(
            "waterlogging",
            (
                all_finite(self.clear_below_mm, self.raise_at_mm, self.severe_at_mm, *self.severity_from_mm),
                "all depths must be finite numbers of millimetres",
            ),
            (
                self.clear_below_mm < self.raise_at_mm,
                (
                    f"clear_below_mm={self.clear_below_mm} must be below raise_at_mm={self.raise_at_mm}; "
                    "with no gap between them the alert would flap"
                ),
            ),
            (
                self.raise_at_mm < second < third < fourth,
                (
                    f"severity_from_mm={list(self.severity_from_mm)} must rise, and start above "
                    f"raise_at_mm={self.raise_at_mm}, which is severity 1"
                ),
            ),
            (
                self.severe_at_mm >= self.raise_at_mm,
                (
                    f"severe_at_mm={self.severe_at_mm} must not be below raise_at_mm={self.raise_at_mm}; "
                    "are they in the same unit?"
                ),
            ),
            (self.severe_readings >= 1, f"severe_readings={self.severe_readings} must be at least 1"),
            (self.level_minutes >= 1, f"level_minutes={self.level_minutes} must be at least 1"),
            (self.tickets_without_level >= 1, f"tickets_without_level={self.tickets_without_level} must be >= 1"),
        )


class Waterlogging(CorroboratingDetector[WaterloggingSettings]):
    """Raises on a confirmed high level, on a severe level alone, and, less surely, on camera and tickets alone.

    Confidence: ``1 - 0.3 * 0.4 * 0.6 ** tickets``, leaving out the factor of what is missing: level 0.7, with a camera
    0.88, with a ticket 0.82, with both 0.93; at most three tickets count; at most 0.6 without a level.

    The camera that stands for the missing level must see the cell itself, or all cells around it would raise too. A
    level that is known and low outweighs pictures and callers.
    """

    name = "waterlogging"
    version = 1
    title_zh = "积水内涝"
    title_en = "Waterlogging"
    category = "waterlogging"
    reasons = REASONS
    settings_type = WaterloggingSettings

    @property
    def features(self) -> tuple[Feature, ...]:
        s = self.settings
        level_ms = s.level_minutes * MINUTE_MS
        return (
            Feature(
                name="level",
                source=Source.READINGS,
                kind=s.level_metric,
                aggregate=Aggregate.MAX,
                window_ms=level_ms,
            ),
            Feature(
                name="severe",
                source=Source.READINGS,
                kind=s.level_metric,
                aggregate=Aggregate.COUNT,
                window_ms=level_ms,
                value_at_least=s.severe_at_mm,
                evidence=False,
            ),
            self.pictures("camera", s.camera_event),
            self.callers(s.ticket_category),
        )

    @property
    def screens(self) -> tuple[Screen, ...]:
        return Screen("level", self.settings.raise_at_mm), Screen("camera", 1.0)

    def judge(self, view: CellView) -> Verdicts:
        s = self.settings
        level = measured(view["level"])
        own_camera = counted(view["camera"])
        known = ~np.isnan(level)
        high = level >= s.raise_at_mm
        pictured = ~known & (own_camera > 0)
        result = Verdicts.unknown(len(view.cells))
        # Quiet cells need no neighbours: looked up only when some cell in the shard asks for them.
        if np.any(high | pictured):
            camera, tickets = self._near(view)
        else:
            camera = tickets = np.zeros(len(view.cells))

        confirmed = high & ((camera > 0) | (tickets > 0))
        severe = high & (counted(view["severe"]) >= s.severe_readings)
        corroborated = pictured & (tickets >= s.tickets_without_level)
        between = known & ~high & (level >= s.clear_below_mm)
        raised = confirmed | severe | corroborated

        result.verdict[known] = Verdict.CLEAR
        result.verdict[between | high | pictured] = Verdict.HOLD
        result.verdict[raised] = Verdict.RAISE

        depth = np.where(known, level, 0.0)
        graded = 1 + np.searchsorted(np.array(s.severity_from_mm), depth, side="right")
        result.severity[high | between | corroborated] = graded[high | between | corroborated]

        witnessed = high | corroborated
        sure = noisy_or(
            (
                (TRUST_LEVEL, known.astype(np.float64)),
                (TRUST_CAMERA, (witnessed & (camera > 0)).astype(np.float64)),
                (TRUST_TICKET, np.where(witnessed, np.minimum(tickets, MOST_TICKETS), 0.0)),
            )
        )
        result.confidence[:] = np.where(known, sure, np.minimum(sure, MOST_SURE_WITHOUT_LEVEL))
        result.reason[:] = np.select(
            [
                corroborated,
                pictured,
                high & (camera > 0) & (tickets > 0),
                high & (camera > 0),
                high & (tickets > 0),
                severe,
                high,
                between,
                known,
            ],
            [
                CAMERA_AND_TICKETS,
                CAMERA_WITHOUT_LEVEL,
                LEVEL_CAMERA_AND_TICKETS,
                LEVEL_AND_CAMERA,
                LEVEL_AND_TICKETS,
                SEVERE_LEVEL,
                LEVEL_UNCONFIRMED,
                LEVEL_BETWEEN,
                LEVEL_LOW,
            ],
            LEVEL_UNKNOWN,
        )
        return result

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        s = self.settings
        cameras, calls = self._near(view)
        level = or_none(view["level"][i])
        camera, tickets = float(cameras[i]), float(calls[i])
        second, third, fourth = s.severity_from_mm
        zh, en = self._sentences(int(verdicts.reason[i]), int(verdicts.severity[i]), level, camera, tickets)
        return Explanation(
            values={
                "level_mm": level,
                "severe_readings": float(counted(view["severe"][i : i + 1])[0]),
                "camera_events": camera,
                "tickets": tickets,
            },
            thresholds={
                "clear_below_mm": s.clear_below_mm,
                "raise_at_mm": s.raise_at_mm,
                "severity_2_from_mm": second,
                "severity_3_from_mm": third,
                "severity_4_from_mm": fourth,
                "severe_at_mm": s.severe_at_mm,
                "severe_readings": float(s.severe_readings),
                "tickets_without_level": float(s.tickets_without_level),
                "camera_confidence_at_least": s.camera_confidence_at_least,
            },
            sentence_zh=zh,
            sentence_en=en,
            evidence_features=("level", "camera", "tickets"),
        )

    def _near(self, view: CellView) -> tuple[Floats, Floats]:
        """Camera events and tickets in the cell and its neighbours within ``confirm_rings``."""
        rings = self.settings.confirm_rings
        return counted(view.ring("camera", rings)), counted(view.ring("tickets", rings))

    def _sentences(
        self, reason: int, severity: int, level: float | None, camera: float, tickets: float
    ) -> tuple[str, str]:
        s = self.settings
        depth, minutes = number(level), s.confirm_minutes
        raise_at, clear_below = number(s.raise_at_mm), number(s.clear_below_mm)
        witnesses_zh = listed_zh([(camera, "次摄像头积水识别"), (tickets, "件积水工单")])
        witnesses_en = listed_en([(camera, "camera detection"), (tickets, "ticket")])
        if reason in (LEVEL_AND_CAMERA, LEVEL_AND_TICKETS, LEVEL_CAMERA_AND_TICKETS):
            return (
                (
                    f"积水深 {depth} 毫米，达到报警值 {raise_at} 毫米，属{SEVERITY_ZH[severity]}；"
                    f"近 {minutes} 分钟本格及周边有 {witnesses_zh}印证。"
                ),
                (
                    f"Water is {depth} mm deep, at or above {raise_at} mm ({SEVERITY_EN[severity]}), "
                    f"confirmed by {witnesses_en} here or next to it within {minutes} min."
                ),
            )
        if reason == SEVERE_LEVEL:
            return (
                (
                    f"积水深 {depth} 毫米，读数多次达到 {number(s.severe_at_mm)} 毫米，属{SEVERITY_ZH[severity]}；"
                    "暂无摄像头或工单印证，请立即核实。"
                ),
                (
                    f"Water is {depth} mm deep ({SEVERITY_EN[severity]}); repeated readings at or above "
                    f"{number(s.severe_at_mm)} mm, not yet confirmed by camera or caller: check at once."
                ),
            )
        if reason == CAMERA_AND_TICKETS:
            return (
                f"无水位数据，但近 {minutes} 分钟有 {witnesses_zh}，疑似积水，请核实。",
                f"No water level here, but {witnesses_en} within {minutes} min suggest waterlogging: please check.",
            )
        if reason == CAMERA_WITHOUT_LEVEL:
            return (
                f"无水位数据，近 {minutes} 分钟摄像头仍识别到积水。",
                f"No water level here; a camera still sees water (within {minutes} min).",
            )
        if reason == LEVEL_LOW:
            return (
                f"积水已退至 {depth} 毫米，低于解除值 {clear_below} 毫米。",
                f"Water is down to {depth} mm, below the clearing level of {clear_below} mm.",
            )
        if level is None:
            return (
                f"近 {s.level_minutes} 分钟无有效水位数据，无法判断积水情况。",
                f"No usable water level within {s.level_minutes} min: the depth is unknown.",
            )
        return (
            f"积水深 {depth} 毫米，报警值 {raise_at} 毫米，解除值 {clear_below} 毫米，持续关注。",
            (f"Water is {depth} mm deep (raise at {raise_at} mm, clear below {clear_below} mm): still watched."),
        )
