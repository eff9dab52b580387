"""An engine's processes from outside: CPU time, peak memory, and the bytes they got from the broker.

A guard (deploy/local/guard.py) is a session leader, so an engine's processes are those of the session, however deep
they fork and even when a parent is gone.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.peers.sockets import connections_to

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(slots=True)
class Processes:
    """The processes under these guards, the guards themselves left out; `look` finds new ones, which costs some ms."""

    guards: Sequence[int]
    port: int
    """The broker's."""
    pids: set[int] = field(default_factory=set)
    _cpu_s: dict[int, float] = field(default_factory=dict)
    _peak_kb: dict[int, int] = field(default_factory=dict)
    _inodes: dict[int, bool] = field(default_factory=dict)
    """Whether a connection to the broker is one of ours."""
    _received: dict[int, int] = field(default_factory=dict)

    def look(self) -> None:
        """Find the processes, and note each one's peak of resident memory so far."""
        self.pids = {pid for pid in _all_pids() if _session(pid) in self.guards} - set(self.guards)
        for pid in self.pids:
            with suppress(*GONE):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        self._peak_kb[pid] = int(line.split()[1])

    def cpu_s(self) -> float:
        """User and system time of all of them so far; what ended keeps the last value that was seen."""
        for pid in self.pids:
            with suppress(*GONE):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                self._cpu_s[pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        return sum(self._cpu_s.values())

    def bytes_received(self) -> int:
        """From the broker, over all connections there have been."""
        connections = connections_to(self.port)
        if any(connection.inode not in self._inodes for connection in connections):
            ours = {inode for pid in self.pids for inode in _socket_inodes(pid)}
            # one that is not ours yet may be when the process has been found: only what is ours is remembered
            self._inodes |= {one.inode: True for one in connections if one.inode in ours}
        for inode, received in connections:
            if self._inodes.get(inode):
                self._received[inode] = max(self._received.get(inode, 0), received)
        return sum(self._received.values())

    def peak_rss_mb(self) -> int:
        """The sum of each process's own peak, as of the last look: at most what they ever held together."""
        return sum(self._peak_kb.values()) // 1024

    def kill_what_is_left(self) -> None:
        """After the guards are gone: kill -9 what outlived them."""
        for _ in range(50):
            left = [pid for pid in _all_pids() if _session(pid) in self.guards]
            if not left:
                return
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _session(pid: int) -> int:
    """0 for a process that is gone or dead (a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except GONE:
        return 0
    return 0 if fields[0] == "Z" else int(fields[3])


def _socket_inodes(pid: int) -> Iterator[int]:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except GONE:
        return
    for descriptor in descriptors:
        with suppress(OSError):
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                yield int(target[len("socket:[") : -1])
