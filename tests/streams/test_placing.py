"""Where a row ends up: placed by its own coordinates, by the register, not at all, or refused."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.datums import Datum
from schemas.dead_letter import Reason
from schemas.observation import NO_CELL, NO_PLACE_E7, Flag, Quality
from schemas.sources import Source
from streams.locate_settings import LocateSettings, SourceSettings
from streams.placing import Placed, Refusal, WatermarkState
from tests.support.decoded_rows import GRID, SHARDS, T0, DecodedRow, Tables, nowhere
from topology.datum import from_wgs84
from topology.devices import Device, DeviceRegister

SETTINGS = LocateSettings()
FRESH = WatermarkState()


def place(
    *rows: DecodedRow,
    config: LocateSettings = SETTINGS,
    register: DeviceRegister | None = None,
    source: Source = Source.READINGS,
    state: WatermarkState = FRESH,
) -> tuple[Placed, list[Refusal], WatermarkState]:
    tables = Tables()
    return tables.placer(config, register=register).place(tables.columns(rows, source=source), state)


def test_a_row_is_placed_in_the_cell_and_shard_of_its_coordinates() -> None:
    placed, refusals, _ = place(DecodedRow(0, lon=121.2005, lat=31.2005))
    cell = GRID.cell(121.2005, 31.2005)
    assert not refusals
    assert placed.cell[0] == cell
    assert placed.shard[0] == SHARDS.shard_of(cell)
    assert (placed.lon_e7[0], placed.lat_e7[0]) == (1_212_005_000, 312_005_000)
    assert placed.flags[0] == 0


@pytest.mark.parametrize("datum", [Datum.GCJ02, Datum.BD09])
def test_coordinates_are_converted_to_wgs84_once_and_flagged(datum: Datum) -> None:
    lon, lat = from_wgs84(np.array([121.2005]), np.array([31.2005]), datum)
    placed, _, _ = place(DecodedRow(0, lon=float(lon[0]), lat=float(lat[0]), datum=datum), DecodedRow(1))
    assert abs(int(placed.lon_e7[0]) - 1_212_005_000) <= 1
    assert abs(int(placed.lat_e7[0]) - 312_005_000) <= 1
    assert placed.flags.tolist() == [Flag.DATUM_CONVERTED, 0]


def test_the_declared_datum_of_a_source_stands_in_for_one_not_given_and_only_then() -> None:
    config = LocateSettings(readings=SourceSettings(datum="gcj-02"))
    placed, _, _ = place(
        DecodedRow(0), DecodedRow(1, datum=Datum.WGS84), DecodedRow(2, datum=Datum.CGCS2000), config=config
    )
    assert placed.flags.tolist() == [Flag.DATUM_CONVERTED, 0, 0]
    assert placed.lon_e7[0] != placed.lon_e7[1] == placed.lon_e7[2]


def test_a_row_without_coordinates_takes_the_registered_place_of_its_device() -> None:
    register = DeviceRegister([Device(device_id="gauge-1", lon=121.1, lat=31.1)])
    placed, _, _ = place(nowhere(0, entity="gauge-1"), nowhere(1, entity="gauge-2"), DecodedRow(2), register=register)
    assert placed.cell.tolist() == [GRID.cell(121.1, 31.1), NO_CELL, GRID.cell(121.2005, 31.2005)]
    assert placed.flags.tolist() == [Flag.PLACE_FROM_REGISTER, Flag.UNPLACED, 0]
    assert placed.lon_e7.tolist() == [1_211_000_000, NO_PLACE_E7, 1_212_005_000]


def test_a_record_with_its_own_coordinates_is_not_moved_to_the_registered_place() -> None:
    register = DeviceRegister([Device(device_id="gauge-1", lon=121.1, lat=31.1)])
    placed, _, _ = place(DecodedRow(0, entity="gauge-1"), register=register)
    assert placed.cell[0] == GRID.cell(121.2005, 31.2005)


def test_an_unplaced_row_goes_to_the_shard_of_its_entity() -> None:
    placed, refusals, _ = place(nowhere(0, entity="somewhere"))
    assert not refusals
    assert placed.shard[0] == SHARDS.shard_of_entity(b"somewhere")


def test_a_device_registered_outside_the_city_leaves_its_rows_unplaced_not_refused() -> None:
    register = DeviceRegister([Device(device_id="gauge-1", lon=100.0, lat=20.0)])
    placed, refusals, _ = place(nowhere(0, entity="gauge-1"), register=register)
    assert not refusals
    assert placed.flags[0] == Flag.UNPLACED


def test_coordinates_outside_the_city_are_refused_and_swapped_ones_are_named() -> None:
    # this grid lies where both orders are valid coordinates
    placed, refusals, _ = place(DecodedRow(0, lon=31.2005, lat=89.0), DecodedRow(1, lon=120.0), DecodedRow(2))
    assert [r.error.reason for r in refusals] == [Reason.OUTSIDE_CITY] * 2
    assert placed.shard.tolist()[:2] == [-1, -1]
    assert placed.refused == 2
    assert "lon 120, lat 31.2005" in refusals[1].error.detail
    _, swapped, _ = place(DecodedRow(0, lon=31.2005, lat=121.2005))
    assert "swapped" in swapped[0].error.detail
    assert "swapped" not in refusals[1].error.detail


def test_a_time_too_far_after_arrival_is_refused_and_does_not_move_the_watermark() -> None:
    received = T0
    rows = [
        DecodedRow(0, event_at_ms=T0, received_at_ms=received),
        DecodedRow(1, event_at_ms=T0 + 300_001, received_at_ms=received),
        DecodedRow(2, event_at_ms=T0 + 1, received_at_ms=received),
    ]
    placed, refusals, state = place(*rows)
    assert [(r.row, r.error.reason, r.error.path) for r in refusals] == [(1, Reason.FUTURE, "$.ts")]
    assert state == WatermarkState(T0 + 1, received)
    assert placed.late == 0


def test_a_time_at_the_bound_is_accepted() -> None:
    _, refusals, state = place(DecodedRow(0, event_at_ms=T0 + 300_000, received_at_ms=T0))
    assert not refusals
    assert state.max_event_ms == T0 + 300_000


def test_the_future_begins_at_the_greatest_arrival_so_far_also_when_the_brokers_clock_is_put_back() -> None:
    hour_ms = 3_600_000
    _, _, before = place(DecodedRow(0, event_at_ms=T0, received_at_ms=T0))
    assert before.max_arrival_ms == T0
    rows = [
        DecodedRow(1, event_at_ms=T0 + 60_000, received_at_ms=T0 + 60_000 - hour_ms),
        DecodedRow(2, event_at_ms=T0 + 300_001, received_at_ms=T0 + 61_000 - hour_ms),  # ahead even so
    ]
    placed, refusals, state = place(*rows, state=WatermarkState.decode(before.encode()) or FRESH)
    assert [(r.row, r.error.reason) for r in refusals] == [(1, Reason.FUTURE)]
    assert state == WatermarkState(T0 + 60_000, T0)
    assert placed.columns.received_at_ms.tolist() == [row.received_at_ms for row in rows], "the archive keeps what was"


def test_a_refused_place_does_not_move_the_watermark_either() -> None:
    _, _, state = place(DecodedRow(0, event_at_ms=T0), DecodedRow(1, event_at_ms=T0 + 900, lon=0.0))
    assert state.max_event_ms == T0


def test_a_row_is_late_when_it_is_behind_what_its_partition_had_seen_before_it() -> None:
    rows = [
        DecodedRow(0, event_at_ms=T0),
        DecodedRow(1, event_at_ms=T0 - 5_000),  # at the watermark: not late
        DecodedRow(2, event_at_ms=T0 - 5_001),
        DecodedRow(3, event_at_ms=T0 + 1),
        DecodedRow(4, event_at_ms=T0 - 5_000),
    ]
    placed, _, state = place(*rows)
    assert [bool(flag & Flag.LATE) for flag in placed.flags] == [False, False, True, False, True]
    assert placed.late == 2
    assert state.max_event_ms == T0 + 1


def test_tickets_may_be_later_than_readings() -> None:
    rows = [DecodedRow(0), DecodedRow(1, event_at_ms=T0 - 20_000)]
    assert place(*rows)[0].late == 1
    assert place(*rows, source=Source.TICKETS)[0].late == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(T0 - 20_000, T0 + 20_000), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_lateness_does_not_depend_on_how_the_rows_are_cut(times: list[int], cuts: list[int]) -> None:
    tables = Tables()
    placer = tables.placer(SETTINGS)
    rows = [DecodedRow(i, event_at_ms=t, received_at_ms=T0 + 20_000) for i, t in enumerate(times)]
    whole, _, end = placer.place(tables.columns(rows), WatermarkState())
    state, flags = WatermarkState(), []
    bounds = sorted({0, len(rows), *(c for c in cuts if c < len(rows))})
    for start, stop in pairwise(bounds):
        part, _, state = placer.place(tables.columns(rows[start:stop]), state)
        state = WatermarkState.decode(state.encode()) or WatermarkState()  # as over a restart
        flags += part.flags.tolist()
    assert flags == whole.flags.tolist()
    assert state == end


@pytest.mark.parametrize(
    ("row", "flags", "quality"),
    [
        (DecodedRow(0, value=10.0, unit="mm"), 0, Quality.GOOD),
        (DecodedRow(0, value=10.0), 0, Quality.GOOD),  # no unit given: the kind's own is meant
        (DecodedRow(0, value=10.0, unit="毫米"), 0, Quality.GOOD),  # another spelling of the same unit
        (DecodedRow(0, value=10.0, unit="made up"), Flag.UNIT_MISMATCH, Quality.SUSPECT),
        (DecodedRow(0, value=-1.0), Flag.OUT_OF_RANGE, Quality.SUSPECT),
        (DecodedRow(0, value=5_000.0), 0, Quality.GOOD),  # the ends belong to the range
        (DecodedRow(0, value=5_001.0, quality=2), Flag.OUT_OF_RANGE, Quality.BAD),  # only ever worse
        (DecodedRow(0, value=9_000.0, unit="cm"), Flag.UNIT_MISMATCH, Quality.SUSPECT),  # the range is in mm
        (DecodedRow(0, kind="made_up", value=1e300), Flag.UNKNOWN_KIND, Quality.GOOD),
        (DecodedRow(0, kind="flood"), Flag.UNKNOWN_KIND, Quality.GOOD),  # a category is no metric
        (DecodedRow(0, value=math.nan), 0, Quality.GOOD),
    ],
)
def test_the_registry_of_kinds_decides_quality_flags(row: DecodedRow, flags: int, quality: Quality) -> None:
    placed, _, _ = place(row)
    assert placed.flags[0] == flags
    assert placed.quality[0] == quality


def test_kinds_first_met_later_and_tables_begun_anew_are_looked_up_again() -> None:
    tables = Tables()
    placer = tables.placer(SETTINGS)
    placer.place(tables.columns([DecodedRow(0, kind="made_up")]), WatermarkState())
    placed, _, _ = placer.place(tables.columns([DecodedRow(1, kind="speed_kmh", value=300.0)]), WatermarkState())
    assert placed.flags[0] == Flag.OUT_OF_RANGE
    tables.kinds.clear()
    tables.units.clear()
    placed, _, _ = placer.place(tables.columns([DecodedRow(2, kind="water_level_mm", unit="cm")]), WatermarkState())
    assert placed.flags[0] == Flag.UNIT_MISMATCH


def test_halo_copies_are_those_that_the_shards_ask_for() -> None:
    rng = np.random.default_rng(7)
    rows = [
        DecodedRow(i, lon=121.0 + float(x), lat=31.0 + float(y)) for i, (x, y) in enumerate(rng.random((500, 2)) * 0.4)
    ]
    placed, _, _ = place(*rows)
    copies: list[set[int]] = [set() for _ in rows]
    for row, shard in zip(placed.halo_row, placed.halo_shard, strict=True):
        copies[row].add(int(shard))
    expected = [{int(s) for s in shards if s >= 0} for shards in SHARDS.halo_shards(placed.cell)]
    assert copies == expected
    assert any(copies)
    assert (np.diff(placed.halo_row) >= 0).all()


def test_the_input_columns_are_not_changed() -> None:
    tables = Tables()
    columns = tables.columns([DecodedRow(0, value=-1.0, datum=Datum.GCJ02)])
    tables.placer(SETTINGS).place(columns, WatermarkState())
    assert columns.quality[0] == 0
    assert columns.lon[0] == 121.2005


def test_no_rows_are_placed_without_fuss() -> None:
    placed, refusals, state = place(state=WatermarkState(T0))
    assert (len(placed.cell), refusals, state) == (0, [], WatermarkState(T0))


@pytest.mark.parametrize("metadata", ["", "moved by hand", "{}x", '{"max_event_ms":"soon"}', '{"other":1}'])
def test_metadata_of_another_tool_is_told_from_ours(metadata: str) -> None:
    assert WatermarkState.decode(metadata) is None


def test_a_watermark_state_survives_the_commit() -> None:
    state = WatermarkState(T0)
    assert WatermarkState.decode(state.encode()) == state
    assert state.watermark_ms(5_000) == T0 - 5_000
    assert WatermarkState().watermark_ms(5_000) == 0
