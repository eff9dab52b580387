"""Where the demo runs: a directory of its own that is fresh at each start, a stack in it, and a worker beside it.

The demo is the same on every machine: settings in the environment are left aside, so that it can never write to the
Kafka or ClickHouse that they name. Everything starts side by side: while the servers come up, the worker does its
imports and this process makes the city.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from pydantic import SecretStr

from deploy.config import TongguanConfig
from deploy.config_load import ENV_PREFIX, load_config
from deploy.console import UsageProblem
from deploy.endpoints import Claim, Endpoints, with_endpoints
from deploy.local.process import DirectoryLock, GuardedProcess
from deploy.local.stack import LocalStack
from deploy.migrate import bring_up_to_date
from deploy.store import open_store
from schemas.errors import TongguanError
from schemas.sources import Source
from streams.topic_admin import apply as apply_topics

MARKER: Final = "made-by-tongguan-demo"
CITY: Final = "city"
FILE: Final = "tongguan.toml"
OURS: Final = ("clickhouse", "kafka", "faust", CITY, "running.json", FILE, "worker.log")
"""All that the demo makes in its directory, and therefore all that it deletes from it; and the marker and the lock."""
SERVERS: Final = ("kafka", "clickhouse")
READY: Final = re.compile(r"worker: .* running on ")  # in the worker's log, once its consumer groups are joined
METRICS: Final = re.compile(r"worker: metrics at (\S+)")
READY_WITHIN_S: Final = 180.0  # kernels are compiled once per machine
WATCH_S: Final = 0.05
PARTITIONS: Final = {Source.READINGS: 4, Source.CAMERA_EVENTS: 2, Source.TICKETS: 1}

SETTINGS: Final = f"""\
# Written by `tongguan demo`; with it, other commands look at what the demo does, and at what it left behind.
data_dir = "."

[topics]
replication = 1
shards = 4
readings_partitions = {PARTITIONS[Source.READINGS]}
camera_events_partitions = {PARTITIONS[Source.CAMERA_EVENTS]}
tickets_partitions = {PARTITIONS[Source.TICKETS]}

[locate]
# no source goes idle, however slowly it is fed: the alerts are always the same
idle_after_ms = 86400000

[metrics]
port = 0
"""

Made = TypeVar("Made")
Done = TypeVar("Done")
Step = Callable[[str, str], contextlib.AbstractContextManager[None]]


class DemoStopped(TongguanError):
    """Somebody asked the demo to stop; it is no failure."""


class DemoFailed(TongguanError):
    """The demo did not show what it should; the message says why."""


@dataclass(frozen=True, slots=True)
class Stage(Generic[Made]):
    """What stands while the demo runs; `made` is the city that it was made for."""

    config: TongguanConfig  # with the addresses of the stack
    file: Path
    worker: GuardedProcess
    metrics_url: str
    made: Made

    def check(self) -> None:
        """Raises DemoFailed when the worker has ended by itself."""
        _check(self.worker)


@contextlib.contextmanager
def stage(
    folder: Path,
    make: Callable[[Path], tuple[str, Made]],
    *,
    roles: str,
    stopping: Callable[[], bool],
    step: Step,
) -> Iterator[Stage[Made]]:
    """Everything up and ready for records; at the end everything is stopped, in order, however it ends.

    `make` writes the city into the folder it is given, and returns the sections of the configuration that belong to it.
    `step(zh, en)` wraps each part that takes a while. Raises DemoStopped soon after `stopping` says so.
    """
    folder = folder.resolve()
    check_folder(folder)
    with settings_left_aside(), Claim(folder) as claim:
        make_fresh(folder)
        file = folder / FILE
        with contextlib.ExitStack() as standing:
            stack = LocalStack(folder, quick=True)
            assert stack.kafka is not None and stack.clickhouse is not None  # no others are named here
            threads = standing.enter_context(ThreadPoolExecutor(3, thread_name_prefix="stage"))
            standing.callback(stack.stop)
            # what is still starting cannot be stopped
            kafka = threads.submit(stack.kafka.start)
            standing.callback(kafka.exception)
            clickhouse = threads.submit(stack.clickhouse.start)
            standing.callback(clickhouse.exception)
            worker = _worker(folder, roles)
            standing.callback(worker.stop)

            def finished(part: Future[Done]) -> Done:
                while not part.done():
                    _stop_if(stopping)
                    _check(worker)
                    time.sleep(WATCH_S)
                return part.result()

            with step(
                "准备城市：辖区、单位、时限、设备", "making the city: districts, departments, deadlines, devices"
            ):
                sections, made = make(folder / CITY)
                write_settings(file, sections)
                wanted = load_config(file).config
            with step("启动 Kafka 与 ClickHouse", "starting Kafka and ClickHouse"):
                finished(clickhouse)
                tables = threads.submit(_make_tables, wanted, stack.clickhouse_url)
                standing.callback(tables.exception)
                finished(kafka)
            with step("建立主题与数据表", "creating topics and tables"):
                apply_topics(stack.kafka_bootstrap, wanted.topic_specs())
                claim.announce(Endpoints(pid=os.getpid(), kafka=stack.kafka_bootstrap, clickhouse=stack.clickhouse_url))
                config = with_endpoints(wanted)
                finished(tables)
            with step("启动处理进程：定位、研判、闭环、归档", "starting the worker: locate, join, dispatch, archive"):
                metrics_url = _wait_until_ready(worker, stopping)
            yield Stage(config, file, worker, metrics_url, made)
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


def write_settings(file: Path, sections: str) -> None:
    """In one step: the worker reads the file as soon as it is there."""
    part = file.with_suffix(".part")
    part.write_text(f"{SETTINGS}\n{sections}", encoding="utf-8")
    part.replace(file)


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


def _worker(folder: Path, roles: str) -> GuardedProcess:
    path = os.pathsep.join(entry for entry in (*sys.path, os.getcwd()) if entry)
    return GuardedProcess(
        "worker",
        [sys.executable, "-m", "deploy.demo_worker", str(folder), roles],
        log_path=folder / "worker.log",
        env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )


def _check(worker: GuardedProcess) -> None:
    status = worker.exit_status()
    if status is not None:
        raise DemoFailed(f"the worker ended with status {status}; its log ends:\n{worker.log_tail()}")


def _make_tables(wanted: TongguanConfig, url: str) -> None:
    login = {"url": url, "user": "default", "password": SecretStr("")}
    config = wanted.model_copy(update={"clickhouse": wanted.clickhouse.model_copy(update=login)})
    with open_store(config) as store:
        bring_up_to_date(store, config, progress=lambda _: None)


def _wait_until_ready(worker: GuardedProcess, stopping: Callable[[], bool]) -> str:
    """The address of its metrics."""
    give_up_at = time.monotonic() + READY_WITHIN_S
    while not READY.search(told := worker.log_path.read_text(encoding="utf-8", errors="replace")):
        _check(worker)
        _stop_if(stopping)
        if time.monotonic() > give_up_at:
            raise DemoFailed(
                f"the worker was not ready within {READY_WITHIN_S:.0f} s; its log ends:\n{worker.log_tail()}"
            )
        time.sleep(WATCH_S)
    found = METRICS.search(told)
    assert found is not None  # it is told before
    return found[1]


def _stop_if(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise DemoStopped("stopped")
