"""The contract battery over every built-in detector, with other settings too, and over detectors that break it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from detectors import BUILT_IN
from detectors.battery import CHECKS, name_of
from detectors.contract import CellView, Detector, Explanation, Verdict, Verdicts
from detectors.features import Aggregate, Feature
from detectors.loading import build_detectors, settings_from
from detectors.threshold import Threshold
from schemas.sources import Source

Check = Callable[[Detector[Any]], None]

VARIANTS = build_detectors(
    [
        {
            "name": "threshold",
            "as": "low_pressure",
            "settings": {
                "metric": "water_pressure_kpa",
                "comparison": "below",
                "aggregate": "quantile",
                "quantile": 0.1,
                "raise_at": [100, 50],
                "clear_at": 120,
                "lowest_severity": 3,
                "rings": 1,
            },
        },
        {
            "name": "threshold",
            "as": "many_tickets",
            "settings": {
                "metric": "noise",
                "source": "tickets",
                "aggregate": "count",
                "raise_at": [2],
                "clear_at": 1,
                "window_minutes": 30,
            },
        },
        {
            "name": "waterlogging",
            "as": "waterlogging_own_cell",
            "settings": {"confirm_rings": 0, "tickets_without_level": 1, "update": "always"},
        },
        {"name": "traffic_accident", "as": "accident_own_cell", "settings": {"confirm_rings": 0, "now_minutes": 1}},
    ]
)


def instances() -> list[Detector[Any]]:
    return [*(cls(settings_from(cls, cls.example, cls.name)) for cls in BUILT_IN), *VARIANTS]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("detector", instances(), ids=lambda detector: detector.name)
def test_every_detector_keeps_the_contract(detector: Detector[Any], check: Check) -> None:
    check(detector)


@dataclass(frozen=True)
class LevelSettings:
    raise_at: float = 50.0


class Honest(Detector[LevelSettings]):
    """Raises at a level. A detector of the smallest kind, and the start of those below that break the contract."""

    name = "honest"
    version = 1
    title_zh = "水位"
    title_en = "Level"
    category = "test"
    reasons = ("unknown", "low", "high")
    settings_type = LevelSettings

    @property
    def features(self) -> tuple[Feature, ...]:
        return (Feature(name="level", source=Source.READINGS, kind="level", aggregate=Aggregate.MAX),)

    def judge(self, view: CellView) -> Verdicts:
        result = Verdicts.unknown(len(view.cells))
        for mask, verdict, reason in (
            (view["level"] < self.settings.raise_at, Verdict.CLEAR, 1),
            (view["level"] >= self.settings.raise_at, Verdict.RAISE, 2),
        ):
            result.verdict[mask], result.reason[mask], result.confidence[mask] = verdict, reason, 0.5
        result.severity[result.verdict == Verdict.RAISE] = 1
        return result

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        level = float(view["level"][i])
        known = level if np.isfinite(level) else None
        return Explanation({"level": known}, {"raise_at": 50.0}, "水位情况。", "The level.", ("level",))


class Forgetful(Honest):
    """Takes missing data for a low level."""

    def judge(self, view: CellView) -> Verdicts:
        result = super().judge(view)
        result.verdict[np.isnan(view["level"])] = Verdict.HOLD
        return result


class Gossip(Honest):
    """Judges a cell by the mean of all cells."""

    def judge(self, view: CellView) -> Verdicts:
        result = super().judge(view)
        result.confidence[:] = 1 / (1 + np.nanmean(np.append(view["level"], 1.0)))
        return result


class Diary(Honest):
    """Keeps a count on itself."""

    calls = 0

    def judge(self, view: CellView) -> Verdicts:
        self.calls += 1
        return super().judge(view)


class Vandal(Honest):
    """Writes into the shared arrays."""

    def judge(self, view: CellView) -> Verdicts:
        view["level"].setflags(write=True)
        view["level"][:1] = 7.0
        return super().judge(view)


class Overreaching(Honest):
    """Looks at neighbours that it did not declare."""

    def judge(self, view: CellView) -> Verdicts:
        view.ring("level", 1)
        return super().judge(view)


class Mute(Honest):
    """Has no Chinese sentence."""

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        return Explanation({"level": 1.0}, {"raise_at": 50.0}, "Level.", "The level.", ("level",))


class Shouting(Honest):
    """Names a severity that does not exist."""

    def judge(self, view: CellView) -> Verdicts:
        result = super().judge(view)
        result.severity[result.verdict == Verdict.RAISE] = 9
        return result


class Undocumented(Honest):
    pass


def failures(detector: Detector[Any]) -> set[str]:
    failed = set()
    for check in CHECKS:
        try:
            check(detector)
        except (AssertionError, ValueError):
            failed.add(name_of(check))
    return failed


def test_the_battery_accepts_the_smallest_honest_detector() -> None:
    assert failures(Honest()) == set()


@pytest.mark.parametrize(
    ("detector", "caught_by"),
    [
        (Forgetful(), "missing_data_never_raises"),
        (Gossip(), "cells_do_not_influence_each_other"),
        (Diary(), "same_input_gives_same_verdicts"),
        (Vandal(), "input_is_unchanged"),
        (Overreaching(), "only_declared_data_are_read"),
        (Mute(), "each_raise_explains_itself"),
        (Shouting(), "verdicts_have_the_right_form"),
        (Undocumented(), "declarations_are_complete"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_battery_catches_a_detector_that_breaks_the_contract(detector: Detector[Any], caught_by: str) -> None:
    assert caught_by in failures(detector)


def test_an_instance_name_leaves_the_class_alone() -> None:
    low_pressure = VARIANTS[0]
    assert (low_pressure.name, Threshold.name) == ("low_pressure", "threshold")
