"""Small array steps that every detector needs: features made safe, witnesses weighed."""

from collections.abc import Iterable

import numpy as np

from detectors.contract import Floats

MOST_COUNTED = 1e15
"""Counts are capped here: far above any real one, far below where float64 stops counting by one."""


def measured(values: Floats) -> Floats:
    """The values with infinities made NaN: an aggregate that overflowed was not measured."""
    return np.where(np.isfinite(values), values, np.nan)


def counted(values: Floats) -> Floats:
    """Counts with NaN as 0."""
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=MOST_COUNTED, neginf=0.0), 0.0, MOST_COUNTED)


def noisy_or(trusts: Iterable[tuple[float, Floats]]) -> Floats:
    """``1 - product of (1 - trust) ** n``: how sure n witnesses make us who are each right with probability trust.

    It treats witnesses as independent, which flatters callers who see the same thing; cap n where they repeat.
    """
    doubt: Floats | float = 1.0
    for trust, n in trusts:
        doubt = doubt * (1.0 - trust) ** n
    return np.asarray(1.0 - doubt)
