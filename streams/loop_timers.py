"""What the clock does to incidents, driven by ticks alone: reminders, deadlines passed, escalation, suspensions that
end, ended incidents that are forgotten.

A deadline has passed at the first tick later than it. When ticks come after a long pause, what lies behind is caught
up in order; a reminder of a deadline that has passed meanwhile is left out. One tick looks at no more than
`LOOKS_PER_TICK` incidents, earliest first, and leaves the rest to the next: who applies ticks has a heartbeat to keep.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import msgspec

from schemas.incident import State, Step
from schemas.notification import NotificationKind
from streams.loop_cases import Cases
from streams.loop_incident import Incident, Stage, StageClock
from streams.loop_ledger import BY_DEADLINES, Turn
from streams.loop_states import WORKING
from streams.loop_words import STAGES

LOOKS_PER_TICK: Final = 5_000  # some 0.3 ms each when something is overdue


class Timers:
    """Looks at the incidents whose time has come."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases

    def tick(self, turn: Turn, now_ms: int) -> None:
        for incident in islice(self._cases.incidents.due(now_ms), LOOKS_PER_TICK):
            if incident.ended_ms is not None and self._cases.next_look(incident) <= now_ms:
                self._cases.incidents.drop(incident)
                continue
            self._cases.incidents.dirty.add(incident.bucket)
            if incident.state is State.SUSPENDED:
                self._resume(turn, incident, now_ms)
            if incident.state is not State.SUSPENDED:
                for stage, clock in incident.clocks():
                    if clock.running:
                        self._judge(turn, incident, stage, clock, now_ms)
                self._whistles(turn, incident, now_ms)
            self._tickets(turn, incident, now_ms)
            self._cases.wake(incident)

    def wake(self, incident: Incident) -> None:
        """Set the next time to look at an incident that came out of a snapshot."""
        self._cases.wake(incident)

    def _resume(self, turn: Turn, incident: Incident, now_ms: int) -> None:
        until_ms, to = incident.suspended_until_ms, incident.before_suspension
        if until_ms is not None and to is not None and until_ms <= now_ms:
            self._cases.move(
                turn, incident, to, Step.RESUME, BY_DEADLINES, until_ms, reason="挂起期满", reason_en="its time is over"
            )

    def _judge(self, turn: Turn, incident: Incident, stage: Stage, clock: StageClock, now_ms: int) -> None:
        zh, en = STAGES[stage]
        to = self._cases.holder(incident)
        if not clock.reminded and clock.remind_ms <= now_ms:
            clock.reminded = True
            if now_ms <= clock.due_ms:
                incident.reminders += 1
                sentence = self._cases.note(
                    turn, incident, Step.REMIND, BY_DEADLINES, now_ms,
                    reason=f"{zh}期限将至", reason_en=f"{en} is due soon",
                )  # fmt: skip
                self._cases.ledger.tell(turn, NotificationKind.REMINDER, to, incident, sentence, at_ms=now_ms)
        if not clock.overdue and clock.due_ms < now_ms:
            clock.overdue = True
            clock.escalate_ms = clock.due_ms
            sentence = self._cases.note(
                turn, incident, Step.OVERDUE, BY_DEADLINES, now_ms,
                reason=f"{zh}已超过期限", reason_en=f"{en} is past its deadline",
            )  # fmt: skip
            self._cases.ledger.tell(turn, NotificationKind.OVERDUE, to, incident, sentence, at_ms=now_ms)
        while clock.escalate_ms is not None and clock.escalate_ms <= now_ms:
            told = self._cases.escalate(
                turn, incident, BY_DEADLINES, now_ms, (f"{zh}已超过期限", f"{en} is past its deadline")
            )
            clock.escalate_ms = self._cases.clocks.escalate_next(clock, clock.escalate_ms) if told else None

    def _whistles(self, turn: Turn, incident: Incident, now_ms: int) -> None:
        if incident.state not in WORKING:
            return
        late = [c for c in incident.whistles if c.responded_ms is None and not c.overdue and c.due_ms < now_ms]
        if not late:
            return
        incident.whistles = [
            msgspec.structs.replace(call, overdue=True) if call in late else call for call in incident.whistles
        ]
        sentence = self._cases.note(
            turn, incident, Step.OVERDUE, BY_DEADLINES, now_ms,
            reason=f"吹哨未报到：{'、'.join(self._cases.words.department(call.department)[0] for call in late)}",
            reason_en=f"called but not there: {', '.join(self._cases.words.department(c.department)[1] for c in late)}",
        )  # fmt: skip
        tell = self._cases.ledger.tell
        for call in late:
            tell(turn, NotificationKind.OVERDUE, call.department, incident, sentence, at_ms=now_ms)
            above = self._cases.city.departments.superior(call.department)
            if above is not None:
                tell(turn, NotificationKind.ESCALATED, above.id, incident, sentence, at_ms=now_ms)

    def _tickets(self, turn: Turn, incident: Incident, now_ms: int) -> None:
        late = [t for t in incident.tickets if t.on_time is None and t.due_ms is not None and t.due_ms < now_ms]
        if not late:
            return
        ids = {ticket.ticket_id for ticket in late}
        incident.tickets = [
            msgspec.structs.replace(ticket, on_time=False) if ticket.ticket_id in ids else ticket
            for ticket in incident.tickets
        ]
        named = ", ".join(ticket.ticket_id for ticket in late[:5]) + (", ..." if len(late) > 5 else "")
        sentence = self._cases.note(
            turn, incident, Step.OVERDUE, BY_DEADLINES, now_ms,
            reason=f"工单超过办理期限：{named}", reason_en=f"past the deadline of tickets {named}",
        )  # fmt: skip
        to = self._cases.holder(incident)
        self._cases.ledger.tell(turn, NotificationKind.OVERDUE, to, incident, sentence, at_ms=now_ms)
