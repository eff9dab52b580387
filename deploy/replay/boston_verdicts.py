"""The loop's verdicts on Boston's tickets against the city's own `ontime`, kind by kind.

What the record means was worked out from it: with a deadline and a closing time, OVERDUE is exactly "closed later than
the deadline"; without a deadline it is always ONTIME; what is open past its deadline is OVERDUE.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from deploy.replay.boston import RecordedTicket
from streams.clickhouse import Store


class Kind(StrEnum):
    """Kinds of tickets by what the record has of them."""

    CLOSED_WITH_DEADLINE = "closed_with_deadline"
    OPEN_WITH_DEADLINE = "open_with_deadline"
    CLOSED_WITHOUT_DEADLINE = "closed_without_deadline"
    OPEN_WITHOUT_DEADLINE = "open_without_deadline"
    WITHOUT_RECORDED_VERDICT = "without_recorded_verdict"


WORDS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.CLOSED_WITH_DEADLINE: ("有期限、已办结", "deadline and closing time: decided by the two alone"),
    Kind.OPEN_WITH_DEADLINE: (
        "有期限、未办结：到记录末尾均已过期",
        "deadline, still open: past it at the end of the record",
    ),
    Kind.CLOSED_WITHOUT_DEADLINE: ("无期限、已办结：无期限即按时", "no deadline, closed: nothing to be late for"),
    Kind.OPEN_WITHOUT_DEADLINE: (
        "无期限、未办结：未超时",
        "no deadline, open: not overdue, which the record calls ONTIME",
    ),
    Kind.WITHOUT_RECORDED_VERDICT: ("记录未给出结论：无从比对", "the record has no verdict: nothing to agree with"),
}


@dataclass(slots=True)
class Line:
    """One kind: how many, on how many both agree, and what the loop said."""

    tickets: int = 0
    agree: int = 0
    ours: Counter[str] = field(default_factory=Counter)
    apart: list[str] = field(default_factory=list)  # ids of the first that differ


@dataclass(slots=True)
class Verdicts:
    """The whole table."""

    lines: dict[Kind, Line] = field(default_factory=lambda: {kind: Line() for kind in Kind})
    missing: list[str] = field(default_factory=list)  # ids of tickets that no incident holds

    @property
    def holds(self) -> bool:
        """Whether every ticket has a verdict, and all with deadline and closing time the recorded one."""
        sure = self.lines[Kind.CLOSED_WITH_DEADLINE]
        return not self.missing and sure.agree == sure.tickets


APART_SHOWN: Final = 10


def kind_of(ticket: RecordedTicket) -> Kind:
    if not ticket.verdict:
        return Kind.WITHOUT_RECORDED_VERDICT
    if ticket.due_ms is None:
        return Kind.OPEN_WITHOUT_DEADLINE if ticket.closed_ms is None else Kind.CLOSED_WITHOUT_DEADLINE
    return Kind.OPEN_WITH_DEADLINE if ticket.closed_ms is None else Kind.CLOSED_WITH_DEADLINE


def verdict_of(on_time: bool | None) -> str:
    """In the record's words: what is not overdue is ONTIME there, also while it is open."""
    return "OVERDUE" if on_time is False else "ONTIME"


def compare(tickets: Iterable[RecordedTicket], outcomes: Mapping[str, bool | None]) -> Verdicts:
    """The table; `outcomes` are the newest of each ticket: in time, not in time, or None while that is open."""
    verdicts = Verdicts()
    for ticket in tickets:
        if ticket.ticket_id not in outcomes:
            verdicts.missing.append(ticket.ticket_id)
            continue
        line = verdicts.lines[kind_of(ticket)]
        ours = verdict_of(outcomes[ticket.ticket_id])
        line.tickets += 1
        line.ours[ours] += 1
        if ours == ticket.verdict:
            line.agree += 1
        elif len(line.apart) < APART_SHOWN:
            line.apart.append(ticket.ticket_id)
    return verdicts


def stored_outcomes(store: Store) -> dict[str, bool | None]:
    """The outcomes that the history has: what an analyst would ask. Raises StoreError."""
    return {
        ticket_id: None if on_time is None else bool(on_time)
        for ticket_id, on_time in store.rows("SELECT ticket_id, on_time FROM v_ticket_outcomes")
    }
