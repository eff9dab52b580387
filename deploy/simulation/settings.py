"""What a simulation is told: one frozen record, with presets; the same settings make the same bytes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import SettingsError

START_MS: Final = 1_752_744_600_000
"""2025-07-17 17:30 in Shanghai: a summer evening's rush hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSettings:
    """What goes wrong. A share is of devices (0..1), a rate is of records (0..1)."""

    stuck_share: float = 0.004  # repeats one value for ever
    drifting_share: float = 0.006  # its zero wanders
    spiking_share: float = 0.006  # a wild value now and then
    silent_share: float = 0.01  # says nothing for a while
    skewed_share: float = 0.02  # its clock is wrong
    skew_ahead_ms: int = 1_500  # by at most so much early ...
    skew_behind_ms: int = 60_000  # ... or late: most of these records are late for the join
    other_unit_share: float = 0.004  # reports in another unit, and says so
    gcj02_share: float = 0.04  # gives GCJ-02 coordinates, declared
    bd09_share: float = 0.01  # gives BD-09 coordinates, declared
    undeclared_share: float = 0.003  # gives GCJ-02 coordinates and does not say so
    caller_undeclared_share: float = 0.015  # of callers' telephones do the same
    duplicate_rate: float = 0.001  # the same bytes once more
    late_rate: float = 0.0005  # beyond what the join waits for
    malformed_rate: float = 0.0005
    jitter_ms: int = 1_200  # mean delay on the way; what arrives out of order, but in time
    most_jitter_ms: int = 3_000  # the bound of lateness is 5 s, and a clock may be skewed ahead

    @classmethod
    def none(cls) -> FaultSettings:
        """Devices and networks without a fault; only the usual delay on the way."""
        rates = {f.name: 0.0 for f in dataclasses.fields(cls) if f.name.endswith(("_share", "_rate"))}
        return cls(**rates)  # type: ignore[arg-type]  # all of them are numbers

    def problems(self) -> Iterator[str]:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if entry.name.endswith("_ms"):
                if value < 0:
                    yield f"simulation faults: {entry.name}={value} must not be negative"
            elif not 0.0 <= value <= 1.0:  # NaN too
                yield f"simulation faults: {entry.name}={value} must be from 0 to 1, not percent"
        devices = ("stuck", "drifting", "spiking", "silent", "skewed", "other_unit")
        if sum(getattr(self, f"{name}_share") for name in devices) > 1.0:
            yield f"simulation faults: the shares of {', '.join(devices)} devices are more than 1 together"
        if self.gcj02_share + self.bd09_share + self.undeclared_share > 1.0:
            yield "simulation faults: gcj02_share, bd09_share and undeclared_share are more than 1 together"


