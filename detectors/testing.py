"""For testing detectors, ours and yours: a view in memory, and one cell's story told bucket by bucket.

    def test_deep_water_with_a_caller_raises():
        assert tell(Waterlogging(), [{"level": 200, "tickets": 1}]) == ["raise 1 level_and_tickets"]

``detectors/battery.py`` checks the contract itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.contract import NO_DATA, Detector, Floats, Ints
from detectors.features import Feature
from detectors.hysteresis import ACTIONS, HysteresisState, step

FIRST_END_MS = 1_782_864_060_000
"""End of the first bucket of a story: 2026-07-01T00:01:00Z."""


class ArrayView:
    """A CellView over given arrays, read only, as strict as the real one.

    ``features`` maps a feature's name to its values over its window, float64[n]; features that are left out are empty
    (0 or NaN by their aggregate). ``rings`` gives the values merged with the neighbours, whatever the radius; by
    default those of the cell itself. ``buckets`` gives single buckets, float64[k, n], newest first; by default the
    newest holds the whole window's value and those before are empty. A feature that the detector does not declare is
    a KeyError, a ring or bucket beyond what it declares a ValueError.
    """

    def __init__(
        self,
        detector: Detector[Any],
        n: int,
        features: Mapping[str, npt.ArrayLike] | None = None,
        *,
        rings: Mapping[str, npt.ArrayLike] | None = None,
        buckets: Mapping[str, npt.ArrayLike] | None = None,
        state: npt.ArrayLike | None = None,
        cells: npt.ArrayLike | None = None,
        end_ms: int = FIRST_END_MS,
    ) -> None:
        self._declared = {feature.name: feature for feature in detector.features}
        self._reach = detector.rings
        for name in (*(features or {}), *(rings or {}), *(buckets or {})):
            self._check(name)
        self._features = {
            name: _frozen((features or {}).get(name, _empty(feature)), (n,)) for name, feature in self._declared.items()
        }
        self._rings = {name: _frozen(values, (n,)) for name, values in (rings or {}).items()}
        self._buckets = {
            name: _frozen(values, (self._declared[name].buckets, n)) for name, values in (buckets or {}).items()
        }
        self._state = _frozen(np.nan if state is None else state, (detector.state_lanes, n))
        self._cells: Ints = np.arange(n, dtype=np.int64) if cells is None else np.array(cells, dtype=np.int64)
        self._cells.flags.writeable = False
        self._end_ms = end_ms

    @property
    def end_ms(self) -> int:
        return self._end_ms

    @property
    def cells(self) -> Ints:
        return self._cells

    @property
    def state(self) -> Floats:
        return self._state

    def __getitem__(self, name: str) -> Floats:
        self._check(name)
        return self._features[name]

    def ring(self, name: str, rings: int) -> Floats:
        self._check(name)
        if not 0 <= rings <= self._reach:
            raise ValueError(f"ring({name!r}, {rings}): the detector declares rings={self._reach}")
        return self._rings.get(name, self._features[name]) if rings else self._features[name]

    def bucket(self, name: str, back: int) -> Floats:
        feature = self._check(name)
        if not 0 <= back < feature.buckets:
            raise ValueError(f"bucket({name!r}, {back}): the window has {feature.buckets} buckets")
        if name in self._buckets:
            values: Floats = self._buckets[name][back]
            return values
        return self._features[name] if back == 0 else _frozen(_empty(feature), self._features[name].shape)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays of the view by a name each, for comparing a view before and after."""
        return {
            "cells": self._cells,
            "state": self._state,
            **{f"feature {name}": values for name, values in self._features.items()},
            **{f"ring {name}": values for name, values in self._rings.items()},
            **{f"bucket {name}": values for name, values in self._buckets.items()},
        }

    def take(self, detector: Detector[Any], index: npt.NDArray[np.intp]) -> "ArrayView":
        """The view of only the cells ``index``, in that order."""
        return ArrayView(
            detector,
            len(index),
            {name: values[index] for name, values in self._features.items()},
            rings={name: values[index] for name, values in self._rings.items()},
            buckets={name: values[:, index] for name, values in self._buckets.items()},
            state=self._state[:, index],
            cells=self._cells[index],
            end_ms=self._end_ms,
        )

    def _check(self, name: str) -> Feature:
        if name not in self._declared:
            raise KeyError(f"no feature {name!r} declared; there are {', '.join(self._declared)}")
        return self._declared[name]


def tell(detector: Detector[Any], story: Iterable[Mapping[str, float | None]]) -> list[str]:
    """Run one cell through judge and hysteresis; what happened in each bucket.

    Each item of the story is one bucket: values by feature name, ``"tickets near"`` for the value with the neighbours
    (default: the cell's own), None or left out for no data. The answer has one string for each bucket: ``"-"``, or
    the action, the severity and the reason, such as ``"raise 2 level_and_camera"`` or ``"clear 2 no_data"``.
    """
    hysteresis = HysteresisState.of(1)
    lanes: Floats = np.full((detector.state_lanes, 1), np.nan)
    told: list[str] = []
    end_ms = FIRST_END_MS
    for values in story:
        own = {name: value for name, value in values.items() if value is not None and not name.endswith(" near")}
        near = {
            name.removesuffix(" near"): value
            for name, value in values.items()
            if value is not None and name.endswith(" near")
        }
        view = ArrayView(detector, 1, own, rings=near, state=lanes, end_ms=end_ms)
        verdicts = detector.judge(view)
        lanes = lanes if verdicts.state is None else verdicts.state
        change = step(
            hysteresis, np.zeros(1, np.int64), verdicts, end_ms, detector.hysteresis, bucket_ms=detector.bucket_ms
        )
        if len(change):
            reason = NO_DATA if change.no_data[0] else detector.reasons[verdicts.reason[0]]
            told.append(f"{ACTIONS[change.action[0]]} {change.severity[0]} {reason}")
        else:
            told.append("-")
        end_ms += detector.bucket_ms
    return told


def _empty(feature: Feature) -> float:
    return 0.0 if feature.aggregate.zero_when_empty else np.nan


def _frozen(values: npt.ArrayLike, shape: tuple[int, ...]) -> Floats:
    array: Floats = np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
    array.flags.writeable = False
    return array
