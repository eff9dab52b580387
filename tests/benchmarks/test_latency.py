"""The latency benchmark's own truth: what is offered, what must come of it, and which record makes it possible.

Everything is worked out a second time from the bytes that are sent, the slow and plain way.
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from benchmarks.cityjoin_data import CONFIDENCE, PARTITIONS, SIDE, SOUTH, STEP_DEG, WEST
from benchmarks.latency import section
from benchmarks.latency_answer import expect
from benchmarks.latency_figures import summary
from benchmarks.latency_load import DISORDER_MS, PLACES, WINDOW_MS, Load, Pool, draw, raise_at_mm, render
from benchmarks.latency_producer import Appended, _decoded
from benchmarks.latency_run import FellBehind, RunFailed, _check
from schemas.sources import Source

LOAD = Load(rate=20_000, seconds=2.0, seed=3, start_ms=1_760_000_000_100)


@pytest.fixture(autouse=True)
def many_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is carried from portion to portion matters."""
    monkeypatch.setattr("benchmarks.latency_answer.AT_ONCE", 7_001)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool.make(LOAD.seed, LOAD.rate)


@pytest.fixture(scope="module")
def sent(pool: Pool) -> list[tuple[int, int, dict[str, Any]]]:
    """(place, due ns, record) of everything, drawn in unequal portions as the generator does."""
    found = []
    first = 0
    for many in (1, 999, 7_000, LOAD.count - 8_000):
        entry, event_ms = draw(LOAD, first, many)
        data, starts = render(pool, first, entry, event_ms)
        due_ns = LOAD.due_ns(np.arange(first, first + many))
        for i in range(many):
            record = json.loads(data[starts[i] : starts[i + 1]].tobytes())
            found.append((int(pool.place[entry[i]]), int(due_ns[i]), record))
        first += many
    return found


