"""What is freed in the middle of the heap goes back to the system, although glibc would keep it."""

from __future__ import annotations

import gc
import os
import platform
import time
from pathlib import Path

import pytest

from deploy import give_back
from deploy.give_back import GiveBack

MB = 1024 * 1024
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leave_holes() -> list[bytes]:
    """200 MB in pieces that are no mapping of their own, of which every hundredth stays."""
    pieces = [bytes([at % 251 + 1]) * (64 * 1024) for at in range(3_200)]
    return pieces[::100]


@glibc
def test_what_was_freed_between_things_that_stay_is_given_back() -> None:
    kept = leave_holes()
    gc.collect()
    before = resident()
    with GiveBack(every_s=0.01):
        for _ in range(500):
            if before - resident() > 100 * MB:
                break
            time.sleep(0.01)
    assert before - resident() > 100 * MB
    assert len(kept) == 32


def test_it_ends_with_its_block_and_does_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(give_back, "_trim", None)
    with GiveBack(every_s=0.001) as giving:
        time.sleep(0.02)
        assert giving._thread.is_alive()
    giving._thread.join(5)
    assert not giving._thread.is_alive()
