"""Incidents and the course they take: what each changes in the world around it, from its cause to its end.

Floods are not here: they follow from rain, terrain and drains (`floods.py`). Each incident is at one node; what spreads
from it (a queue, soot) spreads by the model that carries it. Times are seconds since the incident began.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from deploy.simulation.chance import Floats, generator
from deploy.simulation.fields import Fields, Quantity
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.sites import Sites
from deploy.simulation.streets import Streets

AT_A_SITE: Final = 0.85
"""Share of incidents at places known for them; the others may have no instrument near."""
EARLIEST: Final = 0.2
LATEST: Final = 0.55
"""Shares of the run, or of each round of it, between which incidents begin: detectors first learn what is usual."""


@dataclass(slots=True, kw_only=True)
class Incident(ABC):
    """One incident; subclasses know its course. `severity` (0..1) is how much of it people notice."""

    kind: str  # as in the truth file
    category: str  # of the tickets about it
    raises: str  # the category of the alert that a perfect detector raises
    number: int
    node: int
    begins_ms: int
    lasts_s: float
    size: float  # 0..1
    severity: float = 0.0
    onset_ms: int | None = None  # when a perfect detector could first know
    peak_ms: int | None = None
    peak: float = 0.0
    end_ms: int | None = None
    caller_every_s: float = 240.0  # mean time between two who notice, at full severity by day
    hesitates_s: float = 180.0  # mean time from noticing to calling
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    def step(self, now_ms: int, dt_s: float, fields: Fields, open_share: Floats) -> None:
        """Put what it is like now into the world."""
        if now_ms < self.begins_ms or self.end_ms is not None:
            return
        level = self.course((now_ms - self.begins_ms) / 1000.0, dt_s, fields, open_share)
        self.follow(now_ms, level)

    @abstractmethod
    def course(self, t_s: float, dt_s: float, fields: Fields, open_share: Floats) -> float:
        """Change the world; returns how bad it is, 1 being what is surely worth an alert, negative when it is over."""

    def follow(self, now_ms: int, level: float) -> None:
        """Keep onset, peak and end from the level."""
        self.severity = min(max(level, 0.0), 1.0)
        if level >= 1.0 and self.onset_ms is None:
            self.onset_ms = now_ms
        if level > self.peak:
            self.peak, self.peak_ms = level, now_ms
        if level < 0.0:
            self.end_ms = now_ms


@dataclass(slots=True, kw_only=True)
class Accident(Incident):
    """Cars collide and block lanes until they are towed away; the queue behind them is the traffic model's."""

    def course(self, t_s: float, dt_s: float, fields: Fields, open_share: Floats) -> float:
        if t_s >= self.lasts_s:
            return -1.0
        open_share[self.node] = min(open_share[self.node], 0.3 - 0.2 * self.size)
        fields.data[Quantity.COLLISION, self.node] = 1.0 if t_s < 40.0 else 0.0
        fields.data[Quantity.STOPPED_VEHICLES, self.node] = 1.0 + round(2 * self.size)
        return 1.0 + self.size


@dataclass(slots=True, kw_only=True)
class Fire(Incident):
    """Grows with the square of time (NFPA 72's t-squared fire) until it is fought, then dies down."""

    def course(self, t_s: float, dt_s: float, fields: Fields, open_share: Floats) -> float:
        grows_s, fought_s = 420.0 - 180.0 * self.size, self.lasts_s
        heat = min(min(t_s, fought_s) / grows_s, 1.0) ** 2
        if t_s > fought_s:
            heat *= math.exp(-(t_s - fought_s) / 240.0)
            if heat < 0.01:
                return -1.0
        node = self.node
        fields.data[Quantity.SMOKE_PERCENT_M, node] += 32.0 * math.sqrt(heat)
        fields.data[Quantity.HEAT_K, node] += 260.0 * heat
        fields.data[Quantity.FLAMES, node] = heat
        fields.data[Quantity.SOOT_UGM3, node] += 260.0 * heat
        return heat / 0.05  # the smoke of a twentieth of it (7 %/m) is beyond any detector's threshold


