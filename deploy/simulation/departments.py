"""Departments at work: simulated people who answer the loop's incidents, most of them well and some badly.

A pure policy. `see` is told each change of an incident, `due` gives the actions whose time in the city has come. How an
incident is worked follows from its id and the seed alone, so the same city is worked in the same way every time.

Each habit is one that the loop must catch: work that begins late (overdue), work that is returned as somebody else's
(dispatched again), work that nobody begins until reminded, and work that is reported done and is not (verification
fails, and it is worked again).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from deploy.simulation.chance import key_of
from schemas.action import ActionName, ActionRecord, Role
from schemas.errors import SettingsError
from schemas.incident import IncidentChange, State

MINUTE_MS: Final = 60_000
GRAVE: Final = 3
"""Severity from which on nobody takes his time."""
Minutes = tuple[float, float]
"""Shortest and longest."""


class Habit(StrEnum):
    """How an incident is worked. PROMPT is as it should be."""

    PROMPT = "prompt"
    SLOW = "slow"
    RETURNS = "returns"
    FORGETS = "forgets"
    SLOPPY = "sloppy"

    @property
    def zh(self) -> str:
        return _HABITS_ZH[self]


_HABITS_ZH: Final = {
    Habit.PROMPT: "及时",
    Habit.SLOW: "拖延",
    Habit.RETURNS: "退单",
    Habit.FORGETS: "遗忘",
    Habit.SLOPPY: "虚假办结",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartmentSettings:
    """Shares of incidents by habit, the rest is prompt; minutes of the city's time."""

    slow_share: float = 0.10
    returns_share: float = 0.08
    forgets_share: float = 0.06
    sloppy_share: float = 0.10
    dispatch_minutes: Minutes = (1.0, 4.0)
    accept_minutes: Minutes = (1.0, 6.0)
    start_minutes: Minutes = (2.0, 8.0)
    handle_minutes: Minutes = (10.0, 30.0)
    verify_minutes: Minutes = (3.0, 10.0)
    close_minutes: Minutes = (1.0, 3.0)
    slow_factor: float = 8.0
    grave_factor: float = 0.25  # of these times until somebody is on the way, where life or property is in danger

    def __post_init__(self) -> None:
        shares = (self.slow_share, self.returns_share, self.forgets_share, self.sloppy_share)
        problems = []
        if min(shares) < 0 or sum(shares) > 1:
            problems.append(f"departments: shares {list(shares)} must not be negative, nor more than 1 together")
        for name in ("dispatch", "accept", "start", "handle", "verify", "close"):
            low, high = getattr(self, f"{name}_minutes")
            if not 0 <= low <= high:
                problems.append(f"departments: {name}_minutes={[low, high]} must be a shortest and a longest time")
        if not 0 < self.grave_factor <= 1:
            problems.append(f"departments: grave_factor={self.grave_factor} must be above 0 and at most 1")
        if self.slow_factor < 1:
            problems.append(f"departments: slow_factor={self.slow_factor} must be at least 1")
        if problems:
            raise SettingsError(problems)


@dataclass(order=True, slots=True)
class _Plan:
    """One thing that somebody will do, unless the incident is elsewhere by then."""

    at_ms: int
    incident_id: str
    round: int  # of the incident's way: its hand-overs and reopenings, so that each round is planned anew
    state: State = field(compare=False)


