"""Workers that start in a tenth of a second: forked from a process that has everything imported and compiled.

A worker's start costs four seconds of processor time (imports, kernels), and a campaign starts a thousand of them. So
one process, the *zygote*, imports and warms all of it, never starts a thread or an event loop, and forks a worker on
demand. What a forked worker runs is what an executed one runs (tests/chaos/worker.py); a sample of seeds is executed
all the same, so that the zygote hides nothing.

The zygote talks in lines of JSON over its standard input and output, and is the workers' parent: it sends their signals
(so a process id is never one that has been given to another) and gathers their ends. When its input ends, or it is
killed, its workers are killed.

    python -m tests.chaos.zygote          (started by `Zygote`)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

PROJECT: Final = Path(__file__).resolve().parents[2]
POLL_S: Final = 0.02
KILLED: Final = -int(signal.SIGKILL)


class Zygote:
    """The process that forks workers. `with Zygote(folder) as zygote`; may be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._log_path = folder / "zygote.log"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.zygote"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=PROJECT,
                env=os.environ | {"PYTHONPATH": str(PROJECT)},
            )  # fmt: skip
        self._ask({"do": "ready"})
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()

    def fork(self, spec: dict[str, Any], log_path: Path) -> ForkedProcess:
        """A worker with this spec (see tests/chaos/worker.py); what it says goes to the end of `log_path`."""
        return ForkedProcess(self, self._ask({"do": "fork", "spec": spec, "log": str(log_path)}))

    def signal(self, pid: int, number: int) -> None:
        self._ask({"do": "signal", "pid": pid, "number": number})

    def status(self, pid: int) -> int | None:
        """The exit status as `subprocess` gives it (below 0: the signal), None while it runs."""
        answer: int | None = self._ask({"do": "status", "pid": pid})
        return answer

    def _ask(self, request: dict[str, Any]) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        with self._lock:
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = ""
        if not answer:
            raise RuntimeError(f"the zygote has ended:\n{self._log_path.read_text('utf-8', errors='replace')[-4000:]}")
        return json.loads(answer)


class ForkedProcess:
    """As much of `subprocess.Popen` as CityWorker uses."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._zygote.status(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            self._zygote.signal(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


# --- the other side -------------------------------------------------------------------------------------------------


class _Nursery:
    """The zygote's children, in the zygote."""

    def __init__(self) -> None:
        self._running: set[int] = set()
        self._ended: dict[int, int] = {}

    def answer(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "fork":
                return self._fork(request["spec"], request["log"])
            case "signal":
                self._gather(request["pid"])
                if request["pid"] in self._running:
                    os.kill(request["pid"], request["number"])
            case "status":
                self._gather(request["pid"])
                return self._ended.get(request["pid"])
        return None

    def kill_all(self) -> None:
        for pid in list(self._running):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _gather(self, pid: int) -> None:
        if pid in self._running:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._running.discard(pid)
                self._ended[pid] = os.waitstatus_to_exitcode(status)

    def _fork(self, spec: dict[str, Any], log_path: str) -> int:
        me = os.getpid()
        pid = os.fork()
        if pid:
            self._running.add(pid)
            return pid
        status = 70
        try:
            from deploy.local.guard import die_with
            from tests.chaos.worker import work

            die_with(me)
            log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for number, to in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(number, to)
            status = work(spec)
        finally:  # nothing of the zygote's own end may run in a child
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def main() -> None:
    from tests.chaos.worker import warm_up

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks us; our input ends then
    warm_up()
    assert threading.active_count() == 1, f"a fork would lose these threads: {threading.enumerate()}"
    nursery = _Nursery()
    try:
        for line in sys.stdin:
            print(json.dumps(nursery.answer(json.loads(line))), flush=True)
    finally:
        nursery.kill_all()


if __name__ == "__main__":
    main()
