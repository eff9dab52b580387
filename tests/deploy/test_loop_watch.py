"""A loop that hangs ends the process; one that is busy, or was stopped for a while, does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = """
import asyncio, sys, time
from deploy import loop_watch
loop_watch.BEAT_S = 0.05

async def main():
    with loop_watch.LoopWatch(asyncio.get_running_loop(), hangs_after_s=0.5, status=75):
        print("ready", flush=True)
        {work}
    print("done", flush=True)

asyncio.run(main())
"""


def start(work: str, project_root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(work=work)],
        cwd=project_root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_loop_that_hangs_ends_the_process_and_shows_where(project_root: Path) -> None:
    process = start("time.sleep(60)", project_root)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "the event loop hangs" in told
    assert "in main" in told, "the stack of the thread that hangs"


NOW_AND_THEN = """
        for _ in range(5):
            time.sleep(0.2)
            await asyncio.sleep(0.1)
"""


@pytest.mark.parametrize("work", ["await asyncio.sleep(1.5)", NOW_AND_THEN])
def test_a_loop_that_runs_now_and_then_is_fine(project_root: Path, work: str) -> None:
    process = start(work, project_root)
    shown, _ = process.communicate(timeout=30)
    assert (process.returncode, shown) == (0, "done\n")


def test_a_process_that_was_stopped_goes_on(project_root: Path) -> None:
    process = start("await asyncio.sleep(2.0)", project_root)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGCONT)
    shown, _ = process.communicate(timeout=30)
    assert (process.returncode, shown) == (0, "done\n")
