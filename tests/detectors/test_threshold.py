"""Threshold: tables of value sequences, as in Home Assistant's threshold tests, and its settings."""

from typing import Any

import pytest

from detectors.contract import Verdict
from detectors.features import Aggregate
from detectors.testing import ArrayView, tell
from detectors.threshold import Threshold, ThresholdSettings
from schemas.errors import SettingsError


def settings(**changes: Any) -> ThresholdSettings:
    given: dict[str, Any] = {"metric": "temperature_c", "raise_at": (35.0, 37.0, 40.0), "clear_at": 34.0}
    return ThresholdSettings(**(given | {"lower_after": 2, "clear_after": 2, "stale_after": 3} | changes))


HEAT = settings()
PRESSURE = settings(metric="water_pressure_kpa", comparison="below", raise_at=(100.0, 50.0), clear_at=120.0)
MANY = settings(raise_at=(10.0,), clear_at=5.0, aggregate=Aggregate.COUNT)


def story(values: list[float | None], samples: float = 5) -> list[dict[str, float | None]]:
    return [{"value": value, "samples": 0 if value is None else samples} for value in values]


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        # above: 35, 37, 40; clear below 34 for two buckets
        (HEAT, [34.9], "-"),  # under the first level
        (HEAT, [35.0], "raise 1"),  # on the level counts
        (HEAT, [36.999], "raise 1"),
        (HEAT, [37.0], "raise 2"),
        (HEAT, [55.0], "raise 3"),  # straight to the highest level reached
        (HEAT, [34.5], "-"),  # between clear and raise: never raises
        (HEAT, [35, 34.5, 34.0, 34.5], "raise 1, -, -, -"),  # between them an alert stays; 34.0 is not below 34.0
        (HEAT, [35, 33, 34.5, 33, 33], "raise 1, -, -, -, clear 1"),  # clearing must be consecutive
        (HEAT, [35, 33, 33, 35], "raise 1, -, clear 1, raise 1"),  # and a new alert may follow
        (HEAT, [35, 34.9, 35, 34.9, 35], "raise 1, -, -, -, -"),  # trembling around the level tells nothing
        (HEAT, [35, 37, 40], "raise 1, update 2, update 3"),  # worse at once
        (HEAT, [40, 35, 35], "raise 3, -, update 1"),  # better after two
        (HEAT, [40, 34.5, 34.5], "raise 3, -, update 1"),  # between clear and raise is the first level's severity
        (HEAT, [40, 37, 35], "raise 3, -, update 2"),  # down to the worst of the two
        (HEAT, [None], "-"),  # missing is not low
        (HEAT, [35, None, None, None], "raise 1, -, -, clear 1"),  # but ends an alert when it stays missing
        (HEAT, [35, None, None, 36, None], "raise 1, -, -, -, -"),  # any value starts that count anew
        # below: 100, 50; clear above 120
        (PRESSURE, [101], "-"),
        (PRESSURE, [100], "raise 1"),  # on the level counts
        (PRESSURE, [49], "raise 2"),
        (PRESSURE, [-5], "raise 2"),  # negative values are values
        (PRESSURE, [90, 110, 120, 121, 130], "raise 1, -, -, -, clear 1"),  # 120 is not above 120
        (PRESSURE, [None, None], "-, -"),  # a dead sensor is no low pressure
        # counts: nothing happened is a fact
        (MANY, [9], "-"),
        (MANY, [10, 5, 4, None], "raise 1, -, -, clear 1"),  # no rows at all is a count of 0, and clears
    ],
)
def test_a_sequence_of_values_gives_these_changes(
    rule: ThresholdSettings, values: list[float | None], expected: str
) -> None:
    steps = story(values)
    if rule is MANY:
        steps = [{"value": value} for value in values]
    told = tell(Threshold(rule), steps)
    assert ", ".join(" ".join(change.split()[:2]) for change in told) == expected


def test_missing_data_clears_with_the_reason_no_data() -> None:
    assert tell(Threshold(HEAT), story([35, None, None, None]))[-1] == "clear 1 no_data"


