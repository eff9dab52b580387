"""Decoded columns -> placed columns: WGS-84 place, cell, shard and halo, jurisdiction, flags, lateness.

Pure, and no loop in Python but over the few tickets that have no coordinates.

What a row can turn out to be here:

- placed, by its own coordinates (converted to WGS-84) or, if it has none, by its device's registered place, or a ticket
  by what the address library has for its words;
- unplaced (flag UNPLACED, cell -1): archived, not joined; its shard follows from its entity's id. A ticket whose words
  tell no point may still have a jurisdiction;
- refused: a dead letter, because its time is too far ahead of its arrival or its coordinates are outside the city.
  A refused row never moves the watermark: one broken clock must not make everybody else late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.datums import Datum
from schemas.dead_letter import Reason
from schemas.errors import BadRecord
from schemas.kinds import KindRegistry
from schemas.observation import E7, NO_PLACE_E7, Flag, Quality
from schemas.sources import Source
from streams.columns import NO_CODE, Columns
from streams.kind_table import KindTable
from streams.strings import StringTable
from streams.ticket_places import Addresses, TicketPlace, TicketPlaces, lies_in, with_confidence
from topology.datum import to_wgs84
from topology.devices import DeviceRegister
from topology.grid import NO_CELL, GridParams, cell_of
from topology.jit import kernel
from topology.jurisdictions import Jurisdictions
from topology.shards import MAX_HALO, ShardParams, Shards, fnv1a64, halo_of, owner_of

RawKey = tuple[int, int]
"""(source number, raw partition): what a cover of a frame speaks of."""

NO_EVENT_MS: Final = 0
"""The greatest event time, and the watermark, of a raw partition that has had no accepted row yet."""

_FINE, _FUTURE, _OUTSIDE, _SWAPPED = range(4)
_LATE = int(Flag.LATE)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)
_UNIT_MISMATCH = int(Flag.UNIT_MISMATCH)
_PLACE_FROM_REGISTER = int(Flag.PLACE_FROM_REGISTER)
_DATUM_CONVERTED = int(Flag.DATUM_CONVERTED)
_UNKNOWN_KIND = int(Flag.UNKNOWN_KIND)
_UNPLACED = int(Flag.UNPLACED)
_PLACE_FROM_ADDRESS = int(Flag.PLACE_FROM_ADDRESS)
_SUSPECT = int(Quality.SUSPECT)
_E7 = float(E7)
_NOWHERE = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRules:
    """What locate assumes of a source: the datum of coordinates that name none, and how late a row may be."""

    datum: Datum = Datum.WGS84
    lateness_ms: int = 5_000


class WatermarkState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must survive a restart for lateness to be judged as before; it is the metadata of the raw offset commit.

    `max_event_ms` is the greatest event time among the accepted rows before the committed offset, 0 if there is none.
    `max_arrival_ms` is the greatest arrival among all rows before it. What lies in the future is judged by that: a
    broker whose clock is put back by an hour must not have every record refused for an hour.
    `idle`: at the committed offset every shard had been told that the source is idle. The next owner need not wait for
    that again: it stays true until a record comes, and that one lies behind the offset.
    """

    max_event_ms: int = NO_EVENT_MS
    max_arrival_ms: int = 0
    idle: bool = False

    def encode(self) -> str:
        return _encoder.encode(self).decode()

    @classmethod
    def decode(cls, metadata: str) -> WatermarkState | None:
        """The state in a commit's metadata; None when it is not ours (another tool moved the group's offsets)."""
        try:
            return _decoder.decode(metadata)
        except msgspec.DecodeError:
            return None

    def watermark_ms(self, lateness_ms: int) -> int:
        return self.max_event_ms - lateness_ms if self.max_event_ms else NO_EVENT_MS


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(WatermarkState)


class Origins(NamedTuple):
    """Where the places of accepted rows came from, in rows; each row is in one of the first four."""

    own: int = 0  # the record's own coordinates
    register: int = 0  # the device register
    address: int = 0  # the address library
    unplaced: int = 0
    outside: int = 0  # placed, but in none of the city's jurisdictions; 0 in a city that has none

    def plus(self, more: Origins) -> Origins:
        return Origins(*(mine + theirs for mine, theirs in zip(self, more, strict=True)))


