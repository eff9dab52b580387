"""Waterlogging: tables of one cell's story, minute by minute, and what its sentences say."""

from typing import Any

import numpy as np
import pytest

from detectors.features import Aggregate
from detectors.testing import ArrayView, tell
from detectors.waterlogging import Waterlogging, WaterloggingSettings
from schemas.errors import SettingsError

RULE = Waterlogging(WaterloggingSettings(clear_after=2, lower_after=2, stale_after=3))

Minute = dict[str, float | None]
CAMERA: Minute = {"camera": 1}
CALLER_NEXT_DOOR: Minute = {"tickets near": 1}


def at(level: float | None, *witnesses: Minute) -> Minute:
    """A minute with this level (mm) and these witnesses within the confirm window."""
    severe = 2.0 if level is not None and level >= 400 else 0.0
    minute: Minute = {"level": level, "severe": severe}
    for witness in witnesses:
        minute |= witness
    return minute


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([at(None)], "-"),  # nothing known
        ([at(20)], "-"),  # a wet street
        ([at(149.9, CAMERA, {"tickets": 3})], "-"),  # a known level below 150 outweighs all witnesses
        ([at(150)], "-"),  # high, but a leaf on the sensor looks the same
        ([at(150, CAMERA)], "raise 1 level_and_camera"),  # on the level counts
        ([at(150, CALLER_NEXT_DOOR)], "raise 1 level_and_tickets"),  # callers are often off by a block
        ([at(150, {"camera near": 1})], "raise 1 level_and_camera"),  # and a camera looks into the next cell
        ([at(150, CAMERA, CALLER_NEXT_DOOR)], "raise 1 level_camera_and_tickets"),
        ([at(150), at(150, CAMERA)], "-, raise 1 level_and_camera"),  # the picture comes later
        # severity by level
        ([at(269, CAMERA)], "raise 1 level_and_camera"),
        ([at(270, CAMERA)], "raise 2 level_and_camera"),
        ([at(400, CAMERA)], "raise 3 level_and_camera"),
        ([at(600, CAMERA)], "raise 4 level_and_camera"),
        ([at(200, CAMERA), at(650, CAMERA)], "raise 1 level_and_camera, update 4 level_and_camera"),
        # a severe level is believed alone, if read twice
        ([at(399)], "-"),
        ([at(400)], "raise 3 severe_level"),
        ([at(400) | {"severe": 1}], "-"),  # once may be a splash
        # without a sensor: the cell's own camera and two tickets
        ([at(None, CAMERA)], "-"),
        ([at(None, {"tickets near": 5})], "-"),  # callers alone go to the hotline's own detectors
        ([at(None, CAMERA, CALLER_NEXT_DOOR)], "-"),
        ([at(None, CAMERA, {"tickets near": 2})], "raise 1 camera_and_tickets"),
        ([at(None, {"camera near": 1, "tickets": 2})], "-"),  # the neighbour's camera raises the neighbour
        ([at(50, CAMERA, {"tickets near": 2})], "-"),  # a dry sensor is a sensor
        # hysteresis: clears below 100 for two minutes
        (
            [at(150, CAMERA), at(150), at(150), at(150)],
            "raise 1 level_and_camera, -, -, -",
        ),  # witnesses leave, water stays
        ([at(150, CAMERA), at(100), at(100), at(100)], "raise 1 level_and_camera, -, -, -"),  # 100 is not below 100
        ([at(150, CAMERA), at(99), at(99)], "raise 1 level_and_camera, -, clear 1 level_low"),
        ([at(150, CAMERA), at(99), at(120), at(99), at(99)], "raise 1 level_and_camera, -, -, -, clear 1 level_low"),
        ([at(150, CAMERA), at(99), at(None), at(99)], "raise 1 level_and_camera, -, -, clear 1 level_low"),  # a gap
        ([at(600, CAMERA), at(120), at(120)], "raise 4 level_and_camera, -, update 1 level_between"),  # falling water
        # missing data is unknown, never low
        ([at(150, CAMERA), at(None), at(None)], "raise 1 level_and_camera, -, -"),
        ([at(150, CAMERA), at(None), at(None), at(None)], "raise 1 level_and_camera, -, -, clear 1 no_data"),
        (
            [at(150, CAMERA), at(None), at(None), at(None, CAMERA), at(None)],
            "raise 1 level_and_camera, -, -, -, -",  # the sensor drowned, the camera still sees water
        ),
    ],
)
def test_a_story_gives_these_changes(story: list[Minute], expected: str) -> None:
    assert ", ".join(tell(RULE, story)) == expected


