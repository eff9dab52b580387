"""Frames: what was encoded is decoded without copying, and anything else is refused with FrameError."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import FrameError
from schemas.examples import FRAME_HEADER
from schemas.observation import (
    COLUMN_NOTES,
    HEADER_KEY,
    NO_CELL,
    NO_PLACE_E7,
    OBSERVATION,
    Cover,
    Flag,
    FrameHeader,
    decode_frame,
    decode_packed,
    empty_batch,
    encode_frame,
)
from schemas.sources import Source


def batch_of(rows: int, *, unit: str | None = "mm") -> pa.RecordBatch:
    def coded(index: pa.DataType, value: str | None) -> pa.Array:
        codes = pa.array([None if value is None else 0] * rows, index)
        return pa.DictionaryArray.from_arrays(codes, pa.array([] if value is None else [value], pa.utf8()))

    numbers = np.arange(rows)
    columns = {
        "event_at": pa.array(1_782_864_000_000 + numbers, pa.timestamp("ms", tz="UTC")),
        "received_at": pa.array(1_782_864_000_100 + numbers, pa.timestamp("ms", tz="UTC")),
        "cell": pa.array(np.where(numbers % 2, numbers, NO_CELL)),
        "source": coded(pa.int8(), Source.READINGS.topic),
        "partition": pa.array(np.zeros(rows, np.int32)),
        "offset": pa.array(numbers),
        "kind": coded(pa.int32(), "water_level_mm"),
        "entity": pa.array([f"设备-{number}" for number in numbers], pa.utf8()),
        "value": pa.array(np.where(numbers % 3, numbers / 7, np.nan)),
        "confidence": pa.array(np.ones(rows, np.float32)),
        "quality": pa.array(np.zeros(rows, np.uint8)),
        "flags": pa.array(np.full(rows, Flag.LATE | Flag.UNPLACED, np.uint16)),
        "lon_e7": pa.array(np.full(rows, NO_PLACE_E7, np.int32)),
        "lat_e7": pa.array(np.full(rows, NO_PLACE_E7, np.int32)),
        "unit": coded(pa.int32(), unit),
        "device_type": coded(pa.int32(), None),
        "extra": pa.array(['{"text":"积水"}' if number % 2 else None for number in numbers], pa.utf8()),
        "jurisdiction": coded(pa.int32(), "310104003"),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=OBSERVATION)


int64s = st.integers(-(2**63), 2**63 - 1)
covers = st.builds(
    Cover,
    source=st.sampled_from([int(source) for source in Source]),
    partition=st.integers(0, 2**31 - 1),
    first=int64s,
    last=int64s,
    watermark_ms=int64s,
    max_event_ms=int64s,
    idle=st.booleans(),
    arrived_ms=int64s,
)


@given(st.integers(0, 1023), st.lists(covers, max_size=4), st.integers(0, 30), st.sampled_from([None, "mm"]))
def test_a_frame_decodes_to_what_was_encoded(shard: int, covered: list[Cover], rows: int, unit: str | None) -> None:
    header, batch = FrameHeader(shard=shard, covers=covered), batch_of(rows, unit=unit)
    found_header, found = decode_frame(encode_frame(header, batch))
    assert found_header == header
    assert found.schema.equals(OBSERVATION, check_metadata=True)
    assert found.to_pydict().keys() == batch.to_pydict().keys()
    assert repr(found.to_pylist()) == repr(batch.to_pylist())  # repr: NaN is not equal to itself


def test_a_header_frame_has_no_rows() -> None:
    for batch in (None, empty_batch()):
        header, rows = decode_frame(encode_frame(FRAME_HEADER, batch))
        assert header == FRAME_HEADER
        assert rows.num_rows == 0
        assert rows.schema.equals(OBSERVATION, check_metadata=True)


def test_equal_frames_are_equal_bytes() -> None:
    assert encode_frame(FRAME_HEADER, batch_of(5)) == encode_frame(FRAME_HEADER, batch_of(5))


def test_reading_some_narrow_columns_copies_no_row() -> None:
    frame = encode_frame(FRAME_HEADER, batch_of(10_000))
    before = pa.total_allocated_bytes()
    _, batch = decode_packed(frame, ["value", "offset"])
    assert batch is not None
    assert pa.total_allocated_bytes() - before < 4096
    start = pa.py_buffer(frame).address
    for column in batch.columns:
        assert start <= column.buffers()[1].address < start + len(frame)
    assert [str(field.type) for field in batch.schema] == ["double", "uint16"]


def test_a_frame_takes_much_less_than_its_columns() -> None:
    batch = batch_of(10_000)
    assert len(encode_frame(FRAME_HEADER, batch)) < batch.nbytes / 2


def test_any_buffer_is_read_like_bytes() -> None:
    frame = encode_frame(FRAME_HEADER, batch_of(3))
    (_, seen), (_, held) = decode_frame(memoryview(frame)), decode_frame(pa.py_buffer(frame))
    assert repr(seen.to_pylist()) == repr(held.to_pylist())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_frame(payload: bytes) -> None:
    with pytest.raises(FrameError, match="schemas/observation"):
        decode_frame(payload)


def test_a_damaged_frame_is_refused_or_still_has_sound_columns() -> None:
    """Arrow has no checksum (Kafka has): what gets through must at least not lead anybody outside its buffers."""
    frame, chance, refused = encode_frame(FRAME_HEADER, batch_of(7)), random.Random(3), 0
    for _ in range(2000):
        damaged = bytearray(frame)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(damaged)) :]
        try:
            _, batch = decode_frame(bytes(damaged))
        except FrameError:
            refused += 1
        else:
            batch.validate(full=True)
    assert refused > 500


def stream_of(schema: pa.Schema, *batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def header_of(version: int) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(FRAME_HEADER, version=version))


def test_other_arrow_streams_are_refused_with_the_difference() -> None:
    for version in (1, 2, 3):
        with pytest.raises(FrameError, match=rf"version {version}: expected event_at, .*; got a"):
            decode_frame(stream_of(pa.schema([("a", pa.int8())], {HEADER_KEY: header_of(version)})))
    wider = OBSERVATION.set(8, pa.field("value", pa.float32(), nullable=False))
    with pytest.raises(FrameError, match="expected value: double not null, got value: float not null"):
        decode_frame(stream_of(wider.with_metadata({HEADER_KEY: header_of(2)})))
    with pytest.raises(FrameError, match="no 'tongguan' header"):
        decode_frame(stream_of(OBSERVATION, batch_of(1)))


@pytest.mark.parametrize(
    "header", [b"", b"{}", b"[", b'{"shard":-1,"covers":[]}', b"\xff", b'{"shard":"1","covers":[]}']
)
def test_an_unreadable_header_is_refused(header: bytes) -> None:
    with pytest.raises(FrameError, match="unreadable frame header"):
        decode_frame(stream_of(OBSERVATION.with_metadata({HEADER_KEY: header})))


def test_a_frame_of_another_version_is_refused() -> None:
    for version in (0, 4):
        with pytest.raises(FrameError, match=f"frame version {version}, this program reads 1, 2 and 3"):
            decode_frame(stream_of(OBSERVATION.with_metadata({HEADER_KEY: header_of(version)})))


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_a_frame_of_version_2_is_read_as_it_was(rows: int) -> None:
    """Columns at full width, and all of them in a header frame, too."""
    schema = OBSERVATION.with_metadata({HEADER_KEY: header_of(2)})
    batch = batch_of(rows)
    found, read = decode_frame(stream_of(schema, *([batch.replace_schema_metadata(schema.metadata)] if rows else [])))
    assert found == msgspec.structs.replace(FRAME_HEADER, version=2)
    assert read.schema.equals(OBSERVATION, check_metadata=True)
    assert repr(read.to_pylist()) == repr(batch.to_pylist())


def test_a_frame_from_before_jurisdictions_is_read_without_any() -> None:
    older = batch_of(3).drop_columns(["jurisdiction"])
    header = msgspec.structs.replace(FRAME_HEADER, version=1)
    schema = older.schema.with_metadata({HEADER_KEY: msgspec.json.encode(header)})
    found, rows = decode_frame(stream_of(schema, older.replace_schema_metadata(schema.metadata)))
    assert found == header
    assert rows.schema.equals(OBSERVATION)
    assert rows.column("jurisdiction").to_pylist() == [None] * 3
    assert rows.drop_columns(["jurisdiction", "value"]).equals(older.drop_columns(["value"]))  # NaN equals nothing


def test_a_frame_with_two_batches_is_refused() -> None:
    schema = OBSERVATION.with_metadata({HEADER_KEY: header_of(2)})
    with pytest.raises(FrameError, match="expected one batch"):
        decode_frame(stream_of(schema, batch_of(1), batch_of(1)))


def test_a_batch_with_other_columns_cannot_be_framed() -> None:
    with pytest.raises(FrameError, match="columns of a frame: expected"):
        encode_frame(FRAME_HEADER, batch_of(1).drop_columns(["extra"]))


def test_every_column_says_what_it_is() -> None:
    assert list(COLUMN_NOTES) == OBSERVATION.names


def test_flags_fit_their_column() -> None:
    assert max(Flag) < 2**16
    assert all(flag.value & (flag.value - 1) == 0 for flag in Flag)
