"""A guarded process never outlives the one that asked for it; a data directory has one owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.process import DirectoryLock, GuardedProcess, LocalStackError, free_port

WAIT_S = 15.0


def until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"waited {WAIT_S} s for: {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes between opening and reading
        return False


def written_pid(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"a pid in {path}")
    return int(path.read_text())


DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
SLOW = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), os._exit(0)))"


def server_command(pid_file: Path, on_term: str = "0") -> list[str]:
    """A stand-in server that writes its pid and sleeps; `on_term` is DEAF to SIGTERM, or SLOW to follow it."""
    code = f"import os, signal, time; {on_term}; print(os.getpid(), file=open({str(pid_file)!r}, 'w')); time.sleep(600)"
    return [sys.executable, "-I", "-S", "-c", code]


def start_owner(tmp_path: Path, extra: str = "", on_term: str = "0") -> subprocess.Popen[bytes]:
    """Another Python that owns a guarded server and then waits: the one to be killed."""
    code = f"""
    import os, sys, time
    from pathlib import Path
    from deploy.local.process import DirectoryLock, GuardedProcess
    lock = DirectoryLock(Path({str(tmp_path / "data")!r}), "test server")
    server = GuardedProcess("test", {server_command(tmp_path / "server.pid", on_term)!r},
                            log_path=Path({str(tmp_path / "log")!r}), keep_fds=(lock.fileno(),))
    {extra}
    print(server.guard_pid, file=open({str(tmp_path / "guard.pid")!r}, "w"))
    time.sleep(600)
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_is_gone_after_its_owner_was_killed(tmp_path: Path, signal_number: signal.Signals) -> None:
    owner = start_owner(tmp_path)
    server = written_pid(tmp_path / "server.pid")
    written_pid(tmp_path / "guard.pid")
    owner.send_signal(signal_number)
    owner.wait(WAIT_S)
    until(lambda: not is_running(server), "the end of the server")


def test_a_forked_child_of_the_owner_that_lives_on_does_not_keep_the_server_alive(tmp_path: Path) -> None:
    # multiprocessing's fork does this: the child has a copy of the pipe's write end.
    extra = f"child = os.fork() or time.sleep(600); print(child, file=open({str(tmp_path / 'child.pid')!r}, 'w'))"
    owner = start_owner(tmp_path, extra)
    server, child = written_pid(tmp_path / "server.pid"), written_pid(tmp_path / "child.pid")
    try:
        owner.kill()
        owner.wait(WAIT_S)
        until(lambda: not is_running(server), "the end of the server")
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_server_is_gone_after_its_guard_was_killed(tmp_path: Path) -> None:
    process = GuardedProcess("test", server_command(tmp_path / "pid"), log_path=tmp_path / "log")
    server = written_pid(tmp_path / "pid")
    os.kill(process.guard_pid, signal.SIGKILL)
    until(lambda: not is_running(server), "the end of the server")
    process.stop()


def test_a_server_that_is_deaf_to_the_polite_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    process = GuardedProcess("test", server_command(tmp_path / "pid", DEAF), log_path=tmp_path / "log", grace_s=0.3)
    server = written_pid(tmp_path / "pid")
    process.stop()
    assert not is_running(server)
    assert process.exit_status() == 128 + signal.SIGKILL


def test_stop_can_be_repeated_and_the_log_is_kept(tmp_path: Path) -> None:
    process = GuardedProcess("test", [sys.executable, "-c", "print('hello')"], log_path=tmp_path / "log")
    until(lambda: process.exit_status() is not None, "the end of the command")
    process.stop()
    process.stop()
    assert process.exit_status() == 0
    assert process.log_tail() == "hello"


def test_a_server_is_stopped_although_its_owner_blocks_signals(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        process = GuardedProcess("test", server_command(tmp_path / "pid"), log_path=tmp_path / "log")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    written_pid(tmp_path / "pid")
    started = time.monotonic()
    process.stop()
    assert process.exit_status() == 128 + signal.SIGTERM
    assert time.monotonic() - started < 10.0


def test_a_second_owner_of_a_data_directory_is_refused_with_the_first_one_named(tmp_path: Path) -> None:
    refusal = rf"in use by process {os.getpid()}; stop that one first"
    with DirectoryLock(tmp_path, "local Kafka"), pytest.raises(LocalStackError, match=refusal):
        DirectoryLock(tmp_path, "local Kafka")
    DirectoryLock(tmp_path, "local Kafka").release()


def test_the_next_owner_waits_for_the_server_of_a_killed_owner(tmp_path: Path) -> None:
    owner = start_owner(tmp_path, on_term=SLOW)
    server = written_pid(tmp_path / "server.pid")
    written_pid(tmp_path / "guard.pid")
    owner.kill()
    owner.wait(WAIT_S)
    with DirectoryLock(tmp_path / "data", "test server"):
        assert not is_running(server)


def test_a_free_port_is_the_preferred_one_when_nobody_listens_there() -> None:
    port = free_port()
    assert free_port(port) == port
