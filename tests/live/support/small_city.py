"""A small city's hour for the tests of the whole worker: three sources, hostile bytes in between, the truth in numbers.

Records are in order of production; each is at most 5 s out of order, save the late ones. Every raw partition ends with
a closer, long after all others, so that every window gets judged. Cells lie around a corner where four shards meet:
most rows have halo copies. Two answers are known without a worker:

- `counts` come from the loop that makes the records;
- `pure_alerts` are what the pure pieces (decoder, locator, join) make of the same records, in one go and one process.
  `cityjoin_answer`, grouped by plain dictionaries, says that those are not wrong in the same way.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.cityjoin_detector import CityJoin
from detectors.contract import Detector
from detectors.waterlogging import Waterlogging
from schemas.alert import Alert
from schemas.kinds import built_in_kinds
from schemas.sources import Source
from streams.decode import Decoder
from streams.flush import FrameOut, UrgentTicket
from streams.join_core import JoinSettings, JoinShard
from streams.locate_core import Locator
from streams.locate_settings import LocateSettings
from streams.locate_warm_up import batch_of
from streams.placing import Placer, WatermarkState
from streams.raw_payloads import payloads_at
from streams.strings import StringTable
from streams.topics import TopicNames
from streams.urgent import urgent_alerts
from topology.city import City
from topology.grid import Grid
from topology.shards import Shards

WEST, SOUTH, STEP_DEG, SIDE = 121.40, 31.15, 0.001, 120
GRID: Final = Grid.degrees(WEST, SOUTH, WEST + SIDE * STEP_DEG, SOUTH + SIDE * STEP_DEG, STEP_DEG)
FIRST_CELL, CELLS_A_SIDE = 58, 12  # around 64, where four parents of 64 x 64 cells meet
PARTITIONS: Final = 2
SHARDS: Final = 4
START_MS: Final = 1_750_000_020_000  # on a minute
BEHIND: Final = 0.005
DISORDER_MS: Final = 5_000
WINDOW_MS: Final = 60_000
CLOSER_MS: Final = 3_600_000
RECORDS_PER_S: Final = 50.0  # of event time

Where = tuple[Source, int]
CityJoinAnswer = set[tuple[int, int, float, int, int]]
"""(cell, window start in ms, m, c, t)"""


@dataclass(frozen=True, slots=True)
class Record:
    source: Source
    partition: int
    value: bytes | None
    fields: dict[str, Any] | None = None  # None: hostile bytes, a dead letter to be
    late: bool = False


@dataclass(slots=True)
class Counts:
    """What must be in the history when everything is through."""

    observations: int = 0
    tickets: int = 0
    late: int = 0
    letters: set[tuple[Source, int, int]] = field(default_factory=set)  # source, partition, offset


def detectors() -> tuple[Detector[Any], ...]:
    """One that tells every window, one with hysteresis, long windows and a reach over the shard's border."""
    return CityJoin(), Waterlogging()


def shards() -> Shards:
    return Shards(grid=GRID, count=SHARDS, reach_rings=max(d.rings for d in detectors()))


def make_records(
    count: int,
    seed: int,
    *,
    silent: frozenset[Where] = frozenset(),
    start_ms: int = START_MS,
    per_s: float = RECORDS_PER_S,
    behind: float = BEHIND,
) -> list[Record]:
    """`count` records (1 % of them hostile), `per_s` in a second of event time, and the closers; nothing for the
    `silent` raw partitions. A share, `behind`, is 20 s and more behind."""
    chance = random.Random(seed)
    records: list[Record] = []
    newest: dict[Where, int] = defaultdict(int)
    while len(records) < count:
        number = len(records)
        source = Source(chance.choices((0, 1, 2), (85, 10, 5))[0])
        partition = chance.randrange(PARTITIONS)
        if (source, partition) in silent:
            continue
        produced_ms = start_ms + int(number * 1000 / per_s)
        if chance.random() < 0.01:
            records.append(Record(source, partition, _hostile(chance, produced_ms)))
            continue
        event_at_ms = produced_ms - chance.randrange(DISORDER_MS)
        if chance.random() < behind:
            event_at_ms -= chance.randrange(20_000, 90_000)
        late = event_at_ms < newest[source, partition] - DISORDER_MS
        newest[source, partition] = max(newest[source, partition], event_at_ms)
        fields = _fields(chance, source, number, event_at_ms)
        records.append(Record(source, partition, msgspec.json.encode(fields), fields, late))
    closed_ms = start_ms + int(count * 1000 / per_s) + CLOSER_MS
    for source in Source:
        for partition in range(PARTITIONS):
            if (source, partition) not in silent:
                fields = _fields(chance, source, -1 - partition, closed_ms) | {_KIND_FIELD[source]: "closer"}
                records.append(Record(source, partition, msgspec.json.encode(fields), fields))
    return records


