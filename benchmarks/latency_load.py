"""What the latency benchmark offers: CityJoin-like records, each with its moment on a schedule fixed beforehand.

Record number i is due i / rate seconds after the beginning, whatever the system does. All else about it follows from
its number and the seed: which of the records of a pool it is (device, kind, value, place), and how far its event time
lies before its due time (less than `DISORDER_MS`, which is also the lateness bound: event time keeps up with the
clock). So the generator and the check work out the same records without storing one.

In place of CityJoin's minutes the windows are `WINDOW_MS` long, so that alerts come at all times of all seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.cityjoin_data import CONFIDENCE, DEVICES, PARTITIONS, SHARES, Records, json_records, make_records
from schemas.sources import Source
from streams.words import PADDING, address_of, as_int, load_word, store_byte, store_word
from topology.jit import kernel

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

WINDOW_MS: Final = 250
DISORDER_MS: Final = 200
RAISE_AT_MM: Final = 140.0
"""At `USUAL_RATE`; lower than CityJoin's 150, to have some three alerts in each of the short windows."""
USUAL_RATE: Final = 50_000
HIGHEST_MM: Final = 153.0
POOL_BITS: Final = 17
URGENT_PER_S: Final = 20.0
URGENT_CATEGORY: Final = b'"fire"'
ORDINARY_CATEGORY: Final = b'"street_light"'  # takes no part in the rule: such tickets become the urgent ones
CLOSER_MS: Final = 60_000
"""The last record of each partition is so far ahead that every window before it is judged."""
PLACES: Final = len(Source) * PARTITIONS
"""Raw partitions, numbered source * PARTITIONS + partition."""
NO_NUMBER: Final = -1

NOTHING, LEVEL, CAMERA, TICKET, URGENT = range(5)
"""What a record is to the rule."""


