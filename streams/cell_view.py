"""What a detector sees of the windows at one bucket end: the `CellView` that `judge` and `explain` get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from streams.lanes import FloatArray, IntArray, LaneUse, finish
from streams.slots import SlotArray, Slots
from streams.windows import WindowGroup
from topology.jit import kernel


class FeatureUse(NamedTuple):
    """A detector's feature: the shared lanes it reads, and over how long."""

    use: LaneUse
    window_ms: int

    def at(self, end_ms: int) -> tuple[LaneUse, int, int]:
        """The arguments that the window group's readers begin with."""
        return self.use, end_ms, self.window_ms


class WindowView:
    """The windows that end at `end_ms`, at `n` cells. Each feature is merged once, when it is first asked for."""

    def __init__(
        self,
        group: WindowGroup,
        slots: Slots,
        features: Mapping[str, FeatureUse],
        end_ms: int,
        index: SlotArray,
        state: FloatArray,
    ) -> None:
        self.end_ms = end_ms
        self.cells: IntArray = slots.cells[index]
        self.state = state
        self._group = group
        self._slots = slots
        self._features = features
        self._index = index
        self._seen: dict[tuple[str, str, int], FloatArray] = {}
        self._around: dict[int, SlotArray] = {}

    def __getitem__(self, name: str) -> FloatArray:
        return self._once("window", name, 0)

    def ring(self, name: str, rings: int) -> FloatArray:
        return self._once("ring", name, rings)

    def bucket(self, name: str, back: int) -> FloatArray:
        return self._once("bucket", name, back)

    def evidence(self, i: int, names: tuple[str, ...], rings: int) -> list[int]:
        """Pointers of the records behind the features of cell number `i` and its neighbours within `rings`."""
        slots = [int(self._index[i])]
        if rings:
            slots = self._slots.neighbours(self._index[i : i + 1], rings).reshape(-1).tolist()
        found: list[int] = []
        for name in names:
            found += self._group.evidence_of(*self._features[name].at(self.end_ms), slots)
        return list(dict.fromkeys(found))

    def _once(self, how: str, name: str, number: int) -> FloatArray:
        key = (how, name, number)
        value = self._seen.get(key)
        if value is None:
            value = self._seen[key] = self._compute(how, self._features[name], number)
            value.flags.writeable = False  # shared between calls: a detector must not change what the next one reads
        return value

    def _compute(self, how: str, feature: FeatureUse, number: int) -> FloatArray:
        group, width = self._group, self._group.plan.bucket_ms
        if how == "window":
            lanes = group.lanes_of(*feature.at(self.end_ms), self._index)
        elif how == "bucket":
            lanes = group.lanes_of(feature.use, self.end_ms - number * width, width, self._index)
        else:
            around = self._neighbours(number)
            unique, inverse = np.unique(around, return_inverse=True)
            lanes = group.lanes_of(*feature.at(self.end_ms), unique.astype(np.int32))
            lanes = group.merge_columns(feature.use, lanes[:, inverse.reshape(around.shape)])
        return finish(feature.use, lanes)

    def _neighbours(self, rings: int) -> SlotArray:
        if rings not in self._around:
            self._around[rings] = self._slots.neighbours(self._index, rings)
        return self._around[rings]


@kernel
def make_pointer(source: int, partition: int, offset: int) -> int:
    """A raw record as one sortable int64: source (4 bits), partition (15 bits), offset (44 bits)."""
    return (int(source) << 59) | ((int(partition) & 0x7FFF) << 44) | int(offset)


def pointer_parts(pointer: int) -> tuple[int, int, int]:
    """Back to (source, partition, offset)."""
    return pointer >> 59, (pointer >> 44) & 0x7FFF, pointer & ((1 << 44) - 1)