def test_too_few_samples_are_unknown() -> None:
    detector = Threshold(settings(min_samples=3))
    assert tell(detector, story([50], samples=2)) == ["-"]
    assert detector.judge(ArrayView(detector, 1, {"value": 50, "samples": 2})).verdict[0] == Verdict.UNKNOWN
    assert tell(detector, story([50], samples=3)) == ["raise 3 level_reached"]


def test_rings_read_the_neighbours() -> None:
    detector = Threshold(settings(rings=1))
    assert detector.rings == 1
    assert tell(detector, [{"value near": 36, "samples near": 2}]) == ["raise 1 level_reached"]


def test_four_levels_and_a_higher_first_severity() -> None:
    four = settings(raise_at=(1.0, 2.0, 3.0, 4.0), clear_at=0.5)
    assert [tell(Threshold(four), story([v]))[0].split()[1] for v in (1, 2, 3, 4, 9)] == ["1", "2", "3", "4", "4"]
    grave = settings(raise_at=(1.0, 2.0), clear_at=0.5, lowest_severity=3)
    assert tell(Threshold(grave), story([1, 2])) == ["raise 3 level_reached", "update 4 level_reached"]


def test_more_samples_make_it_surer() -> None:
    detector = Threshold(HEAT)
    confidence = detector.judge(ArrayView(detector, 3, {"value": 36, "samples": [1, 3, 9]})).confidence
    assert confidence.tolist() == pytest.approx([0.5, 0.75, 0.9])


def test_the_sentences_say_value_level_and_unit() -> None:
    detector = Threshold(settings(window_minutes=5))  # a known metric: its words and unit come from the registry
    view = ArrayView(detector, 1, {"value": 37.25, "samples": 4})
    explanation = detector.explain(view, 0, detector.judge(view))
    assert explanation.sentence_zh == "气温近 5 分钟均值为 37.2 °C（4 个样本），达到或高于“较大”阈值 37 °C。"
    assert explanation.sentence_en == (
        "Air temperature: mean of 5 min is 37.2 °C (4 samples), at or above the moderate level of 37 °C."
    )
    assert explanation.values == {"value": 37.25, "samples": 4.0}
    assert explanation.thresholds["raise_at_2"] == 37.0


def test_words_and_unit_are_the_settings_then_the_registrys_then_the_metrics_own() -> None:
    def sentence(**changes: Any) -> str:
        detector = Threshold(settings(**changes))
        view = ArrayView(detector, 1, {"value": 50})
        return detector.explain(view, 0, detector.judge(view)).sentence_en

    assert sentence(aggregate=Aggregate.COUNT).startswith("Air temperature: count of 1 min is 50 (")  # no degrees
    assert sentence(metric="tide", unit="m", aggregate=Aggregate.SUM).startswith("Tide: sum of 1 min is 50 m (")
    assert sentence(label_en="Heat", unit="K", aggregate=Aggregate.SUM).startswith("Heat: sum of 1 min is 50 K (")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clear_at": 35.0}, "would flap"),  # no gap
        ({"clear_at": 36.0}, "would flap"),
        ({"comparison": "below"}, "must fall"),  # rising levels for a falling value
        ({"raise_at": ()}, "one to four levels"),
        ({"raise_at": (35.0, 35.0)}, "must rise"),
        ({"raise_at": (1.0, 2.0, 3.0, 4.0, 5.0), "clear_at": 0.0}, "severities 1 to 4"),
        ({"lowest_severity": 3}, "severities 1 to 4"),  # three levels from 3 end at 5
        ({"lowest_severity": 0}, "severities 1 to 4"),
        ({"raise_at": (float("nan"),)}, "finite"),
        ({"clear_at": float("-inf")}, "finite"),
        ({"min_samples": 0}, "says nothing"),  # a mean of nothing
        ({"metric": ""}, "metric is empty"),
        ({"window_minutes": 0}, "window_minutes=0"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        settings(**changes)


def test_all_problems_of_the_settings_are_told_together() -> None:
    with pytest.raises(SettingsError) as caught:
        settings(metric="", clear_at=99.0, rings=-1)
    assert len(caught.value.problems) == 3
