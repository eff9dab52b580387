"""The real worker with the archive role, in a process of its own, so that it can be killed.

Run as a program it takes the configuration as JSON; tests use `ArchiveWorker`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from deploy.config import TongguanConfig
from deploy.local.process import free_port

PROJECT = Path(__file__).resolve().parents[2]
STOP_WITHIN_S = 30


class ArchiveWorker:
    """A running worker; `with` kills it at the end. `config` is the configuration as a mapping."""

    def __init__(self, config: dict[str, Any], log_path: Path) -> None:
        self._port = free_port()
        self._config = config | {"metrics": {"port": self._port}}
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.archive_worker", json.dumps(self._config)],
                stdout=log,
                stderr=log,
                cwd=PROJECT,
                env=os.environ | {"PYTHONPATH": str(PROJECT)},
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(STOP_WITHIN_S)

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", errors="replace")

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii", errors="replace")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found.group(1)) / 1024 if found else 0.0

    def metric(self, name: str) -> float:
        """The value of a metric line that begins with `name`, 0 while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0.0
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def wait_for_rows(self, rows: int, *, within_s: float = 60) -> None:
        """Until ClickHouse has acknowledged so many observations to this worker."""
        give_up_at = time.monotonic() + within_s
        while self.metric('tongguan_clickhouse_rows_total{table="observations"}') < rows:
            assert self.process.poll() is None, f"the worker ended:\n{self.log[-3000:]}"
            assert time.monotonic() < give_up_at, f"not {rows} rows within {within_s} s:\n{self.log[-3000:]}"
            time.sleep(0.02)


if __name__ == "__main__":
    from deploy.worker import run

    run(TongguanConfig.model_validate(json.loads(sys.argv[1])), ["archive"])
