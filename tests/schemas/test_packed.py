"""The narrow form of columns: what was packed is unpacked to the very bits, and nothing else is believed."""

from __future__ import annotations

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import FrameError
from schemas.packed import BASE, SCALE, check, pack, unpack

SCHEMA = pa.schema(
    [
        pa.field("at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("small", pa.int32(), nullable=False),
        pa.field("bits", pa.uint16(), nullable=False),
        pa.field("real", pa.float64(), nullable=False),
        pa.field("share", pa.float32(), nullable=False),
        pa.field("source", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),
        pa.field("kind", pa.dictionary(pa.int32(), pa.utf8()), nullable=False),
        pa.field("unit", pa.dictionary(pa.int32(), pa.utf8()), nullable=True),
        pa.field("name", pa.utf8(), nullable=False),
        pa.field("extra", pa.utf8(), nullable=True),
    ]
)
INT64 = st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.integers(-(10**12), 10**12).flatmap(lambda n: st.sampled_from([n / 1, n / 10, n / 100, n / 1000]))
REALS = st.sampled_from([0.0, -0.0, 0.1, 12.3, 153.0, 1e300, 5e-324, math.inf, -math.inf, math.nan, 2.0**31]) | DECIMALS
WORDS = st.sampled_from(["", "mm", "水位", "x" * 300])
# columns differ in how wide their values spread, so that every width comes up
SPREADS = st.sampled_from([0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**62])


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    rows = draw(st.integers(1, 12))

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    def whole(low: int, high: int) -> list[object]:
        base = draw(st.integers(low, high))
        return column(st.integers(base, min(high, base + draw(SPREADS))) | st.sampled_from([base, min(high, base + 1)]))

    reals = draw(st.sampled_from([REALS, DECIMALS, st.just(1.0), st.floats(width=32)]))
    columns = {
        "at": whole(-(2**63), 2**63 - 1),
        "number": whole(-(2**63), 2**63 - 1),
        "small": whole(-(2**31), 2**31 - 1),
        "bits": whole(0, 2**16 - 1),
        "real": column(reals),
        "share": column(st.sampled_from([0.0, -0.0, 1.0, 0.61, 1 / 3, math.nan]) | st.floats(width=32)),
        "source": column(st.sampled_from(["readings", "tickets"])),
        "kind": column(WORDS),
        "unit": column(st.none() | WORDS if draw(st.booleans()) else st.none()),
        "name": column(WORDS),
        "extra": column(st.none() | WORDS if draw(st.booleans()) else st.none()),
    }
    return pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def bits_of(batch: pa.RecordBatch) -> list[object]:
    """The rows such that NaN equals itself, and -0.0 does not equal 0.0."""
    plain = batch.set_column(0, "at", batch.column("at").cast(pa.int64()))
    return [repr(row) for row in plain.to_pylist()]


@given(batches())
def test_what_was_packed_is_unpacked_to_the_very_bits(batch: pa.RecordBatch) -> None:
    packed = pack(batch)
    packed.validate(full=True)
    found = unpack(packed, SCHEMA)
    found.validate(full=True)
    assert found.schema.equals(SCHEMA, check_metadata=True)
    assert bits_of(found) == bits_of(batch)


@given(batches())
def test_full_width_is_a_narrow_form_too(batch: pa.RecordBatch) -> None:
    assert bits_of(unpack(batch, SCHEMA)) == bits_of(batch)


def one(name: str) -> pa.Schema:
    return pa.schema([SCHEMA.field(name)])


def narrow(name: str, column: pa.Array, **metadata: str) -> pa.RecordBatch:
    field = pa.field(name, column.type, metadata={key.encode(): value.encode() for key, value in metadata.items()})
    return pa.RecordBatch.from_arrays([column], schema=pa.schema([field]))


@pytest.mark.parametrize(
    ("values", "kind", "base"),
    [
        ([5, 5], pa.null(), b"5"),
        ([-3, 252], pa.uint8(), b"-3"),
        ([-3, 253], pa.uint16(), b"-3"),
        ([2**40, 2**40 + 65_535], pa.uint16(), b"1099511627776"),
        ([-(2**63), -(2**63) + 2**32 - 1], pa.uint32(), b"-9223372036854775808"),
        ([0, 2**32], pa.int64(), None),
        ([-(2**63), 2**63 - 1], pa.int64(), None),
    ],
)
def test_a_column_is_as_wide_as_its_numbers_need(values: list[int], kind: pa.DataType, base: bytes | None) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(values)], schema=one("number"))
    (field,) = pack(batch).schema
    assert field.type == kind
    assert (field.metadata or {}).get(BASE) == base


@pytest.mark.parametrize(
    ("values", "kind", "scale"),
    [
        ([1.0, 1.0], pa.null(), b"1"),
        ([0.1, 153.0], pa.uint16(), b"10"),
        ([0.25, 0.5], pa.uint8(), b"100"),
        ([0.1, -0.0], pa.float64(), None),
        ([0.1, 1 / 3], pa.float64(), None),
        ([0.1, math.nan], pa.float64(), None),
        ([0.1 + 0.2, 1.0], pa.float64(), None),  # not 0.3
    ],
)
def test_decimal_fractions_become_whole_numbers(values: list[float], kind: pa.DataType, scale: bytes | None) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(values)], schema=one("real"))
    (field,) = pack(batch).schema
    assert field.type == kind
    assert (field.metadata or {}).get(SCALE) == scale


