"""Where the local stack listens: `tongguan up` writes it down, the other commands look it up.

The file lies in the data directory. Its owner holds a lock beside it, which the system drops when the owner ends,
however it ends: a stale file is never believed, and two stacks never share a directory.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from pydantic import SecretStr

from deploy.config import TongguanConfig
from schemas.errors import TongguanError
from streams.topic_admin import BrokerAway

FILE_NAME: Final = "running.json"
LOCK_NAME: Final = "running.lock"


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of a running local stack, and the process that owns it."""

    pid: int
    kafka: str
    clickhouse: str
    metrics: str | None = None


class Claim:
    """The right to run the local stack in one data directory; a context manager that gives it up at the end.

    Raises TongguanError when another process has it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        # Python opens files so that children do not inherit them: only this process holds the lock
        self._lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            running = read(data_dir)
            who = f" (process {running.pid}, kafka at {running.kafka})" if running else ""
            raise TongguanError(
                f"a local stack already runs in {data_dir}{who}; stop it first, or set another data_dir"
            ) from None

    def announce(self, endpoints: Endpoints) -> None:
        """Write the addresses in one step, readable by their owner only."""
        part = self._data_dir / (FILE_NAME + ".part")
        part.write_bytes(msgspec.json.encode(endpoints))
        part.chmod(0o600)
        part.replace(self._data_dir / FILE_NAME)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._data_dir / FILE_NAME).unlink(missing_ok=True)
        os.close(self._lock)


def read(data_dir: Path) -> Endpoints | None:
    """The running stack's addresses, or None when none runs in this data directory."""
    if not _is_held(data_dir):
        return None
    try:
        return msgspec.json.decode((data_dir / FILE_NAME).read_bytes(), type=Endpoints)
    except (OSError, msgspec.DecodeError):  # claimed but still starting
        return None


def with_endpoints(config: TongguanConfig) -> TongguanConfig:
    """The configuration with the running local stack's addresses where it names none itself."""
    running = read(config.data_dir)
    if running is None:
        return config
    kafka, clickhouse = config.kafka, config.clickhouse
    if kafka.bootstrap is None:
        kafka = kafka.model_copy(update={"bootstrap": running.kafka})
    if clickhouse.url is None:
        login = {"user": "default", "password": SecretStr("")}  # the local engine's, whatever a server's would be
        clickhouse = clickhouse.model_copy(update={"url": running.clickhouse, **login})
    return config.model_copy(update={"kafka": kafka, "clickhouse": clickhouse})


def bootstrap_of(config: TongguanConfig) -> str:
    """The broker list; BrokerAway when neither the configuration nor a running local stack has one."""
    if config.kafka.bootstrap is None:
        raise BrokerAway(
            f"kafka: no broker is configured and no local stack runs in {config.data_dir}; "
            "start one with `tongguan up`, or set kafka.bootstrap (environment TONGGUAN_KAFKA)"
        )
    return config.kafka.bootstrap


def _is_held(data_dir: Path) -> bool:
    try:
        lock = os.open(data_dir / LOCK_NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