@dataclass(frozen=True, slots=True)
class Load:
    """A schedule: so many records a second for so long. `start_ms` (epoch) is the due time of record 0."""

    rate: int
    seconds: float
    seed: int = 1
    start_ms: int = 0

    @property
    def count(self) -> int:
        return int(self.rate * self.seconds)

    def due_ns(self, number: Ints) -> Ints:
        """Nanoseconds after the beginning; one division, as in the kernel."""
        due: Ints = number * 1_000_000_000 // self.rate
        return due

    def number_at(self, ns: int) -> int:
        """How many records are due by then."""
        return min(self.count, max(0, ns * self.rate // 1_000_000_000 + 1))


def raise_at_mm(rate: int) -> float:
    """The rule's threshold that gives about as many alerts a second at this rate as `RAISE_AT_MM` does at the usual
    one: levels and reports in a cell both become more frequent with the rate, so the share of levels goes down with its
    square. Otherwise a search for the highest rate would search for the most alerts."""
    share = (HIGHEST_MM + 0.1 - RAISE_AT_MM) * (USUAL_RATE / rate) ** 2
    return round(min(HIGHEST_MM, max(0.0, HIGHEST_MM + 0.1 - share)), 1)


@dataclass(frozen=True, slots=True)
class Pool:
    """Records to choose from: 2**POOL_BITS, each an entry of these arrays and one JSON text with room for its time."""

    records: Records
    role: npt.NDArray[np.int8]
    cell: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]
    data: Bytes
    starts: Ints
    time_at: Ints  # where the 13 digits of its time begin in its text
    number_at: Ints  # and the 10 digits of a ticket's number; NO_NUMBER in others

    @classmethod
    def make(cls, seed: int, rate: int) -> Pool:
        records = make_records(1 << POOL_BITS, seed)
        tickets = np.flatnonzero(records.source == Source.TICKETS)
        ordinary = tickets[records.kind[tickets] == 3]
        share = URGENT_PER_S / (rate * SHARES[Source.TICKETS])
        urgent = ordinary[: max(1, min(len(ordinary), round(share * len(tickets))))]
        texts = [line for _, _, line in json_records(records)][: records.count]
        for i in urgent.tolist():
            texts[i] = texts[i].replace(ORDINARY_CATEGORY, URGENT_CATEGORY)
        role = np.zeros(records.count, dtype=np.int8)
        role[(records.source == Source.READINGS) & (records.kind == 0) & records.good] = LEVEL
        role[(records.source == Source.CAMERA_EVENTS) & (records.kind == 0) & (records.value >= CONFIDENCE)] = CAMERA
        role[(records.source == Source.TICKETS) & (records.kind == 0)] = TICKET
        role[urgent] = URGENT
        starts = np.zeros(records.count + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=starts[1:])
        data = np.zeros(int(starts[-1]) + PADDING, dtype=np.uint8)
        data[: starts[-1]] = np.frombuffer(b"".join(texts), dtype=np.uint8)
        number_at = [text.find(b'"ticket_id":"t') for text in texts]
        return cls(
            records=records,
            role=role,
            cell=records.cell[records.device],
            place=(records.source * PARTITIONS + records.device % PARTITIONS).astype(np.int32),
            data=data,
            starts=starts,
            time_at=np.array([text.index(b'"ts":') + 5 for text in texts], dtype=np.int64),
            number_at=np.array([at + 14 if at >= 0 else NO_NUMBER for at in number_at], dtype=np.int64),
        )

    @property
    def keys(self) -> list[bytes]:
        """The record key of each device, as a gateway would set it."""
        return [b"%06d" % device for device in range(DEVICES)]

    def closers(self, at_ms: int) -> list[bytes]:
        """One record for each place that takes no part in the rule, at this event time."""
        found = []
        for place in range(PLACES):
            entry = int(np.flatnonzero((self.place == place) & (self.role == NOTHING))[0])
            text = bytearray(self.data[self.starts[entry] : self.starts[entry + 1]].tobytes())
            at = int(self.time_at[entry])
            text[at : at + 13] = b"%013d" % at_ms
            found.append(bytes(text))
        return found


def draw(load: Load, first: int, count: int) -> tuple[Ints, Ints]:
    """(entry of the pool, event time in epoch ms) of records first .. first + count."""
    entry, event_ms = np.empty((2, count), dtype=np.int64)
    _draw(load.seed, load.rate, load.start_ms, first, entry, event_ms)
    return entry, event_ms


def render(pool: Pool, first: int, entry: Ints, event_ms: Ints) -> tuple[Bytes, Ints]:
    """(all texts behind each other and spare bytes, where each begins) of drawn records."""
    starts: Ints = np.zeros(len(entry) + 1, dtype=np.int64)
    np.cumsum(pool.starts[entry + 1] - pool.starts[entry], out=starts[1:])
    out: Bytes = np.empty(int(starts[-1]) + PADDING, dtype=np.uint8)
    _render(first, pool.data, pool.starts, pool.time_at, pool.number_at, entry, event_ms, out, starts)
    return out, starts


@kernel
def _draw(seed: int, rate: int, start_ms: int, first: int, entry: Ints, event_ms: Ints) -> None:
    for i in range(len(entry)):
        number = first + i
        # splitmix64 (Steele, Lea, Flood 2014): the n-th number of a stream without the ones before it
        z = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        entry[i] = as_int(z & np.uint64((1 << POOL_BITS) - 1))
        due_ms = start_ms + number * 1_000_000_000 // rate // 1_000_000
        event_ms[i] = due_ms - as_int((z >> np.uint64(32)) % np.uint64(DISORDER_MS))


@kernel
def _put_digits(value: int, width: int, at: int) -> None:
    for i in range(width):
        store_byte(at + width - 1 - i, 48 + value % 10)
        value //= 10


@kernel
def _render(
    first: int, data: Bytes, from_: Ints, time_at: Ints, number_at: Ints, entry: Ints, event_ms: Ints, out: Bytes,
    starts: Ints,
) -> None:  # fmt: skip
    data_at, out_at = address_of(data), address_of(out)
    for i in range(len(entry)):
        e = entry[i]
        begin, at = data_at + from_[e], out_at + starts[i]
        for done in range(0, starts[i + 1] - starts[i], 8):  # up to 7 bytes more, which the next text overwrites
            store_word(at + done, load_word(begin + done))
        _put_digits(event_ms[i], 13, at + time_at[e])
        if number_at[e] >= 0:
            _put_digits(first + i, 10, at + number_at[e])
