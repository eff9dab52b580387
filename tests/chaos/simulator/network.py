"""The way between a process and a server and back: latency, servers that are away, cuts, death while a request is on
its way. Every request is a place where a fault may strike: before it is served, or served but not answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.chaos.simulator.calls import CALL, ProcessDied
from tests.chaos.simulator.process import PROCESS, SERVER, Process, State

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

T = TypeVar("T")

QUICK_S: Final = 0.004
SLOW_SHARE: Final = 0.02
SLOW_S: Final = 1.5


@dataclass(slots=True)
class Server:
    """Kafka or ClickHouse, as seen from the network."""

    name: str
    away_until: float = 0.0
    """Until then no request reaches it; those that it had already served are answered later."""
    extra_s: float = 0.0
    """It is slow: so much is added to each request, about."""


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way. `answer` is called with (result, error)."""

    process: Process
    server: Server
    what: str
    serve: Callable[[], Any]
    answer: Callable[[Any, BaseException | None], None]
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Network:
    """All ways. Kafka's clients wait for a broker that is away; ClickHouse's is refused."""

    world: World
    kafka: Server = field(default_factory=lambda: Server("kafka"))
    clickhouse: Server = field(default_factory=lambda: Server("clickhouse"))

    async def ask(self, what: str, serve: Callable[[], T]) -> T:
        """`serve` at Kafka, and what it says. A process that dies meanwhile never hears of it."""
        process = PROCESS.get()
        assert process is not None
        future: asyncio.Future[T] = self.world.loop.create_future()

        def answer(result: T, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._depart(Request(process, self.kafka, what, serve, answer))
        return await future

    def ask_and_wait(self, what: str, serve: Callable[[], T]) -> T:
        """The same at ClickHouse, from a thread of the process that asks."""
        process, call = PROCESS.get(), CALL.call
        assert process is not None and call is not None, f"{what} would block the event loop"
        said: list[tuple[Any, BaseException | None]] = []

        def answer(result: Any, error: BaseException | None) -> None:
            said.append((result, error))
            process.later(0, call.go_on)

        self._depart(Request(process, self.clickhouse, what, serve, answer))
        while not said:
            call.wait()
        result, error = said[0]
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    # --- there and back --------------------------------------------------------------------------------------------

    def _depart(self, request: Request) -> None:
        self.world.loop.call_later(
            self._closed_for(request) + self._latency(request.server), self._arrive, request, context=SERVER
        )

    def _arrive(self, request: Request) -> None:
        process, faults = request.process, self.world.faults
        if process.state is State.DEAD and not process.lingers:
            return
        if self._closed_for(request) and process.state is not State.DEAD:
            if request.server is self.clickhouse:
                request.error = ConnectionRefusedError(f"{request.server.name} is away")
                self._return(request)
            else:
                self._depart(request)
            return
        request.error = faults.request(process, request.what, served=False)
        if process.state is State.DEAD and not process.lingers:
            return
        if request.error is None:
            try:
                request.result = request.serve()
            except ProcessDied:
                raise
            except Exception as problem:
                request.error = problem
            request.error = faults.request(process, request.what, served=True) or request.error
        self._return(request)

    def _return(self, request: Request) -> None:
        wait = self._closed_for(request) if request.server is self.kafka else 0.0
        self.world.loop.call_later(wait + self._latency(request.server), self._answer, request, context=SERVER)

    def _answer(self, request: Request) -> None:
        if request.process.state is not State.DEAD:
            request.answer(request.result, request.error)

    def _closed_for(self, request: Request) -> float:
        """Seconds until the way is open."""
        until = request.server.away_until
        if request.server is self.kafka:
            until = max(until, request.process.cut_until)
        return max(0.0, until - self.world.loop.time())

    def _latency(self, server: Server) -> float:
        chance = self.world.chance
        seconds = chance.random() * QUICK_S
        if chance.random() < SLOW_SHARE:
            seconds += chance.random() * SLOW_S
        if server.extra_s:
            seconds += chance.random() * server.extra_s
        return seconds
