"""The bad network is as bad as it says, and good again afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.chaos.proxy import LOOPBACK, Proxy, Weather

HELD_S = 0.3


@pytest.fixture
def network() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def echo(network: Proxy, heard: list[bytes]) -> AsyncIterator[None]:
    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1000):
                heard.append(piece)
                writer.write(piece)
                await writer.drain()
        finally:
            await hang_up(writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.create_task(answer(reader, writer)))

    server = await asyncio.start_server(begin, LOOPBACK, 0)
    network.target_port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


@contextlib.asynccontextmanager
async def call(network: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, network.port)
    try:
        yield reader, writer
    finally:
        await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def hears_nothing(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.readexactly(1), HELD_S)
    except TimeoutError:
        return True
    return False


async def test_fine_weather_carries_both_ways(network: Proxy) -> None:
    async with echo(network, []), call(network) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert network.connections == 1


async def test_a_stall_holds_everything_back_and_lets_it_go_on(network: Proxy) -> None:
    heard: list[bytes] = []
    async with echo(network, heard), call(network) as (reader, writer):
        network.become(Weather.STALL)
        writer.write(b"hello")
        assert await hears_nothing(reader) and not heard
        network.become(Weather.FINE)
        assert await reader.readexactly(5) == b"hello"


async def test_a_delay_makes_each_piece_late(network: Proxy) -> None:
    async with echo(network, []), call(network) as (reader, writer):
        network.become(Weather.DELAY, delay_s=HELD_S)
        began = time.monotonic()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert time.monotonic() - began >= 2 * HELD_S, "there and back"


async def test_a_lost_answer_was_a_question_that_arrived_and_the_connection_is_cut_in_the_end(network: Proxy) -> None:
    heard: list[bytes] = []
    async with echo(network, heard), call(network) as (reader, writer):
        network.become(Weather.LOSE_ANSWERS)
        writer.write(b"hello")
        assert await hears_nothing(reader)
        assert heard == [b"hello"]
        network.become(Weather.FINE)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert network.resets == 1


async def test_refusing_cuts_what_is_open_and_what_comes(network: Proxy) -> None:
    async with echo(network, []):
        async with call(network) as (reader, _):
            await hears_nothing(reader)
            network.become(Weather.REFUSE)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        with contextlib.suppress(ConnectionResetError):  # at once, or at the first word
            async with call(network) as (reader, _):
                assert await reader.read() == b""
        assert network.resets == 2 and not network.connections
        network.become(Weather.FINE)
        async with call(network) as (reader, writer):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
