"""What happened in a run: for people to read when it failed, and where the faults fell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from aiokafka.errors import KafkaError

from schemas.errors import TongguanError
from tests.chaos.simulator.await_points import AwaitPoint
from tests.chaos.simulator.mishaps import is_mishap
from tests.chaos.simulator.process import PROCESS

EXPECTED = (KafkaError, TongguanError)
"""What may end a worker: a broker that refuses it. All else is a bug, even if the next worker makes it good."""


class Trace:
    """`loud`: keep every line, else only what counts."""

    def __init__(self, now: Callable[[], float], *, loud: bool) -> None:
        self.lines: list[str] = []
        self.hits: set[AwaitPoint] = set()
        self.bugs: list[str] = []
        self.crashes = 0
        self._now = now
        self._loud = loud

    def say(self, what: str, more: Iterable[str] = ()) -> None:
        if self._loud:
            self.lines.append(f"{self._now():8.3f}  {what}")
            self.lines += [f"          at {line}" for line in more]

    def hit(self, points: Iterable[AwaitPoint]) -> None:
        """A fault has fallen while tasks were at these awaits."""
        self.hits.update(points)

    def crashed(self, process: str, what: str, problem: BaseException) -> None:
        """A worker gives up."""
        self.crashes += 1
        self.say(f"{process}: {what} crashed: {problem!r}")
        if not isinstance(problem, EXPECTED) and not is_mishap(problem):
            self.bugs.append(f"{process}: {what} crashed with {problem!r}")


class LogIntoTrace(logging.Handler):
    """The product's log, with the time and the process of the simulation."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get()
        said = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            said += f" ({record.exc_info[1]!r})"
        self._trace.say(f"{process.name if process else '-'}: [{record.levelname.lower()}] {said}")
