"""What is counted of the messages that the loop tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.incident import IncidentChange, State, Step
from schemas.notification import Notification, NotificationKind
from streams import metrics

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
