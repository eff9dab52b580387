"""Crowd risk: tables of one cell's story, minute by minute, and how a surge is seen."""

from typing import Any

import numpy as np
import pytest

from detectors.crowd_risk import CrowdRisk, CrowdRiskSettings
from detectors.testing import ArrayView, tell
from schemas.errors import SettingsError

RULE = CrowdRisk(CrowdRiskSettings(clear_after=2, lower_after=2, stale_after=3, size_minutes=2, surge_minutes=4))

Minute = dict[str, float | None]


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([{}], "-"),  # nothing known
        ([{"crowd": 40, "flow": 120, "flow_readings": 2}], "-"),  # people walk by
        ([{"crowd": 300, "crowds": 1}], "-"),  # one count may be a bus stop
        ([{"crowd": 300, "crowds": 2}], "raise 1 strong_sign"),
        ([{"crowd": 299, "crowds": 0, "tickets": 1}], "-"),  # not so many, and one who feels it tight
        # with another kind of sign one count is believed
        ([{"crowd": 300, "crowds": 1, "tickets near": 1}], "raise 1 signs_agree"),
        ([{"crowd": 300, "crowds": 1, "flow": 3000, "flow_readings": 9}], "raise 1 signs_agree"),
        # severity by size
        ([{"crowd": 400, "crowds": 2}], "raise 2 strong_sign"),
        ([{"crowd": 500, "crowds": 2}], "raise 3 strong_sign"),
        ([{"crowd": 700, "crowds": 2}], "raise 4 strong_sign"),
        # people fall: worse; without a crowd it is somebody who fell
        ([{"crowd": 300, "crowds": 1, "falls": 1}], "raise 2 signs_agree"),
        ([{"falls": 3}], "-"),
        ([{"crowd": 100, "falls": 3, "tickets": 1}], "-"),
        # counters alone say that a passage is full, not that it is dangerous
        ([{"flow": 5000, "flow_readings": 9}], "-"),
        ([{"flow": 3000, "flow_readings": 9, "tickets": 1}], "raise 1 signs_agree"),
        # it rises at once, and clears when the place has emptied for two minutes
        (
            [{"crowd": 310, "crowds": 2}, {"crowd": 520, "crowds": 3}, {"crowd": 250}, {"crowd": 199}, {"crowd": 80}],
            "raise 1 strong_sign, update 3 strong_sign, -, -, clear 3 quiet",
        ),
        ([{"crowd": 310, "crowds": 2}, {"crowd": 200}, {"crowd": 200}, {"crowd": 200}], "raise 1 strong_sign, -, -, -"),
        # a camera that says nothing saw nothing, or is broken: no all-clear
        ([{"crowd": 310, "crowds": 2}, {}, {}, {}], "raise 1 strong_sign, -, -, clear 1 no_data"),
    ],
)
def test_a_story_gives_these_changes(story: list[Minute], expected: str) -> None:
    assert ", ".join(tell(RULE, story)) == expected


@pytest.mark.parametrize(
    ("before", "severity"),
    [
        ([np.nan, np.nan], 1),  # nothing known of before: no surge is claimed
        ([240.0, np.nan], 1),
        ([200.0, np.nan], 2),  # grown by half
        ([100.0, 280.0], 1),  # the larger of the two minutes counts
        ([0.0, 10.0], 2),
    ],
)
def test_a_crowd_that_has_grown_by_half_is_worse(before: list[float], severity: int) -> None:
    minutes = [[300.0], [300.0], [np.nan], [np.nan], *[[value] for value in before]]  # newest first; 4 and 5 back
    view = ArrayView(RULE, 1, {"crowd": 300.0, "crowds": 2.0}, buckets={"crowd_long": minutes})
    assert RULE.judge(view).severity[0] == severity


def test_the_sentence_says_how_many_and_how_many_before() -> None:
    minutes = [[450.0], [400.0], [np.nan], [np.nan], [200.0], [180.0]]
    view = ArrayView(
        RULE, 1, {"crowd": 450.0, "crowds": 2.0, "falls": 1.0, "tickets": 2.0}, buckets={"crowd_long": minutes}
    )
    explanation = RULE.explain(view, 0, RULE.judge(view))
    assert explanation.sentence_zh == (
        "疑似人群聚集风险（特别重大），近 10 分钟：画面人数 450，此前人数 200，1 次人员倒地识别，2 件人群聚集工单。"
    )
    assert explanation.sentence_en == (
        "Likely crowd risk (extreme): persons in view: 450, before: 200, 1 fall detection, 2 tickets within 10 min."
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clear_below": 300.0}, "flap"),
        ({"severity_from": (300.0, 400.0, 500.0)}, "must rise"),
        ({"surge_factor": 1.0}, "more than 1"),
        ({"surge_minutes": 1}, "surge_minutes=1"),
        ({"flow_at": 0.0}, "flow_at"),
        ({"raise_at": float("nan")}, "finite"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        CrowdRiskSettings(**changes)
