"""The dictionaries of frames: which strings of a process-wide table a flush or frame uses, numbered for it alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.observation import OBSERVATION
from schemas.packed import codes_width
from streams import frame_kernels as kernels
from streams.strings import StringTable


class _Codes:
    """What it takes to see which codes of a process-wide string table are in use."""

    def __init__(self, table: StringTable) -> None:
        self._table = table
        self._stamp = 0
        self._seen = np.zeros(0, dtype=np.int64)
        self.number_of = np.zeros(1, dtype=np.int32)
        self._found = np.zeros(0, dtype=np.int32)

    def _collect(self, columns: Sequence[npt.NDArray[np.int32]]) -> tuple[npt.NDArray[np.int32], bool]:
        """The codes in these columns, rising, and whether any row has none (-1)."""
        table = self._table
        if len(table) > len(self._seen):
            room = max(64, 2 * len(table))
            self._seen = np.zeros(room, dtype=np.int64)
            self.number_of = np.zeros(room + 1, dtype=np.int32)
            self._found = np.zeros(room, dtype=np.int32)
        self._stamp += 1
        count, missing = 0, False
        for codes in columns:
            count, some_missing = kernels.collect_codes(codes, self._seen, self._stamp, self._found, count)
            missing |= some_missing
        return np.sort(self._found[:count]), missing


class Coder(_Codes):
    """Numbers the codes that are in use in a flush; its frames get a dictionary of these alone."""

    def __init__(self, table: StringTable) -> None:
        super().__init__(table)
        self._generation = table.generation
        self._dictionaries: dict[tuple[bytes, bool], pa.Array] = {}
        self.found = np.zeros(0, dtype=np.int32)
        self.width = 1
        self.dictionary = pa.array([], pa.utf8())

    def number(self, columns: Sequence[npt.NDArray[np.int32]]) -> None:
        """Number the codes in these columns: `number_of[code + 1]`; -1, if there, comes last and is a null."""
        self.found, missing = self._collect(columns)
        count = len(self.found)
        self.number_of[self.found + 1] = np.arange(count)
        self.number_of[0] = count
        self.width = codes_width(count + missing)
        self.dictionary = self._dictionary(missing)

    def _dictionary(self, missing: bool) -> pa.Array:
        table = self._table
        if table.generation != self._generation:
            self._generation = table.generation
            self._dictionaries.clear()
        key = self.found.tobytes(), missing
        dictionary = self._dictionaries.get(key)
        if dictionary is None:
            values = table.values
            words = [values[code] for code in self.found.tolist()]
            dictionary = pa.array([*words, None] if missing else words, pa.utf8())
            if len(self._dictionaries) >= 256:  # as many mixtures as one keeps seeing; then start anew
                self._dictionaries.clear()
            self._dictionaries[key] = dictionary
        return dictionary


class CityCoder(_Codes):
    """For the codes of a city's jurisdictions: hundreds or thousands, always the same, in a mixture of its own in every
    frame.

    To write all of 6,000 into each frame would make a small one (250 rows) four times as large; to choose those in use
    costs a frame 10 to 30 us, however long the list is.
    """

    def __init__(self, table: StringTable) -> None:
        super().__init__(table)
        self._all = pa.array([], pa.utf8())

    def array(self, codes: npt.NDArray[np.int32]) -> pa.DictionaryArray:
        """The column for `codes` (-1 is null), which are overwritten."""
        found, _ = self._collect([codes])
        bits = np.zeros((len(codes) + 7) // 8, dtype=np.uint8)
        missing = kernels.renumber(codes, found, self.number_of, bits)
        buffers = [pa.py_buffer(bits) if missing else None, pa.py_buffer(codes)]
        if len(self._all) != len(self._table):
            self._all = pa.array(self._table.values, pa.utf8())
        kind = OBSERVATION.field("jurisdiction").type
        return pa.DictionaryArray.from_buffers(kind, len(codes), buffers, self._all.take(pa.array(found)), missing)