def test_records_are_due_at_even_steps_and_their_times_lie_just_before(
    sent: list[tuple[int, int, dict[str, Any]]],
) -> None:
    due_ns = [due for _, due, _ in sent]
    assert due_ns == [i * 1_000_000_000 // LOAD.rate for i in range(LOAD.count)]
    behind_ms = [LOAD.start_ms + due // 1_000_000 - record["ts"] for _, due, record in sent]
    assert min(behind_ms) == 0 and max(behind_ms) == DISORDER_MS - 1


def test_the_mixture_is_that_of_cityjoin_and_tickets_have_numbers_of_their_own(
    sent: list[tuple[int, int, dict[str, Any]]],
) -> None:
    places = np.bincount([place for place, _, _ in sent], minlength=PLACES).reshape(3, PARTITIONS).sum(axis=1)
    assert places / LOAD.count == pytest.approx([0.9, 0.09, 0.01], abs=0.01)
    numbers = [record["ticket_id"] for _, _, record in sent if "ticket_id" in record]
    assert len(set(numbers)) == len(numbers) > 100


def test_the_answer_is_what_a_plain_look_at_the_records_gives(
    pool: Pool, sent: list[tuple[int, int, dict[str, Any]]]
) -> None:
    groups: dict[tuple[int, int], list[Any]] = defaultdict(lambda: [-np.inf, 0, 0])
    for _, _, record in sent:
        cell = int((record["lat"] - SOUTH) / STEP_DEG) * SIDE + int((record["lon"] - WEST) / STEP_DEG)
        group = groups[cell, record["ts"] // WINDOW_MS * WINDOW_MS]
        if record.get("metric") == "water_level_mm" and record["quality"] == "good":
            group[0] = max(group[0], record["value"])
        elif record.get("event") == "waterlogging" and record["confidence"] >= CONFIDENCE:
            group[1] += 1
        elif record.get("category") == "flood":
            group[2] += 1
    plain = {
        (*key, m, c, t) for key, (m, c, t) in groups.items() if m >= raise_at_mm(LOAD.rate) and c + t >= 1
    }  # fmt: skip
    assert len(plain) > 20
    assert expect(LOAD, pool).answer == plain


def test_a_window_becomes_possible_with_the_last_partition_that_passes_its_end_and_the_bound(
    pool: Pool, sent: list[tuple[int, int, dict[str, Any]]]
) -> None:
    expected = expect(LOAD, pool)
    by_place: list[list[tuple[int, int]]] = [[] for _ in range(PLACES)]
    for place, due_ns, record in sent:
        by_place[place].append((due_ns, record["ts"]))
    assert expected.records.tolist() == [len(records) for records in by_place]
    known = 0
    for i, start_ms in enumerate(expected.window_ms.tolist()):
        needed_ms = start_ms + WINDOW_MS + DISORDER_MS
        firsts = [next((n for n, (_, ts) in enumerate(records) if ts >= needed_ms), -1) for records in by_place]
        assert expected.offset[i].tolist() == firsts
        if min(firsts) < 0:
            assert expected.due_ns[i] == -1
        else:
            known += 1
            assert expected.due_ns[i] == max(by_place[place][n][0] for place, n in enumerate(firsts))
    assert known > 5


def test_every_urgent_ticket_is_expected_at_its_place_in_its_partition(
    pool: Pool, sent: list[tuple[int, int, dict[str, Any]]]
) -> None:
    count = [0] * PLACES
    plain = set()
    for place, due_ns, record in sent:
        if record.get("category") == "fire":
            plain.add((place, count[place], due_ns))
        count[place] += 1
    assert {tuple(row) for row in expect(LOAD, pool).urgent.tolist()} == plain
    assert all(place // PARTITIONS == Source.TICKETS for place, _, _ in plain) and len(plain) > 20


def test_a_faster_load_does_not_bring_more_alerts() -> None:
    rates = (50_000, 200_000)
    slow, fast = (
        len(expect(Load(rate, 1.0, seed=1, start_ms=LOAD.start_ms), Pool.make(1, rate)).answer) for rate in rates
    )
    assert slow / 3 < fast < 3 * slow


def test_missing_alerts_mean_too_slow_and_wrong_ones_wrong() -> None:
    one, other = (7, 0, 141.0, 1, 0), (7, 250, 150.0, 0, 1)
    _check({one}, {one})
    with pytest.raises(FellBehind, match="1 of 2 alerts had not come"):
        _check({one, other}, {one})
    with pytest.raises(RunFailed, match="1 too many, 0 missing"):
        _check({one}, {one, other})
    with pytest.raises(RunFailed, match="1 too many, 1 missing"):
        _check({one}, {other})


def test_percentiles_are_values_that_occurred() -> None:
    found = summary(np.arange(1.0, 1001.0))
    assert (found["p50_ms"], found["p99_ms"], found["p999_ms"], found["max_ms"]) == (500, 990, 999, 1000)
    assert summary(np.empty(0)) == {"count": 0}


def test_the_answer_to_a_produce_request_is_read_as_the_protocol_says() -> None:
    topic = struct.pack(">h", 8) + b"readings" + struct.pack(">i", 2)
    parts = struct.pack(">ihqq", 0, 0, 500, 1_760_000_000_123) + struct.pack(">ihqq", 3, 0, 7, 1_760_000_000_124)
    answer = struct.pack(">ii", 42, 1) + topic + parts + struct.pack(">i", 0)
    assert list(_decoded(answer, 9)) == [
        Appended(42, "readings", 0, 500, 1_760_000_000_123, 9),
        Appended(42, "readings", 3, 7, 1_760_000_000_124, 9),
    ]


def test_the_page_tells_what_is_kept_and_nothing_else() -> None:
    row = {"count": 1_200, "p50_ms": 52.4, "p90_ms": 75.0, "p99_ms": 118.0, "p999_ms": 146.0, "max_ms": 153.0}
    cpu = {"worker": 0.69, "broker": 0.21, "generator": 0.09, "others": 0.02}
    kept = {
        "rate": 50_000, "seconds": 300.0, "warm_up_s": 20.0, "records": 16_100_000, "alerts_checked": 5_000,
        "alert_from_due": row, "alert_from_append": row, "urgent_from_due": row, "urgent_from_append": row,
        "seconds_with_alerts": 300, "generator_late": row, "cpu_cores": cpu, "worker_peak_rss_mb": 315,
    }  # fmt: skip
    fast = {"rate": 1_000_000, "holds": False, "fell_behind": True}
    slow = {"rate": 50_000, "holds": True, "fell_behind": False, "alert": row, "cpu_cores": cpu}
    highest = {
        "highest_rate": 50_000, "p99_below_ms": 1_000, "seconds": 30.0, "warm_up_s": 20.0, "steps": [slow, fast],
    }  # fmt: skip
    nothing, whole = section({}), section({"steady": kept, "highest": highest})
    assert "samples" not in nothing and "highest rate" not in nothing
    assert "| alert, from the scheduled moment | 1,200 | 52 | 75 | 118 | 146 | 153 |" in whole
    assert "| 50,000 | 52 | 118 | 153 | 0.69 | 0.21 | 0.09 | holds |" in whole
    assert "| 1,000,000 | | | | | | | fell behind" in whole
    assert all(len(line) <= 120 for line in whole.splitlines())
