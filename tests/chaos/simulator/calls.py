"""Threads of a simulated process.

Work that only computes is done in one go at its virtual moment. Work that waits for a service (whoever has a thread for
ClickHouse) gets a real thread, of which one runs at a time and the event loop stands still meanwhile: the thread hands
over whenever it waits, so that its process may die or freeze there, too.
"""

from __future__ import annotations

import asyncio
import os
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
        self._worker: _Worker | None = None
        self._finished = False
        self._dying = False

    def go_on(self) -> None:
        """Let the thread run until it waits again or ends."""
        if self._finished:
            return
        if self._worker is None:
            self._worker = _IDLE.pop() if _IDLE else _Worker()
            self._worker.call = self
        worker = self._worker
        worker.mine.release()
        assert worker.loops.acquire(timeout=HANDOVER_S), "a simulated thread does not hand over"
        self._look(worker)

    def _look(self, worker: _Worker) -> None:
        """The thread has handed over, or the call is over."""
        if self._finished:
            _IDLE.append(worker)
            if not self._dying:
                self._done(self)

    def wait(self) -> None:
        """In the thread: hand over; returns when somebody calls `go_on`."""
        assert self._worker is not None
        self._worker.loops.release()
        self._worker.mine.acquire()
        if self._dying:
            raise ProcessDied

    def die(self) -> None:
        self._dying = True
        if self._worker is not None:
            self.go_on()

    def run(self) -> None:
        """In the thread."""
        CALL.call = self
        try:
            self.result = self._process.context.copy().run(self._func, *self._args)
        except ProcessDied:
            self.error = None
        except Exception as problem:
            self.error = problem
        finally:
            CALL.call = None  # an idle thread would keep the call's whole world
        self._finished = True


class _Worker:
    """A real thread, for one call after the other: making one costs more than a call does."""

    def __init__(self) -> None:
        self.call: WaitingCall | None = None
        self.mine = threading.Semaphore(0)
        self.loops = threading.Semaphore(0)
        threading.Thread(target=self._run, name="simulated", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.mine.acquire()
            assert self.call is not None
            self.call.run()
            self.call = None
            self.loops.release()


_IDLE: Final[list[_Worker]] = []
os.register_at_fork(after_in_child=_IDLE.clear)  # threads do not survive it


class _Current(threading.local):
    call: WaitingCall | None = None


CALL: Final = _Current()
"""The call that this thread works for."""
