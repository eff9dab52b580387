"""The tickets of Boston with what became of them: the raw record to send, and what the city wrote down about its end.

The end (closing time, verdict, closing words) is never part of a record; it only says when the department's actions
come, and what the loop's own verdict is held against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy.replay.clock import Clock, clock
from deploy.replay.dataset import DataSet, wanted_columns
from deploy.replay.mapping_file import find_mapping
from deploy.replay.records import Maker, Record
from deploy.replay.rows import Fault, rows
from deploy.replay.tally import Skip, Tally, Unusable
from schemas.errors import SettingsError
from schemas.raw import MAX_STRING_CHARS

SET: Final = "tickets_boston"
OUTCOME_COLUMNS: Final = ("target_dt", "closed_dt", "ontime", "department", "type", "closure_reason")
VERDICTS: Final = ("ONTIME", "OVERDUE", "")
NO_DEPARTMENT: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTicket:
    """One ticket and its recorded end. Times in epoch ms."""

    ticket_id: str
    record: Record
    category: str
    department: str
    """The city's code of the department, as an id of ours."""
    opened_ms: int
    due_ms: int | None
    closed_ms: int | None
    verdict: str
    """ONTIME, OVERDUE, or empty where the record has none."""
    closing_words: str | None


def recorded_tickets(folder: Path | None) -> list[RecordedTicket]:
    """The tickets of a folder (None: the extract that ships), in order of their opening.

    Raises SettingsError with every row that cannot be used: a share of verdicts over half a file would say nothing.
    """
    data = DataSet(find_mapping(SET), folder)
    problems: list[str] = []
    found: dict[str, RecordedTicket] = {}
    for place, ticket in _read(data, problems):
        if found.setdefault(ticket.ticket_id, ticket) is not ticket:
            problems.append(f"{place}: ticket {ticket.ticket_id} is there already")
    if problems:
        raise SettingsError(problems[:100])
    return sorted(found.values(), key=lambda ticket: ticket.opened_ms)


def _read(data: DataSet, problems: list[str]) -> Iterator[tuple[str, RecordedTicket]]:
    mapping = data.mapping
    rule = mapping.inputs[0]
    time = rule.time_of(rule.records[0])
    tally = Tally()
    maker = Maker(mapping, rule, {})
    tell = clock(time)
    wanted = list(dict.fromkeys([*wanted_columns(rule), *OUTCOME_COLUMNS]))
    for file in data.files:
        for row in rows(file.path, rule, wanted=wanted, sensors=None):
            place = f"{file.path}:{row.at}"
            if isinstance(row, Fault):
                problems.append(f"{place}: {row.detail}")
                continue
            for record in maker.make(row, place, tally):
                try:
                    yield place, _ticket(record, row.values, tell)
                except Unusable as unusable:
                    problems.append(f"{place}: {unusable.skip.value}: {unusable.detail}")
    problems += tally.places


def _ticket(record: Record, values: Any, tell: Clock) -> RecordedTicket:
    """Raises Unusable."""
    sent = msgspec.json.decode(record.payload)
    verdict = values["ontime"].strip()
    if verdict not in VERDICTS:
        raise Unusable(Skip.NOT_IN_TABLE, f"ontime: expected ONTIME, OVERDUE or nothing, got {verdict!r}")
    closed = values["closed_dt"].strip()
    closed_ms = tell(closed)[0] if closed else None
    if closed_ms is not None and closed_ms < record.at_ms:
        raise Unusable(Skip.BAD_TIME, f"closed_dt: {closed} is before the ticket was opened")
    return RecordedTicket(
        ticket_id=sent["ticket_id"],
        record=record,
        category=sent["category"],
        department=department_id(values["department"]),
        opened_ms=record.at_ms,
        due_ms=sent.get("due_ts"),
        closed_ms=closed_ms,
        verdict=verdict,
        closing_words=values["closure_reason"].strip()[:MAX_STRING_CHARS] or None,
    )


def department_id(code: str) -> str:
    """The city's code as an id: "PWDx" -> "PWDx", "BPS_" -> "BPS", "No Q" -> "No-Q"."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in code.strip())
    return kept.strip("-") or NO_DEPARTMENT


def last_moment_ms(tickets: list[RecordedTicket]) -> int:
    """When everything that is recorded has happened: the last closing, and the last deadline of what is still open."""
    moments = [ticket.closed_ms or ticket.due_ms or ticket.opened_ms for ticket in tickets]
    return max(max(moments), max(ticket.opened_ms for ticket in tickets))


def day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
