"""What the alerts were worth: those that were raised, held against what really happened in the simulated city."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from schemas.alert import Action, Alert
from streams.urgent import DETECTOR as URGENT
from topology.grid import ring_distance

NEAR_RINGS: Final = 2
"""Cells between an incident and an alert about it at most: sensors and callers are not where it happened."""
EXPLAINED_RINGS: Final = 4
WITHIN_MS: Final = 600_000
"""An incident that was not told so long after it could be known was missed; what began later is left out."""
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "waterlogging": ("积水内涝", "waterlogging"),
    "traffic_accident": ("交通事故", "traffic accidents"),
    "fire": ("火灾", "fires"),
    "gas_leak": ("燃气泄漏", "gas leaks"),
    "crowding": ("人群聚集", "crowds"),
    "manhole": ("井盖移位", "manholes"),
}
"""What the alerts of a category are called."""


@dataclass(slots=True)
class Episode:
    """An alert from its raise to its clear."""

    category: str
    cell: int
    raised_ms: int
    cleared_ms: int | None = None
    urgent: bool = False  # told by a caller, at once: not a detector's judgement


@dataclass(slots=True)
class Score:
    """One category of alerts."""

    happened: int = 0
    found: int = 0
    false: int = 0
    delays_s: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)  # names of the incidents


class Episodes:
    """Alerts by id, kept up from their records."""

    def __init__(self) -> None:
        self._all: dict[str, Episode] = {}

    def take(self, alert: Alert) -> None:
        if alert.action is Action.RAISE:
            self._all.setdefault(
                alert.alert_id,
                Episode(alert.category, alert.cell, alert.window_end_ms, urgent=alert.detector == URGENT),
            )
        elif alert.action is Action.CLEAR and alert.alert_id in self._all:
            self._all[alert.alert_id].cleared_ms = alert.window_end_ms

    def __iter__(self) -> Iterator[Episode]:
        return iter(self._all.values())


def judge(
    truth: Iterable[Mapping[str, Any]], alerts: Iterable[Episode], *, from_ms: int, to_ms: int
) -> dict[str, Score]:
    """Scores by category, of what could be known from `from_ms` on and early enough before `to_ms`.

    `truth` are the entries of the simulation's truth. An urgent ticket is a caller's word, so it neither finds nor
    counts as false.
    """
    incidents = [entry for entry in truth if entry["entry"] == "incident"]
    judged = [episode for episode in alerts if not episode.urgent]
    scores = {category: Score() for category in KINDS}
    for entry in incidents:
        category = entry["should_raise"]
        if category is None or (entry["end_ms"] or to_ms) <= from_ms:
            continue
        known_ms = max(entry["onset_ms"], from_ms)
        told = [
            episode.raised_ms
            for episode in judged
            if episode.category == category
            and 0 <= ring_distance(episode.cell, entry["cell"]) <= NEAR_RINGS
            and episode.raised_ms <= known_ms + WITHIN_MS
            and (episode.cleared_ms is None or episode.cleared_ms >= entry["begin_ms"])
        ]
        score = scores.setdefault(category, Score())
        if told:
            score.happened += 1
            score.found += 1
            score.delays_s.append(max(0, min(told) - known_ms) / 1000)
        elif known_ms + WITHIN_MS <= to_ms:
            score.happened += 1
            score.missed.append(entry["id"])
    for episode in judged:
        if not any(_explains(entry, episode) for entry in incidents):
            scores.setdefault(episode.category, Score()).false += 1
    return scores


def _explains(entry: Mapping[str, Any], episode: Episode) -> bool:
    """Whether the alert is about this incident, worth an alert or not, or about what follows from it (a queue)."""
    return (
        0 <= ring_distance(episode.cell, entry["cell"]) <= EXPLAINED_RINGS
        and entry["begin_ms"] <= episode.raised_ms
        and (entry["end_ms"] is None or episode.raised_ms <= entry["end_ms"] + WITHIN_MS)
    )


def medians(scores: Iterable[Score]) -> float | None:
    delays: Sequence[float] = [delay for score in scores for delay in score.delays_s]
    return median(delays) if delays else None
