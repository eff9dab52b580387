"""Gas leak: tables of one cell's story, minute by minute."""

from typing import Any

import pytest

from detectors.gas_leak import GasLeak, GasLeakSettings
from detectors.testing import ArrayView, tell
from schemas.errors import SettingsError

RULE = GasLeak(GasLeakSettings(clear_after=2, lower_after=2, stale_after=3))

Minute = dict[str, float | None]
CLEAN: Minute = {"gas": 0.0}


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([{}], "-"),  # nothing known
        ([CLEAN], "-"),
        ([{"gas": 24.9}], "-"),  # below the first alarm, nobody smells it
        ([{"gas": 25.0, "alarms": 1}], "-"),  # one reading may be a puff
        ([{"gas": 25.0, "alarms": 2}], "raise 3 strong_sign"),
        ([{"gas": 50.0, "alarms": 2}], "raise 4 strong_sign"),  # the second alarm
        # a reading and a caller, who may stand next door
        ([{"gas": 25.0, "alarms": 1, "tickets near": 1}], "raise 3 signs_agree"),
        ([{"gas": 60.0, "alarms": 1, "tickets": 1}], "raise 4 signs_agree"),
        # a trace that people smell
        ([{"gas": 10.0, "tickets": 1}], "raise 2 signs_agree"),
        ([{"gas": 9.9, "tickets": 1}], "-"),
        # callers alone: one may smell the drain, two in one cell are believed
        ([{"tickets": 1}], "-"),
        ([{"tickets": 2}], "raise 2 strong_sign"),
        ([{"tickets": 1, "tickets near": 2}], "-"),  # one here and one next door: neither cell has two
        ([{"tickets": 2, "gas": 0.0}], "raise 2 strong_sign"),  # the detector may hang in the wrong corner
        # it rises at once, is lowered slowly, and clears when the air is clean for two minutes
        (
            [{"gas": 30.0, "alarms": 2}, {"gas": 55.0, "alarms": 3}, {"gas": 30.0, "alarms": 3}],
            "raise 3 strong_sign, update 4 strong_sign, -",
        ),
        (
            [{"gas": 30.0, "alarms": 2}, {"gas": 12.0}, {"gas": 9.0}, {"gas": 1.0}],
            "raise 3 strong_sign, -, -, clear 3 quiet",
        ),
        ([{"gas": 30.0, "alarms": 2}, {"gas": 10.0}, {"gas": 10.0}, {"gas": 10.0}], "raise 3 strong_sign, -, -, -"),
        # silence is no all-clear
        ([{"gas": 30.0, "alarms": 2}, {}, {}, {}], "raise 3 strong_sign, -, -, clear 3 no_data"),
    ],
)
def test_a_story_gives_these_changes(story: list[Minute], expected: str) -> None:
    assert ", ".join(tell(RULE, story)) == expected


@pytest.mark.parametrize(
    ("minute", "confidence"),
    [
        ({"gas": 30.0, "alarms": 2}, 0.7),
        ({"gas": 30.0, "alarms": 1, "tickets": 1}, 0.82),
        ({"gas": 12.0, "tickets": 1}, 0.64),
        ({"tickets": 2}, 0.64),
        ({"tickets": 9}, 1 - 0.6**3),  # later callers repeat the first
        (CLEAN, 0.7),  # that there is none
    ],
)
def test_more_signs_make_it_surer(minute: Minute, confidence: float) -> None:
    own = {name: value for name, value in minute.items() if value is not None}
    assert RULE.judge(ArrayView(RULE, 1, own)).confidence[0] == pytest.approx(confidence)


def test_the_sentence_says_how_much_gas_and_how_many_callers() -> None:
    view = ArrayView(RULE, 1, {"gas": 32.5, "alarms": 2, "tickets": 1})
    explanation = RULE.explain(view, 0, RULE.judge(view))
    assert explanation.sentence_zh == "疑似燃气泄漏（重大），近 10 分钟：可燃气体浓度 32.5 %LEL，1 件燃气异味工单。"
    assert explanation.sentence_en == "Likely gas leak (major): combustible gas 32.5 %LEL, 1 ticket within 10 min."


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trace_at": 25.0}, "must rise"),
        ({"severe_at": 120.0}, "at most 100"),
        ({"clear_below": 0.0}, "above 0"),
        ({"raise_at": float("inf")}, "finite"),
        ({"tickets_alone": 0}, "tickets_alone=0"),
        ({"readings_alone": 0}, "readings_alone=0"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        GasLeakSettings(**changes)
