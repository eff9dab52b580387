"""A simulated process: a worker on a host. It runs, is frozen, or is dead; everything it does passes through here.

The context variable `PROCESS` says whose code is running. Tasks, timers and threads inherit it, so the loop can keep
the callbacks of a process that may not run, and the fakes know who calls.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.chaos.simulator.await_points import waiting_at
from tests.chaos.simulator.calls import Threads

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)

SERVER: Context = contextvars.Context()
"""For what happens outside of all processes: at the broker, at the store, among the faults."""


class State(Enum):
    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


@dataclass(slots=True)
class Host:
    """A machine with a clock of its own."""

    name: str
    clock_ahead_ms: int = 0


@dataclass(slots=True, eq=False)
class Process:
    """`doom` is called when the process has taken `doom_at` steps; it may kill or freeze it there."""

    world: World
    name: str
    host: Host
    state: State = State.RUNNING
    steps: int = 0
    doom_at: int = -1
    doom: Callable[[], None] | None = None
    cut_until: float = 0.0
    """No connection to Kafka until then (virtual time)."""
    lingers: bool = False
    """What was on the wire when the process died still arrives."""
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    on_silence: list[Callable[[], None]] = field(default_factory=list)
    """Called when the process falls silent (frozen, dead, cut off): the groups it is in count the seconds from then."""
    on_return: list[Callable[[], None]] = field(default_factory=list)
    """Called when it is heard of again."""
    context: Context = field(default_factory=contextvars.copy_context)
    _parked: list[asyncio.Handle] = field(default_factory=list)
    threads: Threads = field(init=False)

    def __post_init__(self) -> None:
        self.context.run(PROCESS.set, self)
        self.threads = Threads(self)

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self.world.loop.create_task(coro, name=name, context=self.context)

    def later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        """A callback in this process; not while it is frozen, never after its death."""
        self.world.loop.call_later(delay, callback, *args, context=self.context)

    def in_thread(self, executor: Any, func: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        return self.threads.run(executor, func, args)

    def may_run(self, handle: asyncio.Handle) -> bool:
        """Whether a callback of this process may run now; a frozen process gets it later."""
        if self.state is State.RUNNING:
            self.steps += 1
            if self.steps != self.doom_at or self.doom is None:
                return True
            self.doom()
        if self.state is State.RUNNING:
            return True
        if self.state is State.FROZEN:
            self._parked.append(handle)
        return False

    @property
    def silent(self) -> bool:
        """Whether the broker hears nothing of it."""
        return self.state is not State.RUNNING or self.cut_until > self.world.loop.time()

    # --- what faults do --------------------------------------------------------------------------------------------

    def kill(self, why: str) -> None:
        """As by kill -9."""
        if self.state is State.DEAD:
            return
        self._tell(f"dies ({why})")
        self.state = State.DEAD
        self.lingers = self.world.chance.random() < 0.5
        self._parked.clear()
        self.threads.abandon()
        self._fall_silent()
        self.world.has_ended(self)

    def freeze(self, seconds: float, why: str) -> None:
        """As by SIGSTOP, a swapping host, a hypervisor that moves it: no step, no timer, no answer."""
        if self.state is not State.RUNNING:
            return
        self._tell(f"freezes for {seconds:.1f} s ({why})")
        self.state = State.FROZEN
        self.world.loop.call_later(seconds, self._thaw, context=SERVER)
        self._fall_silent()

    def cut_off(self, seconds: float, why: str) -> None:
        """No packet between it and Kafka. It goes on, and reaches everything else."""
        if self.state is not State.RUNNING:
            return
        self._tell(f"is cut off from Kafka for {seconds:.1f} s ({why})")
        self.cut_until = max(self.cut_until, self.world.loop.time() + seconds)
        self.world.loop.call_at(self.cut_until, self._heard_again, context=SERVER)
        self._fall_silent()

    def ended(self, how: str) -> None:
        """It has come to its end by itself."""
        if self.state is not State.DEAD:
            self.world.trace.say(f"{self.name} ended: {how}")
            self.state = State.DEAD
            self.lingers = True
            self._parked.clear()
            self.threads.abandon()
            self._fall_silent()
            self.world.has_ended(self)

    def _thaw(self) -> None:
        if self.state is State.FROZEN:
            self.world.trace.say(f"{self.name} wakes")
            self.state = State.RUNNING
            parked, self._parked = self._parked, []
            self.world.loop.put_back(parked)
            self._heard_again()

    def _fall_silent(self) -> None:
        for tell in list(self.on_silence):
            tell()

    def _heard_again(self) -> None:
        if not self.silent:
            for tell in list(self.on_return):
                tell()

    def _tell(self, what: str) -> None:
        trace = self.world.trace
        self.tasks = [task for task in self.tasks if not task.done()]
        places = waiting_at(self.tasks)
        trace.hit(point for chain in places for point in chain)
        trace.say(f"{self.name} {what}", [" <- ".join(map(str, reversed(chain))) for chain in places])
