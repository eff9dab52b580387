"""An engine from outside: bytes on its sockets, CPU and memory of all its processes, and that none is left behind."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.peers.processes import Processes
from benchmarks.peers.sockets import MESSAGE, connections_to, parse
from deploy.local.process import LOOPBACK, GuardedProcess

SENT = 300_000
WITHIN_S = 30.0

# A process whose child does the work: it reads what the server sends, uses half a second of CPU and will not end when
# asked to.
FORKS = """
import os, signal, socket, sys, time
if os.fork():
    os.wait()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
left = int(sys.argv[2])
while left:
    left -= len(connection.recv(left))
ballast = bytearray(b"x" * 50_000_000)
while time.process_time() < 0.5:
    pass
time.sleep(600)
"""


@pytest.fixture
def server() -> Iterator[int]:
    """A port that sends SENT bytes to whoever connects and keeps the connection."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                kept.append(connection)
                connection.sendall(b"x" * SENT)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(WITHIN_S)
        for connection in kept:
            connection.close()


def read_all(client: socket.socket) -> None:
    left = SENT
    while left:
        left -= len(client.recv(left))


def eventually(holds: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.05)
    return True


def test_the_kernel_tells_what_a_connection_received(server: int) -> None:
    with socket.create_connection((LOOPBACK, server)) as client:
        read_all(client)
        assert dict(connections_to(server))[os.fstat(client.fileno()).st_ino] == SENT
    assert eventually(lambda: not connections_to(server))


def test_a_kernel_that_tells_no_bytes_is_named() -> None:
    body = MESSAGE.pack(1, 2, 0, 0, 0, 0, 99) + struct.pack("=HH", 8, 1) + b"\0" * 4
    with pytest.raises(OSError, match=r"Linux 4\.1"):
        parse(body, 9092)


def test_children_count_as_the_engine_and_are_not_left_behind(server: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKS, str(server), str(SENT)]
    guard = GuardedProcess("forks", command, log_path=tmp_path / "log", grace_s=0.2)
    processes = Processes([guard.guard_pid], server)
    try:

        def all_seen() -> bool:
            processes.look()
            return (
                len(processes.pids) == 2
                and processes.bytes_received() == SENT
                and processes.cpu_s() >= 0.5
                and processes.peak_rss_mb() >= 50
            )

        assert eventually(all_seen), guard.log_tail()
        assert guard.guard_pid not in processes.pids
    finally:
        guard.stop()
    child = next(pid for pid in processes.pids if Path(f"/proc/{pid}").exists())  # it did not listen to SIGTERM
    processes.kill_what_is_left()
    assert eventually(lambda: not Path(f"/proc/{child}").exists())


def test_what_another_process_receives_is_not_the_engines(server: int) -> None:
    processes = Processes([1], server)
    with socket.create_connection((LOOPBACK, server)) as client:
        read_all(client)
        processes.look()
        assert connections_to(server)
        assert processes.bytes_received() == 0
