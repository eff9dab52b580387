"""Plays: which part of the city a run simulates, with how many workers of which roles. A seed chooses one.

Small plays go deeper for the same time: a run of locate and join alone costs a third of one of everything.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.contract import Detector
from detectors.waterlogging import Waterlogging
from tests.chaos.simulator.faults import Odds
from tests.chaos.simulator.sums import Sums

Roles = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """`workers`: the roles of each worker at the beginning. Times are virtual seconds."""

    name: str
    workers: tuple[Roles, ...]
    records: int = 0
    scripted: int = 0
    """Alerts and tickets that come ready made, where nobody locates and joins."""
    lasting_s: float = 6.0
    detectors: tuple[Detector[Any], ...] = field(default_factory=lambda: (Sums(),))
    odds: Odds = field(default_factory=Odds)
    idle_after_s: float = 120.0
    """Long enough for no source to be called idle; shorter, and alerts depend on that day's clock (design.md 3.3),
    unless each partition has its `beats`: then a source that is called idle is a fault of ours."""
    beats: bool = False
    ticker: bool = False
    """The loop's own clock, instead of ticks that come by topic."""
    shuffle: bool = False

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(role for worker in self.workers for role in worker)

    @property
    def exact(self) -> bool:
        """Whether alerts follow from the raw log alone."""
        return self.idle_after_s > 60 or self.beats


NAMES: Final = ("street", "history", "loop", "city")
_ROLES: Final[dict[str, Roles]] = {
    "street": ("locate", "join"),
    "history": ("locate", "archive"),
    "loop": ("dispatch", "archive"),
    "city": ("locate", "join", "dispatch", "archive"),
}
_WEIGHTS: Final = {"street": 4, "history": 4, "loop": 3, "city": 2}


def choose(chance: random.Random, odds: Odds, *, only: Sequence[str] = NAMES) -> Play:
    name = chance.choices(list(only), [_WEIGHTS[name] for name in only])[0]
    roles = _ROLES[name]
    detectors: tuple[Detector[Any], ...] = (Sums(),)
    if chance.random() < 0.2:
        detectors += (Waterlogging(),)
    idle = chance.choices(("never", "when quiet", "but never quiet"), (70, 15, 15))[0]
    return Play(
        name=name,
        workers=_workers(chance, roles),
        records={"street": 36, "history": 36, "loop": 0, "city": 26}[name],
        scripted=16 if name == "loop" else 0,
        detectors=detectors,
        odds=odds,
        idle_after_s=120.0 if idle == "never" else 3.5,
        beats=idle == "but never quiet",
        ticker=chance.random() < 0.3,
        shuffle=chance.random() < 0.5,
    )


def _workers(chance: random.Random, roles: Roles) -> tuple[Roles, ...]:
    """All roles in one process, in two alike, or each in its own."""
    return chance.choice(((roles,), (roles, roles), (roles, roles), tuple((role,) for role in roles)))
