"""What is counted of the loop: the messages that it tells, and the incidents that it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from schemas.incident import IncidentChange, State, Step
from schemas.notification import Notification, NotificationKind
from streams import metrics
from streams.loop_discovery import Outcome
from streams.loop_incident import Incident

ACCEPTED: Final = "accepted"


def count_told(told: Iterable[IncidentChange | Notification]) -> None:
    """Count what followed from one record of the log."""
    accepted: set[str] = set()  # one action may change two incidents
    for message in told:
        if isinstance(message, Notification):
            metrics.NOTIFICATIONS.labels(message.kind).inc()
            if message.refusal is not None:
                metrics.ACTIONS.labels(message.refusal).inc()
            elif message.kind is NotificationKind.REPEATED:
                metrics.ACTIONS.labels(NotificationKind.REPEATED).inc()
            continue
        metrics.INCIDENT_CHANGES.labels(message.action).inc()
        if message.action_id is not None:
            accepted.add(message.action_id)
        if message.action is Step.OVERDUE:
            metrics.OVERDUE.labels(message.type).inc()
        if message.action is Step.DISPATCH and message.previous_state in (State.DISCOVERED, State.FILED):
            metrics.TIME_TO_DISPATCH.observe(max(0.0, (message.at_ms - message.opened_ms) / 1000))
    if accepted:
        metrics.ACTIONS.labels(ACCEPTED).inc(len(accepted))


class LoopCounts:
    """The gauges of one owner of the loop."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, State]] = set()  # label values that were ever set: they must fall to 0 again
        self._counted: Counter[Outcome] = Counter()

    def count(self, incidents: Iterable[Incident], outcomes: Mapping[Outcome, int]) -> None:
        """`outcomes`: how many inputs had each since the core was made."""
        held: Counter[tuple[str, State]] = Counter()
        overdue = 0
        for incident in incidents:
            held[incident.type, incident.state] += 1
            overdue += not incident.state.ended and any(clock.overdue for _, clock in incident.clocks())
        for kind, state in self._shown | set(held):
            metrics.INCIDENTS.labels(kind, state).set(held[kind, state])
        self._shown |= set(held)
        metrics.OVERDUE_INCIDENTS.set(overdue)
        for outcome, count in outcomes.items():
            metrics.LOOP_OUTCOMES.labels(outcome).inc(count - self._counted[outcome])
        self._counted = Counter(outcomes)

    def forget(self) -> None:
        """The loop is another's now."""
        metrics.INCIDENTS.clear()
        metrics.OVERDUE_INCIDENTS.set(0)
        metrics.LOOP_LAG_SECONDS.set(0)
