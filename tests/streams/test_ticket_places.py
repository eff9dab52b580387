"""Whose a row is, and where a ticket is that has only words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from schemas.observation import NO_CELL, NO_PLACE_E7, Flag, FrameHeader, decode_frame, write_frame
from schemas.sources import Source
from streams.frames import FrameBuilder
from streams.locate_settings import LocateSettings
from streams.placing import Placed, WatermarkState
from streams.ticket_places import TicketPlace, TicketPlaces, lies_in, with_confidence
from tests.support.decoded_rows import GRID, SHARDS, T0, DecodedRow, Tables, nowhere
from tests.support.small_places import (
    EAST,
    NORTH_EAST,
    SPLIT_MS,
    WEST,
    FewAddresses,
    division,
    listed,
    two_districts,
)
from topology.levels import Level

BORDER, MIDDLE = 121.2004, 31.2004  # inside a cell each, so that the cell alone cannot tell
AREAS = two_districts(GRID, (121.05, 31.05, 121.35, 31.35), BORDER, MIDDLE)
SETTINGS = LocateSettings()


def place(
    *rows: DecodedRow, source: Source = Source.READINGS, addresses: FewAddresses | None = None, areas: bool = True
) -> tuple[Placed, list[str | None]]:
    """The placed rows, and the code of each one's jurisdiction."""
    tables = Tables()
    placer = tables.placer(SETTINGS, jurisdictions=AREAS if areas else None, addresses=addresses)
    placed, refusals, _ = placer.place(tables.columns(rows, source=source), WatermarkState())
    assert not refusals
    codes = placer.jurisdictions.values
    return placed, [None if row < 0 else codes[row] for row in placed.jurisdiction]


def ticket(offset: int, *, urgency: str = "normal", **words: Any) -> DecodedRow:
    return nowhere(offset, kind="flood", extra=msgspec.json.encode({"text": "", **words, "urgency": urgency}))


