"""The growing city: any number of devices over any number of cells, made record by record from a seed.

Nothing is kept per device: what a record says follows from its number by a mixing function, so ten million devices cost
the benchmark no memory that could be mistaken for the product's. Device d stands in cell d % cells, reports one metric
(or, every tenth, what its camera sees) once each `period_s`, in a fixed order and up to 5 s out of order; every
hundredth record is a ticket from anywhere. Values are in tenths: nearly all between 10 and 40, one in `spike_every`
anywhere between 0 and 100.

`write_batches` writes the records as JSON straight into Kafka's record layout, in machine code, so that a minute of
measuring does not need ten minutes of preparing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.sources import Source
from streams.batches import RawBatch
from topology.grid import Grid, morton_decode
from topology.jit import kernel

WEST, SOUTH = 121.0, 30.5
STEP_DEG = 0.001
PARTITIONS: Final = 4
START_MS: Final = 1_750_000_020_000  # on a minute
DISORDER_MS: Final = 5_000
CLOSER_MS: Final = 180_000
ARRIVED_MS: Final = 1_900_000_000_000  # the broker's clock: later than every event time
BATCH_RECORDS: Final = 1_500  # about 256 KiB, as a busy gateway sends
CONFIDENT: Final = 0.6

METRICS: Final = {
    "water_level_mm": "mm", "rainfall_mm_h": "mm/h", "noise_db": "dB", "pm25_ugm3": "ug/m3", "pm10_ugm3": "ug/m3",
    "no2_ugm3": "ug/m3", "so2_ugm3": "ug/m3", "o3_ugm3": "ug/m3", "co_ppm": "ppm", "humidity_percent": "%",
    "wind_speed_ms": "m/s", "traffic_speed_kmh": "km/h", "occupancy": "%", "queue_length_m": "m", "power_kw": "kW",
    "illuminance_lx": "lx", "vibration_mm_s": "mm/s", "bin_fill_percent": "%", "sewer_level_mm": "mm",
    "turbidity_ntu": "NTU",
}  # fmt: skip
EVENTS: Final = (
    "waterlogging", "stopped_vehicle", "crowding", "smoke", "congestion", "garbage_overflow", "debris", "road_damage",
)  # fmt: skip
CATEGORIES: Final = ("flood", "noise", "road_damage", "street_light", "parking", "manhole")
KINDS: Final[dict[Source, tuple[str, ...]]] = {
    Source.READINGS: tuple(METRICS),
    Source.CAMERA_EVENTS: EVENTS,
    Source.TICKETS: CATEGORIES,
}

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CitySpec:
    """How large the city is and how often its devices speak."""

    cells: int
    devices: int
    period_s: float
    """Seconds of event time between two records of one device."""
    spike_every: int = 5_000
    seed: int = 1
    placed: bool = True
    """Whether readings and camera events say where they are; else the device register has to."""

    @property
    def side(self) -> int:
        """Columns of the grid; it has room for all cells, filled row by row."""
        return int(np.ceil(np.sqrt(self.cells)))

    @property
    def grid(self) -> Grid:
        side = self.side
        return Grid.degrees(WEST, SOUTH, WEST + side * STEP_DEG, SOUTH + side * STEP_DEG, STEP_DEG)

    @property
    def records_per_s(self) -> float:
        return self.devices / self.period_s


@dataclass(frozen=True, slots=True)
class Records:
    """Records `first ..` in order of production; each array has one element per record."""

    first: int
    source: npt.NDArray[np.int8]
    kind: npt.NDArray[np.int8]  # index into KINDS[source]
    device: IntArray
    tenths: npt.NDArray[np.int32]  # the reading in tenths, a camera's confidence in hundredths
    good: npt.NDArray[np.bool_]
    event_at_ms: IntArray
    number: npt.NDArray[np.int32]  # cell: row * side + column

    def __len__(self) -> int:
        return len(self.source)

    @property
    def partition(self) -> IntArray:
        # every tenth device is a camera: without the tenths half of the partitions would never have an event, and
        # nothing would be judged before the end
        return (self.device + self.device // 10) % PARTITIONS


def make_records(spec: CitySpec, first: int, count: int) -> Records:
    """Records number `first .. first + count` of the city."""
    made = Records(
        first=first,
        source=np.empty(count, dtype=np.int8),
        kind=np.empty(count, dtype=np.int8),
        device=np.empty(count, dtype=np.int64),
        tenths=np.empty(count, dtype=np.int32),
        good=np.empty(count, dtype=np.bool_),
        event_at_ms=np.empty(count, dtype=np.int64),
        number=np.empty(count, dtype=np.int32),
    )
    _fill(
        first, spec.cells, spec.devices, _stride(spec.devices), int(spec.period_s * 1000), spec.spike_every, spec.seed,
        np.array([len(KINDS[source]) for source in Source], dtype=np.int64),
        made.source, made.kind, made.device, made.tenths, made.good, made.event_at_ms, made.number,
    )  # fmt: skip
    return made


def closers(records_end_ms: int, spec: CitySpec) -> Records:
    """One harmless record for every raw partition, long after the last one: it lets every window end."""
    count = 3 * PARTITIONS
    return Records(
        first=-1,
        source=np.repeat(np.arange(3), PARTITIONS).astype(np.int8),
        kind=np.zeros(count, dtype=np.int8),
        device=np.tile(np.arange(PARTITIONS), 3).astype(np.int64),
        tenths=np.full(count, 20, dtype=np.int32),
        good=np.zeros(count, dtype=np.bool_),
        event_at_ms=np.full(count, records_end_ms + CLOSER_MS, dtype=np.int64),
        number=np.zeros(count, dtype=np.int32),
    )


def write_batches(spec: CitySpec, records: Records, offsets: dict[tuple[int, int], int]) -> Iterator[RawBatch_]:
    """The records as Kafka record batches, (source, partition, batches) in turn; `offsets` moves on with them."""
    codes, data, starts = _templates(spec.placed)
    for source in Source:
        for partition in range(PARTITIONS):
            chosen = np.flatnonzero((records.source == source) & (records.partition == partition))
            batches = []
            for begin in range(0, len(chosen), BATCH_RECORDS):
                rows = chosen[begin : begin + BATCH_RECORDS]
                out = np.empty(300 * len(rows), dtype=np.uint8)
                size = _write(
                    rows, int(source), records.kind, records.device, records.tenths, records.good, records.event_at_ms,
                    records.number, records.first, spec.side, codes, data, starts, out,
                )  # fmt: skip
                base = offsets[int(source), partition]
                end = offsets[int(source), partition] = base + len(rows)
                batches.append(RawBatch(base, end, len(rows), ARRIVED_MS, True, out[:size].tobytes()))
            if batches:
                yield source, partition, batches


RawBatch_ = tuple[Source, int, list[RawBatch]]
"""(source, partition, batches in offset order)"""


def cell_ids(spec: CitySpec) -> IntArray:
    """The grid's cell id of each cell number: int64[cells]."""
    numbers = np.arange(spec.cells)
    lon: npt.NDArray[np.float64] = np.asarray(WEST + STEP_DEG * (numbers % spec.side + 0.5), dtype=np.float64)
    lat: npt.NDArray[np.float64] = np.asarray(SOUTH + STEP_DEG * (numbers // spec.side + 0.5), dtype=np.float64)
    return spec.grid.cells_of(lon, lat)


def numbers_of(spec: CitySpec, cells: IntArray) -> IntArray:
    """Back from cell ids."""
    places = [morton_decode(int(cell)) for cell in cells]
    return np.array([row * spec.side + column for column, row in places], dtype=np.int64)


# --- kernels ---------------------------------------------------------------------------------------------------------


@kernel
def mixed(number: int, salt: int) -> int:
    """splitmix64's finaliser of (number, salt), 62 bits."""
    z = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(2))  # type: ignore[return-value]


@kernel
def _fill(
    first: int,
    cells: int,
    devices: int,
    stride: int,
    period_ms: int,
    spike_every: int,
    seed: int,
    kind_counts: IntArray,
    source: npt.NDArray[np.int8],
    kind: npt.NDArray[np.int8],
    device: IntArray,
    tenths: npt.NDArray[np.int32],
    good: npt.NDArray[np.bool_],
    event_at_ms: IntArray,
    number: npt.NDArray[np.int32],
) -> None:
    for i in range(source.shape[0]):
        n = first + i
        dice = mixed(n, seed)
        if dice % 100 == 0:
            source[i] = 2
            device[i] = n
            number[i] = mixed(n, seed + 1) % cells
            kind[i] = mixed(n, seed + 2) % kind_counts[2]
            tenths[i] = 10
        else:
            d = (n % devices) * stride % devices
            device[i] = d
            number[i] = d % cells
            if d % 10 == 9:
                source[i] = 1
                kind[i] = mixed(n, seed + 2) % kind_counts[1]
                tenths[i] = 20 + mixed(n, seed + 3) % 81
            else:
                source[i] = 0
                kind[i] = mixed(d, seed + 4) % kind_counts[0]
                if mixed(n, seed + 5) % spike_every == 0:
                    tenths[i] = mixed(n, seed + 3) % 1000
                else:
                    tenths[i] = 100 + mixed(d, seed + 6) % 200 + mixed(n, seed + 3) % 100
        good[i] = (dice // 100) % 20 != 0
        event_at_ms[i] = START_MS + n * period_ms // devices - mixed(n, seed + 7) % DISORDER_MS


@kernel
def write_number(value: int, least_digits: int, out: npt.NDArray[np.uint8], at: int) -> int:
    digits = 1
    power = 10
    while digits < least_digits or (power <= value and digits < 19):
        digits += 1
        power *= 10
    for place in range(digits):
        out[at + digits - 1 - place] = 48 + value % 10
        value //= 10
    return at + digits


@kernel
def _varint(value: int, out: npt.NDArray[np.uint8], at: int) -> int:
    left = value << 1  # zigzag of a number >= 0
    while left >= 0x80:
        out[at] = (left & 0x7F) | 0x80
        left >>= 7
        at += 1
    out[at] = left
    return at + 1


@kernel
def _varint_size(value: int) -> int:
    left = value << 1
    size = 1
    while left >= 0x80:
        left >>= 7
        size += 1
    return size


@kernel
def _write(
    rows: IntArray,
    source: int,
    kind: npt.NDArray[np.int8],
    device: IntArray,
    tenths: npt.NDArray[np.int32],
    good: npt.NDArray[np.bool_],
    event_at_ms: IntArray,
    number: npt.NDArray[np.int32],
    first: int,
    side: int,
    codes: npt.NDArray[np.int8],
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int32],
    out: npt.NDArray[np.uint8],
) -> int:
    """Records in message format v2, one behind the other; returns their size."""
    text = np.empty(512, dtype=np.uint8)
    end = 0
    for index in range(rows.shape[0]):
        i = rows[index]
        template = source * _MOST_KINDS + kind[i]
        column, row = number[i] % side, number[i] // side
        # a fixed place inside the cell, clear of its borders, where rounding would decide
        inside = device[i] % 800 + 100
        size = 0
        for part in range(_PARTS):
            piece = template * _PARTS + part
            for at in range(starts[piece], starts[piece + 1]):
                text[size] = data[at]
                size += 1
            code = codes[piece]
            if code == _ID:
                size = write_number(device[i], 9, text, size)
            elif code == _TENTHS:
                size = write_number(tenths[i] // 10, 1, text, size)
                text[size] = 46
                size = write_number(tenths[i] % 10, 1, text, size + 1)
            elif code == _HUNDREDTHS:
                size = write_number(tenths[i] // 100, 1, text, size)
                text[size] = 46
                size = write_number(tenths[i] % 100, 2, text, size + 1)
            elif code == _TIME:
                size = write_number(event_at_ms[i], 1, text, size)
            elif code == _LON:
                size = write_degrees(int(WEST_E6) + column * 1000 + inside, text, size)
            elif code == _LAT:
                size = write_degrees(int(SOUTH_E6) + row * 1000 + inside, text, size)
            elif code == _QUALITY:
                word = _GOOD if good[i] else _SUSPECT
                for at in range(word.shape[0]):
                    text[size] = word[at]
                    size += 1
        # attributes, timestamp delta, offset delta, no key, the value's length, the value, no headers
        inner = 2 + _varint_size(index) + 1 + _varint_size(size) + size + 1
        end = _varint(inner, out, end)
        out[end] = 0
        out[end + 1] = 0
        end = _varint(index, out, end + 2)
        out[end] = 1  # zigzag of -1
        end = _varint(size, out, end + 1)
        for at in range(size):
            out[end + at] = text[at]
        out[end + size] = 0
        end += size + 1
    return end


@kernel
def write_degrees(micro: int, out: npt.NDArray[np.uint8], at: int) -> int:
    at = write_number(micro // 1_000_000, 1, out, at)
    out[at] = 46
    return write_number(micro % 1_000_000, 6, out, at + 1)


# --- templates of JSON: fixed text and holes -------------------------------------------------------------------------

_END, _ID, _TENTHS, _HUNDREDTHS, _TIME, _LON, _LAT, _QUALITY = range(8)
_PARTS: Final = 7
_MOST_KINDS: Final = 32
WEST_E6: Final = round(WEST * 1e6)
SOUTH_E6: Final = round(SOUTH * 1e6)
_GOOD: Final = np.frombuffer(b"good", dtype=np.uint8)
_SUSPECT: Final = np.frombuffer(b"suspect", dtype=np.uint8)


def _template(source: Source, kind: str, placed: bool) -> list[tuple[str, int]]:
    place = [(',"lon":', _LON), (',"lat":', _LAT)] if placed or source is Source.TICKETS else [("", _END), ("", _END)]
    if source is Source.READINGS:
        return [
            ('{"device_id":"d', _ID), (f'","metric":"{kind}","value":', _TENTHS),
            (f',"unit":"{METRICS[kind]}","ts":', _TIME), *place, (',"quality":"', _QUALITY), ('"}', _END),
        ]  # fmt: skip
    if source is Source.CAMERA_EVENTS:
        return [
            ('{"camera_id":"c', _ID), (f'","event":"{kind}","confidence":', _HUNDREDTHS), (',"ts":', _TIME), *place,
            ("}", _END), ("", _END),
        ]  # fmt: skip
    return [
        ('{"ticket_id":"t', _ID), (f'","category":"{kind}","text":"路面积水，车辆难以通行，请尽快处理","ts":', _TIME),
        *place, (',"channel":"12345"}', _END), ("", _END), ("", _END),
    ]  # fmt: skip


def _templates(placed: bool) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    codes = np.zeros(3 * _MOST_KINDS * _PARTS, dtype=np.int8)
    pieces = [b""] * len(codes)
    for source in Source:
        for number, kind in enumerate(KINDS[source]):
            for part, (text, code) in enumerate(_template(source, kind, placed)):
                at = (int(source) * _MOST_KINDS + number) * _PARTS + part
                codes[at], pieces[at] = code, text.encode()
    starts = np.zeros(len(codes) + 1, dtype=np.int32)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    return codes, np.frombuffer(b"".join(pieces), dtype=np.uint8), starts


def _stride(devices: int) -> int:
    """A number without common divisor with `devices`, so that each device gets its turn in every round."""
    stride = int(devices * 0.618) | 1
    while np.gcd(stride, devices) != 1:
        stride += 2
    return stride
