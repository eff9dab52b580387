"""The columns of a frame that the join reads, in the narrow form in which they travel (schemas/packed.py).

They are not widened: a kernel gets the address, shape, base and scale of each column in one table, and reads what it
needs of a row. Most rows are of a kind that no detector asks for, and of those it reads two bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import FrameError
from schemas.observation import OBSERVATION, Flag
from schemas.packed import check_words, number_of
from schemas.sources import Source
from streams.reals import load_quarter, load_real
from streams.words import load_byte, load_half, load_int
from topology.jit import kernel

# Rows of the table of columns.
EVENT_AT, CELL, SOURCE, PARTITION, OFFSET, KIND, VALUE, CONFIDENCE, QUALITY, FLAGS = range(10)
# Columns of that table; a scale of 0 is none.
AT, SHAPE, BASE, SCALE = range(4)

_NAMES: Final = (
    "event_at", "cell", "source", "partition", "offset", "kind", "value", "confidence", "quality", "flags"
)  # fmt: skip
WITHOUT_ENTITIES: Final = list(_NAMES)
WITH_ENTITIES: Final = [*_NAMES, "entity"]

NOT_JOINED: Final = int(Flag.LATE | Flag.UNPLACED)
HALO: Final = int(Flag.HALO)

# How a column's numbers are stored: not at all (the base is the value), by so many bytes, or as a real number.
_CONSTANT, _BYTE, _QUARTER, _HALF, _SIGNED_HALF, _INT, _REAL = range(7)
_SHAPES: Final = {
    np.dtype(np.int8): _BYTE,  # a code, which is never negative
    np.dtype(np.uint8): _BYTE,
    np.dtype(np.uint16): _QUARTER,
    np.dtype(np.uint32): _HALF,
    np.dtype(np.int32): _SIGNED_HALF,
    np.dtype(np.int64): _INT,
    np.dtype(np.float64): _REAL,
}
# read-only, as the arrays of a frame are: another kind of array would make the kernels be compiled once more
_NO_TEXT: Final = np.frombuffer(b"\0", dtype=np.uint8)
_NO_OFFSETS: Final = np.frombuffer(b"\0\0\0\0", dtype=np.int32)


class FrameRows:
    """What the windows need of the rows of a frame, of which columns WITH_ENTITIES or WITHOUT_ENTITIES were read.

    FrameError when a column stands for none of OBSERVATION.

    `table` int64[columns, 4] tells kernels where the columns are; `use` says which rows are joined. `sources` leads
    from a row's code of its source to the source's number, `kind_names` from that of its kind to the kind.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.count: int = batch.num_rows
        self.table = np.zeros((len(_NAMES), 4), dtype=np.int64)
        self._stored: list[npt.NDArray[Any]] = []  # keeps the memory
        for at, name in enumerate(_NAMES):
            self._read(at, OBSERVATION.field(name), batch.schema.field(name), batch.column(name))
        self.source_names: list[str] = batch.column("source").dictionary.to_pylist()
        self.sources = np.array([_source(name) for name in self.source_names], dtype=np.int64)
        self.kind_names: list[str] = batch.column("kind").dictionary.to_pylist()
        self.entity_offsets, self.entity_data = _NO_OFFSETS, _NO_TEXT
        if "entity" in batch.schema.names:
            check_words(OBSERVATION.field("entity"), batch.column("entity"))
            self.entity_offsets, self.entity_data = _strings(batch.column("entity"))
        self.use = np.empty(self.count, dtype=np.bool_)
        choose(self.table, self.use)

    def _read(self, at: int, field: pa.Field, narrow: pa.Field, column: pa.Array) -> None:
        stored = np.zeros(1, dtype=np.int64)
        if pa.types.is_dictionary(field.type):
            check_words(field, column)
            stored = column.indices.to_numpy()
            self.table[at] = 0, _SHAPES[stored.dtype], 0, 0
        else:
            base, scale = number_of(field, narrow, column)
            shape = _CONSTANT
            if not pa.types.is_null(column.type):
                stored = (column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_numpy()
                if stored.dtype == np.float32:
                    stored = stored.astype(np.float64)
                shape = _SHAPES[stored.dtype]
            self.table[at] = 0, shape, base, scale
        self._stored.append(stored)
        self.table[at, AT] = stored.ctypes.data

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """A whole column of whole numbers, or codes, at full width."""
        at = _NAMES.index(name)
        _, shape, base, _ = self.table[at].tolist()
        if shape == _CONSTANT:
            return np.full(self.count, base, dtype=np.int64)
        values: npt.NDArray[np.int64] = np.add(self._stored[at], np.int64(base), dtype=np.int64)
        return values

    def number(self, name: str, row: int) -> int:
        """A row's whole number, or code."""
        at = _NAMES.index(name)
        return int(self.table[at, BASE]) + (int(self._stored[at][row]) if self.table[at, SHAPE] != _CONSTANT else 0)


@kernel
def whole_number(table: npt.NDArray[np.int64], column: int, row: int) -> int:
    """A row's whole number, or code."""
    return int(stored_number(table[column, AT], table[column, SHAPE], row) + table[column, BASE])


@kernel
def stored_number(at: int, shape: int, row: int) -> int:
    if shape == _BYTE:
        return load_byte(at + row)
    if shape == _QUARTER:
        return load_quarter(at + 2 * row)
    if shape == _HALF:
        return load_half(at + 4 * row)
    if shape == _SIGNED_HALF:
        return (load_half(at + 4 * row) ^ 0x80000000) - 0x80000000
    if shape == _INT:
        return load_int(at + 8 * row)
    return 0


@kernel
def real_number(table: npt.NDArray[np.int64], column: int, row: int) -> float:
    """A row's real number."""
    return real_value(table[column, AT], table[column, SHAPE], table[column, BASE], table[column, SCALE], row)


@kernel
def real_value(at: int, shape: int, base: int, scale: int, row: int) -> float:
    """The same, of a column that the caller has looked up."""
    if shape == _REAL:
        return load_real(at + 8 * row)
    return float(stored_number(at, shape, row) + base) / float(scale)


@kernel
def choose(table: npt.NDArray[np.int64], use: npt.NDArray[np.bool_]) -> None:
    """Which rows are joined."""
    flags_at, flags_shape, flags = table[FLAGS, AT], table[FLAGS, SHAPE], table[FLAGS, BASE]
    cells_at, cells_shape, cell = table[CELL, AT], table[CELL, SHAPE], table[CELL, BASE]
    for row in range(use.shape[0]):
        joined = ((stored_number(flags_at, flags_shape, row) + flags) & NOT_JOINED) == 0
        use[row] = joined & (stored_number(cells_at, cells_shape, row) + cell >= 0)


def _source(name: str) -> int:
    try:
        return int(Source.of_topic(name))
    except (KeyError, ValueError) as error:
        raise FrameError(f"streams/frame_columns: unknown source {name!r}") from error


def _strings(column: pa.StringArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """A column's offsets and bytes, without copying."""
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return starts, np.frombuffer(data, dtype=np.uint8) if data is not None and len(data) else _NO_TEXT
