"""The fast JSON scan: whatever it takes, the reference decoder takes with the same row, and it takes what is usual."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import decode as reference
from schemas.decode import Row
from schemas.sources import Source
from tests.support.fast_scan import scanned
from tests.support.readings import T0, ZONE, reading
from tests.support.rows import bits

READING = {"device_id": "WL-0042", "metric": "water_level_mm", "value": 12.5, "ts": T0}
CAMERA_EVENT = {"camera_id": "CAM-7", "event": "waterlogging", "confidence": 0.87, "ts": T0}
TICKET = {"ticket_id": "T-1", "category": "flood", "text": "路面积水", "ts": T0}
RECORDS: dict[Source, dict[str, Any]] = {
    Source.READINGS: READING,
    Source.CAMERA_EVENTS: CAMERA_EVENT,
    Source.TICKETS: TICKET,
}
OPTIONAL: dict[Source, tuple[str, ...]] = {
    Source.READINGS: ("unit", "quality", "device_type", "firmware"),
    Source.CAMERA_EVENTS: ("count", "track_id", "snapshot_url", "plate_hash", "bbox"),
    Source.TICKETS: (
        "urgency",
        "address",
        "caller_name",
        "caller_phone",
        "channel",
        "parent_ticket_id",
        "due_ts",
        "due_ms",
    ),
}


def assert_the_reference_agrees(source: Source, payloads: Sequence[bytes]) -> list[Row | None]:
    rows = scanned(source, payloads)
    for payload, row in zip(payloads, rows, strict=True):
        if row is not None:
            assert bits(row) == bits(reference.decode(source, payload, ZONE)), payload
    return rows


# What may stand for a value: usual ones, odd ones, and plain text put in as it is.
words = st.one_of(
    st.text(max_size=20), st.sampled_from(["mm", "good", "GCJ-02", "积水", "a" * 256, "a" * 257, "é" * 129])
)
numbers = st.one_of(
    st.integers(-(10**19), 10**19),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-200, 200, places=6).map(lambda number: Raw(str(number))),
    st.sampled_from(["0", "-0", "-0.0", "0.0", "01", "1.", ".5", "+1", "1e5", "1E-3", "1e400", "9007199254740993"]).map(
        lambda text: Raw(text)
    ),
)
times = st.one_of(
    st.integers(946_684_799_990, 4_102_444_800_010),
    st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds") + "Z"),
    st.tuples(st.datetimes(), st.sampled_from(["Z", "+08:00", "-05:30", "", "z", "+14:01", "-00:00", "+24:00"])).map(
        lambda pair: pair[0].isoformat(timespec="seconds") + pair[1]
    ),
    st.sampled_from(["2024-02-29T12:00:00Z", "2023-02-29T12:00:00Z", "2024-06-31T12:00:00Z", "2024-06-30T23:59:60Z"]),
)


class Raw(str):
    """Text that goes into a record as it is, without quotes."""

    __slots__ = ()


def values_for(name: str) -> st.SearchStrategy[Any]:
    if name in ("ts", "due_ts"):
        return times
    if name in ("value", "confidence", "lon", "lat", "count"):
        return st.one_of(numbers, st.floats(0, 1), st.integers(0, 90))
    if name == "quality":
        return st.sampled_from(["good", "suspect", "bad", "Good", ""])
    if name == "datum":
        return st.sampled_from(["WGS-84", "WGS84", "CGCS2000", "GCJ-02", "GCJ02", "BD-09", "BD09", "gcj02", "x"])
    if name == "urgency":
        return st.sampled_from(["normal", "urgent", "critical", "high"])
    if name == "track_id":
        return st.one_of(words, numbers)
    return words


def written(pairs: Sequence[tuple[str, Any]], comma: str, colon: str, *, escaped: bool) -> bytes:
    fields = (
        f'"{name}"{colon}{value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=escaped)}'
        for name, value in pairs
    )
    return f"{{{comma.join(fields)}}}".encode()


@st.composite
def records(draw: st.DrawFn) -> tuple[Source, bytes]:
    source = draw(st.sampled_from(Source))
    names = list(RECORDS[source])
    names += draw(st.lists(st.sampled_from((*OPTIONAL[source], "datum")), unique=True))
    if draw(st.booleans()):
        names += ["lon", "lat"]
    usual = draw(st.booleans())
    pairs = [
        (name, RECORDS[source][name] if usual and name in RECORDS[source] else draw(values_for(name)))
        for name in draw(st.permutations(names))
    ]
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n  ", " : ")]))
    return source, written(pairs, comma, colon, escaped=draw(st.booleans()))


@st.composite
def hurt_records(draw: st.DrawFn) -> tuple[Source, bytes]:
    source, payload = draw(records())
    data = bytearray(payload)
    pieces = st.one_of(
        st.binary(max_size=3), st.sampled_from([b'"', b"\\", b",", b":", b"}", b'"ts":1', b"\xed\xa0\x80"])
    )
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(pieces)
    return source, bytes(data)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(records())
def test_records_that_the_scan_takes_mean_the_same_to_the_reference(record: tuple[Source, bytes]) -> None:
    source, payload = record
    assert_the_reference_agrees(source, [payload])


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(hurt_records(), hurt_records())
def test_hurt_records_that_the_scan_takes_mean_the_same_to_the_reference(
    one: tuple[Source, bytes], other: tuple[Source, bytes]
) -> None:
    assert_the_reference_agrees(one[0], [one[1], other[1], one[1]])


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(Source), st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_that_the_scan_takes_mean_the_same_to_the_reference(source: Source, payloads: list[bytes]) -> None:
    assert_the_reference_agrees(source, payloads)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(Source), st.lists(st.sampled_from(b'{}",:1-. \n\\tsen'), max_size=40).map(bytes))
def test_json_like_bytes_that_the_scan_takes_mean_the_same_to_the_reference(source: Source, payload: bytes) -> None:
    assert_the_reference_agrees(source, [payload, json.dumps(RECORDS[source]).encode() + payload])


@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n  ", " : ")])
def test_the_usual_shapes_are_taken(source: Source, separators: tuple[str, str]) -> None:
    """If these went the slow way nothing would be wrong but the speed."""
    place = {"lon": 121.473701, "lat": 31.230416}
    optional: dict[Source, dict[str, Any]] = {
        Source.READINGS: {"unit": "mm", "quality": "suspect", "device_type": "雷达水位计"},
        Source.CAMERA_EVENTS: {"count": 3, "track_id": 17, "snapshot_url": "https://media.example/1.jpg?a=b"},
        Source.TICKETS: {"address": "徐汇区漕溪北路 398 号", "caller_phone": "13800138000", "urgency": "urgent",
                         "due_ts": 946_684_800_000},
    }  # fmt: skip
    record = RECORDS[source]
    shapes = [
        record,
        {**record, **place},
        {**record, **optional[source], **place, "datum": "GCJ-02"},
        {**place, **dict(reversed(record.items()))},
        {**record, "ts": "2026-07-01T08:00:00+08:00"},
        {**record, "ts": "2026-07-01T00:00:00.250Z"},
        {**record, "lon": -180, "lat": 90.0},
    ]
    if source is Source.TICKETS:
        shapes.append({**record, "due_ts": "2026-07-08T18:00:00+08:00"})
        shapes.append({"due_ts": T0 - 1, **record})
    payloads = [json.dumps(shape, ensure_ascii=False, separators=separators).encode() for shape in shapes]
    rows = assert_the_reference_agrees(source, [*payloads, b" " + payloads[0] + b"\n"])
    assert None not in rows


@pytest.mark.parametrize(
    "value",
    ["0", "1", "-1", "0.5", "152.5", "-0.000001", "12345678", "123456789.125", "9007199254740992", "0.1", "1.10"],
)
def test_plain_numbers_are_taken_bit_for_bit(value: str) -> None:
    payload = reading().replace(b"12.5", value.encode())
    (row,) = assert_the_reference_agrees(Source.READINGS, [payload])
    assert row is not None and row.value == float(value)


def test_every_kind_of_day_and_zone_is_the_same_time() -> None:
    days = [
        f"{year}-{month:02}-{day:02}"
        for year in (1999, 2000, 2001, 2023, 2024, 2025, 2099, 2100)
        for month in range(14)
        for day in (0, 1, 28, 29, 30, 31, 32)
    ]
    clocks = ["00:00:00", "23:59:59.999", "24:00:00", "12:60:00", "12:00:60", "12:00:00.5", "1:00:00", "12.00.00"]
    zones = [
        "Z",
        "z",
        "",
        "+00:00",
        "-00:00",
        "+08:00",
        "-09:30",
        "+14:00",
        "+14:01",
        "+15:00",
        "+08:60",
        "+0800",
        "+8:00",
    ]
    texts = [f"{day}T00:00:00Z" for day in days] + [f"2026-07-01T{clock}{zone}" for clock in clocks for zone in zones]
    rows = assert_the_reference_agrees(Source.READINGS, [reading(ts=text) for text in texts])
    taken = {text for text, row in zip(texts, rows, strict=True) if row is not None}
    assert {"2024-02-29T00:00:00Z", "2099-12-31T00:00:00Z", "2026-07-01T23:59:59.999-09:30"} <= taken
    assert len(taken) > 300


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"null",
        reading()[:-1],
        reading() + b"}",
        reading() + reading(),
        reading(value="12.5"),
        reading(value=True),
        reading(value=None),
        reading().replace(b"12.5", b"012.5"),
        reading().replace(b"12.5", b"-0"),
        reading().replace(b"12.5", b"9007199254740993"),
        reading().replace(b"12.5", b"1.7976931348623159e308"),
        reading().replace(b"12.5", b"12.5,"),
        reading().replace(b"12.5", b'12.5,"value":12.5'),
        reading(ts=T0 // 1000),
        reading(ts=float(T0)),
        reading(ts=253_402_300_799_000),
        reading(lon=121.5),
        reading(lon=181, lat=1),
        reading(lon=31.2, lat=121.5),
        reading(unit=""),
        reading(device=""),
        reading(device="a" * 257),
        reading(device='say "a"'),
        reading(device="tab\there"),
        reading(color="red"),
        reading(quality="fine"),
        reading(device="x" * 65_536),
        reading().replace(b"WL-0042", b"WL\xff0042"),
        reading().replace(b"WL-0042", b"WL\xed\xa0\x800042"),
        reading().replace(b"WL-0042", b"WL\xc0\xaf0042"),
    ],
)
def test_whatever_is_odd_is_left_to_the_reference(payload: bytes) -> None:
    assert scanned(Source.READINGS, [payload]) == [None]


def test_a_record_that_is_cut_off_never_goes_on_into_its_neighbour() -> None:
    whole = reading(lon=121.5, lat=31.25, unit="mm")
    for cut in range(1, len(whole)):
        first, second, third = scanned(Source.READINGS, [whole[:cut], whole[cut:], whole])
        assert (first, second) == (None, None)
        assert third is not None


def test_more_distinct_kinds_than_the_table_has_room_for_are_left_to_the_reference() -> None:
    payloads = [json.dumps({**READING, "metric": f"metric_{number}"}).encode() for number in range(1_500)]
    rows = assert_the_reference_agrees(Source.READINGS, payloads)
    assert [row is not None for row in rows] == [True] * 1_024 + [False] * 476
