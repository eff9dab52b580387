"""What the local Kafka and the local ClickHouse have in common: one owner, a lasting port, start and stop."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from deploy.local.process import LOG_TAIL_LINES, LOOPBACK, DirectoryLock, GuardedProcess, LocalStackError, free_port

PORT_TRIES = 3
STOP_GRACE_S = 20.0
READY_POLL_S = 0.05
ERROR_LINES = 5
ERROR_LINE = re.compile(r"\b(ERROR|FATAL)\b|Exception\b|Error:")


class LocalServer(ABC):
    """A server on loopback that lives as long as we do and finds its data again at the next start.

    `port=None` takes the port of the last run if it is free, else any. `cpus` pins the server to processors, for
    benchmarks that give it a core of its own. One thread at a time.
    """

    name: ClassVar[str]
    ready_within_s: ClassVar[float]
    """Generous: a busy machine, and recovery after a kill -9, are included."""
    port_taken_words: ClassVar[str] = "address already in use"

    def __init__(self, data_dir: Path, port: int | None = None, *, cpus: Sequence[int] = ()) -> None:
        self.data_dir = Path(data_dir).absolute()
        self._wanted_port = port
        self._cpus = tuple(cpus)
        self._port: int | None = None
        self._lock: DirectoryLock | None = None
        self._process: GuardedProcess | None = None
        self._logs_began_at: dict[Path, int] = {}

    @abstractmethod
    def _prepare(self, port: int) -> list[str]:
        """Write what the server needs into data_dir, which is ours alone by now; gives the command to run."""

    @abstractmethod
    def _is_ready(self, port: int) -> bool:
        """Whether clients are served; asked many times a second."""

    def _environment(self) -> Mapping[str, str] | None:
        return None

    def _logs(self) -> list[Path]:
        """The files whose ends explain a failure."""
        return [self.console_log]

    @property
    def console_log(self) -> Path:
        return self.data_dir / "console.log"

    @property
    def port(self) -> int:
        """Only while it runs."""
        if self._port is None:
            raise LocalStackError(f"the {self.name} is not running; call start() first")
        return self._port

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_status() is None

    @property
    def guard_pid(self) -> int:
        """The process whose only child is the server. Only while it runs."""
        if self._process is None:
            raise LocalStackError(f"the {self.name} is not running; call start() first")
        return self._process.guard_pid

    def start(self) -> Self:
        """Start and wait until clients are served. LocalStackError says what went wrong, with the end of the log."""
        if self._process is not None:
            raise LocalStackError(f"the {self.name} was started already; call stop() first")
        self._lock = DirectoryLock(self.data_dir, self.name)
        try:
            for tries_left in reversed(range(PORT_TRIES)):
                port = self._wanted_port or free_port(self._last_port())
                self._logs_began_at = {path: path.stat().st_size for path in self._logs() if path.exists()}
                self._process = GuardedProcess(
                    self.name,
                    self._prepare(port),
                    log_path=self.console_log,
                    grace_s=STOP_GRACE_S,
                    cpus=self._cpus,
                    env=self._environment(),
                    keep_fds=(self._lock.fileno(),),
                )
                if self._wait_until_ready(port, may_retry=tries_left > 0 and self._wanted_port is None):
                    self._port = port
                    self._port_file.write_text(f"{port}\n", "ascii")
                    return self
                self._process.stop()  # another program took a port between our look and the server's
            raise LocalStackError(f"{self.name}: found no port that stays free on {LOOPBACK}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down cleanly; returns when the server is gone. Calling it again does nothing."""
        if self._process is not None:
            self._process.stop()
        self._forget()

    def kill(self) -> None:
        """Kill the server with -9, for tests of what survives that."""
        if self._process is not None:
            self._process.kill()
        self._forget()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _forget(self) -> None:
        self._process = None
        self._port = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def _port_file(self) -> Path:
        return self.data_dir / "port"

    def _last_port(self) -> int | None:
        try:
            return int(self._port_file.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def _wait_until_ready(self, port: int, *, may_retry: bool) -> bool:
        """True when clients are served; False when a port was taken and another one may be tried."""
        assert self._process is not None
        give_up_at = time.monotonic() + self.ready_within_s
        while True:
            status = self._process.exit_status()
            if status is not None:
                taken = any(self.port_taken_words in self._written(path).lower() for path in self._logs())
                if taken and may_retry:
                    return False
                why = f" (port {port} or one beside it is taken: {self.port_taken_words})" if taken else ""
                raise LocalStackError(f"{self.name} ended with status {status} while starting{why}:\n{self._told()}")
            if self._is_ready(port):
                return True
            if time.monotonic() >= give_up_at:
                within = f"{self.ready_within_s:.0f} s"
                raise LocalStackError(f"{self.name} was not ready within {within}:\n{self._told()}")
            time.sleep(READY_POLL_S)

    def _written(self, path: Path) -> str:
        """What this start wrote to a log so far; all of it from the beginning if the log was rolled meanwhile."""
        try:
            with path.open("rb") as log:
                began_at = self._logs_began_at.get(path, 0)
                log.seek(began_at if began_at <= path.stat().st_size else 0)
                return log.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _told(self) -> str:
        """For an error: what the logs call an error, which a shutdown may have pushed far up, and how they end."""
        parts = []
        for path in self._logs():
            lines = self._written(path).splitlines()
            end = lines[-LOG_TAIL_LINES:]
            errors = [line for line in lines[:-LOG_TAIL_LINES] if ERROR_LINE.search(line)][:ERROR_LINES]
            if end:
                parts += [f"--- {path}", *errors, *(["..."] if errors else []), *end]
        return "\n".join(parts) or "(it wrote no log)"
