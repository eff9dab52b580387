"""What a detector sees of the windows at one bucket end: the `CellView` that `judge` and `explain` get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.tracks import FeatureUse, FloatArray, IntArray, finish
from streams.windows import WindowGroup
from topology.grid import neighbour_cells


class WindowedUse(NamedTuple):
    """A detector's feature: where it lies, and over how long it is read."""

    use: FeatureUse
    window_ms: int


class WindowView:
    """The windows that end at `end_ms`, at `n` cells. Each feature is merged once, when it is first asked for."""

    def __init__(
        self,
        group: WindowGroup,
        features: Mapping[str, WindowedUse],
        end_ms: int,
        cells: IntArray,
        state: FloatArray,
    ) -> None:
        self.end_ms = end_ms
        self.cells = cells
        self.state = state
        self._group = group
        self._features = features
        self._seen: dict[tuple[str, str, int], FloatArray] = {}
        self._around: dict[int, IntArray] = {0: cells.reshape(-1, 1)}

    def __getitem__(self, name: str) -> FloatArray:
        return self._once("window", name, 0)

    def ring(self, name: str, rings: int) -> FloatArray:
        return self._once("ring", name, rings)

    def bucket(self, name: str, back: int) -> FloatArray:
        return self._once("bucket", name, back)

    def evidence(self, i: int, names: tuple[str, ...], rings: int) -> list[int]:
        """Pointers of the records behind the features of cell number `i` and its neighbours within `rings`."""
        cells = self.cells[i : i + 1]
        if rings:
            cells = neighbour_cells(cells, rings).reshape(-1)
        return list(dict.fromkeys(self._group.evidence_of([self._features[name] for name in names], cells)))

    def _once(self, how: str, name: str, number: int) -> FloatArray:
        key = (how, name, number)
        value = self._seen.get(key)
        if value is None:
            value = self._seen[key] = self._compute(how, self._features[name], number)
            value.flags.writeable = False  # shared between calls: a detector must not change what the next one reads
        return value

    def _compute(self, how: str, feature: WindowedUse, number: int) -> FloatArray:
        group, use = self._group, feature.use
        if how == "bucket":
            width = group.plan.bucket_ms
            lanes = group.lanes_of(use, self.end_ms - number * width, width, self._around[0])
        else:
            if number not in self._around:
                self._around[number] = neighbour_cells(self.cells, number)
            lanes = group.lanes_of(use, self.end_ms, feature.window_ms, self._around[number])
        return finish(use, lanes)


def pointer_parts(pointer: int) -> tuple[int, int, int]:
    """The (source, partition, offset) of a pointer that streams.bucket_rows.make_pointer made."""
    return pointer >> 59, (pointer >> 44) & 0x7FFF, pointer & ((1 << 44) - 1)
