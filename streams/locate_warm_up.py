"""Compiles (or loads from numba's cache) every kernel on locate's path, by sending a few made-up records through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from schemas.sources import Source
from streams.batches import RawBatch
from streams.crc32c import SHORT, crc32c
from streams.decode import Decoder
from streams.decode import warm_up as warm_up_decoder
from streams.locate_core import Locator
from streams.locate_settings import LocateSettings
from streams.placing import WatermarkState
from streams.raw_payloads import payloads_at
from streams.strings import StringTable

BATCH_HEADER_BYTES = 61
TS_MS = 1_700_000_000_000

_PLACES: tuple[Mapping[str, Any], ...] = (
    {},
    {"lon": 121.47, "lat": 31.23},
    {"lon": 121.47, "lat": 31.23, "datum": "GCJ-02"},
    {"lon": 0.0, "lat": 0.0},
    {"note": "unknown fields go to extra"},
)
_RECORDS: Mapping[Source, Mapping[str, Any]] = {
    Source.READINGS: {"device_id": "d", "metric": "water_level_mm", "value": 1.5, "ts": TS_MS, "unit": "mm"},
    Source.CAMERA_EVENTS: {"camera_id": "c", "event": "waterlogging", "confidence": 0.5, "ts": TS_MS, "track_id": 1},
    Source.TICKETS: {"ticket_id": "t", "category": "fire", "text": "x", "ts": TS_MS},
}


def warm_up(
    settings: LocateSettings,
    make_locator: Callable[[tuple[StringTable, StringTable, StringTable]], Locator],
) -> None:
    """Run records of every source and of every fate through a locator that is then thrown away."""
    warm_up_decoder(settings.readings.zone_info)
    tables = (StringTable(), StringTable(), StringTable())
    decoder = Decoder(*tables, settings.zones())
    locator = make_locator(tables)
    for source, record in _RECORDS.items():
        key = (int(source), 0)
        locator.assign(key, 0, WatermarkState(), TS_MS)
        values = [msgspec.json.encode({**record, **place}) for place in _PLACES]
        batch = batch_of(values, TS_MS)
        decoded = decoder.decode(source, source.topic, 0, [batch])
        next_offset = decoded.last_offset + 1
        locator.feed(decoded.columns, decoded.letters, next_offset, TS_MS, partial(payloads_at, [batch]))
    locator.flush(TS_MS, level=True)
    crc32c(bytes(SHORT))
    crc32c(bytearray(SHORT))


def batch_of(values: Sequence[bytes | None], timestamp_ms: int, base_offset: int = 0) -> RawBatch:
    """An uncompressed batch of these record values, as a broker would append it at `timestamp_ms`."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    for delta, value in enumerate(values):
        builder.append(delta, timestamp_ms, None, value, [])
    payload = bytes(builder.build())[BATCH_HEADER_BYTES:]
    return RawBatch(base_offset, base_offset + len(values), len(values), timestamp_ms, True, payload)
