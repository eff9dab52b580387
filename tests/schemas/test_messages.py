"""Alerts, dead letters, sources and errors: small promises that others build on."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alert import Action, Alert, decode_alert, encode_alert, make_alert_id
from schemas.dead_letter import PAYLOAD_CAP_BYTES, DeadLetter, Reason, decode_dead_letter, encode_dead_letter
from schemas.errors import BadRecord, MessageError, SettingsError
from schemas.examples import ALERT, DEAD_LETTER
from schemas.sources import TOPICS, Source

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
alerts = st.builds(
    Alert,
    alert_id=words,
    revision=st.integers(0, 2**31),
    action=st.sampled_from(Action),
    detector=words,
    detector_version=st.integers(0, 1000),
    category=words,
    cell=int64s,
    lon=st.floats(-180, 180),
    lat=st.floats(-90, 90),
    onset_ms=int64s,
    window_start_ms=int64s,
    window_end_ms=int64s,
    severity=st.integers(1, 4),
    confidence=st.floats(0, 1),
    reason=words,
    values=st.dictionaries(words, st.none() | floats, max_size=3),
    thresholds=st.dictionaries(words, floats, max_size=3),
    evidence=st.lists(words, max_size=3),
    sentence_zh=words,
    sentence_en=words,
)


@given(alerts)
def test_an_alert_decodes_to_what_was_encoded(alert: Alert) -> None:
    encoded = encode_alert(alert)
    assert decode_alert(encoded) == alert
    assert encode_alert(decode_alert(encoded)) == encoded


def test_a_value_without_data_is_null_not_nan() -> None:
    nan = float("nan")
    alert = msgspec.structs.replace(ALERT, values={"rain_mm_h": nan})
    assert decode_alert(encode_alert(alert)).values == {"rain_mm_h": None}


def test_an_alerts_id_follows_from_what_it_is_about() -> None:
    assert make_alert_id("waterlogging", 1, 0x2A31F, 1_782_864_000_000) == "waterlogging-1-2a31f-1782864000000"
    assert ALERT.key == ALERT.alert_id.encode()


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"[" * 5000, b"\xff", b'{"severity":9}', encode_dead_letter(DEAD_LETTER)]
)
def test_other_bytes_are_no_alert(payload: bytes) -> None:
    with pytest.raises(MessageError, match="not an alert"):
        decode_alert(payload)


@given(st.binary(max_size=100) | st.sampled_from([b"\x00" * PAYLOAD_CAP_BYTES, b"\xff" * (PAYLOAD_CAP_BYTES + 1)]))
def test_a_dead_letter_keeps_the_bytes_up_to_the_cap(payload: bytes) -> None:
    fault = BadRecord(Reason.BAD_JSON, "$", "malformed")
    letter = DeadLetter.of(fault, topic="readings", partition=2, offset=17, payload=payload, received_at_ms=5)
    found = decode_dead_letter(encode_dead_letter(letter))
    assert found == letter
    assert found.payload == payload[:PAYLOAD_CAP_BYTES]
    assert found.payload_bytes == len(payload)
    assert found.complete == (found.payload == payload)
    assert found.key == b"readings:2:17"


def test_a_tombstone_has_a_letter_too() -> None:
    fault = BadRecord(Reason.NULL_VALUE, "$", "no value")
    letter = DeadLetter.of(fault, topic="tickets", partition=0, offset=0, payload=None, received_at_ms=5)
    assert (letter.payload, letter.payload_bytes, letter.reason) == (b"", 0, Reason.NULL_VALUE)


def test_a_letter_with_broken_base64_is_refused() -> None:
    broken = encode_dead_letter(msgspec.structs.replace(DEAD_LETTER, payload_b64="@@"))
    with pytest.raises(MessageError, match="not a dead letter"):
        decode_dead_letter(broken)


def test_every_reason_has_its_words_in_both_languages() -> None:
    for reason in Reason:
        assert reason.zh and reason.en
        assert any("\u4e00" <= ch <= "\u9fff" for ch in reason.zh)
    assert len({reason.en for reason in Reason}) == len(Reason)


def test_numbers_and_words_that_are_stored_do_not_change() -> None:
    assert [(int(source), source.topic) for source in Source] == [(0, "readings"), (1, "camera-events"), (2, "tickets")]
    assert [Source.of_topic(topic) for topic in TOPICS] == list(Source)
    assert " ".join(reason.value for reason in Reason) == (
        "empty null_value too_large bad_json duplicate_key missing_field bad_type bad_value bad_time bad_place "
        "outside_city future corrupt_batch unsupported_batch"
    )


def test_errors_say_what_and_where_and_survive_pickling() -> None:
    fault = BadRecord(Reason.BAD_TYPE, "$.value", 'expected a number, got "cat"')
    assert str(fault) == 'bad_type: expected a number, got "cat" - at $.value'
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)
    both = SettingsError(["a: wrong", "b: wrong too"])
    assert str(both) == "a: wrong\nb: wrong too"
    assert pickle.loads(pickle.dumps(both)).problems == both.problems
    assert SettingsError("only one").problems == ["only one"]


def test_the_schemas_import_nothing_else_of_the_project(project_root: Path) -> None:
    for file in (project_root / "schemas").glob("*.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]):
                assert words[1].split(".")[0] not in ("topology", "detectors", "streams", "deploy"), f"{file}: {line}"
