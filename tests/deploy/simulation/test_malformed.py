"""Every way of spoiling a record makes one that cannot be used, and never stumbles over the record it is given."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from deploy.simulation.malformed import AHEAD_MS, DECODES, FAR_LON, SPOILERS, spoil
from deploy.simulation.settings import START_MS
from schemas.decode import decode
from schemas.errors import BadRecord
from schemas.raw import MAX_EVENT_MS
from schemas.sources import Source

ZONE = ZoneInfo("Asia/Shanghai")
AT_MS = 1_752_744_600_000
GOOD = {
    Source.READINGS: (
        b'{"device_id":"WL-1","metric":"water_level_mm","value":12.5,"unit":"mm","ts":1752744600000,'
        b'"lon":121.4,"lat":31.2}',
        b'{"device_id":"WL-1","metric":"water_level_mm","value":-3,"unit":"mm","ts":"2025-07-17 17:30:00"}',
    ),
    Source.CAMERA_EVENTS: (b'{"camera_id":"CAM-1","event":"smoke","confidence":0.75,"ts":1752744600000,"track_id":7}',),
    Source.TICKETS: (
        '{"ticket_id":"12345-1","category":"flood","text":"漕溪北路积水","ts":"2025-07-17 17:30:00"}'.encode(),
    ),
}
CASES = [(source, payload) for source, payloads in GOOD.items() for payload in payloads]


@pytest.mark.parametrize("kind", SPOILERS)
@pytest.mark.parametrize(("source", "payload"), CASES)
def test_a_spoilt_record_is_refused(kind: str, source: Source, payload: bytes) -> None:
    bad = spoil(kind, source, payload, AT_MS)
    assert bad != payload
    if kind in DECODES:
        row = decode(source, bad, ZONE)
        assert row.event_at_ms == AT_MS + AHEAD_MS or row.lon == FAR_LON
    else:
        with pytest.raises(BadRecord):
            decode(source, bad, ZONE)


@pytest.mark.parametrize(("source", "payload"), CASES)
def test_the_records_that_are_spoilt_here_were_good(source: Source, payload: bytes) -> None:
    assert decode(source, payload, ZONE).event_at_ms == AT_MS


def test_a_clock_far_ahead_is_in_the_future_for_many_years_to_come_and_still_a_time() -> None:
    assert 2_840_140_800_000 < START_MS + AHEAD_MS < MAX_EVENT_MS, "from 2060 on a run of today would be believed"
