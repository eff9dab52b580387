"""What each action does, once it may be done: one method for each, and `EFFECTS` says which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from schemas.action import ActionName
from schemas.incident import State, Step, WhistleCall
from schemas.notification import NotificationKind
from schemas.privacy import mask_text
from streams.loop_cases import Cases, settle_tickets, unsettle_tickets
from streams.loop_checks import Asked, newly_called, same_person, whistle_lead
from streams.loop_incident import Incident
from streams.loop_ledger import BY_HAND_OVERS, By, Turn
from streams.loop_states import TABLE, WAITING
from streams.loop_words import Sentence

A = ActionName


class Effects:
    """Does actions that passed every check."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases

    def do(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        """Do the action, effective at `at_ms`."""
        EFFECTS[asked.action.action](self, turn, asked, at_ms)

    # --- the straight way --------------------------------------------------------------------------------------------

    def file(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        self._move(turn, asked, at_ms)
        self._cases.dispatch_by_rule(turn, asked.incident, at_ms)

    def dispatch(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        incident, action = asked.incident, asked.action
        if action.to_department is not None:
            self._cases.assign(incident, action.to_department, action.departments)
        sentence = self._move(turn, asked, at_ms)
        self._cases.tell_assigned(turn, incident, sentence, at_ms)
        if incident.lead in incident.gave_away:
            self._ping_pong(turn, incident, at_ms)

    def take_on(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        """accept and start"""
        self._worked(asked)
        self._move(turn, asked, at_ms)

    def finish(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        incident = asked.incident
        self._worked(asked)
        incident.handled_by, incident.handled_ms = asked.action.actor, at_ms
        incident.result = None if asked.action.result is None else mask_text(asked.action.result)
        settle_tickets(incident, at_ms)
        self._move(turn, asked, at_ms)

    def verify_pass(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        asked.incident.verified_by, asked.incident.verified_ms = asked.action.actor, at_ms
        self._move(turn, asked, at_ms)

    def verify_fail(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        incident = asked.incident
        unsettle_tickets(incident)
        incident.handled_by = incident.handled_ms = incident.result = None
        incident.reopenings += 1
        self._move(turn, asked, at_ms)

    def close(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        if asked.action.result is not None:
            asked.incident.result = mask_text(asked.action.result)
        self._move(turn, asked, at_ms)

    def end(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        """false_alarm and cancel"""
        self._move(turn, asked, at_ms)

    def reopen(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        """Somebody is not content: what counted as done is not. To the same department, or to be dispatched."""
        incident = asked.incident
        if incident.state in (State.FALSE_ALARM, State.CANCELLED):
            incident.handled_ms = incident.ended_ms  # what ending it settled
            incident.lead, incident.assisting = None, []
        unsettle_tickets(incident)
        incident.handled_by = incident.handled_ms = incident.result = None
        incident.verified_by = incident.verified_ms = None
        incident.reopenings += 1
        incident.escalated_to = None
        sentence = self._move(turn, asked, at_ms)
        to = self._cases.holder(incident)
        self._cases.ledger.tell(turn, NotificationKind.REOPENED, to, incident, sentence, at_ms=at_ms)
        self._cases.dispatch_by_rule(turn, incident, at_ms)

    # --- from one department to another ------------------------------------------------------------------------------

    def give_back(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        incident = asked.incident
        self._gave_away(incident)
        gave = incident.lead
        incident.lead, incident.assisting, incident.escalated_to = None, [], None
        self._move(turn, asked, at_ms)
        if incident.hand_overs >= self._cases.settings.hand_over_limit:
            self._ping_pong(turn, incident, at_ms, past=gave)

    def transfer(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        incident, action = asked.incident, asked.action
        back = action.to_department in incident.gave_away
        self._gave_away(incident)
        if action.to_department is not None:
            self._cases.assign(incident, action.to_department, action.departments)
        sentence = self._move(turn, asked, at_ms)
        self._cases.tell_assigned(turn, incident, sentence, at_ms)
        if back or incident.hand_overs >= self._cases.settings.hand_over_limit:
            self._ping_pong(turn, incident, at_ms)

    def _gave_away(self, incident: Incident) -> None:
        incident.hand_overs += 1
        if incident.lead is not None:  # the newest last: sentences name it
            incident.gave_away = [one for one in incident.gave_away if one != incident.lead] + [incident.lead]

    def _ping_pong(self, turn: Turn, incident: Incident, at_ms: int, *, past: str | None = None) -> None:
        """推诿扯皮: handed on too often, or back to who gave it away. The level above is told each time."""
        times = incident.hand_overs
        reason = (f"已退单、移交 {times} 次", f"handed over {times} times")
        self._cases.escalate(turn, incident, BY_HAND_OVERS, at_ms, reason, past=past)

    # --- beside the way ----------------------------------------------------------------------------------------------

    def suspend(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        asked.incident.suspended_until_ms = asked.until_ms
        self._move(turn, asked, at_ms)

    def resume(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        to = asked.incident.before_suspension
        assert to is not None  # every suspended incident has one
        self._move(turn, asked, at_ms, to=to)

    def merge(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        """All that this incident holds goes to the other one, which is told too."""
        source, cases = asked.incident, self._cases
        target = cases.incidents.by_id[asked.action.into_incident_id or ""]
        cases.incidents.pour(source, target)
        target.first_ms = min(target.first_ms, source.first_ms)
        target.last_ms = max(target.last_ms, source.last_ms)
        worse = cases.raise_severity(target, source.severity)
        source.merged_into = target.incident_id
        self._move(turn, asked, at_ms)
        by = self._by(asked)
        sentence = cases.note(
            turn, target, Step.MERGE, by, at_ms, action_id=asked.action.action_id,
            reason=f"并入 {source.incident_id}", reason_en=f"took in {source.incident_id}",
        )  # fmt: skip
        if worse:
            cases.tell_worsened(turn, target, sentence, at_ms)

    def remind(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        asked.incident.reminders += 1
        sentence = self._note(turn, asked, at_ms)
        to = self._cases.holder(asked.incident)
        self._cases.ledger.tell(turn, NotificationKind.REMINDER, to, asked.incident, sentence, at_ms=at_ms)

    def whistle(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        """吹哨: the departments are called to one joint incident and have to answer within the response time."""
        incident, action, cases = asked.incident, asked.action, self._cases
        fresh = newly_called(action, incident)
        lead = whistle_lead(action, incident)
        due_ms = at_ms + cases.settings.whistle_response_minutes * 60_000
        again = {call.department for call in incident.whistles} & set(fresh)
        incident.whistles = [call for call in incident.whistles if call.department not in again] + [
            WhistleCall(department=one, called_ms=at_ms, due_ms=due_ms, responded_ms=None, overdue=False)
            for one in fresh
        ]
        waited = incident.state in WAITING
        if waited and lead is not None:
            cases.assign(incident, lead, fresh)
            sentence = self._move(turn, asked, at_ms)
            cases.ledger.tell(turn, NotificationKind.DISPATCHED, lead, incident, sentence, at_ms=at_ms)
        else:
            incident.assisting = [*dict.fromkeys([*incident.assisting, *fresh])]
            sentence = self._note(turn, asked, at_ms)
        for department in fresh:
            cases.ledger.tell(turn, NotificationKind.WHISTLE, department, incident, sentence, at_ms=at_ms)

    def respond(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        incident = asked.incident
        self._worked(asked)
        incident.whistles = [
            msgspec.structs.replace(call, responded_ms=at_ms, overdue=at_ms > call.due_ms)
            if call.department == asked.action.department and call.responded_ms is None
            else call
            for call in incident.whistles
        ]
        self._note(turn, asked, at_ms)

    def correct(self, turn: Turn, asked: Asked, at_ms: int) -> None:
        """Another type, severity or place; unlike a sign, a person may also lower the severity."""
        incident, action, cases = asked.incident, asked.action, self._cases
        type, cell = incident.type, incident.cell
        if action.category is not None:
            known = cases.types.types.get(action.category)
            kind = cases.types.of_ticket(action.category) if known is None else known
            type, incident.category, incident.index_category = kind.name, action.category, kind.index_category
        if action.lon is not None and action.lat is not None:
            cell = cases.city.grid.cell(action.lon, action.lat)
            self._place(incident, action.lon, action.lat)
        cases.incidents.move(incident, type=type, cell=cell)
        if action.severity is not None:
            incident.severity = action.severity
        cases.clocks.severity_changed(incident)
        self._note(turn, asked, at_ms)

    def _place(self, incident: Incident, lon: float, lat: float) -> None:
        places, at_ms = self._cases.city.jurisdictions, incident.opened_ms
        code = places.code_at(lon, lat, at_ms)
        incident.lon, incident.lat, incident.jurisdiction = lon, lat, code
        incident.unit = places.unit_at(lon, lat, at_ms)
        self._cases.name_place(incident)

    # --- common ------------------------------------------------------------------------------------------------------

    def _by(self, asked: Asked) -> By:
        return By(asked.action.actor, asked.action.role, asked.department)

    def _worked(self, asked: Asked) -> None:
        """Remember the actor and the department as hands of the incident: they may not verify it."""
        incident = asked.incident
        person, department = same_person(asked.action.actor), asked.department
        if person not in incident.hands:
            incident.hands = [*incident.hands, person]
        if department is not None and department not in incident.hand_departments:
            incident.hand_departments = [*incident.hand_departments, department]

    def _move(self, turn: Turn, asked: Asked, at_ms: int, *, to: State | None = None) -> Sentence:
        action = asked.action
        to = to or TABLE[asked.incident.state, action.action].next
        assert to is not None  # only resume has none, and it says where to
        return self._cases.move(
            turn, asked.incident, to, Step(action.action.value), self._by(asked), at_ms,
            reason=action.reason, action_id=action.action_id,
        )  # fmt: skip

    def _note(self, turn: Turn, asked: Asked, at_ms: int) -> Sentence:
        action = asked.action
        return self._cases.note(
            turn, asked.incident, Step(action.action.value), self._by(asked), at_ms,
            reason=action.reason, action_id=action.action_id,
        )  # fmt: skip


EFFECTS: Final[Mapping[ActionName, Callable[[Effects, Turn, Asked, int], None]]] = MappingProxyType(
    {
        A.FILE: Effects.file,
        A.DISPATCH: Effects.dispatch,
        A.ACCEPT: Effects.take_on,
        A.START: Effects.take_on,
        A.FINISH: Effects.finish,
        A.VERIFY_PASS: Effects.verify_pass,
        A.VERIFY_FAIL: Effects.verify_fail,
        A.CLOSE: Effects.close,
        A.RETURN: Effects.give_back,
        A.TRANSFER: Effects.transfer,
        A.MERGE: Effects.merge,
        A.FALSE_ALARM: Effects.end,
        A.SUSPEND: Effects.suspend,
        A.RESUME: Effects.resume,
        A.REOPEN: Effects.reopen,
        A.CANCEL: Effects.end,
        A.REMIND: Effects.remind,
        A.WHISTLE: Effects.whistle,
        A.RESPOND: Effects.respond,
        A.CORRECT: Effects.correct,
    }
)
