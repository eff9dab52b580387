"""Frames and alerts made by hand for the archive's tests: a few rows in words, or many at random from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from schemas.alert import Action, Alert
from schemas.observation import NO_PLACE_E7, OBSERVATION, Cover, FrameHeader, encode_frame
from schemas.sources import Source

T0_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


def row(source: Source, partition: int, offset: int, **given: Any) -> dict[str, Any]:
    """One observation; what is not given is plain."""
    plain = {
        "event_at": T0_MS + offset,
        "received_at": T0_MS + offset + 50,
        "cell": 7,
        "source": source.topic,
        "partition": partition,
        "offset": offset,
        "kind": {Source.READINGS: "water_level_mm", Source.CAMERA_EVENTS: "waterlogging", Source.TICKETS: "flood"}[
            source
        ],
        "entity": f"thing-{offset % 10}",
        "value": float(offset),
        "confidence": 1.0,
        "quality": 0,
        "flags": 0,
        "lon_e7": 1_214_737_000,
        "lat_e7": 312_304_000,
        "unit": "mm" if source is Source.READINGS else None,
        "device_type": None,
        "extra": '{"text":"积水","urgency":"normal"}' if source is Source.TICKETS else None,
        "jurisdiction": "310104003",
    }
    return plain | given


def batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    columns = [_column([entry[field.name] for entry in rows], field.type) for field in OBSERVATION]
    return pa.RecordBatch.from_arrays(columns, schema=OBSERVATION)


def cover(source: Source, partition: int, first: int, last: int) -> Cover:
    return Cover(
        source=int(source),
        partition=partition,
        first=first,
        last=last,
        watermark_ms=T0_MS,
        max_event_ms=T0_MS + last,
        idle=False,
        arrived_ms=T0_MS + last + 50,
    )


def frame(rows: Sequence[dict[str, Any]], covers: Iterable[Cover], shard: int = 0) -> bytes:
    """The bytes of a frame; no rows make a header frame."""
    return encode_frame(FrameHeader(shard=shard, covers=list(covers)), batch(rows) if rows else None)


def reading_frame(first: int, last: int, *, partition: int = 0, shard: int = 0, **given: Any) -> bytes:
    """Readings first..last of one raw partition."""
    return frame(
        [row(Source.READINGS, partition, offset, **given) for offset in range(first, last + 1)],
        [cover(Source.READINGS, partition, first, last)],
        shard,
    )


def many_readings(first: int, count: int, *, partition: int = 0, span_ms: int = 60_000, seed: int = 0) -> bytes:
    """A large frame of readings whose event times spread over `span_ms`, as fast to make as numpy is."""
    chance = np.random.default_rng(seed)
    offsets = np.arange(first, first + count)
    event = T0_MS + chance.integers(0, span_ms, count)
    cells = chance.integers(0, 14_400, count)
    kinds = pa.array(["water_level_mm", "speed_kmh", "pm25"])
    devices = pa.array([f"device-{number}" for number in range(20_000)])

    def same(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), count)

    def coded(values: pa.Array, codes: Any, kind: pa.DataType) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes, kind), values)

    columns = {
        "event_at": pa.array(event, pa.timestamp("ms", "UTC")),
        "received_at": pa.array(event + 1000, pa.timestamp("ms", "UTC")),
        "cell": pa.array(cells),
        "source": coded(pa.array(["readings"]), np.zeros(count, np.int8), pa.int8()),
        "partition": same(partition, pa.int32()),
        "offset": pa.array(offsets),
        "kind": coded(kinds, chance.integers(0, 3, count).astype(np.int32), pa.int32()),
        "entity": devices.take(pa.array(chance.integers(0, 20_000, count))),
        "value": pa.array(chance.random(count) * 200),
        "confidence": same(1.0, pa.float32()),
        "quality": same(0, pa.uint8()),
        "flags": same(0, pa.uint16()),
        "lon_e7": pa.array((1_214_000_000 + cells * 1000).astype(np.int32)),
        "lat_e7": same(NO_PLACE_E7, pa.int32()),
        "unit": coded(pa.array(["mm"]), np.zeros(count, np.int32), pa.int32()),
        "device_type": coded(pa.array([], pa.utf8()), [None] * count, pa.int32()),
        "extra": pa.nulls(count, pa.utf8()),
        "jurisdiction": coded(pa.array(["310104003", "310101002"]), (cells % 2).astype(np.int32), pa.int32()),
    }
    made = pa.RecordBatch.from_arrays([columns[field.name] for field in OBSERVATION], schema=OBSERVATION)
    covers = [cover(Source.READINGS, partition, first, first + count - 1)]
    return encode_frame(FrameHeader(shard=0, covers=covers), made)


def alert(revision: int, action: Action, severity: int, **given: Any) -> Alert:
    """One record of an alert; what is not given is plain."""
    plain = {
        "alert_id": "waterlogging-1-7-1767225600000",
        "revision": revision,
        "action": action,
        "detector": "waterlogging",
        "detector_version": 1,
        "category": "waterlogging",
        "cell": 7,
        "lon": 121.4,
        "lat": 31.2,
        "onset_ms": T0_MS,
        "window_start_ms": T0_MS + 60_000 * revision,
        "window_end_ms": T0_MS + 60_000 * (revision + 1),
        "severity": severity,
        "confidence": 0.9,
        "reason": "level_and_camera",
        "values": {"level": 151.0, "camera": None},
        "thresholds": {"level": 150.0},
        "evidence": ["readings:0:1"],
        "sentence_zh": "积水",
        "sentence_en": "water",
    }
    return msgspec.convert({**plain, **given}, Alert)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(kind):
        return pa.array(values, kind)
    return pa.array(values, pa.utf8()).dictionary_encode().cast(kind)
