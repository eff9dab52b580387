"""The join reads of a narrow column what the column stands for, and refuses what everybody refuses."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import FrameError
from schemas.observation import OBSERVATION, Flag, FrameHeader, decode_packed, encode_frame
from schemas.packed import pack, unpack
from streams import frame_columns
from streams.frame_columns import WITH_ENTITIES, WITHOUT_ENTITIES, FrameRows, real_number, whole_number

WHOLE = {"event_at": 0, "cell": 1, "partition": 3, "offset": 4, "quality": 8, "flags": 9}
REAL = {"value": 6, "confidence": 7}
LIMITS = {"partition": (-(2**31), 2**31 - 1), "quality": (0, 255), "flags": (0, 2**16 - 1)}


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    rows = draw(st.integers(1, 8))

    def whole(name: str) -> list[int]:
        low, high = LIMITS.get(name, (-(2**62), 2**62))
        base = draw(st.integers(low, high))
        span = draw(st.sampled_from([0, 200, 60_000, 2**31, 2**40]))
        return draw(st.lists(st.integers(base, min(high, base + span)), min_size=rows, max_size=rows))

    def some(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    words = st.sampled_from(["readings", "camera-events", "tickets"])
    columns: dict[str, list[object]] = {field.name: [None] * rows for field in OBSERVATION}
    columns |= {name: [0] * rows for name in ("received_at", "lon_e7", "lat_e7")}
    columns |= {name: list(whole(name)) for name in WHOLE}
    columns["value"] = some(st.sampled_from([0.0, 0.1, 12.5, -3.0, 1 / 3, float("inf")]))
    columns["confidence"] = some(st.sampled_from([1.0, 0.6, 0.25]) | st.floats(0, 1, width=32))
    columns |= {"source": some(words), "kind": some(words), "entity": some(words)}
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], field.type) for field in OBSERVATION], schema=OBSERVATION
    )


@settings(deadline=None)
@given(batches(), st.booleans())
def test_what_is_read_is_what_the_columns_stand_for(batch: pa.RecordBatch, narrow: bool) -> None:
    """Of frames of this version, and of those before, whose columns have full width."""
    rows = FrameRows((pack(batch) if narrow else batch).select(WITH_ENTITIES))
    assert rows.count == batch.num_rows
    for name, at in WHOLE.items():
        column = batch.column(name)
        wanted = (column.view(pa.int64()) if name == "event_at" else column).to_pylist()
        assert [whole_number(rows.table, at, i) for i in range(rows.count)] == wanted
        assert rows.numbers(name).tolist() == wanted == [rows.number(name, i) for i in range(rows.count)]
    for name, at in REAL.items():
        found = np.array([real_number(rows.table, at, i) for i in range(rows.count)])
        assert found.astype(batch.column(name).to_numpy().dtype).tolist() == batch.column(name).to_pylist()
    assert [rows.source_names[i] for i in rows.numbers("source")] == batch.column("source").to_pylist()
    assert [rows.kind_names[i] for i in rows.numbers("kind")] == batch.column("kind").to_pylist()
    flags, cells = batch.column("flags").to_numpy(), batch.column("cell").to_numpy()
    assert rows.use.tolist() == ((flags & (Flag.LATE | Flag.UNPLACED) == 0) & (cells >= 0)).tolist()
    ends = rows.entity_offsets.tolist()
    texts = [bytes(rows.entity_data[a:b]).decode() for a, b in pairwise(ends)]
    assert texts == batch.column("entity").to_pylist()


def test_the_numbers_of_the_columns_are_those_of_the_table() -> None:
    for name, at in (WHOLE | REAL | {"source": 2, "kind": 5}).items():
        assert frame_columns._NAMES[at] == name


def one_row(**changed: pa.Array) -> pa.RecordBatch:
    row: dict[str, object] = dict.fromkeys(OBSERVATION.names, 0) | {"source": "readings", "kind": "a", "entity": "b"}
    row |= dict.fromkeys(["unit", "device_type", "extra", "jurisdiction"])
    batch = pack(pa.RecordBatch.from_arrays([pa.array([row[f.name]], f.type) for f in OBSERVATION], schema=OBSERVATION))
    for name, column in changed.items():
        at = batch.schema.get_field_index(name)
        batch = batch.set_column(at, pa.field(name, column.type), column)
    return batch


def coded(word: str | None) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([word], pa.utf8()))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"source": coded("nowhere")}, "unknown source 'nowhere'"),
        ({"source": coded(None)}, "cannot stand for"),
        ({"kind": coded(None)}, "cannot stand for"),
        ({"kind": pa.nulls(1)}, "cannot stand for"),
        ({"cell": pa.array([1.5])}, "cannot stand for int64"),
        ({"flags": pa.nulls(1)}, "no number under 'base'"),
        ({"value": pa.array([1], pa.uint8())}, "no number under 'base'"),
        ({"entity": pa.nulls(1)}, "cannot stand for string"),
    ],
)
def test_a_column_that_stands_for_nothing_is_refused(changed: dict[str, pa.Array], problem: str) -> None:
    with pytest.raises(FrameError, match=problem):
        FrameRows(one_row(**changed).select(WITH_ENTITIES))


def test_a_damaged_frame_is_refused_or_read_as_everybody_reads_it() -> None:
    chance, refused = random.Random(11), 0
    frame = encode_frame(FrameHeader(shard=0, covers=[]), unpack(one_row(), OBSERVATION))
    for _ in range(1_500):
        damaged = bytearray(frame)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            _, batch = decode_packed(bytes(damaged), WITHOUT_ENTITIES)
            rows = None if batch is None else FrameRows(batch)
        except FrameError:
            refused += 1
        else:
            if rows is not None:
                assert all(len(rows.numbers(name)) == rows.count for name in WHOLE)
    assert refused > 300
