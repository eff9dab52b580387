"""What the registry of kinds knows of one source's metrics, events or categories, as arrays that a kernel can ask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from schemas.kinds import KindRegistry
from schemas.sources import Source
from streams.columns import NO_CODE
from streams.strings import StringTable


class KindTable:
    """The registry of kinds of one source, as arrays by kind code."""

    def __init__(self, source: Source, kinds: StringTable, units: StringTable, registry: KindRegistry) -> None:
        self._source = source
        self._kinds = kinds
        self._units = units
        self._registry = registry
        self._generation = (-1, -1)
        self._reset()

    def _reset(self) -> None:
        self.known = np.zeros(0, dtype=np.uint8)
        self.low = np.zeros(0, dtype=np.float64)
        self.high = np.zeros(0, dtype=np.float64)
        self.unit = np.zeros(0, dtype=np.int32)
        self.meant = np.zeros(0, dtype=np.int32)  # by unit code: the code of the unit that this spelling stands for

    def refreshed(self) -> KindTable:
        """This table, with an entry for each code there is by now."""
        generation = (self._kinds.generation, self._units.generation)
        if generation != self._generation:
            self._generation = generation
            self._reset()
        if len(self._kinds) > len(self.known):
            self._add_kinds(self._kinds.values[len(self.known) :])
        while len(self._units) > len(self.meant):  # adding what a spelling stands for may lengthen the table again
            spellings = self._units.values[len(self.meant) :]
            codes = [self._units.add(self._registry.unit_of(spelling)) for spelling in spellings]
            self.meant = np.append(self.meant, np.array(codes, dtype=np.int32))
        return self

    def _add_kinds(self, names: Sequence[str]) -> None:
        entries = [self._registry.find(self._source, name) for name in names]
        units = [None if entry is None else entry.unit for entry in entries]
        lows = [None if entry is None else entry.valid_min for entry in entries]
        highs = [None if entry is None else entry.valid_max for entry in entries]
        self.known = np.append(self.known, np.array([entry is not None for entry in entries], dtype=np.uint8))
        self.low = np.append(self.low, [-math.inf if low is None else low for low in lows])
        self.high = np.append(self.high, [math.inf if high is None else high for high in highs])
        codes = [NO_CODE if unit is None else self._units.add(unit) for unit in units]
        self.unit = np.append(self.unit, np.array(codes, dtype=np.int32))
