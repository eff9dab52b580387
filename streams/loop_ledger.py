"""Writes down what the loop does: changes into the history of an incident, notifications beside it.

A `Turn` is the reading of one record of the log; everything it leads to is written to it, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.action import ActionName, ActionRecord, Role
from schemas.incident import IncidentChange, State, Step
from schemas.loop_record import LoopRecord
from schemas.notification import Notification, NotificationKind, RefusalReason
from schemas.privacy import mask_text
from streams.loop_hash import NO_HASH, sealed
from streams.loop_incident import Incident, Incidents, StageClock
from streams.loop_words import Sentence, Words
from topology.city import City

Output = IncidentChange | Notification


class By(NamedTuple):
    """Who makes a change. A rule of the loop is named with its version: it may be objected to."""

    actor: str
    role: Role
    department: str | None = None


def rule(name: str, version: int = 1) -> By:
    return By(f"system:{name}-{version}", Role.SYSTEM)


BY_DISCOVERY: Final = rule("discovery")
BY_FILING: Final = rule("filing")
BY_RESPONSIBILITY: Final = rule("responsibility-list")
BY_MERGING: Final = rule("merging")
BY_RECURRENCE: Final = rule("recurrence")
BY_DEADLINES: Final = rule("deadlines")
BY_HAND_OVERS: Final = rule("hand-overs")


@dataclass(slots=True)
class Turn:
    """One record of the log being read."""

    offset: int
    record: LoopRecord
    out: list[Output] = field(default_factory=list)

    @property
    def cause(self) -> str:
        return self.record.cause


class Ledger:
    """The only place where revisions count up and hashes are made."""

    def __init__(self, city: City, incidents: Incidents, words: Words) -> None:
        self._city = city
        self._incidents = incidents
        self._words = words

    def write(
        self,
        turn: Turn,
        incident: Incident,
        step: Step,
        by: By,
        at_ms: int,
        *,
        before: State | None,
        reason: str | None = None,
        reason_en: str | None = None,
        action_id: str | None = None,
        cause: str | None = None,
    ) -> Sentence:
        """Write the incident as it now is as its next change; the sentence about it.

        `reason_en` is given where the loop itself has a reason; what a person wrote is in one language, and masked.
        """
        if reason is not None and reason_en is None:
            reason = mask_text(reason)
        incident.revision += 1
        incident.changed_ms = max(incident.changed_ms, at_ms)
        why = None if reason is None else (reason, reason if reason_en is None else reason_en)
        sentence = self._words.about(incident, step, why)
        departments = self._city.departments
        lead = None if incident.lead is None else departments.find(incident.lead)
        above = None if incident.escalated_to is None else departments.find(incident.escalated_to)
        change = sealed(
            IncidentChange(
                incident_id=incident.incident_id,
                revision=incident.revision,
                state=incident.state,
                previous_state=before,
                action=step,
                actor=by.actor,
                role=by.role,
                department=by.department,
                at_ms=incident.changed_ms,
                reason=reason,
                result=incident.result,
                type=incident.type,
                category=incident.category,
                index_category=incident.index_category,
                severity=incident.severity,
                cell=incident.cell,
                lon=incident.lon,
                lat=incident.lat,
                jurisdiction=incident.jurisdiction,
                district=incident.district,
                unit=incident.unit,
                place_zh=incident.place_zh,
                place_en=incident.place_en,
                opened_ms=incident.opened_ms,
                lead=incident.lead,
                lead_level=None if lead is None else int(lead.level),
                assisting=list(incident.assisting),
                alert_ids=[alert.alert_id for alert in incident.alerts],
                standing_alerts=[alert.alert_id for alert in incident.alerts if alert.standing],
                ticket_ids=[ticket.ticket_id for ticket in incident.tickets],
                tickets=list(incident.tickets),
                accept_due_ms=_due(incident, incident.accept),
                handle_due_ms=_due(incident, incident.handle),
                verify_due_ms=_due(incident, incident.verify),
                accept_overdue=_overdue(incident.accept),
                handle_overdue=_overdue(incident.handle),
                verify_overdue=_overdue(incident.verify),
                escalated_to=incident.escalated_to,
                escalated_level=None if above is None else int(above.level),
                whistles=list(incident.whistles),
                hand_overs=incident.hand_overs,
                reopenings=incident.reopenings,
                reminders=incident.reminders,
                handled_by=incident.handled_by,
                handled_ms=incident.handled_ms,
                verified_by=incident.verified_by,
                suspended_until_ms=incident.suspended_until_ms,
                merged_into=incident.merged_into,
                action_id=action_id,
                cause=cause or turn.cause,
                sentence_zh=sentence[0],
                sentence_en=sentence[1],
                previous_hash=incident.hash,
                hash=NO_HASH,
            )
        )
        incident.hash = change.hash
        self._incidents.dirty.add(incident.bucket)
        turn.out.append(change)
        return sentence

    def tell(
        self, turn: Turn, kind: NotificationKind, to: str, incident: Incident, sentence: Sentence, *, at_ms: int
    ) -> None:
        """Tell a department."""
        self._notify(turn, kind, to, False, incident, self._words.told(kind, sentence), max(at_ms, incident.changed_ms))

    def answer(
        self,
        turn: Turn,
        action: ActionRecord,
        kind: NotificationKind,
        incident: Incident,
        sentence: Sentence,
        at_ms: int,
    ) -> None:
        """Tell the actor of an action what became of it, when it was not refused."""
        self._notify(turn, kind, action.actor, True, incident, sentence, at_ms, action_id=action.action_id)

    def refuse(
        self,
        turn: Turn,
        action: ActionRecord,
        reason: RefusalReason,
        detail: Sentence,
        incident: Incident | None,
        legal: Sequence[ActionName],
        at_ms: int,
    ) -> None:
        """Tell the actor that an action was refused, and what is legal."""
        sentence = self._words.refused(action.action, reason, detail, legal)
        self._notify(
            turn, NotificationKind.REFUSED, action.actor, True, incident, sentence, at_ms,
            action_id=action.action_id, refusal=reason, legal=[str(one) for one in legal],
        )  # fmt: skip

    def unreadable(self, turn: Turn, problem: str, *, action_id: str | None = None, actor: str | None = None) -> None:
        """A record that cannot be used: told to its author if that much can be read, else to the duty desk."""
        shown = mask_text(problem)
        sentence = (
            f"【无法读取】{turn.cause} 的{turn.record.kind.zh}无法使用：{shown}。",
            f"[unreadable] the {turn.record.kind} at {turn.cause} cannot be used: {shown}.",
        )
        to = actor or self._city.duty_desk
        self._notify(
            turn, NotificationKind.UNREADABLE, to, actor is not None, None, sentence, turn.record.arrived_ms,
            action_id=action_id,
        )  # fmt: skip

    def _notify(
        self,
        turn: Turn,
        kind: NotificationKind,
        to: str,
        to_actor: bool,
        incident: Incident | None,
        sentence: Sentence,
        at_ms: int,
        *,
        action_id: str | None = None,
        refusal: RefusalReason | None = None,
        legal: list[str] | None = None,
    ) -> None:
        turn.out.append(
            Notification(
                notification_id=f"{turn.offset}-{len(turn.out)}",
                kind=kind,
                to=to,
                to_actor=to_actor,
                incident_id=None if incident is None else incident.incident_id,
                revision=None if incident is None else incident.revision,
                at_ms=at_ms,
                action_id=action_id,
                refusal=refusal,
                legal=legal or [],
                cause=turn.cause,
                sentence_zh=sentence[0],
                sentence_en=sentence[1],
            )
        )


def _due(incident: Incident, clock: StageClock | None) -> int | None:
    """Nothing is due while the clocks stand still."""
    return clock.due_ms if clock is not None and clock.running and incident.state is not State.SUSPENDED else None


def _overdue(clock: StageClock | None) -> bool:
    return clock is not None and clock.overdue
