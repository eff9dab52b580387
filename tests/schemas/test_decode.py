"""The reference decoder, by tables: what is accepted, and how each fault is named."""

from __future__ import annotations

import json
import math
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from schemas.dead_letter import Reason
from schemas.decode import Row, decode
from schemas.errors import BadRecord
from schemas.examples import CAMERA_EVENT, READING, TICKET
from schemas.sources import Source

SHANGHAI = ZoneInfo("Asia/Shanghai")
T = 1_782_864_000_000  # 2026-07-01T00:00:00Z = 08:00 in Shanghai

READ: dict[str, Any] = {"device_id": "WL-1", "metric": "water_level_mm", "value": 152.5, "ts": T}
SEEN: dict[str, Any] = {"camera_id": "C-1", "event": "waterlogging", "confidence": 0.8, "ts": T}
SAID: dict[str, Any] = {"ticket_id": "K-1", "category": "flood", "text": "积水", "ts": T}
BASE = {Source.READINGS: READ, Source.CAMERA_EVENTS: SEEN, Source.TICKETS: SAID}


def row_of(source: Source, payload: bytes | dict[str, Any]) -> Row:
    return decode(source, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), SHANGHAI)


def fault_of(source: Source, payload: bytes | dict[str, Any] | None) -> BadRecord:
    raw = json.dumps(payload).encode() if isinstance(payload, dict) else payload
    with pytest.raises(BadRecord) as caught:
        decode(source, raw, SHANGHAI)
    return caught.value


def test_a_full_reading_fills_every_column() -> None:
    row = row_of(Source.READINGS, msgspec.json.encode(READING))
    assert row == Row(
        T + 12_000, "WL-0042", "water_level_mm", 152.5, 1.0, 0, "mm", "radar_level", 1, 121.4365, 31.1934, None
    )


def test_a_bare_reading_has_nan_for_the_place_and_none_for_the_words() -> None:
    row = row_of(Source.READINGS, READ)
    assert (row.unit, row.device_type, row.datum, row.extra, row.quality) == (None, None, 0, None, 0)
    assert math.isnan(row.lon) and math.isnan(row.lat)
    assert row.comparable() == (T, "WL-1", "water_level_mm", 152.5, 1.0, 0, None, None, 0, None, None, None)


def test_a_full_camera_event_keeps_what_has_no_column_in_order() -> None:
    row = row_of(Source.CAMERA_EVENTS, msgspec.json.encode(CAMERA_EVENT))
    assert (row.entity, row.kind, row.value, row.confidence, row.datum) == ("CAM-0107", "waterlogging", 1.0, 0.87, 3)
    assert row.event_at_ms == T + 31_000
    assert row.extra == (
        b'{"track_id":7,"bbox":[102.0,340.5,611.0,702.0],'
        b'"snapshot_url":"https://media.example/cam/107/1782864031.jpg","plate_hash":"b3c1f0"}'
    )


def test_a_ticket_without_zone_takes_the_zone_of_its_source() -> None:
    row = row_of(Source.TICKETS, msgspec.json.encode(TICKET))
    assert row.event_at_ms == T + 45_000
    assert (row.value, row.confidence, row.entity, row.kind) == (1.0, 1.0, "12345-20260701-000123", "flood")
    assert row.extra is not None
    assert list(json.loads(row.extra)) == [
        "text", "address", "urgency", "caller_name", "caller_phone", "channel", "due_ms",
    ]  # fmt: skip
    assert json.loads(row.extra)["due_ms"] == T + (7 * 24 + 10) * 3_600_000


def test_a_promise_is_kept_as_epoch_milliseconds_in_its_place() -> None:
    row = row_of(Source.TICKETS, {"due_ts": "2026-07-01T09:00:00", **SAID})
    assert row.extra == f'{{"due_ms":{T + 3_600_000},"text":"积水","urgency":"normal"}}'.encode()
    assert row_of(Source.TICKETS, {**SAID, "due_ts": None}).extra == '{"text":"积水","urgency":"normal"}'.encode()


def test_a_promise_before_the_ticket_itself_is_kept_and_no_ticket_is_lost() -> None:
    row = row_of(Source.TICKETS, {**SAID, "due_ts": T - 1})
    assert row.extra is not None and json.loads(row.extra)["due_ms"] == T - 1


def test_what_locate_adds_to_a_ticket_is_never_taken_from_its_producer() -> None:
    row = row_of(Source.TICKETS, {**SAID, "due_ms": "soon", "place_confidence": [1], "due_ts": T})
    assert row.extra is not None
    assert json.loads(row.extra) == {
        "text": "积水", "sent_due_ms": "soon", "sent_place_confidence": [1], "due_ms": T, "urgency": "normal",
    }  # fmt: skip


