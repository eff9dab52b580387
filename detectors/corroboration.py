"""What detectors share that want a sign confirmed: by cameras and callers nearby, within some minutes.

The settings, their checks, and the two features by which others confirm what an instrument says.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

from detectors.checks import refuse_unless
from detectors.contract import Detector, Hysteresis
from detectors.features import MINUTE_MS, Aggregate, Feature
from schemas.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class CorroborationSettings:
    """Windows in minutes; the last four are the detector's hysteresis, in buckets of a minute."""

    confirm_minutes: int = 10  # how far back others count
    confirm_rings: int = 1  # callers are often off by a block
    camera_confidence_at_least: float = 0.6
    clear_after: int = 5
    lower_after: int = 5
    stale_after: int = 30
    update: Literal["change", "always"] = "change"

    def refuse_unless(self, where: str, *rules: tuple[bool, str]) -> None:
        """Check the rules of the detector's own and the fields above; SettingsError with all that does not hold."""
        refuse_unless(
            where,
            (
                *rules,
                (self.confirm_minutes >= 1, f"confirm_minutes={self.confirm_minutes} must be at least 1"),
                (self.confirm_rings >= 0, f"confirm_rings={self.confirm_rings} must not be negative"),
                (
                    0.0 <= self.camera_confidence_at_least <= 1.0,
                    f"camera_confidence_at_least={self.camera_confidence_at_least} must be from 0 to 1, not percent",
                ),
            ),
        )

    @property
    def hysteresis(self) -> Hysteresis:
        return Hysteresis(
            clear_after=self.clear_after,
            lower_after=self.lower_after,
            stale_after=self.stale_after,
            update=self.update,
        )


C = TypeVar("C", bound=CorroborationSettings)


class CorroboratingDetector(Detector[C]):
    """A detector whose settings are `CorroborationSettings`."""

    @property
    def rings(self) -> int:
        return self.settings.confirm_rings

    @property
    def hysteresis(self) -> Hysteresis:
        return self.settings.hysteresis

    def pictures(self, name: str, event: str) -> Feature:
        """Camera events of one kind within `confirm_minutes`."""
        return Feature(
            name=name,
            source=Source.CAMERA_EVENTS,
            kind=event,
            aggregate=Aggregate.COUNT,
            window_ms=self.settings.confirm_minutes * MINUTE_MS,
            confidence_at_least=self.settings.camera_confidence_at_least,
        )

    def callers(self, category: str) -> Feature:
        """Tickets of one category within `confirm_minutes`."""
        return Feature(
            name="tickets",
            source=Source.TICKETS,
            kind=category,
            aggregate=Aggregate.COUNT,
            window_ms=self.settings.confirm_minutes * MINUTE_MS,
        )