_KIND_FIELD: Final = {Source.READINGS: "metric", Source.CAMERA_EVENTS: "event", Source.TICKETS: "category"}
_KINDS: Final = {
    Source.READINGS: ("water_level_mm", "rainfall_mm_h", "noise_db"),
    Source.CAMERA_EVENTS: ("waterlogging", "stopped_vehicle"),
    Source.TICKETS: ("flood", "noise"),
}


def _fields(chance: random.Random, source: Source, number: int, event_at_ms: int) -> dict[str, Any]:
    column, row = (FIRST_CELL + chance.randrange(CELLS_A_SIDE) for _ in "xy")
    place = {
        "lon": round(WEST + STEP_DEG * (column + chance.uniform(0.2, 0.8)), 6),
        "lat": round(SOUTH + STEP_DEG * (row + chance.uniform(0.2, 0.8)), 6),
    }
    kind = chance.choice(_KINDS[source])
    if source is Source.READINGS:
        value = chance.randrange(0, 2_400) / 10
        quality = "good" if chance.random() < 0.95 else "suspect"
        told = {"device_id": f"d{number % 500}", "metric": kind, "value": value, "quality": quality}
    elif source is Source.CAMERA_EVENTS:
        told = {"camera_id": f"c{number % 70}", "event": kind, "confidence": chance.randrange(20, 101) / 100}
    else:
        told = {"ticket_id": f"t{number}", "category": kind, "text": "路面积水，请尽快处理", "channel": "12345"}
        if chance.random() < 0.3:
            told["caller_phone"] = "13800138000"
    return told | place | {"ts": event_at_ms}


