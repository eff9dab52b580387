"""Keeps up what the board shows, and what the summary counts: told of alerts, changes, notifications and measures."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from deploy.board import SLIPS, BoardState, District, ShownAlert
from deploy.board_metrics import Measured
from deploy.demo_truth import Episodes
from schemas.alert import Action, Alert
from schemas.incident import IncidentChange, State, Step
from schemas.notification import Notification, NotificationKind
from streams.urgent import DETECTOR as URGENT
from topology.city import City
from topology.levels import Level

KEPT_ALERTS: Final = 60
KEPT_DOINGS: Final = 60
SAME_CALL_MS: Final = 30 * 60_000
"""Urgent calls of one category from one place within so long of each other are one line."""
GRAVE: Final = 3
GRAVE_STEPS: Final = frozenset({Step.DISPATCH, Step.FINISH, Step.CLOSE})
"""Steps that are shown, besides slips, of incidents of this severity and above."""
STAGES: Final = ("accept", "handle", "verify")


@dataclass(slots=True)
class Stage:
    """One deadline of incidents of one level: how many were met and how many were not."""

    kept: int = 0
    missed: int = 0


@dataclass(slots=True)
class CityWatch:
    """All that is known of the city from outside. Times in epoch ms of the city."""

    city: City
    board: BoardState = field(default_factory=BoardState)
    alert_records: int = 0
    episodes: Episodes = field(default_factory=Episodes)
    first_alert_s: float | None = None  # monotonic
    steps: Counter[Step] = field(default_factory=Counter)
    notes: Counter[NotificationKind] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)  # the first ones, in words
    hashes: dict[str, list[str]] = field(default_factory=dict)  # of each incident's records, by revision
    latest: dict[str, IncidentChange] = field(default_factory=dict)
    _reached: dict[str, set[str]] = field(default_factory=lambda: {stage: set() for stage in STAGES})
    _missed: dict[str, set[str]] = field(default_factory=lambda: {stage: set() for stage in STAGES})
    _shown: deque[ShownAlert] = field(default_factory=lambda: deque(maxlen=KEPT_ALERTS))
    _doings: deque[IncidentChange] = field(default_factory=lambda: deque(maxlen=KEPT_DOINGS))
    _standing: set[str] = field(default_factory=set)
    _states: Counter[State] = field(default_factory=Counter)
    _overdue: set[str] = field(default_factory=set)

    def alert(self, alert: Alert) -> None:
        self.alert_records += 1
        self.episodes.take(alert)
        if self.first_alert_s is None:
            self.first_alert_s = time.monotonic()
        board = self.board
        if alert.action is Action.UPDATE:
            return
        if alert.action is Action.RAISE:
            board.raised_alerts += 1
            if alert.detector != URGENT:  # a person ends those
                self._standing.add(alert.alert_id)
        else:
            self._standing.discard(alert.alert_id)
        board.active_alerts = len(self._standing)
        self._show(alert)
        board.alerts = tuple(self._shown)

    def _show(self, alert: Alert) -> None:
        if alert.detector == URGENT:
            for n, shown in enumerate(self._shown):
                other = shown.alert
                if (
                    (other.detector, other.category) == (URGENT, alert.category)
                    and alert.jurisdiction in (None, other.jurisdiction)
                    and alert.window_end_ms - other.window_end_ms < SAME_CALL_MS
                ):
                    self._shown[n] = ShownAlert(other, shown.times + 1)
                    return
        self._shown.appendleft(ShownAlert(alert))
        self.board.shown_alerts += 1

    def change(self, change: IncidentChange) -> bool:
        """False for one that was seen before."""
        chain = self.hashes.setdefault(change.incident_id, [])
        if change.revision < len(chain):
            return False
        chain.append(change.hash)
        before = self.latest.get(change.incident_id)
        self.latest[change.incident_id] = change
        self.steps[change.action] += 1
        if before is not None:
            self._states[before.state] -= 1
        self._states[change.state] += 1
        self._judge(change)
        if change.action in SLIPS or (change.severity >= GRAVE and change.action in GRAVE_STEPS):
            self._doings.appendleft(change)
            self.board.shown_doings += 1
        board = self.board
        board.states, board.overdue, board.doings = self._states, len(self._overdue), tuple(self._doings)
        board.kept, board.missed = self._totals()
        return True

    def _judge(self, change: IncidentChange) -> None:
        name = change.incident_id
        flags = (change.accept_overdue, change.handle_overdue, change.verify_overdue)
        reached = (change.action is Step.ACCEPT, change.handled_ms is not None, change.state is State.CLOSED)
        for stage, late, done in zip(STAGES, flags, reached, strict=True):
            if late:
                self._missed[stage].add(name)
            if done:
                self._reached[stage].add(name)
        if any(flags) and not change.state.ended:
            self._overdue.add(name)
        else:
            self._overdue.discard(name)

    def _totals(self) -> tuple[int, int]:
        missed = sum(len(names) for names in self._missed.values())
        kept = sum(len(self._reached[stage] - self._missed[stage]) for stage in STAGES)
        return kept, missed

    def told(self, notification: Notification) -> None:
        self.notes[notification.kind] += 1
        if notification.kind is NotificationKind.REFUSED and len(self.refusals) < 5:
            self.refusals.append(notification.sentence_en)

    def measured(self, now: Measured, before: Measured | None) -> None:
        board = self.board
        board.records, board.dead = sum(now.records.values()), now.dead
        if before is None or now.at_s <= before.at_s:
            return
        spent_s = now.at_s - before.at_s
        board.rates = {
            source: max(0.0, (count - before.records.get(source, 0)) / spent_s) for source, count in now.records.items()
        }
        board.lag_s = now.lag_s(before)

    def indexed(self, hour_ms: int, districts: Sequence[District]) -> None:
        self.board.index_hour_ms, self.board.index = hour_ms, tuple(districts)

    # --- for the summary ---------------------------------------------------------------------------------------------

    @property
    def changes(self) -> int:
        return sum(map(len, self.hashes.values()))

    @property
    def notifications(self) -> int:
        return self.notes.total()

    def states(self) -> Mapping[State, int]:
        return {state: self._states[state] for state in State if self._states[state]}

    def closed(self) -> int:
        return self._states[State.CLOSED]

    def deadlines(self) -> Iterator[tuple[Level | None, Mapping[str, Stage]]]:
        """By level of the department that has or had the incident, the city first; None: the duty desk's."""
        found: dict[int, dict[str, Stage]] = {}
        for name, change in self.latest.items():
            level = change.lead_level or 0
            for stage in STAGES:
                place = found.setdefault(level, {one: Stage() for one in STAGES})[stage]
                if name in self._missed[stage]:
                    place.missed += 1
                elif name in self._reached[stage]:
                    place.kept += 1
        for level in sorted(found):
            yield (Level(level) if level else None), found[level]
