"""An asyncio event loop on a virtual clock: nothing waits, time jumps to the next timer.

Every callback belongs to the simulated process in whose context it was made (see process.py). A process that is dead
gets none of its callbacks any more, one that is frozen gets them when it wakes. So a process dies between any two steps
of its tasks, without a `finally` or an `except` being run: as by kill -9.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVarTuple, cast

from tests.chaos.simulator.process import PROCESS, Process

Ts = TypeVarTuple("Ts")

MOST_STEPS: Final = 400_000
"""Of one run: beyond them it is going round in circles."""


class Stuck(Exception):
    """Nothing can happen any more, or the same things happen for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs until its coroutine is done. `shuffle`: callbacks that are ready together run in an order of the seed's."""

    def __init__(self, chance: random.Random, *, shuffle: bool) -> None:
        super().__init__()
        self.steps = 0
        self._chance = chance
        self._shuffle = shuffle
        self._now = 0.0
        self._soon: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0
        self.set_task_factory(cast(Any, _make_task))

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def put_back(self, handles: list[asyncio.Handle]) -> None:
        """Callbacks that a frozen process was kept from; it has woken."""
        self._soon += handles

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Work in a thread of the process in whose context this is called (see calls.py)."""
        process = PROCESS.get()
        assert process is not None, "only simulated processes have threads"
        return process.in_thread(executor, func, args)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time comes."""

    def _process_events(self, event_list: Any) -> None: ...

    def _run_once(self) -> None:
        if not self._soon:
            self._advance()
        ready, self._soon = self._soon, []
        if self._shuffle and len(ready) > 1:
            self._chance.shuffle(ready)
        self.steps += len(ready)
        if self.steps > MOST_STEPS:
            raise Stuck(f"{MOST_STEPS} steps, and no end in sight")
        for handle in ready:
            if handle._cancelled:
                continue
            process: Process | None = handle._context.get(PROCESS)  # type: ignore[attr-defined]
            if process is None or process.may_run(handle):
                handle._run()

    def _advance(self) -> None:
        """Let time pass until the next timer, and make all that are due then ready."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is ready and no timer runs: everybody waits for somebody")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._soon.append(heapq.heappop(timers)[2])


def _make_task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, context: Context | None = None
) -> asyncio.Task[Any]:
    task = asyncio.Task(coro, loop=loop, context=context)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # those of dead processes never come to an end
    process = PROCESS.get() if context is None else context.get(PROCESS)
    if process is not None:
        process.tasks.append(task)
    return task
