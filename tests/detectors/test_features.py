"""Features: what is shared between detectors, and what cannot be declared."""

from dataclasses import replace
from typing import Any

import pytest

from detectors.features import Aggregate, Feature
from schemas.errors import SettingsError
from schemas.sources import Source

LEVEL = Feature(name="level", source=Source.READINGS, kind="water_level_mm", aggregate=Aggregate.MAX)


@pytest.mark.parametrize(
    "changes",
    [{"name": "depth"}, {"window_ms": 300_000}, {"evidence": False}, {"quantile": 0.9}],  # quantile of a maximum
)
def test_features_that_need_the_same_buckets_share_an_identity(changes: dict[str, Any]) -> None:
    assert replace(LEVEL, **changes).identity == LEVEL.identity


@pytest.mark.parametrize(
    "changes",
    [
        {"source": Source.TICKETS},
        {"kind": "rain_mm"},
        {"kind": None},
        {"aggregate": Aggregate.MEAN},
        {"bucket_ms": 30_000},
        {"confidence_at_least": 0.5},
        {"quality_at_most": 1},
        {"value_at_least": 0.0},
        {"value_below": 10.0},
    ],
)
def test_features_that_need_other_buckets_do_not(changes: dict[str, Any]) -> None:
    assert replace(LEVEL, **changes).identity != LEVEL.identity


def test_quantiles_differ_by_their_quantile() -> None:
    median = replace(LEVEL, aggregate=Aggregate.QUANTILE)
    assert median.identity != replace(median, quantile=0.9).identity


def test_only_counts_sums_and_distincts_are_zero_without_rows() -> None:
    assert {aggregate for aggregate in Aggregate if aggregate.zero_when_empty} == {
        Aggregate.COUNT,
        Aggregate.SUM,
        Aggregate.DISTINCT,
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "water level"}, "identifier"),
        ({"kind": ""}, "use None"),
        ({"window_ms": 90_000}, "multiple of bucket_ms"),
        ({"window_ms": 0}, "multiple of bucket_ms"),
        ({"bucket_ms": 7_000, "window_ms": 7_000}, "divide a day"),
        ({"confidence_at_least": 60.0}, "from 0 to 1"),
        ({"quality_at_most": 3}, "quality_at_most=3"),
        ({"value_at_least": 5.0, "value_below": 5.0}, "no value is"),
        ({"value_below": float("nan")}, "finite"),
        ({"quantile": 90.0}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_kept_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        replace(LEVEL, **changes)
