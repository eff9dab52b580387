"""Floods: found in the water model rather than planned, where water stands deeper than rain alone leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.simulation.chance import Floats
from deploy.simulation.fields import Fields
from deploy.simulation.incidents import Incident

BEGINS_MM: Final = 80.0
WORTH_AN_ALERT_MM: Final = 150.0
OVER_MM: Final = 50.0


@dataclass(slots=True, kw_only=True)
class Flood(Incident):
    """Water on one low street; `peak` counts in depths worth an alert."""

    depth_mm: float = 0.0

    def course(self, t_s: float, dt_s: float, fields: Fields, open_share: Floats) -> float:
        return -1.0 if self.depth_mm < OVER_MM else self.depth_mm / WORTH_AN_ALERT_MM


class Floods:
    """Watches the depths, and opens and closes floods."""

    def __init__(self) -> None:
        self.all: list[Flood] = []
        self._open: dict[int, Flood] = {}

    def step(self, now_ms: int, depth_mm: Floats) -> list[Flood]:
        """Those that begin now."""
        begun = []
        for node in (depth_mm >= BEGINS_MM).nonzero()[0].tolist():
            if node not in self._open:
                flood = Flood(
                    kind="flood", category="flood", raises="waterlogging", number=len(self.all) + 1, node=node,
                    begins_ms=now_ms, lasts_s=0.0, size=1.0, caller_every_s=130.0, hesitates_s=240.0,
                )  # fmt: skip
                self._open[node] = flood
                self.all.append(flood)
                begun.append(flood)
        for node, flood in list(self._open.items()):
            flood.depth_mm = float(depth_mm[node])
            flood.notes["deepest_mm"] = max(flood.notes.get("deepest_mm", 0.0), round(flood.depth_mm, 1))
            if flood.end_ms is not None:
                del self._open[node]
        return begun
