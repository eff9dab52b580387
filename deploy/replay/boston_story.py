"""What happened in Boston, in order of event time: tickets opened, departments' actions, and the hours that pass.

The story is cut into slices. In a slice tickets come first, then actions, then a tick: an action never outruns the
ticket it is about, and no deadline is judged before what happened until then is known. Time jumps over empty spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from deploy.replay.boston import RecordedTicket, last_moment_ms
from deploy.replay.boston_city import DESK, INSPECTION
from deploy.replay.records import Record
from schemas.action import ActionName, ActionRecord, Role
from schemas.loop_record import Tick
from topology.city import City

EVENTS_IN_SLICE: Final = 1_000
"""Openings and closings of a slice. Reminders are as late as a slice is long; verdicts are exact however long."""
STEPS: Final = (ActionName.ACCEPT, ActionName.START, ActionName.FINISH)


@dataclass(slots=True)
class Slice:
    """A span of the story."""

    tickets: list[Record] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)  # ticket ids
    actions: list[ActionRecord] = field(default_factory=list)
    tick: Tick = field(default_factory=lambda: Tick(at_ms=0))


def story(tickets: Sequence[RecordedTicket], city: City, *, events: int = EVENTS_IN_SLICE) -> Iterator[Slice]:
    """The slices of `events` openings and closings each; the last tick is after everything that is recorded."""
    happenings = [(ticket.opened_ms, 0, number) for number, ticket in enumerate(tickets)]
    happenings += [
        (ticket.closed_ms, 1, number) for number, ticket in enumerate(tickets) if ticket.closed_ms is not None
    ]
    happenings.sort()
    for start in range(0, len(happenings), events):
        part = happenings[start : start + events]
        found = Slice(tick=Tick(at_ms=part[-1][0]))
        for _, ends, number in part:
            ticket = tickets[number]
            if ends:
                found.actions += closing(ticket)
            else:
                found.tickets.append(ticket.record)
                found.opened.append(ticket.ticket_id)
                found.actions += handing_over(ticket, city)
        if start + events >= len(happenings):
            found.tick = Tick(at_ms=last_moment_ms(list(tickets)) + 1)
        yield found


def handing_over(ticket: RecordedTicket, city: City) -> list[ActionRecord]:
    """The duty desk gives a ticket to the recorded department, where the list of responsibilities names another."""
    found = city.responsibilities.find(ticket.category, (), ticket.opened_ms)
    lead = DESK if found is None else found.lead
    if lead == ticket.department:
        return []
    return [
        ActionRecord(
            action_id=f"{ticket.ticket_id}-transfer",
            action=ActionName.TRANSFER,
            actor="boston-desk-1",
            role=Role.DISPATCHER,
            department=DESK,
            ts=ticket.opened_ms,
            ticket_id=ticket.ticket_id,
            to_department=ticket.department,
            reason="the recorded department",
        )
    ]


def closing(ticket: RecordedTicket) -> list[ActionRecord]:
    """The department takes it on and finishes it when the record says so; somebody else verifies and closes it.

    When it was taken on is not recorded: all steps carry the closing time.
    """
    assert ticket.closed_ms is not None
    actions = [
        ActionRecord(
            action_id=f"{ticket.ticket_id}-{action}",
            action=action,
            actor=f"{ticket.department}-crew",
            role=Role.HANDLER,
            department=ticket.department,
            ts=ticket.closed_ms,
            ticket_id=ticket.ticket_id,
            result=ticket.closing_words if action is ActionName.FINISH else None,
        )
        for action in STEPS
    ]
    return actions + [
        ActionRecord(
            action_id=f"{ticket.ticket_id}-{action}",
            action=action,
            actor="boston-inspector-1",
            role=Role.VERIFIER,
            department=INSPECTION,
            ts=ticket.closed_ms,
            ticket_id=ticket.ticket_id,
        )
        for action in (ActionName.VERIFY_PASS, ActionName.CLOSE)
    ]
