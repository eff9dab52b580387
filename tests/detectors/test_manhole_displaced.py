"""Displaced manhole covers: tables of one cell's story, minute by minute."""

from typing import Any

import pytest

from detectors.manhole_displaced import ManholeDisplaced, ManholeDisplacedSettings
from detectors.testing import ArrayView, tell
from schemas.errors import SettingsError

RULE = ManholeDisplaced(ManholeDisplacedSettings(clear_after=2, lower_after=2, stale_after=3))

Minute = dict[str, float | None]
CLOSED: Minute = {"latest": 0}
OPEN: Minute = {"latest": 1, "open": 2}


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([{}], "-"),  # nothing known
        ([CLOSED], "-"),
        ([{"latest": 1, "open": 1}], "-"),  # a crew, or a jolt
        ([OPEN], "raise 2 strong_sign"),
        ([{"missing": 1}], "-"),  # a shadow
        ([{"missing": 2}], "raise 2 strong_sign"),
        ([{"tickets": 5}], "-"),  # callers alone make an incident of the ticket, not an alert
        # two kinds agree
        ([{"latest": 1, "open": 1, "missing": 1}], "raise 3 signs_agree"),
        ([{"latest": 1, "open": 1, "tickets near": 1}], "raise 3 signs_agree"),
        ([{"missing": 1, "tickets": 1}], "raise 3 signs_agree"),
        # under water nobody sees the hole
        ([{**OPEN, "water": 49}], "raise 2 strong_sign"),
        ([{**OPEN, "water near": 50}], "raise 4 strong_sign"),
        # put back: what the sensor read before does not count any more
        ([{"latest": 0, "open": 3}], "-"),
        ([OPEN, {"latest": 0, "open": 2}, {"latest": 0, "open": 1}], "raise 2 strong_sign, -, clear 2 quiet"),
        # the water comes later
        ([OPEN, {**OPEN, "water": 120}], "raise 2 strong_sign, update 4 strong_sign"),
        # silence is no all-clear
        ([OPEN, {}, {}, {}], "raise 2 strong_sign, -, -, clear 2 no_data"),
    ],
)
def test_a_story_gives_these_changes(story: list[Minute], expected: str) -> None:
    assert ", ".join(tell(RULE, story)) == expected


@pytest.mark.parametrize(
    ("minute", "confidence"),
    [
        ({"latest": 1, "open": 1}, 0.6),
        (OPEN, 0.84),
        ({"latest": 1, "open": 9}, 0.84),  # the third reading repeats the second
        ({"latest": 1, "open": 1, "missing": 1, "tickets": 1}, 1 - 0.4 * 0.5 * 0.6),
        (CLOSED, 0.7),  # that it lies in its frame
    ],
)
def test_more_signs_make_it_surer(minute: Minute, confidence: float) -> None:
    own = {name: value for name, value in minute.items() if value is not None}
    assert RULE.judge(ArrayView(RULE, 1, own)).confidence[0] == pytest.approx(confidence)


def test_the_sentence_warns_of_the_water() -> None:
    view = ArrayView(RULE, 1, {"latest": 1, "open": 2, "missing": 1, "water": 180})
    explanation = RULE.explain(view, 0, RULE.judge(view))
    assert explanation.sentence_zh == (
        "疑似井盖移位缺失（特别重大），近 10 分钟：2 次井盖开启上报，1 次井盖缺失识别，附近积水 180 mm。"
    )
    assert explanation.sentence_en == (
        "Likely displaced manhole cover (extreme): 2 open-cover readings, 1 missing-cover detection, "
        "water nearby 180 mm within 10 min."
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_from_mm": 0.0}, "hidden_from_mm"),
        ({"hidden_from_mm": float("nan")}, "hidden_from_mm"),
        ({"readings_alone": 0}, "readings_alone=0"),
        ({"read_minutes": 0}, "read_minutes=0"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        ManholeDisplacedSettings(**changes)
