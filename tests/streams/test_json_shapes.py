"""Records alike are read by the shape of those before them, with the same result; nothing else is taken for alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.sources import Source
from streams.json_shapes import new_shape
from tests.streams.test_json_kernels import OPTIONAL, RECORDS, assert_the_reference_agrees, values_for, written
from tests.support import fast_scan
from tests.support.fast_scan import scanned
from tests.support.readings import T0, reading


@st.composite
def alike(draw: st.DrawFn) -> tuple[Source, list[bytes]]:
    """Records of one source with the same keys, order and white space; here and there a byte is another, or missing."""
    source = draw(st.sampled_from((Source.READINGS, Source.CAMERA_EVENTS)))
    kept = ("firmware", "bbox", "track_id", "snapshot_url", "plate_hash")
    optional = [name for name in OPTIONAL[source] if name not in kept]
    names = [*RECORDS[source], *draw(st.lists(st.sampled_from([*optional, "datum"]), unique=True))]
    if draw(st.booleans()):
        names += ["lon", "lat"]
    names = draw(st.permutations(names))
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n  ", " : ")]))
    usual: dict[str, Any] = {
        "unit": "mm", "quality": "good", "device_type": "gauge", "count": 3, "datum": "WGS-84",
        "lon": 121.4, "lat": 31.2, **RECORDS[source],
    }  # fmt: skip
    payloads = []
    for _ in range(draw(st.integers(2, 12))):
        odd = draw(st.lists(st.sampled_from(names), max_size=2))
        pairs = [(name, draw(values_for(name)) if name in odd else usual[name]) for name in names]
        data = bytearray(written(pairs, comma, colon, escaped=False))
        if draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(data)))
            data[at : at + draw(st.integers(0, 2))] = draw(
                st.one_of(st.binary(max_size=2), st.sampled_from([b'"', b" "]))
            )
        payloads.append(bytes(data))
    return source, payloads


@settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(alike())
def test_records_alike_mean_the_same_to_the_reference(given_: tuple[Source, list[bytes]]) -> None:
    source, payloads = given_
    assert_the_reference_agrees(source, payloads)


def shape_reads(monkeypatch: pytest.MonkeyPatch, source: Source, payloads: list[bytes]) -> int:
    """How many of the records are read by the shape: as many as its credit says, which begins at the half."""
    shape = new_shape()
    shape[0] = 32
    monkeypatch.setattr(fast_scan, "new_shape", lambda: shape)
    assert all(row is not None for row in scanned(source, payloads))
    return int(shape[0]) - 32


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("time", [T0, "2025-06-15T12:00:00Z"])
def test_what_a_producer_repeats_is_read_by_its_shape(
    separators: tuple[str, str], time: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it were not, nothing would be wrong but the speed."""
    record = {
        "device_id": "WL-1", "metric": "water_level_mm", "value": -2.5, "unit": "mm", "device_type": "gauge",
        "ts": time, "lon": 121.473701, "lat": 31.230416, "quality": "good", "datum": "WGS-84",
    }  # fmt: skip
    records = [{**record, "device_id": f"WL-{i}" * (1 + i)} for i in range(20)]
    payloads = [json.dumps(record, separators=separators).encode() for record in records]
    assert shape_reads(monkeypatch, Source.READINGS, payloads) == 20 - 1 - 4  # the first is learned from


def test_a_record_that_differs_costs_its_neighbours_nothing_but_time() -> None:
    whole = reading(lon=121.5, lat=31.25, unit="mm")
    for cut in range(1, len(whole)):
        rows = scanned(Source.READINGS, [whole, whole, whole[:cut], whole[cut:], whole])
        assert [row is not None for row in rows] == [True, True, False, False, True]


def test_records_that_are_never_alike_are_soon_not_compared_any_more() -> None:
    one = {"device_id": "d", "metric": "m", "value": 1, "ts": T0}
    other = dict(reversed(one.items()))
    payloads = [json.dumps(record).encode() for record in (one, other) * 40]
    shape = new_shape()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_scan, "new_shape", lambda: shape)
        assert_the_reference_agrees(Source.READINGS, payloads)
    assert shape[0] < -900


def test_a_shape_that_cannot_be_learned_leaves_none_behind() -> None:
    """White space longer than what a shape keeps, in the middle: half of it would be of another record."""
    record = b'{"device_id":"d","metric":"m","value":1,%s"ts":%d}'
    payloads = [record % (b" " * spaces, T0) for spaces in (0, 0, 40)]
    twice = b'{"device_id":"d","metric":"m","value":1,"device_id":"d","ts":%d}' % T0
    shape = new_shape()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_scan, "new_shape", lambda: shape)
        assert all(row is not None for row in scanned(Source.READINGS, payloads))
        assert shape[0] < 0
        shape[0] = 64  # as if it had rested
        assert scanned(Source.READINGS, [twice, b"", payloads[0]])[:2] == [None, None]


def test_strings_that_were_seen_are_told_apart() -> None:
    names = ["a", "a" * 7, "a" * 8, "a" * 15, "a" * 16, "a" * 22, "a" * 23, "a" * 24, "b", "a" * 21 + "b"]
    payloads = [
        json.dumps({"device_id": "d", "metric": name, "value": 1, "unit": unit, "ts": T0}).encode()
        for name in names * 3
        for unit in names
    ]
    rows = assert_the_reference_agrees(Source.READINGS, payloads)
    assert all(row is not None for row in rows)
