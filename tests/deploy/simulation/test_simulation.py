"""A run as a whole: the same settings give the same bytes, in order, readable, and with the faults asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from deploy.simulation.malformed import AHEAD_MS
from deploy.simulation.settings import FaultSettings, SimulationSettings
from deploy.simulation.simulation import SimulatedRecord, Simulation
from schemas.decode import decode
from schemas.errors import BadRecord, SettingsError
from schemas.sources import Source
from tests.deploy.simulation.small import BOX, NO_FAULTS, STORM, settings

ZONE = ZoneInfo("Asia/Shanghai")
BUSY: dict[str, Any] = {"storms": (STORM,), "accidents": 1, "fires": 1, "gas_leaks": 1, "crowds": 1, "manholes": 1}


def run(made: SimulationSettings) -> tuple[list[SimulatedRecord], list[dict[str, Any]]]:
    simulated = Simulation(made)
    return list(simulated.records()), list(simulated.truth())


def digest(made: SimulationSettings) -> str:
    records, truth = run(made)
    return hashlib.sha256(repr((records, truth)).encode()).hexdigest()


def counts_of(truth: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = truth[0]["counts"]
    return counts


def test_the_same_settings_give_the_same_bytes_and_the_same_truth() -> None:
    made = settings(**BUSY)
    assert digest(made) == digest(made)
    assert digest(made) != digest(settings(**BUSY, seed=4))


def test_records_come_in_the_order_in_which_they_reach_the_bus() -> None:
    records, truth = run(settings(**BUSY))
    assert [one.send_ms for one in records] == sorted(one.send_ms for one in records)
    assert len(records) == counts_of(truth)["sent"] > 1_000
    assert {one.source for one in records} == set(Source)


def test_every_record_but_the_spoilt_ones_can_be_decoded_and_says_the_time_it_should() -> None:
    faults = FaultSettings(
        malformed_rate=0.05, late_rate=0.02, skewed_share=0.2, other_unit_share=0.2, spiking_share=0.2
    )
    records, truth = run(settings(**BUSY, faults=faults))
    refused = 0
    for record in records:
        try:
            row = decode(record.source, record.payload, ZONE)
        except BadRecord:
            refused += 1
        else:
            assert row.event_at_ms in (record.event_ms, record.event_ms + AHEAD_MS)
    counts = counts_of(truth)
    spoilt = sum(count for name, count in counts.items() if name.startswith("malformed"))
    decodable = counts.get("malformed far_ahead", 0) + counts.get("malformed outside", 0)
    assert refused >= spoilt - decodable > 50  # a spoilt record may have been sent twice
    assert refused <= spoilt + counts.get("duplicate", 0)


def test_faults_of_records_are_as_frequent_as_asked_for_and_counted() -> None:
    faults = FaultSettings(malformed_rate=0.03, late_rate=0.1, duplicate_rate=0.07, jitter_ms=0, skewed_share=0)
    records, truth = run(settings(faults=faults, devices=2_000))
    counts = counts_of(truth)
    made = sum(count for name, count in counts.items() if name.startswith("made "))
    malformed = sum(count for name, count in counts.items() if name.startswith("malformed"))
    for count, rate in ((counts["late"], 0.1), (counts["duplicate"], 0.07), (malformed, 0.03)):
        assert abs(count - made * rate) < 5 * math.sqrt(made * rate * (1 - rate))
    assert len(records) == counts["sent"] == made + counts["duplicate"]
    payloads = Counter((one.source, one.partition_key, one.payload) for one in records if len(one.payload) > 60)
    assert sum(count - 1 for count in payloads.values()) >= 0.9 * counts["duplicate"]


def test_without_faults_everything_arrives_once_in_time_and_readable() -> None:
    records, truth = run(settings(**BUSY, faults=NO_FAULTS))
    counts = counts_of(truth)
    assert not [name for name in counts if name.startswith(("malformed", "late", "duplicate", "devices s"))]
    for record in records:
        decode(record.source, record.payload, ZONE)
        if record.source is not Source.TICKETS:
            assert 0 <= record.send_ms - record.event_ms < 5_000


def test_more_devices_change_neither_the_incidents_nor_the_calls_nor_the_readings_of_the_others() -> None:
    few, few_truth = run(settings(**BUSY, devices=60, faults=NO_FAULTS))
    many, many_truth = run(settings(**BUSY, devices=120, faults=NO_FAULTS))
    keys = {one.partition_key for one in few}
    assert few == [one for one in many if one.partition_key in keys]

    def happened(truth: list[dict[str, Any]]) -> list[Any]:
        names = ("id", "cell", "begin_ms", "onset_ms", "peak_ms", "end_ms", "tickets", "camera_events")
        return [tuple(str(entry[name]) for name in names) for entry in truth if entry["entry"] == "incident"]

    assert happened(few_truth) == happened(many_truth) != []


def test_a_device_keeps_its_rhythm_and_its_place() -> None:
    records, _ = run(settings(faults=NO_FAULTS, registered_share=0.0, minutes=5.0))
    rain = [json.loads(one.payload) for one in records if b'"rainfall_mm_h"' in one.payload]
    by_device: dict[str, list[dict[str, Any]]] = {}
    for fields in rain:
        if isinstance(fields["ts"], int):
            by_device.setdefault(fields["device_id"], []).append(fields)
    assert by_device
    for readings in by_device.values():
        times = sorted(fields["ts"] for fields in readings)
        assert {later - earlier for earlier, later in itertools.pairwise(times)} == {60_000}
        assert len({(fields["lon"], fields["lat"]) for fields in readings}) == 1


def test_what_belongs_to_an_incident_is_among_the_records() -> None:
    records, truth = run(settings(**BUSY, minutes=14.0, cameras=60, faults=NO_FAULTS))
    tickets = {json.loads(one.payload)["ticket_id"]: one for one in records if one.source is Source.TICKETS}
    tracks = {json.loads(one.payload)["track_id"] for one in records if one.source is Source.CAMERA_EVENTS}
    incidents = [entry for entry in truth if entry["entry"] == "incident"]
    named = [ticket for entry in incidents for ticket in entry["tickets"]]
    seen = [track for entry in incidents for track in entry["camera_events"]]
    assert named and set(named) <= tickets.keys() and len(named) == len(set(named))
    assert seen and set(seen) <= tracks
    assert {"flood", "accident", "fire", "gas_leak", "crowd", "manhole"} == {entry["type"] for entry in incidents}


def test_stuck_silent_and_spiking_devices_behave_as_the_truth_says() -> None:
    faults = FaultSettings(
        stuck_share=0.3, silent_share=0.3, spiking_share=0.3, malformed_rate=0, duplicate_rate=0, late_rate=0
    )
    records, truth = run(settings(faults=faults, minutes=12.0))
    values: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for one in records:
        if one.source is Source.READINGS:
            row = decode(one.source, one.payload, ZONE)
            values.setdefault((row.entity, row.kind), []).append((row.event_at_ms, row.value))
    wild = 0
    for entry in (entry for entry in truth if entry["entry"] == "device"):
        for (device, _), readings in values.items():
            if device != entry["device_id"]:
                continue
            after = [value for at_ms, value in sorted(readings) if at_ms >= entry["from_ms"]]
            if entry["fault"] == "stuck":
                assert len(set(after)) <= 1
            elif entry["fault"] == "silent":
                assert not [
                    at_ms for at_ms, _ in readings if entry["from_ms"] <= at_ms - 1_000 < entry["to_ms"] - 2_000
                ]
            elif entry["fault"] == "spiking":
                wild += sum(value in (99_999.0, -9_999.0) for value in after)
    assert wild == counts_of(truth)["spikes"] > 0
    assert counts_of(truth)["readings kept silent"] > 0


def test_a_wrong_clock_is_wrong_from_its_moment_on_by_what_the_truth_says() -> None:
    faults = dataclasses.replace(NO_FAULTS, skewed_share=1.0)
    records, truth = run(settings(faults=faults, minutes=8.0, people=0, cameras=0))
    clocks = {entry["device_id"]: entry for entry in truth if entry["entry"] == "device"}
    before, after = 0, 0
    for one in records:
        clock = clocks[one.partition_key.decode()]
        delay_ms = one.send_ms - one.event_ms  # up to a second more where the time is written without milliseconds
        if one.send_ms < clock["from_ms"]:
            assert 0 <= delay_ms <= faults.most_jitter_ms + 1_000
            before += 1
        elif one.send_ms > clock["from_ms"] + 5_000:
            assert 0 <= delay_ms + clock["skew_ms"] <= faults.most_jitter_ms + 1_000
            after += 1
    assert before > 100 and after > 100


@given(
    devices=st.integers(1, 40), cameras=st.integers(0, 8), low_spots=st.integers(0, 3), seed=st.integers(0, 10**6),
    step_s=st.integers(1, 60), minutes=st.floats(0.05, 2), spacing=st.floats(150, 3_000), east=st.floats(0.002, 0.02),
)  # fmt: skip
@rules(deadline=None, max_examples=15)
def test_any_settings_that_are_accepted_run(
    devices: int, cameras: int, low_spots: int, seed: int, step_s: int, minutes: float, spacing: float, east: float
) -> None:
    made = settings(
        devices=devices, cameras=cameras, low_spots=low_spots, seed=seed, step_s=step_s, minutes=minutes,
        street_spacing_m=spacing, east=BOX["west"] + east, storms=(STORM,), accidents=1, fires=1, crowds=1,
    )  # fmt: skip
    records, truth = run(made)
    assert [one.send_ms for one in records] == sorted(one.send_ms for one in records)
    json.dumps(truth)


def test_a_run_cannot_be_gone_through_twice() -> None:
    simulated = Simulation(settings(minutes=0.2))
    list(simulated.records())
    with pytest.raises(RuntimeError, match="runs once"):
        next(simulated.blocks())


def test_a_box_outside_the_grid_and_an_unknown_district_are_refused() -> None:
    with pytest.raises(SettingsError, match="not wholly inside the city's grid"):
        Simulation(settings(west=110.0, east=110.01))
    with pytest.raises(SettingsError, match="no such district in the box; there are none"):
        Simulation(settings(storms=(STORM.__class__(over=("海淀区",)),)))
