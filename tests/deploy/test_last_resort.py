"""An end in bounded time, and libraries that do not repeat themselves."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

from deploy.quiet_log import Repeats

HANGING = """
import threading, time
from deploy.last_resort import end_within
end_within(0.3, status=7)
threading.Thread(target=time.sleep, args=(60,)).start()  # the interpreter would wait for it
"""


def test_a_process_that_hangs_at_its_end_is_ended(project_root: object) -> None:
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", HANGING], cwd=str(project_root), timeout=30, check=False)
    assert ended.returncode == 7
    assert time.monotonic() - began < 20


def test_a_library_is_heard_once_and_we_always() -> None:
    repeats = Repeats()

    def passes(name: str, message: str) -> bool:
        return repeats.filter(logging.LogRecord(name, logging.ERROR, "", 0, message, (), None))

    assert passes("aiokafka", "Unable connect to %s")
    assert not passes("aiokafka", "Unable connect to %s")
    assert passes("aiokafka.consumer", "Unable connect to %s")
    assert passes("streams.join", "a frame failed") and passes("streams.join", "a frame failed")
