"""A watch over the event loop itself, in a thread: a loop that hangs can notice nothing, least of all that it hangs."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
from typing import Final

from deploy.own_thread import OwnThread

log = logging.getLogger(__name__)

BEAT_S: Final = 1.0


class LoopWatch(OwnThread):
    """While entered, ends the process with `status` when `loop` has run nothing for `hangs_after_s`.

    Every beat that the thread waits for in vain counts one interval, whatever the clock says: a process that was
    stopped and goes on has missed one beat, not an hour of them. What all threads are doing goes to standard error.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, hangs_after_s: float, status: int) -> None:
        super().__init__("loop-watch")
        self._loop = loop
        self._hangs_after_s = hangs_after_s
        self._status = status
        self._beaten = threading.Event()

    def _run(self) -> None:
        missed_s = 0.0
        while not self._over.is_set():
            self._beaten.clear()
            try:
                self._loop.call_soon_threadsafe(self._beaten.set)
            except RuntimeError:  # it is closed
                return
            self._over.wait(BEAT_S)
            missed_s = 0.0 if self._beaten.is_set() else missed_s + BEAT_S
            if missed_s >= self._hangs_after_s and not self._over.is_set():
                self._end(missed_s)

    def _end(self, missed_s: float) -> None:
        log.critical("the event loop hangs since %.0f s; ending, the next start goes on from what is stored", missed_s)
        for handler in logging.getLogger().handlers:
            handler.flush()
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
        os._exit(self._status)
