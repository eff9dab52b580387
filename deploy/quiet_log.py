"""Keeps libraries from telling the same thing at every retry; what we say ourselves is never held back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Final

LIBRARIES: Final = ("faust", "mode", "aiokafka", "kafka", "clickhouse_connect")
ONCE_IN_S: Final = 60.0
MOST_REMEMBERED: Final = 256


class Repeats(logging.Filter):
    """For a handler: a library's message passes when the same one has not passed for `ONCE_IN_S` seconds.

    The same: of one logger and one format string, whatever the values (a retry counts, an address is resolved anew).
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in LIBRARIES:
            return True
        key, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._passed.get(key, -ONCE_IN_S) < ONCE_IN_S:
            return False
        if len(self._passed) >= MOST_REMEMBERED:  # messages with values in their format string
            self._passed.clear()
        self._passed[key] = now
        return True


def set_up() -> None:
    """Log to standard error: our own lines from INFO on, the libraries' errors."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    threading.excepthook = _tell_of_a_thread
    for handler in logging.getLogger().handlers:
        if not any(isinstance(known, Repeats) for known in handler.filters):
            handler.addFilter(Repeats())


def _tell_of_a_thread(ended: threading.ExceptHookArgs) -> None:
    """Faust's consumer threads end by a cancellation when their broker is away: nothing to be told of."""
    if issubclass(ended.exc_type, asyncio.CancelledError):
        return
    threading.__excepthook__(ended)


@contextlib.contextmanager
def without(library: str) -> Iterator[None]:
    """Nothing of this library's: whoever uses it here says in one line what went wrong."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
