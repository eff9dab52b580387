"""Whatever the bytes, the decoder answers with a row or with a BadRecord; and what was encoded is what is decoded."""

from __future__ import annotations

import json
import math
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.camera_event import CameraEvent
from schemas.dead_letter import Reason
from schemas.decode import Row, decode
from schemas.errors import BadRecord
from schemas.examples import EXAMPLES
from schemas.generate import json_schema
from schemas.raw import MAX_EVENT_MS, MIN_EVENT_MS
from schemas.reading import Reading
from schemas.sources import Source
from schemas.ticket import Ticket

ZONE = ZoneInfo("Asia/Shanghai")
NAMES = {Source.READINGS: "reading", Source.CAMERA_EVENTS: "camera_event", Source.TICKETS: "ticket"}
RECORDS = {source: msgspec.json.encode(EXAMPLES[name]) for source, name in NAMES.items()}
SCHEMAS = {source: jsonschema.Draft202012Validator(json_schema(name)) for source, name in NAMES.items()}

sources = st.sampled_from(Source)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = words.filter(lambda text: 0 < len(text.encode()) <= 256)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
times = st.integers(MIN_EVENT_MS, MAX_EVENT_MS - 1)
degrees = {"lon": st.floats(-180, 180), "lat": st.floats(-90, 90)}
maybe_words = st.none() | words
datums = st.sampled_from([None, "WGS84", "gcj-02", "BD09", "CGCS2000"])


def outcome(source: Source, payload: bytes) -> Row | BadRecord:
    try:
        return decode(source, payload, ZONE)
    except BadRecord as fault:
        return fault


def check(source: Source, payload: bytes) -> None:
    found = outcome(source, payload)
    if isinstance(found, BadRecord):
        assert found.path.startswith("$")
        assert found.detail and len(found.detail) < 400
        found.detail.encode()  # can be written: no half of a surrogate pair
    else:
        msgspec.json.encode(found.comparable()[:-1])
        assert MIN_EVENT_MS <= found.event_at_ms < MAX_EVENT_MS
        assert math.isfinite(found.value) and 0 <= found.confidence <= 1
        assert math.isnan(found.lon) == math.isnan(found.lat)
        assert found.extra is None or isinstance(json.loads(found.extra), dict)


@given(sources, st.binary(max_size=200))
@example(Source.READINGS, b"\x00")
def test_arbitrary_bytes_end_in_a_row_or_a_fault(source: Source, payload: bytes) -> None:
    check(source, payload)


@given(sources, st.data())
def test_a_damaged_record_ends_in_a_row_or_a_fault(source: Source, data: st.DataObject) -> None:
    payload = bytearray(RECORDS[source])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        kind = data.draw(st.sampled_from(["cut", "drop", "put", "set"]))
        if kind == "cut":
            del payload[at:]
        elif kind == "drop":
            del payload[at : at + 3]
        elif kind == "put":
            payload[at:at] = data.draw(st.sampled_from(TOKENS))
        elif at < len(payload):
            payload[at] = data.draw(st.integers(0, 255))
    check(source, bytes(payload))


TOKENS = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"1e400", b"-1e400", b"NaN", b"Infinity", b"null", b"true"),
    *(b"\x00", b"\xef\xbb\xbf", b"\xff", b"\\ud800", b"\\u0061", b"9" * 400, b"9" * 5000, b"0." + b"1" * 400, b"-0"),
    *(b"[" * 2000, b'{"a":' * 2000, b"1e-400", b'"ts":1,', b'"value":"cat",', b"\xe6\xb0", "水".encode()),
]


@given(sources, st.dictionaries(words, json_values, max_size=5), st.data())
def test_any_json_in_any_field_ends_in_a_row_or_a_fault(
    source: Source, more: dict[str, Any], data: st.DataObject
) -> None:
    record = json.loads(RECORDS[source]) | more
    for field in data.draw(st.lists(st.sampled_from(sorted(record)), max_size=3)):
        record[field] = data.draw(json_values)
    check(source, json.dumps(record, ensure_ascii=data.draw(st.booleans())).encode())


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", ":", "a:", "\\", '"', "水"]), json_values), max_size=6), st.booleans()
)
def test_a_top_level_key_that_comes_twice_is_always_found(pairs: list[tuple[str, Any]], escape: bool) -> None:
    parts = [f"{_quoted(key, escape)} : {json.dumps(value, ensure_ascii=escape)}" for key, value in pairs]
    payload = ("{" + ", ".join([*parts, RECORDS[Source.READINGS].decode()[1:]])).encode()
    found = outcome(Source.READINGS, payload)
    twice = len({key for key, _ in pairs}) < len(pairs)
    assert (isinstance(found, BadRecord) and found.reason is Reason.DUPLICATE_KEY) == twice


