"""Small array steps that every detector needs: features made safe, witnesses weighed."""

from collections.abc import Iterable

import numpy as np

from detectors.contract import Floats

BEYOND_MEASURE = 1e15
"""Larger than anything a city counts or measures, far below where float64 overflows or stops counting by one."""


def measured(values: Floats) -> Floats:
    """The values with infinities and absurdly large ones made NaN: an aggregate that overflowed was not measured."""
    return np.where(np.abs(values) <= BEYOND_MEASURE, values, np.nan)


def counted(values: Floats) -> Floats:
    """Counts with NaN, and what is below 0, as 0."""
    return np.where(values > 0.0, np.minimum(values, BEYOND_MEASURE), 0.0)


def noisy_or(trusts: Iterable[tuple[float, Floats]]) -> Floats:
    """``1 - product of (1 - trust) ** n``: how sure n witnesses make us who are each right with probability trust.

    It treats witnesses as independent, which flatters callers who see the same thing; cap n where they repeat.
    """
    doubt: Floats | float = 1.0
    for trust, n in trusts:
        doubt = doubt * (1.0 - trust) ** n
    return np.asarray(1.0 - doubt)
