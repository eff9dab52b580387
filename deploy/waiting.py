"""Waits for something that is away, with growing pauses, telling the user once and not at every try."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from deploy.console import say
from schemas.errors import BrokerError, StoreUnavailable

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0


def wait_until(check: Callable[[], None], *, stop: threading.Event, first_pause_s: float = FIRST_PAUSE_S) -> bool:
    """Call `check` until it raises neither BrokerError nor StoreUnavailable; False when `stop` was set first.

    A new reason is told when it appears, the same one is not told twice.
    """
    pause, told = first_pause_s, ""
    while not stop.is_set():
        try:
            check()
        except (BrokerError, StoreUnavailable) as error:
            if str(error) != told:
                told = str(error)
                say(f"{told}; trying again until it answers 正在重试", style="yellow")
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
        else:
            if told:
                say("it answers again 已恢复", style="green")
            return True
    return False