def extra(placed: Placed, row: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(placed.columns.extra[row])
    return found


# --- jurisdictions ---------------------------------------------------------------------------------------------------


def test_a_row_gets_the_finest_jurisdiction_of_its_point_exact_at_borders() -> None:
    step = 1e-6
    points = {
        (BORDER - step, 31.1): WEST,
        (BORDER, 31.1): WEST,  # on the border: the smaller code
        (BORDER + step, 31.1): EAST,
        (BORDER + step, MIDDLE - step): EAST,
        (BORDER + step, MIDDLE + step): NORTH_EAST,
        (BORDER - step, MIDDLE + step): WEST,
        (121.01, 31.2): None,  # in the grid, outside every jurisdiction
    }
    placed, codes = place(*(DecodedRow(i, lon=lon, lat=lat) for i, (lon, lat) in enumerate(points)))
    assert codes == list(points.values())
    assert len({placed.cell[0], placed.cell[2]}) == 1
    assert (placed.origins.own, placed.origins.outside) == (7, 1)


def test_a_row_a_year_old_gets_the_jurisdiction_of_its_own_time() -> None:
    times = [T0 - 366 * 86_400_000, SPLIT_MS - 1, SPLIT_MS, T0]
    rows = [DecodedRow(i, event_at_ms=at_ms, lon=121.3, lat=31.3) for i, at_ms in enumerate(times)]
    assert place(*rows)[1] == [WEST, WEST, NORTH_EAST, NORTH_EAST]


def test_rows_without_a_place_have_no_jurisdiction_and_a_bare_grid_has_none_at_all() -> None:
    assert place(nowhere(0), DecodedRow(1))[1] == [None, NORTH_EAST]
    placed, _ = place(DecodedRow(0), areas=False)
    assert len(placed.jurisdiction) == 0
    assert placed.origins.outside == 0


@pytest.mark.parametrize("limits", [{}, {"max_rows": 3}])
def test_frames_and_halo_copies_carry_the_jurisdiction_with_only_the_codes_they_need(limits: dict[str, int]) -> None:
    tables = Tables()
    placer = tables.placer(SETTINGS, jurisdictions=AREAS)
    rng = np.random.default_rng(3)
    rows = [
        DecodedRow(i, lon=121.0 + float(x), lat=31.0 + float(y)) for i, (x, y) in enumerate(rng.random((400, 2)) * 0.4)
    ]
    placed, _, _ = placer.place(tables.columns(rows), WatermarkState())
    builder = FrameBuilder(
        SHARDS.count, tables.kinds, tables.units, tables.device_types, jurisdictions=placer.jurisdictions, **limits
    )
    copies = 0
    for piece in builder.build([placed]):
        _, batch = decode_frame(write_frame(FrameHeader(shard=piece.shard, covers=[]), piece.batch))
        for row in batch.to_pylist():
            own = rows[row["offset"]]
            assert row["jurisdiction"] == AREAS.code_at(own.lon, own.lat, T0)
            copies += bool(row["flags"] & Flag.HALO)
        column = batch.column("jurisdiction")
        assert set(column.dictionary.to_pylist()) == set(column.to_pylist()) - {None}
    assert copies > 0


# --- tickets with words alone ----------------------------------------------------------------------------------------


def test_a_ticket_is_placed_at_the_point_of_its_address_with_its_confidence() -> None:
    addresses = FewAddresses({"东区一路1号": listed(NORTH_EAST, 121.3, 31.3)})
    placed, codes = place(ticket(0, address="东区一路1号", text="积水"), source=Source.TICKETS, addresses=addresses)
    assert placed.cell[0] == GRID.cell(121.3, 31.3)
    assert (placed.lon_e7[0], placed.lat_e7[0]) == (1_213_000_000, 313_000_000)
    assert placed.flags[0] == Flag.PLACE_FROM_ADDRESS
    assert codes == [NORTH_EAST]
    assert extra(placed, 0) == {"text": "积水", "address": "东区一路1号", "urgency": "normal", "place_confidence": 0.98}
    assert placed.origins.address == 1
    assert addresses.asked == ["东区一路1号"]


def test_a_ticket_with_text_only_goes_to_the_smallest_jurisdiction_that_is_sure_and_to_no_made_up_point() -> None:
    addresses = FewAddresses({"东区积水": division(EAST)})
    placed, codes = place(
        ticket(0, text="东区积水"), ticket(1, text="积水"), source=Source.TICKETS, addresses=addresses
    )
    assert codes == [EAST, None]
    assert placed.cell.tolist() == [NO_CELL] * 2
    assert placed.lon_e7.tolist() == [NO_PLACE_E7] * 2
    assert placed.flags.tolist() == [Flag.UNPLACED] * 2
    assert extra(placed, 0)["place_confidence"] == 0.93
    assert "place_confidence" not in extra(placed, 1)
    assert placed.origins.unplaced == 2


def test_a_division_without_a_boundary_is_kept_as_the_address_told_it() -> None:
    finer = NORTH_EAST + "007"
    addresses = FewAddresses(
        {
            "社区": division(finer, Level.COMMUNITY),
            "街道里的点": listed(finer, 121.3, 31.3),
            "别处的点": listed("300101009", 121.3, 31.3),
        }
    )
    rows = [
        ticket(0, text="社区"),
        ticket(1, address="街道里的点"),
        ticket(2, address="别处的点"),
        ticket(3, text="社区"),
    ]
    # a point's boundary wins over a code that is not inside it
    assert place(*rows, source=Source.TICKETS, addresses=addresses)[1] == [finer, finer, NORTH_EAST, finer]
    # and where a city has no boundaries the codes of addresses are all there is
    assert place(*rows, source=Source.TICKETS, addresses=addresses, areas=False)[1] == [
        finer,
        finer,
        "300101009",
        finer,
    ]


@pytest.mark.parametrize(
    ("address", "text", "code", "point"),
    [
        ("", "点", NORTH_EAST, (121.3, 31.3)),
        ("不知道", "点", NORTH_EAST, (121.3, 31.3)),
        ("东区", "点", NORTH_EAST, (121.3, 31.3)),  # the text is more exact, inside what the address says
        ("市", "点", NORTH_EAST, (121.3, 31.3)),
        ("西区", "点", WEST, None),  # the text speaks of another district: the address is right
        ("外地", "点", None, None),  # of another city
        ("东区", "积水", EAST, None),
        ("城外", "", "300101", None),  # listed, but outside the grid: only the code is used
    ],
)
def test_the_text_stands_in_for_the_address_or_refines_it_and_never_contradicts_it(
    address: str, text: str, code: str | None, point: tuple[float, float] | None
) -> None:
    library = FewAddresses(
        {
            "点": listed(NORTH_EAST, 121.3, 31.3),
            "东区": division(EAST),
            "西区": division(WEST),
            "市": division("300000", Level.CITY, reason="city"),
            "外地": division(None, reason="other_city"),
            "城外": listed("300101", 100.0, 20.0),
        }
    )
    found = TicketPlaces(library, GRID).find(msgspec.json.encode({"text": text, "address": address}))
    assert ((None, None) if found is None else (found.code, found.point)) == (code, point)


def test_only_tickets_without_coordinates_are_asked_about() -> None:
    addresses = FewAddresses({"东区": division(EAST)})
    own = DecodedRow(0, kind="flood", extra=b'{"text":"\xe4\xb8\x9c\xe5\x8c\xba","urgency":"normal"}')
    placed, codes = place(own, source=Source.TICKETS, addresses=addresses)
    assert codes == [NORTH_EAST]
    assert placed.columns.extra[0] == own.extra
    place(nowhere(0, extra=b'{"text":"\xe4\xb8\x9c\xe5\x8c\xba"}'), addresses=addresses)  # a reading
    assert addresses.asked == []


def test_the_same_tickets_give_the_same_places_however_they_are_cut() -> None:
    addresses = FewAddresses({"点": listed(NORTH_EAST, 121.3, 31.3), "东区": division(EAST)})
    rows = [ticket(i, text=("点", "东区", "别的")[i % 3]) for i in range(9)]
    whole, codes = place(*rows, source=Source.TICKETS, addresses=addresses)
    parts = [place(row, source=Source.TICKETS, addresses=addresses) for row in rows]
    assert [part[1][0] for part in parts] == codes
    assert [part[0].columns.extra[0] for part in parts] == list(whole.columns.extra.values())


@pytest.mark.parametrize(
    ("code", "above", "inside"),
    [
        ("310104003", "310104", True),
        ("310104003", "310104003", True),
        ("310104003", "310100", True),
        ("310104", "310000", True),
        ("310112", "310110", False),
        ("310104101", "310104100", False),
        ("310104", "310104003", False),
        ("320500", "310000", False),
    ],
)
def test_official_codes_say_what_lies_in_what(code: str, above: str, inside: bool) -> None:
    assert lies_in(code, above) is inside


def test_confidence_is_added_behind_the_fields_that_are_there() -> None:
    assert with_confidence(b'{"text":"x"}', 0.5) == b'{"text":"x","place_confidence":0.5}'


def test_a_ticket_without_any_words_has_no_place() -> None:
    assert TicketPlaces(FewAddresses({}), GRID).find(None) is None
    assert TicketPlaces(FewAddresses({"a": listed(WEST, 121.1, 31.1, 0.5)}), GRID).find(b'{"text":"a"}') == TicketPlace(
        WEST, (121.1, 31.1), 0.5
    )
