"""The demo as a user runs it, on a real Kafka and a real ClickHouse engine: to its end, interrupted, and killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent
WITHIN_S = 240.0  # two busy cores, and kernels to compile at the first run of a machine


@contextlib.contextmanager
def demo(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    elsewhere = {"TONGGUAN_KAFKA": "127.0.0.1:9", "TONGGUAN_CLICKHOUSE": "http://127.0.0.1:9"}  # must not be used
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.main", "demo", *words],
        cwd=folder,
        env=os.environ | elsewhere | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Everything printed up to the first line that matches."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if re.search(pattern, line):
            return text
    raise AssertionError(f"no line matches {pattern!r} in:\n{text}")


def no_process_names(folder: Path, within_s: float) -> bool:
    """Whether all processes that were started with something in `folder` are gone in time."""
    deadline = time.monotonic() + within_s
    while True:
        lines = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                lines.append(entry.read_bytes())
        if not any(bytes(folder) in line for line in lines):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def figure(text: str, words: str) -> int:
    """The first whole number behind the words."""
    found = re.search(rf"^ +{words} +(\d[\d,]*)", text, re.MULTILINE)
    assert found is not None, f"no {words!r} in:\n{text}"
    return int(found[1].replace(",", ""))


def test_the_demo_ends_by_itself_with_a_summary_in_which_every_figure_agrees(tmp_path: Path) -> None:
    with demo(tmp_path, "--minutes", "0.15", "--speed", "150", "--lang", "en") as process:
        text, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, text
    assert figure(text, "records sent") == figure(text, "observations archived") + figure(text, "dead letters")
    assert figure(text, "opened") > 20
    assert re.search(r"waterlogging +[1-9]\d* +[1-9]", text), "the storm is told"
    assert "every chain of hashes is whole" in text
    for word in ("dispatch", "http://127.0.0.1", "tongguan tail alerts"):
        assert word in text
    assert not re.search(r"1380000\d{4}|Traceback|WARNING|ERROR", text)
    assert no_process_names(tmp_path, within_s=0)

    asked = subprocess.run(
        [sys.executable, "-m", "deploy.main", "sql", "-c", ".tongguan/demo/tongguan.toml", "-f", "csv",
         "SELECT count() FROM v_incidents"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert asked.stdout.splitlines()[1:] == [str(figure(text, "opened"))], asked.stderr


def test_on_bostons_real_tickets_the_loop_comes_to_the_citys_own_verdicts(tmp_path: Path) -> None:
    with demo(tmp_path, "--data", "boston", "--limit", "300", "--lang", "en") as process:
        text, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, text
    (sure,) = re.findall(r"decided by the two alone +(\d+) +(\d+) +100.0 %", text)
    assert sure[0] == sure[1] and int(sure[0]) > 100
    assert not re.search(r"Traceback|WARNING|ERROR", text)
    assert no_process_names(tmp_path, within_s=0)


def test_ctrl_c_in_the_middle_stops_everything(tmp_path: Path) -> None:
    with demo(tmp_path, "--lang", "zh") as process:
        read_until(process, "积水深")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # the impatient press it twice
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "没有留下任何进程" in text
    assert "Traceback" not in text
    assert no_process_names(tmp_path, within_s=0)


def test_ctrl_c_while_it_starts_stops_everything_and_a_killed_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path, "--lang", "zh") as process:
        read_until(process, "模拟的上海")
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, text
    assert no_process_names(tmp_path, within_s=0)
    with demo(tmp_path, "--lang", "zh") as process:
        read_until(process, "✓ 启动 Kafka 与 ClickHouse")
        process.kill()
    assert no_process_names(tmp_path, within_s=60)
