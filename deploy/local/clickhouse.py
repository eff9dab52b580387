"""A real ClickHouse engine on this machine behind ClickHouse's HTTP interface, its data kept between starts."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from deploy.local.clickhouse_front import Fault
from deploy.local.process import LOOPBACK, LocalStackError, free_port
from deploy.local.server import LocalServer

PROJECT = Path(__file__).resolve().parents[2]


class LocalClickHouse(LocalServer):
    """The front in a process of its own, because chDB has one engine a process. The user is `default`."""

    name = "local ClickHouse"
    ready_within_s = 60.0

    def __init__(
        self, data_dir: Path, port: int | None = None, *, password: str = "", cpus: Sequence[int] = ()
    ) -> None:
        super().__init__(data_dir, port, cpus=cpus)
        self._password = password
        self._control_port = 0

    @property
    def url(self) -> str:
        """http://127.0.0.1:port for clients. Only while it runs."""
        return f"http://{LOOPBACK}:{self.port}"

    def act_out(self, fault: Fault) -> None:
        """Behave badly from now on (see Fault); `act_out(Fault())` behaves again."""
        connection = http.client.HTTPConnection(LOOPBACK, self._control_port, timeout=30)
        try:
            connection.request("POST", "/fault", msgspec.json.encode(fault))
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise LocalStackError(f"local ClickHouse refused the fault {fault}: {text}")
        finally:
            connection.close()

    def _prepare(self, port: int) -> list[str]:
        self._control_port = free_port()
        password_file = self.data_dir / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, "utf-8")
        return [
            *(sys.executable, "-m", "deploy.local.clickhouse_front", str(self.data_dir)),
            *("--port", str(port), "--control-port", str(self._control_port)),
            *("--password-file", str(password_file)),
        ]

    def _environment(self) -> Mapping[str, str]:
        """Ours, with the project importable wherever we were started."""
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        return os.environ | {"PYTHONPATH": path}

    def _is_ready(self, port: int) -> bool:
        return _answers(port)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().read() == b"Ok.\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
