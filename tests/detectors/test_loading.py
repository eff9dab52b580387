"""Loading: detectors from the list, entry points and configuration, with every problem named at once."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from detectors import BUILT_IN
from detectors.contract import NO_DATA, CellView, Detector, Explanation, Verdicts
from detectors.features import Aggregate, Feature
from detectors.loading import GROUP, build_detectors, check_class, check_classes, check_instance
from detectors.threshold import Threshold
from detectors.waterlogging import Waterlogging
from schemas.errors import SettingsError
from schemas.sources import Source

HEAT = {"metric": "temperature_c", "raise_at": [35, 37.5], "clear_at": 34}


def problems_of(config: Any, **arguments: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        build_detectors(config, **({"installed": []} | arguments))
    return caught.value.problems


def test_the_built_in_list_has_no_problem() -> None:
    assert check_classes(BUILT_IN) == []


def test_detectors_come_in_the_order_of_the_configuration_with_their_settings() -> None:
    built = build_detectors(
        [
            {"name": "waterlogging", "settings": {"raise_at_mm": 200, "severity_from_mm": [270, 400, 600]}},
            {"name": "threshold", "as": "heat_stress", "settings": HEAT},
            {"name": "threshold", "as": "frost", "settings": HEAT | {"comparison": "below", "raise_at": [0]}},
        ]
    )
    assert [detector.name for detector in built] == ["waterlogging", "heat_stress", "frost"]
    assert built[0].settings.raise_at_mm == 200.0
    assert built[1].settings.raise_at == (35.0, 37.5)


def test_no_configuration_is_no_detector() -> None:
    assert build_detectors([]) == ()


def test_all_problems_are_told_together() -> None:
    problems = problems_of(
        [
            {"name": "waterloging"},
            {"name": "threshold", "settings": {"mtric": "x", "raise_at": "high"}},
            {"name": "waterlogging", "settings": {"raise_at_mm": 10, "severe_readings": 0}},
            {"name": "traffic_accident"},
            {"name": "traffic_accident"},
            {"nam": "threshold"},
            "waterlogging",
            {"name": "waterlogging", "as": "Water-Logging"},
            {"name": "threshold", "settings": [1]},
        ]
    )
    for expected in (
        "detectors[0] (waterloging): no detector 'waterloging'; did you mean 'waterlogging'?",
        "detectors[1] (threshold): no setting 'mtric'; did you mean 'metric'?",
        "detectors[1] (threshold): raise_at='high': expected `array`, got `str`",
        "detectors[2] (waterlogging): waterlogging: severe_readings=0 must be at least 1",
        "detectors[5]: no key 'nam'; did you mean 'name'?",
    ):
        assert expected in problems
    text = "\n".join(problems)
    for part in (
        "detectors[1] (threshold): metric, clear_at must be given",
        "clear_below_mm=100.0 must be below raise_at_mm=10.0",
        "2 are named 'traffic_accident'",
        "detectors[5]: name must be",
        "detectors[6]: expected {name:",
        "as='Water-Logging' must be lower-case",
        "detectors[8]: settings must be a table",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"raise_at_mm": "200"}, "expected `float`, got `str`"),  # numbers as strings are refused, as in records
        ({"level_minutes": 2.5}, "expected `int`, got `float`"),
        ({"level_minutes": True}, "expected `int`, got `bool`"),
        ({"severity_from_mm": [1, 2]}, "length 3"),
        ({"update": "never"}, "invalid enum value 'never'"),
        ({"clear_after": 0}, "clear_after=0 must be from 1"),  # the hysteresis is checked with the settings
        ({"confirm_rings": 99}, "rings=99 must be from 0"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(settings: dict[str, object], says: str) -> None:
    (problem,) = problems_of([{"name": "waterlogging", "settings": settings}])
    assert says in problem


@dataclass(frozen=True)
class NoSettings:
    pass


class Plain(Detector[NoSettings]):
    """A complete detector, of which each case below takes something away."""

    name = "plain"
    version = 1
    title_zh = "样例"
    title_en = "Plain"
    category = "test"
    reasons = ("unknown",)
    settings_type = NoSettings
    declared: Any = (Feature(name="level", source=Source.READINGS, kind="level", aggregate=Aggregate.MAX),)

    @property
    def features(self) -> tuple[Feature, ...]:
        return self.declared  # type: ignore[no-any-return]  # the cases declare nonsense on purpose

    def judge(self, view: CellView) -> Verdicts:
        return Verdicts.unknown(len(view.cells))

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        return Explanation({}, {}, "无。", "None.", ())


def broken(**attributes: Any) -> type[Detector[Any]]:
    return type("Broken", (Plain,), {"__doc__": "A detector with one fault.", **attributes})


LEVEL = Plain.declared[0]


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (Waterlogging(), "not a class derived from Detector"),  # an instance in the list
        ("detectors.waterlogging", "does the entry point name the module"),
        (broken(name="Water-Logging"), "alert ids contain it"),
        (broken(version=0), "version=0"),
        (broken(version="1.2"), "version='1.2'"),
        (broken(title_zh=""), "title_zh is missing"),
        (broken(category=None), "category is missing"),
        (broken(__doc__=None), "no docstring"),
        (broken(reasons=("high")), "lose its comma"),
        (broken(reasons=("high", "high")), "differ from each other"),
        (broken(reasons=("low", NO_DATA)), "the join's own"),
        (broken(settings_type=dict), "must be the dataclass"),
        (broken(settings_type=dataclass(type("Loose", (), {}))), "frozen dataclass"),
        (broken(state_lanes=-1), "state_lanes=-1"),
        (broken(example={"levels": 1}), "no setting 'levels'"),
        (broken(declared=()), "at least one Feature"),
        (broken(declared=LEVEL), "lose its comma"),
        (broken(declared=(LEVEL, LEVEL)), "2 features are named 'level'"),
        (
            broken(declared=(LEVEL, Feature(name="b", source=LEVEL.source, kind="level", aggregate=Aggregate.MAX))),
            "was a line copied",
        ),
        (
            broken(
                declared=(
                    LEVEL,
                    Feature(
                        name="b",
                        source=LEVEL.source,
                        kind=None,
                        aggregate=Aggregate.MAX,
                        bucket_ms=1000,
                        window_ms=1000,
                    ),
                )
            ),
            "share one bucket",
        ),
        (broken(rings=property(lambda _: 99)), "rings=99"),
    ],
)
def test_a_class_with_a_fault_is_told_with_its_likely_cause(cls: object, says: str) -> None:
    problems = check_class(cls)
    assert any(says in problem for problem in problems), problems


def test_a_complete_class_has_no_problem() -> None:
    assert check_class(Plain) == []
    assert check_instance(Plain()) == []


def test_abstract_methods_are_named() -> None:
    half = type("Half", (Detector,), {"__doc__": "Half a detector."})
    assert any("does not define explain, features, judge" in problem for problem in check_class(half))


def test_two_classes_with_one_name_are_refused() -> None:
    assert any("was a file copied" in problem for problem in check_classes([Plain, broken()]))


def test_problems_of_the_list_are_told_with_those_of_the_configuration() -> None:
    problems = problems_of([{"name": "plian"}], built_in=(Plain, broken(version=0)))
    assert len(problems) == 3


THIRD_PARTY = '''
"""Somebody else's detector."""
from detectors.waterlogging import Waterlogging

