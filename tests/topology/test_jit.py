"""A kernel is recompiled when a kernel or a constant that it takes from another file has changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MAIN = """
from topology.jit import kernel
from middle import double_step

@kernel
def answer(x):
    return double_step(x)

value = answer(1)
print(value, sum(answer.stats.cache_hits.values()))
"""
MIDDLE = """
from topology.jit import kernel
from helper import OFFSET, step

@kernel
def double_step(x):
    return step(step(x)) + OFFSET
"""
HELPER = """
from constants import OFFSET
from topology.jit import kernel

@kernel
def step(x):
    return x + {step}
"""


def _run(folder: Path) -> list[int]:
    """[answer, cache hits] of a fresh process."""
    result = subprocess.run(
        [sys.executable, "main.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in result.stdout.split()]


def test_kernel_notices_changes_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "middle.py").write_text(MIDDLE)
    (tmp_path / "helper.py").write_text(HELPER.format(step=1))
    (tmp_path / "constants.py").write_text("OFFSET = 0\n")
    assert _run(tmp_path) == [3, 0]
    assert _run(tmp_path) == [3, 1]  # unchanged: nothing is compiled again
    (tmp_path / "helper.py").write_text(HELPER.format(step=100))  # two files away from the kernel
    assert _run(tmp_path) == [201, 0]
    (tmp_path / "constants.py").write_text("OFFSET = 5000\n")  # a constant of a file without kernels
    assert _run(tmp_path)[0] == 5201
