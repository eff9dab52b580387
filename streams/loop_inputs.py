"""What the loop's log is made of: alerts, frames of placed tickets, actions and ticks as records of topic `loop`. Pure.

An alert, an action or a tick enters as it came, byte for byte. A frame of tickets becomes one record or several, each
named after the raw place of its last ticket: in one raw partition those places only grow, whatever flushes and
restarts of locate made of the frames, so whoever reads the log knows a repeat by its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from schemas.action import Id, decode_action
from schemas.alert import decode_alert
from schemas.dead_letter import Reason
from schemas.errors import BadRecord, MessageError
from schemas.json_faults import explain
from schemas.loop_record import LoopKind, LoopRecord, TicketInLoop, decode_tick
from schemas.observation import E7, NO_PLACE_E7, decode_frame
from schemas.privacy import mask_text
from schemas.raw import MAX_PAYLOAD_BYTES

TICKETS_IN_RECORD: Final = 500
"""Tickets of one record at most: a few milliseconds of work for the loop, far below a Kafka message's limit."""
SENTENCE_CHARS: Final = 60  # of the caller's words
FAR_AHEAD_MS: Final = 60_000  # a tick this much later than its arrival is no time but a mistake


class _Named(msgspec.Struct):
    action_id: Id


_named = msgspec.json.Decoder(_Named)
_READERS: Final[Mapping[LoopKind, Callable[[bytes], object]]] = {
    LoopKind.ALERT: decode_alert,
    LoopKind.ACTION: decode_action,
    LoopKind.TICK: decode_tick,
}


def check(kind: LoopKind, payload: bytes | None, arrived_ms: int, *, live: bool) -> None:
    """BadRecord when an alert, an action or a tick cannot be read.

    `live`: time comes from this city's own clock, so a tick that is far ahead of its arrival is refused. It would make
    everything overdue, and time does not go back.
    """
    if payload is None:
        raise BadRecord(Reason.NULL_VALUE, "$", "expected a record, got a message without a value")
    if kind is not LoopKind.ALERT and len(payload) > MAX_PAYLOAD_BYTES:
        raise BadRecord(Reason.TOO_LARGE, "$", f"expected at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
    try:
        _READERS[kind](payload)
    except MessageError as problem:
        raise _fault(payload, problem) from problem
    if kind is LoopKind.TICK and live:
        at_ms = decode_tick(payload).at_ms
        if at_ms > arrived_ms + FAR_AHEAD_MS:
            raise BadRecord(
                Reason.FUTURE,
                "$.at_ms",
                f"expected at most {FAR_AHEAD_MS // 1000} s after its arrival, got {(at_ms - arrived_ms) // 1000} s; "
                "a city in a time of its own needs dispatch.ticker = false",
            )


def readable_action_id(payload: bytes | None) -> str | None:
    """The action's id in bytes that are no action otherwise: enough to answer whoever sent it."""
    try:
        return _named.decode(payload or b"").action_id
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def ticket_records(payload: bytes, topic: str) -> Iterator[LoopRecord]:
    """The tickets of a frame of `placed-tickets`, in the order of their raw partition; FrameError when it is none.

    `topic`: the raw topic that the tickets are of.
    """
    header, batch = decode_frame(payload)
    arrived_ms = max((cover.arrived_ms for cover in header.covers), default=0)
    for start in range(0, batch.num_rows, TICKETS_IN_RECORD):
        rows = batch.slice(start, TICKETS_IN_RECORD).to_pylist()
        yield LoopRecord(
            kind=LoopKind.TICKETS,
            cause_topic=topic,
            cause_partition=rows[-1]["partition"],
            cause_offset=rows[-1]["offset"],
            arrived_ms=arrived_ms,
            tickets=[_ticket(row, topic) for row in rows],
        )


def _ticket(row: Mapping[str, Any], topic: str) -> TicketInLoop:
    extra = msgspec.json.decode(row["extra"] or "{}")
    placed = row["lon_e7"] != NO_PLACE_E7
    urgency, parent = extra.get("urgency"), extra.get("parent_ticket_id")
    due_ms, confidence = extra.get("due_ms"), extra.get("place_confidence")  # locate's own: a caller's are renamed
    return TicketInLoop(
        ticket_id=row["entity"],
        category=row["kind"],
        event_at_ms=round(row["event_at"].timestamp() * 1000),
        source=f"{topic}:{row['partition']}:{row['offset']}",
        urgency=urgency if urgency in ("urgent", "critical") else "normal",
        cell=row["cell"],
        lon=row["lon_e7"] / E7 if placed else None,
        lat=row["lat_e7"] / E7 if placed else None,
        jurisdiction=row["jurisdiction"],
        confidence=min(1.0, max(0.0, float(confidence))) if isinstance(confidence, int | float) else 1.0,
        parent_ticket_id=parent if isinstance(parent, str) else None,
        due_ms=due_ms if type(due_ms) is int else None,
        sentence=mask_text(str(extra.get("text", "")))[:SENTENCE_CHARS],
    )


def _fault(payload: bytes, problem: MessageError) -> BadRecord:
    """The reason and the place of what a reader said."""
    error = problem.__cause__
    if error is not None and not isinstance(error, msgspec.ValidationError):
        return explain(payload, error if isinstance(error, Exception) else problem)
    what, path = _split(str(error or str(problem).partition(": ")[2]))
    if "missing required field" in what:
        reason = Reason.MISSING_FIELD
    elif what.startswith("Expected `") and "got `" in what:
        reason = Reason.BAD_TYPE
    else:
        reason = Reason.BAD_VALUE
    if what.startswith("Invalid enum value"):  # the only words that hold something of the record
        what = mask_text(what)
    return BadRecord(reason, path, what[:1].lower() + what[1:])


def _split(said: str) -> tuple[str, str]:
    what, _, path = said.partition(" - at ")
    return what, path.strip("`") or "$"