@dataclass(slots=True)
class Placed:
    """Columns with their place; arrays of length n, a row with `shard` -1 has been refused.

    `jurisdiction` is the row's number in `Placer.jurisdictions`, -1 none; the array is empty in a city that has none.
    `halo_row` (ascending) and `halo_shard` list the copies for neighbour shards. `late` and `refused` count rows.
    """

    columns: Columns
    cell: npt.NDArray[np.int64]
    lon_e7: npt.NDArray[np.int32]
    lat_e7: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint16]
    quality: npt.NDArray[np.uint8]
    shard: npt.NDArray[np.int32]
    jurisdiction: npt.NDArray[np.int32]
    halo_row: npt.NDArray[np.int32]
    halo_shard: npt.NDArray[np.int32]
    late: int
    refused: int
    origins: Origins

    @property
    def key(self) -> RawKey:
        return int(self.columns.source), self.columns.partition


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that becomes a dead letter."""

    row: int
    error: BadRecord


class Placer:
    """Places the rows of every source. Holds no state of the stream: that is handed in and given back."""

    def __init__(
        self,
        shards: Shards,
        kinds: StringTable,
        units: StringTable,
        registry: KindRegistry,
        rules: Mapping[Source, SourceRules],
        *,
        register: DeviceRegister | None = None,
        jurisdictions: Jurisdictions | None = None,
        addresses: Addresses | None = None,
        future_bound_ms: int = 300_000,
    ) -> None:
        self._shards = shards
        self._rules = dict(rules)
        self._register = register
        self._future_bound_ms = future_bound_ms
        self._areas = jurisdictions if jurisdictions is not None and len(jurisdictions) else None
        self._words = None if addresses is None else TicketPlaces(addresses, shards.grid)
        self.jurisdictions = StringTable()
        """Codes of jurisdictions; a placed row has the number of one of them. Those of the city come first, in their
        own order; behind them divisions without a boundary that only an address has named."""
        for code in () if self._areas is None else self._areas.codes:
            self.jurisdictions.add(code)
        self._kinds = {source: KindTable(source, kinds, units, registry) for source in Source}

    def place(self, columns: Columns, state: WatermarkState) -> tuple[Placed, list[Refusal], WatermarkState]:
        """Place the next rows of one raw partition, whose state before them is `state`."""
        rules = self._rules[columns.source]
        n = columns.n
        flags = np.zeros(n, dtype=np.uint16)
        lon, lat = self._coordinates(columns, rules, flags)
        told: dict[int, TicketPlace] = {}
        if self._words is not None and columns.source is Source.TICKETS:
            told = {
                row: place
                for row in np.flatnonzero(np.isnan(lon)).tolist()
                if (place := self._words.find(columns.extra.get(row)))
            }
        if told:
            columns, lon, lat = _moved(columns, lon, lat, flags, told)
        known = self._kinds[columns.source].refreshed()
        quality = columns.quality.copy()
        cell = np.empty(n, dtype=np.int64)
        lon_e7 = np.empty(n, dtype=np.int32)
        lat_e7 = np.empty(n, dtype=np.int32)
        shard = np.empty(n, dtype=np.int32)
        halo_row = np.empty(n * MAX_HALO, dtype=np.int32)
        halo_shard = np.empty(n * MAX_HALO, dtype=np.int32)
        fate = np.empty(n, dtype=np.uint8)
        max_event_ms, max_arrival_ms, late, copies, refused, own, registered, addressed = _place_rows(
            columns.event_at_ms, columns.received_at_ms, columns.kind, columns.unit, columns.value, lon, lat,
            columns.entity_data, columns.entity_offsets,
            known.known, known.low, known.high, known.unit, known.meant,
            self._shards.grid.params, self._shards.params,
            self._future_bound_ms, rules.lateness_ms, state.max_event_ms, state.max_arrival_ms,
            flags, quality, cell, lon_e7, lat_e7, shard, halo_row, halo_shard, fate,
        )  # fmt: skip
        jurisdiction = self._jurisdictions_of(columns, lon, lat, cell, told)
        outside = 0 if self._areas is None else int(np.count_nonzero((jurisdiction < 0) & (cell >= 0)))
        origins = Origins(own, registered, addressed, n - refused - own - registered - addressed, outside)
        placed = Placed(
            columns, cell, lon_e7, lat_e7, flags, quality, shard, jurisdiction, halo_row[:copies], halo_shard[:copies],
            late, refused, origins,
        )  # fmt: skip
        refusals = [self._refusal(columns, int(row), int(fate[row])) for row in np.flatnonzero(fate)] if refused else []
        return placed, refusals, WatermarkState(int(max_event_ms), int(max_arrival_ms))

    def _coordinates(
        self, columns: Columns, rules: SourceRules, flags: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """WGS-84 coordinates of every row, NaN where there are none; sets the flags that say where they came from."""
        lon, lat, datum = columns.lon, columns.lat, columns.datum
        if _needs_conversion(datum, lon, int(rules.datum)):
            meant = np.where(datum == Datum.NOT_GIVEN, np.uint8(rules.datum), datum)
            flags[(meant > Datum.CGCS2000) & ~np.isnan(lon)] |= _DATUM_CONVERTED
            lon, lat = to_wgs84(lon, lat, meant)
        if self._register is not None and len(self._register):
            need = np.isnan(lon)
            if need.any():
                there_lon, there_lat, found = self._register.lookup(columns.entity_data, columns.entity_offsets, need)
                flags[found] |= _PLACE_FROM_REGISTER
                lon, lat = np.where(found, there_lon, lon), np.where(found, there_lat, lat)
        return lon, lat

    def _jurisdictions_of(
        self,
        columns: Columns,
        lon: npt.NDArray[np.float64],
        lat: npt.NDArray[np.float64],
        cell: npt.NDArray[np.int64],
        told: Mapping[int, TicketPlace],
    ) -> npt.NDArray[np.int32]:
        """The number of each row's jurisdiction; no array at all when no row can have one.

        Of a ticket placed by its words it is the code that these gave, where the boundaries do not know a finer one.
        """
        if self._areas is not None:
            rows = self._areas.rows_at(lon, lat, cell, columns.event_at_ms)
        elif told:
            rows = np.full(columns.n, NO_CODE, dtype=np.int32)
        else:
            return _NOWHERE
        for row, place in told.items():
            if place.code is not None and (rows[row] < 0 or lies_in(place.code, self.jurisdictions.values[rows[row]])):
                rows[row] = self.jurisdictions.add(place.code)
        return rows

    def _refusal(self, columns: Columns, row: int, fate: int) -> Refusal:
        if fate == _FUTURE:
            ahead = int(columns.event_at_ms[row] - columns.received_at_ms[row])
            return Refusal(
                row,
                BadRecord(
                    Reason.FUTURE,
                    "$.ts",
                    f"expected at most {self._future_bound_ms} ms after arrival, got {ahead} ms after it; "
                    "check the sender's clock and time zone",
                ),
            )
        lon, lat = float(columns.lon[row]), float(columns.lat[row])
        hint = "; lon and lat look swapped" if fate == _SWAPPED else ""
        return Refusal(
            row,
            BadRecord(
                Reason.OUTSIDE_CITY, "$.lon", f"expected a place inside the city, got lon {lon:g}, lat {lat:g}{hint}"
            ),
        )


def _moved(
    columns: Columns,
    lon: npt.NDArray[np.float64],
    lat: npt.NDArray[np.float64],
    flags: npt.NDArray[np.uint16],
    told: Mapping[int, TicketPlace],
) -> tuple[Columns, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """New columns and coordinates for tickets whose words tell a place; sets their flags."""
    lon, lat, extra = lon.copy(), lat.copy(), dict(columns.extra)
    for row, place in told.items():
        extra[row] = with_confidence(extra[row], place.confidence)
        if place.point is not None:
            lon[row], lat[row] = place.point
            flags[row] |= _PLACE_FROM_ADDRESS
    return replace(columns, extra=extra), lon, lat


@kernel
def _needs_conversion(datum: npt.NDArray[np.uint8], lon: npt.NDArray[np.float64], declared: int) -> bool:
    """Whether any row has coordinates in a datum that is not WGS-84 to the centimetre (CGCS2000 is)."""
    for row in range(len(datum)):
        code = datum[row] if datum[row] != 0 else declared
        if code > 2 and not np.isnan(lon[row]):
            return True
    return False


@kernel
def _place_rows(
    event_at: npt.NDArray[np.int64],
    received_at: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int32],
    unit: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    lon: npt.NDArray[np.float64],
    lat: npt.NDArray[np.float64],
    entity_data: npt.NDArray[np.uint8],
    entity_offsets: npt.NDArray[np.int32],
    kind_known: npt.NDArray[np.uint8],
    kind_low: npt.NDArray[np.float64],
    kind_high: npt.NDArray[np.float64],
    kind_unit: npt.NDArray[np.int32],
    meant_unit: npt.NDArray[np.int32],
    grid: GridParams,
    shards: ShardParams,
    future_bound_ms: int,
    lateness_ms: int,
    max_event_ms: int,
    max_arrival_ms: int,
    flags: npt.NDArray[np.uint16],
    quality: npt.NDArray[np.uint8],
    cell: npt.NDArray[np.int64],
    lon_e7: npt.NDArray[np.int32],
    lat_e7: npt.NDArray[np.int32],
    shard: npt.NDArray[np.int32],
    halo_row: npt.NDArray[np.int32],
    halo_shard: npt.NDArray[np.int32],
    fate: npt.NDArray[np.uint8],
) -> tuple[int, int, int, int, int, int, int, int]:
    """One pass over the rows in offset order; `flags` and `quality` come filled with what is known already.

    Returns the greatest event time and arrival after the last row, and the numbers of late rows, halo copies, refused
    rows, and rows placed by their own coordinates, by the register and by the address library.
    """
    late = 0
    copies = 0
    refused = 0
    own = 0
    registered = 0
    addressed = 0
    for row in range(len(event_at)):
        at = event_at[row]
        flag = flags[row]
        here = NO_CELL
        fate[row] = _FINE
        lon_e7[row] = NO_PLACE_E7
        lat_e7[row] = NO_PLACE_E7
        max_arrival_ms = max(max_arrival_ms, received_at[row])
        if at > max_arrival_ms + future_bound_ms:
            fate[row] = _FUTURE
        elif lon[row] == lon[row]:
            here = cell_of(lon[row], lat[row], grid)
            if here >= 0:
                lon_e7[row] = np.int32(math.floor(lon[row] * _E7 + 0.5))
                lat_e7[row] = np.int32(math.floor(lat[row] * _E7 + 0.5))
            elif flag & _PLACE_FROM_REGISTER:
                flag ^= _PLACE_FROM_REGISTER  # registered outside the city: no fault of the record
            elif cell_of(lat[row], lon[row], grid) >= 0:
                fate[row] = _SWAPPED
            else:
                fate[row] = _OUTSIDE
        cell[row] = here
        if fate[row] != _FINE:
            shard[row] = -1
            refused += 1
            continue
        if here >= 0:
            if flag & _PLACE_FROM_REGISTER:
                registered += 1
            elif flag & _PLACE_FROM_ADDRESS:
                addressed += 1
            else:
                own += 1
            shard[row] = owner_of(here, shards)
            a, b, c = halo_of(here, shards)
            if a >= 0:
                halo_row[copies] = row
                halo_shard[copies] = a
                copies += 1
                if b >= 0:
                    halo_row[copies] = row
                    halo_shard[copies] = b
                    copies += 1
                if c >= 0:
                    halo_row[copies] = row
                    halo_shard[copies] = c
                    copies += 1
        else:
            flag |= _UNPLACED
            hashed = fnv1a64(entity_data, entity_offsets[row], entity_offsets[row + 1])
            shard[row] = np.int32(hashed % np.uint64(shards.shard_count))
        code = kind[row]
        if kind_known[code] == 0:
            flag |= _UNKNOWN_KIND
        elif unit[row] >= 0 and kind_unit[code] >= 0 and meant_unit[unit[row]] != kind_unit[code]:
            flag |= _UNIT_MISMATCH  # whose range says nothing about the value
            quality[row] = max(quality[row], _SUSPECT)
        elif value[row] < kind_low[code] or value[row] > kind_high[code]:
            flag |= _OUT_OF_RANGE
            quality[row] = max(quality[row], _SUSPECT)
        if max_event_ms != NO_EVENT_MS and at < max_event_ms - lateness_ms:
            flag |= _LATE
            late += 1
        max_event_ms = max(max_event_ms, at)
        flags[row] = flag
    return max_event_ms, max_arrival_ms, late, copies, refused, own, registered, addressed
