"""Gas leak: combustible gas in the air, confirmed by a second reading or by people who smell it.

Levels in % of the lower explosive limit: GB/T 50493 puts the first alarm of a detector at 25 or below and the second
at 50 or below. Gas for homes is odorised so that people smell it at a fifth of the limit (CJJ/T 148): callers may be
right while the nearest detector still reads little.
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

TRUST_READING, TRUST_TRACE, TRUST_TICKET = 0.7, 0.4, 0.4
MOST_TICKETS = 3  # later callers repeat the first ones
LEAST_SEVERITY = 2  # of what is smelt only


@dataclass(frozen=True, slots=True, kw_only=True)
class GasLeakSettings(CorroborationSettings):
    """Gas in % of the lower explosive limit, windows in minutes; a value on a level has reached it."""

    gas_metric: str = "gas_lel_percent"
    ticket_category: str = "gas_leak"
    clear_below: float = 10.0
    trace_at: float = 10.0  # with a caller, so much is a leak
    raise_at: float = 25.0
    severe_at: float = 50.0
    read_minutes: int = 3
    readings_alone: int = 2  # so many readings at `raise_at` are believed alone: one may be a puff or a test
    tickets_alone: int = 2  # so many callers in one cell are believed alone

    def __post_init__(self) -> None:
        levels = (self.clear_below, self.trace_at, self.raise_at, self.severe_at)
        self.refuse_unless(
            "gas_leak",
            (all_finite(*levels), "all levels must be finite numbers"),
            (
                0.0 < self.clear_below <= self.trace_at < self.raise_at < self.severe_at <= 100.0,
                f"clear_below, trace_at, raise_at, severe_at = {list(levels)} must rise from above 0 to at most 100; "
                "with no gap below the raise the alert would flap",
            ),
            (self.read_minutes >= 1, f"read_minutes={self.read_minutes} must be at least 1"),
            (self.readings_alone >= 1, f"readings_alone={self.readings_alone} must be at least 1"),
            (self.tickets_alone >= 1, f"tickets_alone={self.tickets_alone} must be at least 1"),
        )


class GasLeak(SignDetector[GasLeakSettings]):
    """Severity 4 from the second alarm's level, 3 from the first's, 2 for what is smelt only.

    The alert belongs to the cell of the detector that reads gas, or to that of two callers. Trust in a reading 0.7, in
    a trace 0.4, in a caller 0.4 (three count).
    """

    name = "gas_leak"
    version = 1
    title_zh = "燃气泄漏"
    title_en = "Gas leak"
    category = "gas_leak"
    settings_type = GasLeakSettings
    phrases: ClassVar[Mapping[str, Phrase]] = {
        "gas_lel_percent": measure("可燃气体浓度", "combustible gas", "%LEL"),
        "tickets": count("件燃气异味工单", "ticket"),
    }

    @property
    def features(self) -> tuple[Feature, ...]:
        s = self.settings

        def reading(name: str, aggregate: Aggregate, at_least: float | None = None) -> Feature:
            return Feature(
                name=name,
                source=Source.READINGS,
                kind=s.gas_metric,
                aggregate=aggregate,
                window_ms=s.read_minutes * MINUTE_MS,
                value_at_least=at_least,
                evidence=at_least is None,
            )

        return (
            reading("gas", Aggregate.MAX),
            reading("alarms", Aggregate.COUNT, s.raise_at),
            self.callers(s.ticket_category),
        )

    @property
    def screens(self) -> tuple[Screen, ...]:
        return Screen("gas", self.settings.trace_at), Screen("tickets", float(self.settings.tickets_alone))

    def look(self, view: CellView, at: slice = ALL) -> Look:
        s = self.settings
        gas, alarms = measured(view["gas"][at]), counted(view["alarms"][at])
        own_tickets, tickets = counted(view["tickets"][at]), counted(view.ring("tickets", s.confirm_rings)[at])
        high = gas >= s.raise_at
        trace = (gas >= s.trace_at) & ~high
        never = np.zeros(len(gas), dtype=np.bool_)
        crowd = own_tickets >= s.tickets_alone
        return Look(
            signs=(
                Sign(high.astype(np.float64), TRUST_READING, alarms >= s.readings_alone),
                Sign(trace.astype(np.float64), TRUST_TRACE, never),
                # callers of the cell itself place the alert only when there are enough of them
                Sign(np.where(crowd, tickets, 0.0), TRUST_TICKET, crowd, most=MOST_TICKETS),
                Sign(np.where(crowd, 0.0, tickets), TRUST_TICKET, never, most=MOST_TICKETS),
            ),
            known=~np.isnan(gas),
            lingering=gas >= s.clear_below,
            values={"gas_lel_percent": gas, "tickets": tickets},
        )

    def grade(self, look: Look, kinds: Ints) -> Ints:
        gas = look.values["gas_lel_percent"]
        return LEAST_SEVERITY + (gas >= self.settings.raise_at).astype(np.int64) + (gas >= self.settings.severe_at)

    @property
    def thresholds(self) -> dict[str, float]:
        s = self.settings
        return {
            "trace_at": s.trace_at,
            "raise_at": s.raise_at,
            "severe_at": s.severe_at,
            "readings_alone": float(s.readings_alone),
            "tickets_alone": float(s.tickets_alone),
        }