class Snow(Waterlogging):
    """Snow instead of water."""
    name = "snow"
'''


def test_an_installed_detector_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snow_of_somebody.py").write_text(THIRD_PARTY)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("snow", "snow_of_somebody:Snow", GROUP)
    (snow,) = build_detectors([{"name": "snow", "settings": {"raise_at_mm": 180}}], installed=[point])
    assert (snow.name, snow.settings.raise_at_mm) == ("snow", 180.0)

    wrong = EntryPoint("snowfall", "snow_of_somebody:Snow", GROUP)
    assert "make them the same" in problems_of([{"name": "snowfall"}], installed=[wrong])[0]


def test_an_installed_detector_that_is_not_configured_is_not_imported() -> None:
    broken_point = EntryPoint("broken", "no_such_module:Detector", GROUP)
    assert len(build_detectors([{"name": "waterlogging"}], installed=[broken_point])) == 1


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([("other", "no_such_module:Detector")], "cannot be imported: ModuleNotFoundError"),
        ([("other", "detectors.threshold:Nothing")], "cannot be imported: AttributeError"),
        ([("other", "detectors.threshold")], "not a class derived from Detector"),
        ([("other", "detectors.threshold:Threshold"), ("other", "detectors.waterlogging:Waterlogging")], "all but one"),
        ([("waterlogging", "detectors.threshold:Threshold"), ("other", "a:b")], "has that name already"),
    ],
)
def test_a_broken_installation_is_explained(points: list[tuple[str, str]], says: str) -> None:
    installed = [EntryPoint(name, value, GROUP) for name, value in points]
    assert any(says in problem for problem in problems_of([{"name": "other"}], installed=installed))


def test_one_detector_used_twice_keeps_its_class_and_has_two_names() -> None:
    first, second = build_detectors(
        [{"name": "threshold", "settings": HEAT}, {"name": "threshold", "as": "b", "settings": HEAT}]
    )
    assert isinstance(first, Threshold)
    assert isinstance(second, Threshold)
    assert (first.name, second.name) == ("threshold", "b")
