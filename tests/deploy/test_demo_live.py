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

from deploy.demo_recording import read
from tests.deploy.test_demo_hour import ALERTS, DEAD

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


def test_the_demo_tells_its_story_counts_every_record_and_leaves_only_history(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "1200") as process:
        text, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, text
    facts = dict(
        re.findall(
            r"  (records sent|observations archived|dead letters|alerts raised / cleared)\D+?(\d[\d,/ ]*?) *\n", text
        )
    )
    sent, dead = len(read()), sum(DEAD.values())
    assert facts == {
        "records sent": f"{sent:,}",
        "observations archived": f"{sent - dead:,}",
        "dead letters": f"{dead}",
        "alerts raised / cleared": f"{len(ALERTS)} / {len(ALERTS) - 1}",
    }
    for word in ("特别重大 extreme", *ALERTS.values()):
        assert word in text
    assert text.count("● 产生 raised") == len(ALERTS)
    assert text.count("✓ 解除 cleared") == len(ALERTS) - 1
    assert not re.search(r"1380000\d{4}|Traceback|WARNING|ERROR", text)
    assert no_process_names(tmp_path, within_s=0)

    asked = subprocess.run(
        [sys.executable, "-m", "deploy.main", "sql", "-c", ".tongguan/demo/tongguan.toml", "-f", "csv",
         "SELECT alert_id FROM v_alerts ORDER BY alert_id"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert asked.stdout.splitlines()[1:] == sorted(ALERTS), asked.stderr


def test_ctrl_c_in_the_replay_stops_everything(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "60") as process:
        read_until(process, "倍速")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # the impatient press it twice
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "没有留下任何进程" in text
    assert "Traceback" not in text
    assert no_process_names(tmp_path, within_s=0)


def test_ctrl_c_while_it_starts_stops_everything_and_a_killed_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        read_until(process, "made up")
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, text
    assert no_process_names(tmp_path, within_s=0)
    with demo(tmp_path) as process:
        read_until(process, "starting Kafka and ClickHouse")
        process.kill()
    assert no_process_names(tmp_path, within_s=60)