@pytest.mark.parametrize("given", [{}, {"urgency": None}])
def test_a_tickets_extra_always_has_text_and_urgency(given: dict[str, Any]) -> None:
    assert row_of(Source.TICKETS, {**given, **SAID}).extra == '{"text":"积水","urgency":"normal"}'.encode()


def test_unknown_fields_are_kept_in_the_order_in_which_they_came() -> None:
    row = row_of(Source.READINGS, {"z": None, **READ, "a": {"b": [1, 2.5, None]}, "count": 3})
    assert row.extra == b'{"z":null,"a":{"b":[1,2.5,null]},"count":3}'


@pytest.mark.parametrize("source", Source)
def test_null_for_an_optional_field_is_as_if_it_were_not_there(source: Source) -> None:
    optional = {
        Source.READINGS: ("unit", "lon", "lat", "datum", "quality", "device_type"),
        Source.CAMERA_EVENTS: ("lon", "lat", "datum", "track_id", "count", "bbox", "snapshot_url", "plate_hash"),
        Source.TICKETS: (
            "lon",
            "lat",
            "datum",
            "address",
            "urgency",
            "caller_name",
            "caller_phone",
            "parent_ticket_id",
        ),
    }[source]
    with_nulls = row_of(source, BASE[source] | dict.fromkeys(optional))
    assert with_nulls.comparable() == row_of(source, BASE[source]).comparable()


@pytest.mark.parametrize(
    ("ts", "at_ms"),
    [
        (946_684_800_000, 946_684_800_000),  # the first that is allowed
        (4_102_444_799_999, 4_102_444_799_999),  # the last
        ("2026-07-01T08:00:00+08:00", T),
        ("2026-07-01T00:00:00Z", T),
        ("2026-07-01t00:00:00z", T),
        ("2026-06-30 19:30:00.25-04:30", T + 250),
        ("2026-07-01 08:00:00", T),  # no zone: Shanghai
        ("2026-07-01T08:00:00.9999", T + 999),  # cut, not rounded
        ("2026-07-01T00:00:00.000000001Z", T),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),  # a leap second is the next second
        ("2000-01-01T00:00:00+00:00", 946_684_800_000),
    ],
)
def test_times_are_read(ts: int | str, at_ms: int) -> None:
    assert row_of(Source.READINGS, READ | {"ts": ts}).event_at_ms == at_ms


def test_a_time_without_zone_that_comes_twice_means_the_first() -> None:
    payload = json.dumps(READ | {"ts": "2026-10-25T02:30:00"}).encode()  # clocks go back at 03:00 in Berlin
    first = decode(Source.READINGS, payload, ZoneInfo("Europe/Berlin")).event_at_ms
    assert first == decode(Source.READINGS, payload, ZoneInfo("Etc/GMT-2")).event_at_ms


@pytest.mark.parametrize(
    ("ts", "reason", "says"),
    [
        (0, Reason.BAD_TIME, "2000-01-01"),
        (1_782_864_000, Reason.BAD_TIME, "looks like seconds"),
        (1_782_864_000_000_000, Reason.BAD_TIME, "looks like microseconds"),
        (1_782_864_000_000_000_000, Reason.BAD_TIME, "looks like nanoseconds"),
        (946_684_799_999, Reason.BAD_TIME, "2000-01-01"),
        (4_102_444_800_000, Reason.BAD_TIME, "2100-01-01"),
        (-T, Reason.BAD_TIME, "got -"),
        (10**300, Reason.BAD_TIME, "more than 64 digits"),
        (1782864000000.0, Reason.BAD_TYPE, "no decimal point"),
        (True, Reason.BAD_TYPE, "got true"),
        (None, Reason.MISSING_FIELD, "absent or null"),
        ([T], Reason.BAD_TYPE, "an array of 1"),
        (str(T), Reason.BAD_TIME, "RFC 3339"),
        ("9999-12-31T23:59:59Z", Reason.BAD_TIME, "2100"),
        ("0000-01-01T00:00:00Z", Reason.BAD_TIME, "exists"),
        ("2026-02-29T00:00:00Z", Reason.BAD_TIME, "exists"),
        ("2026-07-01T24:00:00Z", Reason.BAD_TIME, "exists"),
        ("2026-07-01T23:59:61Z", Reason.BAD_TIME, "exists"),
        ("2026-07-01T00:00:00+24:00", Reason.BAD_TIME, "exists"),
        ("2026-07-01", Reason.BAD_TIME, "RFC 3339"),
        ("2026-07-01T00:00:00Z\n", Reason.BAD_TIME, "RFC 3339"),
        ("２０２６-07-01T00:00:00Z", Reason.BAD_TIME, "RFC 3339"),
        ("", Reason.BAD_TIME, "RFC 3339"),
    ],
)
def test_times_that_are_refused(ts: Any, reason: Reason, says: str) -> None:
    fault = fault_of(Source.READINGS, READ | {"ts": ts})
    assert (fault.reason, fault.path) == (reason, "$.ts")
    assert says in fault.detail


