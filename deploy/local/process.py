"""A server process that never outlives us, the lock that keeps two of them off one data directory, and free ports."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from schemas.errors import TongguanError

GUARD = Path(__file__).with_name("guard.py")
LOOPBACK = "127.0.0.1"
LOG_TAIL_LINES = 25
KILL_AFTER_S = 5.0
"""How long beyond its grace the guard itself may take before it is killed too."""
LOCK_HANDOVER_S = 30.0
"""How long to wait for a server whose owner is dead already and which is on its way down (30 s is Kafka's worst)."""


class LocalStackError(TongguanError):
    """The local stack could not be started, or is not what it should be. The message says what to do."""


class GuardedProcess:
    """A child process that is stopped with us: by `stop()`, by our exit, by our kill -9 (see guard.py).

    It runs in a session of its own, so that Ctrl-C in a terminal reaches us first and the order of stopping is ours.
    Standard output and error are appended to `log_path`. `keep_fds` stay open in the guard for as long as it lives.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_path: Path,
        grace_s: float = 20.0,
        cpus: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        keep_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._grace_s = grace_s
        read_end, self._write_end = os.pipe()
        try:
            with log_path.open("ab") as log:
                self._guard = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        str(GUARD),
                        str(read_end),
                        str(grace_s),
                        ",".join(str(cpu) for cpu in cpus),
                        "--",
                        *command,
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else dict(env),
                    pass_fds=(read_end, *keep_fds),
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._write_end)
            raise
        finally:
            os.close(read_end)

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def exit_status(self) -> int | None:
        """None while it runs; above 128, the number of the signal that ended it is what is over 128."""
        return self._guard.poll()

    def log_tail(self) -> str:
        return log_tail(self.log_path)

    def stop(self) -> None:
        """Ask it to end, wait, and use force past the grace time. Calling it again does nothing."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
        try:
            self._guard.wait(self._grace_s + KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()  # the kernel then kills the command
            self._guard.wait()

    def kill(self) -> None:
        """End it at once, as a crash of the machine would: for tests of recovery."""
        self._guard.send_signal(signal.SIGUSR1)  # not to the guard's own end: it must see the command's
        self.stop()


class DirectoryLock:
    """One owner per data directory, held by an open file: the kernel lets go of it when the last holder dies.

    The file descriptor is handed to the guard as well, so the lock is free only when the server is down.
    """

    def __init__(self, directory: Path, what: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "lock"
        self._what = what
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire()
        except BaseException:
            os.close(self._fd)
            raise
        os.truncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _acquire(self) -> None:
        give_up_at = time.monotonic() + LOCK_HANDOVER_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                owner = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
                if _is_alive(owner) or time.monotonic() >= give_up_at:
                    raise LocalStackError(
                        f"{self._what}: the data directory {self.path.parent} is in use by process {owner or '?'}; "
                        "stop that one first, or give this one a directory of its own"
                    ) from None
                time.sleep(0.1)

    def fileno(self) -> int:
        return self._fd

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log file for an error message; "" when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 64 * 1024))
            return "\n".join(log.read().decode("utf-8", errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def free_port(preferred: int | None = None) -> int:
    """A loopback port that nobody listens on; `preferred` (the one of the last run) when that is still free."""
    for port in ([preferred] if preferred else []) + [0]:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LocalStackError(f"no free port on {LOOPBACK}")


def user_cache_dir() -> Path:
    """Where downloads are kept between projects and runs: TONGGUAN_CACHE, else the user's cache directory."""
    if given := os.environ.get("TONGGUAN_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tongguan"
