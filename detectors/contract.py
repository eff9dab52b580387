"""The contract between the join and a detector.

The join keeps features per cell (``features.py``), and each time the shard's watermark passes the end of a bucket it
hands every detector a ``CellView`` of all active cells. The detector answers with ``Verdicts``, arrays over those
cells. Hysteresis (``hysteresis.py``) turns verdicts into raise, update and clear; only for those few cells the join
asks ``explain``.

To write a detector: one file with a frozen settings dataclass and a ``Detector`` subclass, one line in
``detectors.BUILT_IN`` (or one entry point in the group ``tongguan.detectors``), one table of cases in the tests. The
battery in ``detectors/battery.py`` then checks everything that this file promises in prose.

Severity runs from 1 to 4, 4 worst: the four levels of Chinese emergency plans, 一般, 较大, 重大, 特别重大.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from detectors.features import Feature
from schemas.errors import SettingsError

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_SEVERITY = 4
NO_DATA = "no_data"
"""Reason of an alert that was cleared because its cell could not be judged for too long."""
RETIRED = "retired"
"""Reason of an alert that was cleared because its detector, in that version, is not configured any more."""
OWN_REASONS = (NO_DATA, RETIRED)

S = TypeVar("S")


class Verdict(IntEnum):
    """What one bucket says about one cell. Missing data is UNKNOWN, never CLEAR: silence is not "all is well"."""

    UNKNOWN = -1
    CLEAR = 0
    HOLD = 1  # not enough to raise, too much to clear: a standing alert stays
    RAISE = 2


@dataclass(slots=True)
class Verdicts:
    """The verdicts over the ``n`` cells of a view.

    ``severity`` is 1..4 where the verdict is RAISE. Where it is HOLD it is what a standing alert deserves now
    (it can then be lowered), or 0 to leave the alert's severity alone. Elsewhere it is 0. ``confidence`` is in [0, 1].
    ``reason`` indexes the detector's ``reasons``. ``state`` replaces the detector's lanes; ``None`` leaves them.
    """

    verdict: npt.NDArray[np.int8]
    severity: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    reason: npt.NDArray[np.uint8]
    state: Floats | None = None

    @classmethod
    def unknown(cls, n: int) -> "Verdicts":
        """``n`` verdicts UNKNOWN with reason 0, a start for ``judge`` to write into."""
        return cls(
            verdict=np.full(n, Verdict.UNKNOWN, dtype=np.int8),
            severity=np.zeros(n, dtype=np.uint8),
            confidence=np.zeros(n, dtype=np.float32),
            reason=np.zeros(n, dtype=np.uint8),
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one cell got its verdict, for people.

    ``values`` are the measured numbers (None where nothing was measured) and ``thresholds`` those that they were
    compared with; for a RAISE both are complete. The sentences state the facts, not the place: the join adds that.
    ``evidence_features`` name the features whose rows are the evidence.
    """

    values: dict[str, float | None]
    thresholds: dict[str, float]
    sentence_zh: str
    sentence_en: str
    evidence_features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hysteresis:
    """How slowly a detector changes its mind, counted in buckets that could be judged.

    ``raise_after`` consecutive RAISE raise the alert; ``lower_after`` consecutive weaker verdicts lower its severity
    (a rise is told at once); ``clear_after`` consecutive CLEAR clear it. UNKNOWN neither feeds nor breaks these
    counts, but ``stale_after`` consecutive UNKNOWN clear the alert with reason ``no_data``. ``update`` says when a
    standing alert is told again: on a "change" of severity, or "always", in every bucket whose verdict is RAISE.
    """

    raise_after: int = 1
    lower_after: int = 3
    clear_after: int = 3
    stale_after: int = 30
    update: Literal["change", "always"] = "change"

    MAX_BUCKETS: ClassVar[int] = 30_000  # the counters are int16

    def __post_init__(self) -> None:
        problems = [
            f"hysteresis: {field}={value} must be from 1 to {self.MAX_BUCKETS} buckets"
            for field, value in (
                ("raise_after", self.raise_after),
                ("lower_after", self.lower_after),
                ("clear_after", self.clear_after),
                ("stale_after", self.stale_after),
            )
            if not 1 <= value <= self.MAX_BUCKETS
        ]
        if self.update not in ("change", "always"):
            problems.append(f"hysteresis: update={self.update!r} must be 'change' or 'always'")
        if problems:
            raise SettingsError(problems)

    @property
    def always(self) -> bool:
        return self.update == "always"

    def at(self, position: Ints) -> "Hysteresis":
        """The same for every slot; see `detectors.hysteresis.Pace`."""
        return self