@pytest.mark.parametrize(
    ("minute", "confidence"),
    [
        (at(200, CAMERA), 0.88),
        (at(200, {"tickets": 1}), 0.82),
        (at(200, CAMERA, {"tickets": 1}), 0.928),
        (at(200, CAMERA, {"tickets": 3}), 0.97408),
        (at(200, CAMERA, {"tickets": 300}), 0.97408),  # the fourth caller repeats the first three
        (at(450), 0.7),
        (at(None, CAMERA, {"tickets": 2}), 0.6),  # never surer than this without a level
        (at(20, CAMERA, {"tickets": 2}), 0.7),  # how sure it is that there is no water
        (at(None), 0.0),
    ],
)
def test_more_witnesses_make_it_surer(minute: Minute, confidence: float) -> None:
    view = ArrayView(RULE, 1, {name: value for name, value in minute.items() if value is not None})
    assert RULE.judge(view).confidence[0] == pytest.approx(confidence)


def test_low_quality_readings_and_unsure_pictures_are_not_read_at_all() -> None:
    features = {feature.name: feature for feature in RULE.features}
    assert features["level"].quality_at_most == 0
    assert features["level"].aggregate is Aggregate.MAX
    assert features["camera"].confidence_at_least == 0.6
    assert features["severe"].value_at_least == RULE.settings.severe_at_mm


@pytest.mark.parametrize(
    ("minute", "zh", "en"),
    [
        (
            at(182, {"camera": 1, "tickets": 2}),
            "积水深 182 毫米，达到报警值 150 毫米，属一般；"
            "近 5 分钟本格及周边有 1 次摄像头积水识别、2 件积水工单印证。",
            "Water is 182 mm deep, at or above 150 mm (minor), confirmed by 1 camera detection and 2 tickets here or "
            "next to it within 5 min.",
        ),
        (
            at(612.4),
            "积水深 612.4 毫米，读数多次达到 400 毫米，属特别重大；暂无摄像头或工单印证，请立即核实。",
            "Water is 612.4 mm deep (extreme); repeated readings at or above 400 mm, not yet confirmed by camera or "
            "caller: check at once.",
        ),
        (
            at(80),
            "积水已退至 80 毫米，低于解除值 100 毫米。",
            "Water is down to 80 mm, below the clearing level of 100 mm.",
        ),
        (
            at(None, {"camera": 1, "tickets": 2}),
            "无水位数据，但近 5 分钟有 1 次摄像头积水识别、2 件积水工单，疑似积水，请核实。",
            "No water level here, but 1 camera detection and 2 tickets within 5 min suggest waterlogging: "
            "please check.",
        ),
    ],
)
def test_the_sentences_say_what_an_operator_needs(minute: Minute, zh: str, en: str) -> None:
    view = ArrayView(RULE, 1, {name: value for name, value in minute.items() if value is not None})
    explanation = RULE.explain(view, 0, RULE.judge(view))
    assert (explanation.sentence_zh, explanation.sentence_en) == (zh, en)


def test_quiet_cells_never_ask_for_their_neighbours() -> None:
    class NoRings(ArrayView):
        def ring(self, name: str, rings: int) -> Any:
            raise AssertionError("the quiet path must not pay for neighbours")

    RULE.judge(NoRings(RULE, 4, {"level": [np.nan, 0.0, 99.0, 149.0]}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clear_below_mm": 150.0}, "would flap"),
        ({"severity_from_mm": (270.0, 200.0, 600.0)}, "must rise"),
        ({"severity_from_mm": (100.0, 200.0, 600.0)}, "above raise_at_mm"),
        ({"severe_at_mm": 40.0}, "same unit"),  # centimetres among millimetres
        ({"raise_at_mm": float("nan")}, "finite"),
        ({"confirm_rings": -1}, "confirm_rings=-1"),
        ({"camera_confidence_at_least": 60.0}, "not percent"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        WaterloggingSettings(**changes)
