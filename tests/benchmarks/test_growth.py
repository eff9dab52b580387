"""The growth benchmark: answers are held to a batch computation, exponents are slopes, verdicts follow the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import growth_rules
from benchmarks.growth import exponent, points
from benchmarks.growth_memory import fill
from benchmarks.growth_page import section
from benchmarks.growth_point import Point, measure
from benchmarks.growth_rules import Change

SMALL = Point(cells=400, devices=800, period_s=20.0, records=20_000, rules=60, spike_every=20)


@pytest.mark.parametrize("registered", [False, True])
def test_a_small_city_is_answered_as_by_the_batch_computation(registered: bool) -> None:
    told = measure(replace(SMALL, registered=registered))
    assert told["wrong"] == ""
    assert told["alerts"] > 10
    assert told["cpu_us"]["total"] > 0


def test_a_wrong_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = growth_rules.batch_alerts
    more = Change("rule_0000", 1, 0, "raise", 0, 1, None)
    monkeypatch.setattr(growth_rules, "batch_alerts", lambda *given: right(*given) | {more})
    assert measure(SMALL)["wrong"] == "1 changes are missing, 0 should not be there"


def test_full_windows_are_answered_as_by_running_aggregates() -> None:
    told = fill(20_000, "tenths")
    assert told["wrong"] == "" and told["alerts"] > 0
    assert told["rows"] == 20_000 * 2 * 60


def test_an_exponent_is_the_slope_of_powers() -> None:
    sizes = [10, 100, 1000, 5000]
    assert exponent(sizes, [3 * size**0.5 for size in sizes]) == 0.5
    assert exponent(sizes, [7.0] * 4) == 0.0
    noisy = np.array(sizes) ** 1.0 * np.array([1.1, 0.9, 1.1, 0.9])
    assert 0.9 < exponent(sizes, noisy.tolist()) < 1.1


def test_every_curve_has_points_that_grow() -> None:
    for name in ("rules", "cells", "devices", "shards"):
        for some in points(name, quick=False).values():
            sizes = [size for size, _ in some]
            assert sizes == sorted(set(sizes)) and len(sizes) >= 3


def _line(*costs: float, memory: float = 0.0) -> dict[str, Any]:
    told = [
        {
            "size": size, "runs": 3, "spread_us": [cost, cost], "memory_mib": 10.0, "alerts": 0,
            "cpu_us": {"total": cost, "join": cost / 2, "snapshots": 0.0},
        }
        for size, cost in zip((1, 10, 100), costs, strict=True)
    ]  # fmt: skip
    slope = exponent([1, 10, 100], costs)
    return {"points": told, "cpu_exponent": slope, "memory_exponent": memory, "cpu_ratio": costs[-1] / costs[0]}


@pytest.mark.parametrize(
    ("result", "verdicts"),
    [
        ({"rules": {"lines": {"a": _line(1.0, 1.2, 1.9)}}}, ["met", "met"]),
        ({"rules": {"lines": {"a": _line(1.0, 1.5, 2.1)}}}, ["**missed**", "met"]),
        ({"cells": {"lines": {"a": _line(1.0, 1.0, 1.1)}}}, ["met"]),
        ({"cells": {"lines": {"a": _line(1.0, 2.0, 4.0)}}}, ["**missed**"]),  # as the square root, on top of linear
        ({"shards": {"lines": {"a": _line(1.0, 1.0, 1.0, memory=1.5)}}}, ["**missed**"]),
    ],
)
def test_verdicts_follow_the_figures(result: dict[str, Any], verdicts: list[str]) -> None:
    page = section(result)
    rows = [line for line in page.splitlines() if line.endswith((" met |", " **missed** |"))]
    assert [row.split(" | ")[-1].removesuffix(" |") for row in rows] == verdicts
