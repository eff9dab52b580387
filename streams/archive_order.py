"""Observations in the order of their ClickHouse table, before they are inserted.

ClickHouse sorts every insert by the table's seven columns, comparing them one after the other, but looks first whether
that has been done: 0.3 us a row of the 0.8 that an insert cost. Here nearly all of the order fits one 64-bit number a
row, which the processor sorts in 15 ns; moving the columns takes 50.

The order need not be right for the rows to be right: what is out of order ClickHouse sorts itself.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
    kind, kinds = _ranks(table["kind"])
    source, _ = _ranks(table["source"])
    event_at = table["event_at"].combine_chunks().view(pa.int64()).to_numpy()
    cell = table["cell"].combine_chunks().to_numpy()
    hour = event_at // HOUR_MS
    first_hour, first_cell = int(hour.min()), int(cell.min())
    cell_bits = (int(cell.max()) - first_cell).bit_length()
    hour_bits = (int(hour.max()) - first_hour).bit_length()
    if kinds.bit_length() + hour_bits + cell_bits + _MS_BITS > 64:
        return table
    key = kind.astype(np.uint64) << np.uint64(hour_bits + cell_bits + _MS_BITS)
    key |= (hour - first_hour).astype(np.uint64) << np.uint64(cell_bits + _MS_BITS)
    key |= (cell - first_cell).astype(np.uint64) << np.uint64(_MS_BITS)
    key |= (event_at - hour * HOUR_MS).astype(np.uint64)
    order = np.argsort(key)
    partition, offset = table["partition"].combine_chunks().to_numpy(), table["offset"].combine_chunks().to_numpy()
    if not _settle_ties(order, key, source, partition, offset):
        order = np.lexsort((offset, partition, source, key))
    return table.take(pa.array(order))


def warm_up() -> None:
    """Compile the kernel, before the group is joined: a second once per machine, then from numba's cache."""
    one = np.zeros(1, dtype=np.int64)
    _settle_ties(one, np.zeros(1, dtype=np.uint64), one, np.zeros(1, dtype=np.int32), one)


def _ranks(column: pa.ChunkedArray) -> tuple[IntArray, int]:
    """The place of each row's string among the column's distinct strings in byte order, and how many there are."""
    codes = column.combine_chunks()
    names = [name.encode() for name in codes.dictionary.to_pylist()]
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)] = np.arange(len(names))
    found: IntArray = ranks[codes.indices.to_numpy()]
    return found, len(names)


@kernel
def _settle_ties(
    order: IntArray,
    key: npt.NDArray[np.uint64],
    source: IntArray,
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
                behind = source[before] > source[row]
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
