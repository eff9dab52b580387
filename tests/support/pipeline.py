"""The whole path from raw records to alerts in one process, without Kafka: Decoder -> Locator -> JoinShard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.config import TongguanConfig
from schemas.alert import Alert
from schemas.dead_letter import DeadLetter
from schemas.kinds import built_in_kinds
from schemas.observation import Flag, decode_frame
from schemas.sources import Source
from streams.decode import Decoder
from streams.join_core import JoinShard
from streams.locate_core import Locator
from streams.placing import Placer, RawKey, WatermarkState
from streams.strings import StringTable
from streams.ticket_places import Addresses
from streams.urgent import urgent_alerts
from tests.support.kafka_bytes import T0, raw_batch
from topology.city import City
from topology.devices import DeviceRegister
from topology.shards import Shards

TOPICS = {source: source.topic for source in Source}


@dataclass
class Pipeline:
    """What a worker does with all of its roles, as a pure function of the records and their order."""

    config: TongguanConfig
    partitions: Mapping[Source, int]
    alerts: list[Alert] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    late: int = 0
    next_offset: dict[RawKey, int] = field(default_factory=dict)
    city: City | None = None  # None: the configured one
    addresses: Addresses | None = None  # None: the city's
    frames: list[bytes | memoryview] = field(default_factory=list)
    ticket_frames: list[bytes | memoryview] = field(default_factory=list)  # of `placed-tickets`, for the loop
    now_ms: int = T0  # the wall clock, moved by hand: arrival and idleness are judged by it

    def __post_init__(self) -> None:
        config, detectors = self.config, self.config.build_detectors()
        city = self.city or config.load_city()
        grid, self._areas = city.grid, city.jurisdictions
        shards = Shards(grid=grid, count=config.topics.shards, reach_rings=max(d.rings for d in detectors))
        tables = StringTable(), StringTable(), StringTable()
        placer = Placer(
            shards, tables[0], tables[1], built_in_kinds(), config.locate.rules(),
            register=DeviceRegister.load(city.devices_path, grid=grid) if city.devices_path else None,
            jurisdictions=self._areas,
            addresses=self.addresses or city.addresses,
            future_bound_ms=config.locate.future_bound_ms,
        )  # fmt: skip
        self._decoder = Decoder(*tables, config.locate.zones())
        self._locator = Locator(config.locate, placer, shards.count, *tables)
        keys = [(int(source), p) for source, count in self.partitions.items() for p in range(count)]
        self._joins = [
            JoinShard(shard, grid, detectors, keys, config.join, TOPICS, jurisdictions=self._areas)
            for shard in range(config.topics.shards)
        ]
        for key in keys:
            self.next_offset[key] = 0
            self._locator.assign(key, 0, WatermarkState(), self.now_ms)

    def take(self, records: Iterable[tuple[Source, int, bytes]]) -> None:
        """Some more records, (source, partition, payload) in their order, and one level flush behind them."""
        by_key: dict[RawKey, list[bytes]] = {}
        for source, partition, payload in records:
            by_key.setdefault((int(source), partition), []).append(payload)
        for key, payloads in sorted(by_key.items()):
            self._feed(key, payloads)
        for key, offset in self.next_offset.items():
            self._locator.seen_end(key, offset, self.now_ms)
        flush = self._locator.flush(self.now_ms, level=True)
        self.letters += flush.dead_letters
        self.ticket_frames += [frame.data for frame in flush.tickets if frame.rows]
        for frame in flush.frames:
            self.alerts += self._joins[frame.shard].process(frame.data)
            self.frames.append(frame.data)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What the archive would keep of all frames so far: no halo copies."""
        rows = (row for frame in self.frames for row in decode_frame(frame)[1].to_pylist())
        return [row for row in rows if not row["flags"] & Flag.HALO]

    def _feed(self, key: RawKey, payloads: Sequence[bytes]) -> None:
        source, first = Source(key[0]), self.next_offset[key]
        batch = replace(raw_batch(payloads, base_offset=first), timestamp_ms=self.now_ms)
        decoded = self._decoder.decode(source, source.topic, key[1], [batch])
        self.next_offset[key] = first + len(payloads)

        def at(offsets: Sequence[int]) -> dict[int, bytes | None]:
            return {offset: payloads[offset - first] for offset in offsets}

        urgent = self._locator.feed(decoded.columns, decoded.letters, self.next_offset[key], self.now_ms, at)
        self.late += self._locator.take_counts().late[source]
        for ticket in urgent:
            self.alerts += urgent_alerts(ticket.data, built_in_kinds(), TOPICS, self._areas)