@dataclass(slots=True, kw_only=True)
class GasLeak(Incident):
    """A leak into a room: a mixing box that fills, and airs when the valve is closed."""

    lel: float = 0.0

    def course(self, t_s: float, dt_s: float, fields: Fields, open_share: Floats) -> float:
        leaking = t_s < self.lasts_s
        fills_to = 25.0 + 45.0 * self.size if leaking else 0.0
        self.lel += (fills_to - self.lel) * (1.0 - math.exp(-dt_s / (260.0 if leaking else 300.0)))
        fields.data[Quantity.GAS_LEL, self.node] += self.lel
        fields.data[Quantity.GAS_DROP_KPA, self.node] += 0.5 + 0.5 * self.size if leaking else 0.0
        return -1.0 if not leaking and self.lel < 1.0 else self.lel / 10.0


@dataclass(slots=True, kw_only=True)
class Crowd(Incident):
    """More people come to a place than leave it, and later they go."""

    def course(self, t_s: float, dt_s: float, fields: Fields, open_share: Floats) -> float:
        most = 500.0 + 1_400.0 * self.size
        rises = 1.0 / (1.0 + math.exp(-(t_s - 420.0) / 110.0))
        falls = 1.0 / (1.0 + math.exp((t_s - self.lasts_s) / 130.0))
        people = most * rises * falls
        fields.data[Quantity.CROWD, self.node] += people
        return -1.0 if t_s > self.lasts_s and people < 40.0 else people / 250.0


@dataclass(slots=True, kw_only=True)
class Manhole(Incident):
    """A cover is off: lifted by the water under it, or driven out of its seat. Someone puts it back."""

    def course(self, t_s: float, dt_s: float, fields: Fields, open_share: Floats) -> float:
        if t_s >= self.lasts_s:
            return -1.0
        fields.data[Quantity.COVER_OPEN, self.node] = 1.0
        fields.data[Quantity.COVER_TILT_DEG, self.node] = 18.0 + 50.0 * self.size
        open_share[self.node] = min(open_share[self.node], 0.85)
        return 1.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """How incidents of a kind are drawn."""

    make: type[Incident]
    site: str
    category: str
    raises: str
    lasts_s: tuple[float, float]
    caller_every_s: float
    hesitates_s: float


PLANS: Final[dict[str, _Plan]] = {
    "accident": _Plan(Accident, "junction", "traffic_accident", "traffic_accident", (900, 1_800), 200, 100),
    "fire": _Plan(Fire, "building", "fire", "fire", (600, 1_200), 60, 45),
    "gas_leak": _Plan(GasLeak, "gas", "gas_leak", "gas_leak", (700, 1_500), 260, 150),
    "crowd": _Plan(Crowd, "plaza", "crowding", "crowding", (1_200, 2_100), 500, 240),
    "manhole": _Plan(Manhole, "manhole", "manhole", "manhole", (900, 2_400), 700, 420),
}


def plan_incidents(settings: SimulationSettings, streets: Streets, sites: Sites) -> list[Incident]:
    """The run's incidents but floods; another kind's number changes nothing in this kind's."""
    counts = {
        "accident": settings.accidents,
        "fire": settings.fires,
        "gas_leak": settings.gas_leaks,
        "crowd": settings.crowds,
        "manhole": settings.manholes,
    }
    return [
        incident
        for kind, count in counts.items()
        for incident in _planned(kind, count, settings, streets, sites[PLANS[kind].site])
    ]


def _planned(
    kind: str, count: int, settings: SimulationSettings, streets: Streets, places: Sequence[int] | np.ndarray
) -> list[Incident]:
    plan, planned = PLANS[kind], []
    used: set[int] = set(streets.low_spots.tolist())
    for number in range(1, count * settings.rounds + 1):
        chance = generator(settings.seed, "incident", kind, number)
        free = [int(node) for node in places if int(node) not in used]
        anywhere = chance.random() >= AT_A_SITE or not free
        node = int(chance.integers(streets.count)) if anywhere else free[int(chance.integers(len(free)))]
        used.add(node)
        minute = ((number - 1) // count + chance.uniform(EARLIEST, LATEST)) * settings.round_minutes
        planned.append(
            plan.make(
                kind=kind, category=plan.category, raises=plan.raises, number=number, node=node,
                begins_ms=settings.start_ms + round(minute * 60_000),
                lasts_s=chance.uniform(*plan.lasts_s), size=chance.uniform(0.2, 1.0),
                caller_every_s=plan.caller_every_s, hesitates_s=plan.hesitates_s,
            )
        )  # fmt: skip
    return planned
