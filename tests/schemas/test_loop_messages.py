"""The messages of the loop: encode then decode is identity, and what cannot be read is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from schemas.action import ActionName, Role, decode_action, encode_action
from schemas.errors import MessageError
from schemas.examples import ACTION, INCIDENT, LOOP_RECORD, NOTIFICATION, TICK
from schemas.incident import State, Step, decode_incident, encode_incident
from schemas.loop_record import LoopKind, LoopRecord, decode_loop_record, decode_tick, encode_loop_record, encode_tick
from schemas.notification import NotificationKind, RefusalReason, decode_notification, encode_notification

MESSAGES: list[tuple[Any, Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    (ACTION, encode_action, decode_action),
    (INCIDENT, encode_incident, decode_incident),
    (NOTIFICATION, encode_notification, decode_notification),
    (LOOP_RECORD, encode_loop_record, decode_loop_record),
    (TICK, encode_tick, decode_tick),
]


@pytest.mark.parametrize(("message", "encode", "decode"), MESSAGES)
def test_encode_then_decode_is_identity(message: Any, encode: Any, decode: Any) -> None:
    assert decode(encode(message)) == message
    assert decode(memoryview(encode(message))) == message


@pytest.mark.parametrize(("message", "encode", "decode"), MESSAGES)
@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"at_ms":1e400}'])
def test_what_is_not_the_message_is_refused_by_name(message: Any, encode: Any, decode: Any, payload: bytes) -> None:
    with pytest.raises(MessageError, match=r"schemas/\w+: not an? "):
        decode(payload)


def given(**changes: Any) -> bytes:
    fields = json.loads(encode_action(ACTION)) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action_id": ...}, "action_id"),
        ({"action_id": ""}, r"\$\.action_id"),
        ({"action_id": "x" * 300}, r"\$\.action_id"),
        ({"action": "explode"}, r"explode.*\$\.action"),
        ({"role": "mayor"}, r"mayor.*\$\.role"),
        ({"actor": 7}, r"\$\.actor"),
        ({"ts": ...}, "ts"),
        ({"ts": "tomorrow"}, r"\$\.ts"),
        ({"ts": 12}, r"\$\.ts"),
        ({"severity": 5}, r"\$\.severity"),
        ({"expected_revision": -1}, r"\$\.expected_revision"),
        ({"departments": ["d"] * 51}, r"\$\.departments"),
        ({"incident_id": None}, r"expected incident_id or ticket_id, got neither - at \$\.incident_id"),
        ({"ticket_id": "T-1"}, "got both"),
        ({"lon": 121.4}, r"expected lon and lat together, got one of them - at \$\.lon"),
        ({"lon": 1214, "lat": 31}, r"\$\.lon"),
        ({"reason": "x" * 1025}, r"\$\.reason"),
    ],
)
def test_an_action_that_cannot_be_used_is_refused_with_its_place(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(MessageError, match=says):
        decode_action(given(**changes))


def test_a_producer_may_add_fields_of_its_own_to_an_action() -> None:
    assert decode_action(given(screen="board-3")) == ACTION


def test_any_bytes_survive_the_log() -> None:
    raw = bytes(range(256))
    record = LoopRecord(
        kind=LoopKind.ACTION, cause_topic="actions", cause_partition=0, cause_offset=7, arrived_ms=1, payload=raw
    )
    assert decode_loop_record(encode_loop_record(record)).payload == raw
    assert record.cause == "actions:0:7"


@pytest.mark.parametrize("words", [ActionName, Role, State, Step, NotificationKind, RefusalReason])
def test_every_word_has_its_chinese(words: Any) -> None:
    chinese = [word.zh for word in words]
    assert all(chinese) and len(set(chinese)) == len(chinese)


def test_every_action_is_a_step() -> None:
    assert {action.value for action in ActionName} <= {step.value for step in Step}


def test_an_example_change_is_one_line_of_json_with_every_field() -> None:
    fields = json.loads(encode_incident(INCIDENT))
    assert list(fields) == list(INCIDENT.__struct_fields__)
    assert b"\n" not in encode_incident(INCIDENT)
    assert msgspec.convert(fields, type(INCIDENT)) == INCIDENT