@dataclass(frozen=True, slots=True, kw_only=True)
class StormSettings:
    """A rain cell that moves over the city. Places are WGS-84, or names of districts of the city."""

    over: tuple[str | tuple[float, float], ...] = ()
    """Where its middle passes, in turn. Empty: the two districts with the most streets in the box, from the west."""
    begins_minute: float = 2.0  # when its middle is at the first place
    minutes_between: float = 12.0  # from place to place
    peak_mm_h: float = 105.0
    radius_m: float = 2_200.0  # half the peak at this distance
    fades_minutes: float = 10.0  # from nothing to its peak, and back


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSettings:
    """Everything a run depends on, besides the city."""

    seed: int = 1
    start_ms: int = START_MS
    minutes: float = 30.0
    repeat_minutes: float | None = None  # storms and planned incidents come again after so long; None: they come once
    step_s: int = 10  # of the physics; records have their own times
    west: float = 121.380
    south: float = 31.140
    east: float = 121.500
    north: float = 31.240
    devices: int = 2_000
    cameras: int = 240
    interval_scale: float = 1.0  # 0.1: ten times the readings
    low_spots: int = 14
    clogged_share: float = 0.5  # of the low spots
    registered_share: float = 0.25  # of devices send no coordinates: the register has them
    street_spacing_m: float = 600.0
    people: int = 2_400_000  # who live and work in the box
    tickets_per_100k_h: float = 9.0  # ordinary ones, by day; the hotline of a city of 24 million takes 2,000 an hour
    storms: tuple[StormSettings, ...] = ()
    accidents: int = 0
    fires: int = 0
    gas_leaks: int = 0
    crowds: int = 0
    manholes: int = 0
    faults: FaultSettings = field(default_factory=FaultSettings)

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise SettingsError(problems)

    @property
    def end_ms(self) -> int:
        return self.start_ms + round(self.minutes * 60_000)

    @property
    def round_minutes(self) -> float:
        """How long the story is that storms and planned incidents are drawn for."""
        return self.minutes if self.repeat_minutes is None else self.repeat_minutes

    @property
    def rounds(self) -> int:
        """How often it is told; the last time maybe not to its end."""
        return math.ceil(self.minutes / self.round_minutes)

    def with_changes(self, **changes: Any) -> SimulationSettings:
        """The same with other values. Raises SettingsError with every problem."""
        return dataclasses.replace(self, **changes)

    def described(self) -> Iterator[tuple[str, str]]:
        """(name, value) of every setting."""
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, dict):
                yield from ((f"{name}.{part}", repr(inner)) for part, inner in value.items())
            else:
                yield name, repr(value)

    def _problems(self) -> Iterator[str]:
        def unless(good: bool, text: str) -> Iterator[str]:
            if not good:
                yield f"simulation: {text}"

        yield from unless(0 < self.minutes <= 100_000, f"minutes={self.minutes} must be above 0 and at most 100,000")
        yield from unless(
            self.repeat_minutes is None or 1 <= self.repeat_minutes <= 100_000,
            f"repeat_minutes={self.repeat_minutes} must be from 1 to 100,000",
        )
        yield from unless(1 <= self.step_s <= 60, f"step_s={self.step_s} must be from 1 to 60")
        yield from unless(-180 <= self.west < self.east <= 180, f"west={self.west} must be below east={self.east}")
        yield from unless(-85 <= self.south < self.north <= 85, f"south={self.south} must be below north={self.north}")
        yield from unless(1 <= self.devices <= 2_000_000, f"devices={self.devices} must be from 1 to 2,000,000")
        yield from unless(0 <= self.cameras <= 500_000, f"cameras={self.cameras} must be from 0 to 500,000")
        yield from unless(
            math.isfinite(self.interval_scale) and 0.001 <= self.interval_scale <= 1000,
            f"interval_scale={self.interval_scale} must be from 0.001 to 1000",
        )
        yield from unless(
            100 <= self.street_spacing_m <= 10_000, f"street_spacing_m={self.street_spacing_m}: 100..10000"
        )
        for name in ("clogged_share", "registered_share"):
            value = getattr(self, name)
            yield from unless(0.0 <= value <= 1.0, f"{name}={value} must be from 0 to 1, not percent")
        for name in ("seed", "low_spots", "people", "accidents", "fires", "gas_leaks", "crowds", "manholes"):
            value = getattr(self, name)
            yield from unless(value >= 0, f"{name}={value} must not be negative")
        yield from unless(0 <= self.tickets_per_100k_h <= 10_000, "tickets_per_100k_h must be from 0 to 10,000")
        for storm in self.storms:
            numbers = (storm.peak_mm_h, storm.radius_m, storm.minutes_between, storm.fades_minutes)
            yield from unless(
                all(math.isfinite(number) and number > 0 for number in numbers),
                f"a storm needs positive numbers: {storm}",
            )
        yield from self.faults.problems()


_STORM: Final = StormSettings()
PRESETS: Final[dict[str, SimulationSettings]] = {
    "quiet": SimulationSettings(),
    "storm": SimulationSettings(storms=(_STORM,), accidents=1, manholes=1),
    "rush": SimulationSettings(accidents=4, crowds=2),
    "mixed": SimulationSettings(
        storms=(_STORM,), accidents=3, fires=2, gas_leaks=1, crowds=1, manholes=2, minutes=60.0
    ),
}


def preset(name: str) -> SimulationSettings:
    """A preset by its name; SettingsError that lists them when there is none of that name."""
    try:
        return PRESETS[name]
    except KeyError:
        raise SettingsError(f"simulation: preset {name!r} is unknown; choose one of {', '.join(PRESETS)}") from None
