"""Checking a detector's settings: every problem told at once."""

from collections.abc import Iterable
from math import isfinite

from schemas.errors import SettingsError


def refuse_unless(where: str, rules: Iterable[tuple[bool, str]]) -> None:
    """Raise one SettingsError with the message of every rule that does not hold."""
    problems = [f"{where}: {message}" for holds, message in rules if not holds]
    if problems:
        raise SettingsError(problems)


def all_finite(*values: float) -> bool:
    """Whether every value is a number that can be compared with."""
    return all(isfinite(value) for value in values)
