"""The settings of locate, a section of the configuration."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.datums import DATUM_NAMES, Datum
from schemas.sources import Source
from streams.placing import SourceRules


class SourceSettings(BaseModel):
    """What is assumed of one raw topic's records."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    lateness_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 5_000
    """How far behind the newest record of its raw partition a record may be and still be joined."""
    zone: str = "Asia/Shanghai"
    """Time zone of times that name none."""
    datum: str = "WGS-84"
    """Datum of coordinates that name none: WGS-84, CGCS2000, GCJ-02 or BD-09."""

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"zone {zone!r} is not an IANA time zone such as Asia/Shanghai") from None
        return zone

    @field_validator("datum")
    @classmethod
    def _datum_exists(cls, datum: str) -> str:
        if datum.upper() not in DATUM_NAMES:
            raise ValueError(f"datum {datum!r} must be one of WGS-84, CGCS2000, GCJ-02, BD-09")
        return datum

    @property
    def zone_info(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    @property
    def rules(self) -> SourceRules:
        return SourceRules(datum=Datum(DATUM_NAMES[self.datum.upper()]), lateness_ms=self.lateness_ms)


class LocateSettings(BaseModel):
    """How raw records become observations."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    readings: SourceSettings = SourceSettings()
    """Sensor readings."""
    camera_events: SourceSettings = SourceSettings()
    """Camera analytics events."""
    tickets: SourceSettings = SourceSettings(lateness_ms=30_000)
    """Hotline tickets; people write slower than sensors."""
    idle_after_ms: Annotated[int, Field(ge=100)] = 5_000
    """A raw partition that is read to its end and brought no newer event time for so long stops holding others back."""
    future_bound_ms: Annotated[int, Field(ge=0)] = 300_000
    """A record timed so far after its arrival is a dead letter: its clock is wrong."""
    flush_interval_ms: Annotated[int, Field(ge=1, le=10_000)] = 40
    """Least time between two flushes of rows; a longer one makes fewer, larger frames."""
    header_interval_ms: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How often shards without rows are told how far the raw partitions have come."""
    commit_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 1_000
    """How often raw offsets are committed; a restart reads again what came since."""
    max_flush_rows: Annotated[int, Field(ge=1, le=4_000_000)] = 262_144
    """A flush is made at once when so many rows wait."""
    backlog_interval_ms: Annotated[int, Field(ge=1, le=10_000)] = 250
    """Least time between two flushes while more rows than a flush takes wait at the broker: what is far behind gets on
    faster by large frames."""
    max_flush_bytes: Annotated[int, Field(ge=1 << 16, le=1 << 30)] = 64 * 1024 * 1024
    """The same in bytes, which bounds memory when records are large."""
    max_frame_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 131_072
    """Rows of one frame at most."""
    max_frame_bytes: Annotated[int, Field(ge=1 << 16, le=12 * 1024 * 1024)] = 8 * 1024 * 1024
    """Bytes of one frame, about; well below the 16 MiB that topic observations accepts."""
    urgent_levels: frozenset[str] = frozenset({"critical"})
    """Urgencies of tickets that are passed on at once."""
    urgent_categories: frozenset[str] = frozenset({"fire", "trapped_person", "gas_leak"})
    """Categories of tickets that are passed on at once, whatever their urgency says."""

    def source(self, source: Source) -> SourceSettings:
        return (self.readings, self.camera_events, self.tickets)[source]

    def rules(self) -> dict[Source, SourceRules]:
        return {source: self.source(source).rules for source in Source}

    def zones(self) -> dict[Source, ZoneInfo]:
        return {source: self.source(source).zone_info for source in Source}
