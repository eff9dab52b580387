"""How the demo speaks before and after its board: calm, in one language, Chinese unless another is wanted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from deploy.console import safe
from deploy.options import Lang

WIDEST: Final = 132
"""Columns: on a wide screen, longer lines are harder to read."""
PIPE_WIDTH: Final = 120
DIM: Final = "bright_black"


def language(lang: Lang | None) -> Lang:
    """The language asked for, else Chinese, unless the terminal's locale is English."""
    if lang is not None:
        return lang
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return Lang.EN if locale.lower().startswith("en") else Lang.ZH


class Screen:
    """The demo's pages."""

    def __init__(self, lang: Lang, *, console: Console | None = None) -> None:
        self.lang = lang
        self.console = console or Console(highlight=False, markup=False)
        if not self.console.is_terminal:
            self.console.width = PIPE_WIDTH

    @property
    def width(self) -> int:
        return min(self.console.width, WIDEST)

    @property
    def is_terminal(self) -> bool:
        return self.console.is_terminal

    def say(self, zh: str, en: str) -> str:
        return zh if self.lang is Lang.ZH else en

    def show(self, what: RenderableType = "") -> None:
        self.console.print(what, width=self.width)

    def title(self, zh: str, en: str) -> None:
        self.show()
        self.show(
            Text(self.say("统管 Tongguan  城市运行一网统管 · 演示", "Tongguan 统管  city operations, a demo"), "bold")
        )
        self.show(Text(self.say(zh, en), style=DIM))
        self.show()

    def heading(self, zh: str, en: str) -> None:
        self.show()
        self.show(Rule(Text(self.say(zh, en), style="bold"), align="left", style=DIM))

    def line(self, zh: str, en: str, style: str = "") -> None:
        self.show(Text(safe(self.say(zh, en)), style=style))

    @contextlib.contextmanager
    def step(self, zh: str, en: str) -> Iterator[None]:
        """One line for a part that takes a while, with its time once it is over."""
        began = time.monotonic()
        with (
            self.console.status(Text(f"{self.say(zh, en)} ..."))
            if self.console.is_terminal
            else contextlib.nullcontext()
        ):
            yield
        done = Text("  ✓ ", style="green").append(self.say(zh, en), "default")
        self.show(done.append(f"  {time.monotonic() - began:.1f} s", DIM))

    def facts(self, facts: Sequence[tuple[str, str, str]]) -> None:
        """(Chinese, English, value), one below the other."""
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, style=DIM)
        table.add_column(overflow="fold")
        for zh, en, value in facts:
            table.add_row(self.say(zh, en), Text(safe(value)))
        self.show(Padding(table, (0, 0, 0, 2), expand=False))

    def table(self, head: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
        """(Chinese, English) of each column; all but the first are figures."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style=DIM)
        for number, words in enumerate(head):
            table.add_column(Text(self.say(*words)), justify="right" if number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(safe(value)) for value in row))
        self.show(Padding(table, (0, 0, 0, 2), expand=False))
