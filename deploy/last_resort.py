"""An end in bounded time for a process whose state is safe elsewhere, whatever the libraries in it wait for."""

from __future__ import annotations

import logging
import os
import threading

log = logging.getLogger(__name__)


def end_within(seconds: float, *, status: int) -> None:
    """Begin the orderly end now; if the process still lives after `seconds`, it ends with `status` on the spot.

    For the worker that is harmless: it is made for kill -9. Clients of Kafka wait for a broker that is away, some
    without limit and some in threads that hold up the interpreter's exit. The clock cannot be stopped again.
    """
    timer = threading.Timer(seconds, _end, (seconds, status))
    timer.daemon = True
    timer.start()


def _end(seconds: float, status: int) -> None:
    log.warning("an orderly end was not possible within %.0f s; ending, the next start replays a little", seconds)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(status)
