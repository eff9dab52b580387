"""Alerts and tickets become incidents, or join one.

A sign is a new alert or a new ticket. Its home is looked for in the order of `HOMES`: the incident of its parent
ticket, that of the same raw record (an urgent ticket comes as an alert too, and a composite alert names the tickets
behind it), that of the same type, neighbourhood and time. Without a home it opens an incident, which the system files
and dispatches at once where it may (`Cases.file_by_rule`, `Cases.dispatch_by_rule`).

A sign that is newer than the verification of an incident is a recurrence: it opens it again, also when it was closed.
One that is older is a late report of what was handled and found good: it joins, and is done with the incident. The
system never opens again what people judged a false alarm or cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final
from zoneinfo import ZoneInfo

from schemas.alert import Action, Alert
from schemas.incident import State, Step, TicketOutcome
from schemas.incident_types import IncidentType
from schemas.loop_record import TicketInLoop
from schemas.notification import NotificationKind
from streams.loop_cases import Cases, settle_tickets
from streams.loop_incident import AlertInIncident, Incident
from streams.loop_ledger import BY_DISCOVERY, BY_MERGING, BY_RECURRENCE, Turn
from streams.loop_settings import MAX_MEMBERS
from streams.loop_words import Sentence
from topology.grid import NO_CELL

TICKETS: Final = "tickets"
SAID_CHARS: Final = 160  # of a sign's own sentence in that about the incident
URGENCY_SEVERITY: Final = {"normal": 1, "urgent": 3, "critical": 4}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Outcome(StrEnum):
    """What became of an input of the loop: each alert, ticket, action and tick has one. Also values of a metric."""

    OPENED = "opened"  # an incident
    ATTACHED = "attached"  # to one
    REOPENED = "reopened"  # one
    UPDATED = "updated"  # an alert or ticket that an incident holds, and the incident with it
    NOTED = "noted"  # of such an alert or ticket; the incident is as it was
    NOT_HELD = "not_held"  # the clearing of an alert that no incident holds any more
    DONE = "done"  # an action
    REPEATED = "repeated"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"  # of an input that was read before
    TICKED = "ticked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """An alert or a ticket as far as they are alike."""

    kind: IncidentType
    category: str
    severity: int
    first_ms: int
    at_ms: int
    cell: int
    lon: float | None
    lat: float | None
    jurisdiction: str | None
    unit: str | None
    place_zh: str | None
    place_en: str | None
    records: tuple[str, ...]  # raw tickets behind it
    place_sure: bool
    cause: str | None  # the raw record, where it is not the cause of the turn
    words: Sentence
    alert: Alert | None = None
    ticket: TicketInLoop | None = None


class Discovery:
    """Takes alerts and tickets in."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases
        self._city = cases.city
        self._settings = cases.settings
        self._incidents = cases.incidents
        self._zone = ZoneInfo(cases.city.zone)
        self._homes: tuple[Callable[[Sign], Incident | None], ...] = (self._of_parent, self._of_record, self._of_place)

    # --- what comes in -----------------------------------------------------------------------------------------------

    def take_alert(self, turn: Turn, alert: Alert) -> Outcome:
        """An alert record: a sign when it is new, else news of one that an incident holds."""
        incident = self._incidents.by_alert.get(alert.alert_id)
        if incident is not None:
            return self._alert_news(turn, incident, alert)
        if alert.action is Action.CLEAR:
            return Outcome.NOT_HELD
        return self._take(
            turn,
            Sign(
                kind=self._cases.types.of_alert(alert.category), category=alert.category, severity=alert.severity,
                first_ms=min(alert.onset_ms, alert.window_end_ms), at_ms=alert.window_end_ms,
                cell=alert.cell, lon=alert.lon, lat=alert.lat,
                jurisdiction=alert.jurisdiction, unit=alert.unit, place_zh=alert.place_zh, place_en=alert.place_en,
                records=tuple(record for record in alert.evidence if _topic(record).endswith(TICKETS)),
                place_sure=True, cause=None, alert=alert,
                words=_words("告警", "alert", alert.alert_id, alert.sentence_zh, alert.sentence_en),
            ),
        )  # fmt: skip

    def take_ticket(self, turn: Turn, ticket: TicketInLoop) -> Outcome:
        """A placed ticket. One that is held already changes nothing, unless it has become more urgent."""
        severity = URGENCY_SEVERITY[ticket.urgency]
        incident = self._incidents.by_ticket.get(ticket.ticket_id)
        if incident is not None:
            if ticket.source in incident.records:
                return Outcome.DUPLICATE
            words = _words("工单", "ticket", ticket.ticket_id, "", "")
            return self._worse(turn, incident, severity, ticket.event_at_ms, words, ticket.source)
        return self._take(
            turn,
            Sign(
                kind=self._cases.types.of_ticket(ticket.category), category=ticket.category, severity=severity,
                first_ms=ticket.event_at_ms, at_ms=ticket.event_at_ms,
                cell=ticket.cell, lon=ticket.lon, lat=ticket.lat,
                jurisdiction=ticket.jurisdiction, unit=None, place_zh=None, place_en=None,
                records=(ticket.source,), place_sure=ticket.confidence >= self._settings.merge_confidence,
                cause=ticket.source, ticket=ticket,
                words=_words("工单", "ticket", ticket.ticket_id, ticket.sentence, ticket.sentence),
            ),
        )  # fmt: skip

    def _take(self, turn: Turn, sign: Sign) -> Outcome:
        for home_of in self._homes:
            home = home_of(sign)
            if home is not None:
                return self._attach(turn, home, sign)
        incident = self._open(turn, sign)
        self._cases.file_by_rule(turn, incident, sign.at_ms, sign.cause)
        self._cases.dispatch_by_rule(turn, incident, sign.at_ms, sign.cause)
        return Outcome.OPENED

    # --- where a sign belongs ----------------------------------------------------------------------------------------

    def _of_parent(self, sign: Sign) -> Incident | None:
        parent = sign.ticket.parent_ticket_id if sign.ticket is not None else None
        home = None if parent is None else self._incidents.by_ticket.get(parent)
        return home if home is not None and self._takes(home, sign) else None

    def _of_record(self, sign: Sign) -> Incident | None:
        if self._settings.merge:
            for record in sign.records:
                home = self._incidents.by_record.get(record)
                if home is None or not self._takes(home, sign):
                    continue
                # a ticket may say less than the alert it helped to raise; an alert of another type is another matter
                if sign.ticket is not None or home.type == sign.kind.name:
                    return home
        return None

    def _of_place(self, sign: Sign) -> Incident | None:
        """Of the incidents nearby the nearest, then the open one, then the one with the newest sign, then by id."""
        merge_ms = self._settings.merge_ms_of(sign.kind)
        if not (self._settings.merge and merge_ms and sign.place_sure):
            return None
        best: tuple[bool, int, int, str] | None = None
        for rings, incident_id in self._incidents.places.near(
            sign.kind.name, sign.cell, self._settings.rings_of(sign.kind)
        ):
            incident = self._incidents.by_id[incident_id]
            if incident.members < self._settings.merge_limit and self._near_in_time(incident, sign, merge_ms):
                rank = (incident.state.ended, rings, -incident.last_ms, incident_id)
                best = rank if best is None or rank < best else best
        return None if best is None else self._incidents.by_id[best[3]]

    def _near_in_time(self, incident: Incident, sign: Sign, merge_ms: int) -> bool:
        if not self._takes(incident, sign):
            return False
        if sign.at_ms < incident.first_ms - merge_ms:
            return False
        return (
            sign.first_ms <= incident.last_ms + merge_ms
            or incident.standing  # an alert that has not cleared: it still goes on
            or self._recurs(incident, sign.at_ms)
        )

    def _takes(self, incident: Incident, sign: Sign) -> bool:
        """Whether an incident can take a sign in at all: open, or closed and it recurs, or reported late."""
        if incident.members >= MAX_MEMBERS:
            return False
        if not incident.state.ended:
            return True
        if incident.state is not State.CLOSED or incident.verified_ms is None:
            return False
        return sign.at_ms <= incident.verified_ms or self._recurs(incident, sign.at_ms)

    def _recurs(self, incident: Incident, at_ms: int) -> bool:
        """Whether something at `at_ms` means that a verified or closed incident is not over."""
        if incident.verified_ms is None or at_ms <= incident.verified_ms:
            return False
        if incident.state is State.VERIFIED:
            return True
        if incident.state is not State.CLOSED or incident.ended_ms is None:
            return False
        return at_ms <= incident.ended_ms + self._settings.reopen_ms_of(self._cases.types.find(incident.type))

    # --- joining and opening -----------------------------------------------------------------------------------------

    def _attach(self, turn: Turn, incident: Incident, sign: Sign) -> Outcome:
        recurs = self._recurs(incident, sign.at_ms)
        self._add(incident, sign)
        if recurs:  # in one change: a closed incident never has an open ticket
            self._reopen(turn, incident, sign.severity, sign.at_ms, sign.words, sign.cause)
            return Outcome.REOPENED
        worse = self._cases.raise_severity(incident, sign.severity)
        if incident.state is State.CLOSED and incident.handled_ms is not None:
            settle_tickets(incident, max(incident.handled_ms, sign.at_ms))
        zh, en = sign.words
        sentence = self._cases.note(
            turn, incident, Step.ATTACH, BY_MERGING, sign.at_ms, reason=zh, reason_en=en, cause=sign.cause
        )
        if worse:
            self._cases.tell_worsened(turn, incident, sentence, sign.at_ms)
        return Outcome.ATTACHED

    def _reopen(
        self, turn: Turn, incident: Incident, severity: int, at_ms: int, words: Sentence, cause: str | None
    ) -> None:
        """It happens again: to the same department, on new clocks. Tickets that were done stay done."""
        incident.handled_by = incident.handled_ms = incident.result = None
        incident.verified_by = incident.verified_ms = None
        incident.reopenings += 1
        incident.escalated_to = None
        incident.severity = max(incident.severity, severity)
        sentence = self._cases.move(
            turn, incident, State.DISPATCHED, Step.REOPEN, BY_RECURRENCE, at_ms,
            reason=f"再次发生，{words[0]}", reason_en=f"it happens again, {words[1]}", cause=cause,
        )  # fmt: skip
        to = self._cases.holder(incident)
        self._cases.ledger.tell(turn, NotificationKind.REOPENED, to, incident, sentence, at_ms=at_ms)

    def _open(self, turn: Turn, sign: Sign) -> Incident:
        jurisdiction, unit = sign.jurisdiction, sign.unit
        places = self._city.jurisdictions
        if sign.cell != NO_CELL and sign.lon is not None and sign.lat is not None:
            if jurisdiction is None:
                jurisdiction = places.code_at(sign.lon, sign.lat, sign.at_ms)
            if unit is None:
                unit = places.unit_at(sign.lon, sign.lat, sign.at_ms)
        incident = Incident(
            incident_id=self._new_id(sign.at_ms, sign.cause or turn.cause),
            state=State.DISCOVERED,
            type=sign.kind.name,
            category=sign.category,
            index_category=sign.kind.index_category,
            severity=sign.severity,
            cell=sign.cell,
            lon=sign.lon,
            lat=sign.lat,
            jurisdiction=jurisdiction,
            district=None,
            unit=unit,
            place_zh="",
            place_en="",
            opened_ms=sign.at_ms,
            first_ms=sign.first_ms,
            last_ms=sign.at_ms,
            acted_ms=sign.at_ms,
        )
        self._cases.name_place(incident, sign.place_zh, sign.place_en)
        self._incidents.add(incident)
        self._add(incident, sign)
        self._cases.clocks.enter(incident, State.DISCOVERED, sign.at_ms)
        zh, en = sign.words
        self._cases.ledger.write(
            turn, incident, Step.DISCOVER, BY_DISCOVERY, sign.at_ms, before=None,
            reason=zh, reason_en=en, cause=sign.cause,
        )  # fmt: skip
        self._cases.wake(incident)
        return incident

    def _add(self, incident: Incident, sign: Sign) -> None:
        incident.first_ms = min(incident.first_ms, sign.first_ms)
        incident.last_ms = max(incident.last_ms, sign.at_ms)
        for record in sign.records:
            self._incidents.add_record(incident, record)
        if sign.alert is not None:
            alert = sign.alert
            held = AlertInIncident(alert.alert_id, alert.revision, alert.severity, True)
            self._incidents.add_alert(incident, held)
        if sign.ticket is not None:
            ticket = sign.ticket
            due_ms = ticket.due_ms
            if due_ms is None:
                due_ms = self._cases.clocks.ticket_due(
                    ticket.category, sign.kind.name, sign.severity, ticket.event_at_ms
                )
            outcome = TicketOutcome(
                ticket_id=ticket.ticket_id, category=ticket.category, event_at_ms=ticket.event_at_ms,
                due_ms=due_ms, done_ms=None, on_time=None,
            )  # fmt: skip
            self._incidents.add_ticket(incident, outcome)

    # --- news of what an incident holds ------------------------------------------------------------------------------

    def _alert_news(self, turn: Turn, incident: Incident, alert: Alert) -> Outcome:
        held = incident.alert(alert.alert_id)
        if alert.revision <= held.revision:
            return Outcome.DUPLICATE
        self._incidents.dirty.add(incident.bucket)
        before = held.severity
        held.revision, held.severity = alert.revision, alert.severity
        if alert.action is Action.CLEAR:
            held.standing = False
            if incident.state in (State.MERGED, State.FALSE_ALARM, State.CANCELLED):
                return Outcome.NOTED
            words = (f"告警 {alert.alert_id}", f"alert {alert.alert_id}")
            self._cases.note(
                turn, incident, Step.ALERT_CLEAR, BY_DISCOVERY, alert.window_end_ms, reason=words[0], reason_en=words[1]
            )
            return Outcome.UPDATED
        held.standing = True
        incident.last_ms = max(incident.last_ms, alert.window_end_ms)
        if alert.severity >= before and self._recurs(incident, alert.window_end_ms):
            words = (f"告警 {alert.alert_id} 仍在", f"alert {alert.alert_id} still stands")
            self._reopen(turn, incident, alert.severity, alert.window_end_ms, words, None)
            return Outcome.REOPENED
        words = _words("告警", "alert", alert.alert_id, alert.sentence_zh, alert.sentence_en)
        return self._worse(turn, incident, alert.severity, alert.window_end_ms, words, None)

    def _worse(
        self, turn: Turn, incident: Incident, severity: int, at_ms: int, words: Sentence, cause: str | None
    ) -> Outcome:
        if not self._cases.raise_severity(incident, severity):
            return Outcome.NOTED
        zh, en = words
        sentence = self._cases.note(
            turn, incident, Step.WORSEN, BY_DISCOVERY, at_ms, reason=zh, reason_en=en, cause=cause
        )
        self._cases.tell_worsened(turn, incident, sentence, at_ms)
        return Outcome.UPDATED

    # --- names -------------------------------------------------------------------------------------------------------

    def _new_id(self, at_ms: int, cause: str) -> str:
        """Local date of the event and a digest of the record that opened it: the same whenever the log is read."""
        day = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(self._zone).strftime("%Y%m%d")
        digest = sha256(cause.encode()).hexdigest()
        for length in range(12, len(digest) + 1):  # 48 bits meet by chance once in millions of days
            incident_id = f"{day}-{digest[:length]}"
            if incident_id not in self._incidents.by_id:
                break
        return incident_id


def _words(zh: str, en: str, id: str, said_zh: str, said_en: str) -> Sentence:
    """What a sign is called and what it says, both masked where they were made."""
    heads = f"{zh} {id}", f"{en} {id}"
    said = (said_zh[:SAID_CHARS].rstrip("。. "), said_en[:SAID_CHARS].rstrip("。. "))
    return (
        f"{heads[0]}：{said[0]}" if said[0] else heads[0],
        f"{heads[1]}: {said[1]}" if said[1] else heads[1],
    )


def _topic(record: str) -> str:
    """The topic of "topic:partition:offset"."""
    return record.rsplit(":", 2)[0]
