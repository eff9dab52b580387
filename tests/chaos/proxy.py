"""A network between clients and a server that can be bad: slow, silent, cut, deaf in one direction.

It runs in a thread with an event loop of its own, so that a test that blocks does not hold the traffic up.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self, TypeVar

LOOPBACK: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 * 1024
READY_WITHIN_S: Final = 10.0

T = TypeVar("T")


class Weather(StrEnum):
    """How the network is."""

    FINE = "fine"
    DELAY = "delay"
    """Everything arrives, each piece `delay_s` late."""
    STALL = "stall"
    """Connections stand, new ones too, and nothing moves in either direction: a cable that was pulled."""
    LOSE_ANSWERS = "lose_answers"
    """What clients say arrives; what the server says does not: it did the work, and nobody knows."""
    REFUSE = "refuse"
    """Open connections were reset and new ones are."""


@dataclass(eq=False, slots=True)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    lost: bool = False  # bytes of it are gone, so it can only be cut


class Proxy:
    """Between clients that connect to `port` and the server on `target_port` of this machine.

    with Proxy() as network:
        network.target_port = broker_port
        network.become(Weather.STALL)
    """

    def __init__(self, target_port: int = 0) -> None:
        self.target_port = target_port
        self.port = 0
        self.resets = 0
        """Connections cut by us so far."""
        self._weather = Weather.FINE
        self._delay_s = 0.0
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(READY_WITHIN_S):
            raise TimeoutError(f"the proxy does not listen after {READY_WITHIN_S:.0f} s")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def become(self, weather: Weather, *, delay_s: float = 0.0) -> None:
        """Change the weather. What was held back by STALL or DELAY goes on; what LOSE_ANSWERS lost stays lost, and its
        connections are reset."""
        self._in_loop(self._become(weather, delay_s))

    def reset(self) -> None:
        """Cut every open connection (RST); new ones are served."""
        self._in_loop(self._reset(only_lost=False))

    @property
    def connections(self) -> int:
        return len(self._connections)

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(READY_WITHIN_S)

    async def _become(self, weather: Weather, delay_s: float) -> None:
        self._weather, self._delay_s = weather, delay_s
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        await self._reset(only_lost=weather is not Weather.REFUSE)

    async def _reset(self, *, only_lost: bool) -> None:
        for connection in list(self._connections):
            if connection.lost or not only_lost:
                self.resets += 1
                _abort(connection.client)
                _abort(connection.server)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._weather is Weather.REFUSE:
            self.resets += 1
            _abort(client)
            return
        try:
            from_server, server = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:  # the server is down: so is what the client sees
            _abort(client)
            return
        connection = _Connection(client, server)
        self._connections.add(connection)
        ways = [
            asyncio.create_task(self._carry(connection, reader, server, answers=False)),
            asyncio.create_task(self._carry(connection, from_server, client, answers=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._connections.discard(connection)
            _abort(client)
            _abort(server)

    async def _carry(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while piece := await source.read(CHUNK_BYTES):
                if self._weather is Weather.DELAY:
                    await asyncio.sleep(self._delay_s)
                while self._weather is Weather.STALL:
                    await self._changed.wait()
                if answers and self._weather is Weather.LOSE_ANSWERS:
                    connection.lost = True
                if connection.lost and answers:
                    continue
                sink.write(piece)
                await sink.drain()
        except OSError:
            return  # one side is gone: so will be the other


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a goodbye."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
