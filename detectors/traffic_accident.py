"""Traffic accident: a camera's collision or stopped vehicle, a sudden drop in speed, and callers, two of the three.

Slow traffic alone is congestion, a stopped vehicle alone may be a delivery, a caller alone may have the wrong corner.
The drop is measured against the same place some minutes before, not against a fixed speed, so that a slow lane and
the rush hour are no accidents. While traffic stays slow the speed from before is remembered: otherwise the queue
would soon look usual and the alert would clear with the road still blocked.
"""

from dataclasses import dataclass

import numpy as np

from detectors.arrays import counted, measured, noisy_or
from detectors.checks import all_finite
from detectors.contract import (
    MAX_SEVERITY,
    Bools,
    CellView,
    Explanation,
    Floats,
    Verdict,
    Verdicts,
)
from detectors.corroboration import CorroboratingDetector, CorroborationSettings
from detectors.features import MINUTE_MS, Aggregate, Feature
from detectors.wording import counted_en, listed_en, listed_zh, number, or_none
from schemas.alert import SEVERITY_EN, SEVERITY_ZH
from schemas.sources import Source

REASONS = (
    "unknown",
    "normal",
    "one_sign_only",
    "collision_repeated",
    "camera_and_slow",
    "camera_and_tickets",
    "slow_and_tickets",
    "camera_slow_and_tickets",
)
(
    UNKNOWN,
    NORMAL,
    ONE_SIGN_ONLY,
    COLLISION_REPEATED,
    CAMERA_AND_SLOW,
    CAMERA_AND_TICKETS,
    SLOW_AND_TICKETS,
    CAMERA_SLOW_AND_TICKETS,
) = range(len(REASONS))

TRUST_COLLISION, TRUST_STOPPED, TRUST_SLOW, TRUST_TICKET = 0.6, 0.4, 0.4, 0.4
TRUST_FLOWING = 0.7  # that traffic which moves as usual has no accident in it
MOST_COLLISIONS, MOST_TICKETS = 2, 3  # more of them repeat the first

USUAL_KMH, SLOW_SINCE_MS = range(2)  # the state lanes: speed before traffic slowed down, end of the bucket it did in


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficAccidentSettings(CorroborationSettings):
    """Speeds in km/h, windows in minutes, shares from 0 to 1."""

    speed_metric: str = "traffic_speed_kmh"
    collision_event: str = "collision"
    stopped_event: str = "stopped_vehicle"
    ticket_category: str = "traffic_accident"
    now_minutes: int = 2  # the speed "now" is the mean of these
    usual_minutes: int = 10  # and is held against the mean of so many before them
    usual_readings: int = 3  # needed for a usual speed
    usual_at_least_kmh: float = 20.0  # below this the road was slow anyway
    drop_to_share: float = 0.5  # slow: at or below this share of the usual speed
    recover_to_share: float = 0.8  # slow no more: at or above this; the gap stops flapping
    slow_at_most_minutes: int = 90  # after that the new speed is the usual one
    standstill_kmh: float = 5.0  # at or below: one severity worse
    collisions_alone: int = 2  # so many collision events are believed alone

    def __post_init__(self) -> None:
        self.refuse_unless(
            "traffic_accident",
            (
                0.0 < self.drop_to_share < self.recover_to_share <= 1.0,
                (
                    f"drop_to_share={self.drop_to_share} must be above 0 and below "
                    f"recover_to_share={self.recover_to_share}, and that at most 1; both are shares of the usual "
                    "speed, not percent"
                ),
            ),
            (self.now_minutes >= 1, f"now_minutes={self.now_minutes} must be at least 1"),
            (self.usual_minutes >= 1, f"usual_minutes={self.usual_minutes} must be at least 1"),
            (self.usual_readings >= 1, f"usual_readings={self.usual_readings} must be at least 1"),
            (
                all_finite(self.standstill_kmh, self.usual_at_least_kmh)
                and 0.0 <= self.standstill_kmh < self.usual_at_least_kmh,
                (
                    f"standstill_kmh={self.standstill_kmh} must be from 0 and below "
                    f"usual_at_least_kmh={self.usual_at_least_kmh}"
                ),
            ),
            (self.slow_at_most_minutes >= 1, f"slow_at_most_minutes={self.slow_at_most_minutes} must be >= 1"),
            (self.collisions_alone >= 1, f"collisions_alone={self.collisions_alone} must be at least 1"),
        )


@dataclass(frozen=True, slots=True)
class _Signs:
    """What is seen of the cells, float64[n] each; events of the own cell, speeds and tickets with the neighbours."""

    collisions: Floats
    stopped: Floats
    own_tickets: Floats
    tickets: Floats
    cameras_near: Floats
    now_kmh: Floats  # NaN without readings
    usual_kmh: Floats  # NaN without enough readings