def _hostile(chance: random.Random, at_ms: int) -> bytes | None:
    good = {"device_id": "d", "camera_id": "c", "ticket_id": "t", "metric": "m", "event": "e", "category": "k",
            "text": "x", "confidence": 0.5, "value": 1.0, "ts": at_ms, "lon": 121.46, "lat": 31.21}  # fmt: skip
    text = msgspec.json.encode(good)
    return chance.choice(
        [
            b"", None, b"\xff\xfe\x00", b"[" * 3_000, b"{}", b"null", b"42", text[:-1], text.replace(b"1.0", b"1e999"),
            msgspec.json.encode(good | {"lon": 31.21, "lat": 121.46}), b"x" * 70_000,
            msgspec.json.encode(good | {"ts": 0}), msgspec.json.encode(good | {"ts": at_ms // 1000}),
            msgspec.json.encode(good | {"ts": 253_402_300_800_000}),
            msgspec.json.encode(good | {"lon": 10.0, "lat": 10.0}),
            msgspec.json.encode(good | {"ts": "2025-02-30T00:00:00Z"}), msgspec.json.encode(good | {"lon": None}),
        ]
    )  # fmt: skip


def counts_of(records: Sequence[Record]) -> Counts:
    counts = Counts()
    for record, offset in zip(records, offsets_of(records), strict=True):
        if record.fields is None:
            counts.letters.add((record.source, record.partition, offset))
            continue
        counts.observations += 1
        counts.tickets += record.source is Source.TICKETS
        counts.late += record.late
    return counts


def offsets_of(records: Sequence[Record]) -> Iterator[int]:
    """The offset that each record gets in its raw partition."""
    ends: Counter[Where] = Counter()
    for record in records:
        yield ends[record.source, record.partition]
        ends[record.source, record.partition] += 1


def pure_alerts(
    records: Sequence[Record], names: TopicNames, settings: LocateSettings, join: JoinSettings
) -> dict[tuple[str, int], Alert]:
    """The alerts of the same log by (id, revision): no Kafka, no interruption, one flush."""
    return pure_flow(records, names, settings, join).alerts


class PureFlow(NamedTuple):
    """What the pure pieces make of a log."""

    alerts: dict[tuple[str, int], Alert]
    tickets: tuple[FrameOut, ...]
    """The frames for topic `placed-tickets`."""


def pure_flow(records: Sequence[Record], names: TopicNames, settings: LocateSettings, join: JoinSettings) -> PureFlow:
    """Decoder, locator, join and urgent tickets, one after the other, each in one go."""
    tables = StringTable(), StringTable(), StringTable()
    decoder = Decoder(*tables, settings.zones())
    placer = Placer(
        shards(), tables[0], tables[1], built_in_kinds(), settings.rules(), future_bound_ms=settings.future_bound_ms
    )
    locator = Locator(settings, placer, SHARDS, *tables)
    keys = [(int(source), p) for source in Source for p in range(PARTITIONS)]
    topics = {source: names.raw(source) for source in Source}
    cores = [JoinShard(shard, GRID, detectors(), keys, join, topics) for shard in range(SHARDS)]
    now_ms = max(record.fields["ts"] for record in records if record.fields is not None) + 9 * CLOSER_MS
    values: dict[Where, list[bytes | None]] = defaultdict(list)
    urgent: list[UrgentTicket] = []
    for record in records:
        values[record.source, record.partition].append(record.value)
    for key in keys:
        locator.assign(key, 0, WatermarkState(), now_ms)
    for (source, raw_partition), payloads in values.items():
        batch = batch_of(payloads, now_ms)
        decoded = decoder.decode(source, topics[source], raw_partition, [batch])
        urgent += locator.feed(
            decoded.columns, decoded.letters, decoded.last_offset + 1, now_ms, partial(payloads_at, [batch])
        )
    for key in keys:  # silent ones are at their end
        locator.seen_end(key, len(values[Source(key[0]), key[1]]), now_ms + 10 * settings.idle_after_ms)
    flush = locator.flush(now_ms, level=True)
    alerts = [alert for frame in flush.frames for alert in cores[frame.shard].process(frame.data)]
    for ticket in urgent:
        alerts += urgent_alerts(ticket.data, built_in_kinds(), topics, City.bare(GRID, "Asia/Shanghai").jurisdictions)
    by_id = {(alert.alert_id, alert.revision): alert for alert in alerts}
    assert len(by_id) == len(alerts)
    return PureFlow(by_id, flush.tickets)


def cityjoin_answer(records: Sequence[Record]) -> CityJoinAnswer:
    """CityJoin by plain grouping: m >= 150 and c + t >= 1 per cell and minute, late records left out."""
    levels: dict[tuple[int, int], float] = defaultdict(lambda: -1.0)
    cameras: Counter[tuple[int, int]] = Counter()
    tickets: Counter[tuple[int, int]] = Counter()
    for record in records:
        told = record.fields
        if told is None or record.late:
            continue
        where = GRID.cell(told["lon"], told["lat"]), told["ts"] // WINDOW_MS
        if told.get("metric") == "water_level_mm" and told["quality"] == "good":
            levels[where] = max(levels[where], told["value"])
        elif told.get("event") == "waterlogging" and told["confidence"] >= 0.6:
            cameras[where] += 1
        elif told.get("category") == "flood":
            tickets[where] += 1
    return {
        (cell, window * WINDOW_MS, m, cameras[cell, window], tickets[cell, window])
        for (cell, window), m in levels.items()
        if m >= 150 and cameras[cell, window] + tickets[cell, window] >= 1
    }
