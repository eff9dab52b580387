"""Features: the mergeable aggregates per cell and time bucket that detectors declare and the join keeps.

A detector never sees records. It declares what it wants known about each cell, for instance "the highest good
water level over five minutes", and the join keeps that number up to date. Two features that differ only in their
name, window or wish for evidence have the same ``identity``: the join keeps the buckets once and merges them twice.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import NamedTuple

from schemas.errors import SettingsError
from schemas.sources import Source

MINUTE_MS = 60_000
DAY_MS = 86_400_000

WORST_QUALITY = 2
"""Quality runs from 0 (good) over 1 (suspect) to 2 (bad)."""


class Aggregate(StrEnum):
    """How the rows of one bucket become one number, and how the numbers of several buckets or cells are merged.

    Without any row COUNT, SUM and DISTINCT are 0; all others are NaN, because nothing measured is not zero.
    """

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    LAST = "last"  # value of the row with the latest event time
    DISTINCT = "distinct"  # number of different entities (devices, cameras, tickets)
    QUANTILE = "quantile"  # from a sketch; Feature.quantile says which one

    @property
    def zero_when_empty(self) -> bool:
        """Whether a cell without rows has the value 0 rather than NaN."""
        return self in (Aggregate.COUNT, Aggregate.SUM, Aggregate.DISTINCT)


class FeatureIdentity(NamedTuple):
    """What decides a feature's bucket values: the key under which the join shares them between detectors."""

    source: Source
    kind: str | None
    aggregate: Aggregate
    bucket_ms: int
    confidence_at_least: float
    quality_at_most: int
    value_at_least: float | None
    value_below: float | None
    quantile: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One aggregate over the rows of one source that pass the filters.

    ``kind`` is the metric of a reading, the event of a camera event or the category of a ticket; ``None`` takes all.
    ``value_at_least`` and ``value_below`` are a closed-open interval. ``window_ms`` is a multiple of ``bucket_ms``;
    the window ends with the bucket that is being judged and includes it. ``evidence`` asks the join to remember which
    rows made the value; where detectors that share an identity differ in it, the join remembers them if any wants them.
    """

    name: str
    source: Source
    kind: str | None
    aggregate: Aggregate
    bucket_ms: int = MINUTE_MS
    window_ms: int = MINUTE_MS
    confidence_at_least: float = 0.0
    quality_at_most: int = 0
    value_at_least: float | None = None
    value_below: float | None = None
    quantile: float = 0.5
    evidence: bool = True

    def __post_init__(self) -> None:
        problems = [f"feature {self.name!r}: {problem}" for problem in self._problems()]
        if problems:
            raise SettingsError(problems)

    @property
    def identity(self) -> FeatureIdentity:
        """The sharing key: everything but the name, the window and the wish for evidence."""
        return FeatureIdentity(
            source=self.source,
            kind=self.kind,
            aggregate=self.aggregate,
            bucket_ms=self.bucket_ms,
            confidence_at_least=self.confidence_at_least,
            quality_at_most=self.quality_at_most,
            value_at_least=self.value_at_least,
            value_below=self.value_below,
            quantile=self.quantile if self.aggregate is Aggregate.QUANTILE else None,
        )

    @property
    def buckets(self) -> int:
        """Length of the window in buckets, at least 1."""
        return self.window_ms // self.bucket_ms

    def _problems(self) -> list[str]:
        problems: list[str] = []
        if not self.name.isidentifier():
            problems.append("the name must be a Python identifier, for judge() looks the feature up by it")
        if self.kind == "":
            problems.append("kind is empty; use None for any kind")
        if self.bucket_ms <= 0 or DAY_MS % self.bucket_ms:
            problems.append(f"bucket_ms={self.bucket_ms} must divide a day ({DAY_MS} ms), so that buckets start on it")
        elif self.window_ms <= 0 or self.window_ms % self.bucket_ms:
            problems.append(f"window_ms={self.window_ms} must be a positive multiple of bucket_ms={self.bucket_ms}")
        if not 0.0 <= self.confidence_at_least <= 1.0:
            problems.append(f"confidence_at_least={self.confidence_at_least} must be from 0 to 1")
        if not 0 <= self.quality_at_most <= WORST_QUALITY:
            problems.append(f"quality_at_most={self.quality_at_most} must be 0 (good), 1 (suspect) or 2 (bad)")
        for field, bound in (("value_at_least", self.value_at_least), ("value_below", self.value_below)):
            if bound is not None and not isfinite(bound):
                problems.append(f"{field}={bound} must be finite; leave it out for no bound")
        at_least, below = self.value_at_least, self.value_below
        if at_least is not None and below is not None and not at_least < below:
            problems.append(f"no value is at least {at_least} and below {below}")
        if not 0.0 <= self.quantile <= 1.0:
            problems.append(f"quantile={self.quantile} must be from 0 to 1")
        return problems
