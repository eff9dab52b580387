"""The raw bytes of single records, found again in the batches they came in: for records refused after decoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from streams import record_kernels
from streams.batches import Batch, RawBatch
from streams.codecs import NoRoom, decompress_into
from streams.words import PADDING


def payloads_at(batches: Iterable[Batch], offsets: Sequence[int]) -> dict[int, bytes | None]:
    """The values of the records at `offsets` (ascending), None for a null one; missing are those in no batch.

    The batches must have been decoded before, hence can be unpacked. Only those that hold a wanted record are.
    """
    found: dict[int, bytes | None] = {}
    wanted = np.asarray(offsets, dtype=np.int64)
    for batch in batches:
        if not isinstance(batch, RawBatch):
            continue
        inside = wanted[np.searchsorted(wanted, batch.base_offset) : np.searchsorted(wanted, batch.next_offset)]
        if len(inside):
            _collect(batch, inside.tolist(), found)
    return found


def _collect(batch: RawBatch, wanted: Iterable[int], found: dict[int, bytes | None]) -> None:
    room = 4 * len(batch.payload) + 4096
    while True:
        buffer = np.zeros(room + PADDING, dtype=np.uint8)
        try:
            size = decompress_into(batch.codec, batch.payload, buffer[:room])
            break
        except NoRoom:
            room *= 4
    most = min(batch.count, size // record_kernels.SMALLEST_RECORD)
    starts, lengths, at, received = (np.empty(most, dtype=np.int64) for _ in range(4))
    table = np.array([[0, size, batch.base_offset, batch.next_offset, batch.count, 0, 0]], dtype=np.int64)
    count = record_kernels.split(buffer, table, starts, lengths, at, received, np.empty(1, dtype=np.uint8))
    place = {int(offset): index for index, offset in enumerate(at[:count])}
    for offset in wanted:
        index = place.get(offset)
        if index is not None:
            start, length = int(starts[index]), int(lengths[index])
            found[offset] = None if length < 0 else buffer[start : start + length].tobytes()
