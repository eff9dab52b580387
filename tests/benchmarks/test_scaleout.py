"""The scale-out benchmark, as far as it is pure: delays after a change, medians, thin data, the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.cityjoin_data import DISORDER_MS, SIDE, SOUTH, START_MS, STEP_DEG, WEST, WINDOW_MS, batch_answer
from benchmarks.scaleout import CHANGES_RECORDS_PER_S, SPEED, delays, middle, thin_records
from benchmarks.scaleout_page import section
from benchmarks.scaleout_run import Groups, Told, right
from streams.topics import TopicNames

BEGAN_S = 1_000.0
AT = {"steady": BEGAN_S, "joins": 1_010.0, "leaves": 1_020.0, "dies": 1_030.0}
LOCATE, JOIN = "locate", "tongguan-join"


def groups(*seen: tuple[float, int, str]) -> Groups:
    """As if both groups had been seen so: (when, members, state)."""
    made = Groups("127.0.0.1:1", TopicNames(""))
    assert made.ids == (LOCATE, JOIN)
    made.seen = [(at, {LOCATE: (state, members), JOIN: (state, members)}) for at, members, state in seen]
    return made


def due_s(window: int) -> float:
    """When the alerts of the window with this number are due."""
    return BEGAN_S + ((window + 1) * WINDOW_MS + 2 * DISORDER_MS) / 1000 / SPEED


def told(window: int, delay_s: float) -> Told:
    return Told((window, START_MS + window * WINDOW_MS, 151.0, 1, 0), due_s(window) + delay_s)


def test_delays_belong_to_the_change_before_their_alerts_were_due() -> None:
    alerts = [told(2, 0.1), told(12, 3.0), told(14, 0.2), told(22, 0.3), told(32, 0.4)]
    found = delays(alerts, AT, groups((1_012.5, 3, "Stable"), (1_021.0, 2, "Stable"), (1_041.0, 1, "Stable")))
    phases = found["phases"]
    assert phases["steady"]["longest_delay_s"] == 0.1
    assert phases["joins"] | {"over_1_s_for_s": 0, "settled_after_s": 0} == {
        "alerts": 2, "median_delay_s": 1.6, "longest_delay_s": 3.0, "over_1_s_for_s": 0, "settled_after_s": 0,
    }  # fmt: skip
    assert phases["joins"]["over_1_s_for_s"] == round(due_s(12) - AT["joins"], 2)
    assert phases["leaves"]["over_1_s_for_s"] == 0
    assert phases["dies"]["settled_after_s"] == {"locate": 11.0, "join": 11.0}


def test_an_alert_due_before_a_change_is_of_the_time_before_it_however_late() -> None:
    seen = groups((1_011.0, 3, "Stable"), (1_031.0, 1, "Stable"))
    found = delays([told(2, 0.1), told(18, 3.0), told(32, 0.1)], AT, seen)
    assert found["phases"]["joins"]["longest_delay_s"] == 3.0
    assert found["phases"]["leaves"]["longest_delay_s"] is None
    assert found["phases"]["leaves"]["settled_after_s"] == {"locate": None, "join": None}


def test_an_alert_told_twice_counts_when_it_was_first_told() -> None:
    seen = groups((1_011.0, 3, "Stable"), (1_021.0, 2, "Stable"), (1_031.0, 1, "Stable"))
    others = [told(12, 0.1), told(22, 0.1), told(32, 0.1)]
    found = delays([told(2, 5.0), told(2, 0.1), *others], AT, seen)
    assert found["phases"]["steady"]["longest_delay_s"] == 0.1


def test_groups_are_settled_since_the_last_time_they_were_not() -> None:
    seen = groups((1.0, 2, "Stable"), (2.0, 2, "PreparingRebalance"), (3.0, 2, "Stable"), (4.0, 2, "Stable"))
    assert seen.settled_since(2) == 3.0
    assert seen.settled_since(3) is None
    assert seen.first_settled(1.5, 2) == {LOCATE: 3.0, JOIN: 3.0}


def test_thin_records_keep_the_disorder_the_cells_and_enough_alerts() -> None:
    records = thin_records(120_000, 1)
    produced_ms = START_MS + np.arange(records.count) * 1000 // CHANGES_RECORDS_PER_S
    behind = produced_ms - records.event_at_ms
    assert behind.min() >= 0 and behind.max() < DISORDER_MS
    row = np.floor((records.lat - SOUTH) / STEP_DEG).astype(int)
    column = np.floor((records.lon - WEST) / STEP_DEG).astype(int)
    assert (row * SIDE + column == records.cell).all()
    assert len(batch_answer(records)) >= 2 * 20  # two windows, each with dozens


def test_answers_are_right_when_none_is_missing_and_none_too_many() -> None:
    one, other = told(1, 0.0), told(2, 0.0)
    assert right([one, one], {one.row})
    assert not right([one], {one.row, other.row})
    assert not right([one, other], {one.row})


def test_a_wrong_run_makes_its_row_wrong() -> None:
    good = {"right": True, "rate": 5}
    assert middle([good, good | {"rate": 9}, good | {"rate": 6}]) == {"right": True, "runs": 3, "rate": 6}
    assert middle([good, {"right": False, "alerts": 1}]) == {"right": False, "alerts": 1}


def test_the_page_tells_every_row() -> None:
    row: dict[str, Any] = {
        "right": True, "workers": 2, "cores": 1, "rate": 900_000, "cpu_us_per_record": 1.1, "cost": 1.07,
        "least_share": 0.4, "most_share": 0.6, "peak_rss_mb": 700,
    }  # fmt: skip
    seen = groups((1_011.0, 3, "Stable"), (1_021.0, 2, "Stable"), (1_031.0, 1, "Stable"))
    phases = delays([told(window, 0.1) for window in (2, 12, 22, 32)], AT, seen)
    changes = {"right": True, "rate": 60_000, "speed": SPEED} | phases
    text = section(
        {"records": 3_000_000, "shared": [row, {"right": False, "workers": 4, "cores": 1}], "changes": changes}
    )
    assert "| 2 | 1 | 900,000 | 1.100 | 1.07 | 40%, 60% | 700 |" in text
    assert "| 4 | 1 | wrong alerts |" in text
    assert "| one is killed | 0.1 | 0.1 | 0.0 | 1.0, 1.0 |" in text
    assert section({"records": 1, "shared": [], "changes": {"right": False}}).count("wrong alerts") == 1
