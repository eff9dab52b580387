"""The narrow form of a batch of columns, in which frames travel: what a column's values need in this batch, no more.

Still plain Arrow, so that any Arrow library reads it; two entries of a field's metadata lead back to the value:

- a whole number is stored as uint8, uint16 or uint32; add the field's `base`. One that is the same in every row has the
  type null, which takes no bytes: `base` is the value. One that spans more than 32 bits stays as it is.
- a real number is stored likewise where all of the batch are decimal fractions: add `base`, divide by `scale`. That
  gives the very same bits back, or the column stays as it is.
- strings that repeat, and texts that most rows do not have, are dictionaries with the narrowest codes; a null may also
  stand in the dictionary. A column that is null in every row has the type null.

`unpack` gives back the batch that `pack` was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import FrameError

BASE: Final = b"base"
SCALE: Final = b"scale"
SCALES: Final = (1, 10, 100, 1_000)
MOST_SCALED: Final = 2**31 - 1
"""Greatest whole number, whatever its sign, that stands for a decimal fraction."""
MOST_TEXT: Final = 256 * 1024 * 1024
"""A few bytes can name a long text many times: more than this many bytes are not unpacked."""

_NARROW: Final = {1: pa.uint8(), 2: pa.uint16(), 4: pa.uint32()}
_CODES: Final = {1: pa.uint8(), 2: pa.uint16(), 4: pa.int32()}
_WORDS: Final = pa.utf8()


def width_of(low: int, high: int) -> int:
    """Bytes of a narrow column for the whole numbers low..high: 0, 1, 2, 4, or 8 for "as they are"."""
    span = high - low
    return 0 if span == 0 else next((width for width in (1, 2, 4) if span < 1 << (8 * width)), 8)


def codes_width(count: int) -> int:
    """Bytes of a code of a dictionary with `count` entries."""
    return 1 if count <= 1 << 8 else 2 if count <= 1 << 16 else 4


def numbers_field(field: pa.Field, width: int, base: int, scale: int = 0) -> pa.Field:
    """The field of a narrow column of numbers; `scale` is given for real ones."""
    if width == 8:
        return field
    metadata = {BASE: str(base).encode()} | ({SCALE: str(scale).encode()} if scale else {})
    # a column of type null has only nulls, whatever they stand for
    return pa.field(field.name, _NARROW.get(width, pa.null()), nullable=width == 0, metadata=metadata)


def codes_type(width: int) -> pa.DataType:
    """The type of a dictionary column whose codes have so many bytes."""
    return pa.dictionary(_CODES[width], _WORDS)


# --- packing ---------------------------------------------------------------------------------------------------------


def pack(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The narrow form of a batch that has rows. (Frames of many rows are made narrow at once, see streams.frames.)"""
    packed = [_pack(field, column) for field, column in zip(batch.schema, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(
        [column for _, column in packed], schema=pa.schema([field for field, _ in packed])
    )


def _pack(field: pa.Field, column: pa.Array) -> tuple[pa.Field, pa.Array]:
    kind = field.type
    if field.nullable and column.null_count == len(column):
        return pa.field(field.name, pa.null()), pa.nulls(len(column))
    if pa.types.is_dictionary(kind):
        if kind.index_type == pa.int8():
            return field, column
        narrow = codes_type(codes_width(len(column.dictionary)))
        codes = column.indices.cast(narrow.index_type)
        return field.with_type(narrow), pa.DictionaryArray.from_arrays(codes, column.dictionary)
    if kind == _WORDS:
        if column.null_count == 0:
            return field, column
        coded = column.dictionary_encode()
        narrow = codes_type(codes_width(len(coded.dictionary)))
        codes = coded.indices.cast(narrow.index_type)
        return field.with_type(narrow), pa.DictionaryArray.from_arrays(codes, coded.dictionary)
    if pa.types.is_floating(kind):
        return _pack_reals(field, column)
    values = (column.view(pa.int64()) if pa.types.is_timestamp(kind) else column).to_numpy().astype(np.int64)
    low, high = int(values.min()), int(values.max())
    width = width_of(low, high)
    if width == 8:
        return field, column
    return numbers_field(field, width, low), _numbers(values - low, width)


def _pack_reals(field: pa.Field, column: pa.Array) -> tuple[pa.Field, pa.Array]:
    values = column.to_numpy()
    if not np.isfinite(values).all() or (np.signbit(values) & (values == 0)).any():
        return field, column
    for scale in SCALES:
        scaled = np.rint(values.astype(np.float64) * scale)
        if (np.abs(scaled) <= MOST_SCALED).all() and ((scaled / scale).astype(values.dtype) == values).all():
            low, high = int(scaled.min()), int(scaled.max())
            width = width_of(low, high)
            return numbers_field(field, width, low, scale), _numbers(scaled.astype(np.int64) - low, width)
    return field, column


def _numbers(values: npt.NDArray[np.int64], width: int) -> pa.Array:
    if width == 0:
        return pa.nulls(len(values))
    return pa.array(values.astype(_NARROW[width].to_pandas_dtype()), _NARROW[width])


# --- unpacking -------------------------------------------------------------------------------------------------------


def check(batch: pa.RecordBatch, schema: pa.Schema) -> int:
    """FrameError unless `unpack` will do; how many bytes of text it will write out."""
    _check_names(batch, schema)
    written = 0
    for at, field in enumerate(schema):
        narrow, column = batch.schema.field(at), batch.column(at)
        if field.type == _WORDS:
            made = _unpack(field, narrow, column)
            written += made.nbytes if made is not column else 0
        elif pa.types.is_dictionary(field.type):
            check_words(field, column)
        else:
            number_of(field, narrow, column)
    return written


def unpack(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch of `schema` whose narrow form `batch` is; it has been validated, so its buffers are sound.

    FrameError when it is the narrow form of no such batch.
    """
    _check_names(batch, schema)
    columns = [_unpack(field, batch.schema.field(at), batch.column(at)) for at, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _check_names(batch: pa.RecordBatch, schema: pa.Schema) -> None:
    if batch.schema.names != schema.names:
        raise FrameError(f"schemas/packed: expected {', '.join(schema.names)}; got {', '.join(batch.schema.names)}")


def _unpack(field: pa.Field, narrow: pa.Field, column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(field.type) or field.type == _WORDS:
        check_words(field, column)
        is_same = column.type == field.type and not (
            pa.types.is_dictionary(column.type) and column.dictionary.null_count
        )
        return column if is_same else _unpack_words(field, column)
    if _is_plain(field, narrow, column) and not column.null_count:
        return column
    base, scale = number_of(field, narrow, column)
    rows = len(column)
    dtype = np.dtype(np.int64 if pa.types.is_timestamp(field.type) else field.type.to_pandas_dtype())
    # in place, one step after the other: several times as fast as one expression that widens as it goes
    values: npt.NDArray[Any] = np.zeros(rows, np.int64) if pa.types.is_null(column.type) else column.to_numpy()
    values = values.astype(np.float64 if scale else dtype)
    values += base
    if scale:
        values /= scale
        values = values.astype(dtype, copy=False)
    return pa.Array.from_buffers(field.type, rows, [None, pa.py_buffer(values)])


def number_of(field: pa.Field, narrow: pa.Field, column: pa.Array) -> tuple[int, int]:
    """`base` and `scale` (0: none) of a column of numbers, which stands for one of `field`. FrameError if it cannot."""
    if _is_plain(field, narrow, column):
        if column.null_count:
            raise _unlike(field, column.type)
        return 0, 0
    is_null = pa.types.is_null(column.type)
    if not is_null and (column.type not in _NARROW.values() or column.null_count):
        raise _unlike(field, column.type)
    base = _metadata(narrow, BASE)
    highest = base + (0 if is_null or not len(column) else int(column.to_numpy().max()))
    if pa.types.is_floating(field.type):
        scale, low, high = _metadata(narrow, SCALE), -MOST_SCALED, MOST_SCALED
        if scale not in SCALES:
            raise FrameError(f"schemas/packed: {field.name}: scale {scale}, expected one of {SCALES}")
    else:
        scale = 0
        limits = np.iinfo(np.int64 if pa.types.is_timestamp(field.type) else field.type.to_pandas_dtype())
        low, high = int(limits.min), int(limits.max)
    if not low <= base <= highest <= high:
        raise FrameError(f"schemas/packed: {field.name}: {base}..{highest} is outside of {low}..{high}")
    return base, scale


def _is_plain(field: pa.Field, narrow: pa.Field, column: pa.Array) -> bool:
    """Whether a column of numbers is stored as it is; one of uint16 may have that type, and a base."""
    return bool(column.type == field.type) and BASE not in (narrow.metadata or {})


def check_words(field: pa.Field, column: pa.Array) -> None:
    """FrameError unless a column of strings can stand for one of `field`."""
    kind = column.type
    coded = pa.types.is_dictionary(kind) and kind.value_type == _WORDS
    fits = coded and kind.index_type in (*_CODES.values(), pa.int8())
    if pa.types.is_dictionary(field.type) and field.type.index_type == pa.int8():
        fits = kind == field.type
    if not (fits or (kind == _WORDS and field.type == _WORDS) or (pa.types.is_null(kind) and field.nullable)):
        raise _unlike(field, kind)
    if not field.nullable and (column.null_count or (coded and column.dictionary.null_count)):
        raise _unlike(field, kind)


def _unpack_words(field: pa.Field, column: pa.Array) -> pa.Array:
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), field.type)
    words = column.dictionary
    codes = column.indices
    there: npt.NDArray[np.bool_] | None = None  # None: everywhere
    if codes.null_count:
        there, codes = _bits(codes), codes.fill_null(0)
    numbers = codes.to_numpy().astype(np.int32)
    if words.null_count:
        # a null of the dictionary becomes a null of the column, and the codes of the other words move together
        valid = _bits(words)
        there = valid[numbers] if there is None else there & valid[numbers]
        numbers = (np.cumsum(valid, dtype=np.int32) - np.int32(1))[numbers]
        words = words.drop_null()
    if field.type == _WORDS:
        return _texts(field, numbers, np.ones(len(column), np.bool_) if there is None else there, words)
    bits = None
    if there is not None:
        bits = pa.py_buffer(np.packbits(there, bitorder="little"))
        numbers[~there] = 0
    return pa.DictionaryArray.from_buffers(field.type, len(column), [bits, pa.py_buffer(numbers)], words)


def _texts(field: pa.Field, numbers: npt.NDArray[np.int32], there: npt.NDArray[np.bool_], words: pa.Array) -> pa.Array:
    """The column of the words number `numbers`, null where they are not `there`."""
    used = numbers[there]
    offsets = (
        np.frombuffer(words.buffers()[1], dtype=np.int32)[words.offset :][: len(words) + 1] if len(words) else used
    )
    size = int(np.diff(offsets)[used].sum(dtype=np.int64))
    if size > MOST_TEXT:
        raise FrameError(f"schemas/packed: {field.name}: {size} bytes of text, more than {MOST_TEXT}")
    if not np.array_equal(used, np.arange(len(words))):
        codes = pa.array(numbers, mask=~there)
        return pa.DictionaryArray.from_arrays(codes, words).dictionary_decode()
    # each word once and in order, as locate writes them: the bytes are the column's already
    at = np.concatenate(([0], np.cumsum(there)))
    starts = offsets[at] if len(words) else np.zeros(len(at), dtype=np.int32)
    bits = pa.py_buffer(np.packbits(there, bitorder="little"))
    data = words.buffers()[2] if len(words) else None
    return pa.Array.from_buffers(_WORDS, len(numbers), [bits, pa.py_buffer(starts), data], int((~there).sum()))


def _bits(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Where a column is not null."""
    bits: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return bits


def _metadata(field: pa.Field, key: bytes) -> int:
    metadata: Mapping[bytes, bytes] = field.metadata or {}
    raw = metadata.get(key, b"")
    digits = raw[1:] if raw[:1] == b"-" else raw
    if not digits.isdigit() or len(digits) > 19:
        raise FrameError(f"schemas/packed: {field.name}: no number under {key.decode()!r} in its metadata, but {raw!r}")
    return int(raw)


def _unlike(field: pa.Field, kind: pa.DataType) -> FrameError:
    return FrameError(f"schemas/packed: {field.name}: {kind} with or without nulls cannot stand for {field.type}")
