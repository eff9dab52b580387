"""The real worker, all roles, in a process of its own that can be killed.

Run as a program it takes the configuration and the roles as JSON; tests use `CityWorker`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from deploy.config import TongguanConfig
from deploy.local.process import free_port

PROJECT = Path(__file__).resolve().parents[3]
ROLES = ("locate", "join", "archive")


class CityWorker:
    """A worker that is started, killed, stopped, started again; at the end of `with` it is killed.

    `config` is the configuration as a mapping. The log of all its lives is one file.
    """

    def __init__(
        self, config: dict[str, Any], log_path: Path, *, roles: tuple[str, ...] = ROLES, port: int | None = None
    ) -> None:
        self._port = port or free_port()
        self._config = config | {"metrics": {"port": self._port}}
        self._roles = roles
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._log_began = 0  # where the log of the present life begins

    def start(self) -> Self:
        with self.log_path.open("ab") as log:
            self._log_began = log.tell()
        self._process = self._launch()
        return self

    def _launch(self) -> subprocess.Popen[bytes]:
        return self._execute("tests.live.support.city_worker", json.dumps([self._config, self._roles]))

    def _execute(self, *module_and_arguments: str) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *module_and_arguments],
                stdout=log,
                stderr=log,
                cwd=PROJECT,
                env=os.environ | {"PYTHONPATH": str(PROJECT)},
            )

    def __enter__(self) -> Self:
        return self.start()

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

    def freeze(self) -> None:
        """As a machine that swaps, or a paused virtual one: alive, but silent."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        self.process.terminate()

    def exit_status(self, *, within_s: float = 30) -> int:
        return self.process.wait(within_s)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    async def reads(self, *, within_s: float = 60) -> None:
        """Until it has its raw partitions."""
        await self.says("locate: reading", within_s=within_s)

    async def says(self, words: str, *, within_s: float = 60) -> None:
        """Until the log of this life has the words."""
        give_up_at = time.monotonic() + within_s
        while words not in self.log_of_this_life:
            assert self.running, f"the worker ended by itself:\n{self.log[-4000:]}"
            assert time.monotonic() < give_up_at, f"not {words!r} within {within_s} s:\n{self.log[-4000:]}"
            await asyncio.sleep(0.05)

    @property
    def log_of_this_life(self) -> str:
        return self.log_path.read_bytes()[self._log_began :].decode("utf-8", errors="replace")

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", errors="replace") if self.log_path.exists() else ""

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii", errors="replace")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found.group(1)) / 1024 if found else 0.0

    def metrics(self) -> str:
        """What Prometheus would see; "" while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""

    def total(self, metric: str) -> float:
        """The sum over all labels of a counter."""
        lines = re.findall(rf"^{metric}(?:\{{[^}}]*\}})? (\S+)$", self.metrics(), re.MULTILINE)
        return sum(map(float, lines))


def main() -> None:
    from deploy.worker import run
    from tests.live.support.small_city import detectors

    config, roles = json.loads(sys.argv[1])
    run(TongguanConfig.model_validate(config), roles, detectors=detectors())


if __name__ == "__main__":
    main()