@dataclass(frozen=True, slots=True)
class Screen:
    """A bound that a feature must have reached in a cell before that cell can be raised there.

    ``above``: the value is at least ``bound``; otherwise it is at most ``bound``. A cell without data never reaches a
    bound. ``rings`` other than 0 only in a detector that is judged in bulk.
    """

    feature: str
    bound: float
    above: bool = True
    rings: int = 0


class Bulk(Protocol):
    """Many detectors of one class, judged as one: pairs of a detector and a cell, whatever their number."""

    def judge(self, which: Ints, read: Callable[[str], Floats]) -> Verdicts:
        """The verdicts of n pairs; ``which`` int64[n] says whose settings count, by its number in the bulk.

        ``read(name)`` gives each pair its own detector's feature of that name at its cell, float64[n], merged over that
        detector's ``rings``. The verdict must be the one that the detector's own ``judge`` gives, and depend on
        nothing else.
        """
        ...


class CellView(Protocol):
    """What a detector may read about the ``n`` active cells of a shard at the end of one bucket. Read only.

    All arrays run over the same cells in the same order. Asking for a feature that the detector did not declare
    raises ``KeyError``. Arrays may be shared with other detectors: never write into them. A view remembers what it was
    asked, so ``explain`` may ask for a whole array again to read one cell of it.
    """

    @property
    def end_ms(self) -> int:
        """End of the judged bucket, exclusive, epoch milliseconds."""
        ...

    @property
    def cells(self) -> Ints:
        """Cell ids, int64[n]."""
        ...

    @property
    def state(self) -> Floats:
        """The detector's own lanes, float64[state_lanes, n]; NaN in a cell that is new."""
        ...

    def __getitem__(self, name: str) -> Floats:
        """The feature over its whole window, float64[n]. COUNT, SUM, DISTINCT without rows: 0; others: NaN."""
        ...

    def ring(self, name: str, rings: int) -> Floats:
        """The feature over its window, merged over each cell and its neighbours within ``rings``, float64[n]."""
        ...

    def bucket(self, name: str, back: int) -> Floats:
        """The feature over one bucket of its window, float64[n]; ``back`` = 0 is the newest one."""
        ...


class Detector(ABC, Generic[S]):
    """A rule that judges all cells at once.

    Class attributes name it; ``features``, ``rings`` and ``hysteresis`` may depend on the settings and are read once,
    when the join starts. An instance may carry its own ``name``, so that a generic detector can be configured several
    times; the name is part of each alert's id. Raise ``version`` when the same input would give other alerts.
    """

    name: str
    version: int
    title_zh: str
    title_en: str
    category: str
    reasons: tuple[str, ...]
    settings_type: ClassVar[type[Any]]
    example: ClassVar[Mapping[str, object]] = {}
    """Settings as a configuration would write them, for the sample file and the battery; needed only where a setting
    has no default."""
    state_lanes: int = 0
    bulk_type: ClassVar[type[Any] | None] = None
    """A ``Bulk`` that is made of a sequence of instances of the class. Each of them must then have exactly one entry in
    ``screens`` and read features over windows and rings only; a thousand of them cost little more than ten."""
    settings: S

    def __init__(self, settings: S | None = None, *, name: str | None = None) -> None:
        self.settings = self.settings_type() if settings is None else settings
        if name is not None:
            self.name = name

    @property
    @abstractmethod
    def features(self) -> tuple[Feature, ...]:
        """The features that ``judge`` and ``explain`` read. All share one ``bucket_ms``."""

    @property
    def rings(self) -> int:
        """How far the detector reads with ``CellView.ring``; 0 is the own cell only."""
        return 0

    @property
    def hysteresis(self) -> Hysteresis:
        """How slowly the verdicts become alerts."""
        return Hysteresis()

    @property
    def bucket_ms(self) -> int:
        """Length of the buckets that are judged."""
        return self.features[0].bucket_ms

    @property
    def screens(self) -> tuple[Screen, ...] | None:
        """Bounds of which at least one is reached wherever the verdict is RAISE; None if that cannot be said.

        The join then hands ``judge`` only the cells that have reached one, and those with an alert or a count of
        buckets. For detectors without state lanes. The battery checks that nothing raises behind its screens.
        """
        return None

    @abstractmethod
    def judge(self, view: CellView) -> Verdicts:
        """Judge all cells of the view: those where one of the detector's features has data in its window, or where
        something stands. Called once per bucket, unless there is no such cell.

        Must be a pure function of the view: no clock, no I/O, nothing kept on ``self``, no array of the view changed,
        no Python loop over cells; and a cell's verdict must not depend on which other cells happen to be in the view.
        """

    @abstractmethod
    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        """Explain the verdict of cell ``i``. Called only where an alert is raised, updated or cleared.

        It gets the same view as ``judge`` (``state`` still holds the lanes from before) and what ``judge`` answered.
        Whatever the verdict is, both sentences must make sense: a cleared alert is explained too.
        """
