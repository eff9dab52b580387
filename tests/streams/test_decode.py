"""Decoding a partition's batches: each record ends as a row or a dead letter, in order, as the reference says."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import decode as reference
from schemas.dead_letter import DeadLetter, Reason
from schemas.errors import BadRecord
from schemas.sources import Source
from streams import decode as decode_module
from streams.batches import CorruptBatch, RawBatch
from streams.codecs import Codec
from streams.columns import NO_CODE
from streams.decode import Decoded, Decoder, warm_up
from streams.strings import StringTable
from tests.support.kafka_bytes import HEADER_BYTES, Value, batch_bytes, decoded, raw_batch
from tests.support.readings import T0, ZONE, decoder, reading

GOOD = [
    reading(device="fast"),
    reading(device='slow "quoted"', lon=121.5, lat=31.25, datum="gcj02", quality="bad"),
    reading(device="extra", firmware="1.2", unit="mm"),
    reading(device="", value=1)[:-1] + b',"device_id":"a"}',
    None,
    b"",
    reading(device="积水-1", unit="毫米", device_type="雷达"),
    reading(value="12"),
    b"\xff\xfe",
    reading(device="last", ts="2026-07-01 08:00:00"),
]

samples: st.SearchStrategy[list[Value]] = st.lists(
    st.one_of(
        st.sampled_from(GOOD),
        st.binary(max_size=30),
        st.builds(
            reading,
            device=st.text(max_size=12),
            value=st.one_of(st.integers(-(10**9), 10**9), st.floats(-1e9, 1e9)),
            ts=st.integers(T0 - 10**6, T0 + 10**6),
        ),
    ),
    min_size=1,
    max_size=25,
)


def expected(
    source: Source, values: Sequence[Value]
) -> tuple[dict[int, reference.Row], dict[int, tuple[str, str, str]]]:
    """By offset: rows, and (reason, path, detail) of the records that are none."""
    rows, faults = {}, {}
    for offset, value in enumerate(values):
        try:
            rows[offset] = reference.decode(source, value, ZONE)
        except BadRecord as error:
            faults[offset] = (str(error.reason), error.path, error.detail)
    return rows, faults


def rows_of(result: Decoded, by: Decoder) -> dict[int, reference.Row]:
    columns = result.columns
    found = {}
    for row in range(columns.n):
        unit, device_type = int(columns.unit[row]), int(columns.device_type[row])
        found[int(columns.offset[row])] = reference.Row(
            event_at_ms=int(columns.event_at_ms[row]),
            entity=columns.entity(row),
            kind=by._kinds.values[columns.kind[row]],
            value=float(columns.value[row]),
            confidence=float(columns.confidence[row]),
            quality=int(columns.quality[row]),
            unit=None if unit == NO_CODE else by._units.values[unit],
            device_type=None if device_type == NO_CODE else by._types.values[device_type],
            datum=int(columns.datum[row]),
            lon=float(columns.lon[row]),
            lat=float(columns.lat[row]),
            extra=columns.extra.get(row),
        )
    return found


def faults_of(letters: Sequence[DeadLetter]) -> dict[int, tuple[str, str, str]]:
    return {letter.offset: (str(letter.reason), letter.path, letter.detail) for letter in letters}


def assert_as_the_reference(values: Sequence[Value], result: Decoded, by: Decoder) -> None:
    rows, faults = expected(result.columns.source, values)
    assert {at: row.comparable() for at, row in rows_of(result, by).items()} == {
        at: row.comparable() for at, row in rows.items()
    }
    assert faults_of(result.letters) == faults
    offsets = result.columns.offset.tolist()
    assert offsets == sorted(offsets)
    assert [letter.offset for letter in result.letters] == sorted(faults)
    assert len(result.columns.entity_data) == result.columns.entity_offsets[-1]


def test_fast_slow_and_bad_records_end_where_the_reference_says() -> None:
    by = decoder()
    result = decoded(by, Source.READINGS, GOOD)
    assert_as_the_reference(GOOD, result, by)
    assert [result.columns.entity(row) for row in range(result.columns.n)] == [
        "fast",
        'slow "quoted"',
        "extra",
        "积水-1",
        "last",
    ]
    assert result.columns.extra == {2: b'{"firmware":"1.2"}'}
    assert [letter.reason for letter in result.letters] == [
        Reason.DUPLICATE_KEY,
        Reason.NULL_VALUE,
        Reason.EMPTY,
        Reason.BAD_TYPE,
        Reason.BAD_JSON,
    ]
    assert {letter.received_at_ms for letter in result.letters} == {T0}
    assert [letter.payload for letter in result.letters[3:]] == [reading(value="12"), b"\xff\xfe"]


@settings(deadline=None, max_examples=150)
@given(samples)
def test_any_mix_of_records_ends_where_the_reference_says(values: list[Value]) -> None:
    by = decoder()
    assert_as_the_reference(values, decoded(by, Source.READINGS, values), by)


@settings(deadline=None, max_examples=100)
@given(samples, st.lists(st.integers(1, 6), min_size=1), st.sampled_from(["none", "lz4", "zstd", "snappy", "gzip"]))
def test_how_records_are_cut_into_batches_does_not_matter(values: list[Value], sizes: list[int], codec: str) -> None:
    batches: list[RawBatch] = []
    start = 0
    while start < len(values):
        part = values[start : start + sizes[len(batches) % len(sizes)]]
        data = batch_bytes(part, base_offset=start, codec=codec)
        kind = Codec[codec.upper()]
        batches.append(RawBatch(start, start + len(part), len(part), T0, True, data[HEADER_BYTES:], kind))
        start += len(part)
    by = decoder()
    result = by.decode(Source.READINGS, "readings", 3, batches)
    assert_as_the_reference(values, result, by)
    assert (result.first_offset, result.last_offset) == (0, len(values) - 1)


def test_groups_of_batches_join_seamlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "GROUP_BYTES", 700)
    chance = random.Random(5)
    values = [chance.choice(GOOD) for _ in range(200)]
    batches = [raw_batch(values[at : at + 3], base_offset=at) for at in range(0, 200, 3)]
    by = decoder()
    assert_as_the_reference(values, by.decode(Source.READINGS, "readings", 3, batches), by)


@pytest.mark.parametrize("size", [1, 5, 60])
def test_a_batch_larger_than_the_buffer_makes_it_grow(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "GROUP_BYTES", 256)
    monkeypatch.setattr(decode_module, "MOST_BATCH_BYTES", 64 * 1024)
    values: list[Value] = [reading(device=f"D-{number}") for number in range(size)]
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        by = decoder()
        data = batch_bytes(values, codec=codec)[HEADER_BYTES:]
        batch = RawBatch(0, size, size, T0, True, data, Codec[codec.upper()])
        assert_as_the_reference(values, by.decode(Source.READINGS, "readings", 3, [batch]), by)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_unpacks_to_too_much_is_one_letter(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "MOST_BATCH_BYTES", 2 * 1024 * 1024)
    data = batch_bytes([b"0" * 60_000] * 50, codec=codec)[HEADER_BYTES:]
    bomb = RawBatch(0, 50, 50, T0, True, data, Codec[codec.upper()])
    by = decoder()
    result = by.decode(Source.READINGS, "readings", 3, [bomb, raw_batch([reading()], base_offset=50)])
    assert [(letter.offset, letter.reason) for letter in result.letters] == [(0, Reason.CORRUPT_BATCH)]
    assert result.letters[0].detail == "offsets 0..49: it unpacks to more than 2097152 bytes"
    assert len(result.letters[0].payload) <= 16 * 1024
    assert result.columns.offset.tolist() == [50]


def test_a_batch_that_claims_too_many_records_is_one_letter() -> None:
    batch = RawBatch(0, 2_000_000, 2_000_000, T0, True, b"")
    (letter,) = decoder().decode(Source.READINGS, "readings", 3, [batch]).letters
    assert letter.detail.endswith("it claims 2000000 records, more than 1000000")


def test_batches_of_damaged_records_are_one_letter_each_and_nothing_is_read_out_of_bounds() -> None:
    chance = random.Random(11)
    values = [reading(device=f"D-{number}") for number in range(6)]
    data = batch_bytes(values, keys=True)[HEADER_BYTES:]
    by = decoder()
    refused = 0
    for _ in range(4_000):
        hurt = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            hurt[chance.randrange(len(hurt))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        batch = RawBatch(
            0, 6, 6, T0, True, bytes(hurt)[: chance.randint(0, len(hurt)) if chance.random() < 0.2 else None]
        )
        result = by.decode(Source.READINGS, "readings", 3, [batch, raw_batch(values[:1], base_offset=6)])
        assert result.columns.offset[-1] == 6
        if result.columns.n == 1 and len(result.letters) == 1:
            refused += 1
            assert result.letters[0].reason == Reason.CORRUPT_BATCH
        else:
            assert result.columns.n + len(result.letters) == 7
    assert refused > 500


def test_corrupt_batches_and_rows_keep_their_order() -> None:
    corrupt = CorruptBatch(1, 5, T0, b"bytes", "the checksum does not match", skip_before=2)
    result = decoder().decode(
        Source.READINGS, "readings", 3, [raw_batch([b"bad"]), corrupt, raw_batch([b"bad", reading()], base_offset=5)]
    )
    assert [(letter.offset, letter.reason) for letter in result.letters] == [
        (0, Reason.BAD_JSON),
        (2, Reason.CORRUPT_BATCH),
        (5, Reason.BAD_JSON),
    ]
    assert result.letters[1].detail == "offsets 2..4: the checksum does not match"
    assert (result.columns.offset.tolist(), result.first_offset, result.last_offset) == ([6], 0, 6)


def test_what_a_dead_record_would_have_kept_goes_to_no_other_row() -> None:
    alive = {"camera_id": "C", "event": "e", "confidence": 0.25, "ts": T0}
    dead = {"camera_id": "C", "event": "e", "track_id": 7, "confidence": 1.5, "ts": T0}
    by = decoder()
    values: list[Value] = [json.dumps(event).encode() for event in (alive, dead, alive)]
    result = decoded(by, Source.CAMERA_EVENTS, values)
    assert_as_the_reference(values, result, by)
    assert (result.columns.n, result.columns.extra) == (2, {})


@pytest.mark.parametrize(
    ("field", "length"),
    [
        *((field, length) for field in ("record", "key", "value") for length in (2**30, 2**31 - 1, 2**62)),
        ("record", -2),  # of a key or value any negative length means null
        ("record", -(2**62)),
    ],
)
def test_lengths_that_lead_out_of_the_batch_are_not_followed(field: str, length: int) -> None:
    value = reading()
    lengths = {"record": len(value) + 8, "key": -1, "value": len(value)}
    lengths[field] = length
    record = b"\x00\x00\x00" + varint(lengths["key"]) + varint(lengths["value"]) + value + b"\x00"
    batch = RawBatch(0, 1, 1, T0, True, varint(lengths["record"]) + record)
    result = decoder().decode(Source.READINGS, "readings", 3, [batch, raw_batch([value], base_offset=1)])
    (letter,) = result.letters
    assert letter.detail == "offsets 0..0: a length inside a record leads out of the record or the batch"
    assert result.columns.offset.tolist() == [1]


def varint(value: int) -> bytes:
    raw = ((value << 1) ^ (value >> 63)) & (2**64 - 1)
    data = bytearray()
    while raw > 0x7F:
        data.append((raw & 0x7F) | 0x80)
        raw >>= 7
    return bytes([*data, raw])


def test_offsets_that_do_not_rise_make_the_batch_one_letter() -> None:
    for offsets in ([0, 2, 2], [0, 2, 1]):
        data = batch_bytes([reading()] * 3, offsets=offsets, next_offset=3)[HEADER_BYTES:]
        result = decoder().decode(Source.READINGS, "readings", 3, [RawBatch(0, 3, 3, T0, True, data)])
        (letter,) = result.letters
        assert letter.detail == "offsets 0..2: record offsets do not rise inside the batch's range"
        assert result.columns.n == 0


def test_camera_events_and_tickets_keep_what_has_no_column() -> None:
    events = [
        {"camera_id": "C", "event": "e", "confidence": 0.25, "ts": T0, "track_id": 7, "plate_hash": "b3c1", "count": 4},
        {"camera_id": "C", "event": "e", "confidence": 1, "ts": T0, "bbox": [1, 2.5, 3, 4]},
        {"camera_id": "C", "event": "e", "confidence": 0, "ts": T0},
    ]
    by = decoder()
    values: list[Value] = [json.dumps(event).encode() for event in events]
    result = decoded(by, Source.CAMERA_EVENTS, values)
    assert_as_the_reference(values, result, by)
    assert result.columns.extra == {0: b'{"track_id":7,"plate_hash":"b3c1"}', 1: b'{"bbox":[1,2.5,3,4]}'}
    assert result.columns.value.tolist() == [4.0, 1.0, 1.0]
    assert math.isnan(result.columns.lon[0])

    ticket = {"ticket_id": "T", "category": "flood", "text": "积水，淹了", "ts": T0, "caller_phone": "13800138000"}
    values = [json.dumps({**ticket, **more}, ensure_ascii=False).encode() for more in ({}, {"urgency": "critical"})]
    result = decoded(by, Source.TICKETS, values)
    assert_as_the_reference(values, result, by)
    assert json.loads(result.columns.extra[0])["urgency"] == "normal"
    assert json.loads(result.columns.extra[1]) == {
        "text": "积水，淹了",
        "caller_phone": "13800138000",
        "urgency": "critical",
    }


def test_more_kinds_than_the_table_has_room_for_all_get_codes() -> None:
    tables = StringTable(room=8), StringTable(room=1), StringTable(room=1)
    by = Decoder(*tables, dict.fromkeys(Source, ZONE))
    values: list[Value] = [
        reading(unit=f"u{n % 50}", device_type=f"t{n % 9}", metric=f"m{n % 300}") for n in range(900)
    ]
    assert_as_the_reference(values, decoded(by, Source.READINGS, values), by)
    assert len(tables[0]) == 300


def test_nothing_to_decode_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        decoder().decode(Source.READINGS, "readings", 0, [])


def test_warming_up_needs_no_broker_and_leaves_nothing_to_compile() -> None:
    warm_up(ZONE)
    from streams import entity_kernels, json_kernels, record_kernels

    kernels: tuple[Any, ...] = (record_kernels.split, json_kernels.scan, entity_kernels.merge_entities)
    before = [len(kernel.signatures) for kernel in kernels]
    decoded(decoder(), Source.READINGS, GOOD)
    assert [len(kernel.signatures) for kernel in kernels] == before