BYTE = pa.array([1, 255], pa.uint8())
CODES = pa.array([0, 1], pa.uint8())


@pytest.mark.parametrize(
    ("name", "column", "metadata", "problem"),
    [
        ("number", BYTE, {}, "no number under 'base'"),
        ("number", BYTE, {"base": "1e3"}, "no number under 'base'"),
        ("number", BYTE, {"base": "9" * 5_000}, "no number under 'base'"),
        ("number", BYTE, {"base": str(2**63 - 255)}, "outside of"),
        ("number", pa.nulls(2), {"base": str(2**63)}, "outside of"),
        ("number", pa.nulls(2), {}, "no number under 'base'"),
        ("number", pa.array([1, None], pa.uint8()), {"base": "0"}, "cannot stand for int64"),
        ("number", pa.array([1, None], pa.int64()), {}, "cannot stand for int64"),
        ("number", pa.array([1.0]), {"base": "0"}, "cannot stand for int64"),
        ("number", pa.array(["1"]), {"base": "0"}, "cannot stand for int64"),
        ("bits", BYTE, {"base": "-2"}, "outside of"),
        ("bits", BYTE, {"base": "65281"}, "outside of"),
        ("small", pa.array([2**31], pa.uint32()), {"base": "0"}, "outside of"),
        ("real", BYTE, {"base": "0"}, "no number under 'scale'"),
        ("real", BYTE, {"base": "0", "scale": "0"}, "scale 0, expected one of"),
        ("real", BYTE, {"base": "0", "scale": "7"}, "scale 7, expected one of"),
        ("real", BYTE, {"base": str(2**53), "scale": "1"}, "outside of"),
        ("real", pa.array([1, 2], pa.int64()), {"base": "0", "scale": "1"}, "cannot stand for double"),
        ("kind", pa.nulls(2), {}, "cannot stand for"),
        ("kind", pa.array(["a", "b"]), {}, "cannot stand for"),
        ("kind", pa.DictionaryArray.from_arrays(CODES, pa.array(["a", None])), {}, "cannot stand for"),
        ("kind", pa.DictionaryArray.from_arrays(pa.array([0, None], pa.uint8()), pa.array(["a"])), {}, "cannot stand"),
        ("kind", pa.DictionaryArray.from_arrays(CODES, pa.array([1, 2])), {}, "cannot stand for"),
        ("kind", pa.DictionaryArray.from_arrays(CODES.cast(pa.int64()), pa.array(["a", "b"])), {}, "cannot stand for"),
        ("source", pa.DictionaryArray.from_arrays(CODES, pa.array(["a", "b"])), {}, "cannot stand for"),
        ("name", pa.nulls(2), {}, "cannot stand for"),
        ("name", pa.array(["a", None]), {}, "cannot stand for"),
        ("extra", pa.array([b"a"]), {}, "cannot stand for"),
        ("other", BYTE, {"base": "0"}, "expected number; got other"),
    ],
)
def test_what_stands_for_nothing_is_refused(
    name: str, column: pa.Array, metadata: dict[str, str], problem: str
) -> None:
    schema = one("number" if name == "other" else name)
    batch = narrow(name, column, **metadata)
    for read in (unpack, check):
        with pytest.raises(FrameError, match=problem):
            read(batch, schema)


def test_a_text_named_too_often_is_not_unpacked() -> None:
    words = pa.array(["x" * 2**20])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300, np.uint8)), words)
    for read in (unpack, check):
        with pytest.raises(FrameError, match="bytes of text, more than"):
            read(narrow("extra", column), one("extra"))
    assert check(narrow("extra", column[:3]), one("extra")) >= 3 * 2**20


@pytest.mark.parametrize("bitmap", [False, True])
def test_nulls_stand_in_the_dictionary_or_beside_it(bitmap: bool) -> None:
    """Anywhere in the dictionary, more than once, and together with those of the column."""
    codes = pa.array([0, 1, 2, 3, None if bitmap else 1], pa.uint8())
    column = pa.DictionaryArray.from_arrays(codes, pa.array([None, "a", None, "b"]))
    for name in ("unit", "extra"):
        found = unpack(narrow(name, column), one(name))
        found.validate(full=True)
        assert found.column(0).to_pylist() == [None, "a", None, "b", None if bitmap else "a"]


def test_damaged_metadata_never_leads_outside() -> None:
    """What is believed has values of its own type, whatever `base` and `scale` say."""
    chance = random.Random(5)
    for _ in range(300):
        base = str(
            chance.choice([0, -1, 1, 2**31, -(2**31), 2**53, 2**63 - 1, -(2**63), 2**64]) + chance.randint(-2, 2)
        )
        name = chance.choice(["number", "small", "bits", "real", "share", "at"])
        batch = narrow(name, pa.array([0, 7, 65_535], pa.uint16()), base=base, scale=chance.choice(["1", "10", "-1"]))
        try:
            found = unpack(batch, one(name))
        except FrameError:
            with pytest.raises(FrameError):
                check(batch, one(name))
            continue
        check(batch, one(name))
        found.validate(full=True)
        if name in ("number", "small", "bits"):
            assert found.column(0).to_pylist() == [int(base) + stored for stored in (0, 7, 65_535)]
