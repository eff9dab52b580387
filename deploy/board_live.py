"""Puts the board on a terminal, redrawn a few times a second; into a file or a pipe go plain lines of what is new."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from deploy.board import BoardState, lines, plain_alert, plain_change, plain_status
from deploy.options import Lang

REDRAWN_EVERY_S: Final = 0.25
STATUS_EVERY_S: Final = 10.0


class _Board:
    """The board in the size that the terminal has now."""

    def __init__(self, state: BoardState, lang: Lang) -> None:
        self._state = state
        self._lang = lang

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n").join(lines(self._state, self._lang, console.width, console.height))


class BoardShow:
    """`tell` is called often; it draws or prints when it is time to."""

    def __init__(self, state: BoardState, lang: Lang, console: Console) -> None:
        self._state = state
        self._lang = lang
        self._console = console
        self._live: Live | None = None
        self._drawn_s = 0.0
        self._alerts = self._doings = 0  # printed so far

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        if not self._console.is_terminal:
            yield
            self.tell()
            return
        board = _Board(self._state, self._lang)
        with Live(board, console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def tell(self) -> None:
        now_s = time.monotonic()
        if self._live is not None:
            if now_s - self._drawn_s >= REDRAWN_EVERY_S:
                self._drawn_s = now_s
                self._live.refresh()
            return
        self._print_news()
        if now_s - self._drawn_s >= STATUS_EVERY_S:
            self._drawn_s = now_s
            self._print(plain_status(self._state, self._lang))

    def _print_news(self) -> None:
        state = self._state
        new_alerts, self._alerts = state.shown_alerts - self._alerts, state.shown_alerts
        new_doings, self._doings = state.shown_doings - self._doings, state.shown_doings
        news = [
            (one.alert.window_end_ms, plain_alert(one, state, self._lang))
            for one in reversed(state.alerts[:new_alerts])
        ]
        news += [(one.at_ms, plain_change(one, state, self._lang)) for one in reversed(state.doings[:new_doings])]
        for _, line in sorted(news, key=lambda entry: entry[0]):
            self._print(line)

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)
