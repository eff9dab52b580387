"""What enters the loop's log: readable or refused with reason and place, tickets cut and named by their raw place."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.action import encode_action
from schemas.alert import encode_alert
from schemas.dead_letter import Reason
from schemas.errors import BadRecord, FrameError
from schemas.examples import ACTION, ALERT
from schemas.loop_record import LoopKind, Tick, decode_loop_record, encode_loop_record, encode_tick
from schemas.observation import FrameHeader, encode_frame
from streams.loop_inputs import TICKETS_IN_RECORD, check, readable_action_id, ticket_records
from tests.support.ticket_frames import PlacedTicket, ticket_frame

AT_MS = 1_782_864_000_123


def frame_of(*tickets: dict[str, Any], first: int = 0) -> bytes:
    """A frame of placed tickets of raw partition 2, offsets from `first` on; a dict is a ticket's extra fields."""
    made = [PlacedTicket(f"t{first + number}", extra=extra) for number, extra in enumerate(tickets)]
    return ticket_frame(made, partition=2, first=first)


FAULTS: list[tuple[LoopKind, bytes | None, Reason, str]] = [
    (LoopKind.ACTION, None, Reason.NULL_VALUE, "$"),
    (LoopKind.ACTION, b"", Reason.EMPTY, "$"),
    (LoopKind.ACTION, b"{", Reason.BAD_JSON, "$"),
    (LoopKind.ACTION, b"\xff", Reason.BAD_JSON, "$"),
    (LoopKind.ACTION, b'{"x":' * 9_000, Reason.BAD_JSON, "$"),
    (LoopKind.ACTION, b"[]", Reason.BAD_TYPE, "$"),
    (LoopKind.ACTION, b"[" * 70_000, Reason.TOO_LARGE, "$"),
    (LoopKind.ACTION, b'{"action_id":"a"}', Reason.MISSING_FIELD, "$"),
    (LoopKind.ACTION, encode_action(ACTION).replace(b'"finish"', b'"explode"'), Reason.BAD_VALUE, "$.action"),
    (LoopKind.ACTION, encode_action(ACTION).replace(b"1782867600000", b"17"), Reason.BAD_VALUE, "$.ts"),
    (LoopKind.ACTION, encode_action(ACTION).replace(b"incident_id", b"incident"), Reason.BAD_VALUE, "$.incident_id"),
    (LoopKind.TICK, b'{"at_ms":1.5}', Reason.BAD_TYPE, "$.at_ms"),
    (LoopKind.TICK, b'{"at_ms":5}', Reason.BAD_VALUE, "$.at_ms"),
    (LoopKind.TICK, encode_tick(Tick(at_ms=AT_MS + 600_000)), Reason.FUTURE, "$.at_ms"),
    (LoopKind.ALERT, b'{"alert_id":"x"}', Reason.MISSING_FIELD, "$"),
]


@pytest.mark.parametrize(("kind", "payload", "reason", "path"), FAULTS)
def test_what_cannot_be_read_is_refused_with_its_reason_and_place(
    kind: LoopKind, payload: bytes | None, reason: Reason, path: str
) -> None:
    with pytest.raises(BadRecord) as refused:
        check(kind, payload, AT_MS, live=True)
    assert (refused.value.reason, refused.value.path) == (reason, path)
    assert len(refused.value.detail) < 300


def test_what_can_be_read_is_let_in() -> None:
    check(LoopKind.ACTION, encode_action(ACTION), AT_MS, live=True)
    check(LoopKind.ALERT, encode_alert(ALERT), AT_MS, live=True)
    check(LoopKind.TICK, encode_tick(Tick(at_ms=AT_MS + 5)), AT_MS, live=True)


def test_a_city_in_a_time_of_its_own_may_be_ahead_of_the_wall_clock() -> None:
    check(LoopKind.TICK, encode_tick(Tick(at_ms=AT_MS + 86_400_000)), AT_MS, live=False)


def test_a_refusal_shows_nothing_personal() -> None:
    payload = encode_action(ACTION).replace(b'"finish"', b'"13812345678"')
    with pytest.raises(BadRecord) as refused:
        check(LoopKind.ACTION, payload, AT_MS, live=True)
    assert "13812345678" not in refused.value.detail


@pytest.mark.parametrize(
    ("payload", "action_id"),
    [
        (b'{"action_id":"web-1","action":"explode"}', "web-1"),
        (b'{"action_id":""}', None),
        (b'{"action_id":7}', None),
        (b'["web-1"]', None),
        (b"[" * 100_000, None),
        (None, None),
    ],
)
def test_the_id_of_a_bad_action_is_found_where_there_is_one(payload: bytes | None, action_id: str | None) -> None:
    assert readable_action_id(payload) == action_id


def test_a_frame_becomes_tickets_with_their_raw_place_and_masked_words() -> None:
    payload = frame_of({"text": "施工噪音，联系 13812345678", "urgency": "urgent", "due_ms": 1_782_950_400_000}, {})
    (record,) = ticket_records(payload, "x.tickets")
    first, second = record.tickets
    assert (record.kind, record.cause) == (LoopKind.TICKETS, "x.tickets:2:1")
    assert (first.ticket_id, first.source, first.category, first.urgency) == ("t0", "x.tickets:2:0", "noise", "urgent")
    assert first.due_ms == 1_782_950_400_000
    assert first.sentence == "施工噪音，联系 138****5678"
    assert (second.urgency, second.due_ms, second.sentence, second.confidence) == ("normal", None, "", 1.0)
    assert decode_loop_record(encode_loop_record(record)) == record


def test_fields_of_a_caller_that_only_look_like_ours_do_no_harm() -> None:
    payload = frame_of(
        {"text": 5, "urgency": ["x"], "parent_ticket_id": {}, "due_ms": "never", "place_confidence": "high"},
        {"place_confidence": 7.0},
        {"place_confidence": 0.25},
    )
    (record,) = ticket_records(payload, "tickets")
    assert [ticket.confidence for ticket in record.tickets] == [1.0, 1.0, 0.25]
    assert record.tickets[0].parent_ticket_id is None
    assert decode_loop_record(encode_loop_record(record)) == record


def test_a_large_frame_is_cut_into_records_whose_places_grow() -> None:
    count = 2 * TICKETS_IN_RECORD + 7
    records = list(ticket_records(frame_of(*[{}] * count, first=40), "tickets"))
    assert [len(record.tickets) for record in records] == [TICKETS_IN_RECORD, TICKETS_IN_RECORD, 7]
    assert [record.cause_offset for record in records] == [40 + TICKETS_IN_RECORD - 1, 1039, 40 + count - 1]
    assert [ticket.ticket_id for record in records for ticket in record.tickets] == [f"t{40 + i}" for i in range(count)]


def test_a_frame_without_tickets_is_no_record() -> None:
    assert list(ticket_records(encode_frame(FrameHeader(shard=0, covers=[]), None), "tickets")) == []


def test_bytes_that_are_no_frame_are_said_to_be_none() -> None:
    with pytest.raises(FrameError):
        list(ticket_records(b"not a frame", "tickets"))