@pytest.mark.parametrize(
    ("name", "code"),
    [("WGS-84", 1), ("wgs84", 1), ("CGCS2000", 2), ("Gcj-02", 3), ("GCJ02", 3), ("bd-09", 4), ("BD09", 4), (None, 0)],
)
def test_datums_are_known_in_either_case(name: str | None, code: int) -> None:
    assert row_of(Source.READINGS, READ | {"lon": 121, "lat": 31, "datum": name}).datum == code


@pytest.mark.parametrize(
    ("source", "change", "reason", "path", "says"),
    [
        # required fields
        (0, {"device_id": None}, Reason.MISSING_FIELD, "$.device_id", "absent or null"),
        (0, {"value": None}, Reason.MISSING_FIELD, "$.value", "absent or null"),
        (1, {"confidence": None}, Reason.MISSING_FIELD, "$.confidence", "absent or null"),
        (2, {"text": None}, Reason.MISSING_FIELD, "$.text", "absent or null"),
        # ids and kinds
        (0, {"device_id": ""}, Reason.BAD_VALUE, "$.device_id", "1 to 256 bytes of UTF-8, got 0"),
        (0, {"device_id": 7}, Reason.BAD_TYPE, "$.device_id", "expected a string, got 7"),
        (0, {"metric": "水" * 86}, Reason.BAD_VALUE, "$.metric", "got 258"),
        (1, {"event": "x" * 257}, Reason.BAD_VALUE, "$.event", "got 257"),
        (2, {"parent_ticket_id": ""}, Reason.BAD_VALUE, "$.parent_ticket_id", "got 0"),
        # numbers
        (0, {"value": "3"}, Reason.BAD_TYPE, "$.value", 'expected a number, got "3"'),
        (0, {"value": True}, Reason.BAD_TYPE, "$.value", "got true"),
        (0, {"value": {}}, Reason.BAD_TYPE, "$.value", "an object of 0 fields"),
        (0, {"value": 10**309}, Reason.BAD_VALUE, "$.value", "more than 64 digits"),
        (1, {"confidence": 1.0001}, Reason.BAD_VALUE, "$.confidence", "from 0 to 1, got 1.0001"),
        (1, {"confidence": -1}, Reason.BAD_VALUE, "$.confidence", "got -1"),
        (1, {"count": 2.0}, Reason.BAD_TYPE, "$.count", "an integer, got 2.0"),
        (1, {"count": -1}, Reason.BAD_VALUE, "$.count", "0 or more"),
        (1, {"count": False}, Reason.BAD_TYPE, "$.count", "got false"),
        # places
        (0, {"lon": 121.0}, Reason.BAD_PLACE, "$.lat", "together, got only lon"),
        (0, {"lat": 31.0, "lon": None}, Reason.BAD_PLACE, "$.lon", "together, got only lat"),
        (0, {"lon": 31.2, "lat": 121.4}, Reason.BAD_PLACE, "$.lat", "look swapped"),
        (0, {"lon": 180.5, "lat": 31}, Reason.BAD_PLACE, "$.lon", "-180 to 180"),
        (0, {"lon": 10**400, "lat": 31}, Reason.BAD_PLACE, "$.lon", "-180 to 180"),
        (0, {"lon": "121", "lat": 31}, Reason.BAD_TYPE, "$.lon", 'a number, got "121"'),
        (0, {"datum": "WGS72"}, Reason.BAD_VALUE, "$.datum", "CGCS2000"),
        (0, {"datum": 4326}, Reason.BAD_TYPE, "$.datum", "a string"),
        # words
        (0, {"quality": "fine"}, Reason.BAD_VALUE, "$.quality", "good, suspect, bad"),
        (0, {"quality": 0}, Reason.BAD_TYPE, "$.quality", "a string"),
        (0, {"unit": "x" * 1025}, Reason.BAD_VALUE, "$.unit", "at most 1024 characters, got 1025"),
        (1, {"track_id": 1.5}, Reason.BAD_TYPE, "$.track_id", "a string or an integer"),
        (2, {"urgency": "panic"}, Reason.BAD_VALUE, "$.urgency", "normal, urgent, critical"),
        (2, {"due_ts": "tomorrow"}, Reason.BAD_TIME, "$.due_ts", "RFC 3339"),
        (2, {"due_ts": T // 1000}, Reason.BAD_TIME, "$.due_ts", "multiply by 1000"),
        (2, {"due_ts": True}, Reason.BAD_TYPE, "$.due_ts", "an integer or a string"),
        (2, {"text": "水" * 8193}, Reason.BAD_VALUE, "$.text", "at most 8192 characters, got 8193"),
        # boxes
        (1, {"bbox": [1, 2, 3]}, Reason.BAD_VALUE, "$.bbox", "4 numbers, got 3"),
        (1, {"bbox": [1, 2, "3", 4]}, Reason.BAD_TYPE, "$.bbox[2]", "a number"),
        (1, {"bbox": [1, 2, True, 4]}, Reason.BAD_TYPE, "$.bbox[2]", "a number"),
        (1, {"bbox": [1, 2, 3, 10**30]}, Reason.BAD_VALUE, "$.bbox[3]", "pixels"),
        (1, {"bbox": "1,2,3,4"}, Reason.BAD_TYPE, "$.bbox", "an array of 4 numbers"),
    ],
)
def test_each_fault_is_named_with_its_place(
    source: int, change: dict[str, Any], reason: Reason, path: str, says: str
) -> None:
    fault = fault_of(Source(source), BASE[Source(source)] | change)
    assert (fault.reason, fault.path) == (reason, path)
    assert says in fault.detail


@pytest.mark.parametrize(
    ("payload", "reason", "path", "says"),
    [
        (None, Reason.NULL_VALUE, "$", "tombstone"),
        (b"", Reason.EMPTY, "$", "no bytes"),
        (b" \n\t ", Reason.EMPTY, "$", "blanks"),
        (b"null", Reason.BAD_TYPE, "$", "expected an object, got null"),
        (b"[1]", Reason.BAD_TYPE, "$", "an array of 1"),
        (b'"reading"', Reason.BAD_TYPE, "$", "an object"),
        (b"[1e400]", Reason.BAD_TYPE, "$", "an object"),
        (b"x" * 65_537, Reason.TOO_LARGE, "$", "65536 bytes, got 65537"),
        (b'{"value":', Reason.BAD_JSON, "$", "truncated"),
        (b'{"value":NaN}', Reason.BAD_JSON, "$", "NaN is not JSON"),
        (b'{"value":-Infinity}', Reason.BAD_JSON, "$", "-Infinity is not JSON"),
        (b"{'value':1}", Reason.BAD_JSON, "$", "double quotes"),
        (b"{}{}", Reason.BAD_JSON, "$", "trailing"),
        (b"\xef\xbb\xbf{}", Reason.BAD_JSON, "$", "byte order mark"),
        (b'{"device_id":"\xff"}', Reason.BAD_JSON, "$", "expected UTF-8, got 0xff (byte 14)"),
        (b'{"device_id":"\xed\xa0\x80"}', Reason.BAD_JSON, "$", "UTF-8"),  # a surrogate in UTF-8
        (b'{"device_id":"\\ud800"}', Reason.BAD_JSON, "$", "half of a surrogate pair"),
        (b'{"device_id":"\\udc00x"}', Reason.BAD_JSON, "$", "half of a surrogate pair"),
        (b'{"device_id":"\x00"}', Reason.BAD_JSON, "$", "invalid character"),
        (b"[" * 60_000, Reason.BAD_JSON, "$", "at most 64"),
        (b'{"a":' * 10_000, Reason.BAD_JSON, "$", "at most 64"),
        (b'{"value":1e400}', Reason.BAD_VALUE, "$.value", "double"),
        (b'{"a":1,"b c":{"d":[1e999]}}', Reason.BAD_VALUE, '$["b c"]', "double"),
        (b'{"value":1e400', Reason.BAD_JSON, "$", "malformed"),
        (b'{"value":' + b"9" * 5000 + b"}", Reason.BAD_VALUE, "$.value", "double"),
    ],
)
def test_bytes_that_are_no_record(payload: bytes | None, reason: Reason, path: str, says: str) -> None:
    fault = fault_of(Source.READINGS, payload)
    assert (fault.reason, fault.path) == (reason, path)
    assert says in fault.detail


def test_a_hundred_thousand_brackets_are_too_large_before_they_are_too_deep() -> None:
    assert fault_of(Source.READINGS, b"[" * 100_000).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "payload",
    [
        b'{"ts":1,"ts":2,"deep":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"deep":' + b'[{"a":' * 150 + b"1",
        b'{"deep":' + b"[" * 300 + b"]" * 299 + b"}",
        b"[" * 300 + b"]" * 300,
        b'{"big":1e999,"deep":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"value":nope,"deep":' + b"[" * 300,
        b'{"text":"' + b"[" * 300 + b'","ts":}',
    ],
)
def test_what_a_letter_says_does_not_depend_on_how_deep_the_callers_stack_is(payload: bytes) -> None:
    def from_below(frames: int) -> BadRecord:
        return from_below(frames - 1) if frames else fault_of(Source.READINGS, payload)

    near, far = from_below(0), from_below(700)
    assert (near.reason, near.path, near.detail) == (far.reason, far.path, far.detail)
    assert ("at most 64" in near.detail) == (
        payload.count(b"[") > 64 and b"nope" not in payload and b"text" not in payload
    )


@pytest.mark.parametrize(("levels", "fine"), [(62, True), (63, True), (64, False), (900, False)])
def test_depth_is_bounded_whatever_the_interpreter_could_bear(levels: int, fine: bool) -> None:
    payload = json.dumps(READ).encode()[:-1] + b',"deep":' + b"[" * levels + b"]" * levels + b"}"
    if fine:
        assert row_of(Source.READINGS, payload).extra == b'{"deep":' + b"[" * levels + b"]" * levels + b"}"
    else:
        assert "at most 64" in fault_of(Source.READINGS, payload).detail


@pytest.mark.parametrize(
    "text",
    [
        '"value":1,"value":2',
        '"value":1,"value":1',
        '"value" :1,"value"\n:2',  # blanks before the colon
        '"value":1,"\\u0076alue":2',  # the same key, escaped
        '"value":1,"ts":":::","ts":1',  # colons in the value that was lost
        '"a:b":1,"a:b":1',  # colons in the key
        '"x":{"a":1,"a":2},"y":1,"y":2',  # at the top as well as inside
        '"x":"\\u003a","x":"\\u003a"',  # escaped colons
        '"x":"\\\\","x":1',
    ],
)
def test_a_key_that_comes_twice_is_found(text: str) -> None:
    payload = json.dumps(READ | {"device_id": "a:b"}).encode()
    payload = (b"{" + text.encode() + b"," + payload[1:]).replace(b'"value": 152.5', b'"other":0')
    fault = fault_of(Source.READINGS, payload)
    assert fault.reason is Reason.DUPLICATE_KEY
    assert fault.path in ("$.value", "$.ts", '$["a:b"]', "$.y", "$.x")


@pytest.mark.parametrize(
    "extra",
    [
        {"url": "http://a:80/b?c::d"},
        {"a:b": 1, "c": ":"},
        {"nested": {"device_id": "other", "value": {"value": 1}}},
        {"quote": 'say "value": 1'},
        {"back": "\\", "escaped": "\u2028:\n"},
        {"list": [{"value": 1}, {"value": 2}, ":"]},
    ],
)
def test_colons_quotes_and_inner_keys_are_not_taken_for_keys(extra: dict[str, Any]) -> None:
    assert row_of(Source.READINGS, READ | extra).extra == msgspec.json.encode(extra)


def test_a_key_that_comes_twice_inside_a_nested_object_is_the_producers_affair() -> None:
    payload = json.dumps(READ).encode()[:-1] + b',"x":{"a":1,"a":2}}'
    assert row_of(Source.READINGS, payload).extra == b'{"x":{"a":2}}'


@pytest.mark.parametrize(
    ("change", "secret"),
    [
        ({"caller_phone": 13800138000}, "13800138000"),
        ({"caller_name": ["王小明"]}, "王小明"),
        ({"text": 13800138000}, "13800138000"),
        ({"urgency": "请回电13800138000"}, "13800138000"),
        ({"datum": "13800138000"}, "13800138000"),
        ({"channel": 13800138000}, "13800138000"),
        ({"channel": "x" * 1020 + "13800138000"}, "13800138000"),
    ],
)
def test_no_fault_shows_a_personal_value(change: dict[str, Any], secret: str) -> None:
    fault = fault_of(Source.TICKETS, SAID | change)
    assert secret not in str(fault)


def test_a_long_value_is_cut_in_the_fault() -> None:
    fault = fault_of(Source.READINGS, READ | {"value": "v" * 5000})
    assert fault.detail == f'expected a number, got "{"v" * 64}"... (5000 characters)'


def test_any_buffer_is_read_like_bytes() -> None:
    payload = json.dumps(READ).encode()
    assert (
        decode(Source.READINGS, memoryview(payload), SHANGHAI).comparable()
        == row_of(Source.READINGS, READ).comparable()
    )
