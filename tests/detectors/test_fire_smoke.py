"""Fire and smoke: tables of one cell's story, minute by minute."""

from typing import Any

import pytest

from detectors.fire_smoke import FireSmoke, FireSmokeSettings
from detectors.testing import ArrayView, tell
from schemas.errors import SettingsError

RULE = FireSmoke(FireSmokeSettings(clear_after=2, lower_after=2, stale_after=3))

Minute = dict[str, float | None]
CALM: Minute = {"smoke": 0.2, "heat": 24.0}
SMOKY: Minute = {"smoke": 5.0, "heat": 24.0}
HOT: Minute = {"smoke": 0.2, "heat": 58.0}


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([{}], "-"),  # nothing known
        ([CALM], "-"),
        # one kind alone
        ([SMOKY], "-"),  # steam
        ([{**CALM, "smoke": 4.9, "heat": 57.9, "tickets": 1}], "-"),  # neither level reached, a caller alone
        ([{"smoke_seen": 5}], "-"),  # a chimney, however often seen
        ([{"fire_seen": 1}], "-"),  # the sun in a window
        ([{"tickets": 3}], "-"),  # urgent tickets alert by themselves
        ([{"tickets near": 1, **SMOKY, "smoke_severe": 0}], "raise 2 signs_agree"),  # the caller stands next door
        # two kinds agree
        ([{"smoke": 5.0, "heat": 58.0}], "raise 2 signs_agree"),
        ([{**SMOKY, "smoke_seen": 1}], "raise 2 signs_agree"),
        ([{**HOT, "tickets": 1}], "raise 2 signs_agree"),
        ([{"smoke_seen": 1, "tickets": 1}], "raise 2 signs_agree"),
        ([{"smoke_seen": 1, "fire_seen": 1}], "-"),  # one camera, one witness
        # worse: three kinds; open fire or severe heat
        ([{**SMOKY, "smoke_seen": 1, "tickets": 1}], "raise 3 signs_agree"),
        ([{**SMOKY, "fire_seen": 1}], "raise 3 signs_agree"),
        ([{**SMOKY, "fire_seen": 1, "tickets": 1}], "raise 4 signs_agree"),
        ([{"smoke": 30.0, "heat": 80.0, "heat_severe": 1, "fire_seen": 1}], "raise 4 signs_agree"),
        # believed alone: severe and repeated
        ([{"smoke": 20.0, "smoke_severe": 1}], "-"),  # a test of the device
        ([{"smoke": 20.0, "smoke_severe": 2}], "raise 2 strong_sign"),
        ([{"heat": 80.0, "heat_severe": 1}], "-"),
        ([{"heat": 80.0, "heat_severe": 2}], "raise 3 strong_sign"),
        ([{"fire_seen": 2}], "raise 3 strong_sign"),
        # it gets worse at once, and clears when instruments read low for two minutes
        (
            [{**SMOKY, "smoke_seen": 1}, {**SMOKY, "fire_seen": 2, "tickets": 2}, SMOKY, CALM, CALM],
            "raise 2 signs_agree, update 4 signs_agree, -, -, clear 4 quiet",
        ),
        # between clearing and raising it lingers
        ([{**SMOKY, "smoke_seen": 1}, {"smoke": 2.0}, {"smoke": 2.0}, {"smoke": 2.0}], "raise 2 signs_agree, -, -, -"),
        # silence is no all-clear
        ([{**SMOKY, "smoke_seen": 1}, {}, {}, {}], "raise 2 signs_agree, -, -, clear 2 no_data"),
    ],
)
def test_a_story_gives_these_changes(story: list[Minute], expected: str) -> None:
    assert ", ".join(tell(RULE, story)) == expected


@pytest.mark.parametrize(
    ("minute", "confidence"),
    [
        (SMOKY, 0.6),
        ({**SMOKY, "smoke_seen": 1}, 0.8),
        ({**SMOKY, "smoke_seen": 9}, 0.9),  # the third picture shows the same
        ({"smoke": 9.0, "heat": 60.0, "tickets": 1}, 1 - 0.4 * 0.3 * 0.6),
        (CALM, 0.7),  # that there is none
        ({}, 0.0),
    ],
)
def test_more_kinds_make_it_surer(minute: Minute, confidence: float) -> None:
    own = {name: value for name, value in minute.items() if value is not None}
    assert RULE.judge(ArrayView(RULE, 1, own)).confidence[0] == pytest.approx(confidence)


@pytest.mark.parametrize(
    ("minute", "zh", "en"),
    [
        (
            {"smoke": 12.0, "heat": 61.0, "fire_seen": 1, "tickets": 2},
            "疑似火灾烟雾（特别重大），近 10 分钟：烟雾遮光率 12 %/m，温度 61 °C，1 次明火识别，2 件火警工单。",
            "Likely fire (extreme): smoke 12 %/m, temperature 61 °C, 1 fire detection, 2 tickets within 10 min.",
        ),
        (
            SMOKY,
            "火灾烟雾迹象尚存：烟雾遮光率 5 %/m，温度 24 °C。",
            "Signs of fire remain: smoke 5 %/m, temperature 24 °C.",
        ),
        (
            CALM,
            "近 10 分钟无火灾烟雾迹象，烟雾遮光率 0.2 %/m，温度 24 °C。",
            "No sign of fire within 10 min; smoke 0.2 %/m, temperature 24 °C.",
        ),
        ({}, "近 10 分钟无有效数据，无法判断火灾烟雾情况。", "No usable data within 10 min: fire cannot be judged."),
    ],
)  # fmt: skip
def test_the_sentences_say_what_an_operator_needs(minute: Minute, zh: str, en: str) -> None:
    view = ArrayView(RULE, 1, {name: value for name, value in minute.items() if value is not None})
    explanation = RULE.explain(view, 0, RULE.judge(view))
    assert (explanation.sentence_zh, explanation.sentence_en) == (zh, en)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"smoke_clear_below": 5.0}, "flap"),
        ({"heat_raise_at_c": 90.0}, "must rise"),
        ({"smoke_raise_at": float("nan")}, "finite"),
        ({"fires_alone": 0}, "fires_alone=0"),
        ({"confirm_minutes": 0}, "confirm_minutes=0"),
        ({"confirm_rings": -1}, "confirm_rings=-1"),
        ({"camera_confidence_at_least": 60.0}, "not percent"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        FireSmokeSettings(**changes)
