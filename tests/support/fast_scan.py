"""The fast JSON scan alone: which records it takes, and what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.decode import Row
from schemas.sources import Source
from streams.json_fields import DEFAULTED, fields_of
from streams.json_kernels import TOKENS, Kept, Rows, scan
from streams.json_shapes import SEEN_ROOM, new_shape
from streams.strings import StringTable
from streams.words import PADDING


def scanned(source: Source, payloads: Sequence[bytes]) -> list[Row | None]:
    """Per record its row, or None where the scan leaves it to the reference decoder.

    The records lie one behind the other without anything between them, so that one that is cut off might go on into the
    next if the scan let it.
    """
    count = len(payloads)
    data = b"".join(payloads)
    buffer = np.frombuffer(data + bytes(PADDING), dtype=np.uint8).copy()
    lengths = np.array([len(payload) for payload in payloads], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    kinds, units, types = StringTable(), StringTable(), StringTable()
    rows = Rows(
        event_at_ms=np.empty(count, dtype=np.int64),
        kind=np.empty(count, dtype=np.int32),
        unit=np.empty(count, dtype=np.int32),
        device_type=np.empty(count, dtype=np.int32),
        value=np.empty(count, dtype=np.float64),
        confidence=np.empty(count, dtype=np.float32),
        quality=np.empty(count, dtype=np.uint8),
        datum=np.empty(count, dtype=np.uint8),
        lon=np.empty(count, dtype=np.float64),
        lat=np.empty(count, dtype=np.float64),
        entity_offsets=np.zeros(count + 1, dtype=np.int32),
        entity_data=np.empty(len(buffer), dtype=np.uint8),
    )
    kept = Kept(
        slow=np.empty(count, dtype=np.bool_),
        extra_starts=np.empty(count, dtype=np.int64),
        extra_lengths=np.empty(count, dtype=np.int64),
        extra_data=np.empty(len(buffer), dtype=np.uint8),
    )
    fields = fields_of(source)
    headers = (kinds.header, units.header, types.header)
    known = (fields.table, fields.successors, new_shape(), fields.required, fields.defaulted, DEFAULTED)
    seen = np.full(SEEN_ROOM, -1, dtype=np.int64)
    slow_count = scan(buffer, starts, lengths, count, *known, *headers, TOKENS, seen, rows, 0, kept)
    assert slow_count == np.count_nonzero(kept.slow)

    def row(index: int) -> Row | None:
        if kept.slow[index]:
            return None
        entity_start, entity_end = rows.entity_offsets[index : index + 2]
        extra_start = kept.extra_starts[index]
        extra = kept.extra_data[extra_start : extra_start + kept.extra_lengths[index]].tobytes()
        unit, device_type = rows.unit[index], rows.device_type[index]
        return Row(
            event_at_ms=int(rows.event_at_ms[index]),
            entity=rows.entity_data[entity_start:entity_end].tobytes().decode(),
            kind=kinds.values[rows.kind[index]],
            value=float(rows.value[index]),
            confidence=float(rows.confidence[index]),
            quality=int(rows.quality[index]),
            unit=None if unit < 0 else units.values[unit],
            device_type=None if device_type < 0 else types.values[device_type],
            datum=int(rows.datum[index]),
            lon=float(rows.lon[index]),
            lat=float(rows.lat[index]),
            extra=extra or None,
        )

    return [row(index) for index in range(count)]
