"""CityJoin's data: three raw topics of a small city, seeded, and the answer by a plain batch computation.

90 % readings, 9 % camera events, 1 % tickets from 20,000 devices over 14,400 cells of 0.001 degree; event time runs at
a fixed number of records a second and each record is up to 5 s out of order. Every raw partition ends with a closer,
a record 180 s after the last one. The batch answer comes from the generator's arrays, not from the records' JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.sources import Source

WEST, SOUTH = 121.40, 31.15
STEP_DEG = 0.001
SIDE: Final = 120  # cells a side
DEVICES: Final = 20_000
PARTITIONS: Final = 4
RECORDS_PER_S: Final = 3_333  # of event time: each device about every 6 s
START_MS: Final = 1_750_000_020_000  # on a minute, like every window start
DISORDER_MS: Final = 5_000
CLOSER_MS: Final = 180_000
WINDOW_MS: Final = 60_000
RAISE_AT_MM: Final = 150.0
CONFIDENCE: Final = 0.6

SHARES: Final = {Source.READINGS: 0.90, Source.CAMERA_EVENTS: 0.09, Source.TICKETS: 0.01}
METRICS: Final = ("water_level_mm", "rainfall_mm_h", "noise_db", "pm25_ugm3")
EVENTS: Final = ("waterlogging", "stopped_vehicle", "crowding", "smoke")
CATEGORIES: Final = ("flood", "noise", "road_damage", "street_light")
UNITS: Final = ("mm", "mm/h", "dB", "ug/m3")

Answer = set[tuple[int, int, float, int, int]]
"""(cell row * 120 + column, window start in ms, m, c, t)"""


@dataclass(frozen=True, slots=True)
class Records:
    """All records in order of production; every array has one element per record."""

    source: npt.NDArray[np.int8]
    device: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int8]  # index into METRICS, EVENTS or CATEGORIES
    value: npt.NDArray[np.float64]  # reading, or confidence of a camera event
    good: npt.NDArray[np.bool_]
    event_at_ms: npt.NDArray[np.int64]
    cell: npt.NDArray[np.int32]  # by device: row * SIDE + column
    lon: npt.NDArray[np.float64]  # by device
    lat: npt.NDArray[np.float64]

    @property
    def count(self) -> int:
        return len(self.source)


def make_records(count: int, seed: int) -> Records:
    """`count` records; the same seed gives the same ones."""
    random = np.random.default_rng(seed)
    device_cell = random.integers(0, SIDE * SIDE, DEVICES).astype(np.int32)
    inside = random.uniform(0.1, 0.9, (2, DEVICES))  # clear of cell borders, where rounding would decide
    source = random.choice(3, count, p=[SHARES[s] for s in Source]).astype(np.int8)
    device = random.integers(0, DEVICES, count).astype(np.int32)
    produced_ms = START_MS + np.arange(count) * 1000 // RECORDS_PER_S
    reading = source == Source.READINGS
    value = np.where(reading, random.integers(0, 1531, count) / 10, random.integers(20, 101, count) / 100)
    return Records(
        source=source,
        device=device,
        kind=random.integers(0, 4, count).astype(np.int8),
        value=value,
        good=random.random(count) < 0.95,
        event_at_ms=produced_ms - random.integers(0, DISORDER_MS, count),
        cell=device_cell,
        lon=np.round(WEST + STEP_DEG * (device_cell % SIDE + inside[0]), 6),
        lat=np.round(SOUTH + STEP_DEG * (device_cell // SIDE + inside[1]), 6),
    )


def batch_answer(records: Records) -> Answer:
    """The alerts by grouping everything at once: m >= 150 and c + t >= 1 per cell and tumbling minute."""
    window = records.event_at_ms // WINDOW_MS
    first = int(window.min())
    key = records.cell[records.device].astype(np.int64) * 1_000_000 + (window - first)
    keys, group = np.unique(key, return_inverse=True)
    highest = np.full(len(keys), -np.inf)
    cameras = np.zeros(len(keys), dtype=np.int64)
    tickets = np.zeros(len(keys), dtype=np.int64)
    level = (records.source == Source.READINGS) & (records.kind == 0) & records.good
    seen = (records.source == Source.CAMERA_EVENTS) & (records.kind == 0) & (records.value >= CONFIDENCE)
    called = (records.source == Source.TICKETS) & (records.kind == 0)
    np.maximum.at(highest, group[level], records.value[level])
    np.add.at(cameras, group[seen], 1)
    np.add.at(tickets, group[called], 1)
    raised = np.flatnonzero((highest >= RAISE_AT_MM) & (cameras + tickets >= 1))
    return {
        (
            int(keys[i] // 1_000_000),
            int(keys[i] % 1_000_000 + first) * WINDOW_MS,
            float(highest[i]),
            int(cameras[i]),
            int(tickets[i]),
        )
        for i in raised
    }


def json_records(
    records: Records, partitions: Sequence[int] = range(PARTITIONS)
) -> Iterator[tuple[Source, int, bytes]]:
    """(source, partition, JSON) of each record of these partitions in order of production, closers last."""
    sources, devices, kinds = records.source.tolist(), records.device.tolist(), records.kind.tolist()
    values, goods, times = records.value.tolist(), records.good.tolist(), records.event_at_ms.tolist()
    places = [
        f'"lon":{lon:.6f},"lat":{lat:.6f}' for lon, lat in zip(records.lon.tolist(), records.lat.tolist(), strict=True)
    ]
    for i in np.flatnonzero(np.isin(records.device % PARTITIONS, partitions)).tolist():
        device, kind, at_ms = devices[i], kinds[i], times[i]
        source = Source(sources[i])
        yield source, device % PARTITIONS, _line(source, device, kind, values[i], goods[i], at_ms, places[device], i)
    closed_ms = int(records.event_at_ms.max()) + CLOSER_MS
    for source in Source:
        for partition in partitions:
            # kind 1 takes no part in the alert
            yield (
                source,
                partition,
                _line(source, partition, 1, 0.5, True, closed_ms, places[partition], -1 - partition),
            )


def _line(
    source: Source, device: int, kind: int, value: float, good: bool, at_ms: int, place: str, number: int
) -> bytes:
    if source is Source.READINGS:
        quality = "good" if good else "suspect"
        return (
            f'{{"device_id":"d{device:06d}","metric":"{METRICS[kind]}","value":{value},"unit":"{UNITS[kind]}",'
            f'"ts":{at_ms},{place},"quality":"{quality}"}}'
        ).encode()
    if source is Source.CAMERA_EVENTS:
        return (
            f'{{"camera_id":"c{device:06d}","event":"{EVENTS[kind]}","confidence":{value},"ts":{at_ms},{place}}}'
        ).encode()
    return (
        f'{{"ticket_id":"t{number:010d}","category":"{CATEGORIES[kind]}","text":"路面积水，车辆难以通行，请尽快处理",'
        f'"ts":{at_ms},{place},"channel":"12345"}}'
    ).encode()
