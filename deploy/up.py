"""`tongguan up`: the whole local system in one process tree: Kafka, ClickHouse, topics, tables, a worker.

This process owns the stack and watches the worker, which runs as a child of its own so that a crash of one is not a
crash of the other. The worker is started again when it ends by itself; Ctrl-C or SIGTERM ends everything in order.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import say
from deploy.endpoints import Claim, Endpoints, with_endpoints
from deploy.local.process import GuardedProcess
from deploy.local.stack import LocalStack
from deploy.migrate import bring_up_to_date
from deploy.store import open_store
from deploy.topics import told
from deploy.worker_command import parse_roles
from schemas.errors import TongguanError
from streams.topic_admin import apply as apply_topics

WATCH_S: Final = 0.3
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 60.0
"""A worker that ran this long had started well: its next failure is a new one, and the pause begins small again."""


class WorkerFailed(TongguanError):
    """The worker ended at once and will do so again: its own message is in its log."""


def run(path: Path | None, *, roles: str) -> None:
    """Run until Ctrl-C or SIGTERM. An empty `roles` runs no worker."""
    chosen = parse_roles(roles) if roles else ()
    loaded = load_config(path)
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            say("stopping 正在停止 ...")
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Claim(loaded.config.data_dir) as claim:
            say("starting 正在启动 ... (the first start on a machine downloads Kafka)", style="dim")
            wanted = loaded.config
            with LocalStack(
                wanted.data_dir, kafka=wanted.kafka.bootstrap, clickhouse=wanted.clickhouse.url, say=_tell_progress
            ) as stack:
                endpoints = Endpoints(pid=os.getpid(), kafka=stack.kafka_bootstrap, clickhouse=stack.clickhouse_url)
                claim.announce(endpoints)
                config = with_endpoints(wanted)
                _prepare(config)
                _tell(config, endpoints, with_worker=bool(chosen))
                if not stop.is_set():
                    _watch(config, loaded.file, chosen, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    say("stopped 已停止", style="green")


def _tell_progress(line: str) -> None:
    say(f"  {line}", style="dim")


def _prepare(config: TongguanConfig) -> None:
    """Topics and tables, as configured."""
    applied = apply_topics(
        str(config.kafka.bootstrap), config.topic_specs(), options=config.kafka.kafka_python_options()
    )
    for difference in applied.done:
        say(told(difference), style="dim")
    for difference in applied.drift:
        say(f"drift 不一致: {difference}", style="yellow")
    with open_store(config) as store:
        bring_up_to_date(store, config, progress=lambda what: say(f"  {what}", style="dim"))


def _tell(config: TongguanConfig, endpoints: Endpoints, *, with_worker: bool) -> None:
    say("up 已就绪", style="bold green")
    say(f"  kafka       {endpoints.kafka}")
    say(f"  clickhouse  {endpoints.clickhouse}")
    if with_worker and config.metrics.port:
        say(f"  metrics     http://{config.metrics.host}:{config.metrics.port}/metrics")
    say(f"  data        {config.data_dir}")
    say("in another terminal: tongguan tail alerts, tongguan sql, tongguan doctor; Ctrl-C here stops all", style="dim")


def _watch(config: TongguanConfig, file: Path | None, roles: tuple[str, ...], stop: threading.Event) -> None:
    """Keep a worker running until asked to stop, with growing pauses between failures."""
    if not roles:
        stop.wait()
        return
    log_path = config.data_dir / "worker.log"
    say(f"  worker      {', '.join(roles)}; its log is {log_path}")
    pause = FIRST_PAUSE_S
    while not stop.is_set():
        started = time.monotonic()
        worker = _start_worker(config, file, roles, log_path)
        try:
            while worker.exit_status() is None and not stop.wait(WATCH_S):
                pass
            status = worker.exit_status()
        finally:
            worker.stop()
        if stop.is_set() or status is None:
            return
        if status == 2:  # ExitCode.USAGE: the same configuration fails the same way every time
            raise WorkerFailed(f"the worker refused its configuration:\n{worker.log_tail()}")
        if time.monotonic() - started > STEADY_S:
            pause = FIRST_PAUSE_S
        say(f"the worker ended with status {status}; again in {pause:g} s. Its log ends:", style="red")
        say(worker.log_tail())
        stop.wait(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def _start_worker(config: TongguanConfig, file: Path | None, roles: tuple[str, ...], log_path: Path) -> GuardedProcess:
    command = [sys.executable, "-m", "deploy.main", "worker", "--roles", ",".join(roles)]
    if file is not None:
        command += ["--config", str(file)]
    # it finds the addresses where every command does: in what this process announced, or in the configuration
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {
        "TONGGUAN_DATA_DIR": str(config.data_dir),
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }
    return GuardedProcess("worker", command, log_path=log_path, env=environment)
