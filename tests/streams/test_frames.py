"""Frames hold every row once for its shard, once more for each halo, in offset order, whatever way they are cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.observation import OBSERVATION, Flag, FrameHeader, decode_frame, write_frame
from schemas.packed import unpack
from schemas.sources import Source
from streams.frames import FrameBuilder, Piece
from streams.locate_settings import LocateSettings
from streams.placing import Placed, WatermarkState
from tests.support.decoded_rows import SHARDS, T0, DecodedRow, Tables, nowhere

Blocks = list[tuple[Source, int, list[DecodedRow]]]
Read = tuple[int, pa.RecordBatch, Piece]


def build(
    tables: Tables, blocks: Blocks, *, max_rows: int = 65_536, max_bytes: int = 8 * 1024 * 1024
) -> tuple[list[Placed], list[Read]]:
    """Place and frame; every batch goes through its encoding before the next one is asked for."""
    placer = tables.placer(LocateSettings())
    placed = [
        placer.place(tables.columns(rows, source=source, partition=partition), WatermarkState())[0]
        for source, partition, rows in blocks
    ]
    builder = FrameBuilder(
        SHARDS.count, tables.kinds, tables.units, tables.device_types, max_rows=max_rows, max_bytes=max_bytes
    )
    return placed, read(builder, placed)


def read(builder: FrameBuilder, placed: Sequence[Placed]) -> list[Read]:
    frames = []
    for piece in builder.build(placed):
        header, batch = decode_frame(write_frame(FrameHeader(shard=piece.shard, covers=[]), piece.batch))
        frames.append((header.shard, batch, piece))
    return frames


def expected(tables: Tables, placed: Sequence[Placed], shard: int) -> list[dict[str, object]]:
    """What one shard must get, by the plainest loop."""
    rows = []
    for block in placed:
        c = block.columns
        for i in range(c.n):
            mine = block.shard[i] == shard
            copied = any(block.halo_shard[h] == shard for h in np.flatnonzero(block.halo_row == i))
            if not mine and not copied:
                continue
            rows.append(
                {
                    "event_at": int(c.event_at_ms[i]),
                    "received_at": int(c.received_at_ms[i]),
                    "cell": int(block.cell[i]),
                    "source": c.source.topic,
                    "partition": c.partition,
                    "offset": int(c.offset[i]),
                    "kind": tables.kinds.values[c.kind[i]],
                    "entity": c.entity(i),
                    "value": float(c.value[i]),
                    "confidence": float(c.confidence[i]),
                    "quality": int(block.quality[i]),
                    "flags": int(block.flags[i]) | (0 if mine else int(Flag.HALO)),
                    "lon_e7": int(block.lon_e7[i]),
                    "lat_e7": int(block.lat_e7[i]),
                    "unit": None if c.unit[i] < 0 else tables.units.values[c.unit[i]],
                    "device_type": None if c.device_type[i] < 0 else tables.device_types.values[c.device_type[i]],
                    "extra": c.extra[i].decode() if i in c.extra else None,
                    "jurisdiction": None,
                }
            )
    return rows


def rows_of(batch: pa.RecordBatch) -> list[dict[str, object]]:
    plain = batch.set_column(0, "event_at", batch.column(0).cast(pa.int64()))
    rows: list[dict[str, object]] = plain.set_column(1, "received_at", plain.column(1).cast(pa.int64())).to_pylist()
    return rows


ROWS = st.builds(
    DecodedRow,
    offset=st.just(0),
    event_at_ms=st.integers(T0 - 10_000, T0),
    kind=st.sampled_from(["water_level_mm", "speed_kmh", "水位", "other"]),
    value=st.floats(-1e6, 1e6),
    entity=st.sampled_from(
        ["a", "井盖-7", "device-with-a-long-name-0123456789", "x" * 256, "eight-by", "sixteen-bytes-id"]
    ),
    lon=st.floats(120.99, 121.41) | st.just(math.nan),
    lat=st.just(31.2005),
    unit=st.sampled_from([None, "mm", "厘米"]),
    device_type=st.sampled_from([None, "gauge"]),
    extra=st.sampled_from([None, None, b'{"text":"\xe6\xb0\xb4"}', b'{"a":1}']),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(Source), st.lists(ROWS, max_size=30)), max_size=4),
    st.integers(1, 40),
    st.integers(300, 20_000),
)
def test_every_row_is_in_the_frames_of_its_shards_and_nowhere_else(
    parts: list[tuple[Source, list[DecodedRow]]], max_rows: int, max_bytes: int
) -> None:
    tables = Tables()
    blocks: Blocks = []
    for number, (source, rows) in enumerate(parts):
        for i, row in enumerate(rows):
            row.offset = 3 * i + number
        blocks.append((source, number, rows))
    placed, frames = build(tables, blocks, max_rows=max_rows, max_bytes=max_bytes)
    for shard in range(SHARDS.count):
        got = [row for at, batch, _ in frames if at == shard for row in rows_of(batch)]
        assert got == expected(tables, placed, shard)
    assert all(0 < batch.num_rows <= max_rows for _, batch, _ in frames)


def test_times_too_far_apart_for_a_narrow_column_are_written_as_they_are() -> None:
    tables = Tables()
    rows = [DecodedRow(0, event_at_ms=T0 - 60 * 86_400_000, received_at_ms=T0), DecodedRow(1), DecodedRow(2)]
    placed, frames = build(tables, [(Source.READINGS, 0, rows)])
    got = [row for _, batch, _ in frames for row in rows_of(batch)]
    assert [row["event_at"] for row in got] == [row.event_at_ms for row in rows]
    assert got == [row for shard in range(SHARDS.count) for row in expected(tables, placed, shard)]


def test_pieces_say_how_far_they_take_each_raw_partition() -> None:
    tables = Tables()
    first = [DecodedRow(offset) for offset in (10, 11, 15)]
    second = [DecodedRow(offset) for offset in (3, 4)]
    _, frames = build(tables, [(Source.READINGS, 0, first), (Source.READINGS, 1, second)], max_rows=2)
    spans = [[(span.key, span.last, span.complete) for span in piece.spans] for _, _, piece in frames]
    assert spans == [
        [((0, 0), 11, False)],
        [((0, 0), 15, True), ((0, 1), 3, False)],
        [((0, 1), 4, True)],
    ]
    assert [piece.final for _, _, piece in frames] == [False, False, True]


def test_large_extras_make_more_frames_and_a_huge_one_gets_its_own() -> None:
    tables = Tables()
    texts = [b'"' + b"x" * size + b'"' for size in (10, 400, 400, 5_000, 10)]
    rows = [DecodedRow(i, extra=text) for i, text in enumerate(texts)]
    _, frames = build(tables, [(Source.TICKETS, 0, rows)], max_bytes=1_200)
    assert [batch.column("offset").to_pylist() for _, batch, _ in frames] == [[0, 1, 2], [3], [4]]


def test_a_frame_carries_only_the_strings_it_uses() -> None:
    tables = Tables()
    for number in range(1_000):
        tables.kinds.add(f"kind-{number}")
    _, frames = build(tables, [(Source.READINGS, 0, [DecodedRow(0, kind="kind-500"), DecodedRow(1, kind="kind-7")])])
    (_, batch, _), *more = frames
    assert not more
    assert batch.column("kind").dictionary.to_pylist() == ["kind-7", "kind-500"]


def test_tables_that_began_anew_do_not_give_old_words() -> None:
    tables = Tables()
    placer = tables.placer(LocateSettings())
    builder = FrameBuilder(SHARDS.count, tables.kinds, tables.units, tables.device_types)
    for kind in ("before", "after"):
        placed, _, _ = placer.place(tables.columns([DecodedRow(0, kind=kind)]), WatermarkState())
        ((_, batch, _),) = read(builder, [placed])
        assert batch.column("kind").to_pylist() == [kind]
        tables.kinds.clear()


def test_refused_rows_are_in_no_frame() -> None:
    tables = Tables()
    _, frames = build(tables, [(Source.READINGS, 0, [DecodedRow(0, lon=0.0), DecodedRow(1), DecodedRow(2, lon=0.0)])])
    assert [batch.column("offset").to_pylist() for _, batch, _ in frames] == [[1]]


def test_no_blocks_and_blocks_without_rows_make_no_frames() -> None:
    tables = Tables()
    assert build(tables, [])[1] == []
    assert build(tables, [(Source.READINGS, 0, [])])[1] == []


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_single_row_looks_as_it_does_in_its_frame(row: int) -> None:
    tables = Tables()
    rows = [DecodedRow(0, entity="T-1", extra=b'{"a":1}'), nowhere(1, entity="T-2"), DecodedRow(2, unit="mm")]
    placer = tables.placer(LocateSettings())
    placed, _, _ = placer.place(tables.columns(rows, source=Source.TICKETS), WatermarkState())
    builder = FrameBuilder(SHARDS.count, tables.kinds, tables.units, tables.device_types)
    alone = unpack(builder.single(placed, row), OBSERVATION).to_pylist()
    everything = [r for _, batch, _ in read(builder, [placed]) for r in batch.to_pylist()]
    assert alone == [r for r in everything if r["offset"] == row]


def test_frames_of_one_flush_do_not_disturb_those_of_the_next() -> None:
    tables = Tables()
    placer = tables.placer(LocateSettings())
    builder = FrameBuilder(SHARDS.count, tables.kinds, tables.units, tables.device_types)
    for size in (5, 4_000, 3, 9_000):
        rows = [DecodedRow(i, entity=f"entity-{i}", extra=b"{}" if i % 3 else None) for i in range(size)]
        placed, _, _ = placer.place(tables.columns(rows), WatermarkState())
        got = [row for _, batch, _ in read(builder, [placed]) for row in batch.to_pylist()]
        assert [row["entity"] for row in got] == [row.entity for row in rows]
        assert [row["extra"] for row in got] == [None if row.extra is None else "{}" for row in rows]


def test_the_schema_is_that_of_observations() -> None:
    tables = Tables()
    _, frames = build(tables, [(Source.READINGS, 0, [DecodedRow(0)])])
    assert frames[0][1].schema.equals(OBSERVATION)
