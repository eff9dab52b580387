"""Urgent tickets: one row, one alert, the same each time, nothing personal in it."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from schemas.alert import Action, Alert, decode_alert, encode_alert
from schemas.errors import FrameError
from schemas.kinds import built_in_kinds
from schemas.observation import NO_CELL, OBSERVATION, FrameHeader, decode_frame, encode_frame
from schemas.sources import Source
from streams.urgent import urgent_alerts
from tests.support.raw_log import RawRow, frame
from topology.grid import Grid
from topology.jurisdictions import Jurisdictions

TOPICS = {source: source.topic for source in Source}
AT_MS = 1_782_864_000_123
NO_CITY = Jurisdictions.empty(Grid.metric(121.0, 31.0, 121.5, 31.5))


def ticket(
    offset: int = 4, *, kind: str = "fire", cell: int = 77, place: tuple[int, int] | None = None, **extra: str
) -> bytes:
    row = RawRow(Source.TICKETS, 2, offset, AT_MS, cell, kind)
    _, batch = decode_frame(frame([row], []))
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["extra"] = pa.array([msgspec.json.encode(extra).decode()], pa.utf8())
    if place is not None:
        columns["lon_e7"], columns["lat_e7"] = (pa.array([value], pa.int32()) for value in place)
    return encode_frame(
        FrameHeader(shard=0, covers=[]), pa.RecordBatch.from_arrays(list(columns.values()), schema=OBSERVATION)
    )


def raised(ticket_frame: bytes, city: Jurisdictions = NO_CITY) -> list[Alert]:
    return urgent_alerts(ticket_frame, built_in_kinds(), TOPICS, city)


def test_an_urgent_ticket_becomes_one_alert_with_its_place_and_record() -> None:
    (alert,) = raised(ticket(text="三楼着火，有人被困", urgency="critical", place=(1_214_000_000, 312_000_000)))
    assert (alert.action, alert.severity, alert.category, alert.cell) == (Action.RAISE, 4, "fire", 77)
    assert (alert.lon, alert.lat) == (121.4, 31.2)
    assert alert.evidence == ["tickets:2:4"]
    assert alert.onset_ms == AT_MS
    assert "三楼着火" in alert.sentence_zh and "Urgent ticket" in alert.sentence_en
    assert decode_alert(encode_alert(alert)) == alert


def test_the_same_ticket_gives_the_same_alert_and_another_another() -> None:
    assert raised(ticket(4, text="a")) == raised(ticket(4, text="a"))
    assert raised(ticket(4)[:])[0].alert_id != raised(ticket(5))[0].alert_id


def test_a_ticket_that_nobody_could_place_has_no_made_up_point() -> None:
    (alert,) = raised(ticket(cell=NO_CELL, text="救命"))
    assert (alert.lon, alert.lat, alert.cell) == (None, None, NO_CELL)
    assert decode_alert(encode_alert(alert)) == alert


def test_the_callers_number_is_not_in_the_sentence() -> None:
    (alert,) = raised(ticket(text="着火了，请打13812345678", urgency="critical"))
    assert "13812345678" not in alert.sentence_zh + alert.sentence_en


def test_an_unknown_category_is_called_by_its_name() -> None:
    (alert,) = raised(ticket(kind="meteorite", text="天上掉下来"))
    assert "meteorite" in alert.sentence_zh


def test_bytes_that_are_no_frame_are_refused() -> None:
    with pytest.raises(FrameError):
        raised(b"not a frame")
