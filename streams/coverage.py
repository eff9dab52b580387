"""Which offsets of one raw partition have been seen: a set of closed intervals.

`locate` may send the same raw offsets twice (it was restarted before it could commit, or an old owner was slow to
leave), cut into other frames. Whoever reads frames keeps one `Coverage` per raw partition and drops rows whose offset
is in it. In the ordinary case it is a single interval, so adding and testing cost next to nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Self

import numpy as np
import numpy.typing as npt


class Coverage:
    """Sorted, disjoint, non-adjacent closed intervals of offsets."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in intervals:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Add the offsets `first..last`, both included. `last < first` adds nothing."""
        if last < first:
            return
        firsts, lasts = self._firsts, self._lasts
        # every interval that overlaps or touches [first, last] is merged into it
        start = bisect_left(lasts, first - 1)
        stop = bisect_right(firsts, last + 1)
        if start < stop:
            first = min(first, firsts[start])
            last = max(last, lasts[stop - 1])
        firsts[start:stop] = [first]
        lasts[start:stop] = [last]

    def covers(self, first: int, last: int) -> bool:
        """True when every offset of `first..last` is in the set (an empty range always is)."""
        if last < first:
            return True
        at = bisect_left(self._lasts, first)
        return at < len(self._firsts) and self._firsts[at] <= first and last <= self._lasts[at]

    def overlaps(self, first: int, last: int) -> bool:
        """True when at least one offset of `first..last` is in the set."""
        at = bisect_left(self._lasts, first)
        return last >= first and at < len(self._firsts) and self._firsts[at] <= last

    def mask(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """For each offset (int64[n], any order) whether it is in the set: bool[n]."""
        if not self._firsts:
            return np.zeros(len(offsets), dtype=np.bool_)
        at = np.searchsorted(np.asarray(self._lasts), offsets, side="left")
        inside: npt.NDArray[np.bool_] = at < len(self._firsts)
        firsts = np.asarray(self._firsts)
        inside[inside] = firsts[at[inside]] <= offsets[inside]
        return inside

    @property
    def last(self) -> int:
        """The greatest offset in the set; -1 when it is empty."""
        return self._lasts[-1] if self._lasts else -1

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """The intervals, ascending, in the form that `__init__` takes back."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def copy(self) -> Self:
        twin = type(self)()
        twin._firsts = self._firsts.copy()
        twin._lasts = self._lasts.copy()
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coverage) and self.intervals == other.intervals

    def __repr__(self) -> str:
        return f"Coverage({self.intervals!r})"
