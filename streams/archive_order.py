"""Observations in the order of their ClickHouse table, before they are inserted.

ClickHouse sorts every insert by the table's seven columns, comparing them one after the other, but looks first whether
that has been done: 0.3 us a row of the 0.8 that an insert cost. Here nearly all of the order fits one 64-bit number a
row, which the processor sorts in 15 ns; moving the columns takes 45.

The order need not be right for the rows to be right: what is out of order ClickHouse sorts itself.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from topology.jit import kernel

HOUR_MS: Final = 3_600_000
_MS_BITS: Final = 22  # of a moment in its hour
_MOST_TIED: Final = (
    32  # rows of one kind, cell and millisecond; more are sorted another way, whose time does not square
)

IntArray = npt.NDArray[np.int64]


def in_table_order(table: pa.Table) -> pa.Table:
    """The rows by (kind, hour of the event, cell, event time, source, partition, offset), as the table's ORDER BY says.

    As they are when that does not fit 64 bits: cells of half a continent, or years in one batch.
    """
    kind, kind_ranks = _ranks(table["kind"])
    source, source_ranks = _ranks(table["source"])
    event_at = table["event_at"].combine_chunks().view(pa.int64()).to_numpy()
    cell = table["cell"].combine_chunks().to_numpy()
    first_hour, last_hour, first_cell, last_cell = _bounds(event_at, cell)
    hour_bits = int(last_hour - first_hour).bit_length()
    cell_bits = int(last_cell - first_cell).bit_length()
    if len(kind_ranks).bit_length() + hour_bits + cell_bits + _MS_BITS > 64:
        return table
    key = np.empty(len(cell), dtype=np.uint64)
    _fill_keys(kind, kind_ranks, event_at, cell, first_hour, first_cell, hour_bits, cell_bits, key)
    order = np.argsort(key)
    partition, offset = table["partition"].combine_chunks().to_numpy(), table["offset"].combine_chunks().to_numpy()
    if not _settle_ties(order, key, source, source_ranks, partition, offset):
        order = np.lexsort((offset, partition, source_ranks[source], key))
    # the numbers are in bounds, and narrow ones are read in half of the time
    return pc.take(table, pa.array(order.astype(np.uint32)), boundscheck=False)


def warm_up() -> None:
    """Compile the kernels, before the group is joined: a second once per machine, then from numba's cache."""
    row = pa.table(
        {
            "kind": pa.array(["k"]).dictionary_encode(),
            "source": pa.array(["s"]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.utf8())),
            "event_at": pa.array([0], pa.timestamp("ms", tz="UTC")),
            "cell": pa.array([0], pa.int64()),
            "partition": pa.array([0], pa.int32()),
            "offset": pa.array([0], pa.int64()),
        }
    )
    in_table_order(row)


def _ranks(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], IntArray]:
    """The codes of a column's rows, and of each code the place of its string among the others in byte order."""
    coded = column.combine_chunks()
    names = [name.encode() for name in coded.dictionary.to_pylist()]
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)] = np.arange(len(names))
    return coded.indices.to_numpy(), ranks


@kernel
def _bounds(event_at: IntArray, cell: IntArray) -> tuple[int, int, int, int]:
    """The first and last hour, the least and greatest cell."""
    first = last = event_at[0]
    least = greatest = cell[0]
    for row in range(1, len(cell)):
        first = min(first, event_at[row])
        last = max(last, event_at[row])
        least = min(least, cell[row])
        greatest = max(greatest, cell[row])
    return first // HOUR_MS, last // HOUR_MS, least, greatest


@kernel
def _fill_keys(
    kind: npt.NDArray[np.int32],
    kind_ranks: IntArray,
    event_at: IntArray,
    cell: IntArray,
    first_hour: int,
    first_cell: int,
    hour_bits: int,
    cell_bits: int,
    out: npt.NDArray[np.uint64],
) -> None:
    """Kind, hour, cell and moment of the hour, each in its bits, the kind in the highest."""
    for row in range(len(out)):
        hour = event_at[row] // HOUR_MS
        key = (kind_ranks[kind[row]] << hour_bits) | (hour - first_hour)
        key = (key << cell_bits) | (cell[row] - first_cell)
        out[row] = np.uint64((key << _MS_BITS) | (event_at[row] - hour * HOUR_MS))


@kernel
def _settle_ties(
    order: IntArray,
    key: npt.NDArray[np.uint64],
    source: npt.NDArray[np.int8],
    source_ranks: IntArray,
    partition: npt.NDArray[np.int32],
    offset: IntArray,
) -> bool:
    """Put rows of equal key, which are few, in the order of (source, partition, offset). False: they are not few."""
    run = 0
    for at in range(1, len(order)):
        row = order[at]
        run = run + 1 if key[order[at - 1]] == key[row] else 0
        if run > _MOST_TIED:
            return False
        back = at
        while back > 0:
            before = order[back - 1]
            if key[before] != key[row]:
                break
            if source[before] != source[row]:
                behind = source_ranks[source[before]] > source_ranks[source[row]]
            elif partition[before] != partition[row]:
                behind = partition[before] > partition[row]
            else:
                behind = offset[before] > offset[row]
            if not behind:
                break
            order[back] = before
            back -= 1
        order[back] = row
    return True
