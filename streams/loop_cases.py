"""What the loop does to one incident, whoever asks: change its state, dispatch it, escalate it, settle its tickets.

Each method leaves the incident whole: state, clocks, tickets, history and the next time to look at it go together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.incident import State, Step, TicketOutcome
from schemas.incident_types import IncidentTypes
from schemas.notification import NotificationKind
from streams.loop_deadlines import Clocks
from streams.loop_incident import NEVER_MS, Incident, Incidents
from streams.loop_ledger import BY_FILING, BY_RESPONSIBILITY, By, Ledger, Turn
from streams.loop_settings import DispatchSettings
from streams.loop_states import WORKING
from streams.loop_words import Sentence, Words
from topology.city import City
from topology.responsibilities import Responsibility

TOLD_TO_LEAD: Final = {
    Step.CLOSE: NotificationKind.CLOSED,
    Step.VERIFY_FAIL: NotificationKind.REWORK,
    Step.FALSE_ALARM: NotificationKind.ENDED,
    Step.CANCEL: NotificationKind.ENDED,
    Step.SUSPEND: NotificationKind.SUSPENDED,
    Step.RESUME: NotificationKind.RESUMED,
    Step.MERGE: NotificationKind.MERGED,
}
TOLD_TO_DESK: Final = {Step.RETURN: NotificationKind.RETURNED, Step.FINISH: NotificationKind.TO_VERIFY}


class Cases:
    """The work on incidents; holds the city, the settings and the parts that keep and write."""

    def __init__(
        self, city: City, types: IncidentTypes, settings: DispatchSettings, incidents: Incidents, ledger: Ledger
    ) -> None:
        self.city = city
        self.types = types
        self.settings = settings
        self.incidents = incidents
        self.ledger = ledger
        self.clocks = Clocks(city, settings)
        self.words = Words(types, city.departments)

    # --- states ------------------------------------------------------------------------------------------------------

    def move(
        self,
        turn: Turn,
        incident: Incident,
        to: State,
        step: Step,
        by: By,
        at_ms: int,
        *,
        reason: str | None = None,
        reason_en: str | None = None,
        action_id: str | None = None,
        cause: str | None = None,
    ) -> Sentence:
        """Bring the incident into a state and write it down; not before the last time that it changed its state."""
        before, at_ms = incident.state, max(at_ms, incident.acted_ms)
        incident.state = to
        incident.acted_ms = at_ms
        if to is State.SUSPENDED:
            incident.before_suspension, incident.suspended_ms = before, at_ms
        self.clocks.enter(incident, before, at_ms)
        if before is State.SUSPENDED:
            incident.before_suspension = incident.suspended_ms = incident.suspended_until_ms = None
        incident.ended_ms = at_ms if to.ended else None
        if to.ended:
            settle_tickets(incident, at_ms)
        sentence = self.ledger.write(
            turn, incident, step, by, at_ms, before=before,
            reason=reason, reason_en=reason_en, action_id=action_id, cause=cause,
        )  # fmt: skip
        self.wake(incident)
        kind = TOLD_TO_LEAD.get(step)
        if kind is not None and incident.lead is not None:
            self.ledger.tell(turn, kind, incident.lead, incident, sentence, at_ms=at_ms)
        if step in TOLD_TO_DESK:
            self.ledger.tell(turn, TOLD_TO_DESK[step], self.city.duty_desk, incident, sentence, at_ms=at_ms)
        return sentence

    def note(
        self,
        turn: Turn,
        incident: Incident,
        step: Step,
        by: By,
        at_ms: int,
        *,
        reason: str | None = None,
        reason_en: str | None = None,
        action_id: str | None = None,
        cause: str | None = None,
    ) -> Sentence:
        """Write down a change that leaves the state as it is."""
        sentence = self.ledger.write(
            turn, incident, step, by, at_ms, before=incident.state,
            reason=reason, reason_en=reason_en, action_id=action_id, cause=cause,
        )  # fmt: skip
        self.wake(incident)
        return sentence

    def assign(self, incident: Incident, lead: str, assisting: Iterable[str]) -> None:
        """Give the incident to a department; what was told to the levels above the last one does not count for it."""
        incident.lead = lead
        incident.assisting = [one for one in dict.fromkeys(assisting) if one != lead]
        incident.escalated_to = None

    def tell_assigned(self, turn: Turn, incident: Incident, sentence: Sentence, at_ms: int) -> None:
        if incident.lead is not None:
            self.ledger.tell(turn, NotificationKind.DISPATCHED, incident.lead, incident, sentence, at_ms=at_ms)
        for department in incident.assisting:
            self.ledger.tell(turn, NotificationKind.ASSIST, department, incident, sentence, at_ms=at_ms)

    def holder(self, incident: Incident) -> str:
        """The department that has to do the next thing: the lead while it works, else the duty desk."""
        return incident.lead if incident.lead is not None and incident.state in WORKING else self.city.duty_desk

    # --- filing and dispatching by rule ------------------------------------------------------------------------------

    def file_by_rule(self, turn: Turn, incident: Incident, at_ms: int, cause: str | None = None) -> None:
        """discovered -> filed, when the system may; else the duty desk is told that somebody has to."""
        if self.settings.auto_file:
            self.move(turn, incident, State.FILED, Step.FILE, BY_FILING, at_ms, cause=cause)
            return
        sentence = self.words.about(incident, Step.DISCOVER, ("等待立案", "waits to be filed"))
        self.ledger.tell(turn, NotificationKind.FILED, self.city.duty_desk, incident, sentence, at_ms=at_ms)

    def dispatch_by_rule(self, turn: Turn, incident: Incident, at_ms: int, cause: str | None = None) -> None:
        """filed -> dispatched to who the list of responsibilities names; else the duty desk is told."""
        if incident.state is not State.FILED:
            return
        found = self.responsible(incident) if self.settings.auto_dispatch else None
        if found is None:
            sentence = self.words.about(incident, Step.FILE, ("等待派遣", "waits to be dispatched"))
            self.ledger.tell(turn, NotificationKind.FILED, self.city.duty_desk, incident, sentence, at_ms=at_ms)
            return
        self.assign(incident, found.lead, found.assisting)
        sentence = self.move(
            turn, incident, State.DISPATCHED, Step.DISPATCH, BY_RESPONSIBILITY, at_ms,
            reason=f"权责清单第 {found.line} 行", reason_en=f"list of responsibilities, line {found.line}", cause=cause,
        )  # fmt: skip
        self.tell_assigned(turn, incident, sentence, at_ms)

    def responsible(self, incident: Incident) -> Responsibility | None:
        """The city's line for the category, else for the type, else for anything at the place."""
        chain = self.city.chain(incident.jurisdiction, incident.opened_ms)
        row = self.city.responsibilities.find(incident.category, chain, incident.opened_ms)
        if row is None or row.category != incident.category:
            of_type = self.city.responsibilities.find(incident.type, chain, incident.opened_ms)
            if of_type is not None and of_type.category == incident.type:
                return of_type
        return row

    def name_place(self, incident: Incident, zh: str | None = None, en: str | None = None) -> None:
        """Set the district and the names that go with the incident's jurisdiction; given names stand.

        A code that only an address told (no boundary has it) is called by the finest place around it that is known.
        """
        places, at_ms = self.city.jurisdictions, incident.opened_ms
        known = next((code for code in self.city.chain(incident.jurisdiction, at_ms) if places.find(code, at_ms)), None)
        incident.district = None if known is None else places.district_of(known, at_ms)
        incident.place_zh = (places.name_zh(known, at_ms) if known else "") if zh is None else zh
        incident.place_en = (places.name_en(known, at_ms) if known else "") if en is None else en

    # --- escalation --------------------------------------------------------------------------------------------------

    def escalate(
        self, turn: Turn, incident: Incident, by: By, at_ms: int, reason: Sentence, *, past: str | None = None
    ) -> bool:
        """Tell the next level up; False when the top has been told already. The incident stays with who has it.

        The level is the one above who was told last, else above `past`, else above who has it.
        """
        from_whom = incident.escalated_to or past or self.holder(incident)
        above = self.city.departments.superior(from_whom)
        if above is not None:
            to = above.id
        elif incident.escalated_to is None and from_whom != self.city.duty_desk:
            to = self.city.duty_desk
        else:
            return False
        incident.escalated_to = to
        sentence = self.note(turn, incident, Step.ESCALATE, by, at_ms, reason=reason[0], reason_en=reason[1])
        self.ledger.tell(turn, NotificationKind.ESCALATED, to, incident, sentence, at_ms=at_ms)
        return True

    # --- severity ----------------------------------------------------------------------------------------------------

    def raise_severity(self, incident: Incident, severity: int) -> bool:
        """A worse sign makes the incident worse; a lesser one never makes it better."""
        if severity <= incident.severity or incident.state.ended:
            return False
        incident.severity = severity
        self.clocks.severity_changed(incident)
        return True

    def tell_worsened(self, turn: Turn, incident: Incident, sentence: Sentence, at_ms: int) -> None:
        self.ledger.tell(turn, NotificationKind.WORSENED, self.holder(incident), incident, sentence, at_ms=at_ms)

    # --- the next time to look at it ---------------------------------------------------------------------------------

    def wake(self, incident: Incident) -> None:
        self.incidents.wake_at(incident, self.next_look(incident))

    def next_look(self, incident: Incident) -> int:
        """The earliest tick at which something is to be done: deadlines have passed one millisecond after them."""
        if incident.ended_ms is not None:
            return incident.ended_ms + self.settings.keep_ms_of(self.types.find(incident.type)) + 1
        at_ms = NEVER_MS
        if incident.state is State.SUSPENDED:
            if incident.suspended_until_ms is not None:
                at_ms = incident.suspended_until_ms
        else:
            for _, clock in incident.clocks():
                if clock.running:
                    if not clock.reminded:
                        at_ms = min(at_ms, clock.remind_ms)
                    if not clock.overdue:
                        at_ms = min(at_ms, clock.due_ms + 1)
                    elif clock.escalate_ms is not None:
                        at_ms = min(at_ms, clock.escalate_ms)
            if incident.state in WORKING:
                for call in incident.whistles:
                    if call.responded_ms is None and not call.overdue:
                        at_ms = min(at_ms, call.due_ms + 1)
        for ticket in incident.tickets:
            if ticket.on_time is None and ticket.due_ms is not None:
                at_ms = min(at_ms, ticket.due_ms + 1)
        return at_ms


def done_at(ticket: TicketOutcome, done_ms: int) -> TicketOutcome:
    """The ticket, done: in time up to and including its deadline, always without one."""
    on_time = ticket.due_ms is None or done_ms <= ticket.due_ms
    return msgspec.structs.replace(ticket, done_ms=done_ms, on_time=on_time)


def settle_tickets(incident: Incident, done_ms: int) -> None:
    """All tickets that are still open are done."""
    incident.tickets = [done_at(ticket, done_ms) if ticket.done_ms is None else ticket for ticket in incident.tickets]


def unsettle_tickets(incident: Incident) -> None:
    """The handling did not hold: the tickets that it settled are open again. Those of an earlier round stay done."""
    since = incident.handled_ms
    if since is not None:
        incident.tickets = [
            msgspec.structs.replace(ticket, done_ms=None, on_time=None)
            if ticket.done_ms is not None and ticket.done_ms >= since
            else ticket
            for ticket in incident.tickets
        ]