class Departments:
    """All departments of the simulated city. `duty_desk` takes on what nobody else answers for."""

    def __init__(self, duty_desk: str, settings: DepartmentSettings | None = None, *, seed: int = 1) -> None:
        self._duty_desk = duty_desk
        self._settings = settings or DepartmentSettings()
        self._seed = seed
        self._last_worked: dict[str, IncidentChange] = {}  # as it was when some department had it
        self._latest: dict[str, IncidentChange] = {}
        self._planned: set[tuple[str, int, State]] = set()
        self._plans: list[_Plan] = []

    def habit_of(self, incident_id: str) -> Habit:
        """How this incident is worked."""
        s, chance = self._settings, self._chance(incident_id, "habit")
        for habit, share in (
            (Habit.SLOW, s.slow_share),
            (Habit.RETURNS, s.returns_share),
            (Habit.FORGETS, s.forgets_share),
            (Habit.SLOPPY, s.sloppy_share),
        ):
            if chance < share:
                return habit
            chance -= share
        return Habit.PROMPT

    def see(self, change: IncidentChange) -> None:
        """A change of an incident; repeats and older ones are passed over."""
        latest = self._latest.get(change.incident_id)
        if latest is not None and change.revision <= latest.revision:
            return
        self._latest[change.incident_id] = change
        if change.state not in (State.FILED, State.RETURNED) and change.lead is not None:
            self._last_worked[change.incident_id] = change
        if change.state.ended:
            return
        wait = self._wait_minutes(change)
        key = (change.incident_id, _round(change), change.state)
        if wait is None or key in self._planned:
            return
        self._planned.add(key)
        at_ms = change.at_ms + round(wait * MINUTE_MS)
        heapq.heappush(self._plans, _Plan(at_ms, change.incident_id, _round(change), change.state))

    def due(self, now_ms: int) -> list[ActionRecord]:
        """What is done up to now, in the order of time."""
        actions = []
        while self._plans and self._plans[0].at_ms <= now_ms:
            plan = heapq.heappop(self._plans)
            incident = self._latest[plan.incident_id]
            if incident.state is plan.state and _round(incident) == plan.round:
                actions.append(self._action(incident, max(plan.at_ms, incident.at_ms)))
        return actions

    def _wait_minutes(self, change: IncidentChange) -> float | None:
        """How long whoever has the incident now lets it lie; None: nobody will touch it as it is."""
        s, habit = self._settings, self.habit_of(change.incident_id)
        slow = s.slow_factor if habit is Habit.SLOW else 1.0
        quick = s.grave_factor if change.severity >= GRAVE else 1.0
        match change.state:
            case State.FILED | State.RETURNED:
                return quick * self._between(s.dispatch_minutes, change)
            case State.DISPATCHED:
                if habit is Habit.FORGETS and not (change.reminders or change.accept_overdue):
                    return None
                return quick * slow * self._between(s.accept_minutes, change)
            case State.ACCEPTED:
                return quick * slow * self._between(s.start_minutes, change)
            case State.HANDLING:
                return slow * self._between(s.handle_minutes, change)
            case State.HANDLED:
                return self._between(s.verify_minutes, change)
            case State.VERIFIED:
                return self._between(s.close_minutes, change)
            case _:
                return None

    def _action(self, incident: IncidentChange, at_ms: int) -> ActionRecord:
        habit = self.habit_of(incident.incident_id)
        lead = incident.lead or "duty"
        match incident.state:
            case State.FILED | State.RETURNED:
                before = self._last_worked.get(incident.incident_id, incident)
                # returned work goes to one that assisted, if any did; else back to whose it is
                to = next(iter(before.assisting), before.lead) or self._duty_desk
                return self._by(Role.DISPATCHER, ActionName.DISPATCH, incident, at_ms, "duty", to_department=to)
            case State.DISPATCHED if habit is Habit.RETURNS and not incident.hand_overs:
                reason = "不属于本单位职责"
                return self._by(Role.HANDLER, ActionName.RETURN, incident, at_ms, lead, reason=reason)
            case State.DISPATCHED:
                return self._by(Role.HANDLER, ActionName.ACCEPT, incident, at_ms, lead)
            case State.ACCEPTED:
                return self._by(Role.HANDLER, ActionName.START, incident, at_ms, lead)
            case State.HANDLING:
                return self._by(Role.HANDLER, ActionName.FINISH, incident, at_ms, lead, result="已到场处置完毕")
            case State.HANDLED if habit is Habit.SLOPPY and not incident.reopenings:
                reason = "现场核查：问题仍在"
                return self._by(Role.VERIFIER, ActionName.VERIFY_FAIL, incident, at_ms, "verifier", reason=reason)
            case State.HANDLED:
                return self._by(Role.VERIFIER, ActionName.VERIFY_PASS, incident, at_ms, "verifier")
            case _:
                return self._by(Role.OPERATOR, ActionName.CLOSE, incident, at_ms, "duty")

    def _by(
        self, role: Role, action: ActionName, incident: IncidentChange, at_ms: int, who: str,
        *, to_department: str | None = None, reason: str | None = None, result: str | None = None,
    ) -> ActionRecord:  # fmt: skip
        return ActionRecord(
            action_id=f"{incident.incident_id}-{_round(incident)}-{incident.state}-{action}",
            action=action,
            actor=f"{who}-{1 + int(self._chance(incident.incident_id, who) * 9)}",
            role=role,
            ts=at_ms,
            incident_id=incident.incident_id,
            department=incident.lead if role is Role.HANDLER else None,
            to_department=to_department,
            reason=reason,
            result=result,
        )

    def _between(self, minutes: Minutes, change: IncidentChange) -> float:
        low, high = minutes
        return low + (high - low) * self._chance(change.incident_id, f"{change.state}-{_round(change)}")

    def _chance(self, incident_id: str, what: str) -> float:
        """From 0 to below 1, always the same for the same incident and question."""
        return (key_of(self._seed, "departments", incident_id, what) >> 11) / 2**53


def _round(change: IncidentChange) -> int:
    return change.hand_overs + change.reopenings
