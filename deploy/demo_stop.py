"""Ctrl-C while the demo runs: it is asked to stop, and stops everything in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from deploy.console import say

INTERRUPTED: Final = 130
"""The exit code of a demo that was asked to stop."""


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM, however often: everything is stopped in order all the same."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            say("正在停止 stopping ...", style="yellow")
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
