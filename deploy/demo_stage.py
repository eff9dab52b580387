"""Where the demo runs: a directory of its own that is fresh at each start, a stack in it, and a worker beside it.

The demo is the same on every machine: settings in the environment are left aside, so that it can never write to the
Kafka or ClickHouse that they name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.config import TongguanConfig
from deploy.config_load import ENV_PREFIX, load_config
from deploy.console import UsageProblem
from deploy.demo_recording import DEVICES, PARTITIONS
from deploy.endpoints import Claim, Endpoints, with_endpoints
from deploy.local.process import DirectoryLock, GuardedProcess
from deploy.local.stack import LocalStack
from deploy.migrate import bring_up_to_date
from deploy.store import open_store
from schemas.errors import TongguanError
from schemas.sources import Source
from streams.topics import apply as apply_topics

MARKER: Final = "made-by-tongguan-demo"
OURS: Final = ("clickhouse", "kafka", "faust", "devices.csv", "running.json", "tongguan.toml", "worker.log")
"""All that the demo makes in its directory, and therefore all that it deletes from it; and the marker and the lock."""
SERVERS: Final = ("kafka", "clickhouse")
READY: Final = " running on "  # in the worker's log, once its consumer groups are joined
READY_WITHIN_S: Final = 180.0  # kernels are compiled once per machine
WATCH_S: Final = 0.1

SETTINGS: Final = f"""\
# Written by `tongguan demo`; with it, other commands look at what the demo left behind.
data_dir = "."

[city]
devices = "devices.csv"

[topics]
replication = 1
shards = 4
readings_partitions = {PARTITIONS[Source.READINGS]}
camera_events_partitions = {PARTITIONS[Source.CAMERA_EVENTS]}
tickets_partitions = {PARTITIONS[Source.TICKETS]}

[locate]
# no source goes idle in the recorded hour, however slowly it is replayed: the alerts are always the same
idle_after_ms = 86400000

[metrics]
port = 0
"""


class DemoStopped(TongguanError):
    """Somebody asked the demo to stop; it is no failure."""


class DemoFailed(TongguanError):
    """The demo did not show what it should; the message says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands while the demo runs."""

    config: TongguanConfig  # with the addresses of the stack
    file: Path
    worker: GuardedProcess

    def check(self) -> None:
        """Raises DemoFailed when the worker has ended by itself."""
        status = self.worker.exit_status()
        if status is not None:
            raise DemoFailed(f"the worker ended with status {status}; its log ends:\n{self.worker.log_tail()}")


@contextlib.contextmanager
def stage(
    folder: Path, *, stopping: Callable[[], bool], step: Callable[[str, str], contextlib.AbstractContextManager[None]]
) -> Iterator[Stage]:
    """Everything up and ready for records; at the end everything is stopped, in order, however it ends.

    `step(zh, en)` wraps each part that takes a while. Raises DemoStopped soon after `stopping` says so.
    """
    folder = folder.resolve()
    check_folder(folder)
    with settings_left_aside(), Claim(folder) as claim:
        make_fresh(folder)
        file = folder / "tongguan.toml"
        wanted = load_config(file).config
        with contextlib.ExitStack() as standing:
            with step("启动 Kafka 与 ClickHouse", "starting Kafka and ClickHouse"):
                stack = standing.enter_context(LocalStack(folder))
            _stop_if(stopping)
            claim.announce(Endpoints(pid=os.getpid(), kafka=stack.kafka_bootstrap, clickhouse=stack.clickhouse_url))
            config = with_endpoints(wanted)
            with step("建立主题与数据表", "creating topics and tables"):
                apply_topics(stack.kafka_bootstrap, config.topic_specs())
                with open_store(config) as store:
                    bring_up_to_date(store, config, progress=lambda _: None)
            _stop_if(stopping)
            with step("启动处理进程：定位、汇合研判、归档", "starting the worker: locate, join, archive"):
                staged = Stage(config, file, _worker(file))
                standing.callback(staged.worker.stop)
                _wait_until_ready(staged, stopping)
            yield staged
            with step("停止处理进程、Kafka 与 ClickHouse", "stopping the worker, Kafka and ClickHouse"):
                standing.close()


def check_folder(folder: Path) -> None:
    """Refuse a directory that holds things of somebody else: the demo deletes what is in its own."""
    if folder.is_dir() and not (folder / MARKER).exists() and any(folder.iterdir()):
        raise UsageProblem(
            f"{folder} is not empty and was not made by the demo, which starts fresh each time; "
            "name another directory with --data-dir"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageProblem(f"{folder} is not a directory; name another one with --data-dir")


def make_fresh(folder: Path) -> None:
    """The directory as at a first start. Waits for servers of a demo that was killed: they are on their way down."""
    (folder / MARKER).touch()
    for server in SERVERS:
        if (folder / server).is_dir():
            DirectoryLock(folder / server, f"demo's {server}").release()
    for name in OURS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    shutil.copyfile(DEVICES, folder / "devices.csv")
    (folder / "tongguan.toml").write_text(SETTINGS, encoding="utf-8")


@contextlib.contextmanager
def settings_left_aside() -> Iterator[None]:
    """No setting in the environment, for us and our children, but where downloads are kept and whether to debug."""
    kept = ("TONGGUAN_CACHE", "TONGGUAN_DEBUG")
    aside = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith(ENV_PREFIX) and name not in kept
    }
    try:
        yield
    finally:
        os.environ.update(aside)


def _worker(file: Path) -> GuardedProcess:
    path = os.pathsep.join(entry for entry in (*sys.path, os.getcwd()) if entry)
    return GuardedProcess(
        "worker",
        [sys.executable, "-m", "deploy.main", "worker", "--config", str(file)],
        log_path=file.with_name("worker.log"),
        env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )


def _wait_until_ready(staged: Stage, stopping: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + READY_WITHIN_S
    while READY not in staged.worker.log_path.read_text(encoding="utf-8", errors="replace"):
        staged.check()
        _stop_if(stopping)
        if time.monotonic() > give_up_at:
            raise DemoFailed(
                f"the worker was not ready within {READY_WITHIN_S:.0f} s; its log ends:\n{staged.worker.log_tail()}"
            )
        time.sleep(WATCH_S)


def _stop_if(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise DemoStopped("stopped")
