"""Problems and warnings of one register file, each with its line, by line, and not more of them than anybody reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MAX_PROBLEMS: Final = 1000
"""Enough to put a file right in one go; a file of the wrong kind does not fill the screen for ever."""


@dataclass(slots=True)
class _Told:
    """What was told in the order of lines; beyond the limit it is only counted."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    count: int = 0

    def add(self, line: int, text: str) -> None:
        self.count += 1
        if len(self.lines) < MAX_PROBLEMS:
            self.lines.append((line, text))


class Report:
    """Lines are read first and compared with each other afterwards, both in order; what is told is in order, too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._refused: list[str] = []
        self._problems = _Told(), _Told()
        self._warnings = _Told(), _Told()
        self._unused: set[str] = set()

    def refuse(self, text: str) -> None:
        """The file as a whole cannot be used."""
        self._refused.append(f"{self._path}: {text}")

    def problem(self, line: int, text: str, *, compared: bool = False) -> None:
        self._problems[compared].add(line, text)

    def warn(self, line: int, text: str, *, compared: bool = False) -> None:
        self._warnings[compared].add(line, text)

    def warn_of_unused(self, line: int, names: Iterable[str], known: tuple[str, ...]) -> None:
        """Once for each name of a column or field that means nothing here: it may be a known one misspelt."""
        for name in names:
            if name not in known and name not in self._unused:
                self._unused.add(name)
                self.warn(line, f"{name!r} is not used; known are {', '.join(known)}")

    @property
    def problems(self) -> list[str]:
        return self._refused + self._told(self._problems, "problems")

    @property
    def warnings(self) -> list[str]:
        return self._told(self._warnings, "warnings")

    def _told(self, parts: tuple[_Told, _Told], what: str) -> list[str]:
        lines = sorted(parts[0].lines + parts[1].lines, key=lambda told: told[0])[:MAX_PROBLEMS]
        left_out = parts[0].count + parts[1].count - len(lines)
        words = [f"{self._path}:{line}: {text}" for line, text in lines]
        return [*words, f"{self._path}: and {left_out} more {what}"] if left_out else words