class TrafficAccident(CorroboratingDetector[TrafficAccidentSettings]):
    """Raises where two of three signs agree: camera, slow traffic, callers; or on repeated collision events.

    The alert belongs to the cell that the camera sees; without a camera near, to the cell of the ticket. Speeds and
    other tickets count from the neighbours too.

    Severity: the number of signs that agree less one, plus one for a collision, plus one for a standstill; 1 to 4.
    Confidence: ``1 - 0.4 ** collisions * 0.6 ** stopped * 0.6 ** slow * 0.6 ** tickets`` with at most two collisions,
    one stopped vehicle and three tickets counted: 0.64 for a stopped vehicle with slow traffic, 0.76 for a collision
    with it, 0.86 with a caller too. Of a clear: 0.7.

    State lanes: the usual speed before traffic slowed down (NaN while it is not slow), and when that was: a time and
    not a count, for a cell without any data is not judged and must still forget.
    """

    name = "traffic_accident"
    version = 1
    title_zh = "交通事故"
    title_en = "Traffic accident"
    category = "traffic_accident"
    reasons = REASONS
    settings_type = TrafficAccidentSettings
    state_lanes = 2

    @property
    def features(self) -> tuple[Feature, ...]:
        s = self.settings
        now_ms = s.now_minutes * MINUTE_MS
        long_ms = now_ms + s.usual_minutes * MINUTE_MS

        def speed(name: str, aggregate: Aggregate, window_ms: int) -> Feature:
            return Feature(
                name=name,
                source=Source.READINGS,
                kind=s.speed_metric,
                aggregate=aggregate,
                window_ms=window_ms,
                evidence=name == "speed_now",
            )

        return (
            self.pictures("collision", s.collision_event),
            self.pictures("stopped", s.stopped_event),
            self.callers(s.ticket_category),
            # Sums and counts, for the usual speed is the long window without the short one.
            speed("speed_now", Aggregate.SUM, now_ms),
            speed("readings_now", Aggregate.COUNT, now_ms),
            speed("speed_long", Aggregate.SUM, long_ms),
            speed("readings_long", Aggregate.COUNT, long_ms),
        )

    def judge(self, view: CellView) -> Verdicts:
        s = self.settings
        signs = self._signs(view)
        camera = (signs.collisions > 0) | (signs.stopped > 0)
        caller = (signs.own_tickets > 0) & (signs.cameras_near == 0)
        heard = np.where(camera, signs.tickets > 0, caller)
        known = ~np.isnan(signs.now_kmh)

        state = self._follow_speed(view, signs, camera | caller)
        slow = ~np.isnan(state[USUAL_KMH]) & known
        agreeing = camera.astype(np.int64) + slow + heard
        repeated = signs.collisions >= s.collisions_alone
        raised = (camera | caller) & ((agreeing >= 2) | repeated)
        something = camera | slow | (signs.own_tickets > 0)

        result = Verdicts.unknown(len(view.cells))
        result.state = state
        result.verdict[known] = Verdict.CLEAR
        result.verdict[something] = Verdict.HOLD
        result.verdict[raised] = Verdict.RAISE

        standstill = slow & (signs.now_kmh <= s.standstill_kmh)
        severity = np.clip(agreeing - 1 + (signs.collisions > 0) + standstill, 1, MAX_SEVERITY)
        result.severity[raised] = severity[raised]
        sure = noisy_or(
            (
                (TRUST_COLLISION, np.minimum(signs.collisions, MOST_COLLISIONS)),
                (TRUST_STOPPED, np.minimum(signs.stopped, 1.0)),
                (TRUST_SLOW, slow.astype(np.float64)),
                (TRUST_TICKET, np.where(heard, np.minimum(np.maximum(signs.tickets, 1.0), MOST_TICKETS), 0.0)),
            )
        )
        result.confidence[:] = np.where(something, sure, np.where(known, TRUST_FLOWING, 0.0))
        result.reason[:] = np.select(
            [
                raised & camera & slow & heard,
                raised & camera & slow,
                raised & camera & heard,
                raised & repeated,
                raised,
                something,
                known,
            ],
            [
                CAMERA_SLOW_AND_TICKETS,
                CAMERA_AND_SLOW,
                CAMERA_AND_TICKETS,
                COLLISION_REPEATED,
                SLOW_AND_TICKETS,
                ONE_SIGN_ONLY,
                NORMAL,
            ],
            UNKNOWN,
        )
        return result

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        s = self.settings
        signs = self._signs(view, slice(i, i + 1))
        lanes = view.state if verdicts.state is None else verdicts.state
        remembered = or_none(lanes[USUAL_KMH, i])
        usual = or_none(signs.usual_kmh[0]) if remembered is None else remembered
        values = {
            "collisions": float(signs.collisions[0]),
            "stopped_vehicles": float(signs.stopped[0]),
            "tickets": float(signs.tickets[0]),
            "speed_kmh": or_none(signs.now_kmh[0]),
            "usual_speed_kmh": usual,
        }
        zh, en = self._sentences(
            Verdict(int(verdicts.verdict[i])), int(verdicts.severity[i]), values, slow=remembered is not None
        )
        return Explanation(
            values=values,
            thresholds={
                "drop_to_share": s.drop_to_share,
                "recover_to_share": s.recover_to_share,
                "usual_at_least_kmh": s.usual_at_least_kmh,
                "standstill_kmh": s.standstill_kmh,
                "collisions_alone": float(s.collisions_alone),
                "camera_confidence_at_least": s.camera_confidence_at_least,
            },
            sentence_zh=zh,
            sentence_en=en,
            evidence_features=("collision", "stopped", "tickets", "speed_now"),
        )

    def _signs(self, view: CellView, at: slice = slice(None)) -> _Signs:
        """The signs of the cells ``at``: all of them to judge, one to explain."""
        rings = self.settings.confirm_rings
        readings_now = counted(view.ring("readings_now", rings)[at])
        readings_before = counted(view.ring("readings_long", rings)[at]) - readings_now
        speed_now = measured(view.ring("speed_now", rings)[at])
        # The join keeps sums in whole thousandths; rounding takes out what subtracting doubles left behind them.
        speed_before = np.round(measured(view.ring("speed_long", rings)[at]) - speed_now, 3)
        collisions_near = counted(view.ring("collision", rings)[at])
        return _Signs(
            collisions=counted(view["collision"][at]),
            stopped=counted(view["stopped"][at]),
            own_tickets=counted(view["tickets"][at]),
            tickets=counted(view.ring("tickets", rings)[at]),
            cameras_near=collisions_near + counted(view.ring("stopped", rings)[at]),
            now_kmh=_mean(speed_now, readings_now, at_least=1),
            usual_kmh=_mean(speed_before, readings_before, at_least=self.settings.usual_readings),
        )

    def _follow_speed(self, view: CellView, signs: _Signs, watched: Bools) -> Floats:
        """The state lanes after this bucket: where traffic has become slow, is still slow, or has recovered."""
        s = self.settings
        lanes = view.state
        usual, now = lanes[USUAL_KMH], signs.now_kmh
        was_slow = view.end_ms - lanes[SLOW_SINCE_MS] < s.slow_at_most_minutes * MINUTE_MS  # False where NaN
        recovered = now >= s.recover_to_share * usual  # False where either is missing: silence is no recovery
        stays = was_slow & ~recovered
        dropped = (signs.usual_kmh >= s.usual_at_least_kmh) & (now <= s.drop_to_share * signs.usual_kmh)
        starts = watched & ~was_slow & dropped

        after = np.full_like(lanes, np.nan)
        after[:, stays] = lanes[:, stays]
        after[USUAL_KMH, starts] = signs.usual_kmh[starts]
        after[SLOW_SINCE_MS, starts] = view.end_ms
        return after

    def _sentences(
        self, verdict: Verdict, severity: int, values: dict[str, float | None], *, slow: bool
    ) -> tuple[str, str]:
        minutes = self.settings.confirm_minutes
        now, usual = number(values["speed_kmh"]), number(values["usual_speed_kmh"])
        collisions, stopped, tickets = (values[k] or 0.0 for k in ("collisions", "stopped_vehicles", "tickets"))
        zh = listed_zh([(collisions, "次疑似碰撞识别"), (stopped, "次异常停车识别"), (tickets, "件事故工单")])
        en = listed_en([(collisions, "collision event"), (stopped, "stopped-vehicle event"), (tickets, "ticket")])
        speed_zh = f"车速由约 {usual} 降至 {now} 公里/小时" if slow and now != "-" else ""
        speed_en = f"traffic slowed from about {usual} to {now} km/h" if slow and now != "-" else ""
        if verdict is Verdict.RAISE:
            seen_zh = f"近 {minutes} 分钟有 {zh}" if zh else ""
            seen_en = f"{en} within {minutes} min" if en else ""
            return (
                f"疑似交通事故（{SEVERITY_ZH[severity]}）：{'，'.join(filter(None, (seen_zh, speed_zh)))}。",
                f"Likely traffic accident ({SEVERITY_EN[severity]}): {'; '.join(filter(None, (seen_en, speed_en)))}.",
            )
        if verdict is Verdict.HOLD:
            signs_zh = "，".join(filter(None, (zh, speed_zh))) or "车速未恢复"
            signs_en = "; ".join(filter(None, (en, speed_en))) or "speed has not recovered"
            return f"事故迹象尚存：{signs_zh}。", f"Signs of the accident remain: {signs_en}."
        if verdict is Verdict.CLEAR:
            return (
                f"近 {minutes} 分钟无新的事故迹象，当前车速 {now} 公里/小时，通行已恢复。",
                f"No further sign of an accident within {minutes} min; traffic moves at {now} km/h.",
            )
        return (
            f"近 {minutes} 分钟无摄像头、车速和工单数据，无法判断。",
            f"{counted_en(minutes, 'minute')} without camera events, speeds or tickets: the situation is unknown.",
        )


def _mean(total: Floats, readings: Floats, *, at_least: int) -> Floats:
    """``total / readings``, NaN where there are too few readings."""
    mean = np.full(len(total), np.nan)
    np.divide(total, readings, out=mean, where=readings >= at_least)
    return mean
