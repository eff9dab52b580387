"""Columns as the decoder would make them, written as rows; and small cities to place them in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from schemas.datums import Datum
from schemas.kinds import Kind, KindRegistry
from schemas.sources import Source
from streams.columns import NO_CODE, Columns
from streams.locate_core import Locator
from streams.locate_settings import LocateSettings
from streams.placing import Placer
from streams.strings import StringTable
from streams.ticket_places import Addresses
from topology.devices import DeviceRegister
from topology.grid import Grid
from topology.jurisdictions import Jurisdictions
from topology.shards import Shards

T0 = 1_782_864_000_000
GRID = Grid.degrees(121.0, 31.0, 121.4, 31.4, 0.001)
SHARDS = Shards(GRID, 4, parent_levels=4, reach_rings=1)


@dataclass
class DecodedRow:
    """One decoded record; the defaults make a valid reading in the middle of a shard."""

    offset: int
    event_at_ms: int = T0
    kind: str = "water_level_mm"
    value: float = 10.0
    entity: str = ""
    lon: float = 121.2005
    lat: float = 31.2005
    datum: Datum = Datum.NOT_GIVEN
    quality: int = 0
    unit: str | None = None
    device_type: str | None = None
    confidence: float = 1.0
    extra: bytes | None = None
    received_at_ms: int = T0 + 1_000


KNOWN = KindRegistry(
    {
        (kind.source, kind.name): kind
        for kind in (
            Kind(source=Source.READINGS, name="water_level_mm", zh="", en="", unit="mm", valid_min=0, valid_max=5_000),
            Kind(source=Source.READINGS, name="speed_kmh", zh="", en="", unit="km/h", valid_min=0, valid_max=200),
            Kind(source=Source.CAMERA_EVENTS, name="waterlogging", zh="", en=""),
            Kind(source=Source.TICKETS, name="flood", zh="", en=""),
        )
    },
    {"mm": "mm", "毫米": "mm", "km/h": "km/h"},
)
"""A registry of two metrics, one event and one category."""


@dataclass
class Tables:
    kinds: StringTable = field(default_factory=StringTable)
    units: StringTable = field(default_factory=StringTable)
    device_types: StringTable = field(default_factory=StringTable)

    def columns(self, rows: Iterable[DecodedRow], *, source: Source = Source.READINGS, partition: int = 0) -> Columns:
        rows = list(rows)
        ids = [(row.entity or f"device-{row.offset % 7}").encode() for row in rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int32)
        np.cumsum([len(i) for i in ids], out=offsets[1:])
        return Columns(
            source=source,
            topic=source.topic,
            partition=partition,
            n=len(rows),
            event_at_ms=np.array([row.event_at_ms for row in rows], dtype=np.int64),
            received_at_ms=np.array([row.received_at_ms for row in rows], dtype=np.int64),
            offset=np.array([row.offset for row in rows], dtype=np.int64),
            kind=np.array([self.kinds.add(row.kind) for row in rows], dtype=np.int32),
            unit=np.array([_code(self.units, row.unit) for row in rows], dtype=np.int32),
            device_type=np.array([_code(self.device_types, row.device_type) for row in rows], dtype=np.int32),
            value=np.array([row.value for row in rows], dtype=np.float64),
            confidence=np.array([row.confidence for row in rows], dtype=np.float32),
            quality=np.array([row.quality for row in rows], dtype=np.uint8),
            datum=np.array([int(row.datum) for row in rows], dtype=np.uint8),
            lon=np.array([row.lon for row in rows], dtype=np.float64),
            lat=np.array([row.lat for row in rows], dtype=np.float64),
            entity_data=np.frombuffer(bytearray(b"".join(ids)) or bytearray(1), dtype=np.uint8),
            entity_offsets=offsets,
            extra={i: row.extra for i, row in enumerate(rows) if row.extra is not None},
        )

    def placer(
        self,
        settings: LocateSettings,
        *,
        shards: Shards = SHARDS,
        register: DeviceRegister | None = None,
        jurisdictions: Jurisdictions | None = None,
        addresses: Addresses | None = None,
    ) -> Placer:
        return Placer(
            shards,
            self.kinds,
            self.units,
            KNOWN,
            settings.rules(),
            register=register,
            jurisdictions=jurisdictions,
            addresses=addresses,
            future_bound_ms=settings.future_bound_ms,
        )

    def locator(
        self,
        settings: LocateSettings | None = None,
        *,
        shards: Shards = SHARDS,
        jurisdictions: Jurisdictions | None = None,
        addresses: Addresses | None = None,
    ) -> Locator:
        settings = settings or LocateSettings()
        placer = self.placer(settings, shards=shards, jurisdictions=jurisdictions, addresses=addresses)
        return Locator(settings, placer, shards.count, self.kinds, self.units, self.device_types)


def nowhere(offset: int, **changes: object) -> DecodedRow:
    """A row without coordinates."""
    return DecodedRow(offset, lon=math.nan, lat=math.nan, **changes)  # type: ignore[arg-type]  # field values by name


def _code(table: StringTable, text: str | None) -> int:
    return NO_CODE if text is None else table.add(text)
