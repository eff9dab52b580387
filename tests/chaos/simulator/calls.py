"""Threads of a simulated process.

Work that only computes is done in one go at its virtual moment. Work that waits for a service (whoever has a thread for
ClickHouse) gets a real thread, of which one runs at a time and the event loop stands still meanwhile: the thread hands
over whenever it waits, so that its process may die or freeze there, too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.chaos.simulator.process import Process

WAITING_EXECUTORS: Final = ("clickhouse",)
"""Executors whose work waits for a service, by the prefix of their threads' names."""
HANDOVER_S: Final = 30.0  # real seconds; a thread that takes longer hangs


class ProcessDied(BaseException):
    """Unwinds a thread whose process is dead."""


class Threads:
    """What a process has running outside its event loop."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._waiting: list[WaitingCall] = []

    def run(self, executor: Any, func: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        world = self._process.world
        future: asyncio.Future[Any] = world.loop.create_future()
        begin: Callable[[], None]
        if getattr(executor, "_thread_name_prefix", None) in WAITING_EXECUTORS:
            call = WaitingCall(self._process, func, args, lambda call: self._done(call, future))
            self._waiting.append(call)
            begin = call.go_on
        else:

            def begin() -> None:
                error, result = None, None
                try:
                    result = func(*args)
                except Exception as problem:
                    error = problem
                self._process.later(world.chance.uniform(0, 0.002), _settle, future, result, error)

        self._process.later(world.chance.uniform(0, 0.002), begin)
        return future

    def abandon(self) -> None:
        """The process is dead: its threads go no further."""
        calls, self._waiting = self._waiting, []
        for call in calls:
            call.die()

    def _done(self, call: WaitingCall, future: asyncio.Future[Any]) -> None:
        if call in self._waiting:
            self._waiting.remove(call)
        self._process.later(0, _settle, future, call.result, call.error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class WaitingCall:
    """One call in a thread of its own, which runs only while the event loop waits for it to hand over."""

    def __init__(
        self,
        process: Process,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        done: Callable[[WaitingCall], None],
    ) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._process = process
        self._func = func
        self._args = args
        self._done = done
        self._mine = threading.Semaphore(0)
        self._loops = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._finished = False
        self._dying = False

    def go_on(self) -> None:
        """Let the thread run until it waits again or ends."""
        if self._finished:
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._process.context.copy().run, args=(self._run,), name="simulated", daemon=True
            )
            self._thread.start()
        else:
            self._mine.release()
        assert self._loops.acquire(timeout=HANDOVER_S), "a simulated thread does not hand over"
        self._look()

    def _look(self) -> None:
        """The thread has handed over, or ended."""
        if self._finished and not self._dying:
            self._done(self)

    def wait(self) -> None:
        """In the thread: hand over; returns when somebody calls `go_on`."""
        self._loops.release()
        self._mine.acquire()
        if self._dying:
            raise ProcessDied

    def die(self) -> None:
        self._dying = True
        if self._thread is not None and not self._finished and threading.current_thread() is not self._thread:
            self.go_on()

    def _run(self) -> None:
        CALL.call = self
        try:
            self.result = self._func(*self._args)
        except ProcessDied:
            pass
        except Exception as problem:
            self.error = problem
        self._finished = True
        self._loops.release()


class _Current(threading.local):
    call: WaitingCall | None = None


CALL: Final = _Current()
"""The call that this thread works for."""
