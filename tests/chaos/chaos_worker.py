"""A worker that lives and dies many times: forked or executed, with a crash point in a life where it is wanted."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, cast

from tests.chaos.crash_points import CrashPoint
from tests.chaos.zygote import Zygote
from tests.live.support.city_worker import CityWorker

ALL_ROLES: Final = ("locate", "join", "dispatch", "archive")
# below the range from which the kernel takes the ports of clients: one is ours again in each life
_ports = itertools.cycle(range(20_000 + os.getpid() % 5_000, 32_000))


class ChaosWorker(CityWorker):
    """`zygote` None: executed as a process of its own, seconds later than a forked one."""

    def __init__(
        self,
        config: dict[str, Any],
        log_path: Path,
        *,
        roles: tuple[str, ...] = ALL_ROLES,
        zygote: Zygote | None = None,
        off: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        probe: Path | None = None,
        configured: bool = False,
    ) -> None:
        super().__init__(config, log_path, roles=roles, port=_free_port())
        self._zygote = zygote
        self._off = off
        self._env = dict(env or {})
        self._probe = probe
        self._configured = configured
        self._crash: CrashPoint | None = None

    def start(self, crash: CrashPoint | None = None) -> Self:
        self._crash = crash
        return super().start()

    def _launch(self) -> subprocess.Popen[bytes]:
        spec = {
            "config": self._config,
            "roles": self._roles,
            "crash": None if self._crash is None else self._crash.as_spec(),
            "off": self._off,
            "env": self._env,
            "probe": None if self._probe is None else str(self._probe),
            "configured": self._configured,
        }
        if self._zygote is None:
            return self._execute("tests.chaos.worker", json.dumps(spec))
        return cast("subprocess.Popen[bytes]", self._zygote.fork(spec, self.log_path))  # as far as it is used

    def kill_if_running(self) -> None:
        if self._process is not None:
            self.kill()

    @property
    def roles(self) -> tuple[str, ...]:
        return self._roles

    @property
    def pid(self) -> int:
        return self.process.pid


def _free_port() -> int:
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("the ports go round for ever")