def _quoted(key: str, escape: bool) -> str:
    return '"' + "".join(f"\\u{ord(ch):04x}" for ch in key) + '"' if escape else json.dumps(key, ensure_ascii=False)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    place = {name: draw(degree) for name, degree in degrees.items()} if draw(st.booleans()) else {}
    return Reading(
        device_id=draw(ids),
        metric=draw(ids),
        value=draw(st.floats(allow_nan=False, allow_infinity=False)),
        ts=draw(times),
        unit=draw(maybe_words),
        datum=draw(datums),
        quality=draw(st.sampled_from([None, "good", "suspect", "bad"])),
        device_type=draw(maybe_words),
        **place,
    )


@given(readings())
def test_a_reading_decodes_to_what_was_encoded(reading: Reading) -> None:
    row = decode(Source.READINGS, msgspec.json.encode(reading), ZONE)
    place = (None, None) if reading.lon is None else (reading.lon, reading.lat)
    quality = ("good", "suspect", "bad").index(reading.quality or "good")
    assert row.comparable()[:8] == (
        *(reading.ts, reading.device_id, reading.metric, reading.value, 1.0),
        *(quality, reading.unit, reading.device_type),
    )
    assert row.comparable()[9:] == (*place, None)


@given(ids, ids, st.floats(0, 1), times, st.none() | st.integers(0, 2**53), maybe_words, st.none() | st.integers())
def test_a_camera_event_decodes_to_what_was_encoded(
    camera_id: str, event: str, confidence: float, ts: int, count: int | None, plate: str | None, track: int | None
) -> None:
    seen = CameraEvent(
        camera_id=camera_id, event=event, confidence=confidence, ts=ts, count=count, plate_hash=plate, track_id=track
    )
    row = decode(Source.CAMERA_EVENTS, msgspec.json.encode(seen), ZONE)
    assert row.comparable()[:5] == (ts, camera_id, event, 1.0 if count is None else float(count), confidence)
    kept = {name: value for name, value in (("track_id", track), ("plate_hash", plate)) if value is not None}
    assert (json.loads(row.extra) if row.extra else {}) == kept


@given(ids, ids, words, times, maybe_words, st.sampled_from([None, "normal", "urgent", "critical"]), json_values)
def test_a_ticket_decodes_to_what_was_encoded(
    ticket_id: str, category: str, text: str, ts: int, caller: str | None, urgency: Any, more: Any
) -> None:
    ticket = Ticket(ticket_id=ticket_id, category=category, text=text, ts=ts, caller_name=caller, urgency=urgency)
    row = decode(Source.TICKETS, msgspec.json.encode(msgspec.to_builtins(ticket) | {"x": more}), ZONE)
    assert row.comparable()[:5] == (ts, ticket_id, category, 1.0, 1.0)
    expected = {"text": text, "urgency": urgency or "normal", "x": more} | (
        {"caller_name": caller} if caller is not None else {}
    )
    assert row.extra is not None
    assert msgspec.json.decode(row.extra) == expected


@given(sources, st.data())
def test_the_generated_schema_and_the_decoder_agree(source: Source, data: st.DataObject) -> None:
    """But for what JSON Schema cannot say: 1.0 is no integer, ids count bytes, a time must exist, numbers must fit."""
    record = json.loads(RECORDS[source])
    field = data.draw(st.sampled_from(sorted(record)))
    value = data.draw(json_values | st.sampled_from(["", "x" * 257, "x" * 1025, "2026-13-01T00:00:00Z", 91, -181, 0.5]))
    if data.draw(st.booleans()):
        del record[field]
    else:
        record[field] = value
    found = outcome(source, json.dumps(record).encode())
    valid = SCHEMAS[source].is_valid(record)
    if isinstance(found, Row):
        assert valid
    elif valid:
        integral = isinstance(value, float) and value.is_integer() and field in ("ts", "count", "track_id")
        stricter = found.reason is Reason.BAD_TIME or "bytes of UTF-8" in found.detail or "pixels" in found.detail
        assert integral or stricter, found
