"""Connections of ours: any cut of the stream gives the same answers, fetches are read in place, ends are told."""

from __future__ import annotations

import asyncio
import io
import struct
from typing import Any

import pytest
from aiokafka import conn as aiokafka_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v4
from aiokafka.protocol.metadata import MetadataRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsError
from streams import kafka_wire
from streams.kafka_wire import HEAD_BYTES, Connection, Wire


class Taken:
    """A connection that only collects."""

    def __init__(self) -> None:
        self.responses: list[bytes] = []
        self.ends: list[BaseException] = []

    def take(self, response: bytes | memoryview) -> None:
        self.responses.append(bytes(response))

    def end(self, problem: BaseException) -> None:
        self.ends.append(problem)


def feed(wire: Wire, data: bytes, cuts: list[int]) -> None:
    """As the event loop does: into whatever buffer is offered, in pieces of these sizes (then of any)."""
    at = 0
    while at < len(data):
        buffer = wire.get_buffer(-1)
        assert len(buffer), "an event loop cannot read into nothing"
        size = min(len(buffer), len(data) - at, cuts.pop() if cuts else len(buffer))
        buffer[:size] = data[at : at + size]
        at += size
        wire.buffer_updated(size)


near_head = st.integers(HEAD_BYTES - 6, HEAD_BYTES + 6)
sizes = st.lists(st.one_of(st.integers(0, 40), near_head, st.integers(0, 3 * HEAD_BYTES)), max_size=12)


@settings(deadline=None, max_examples=300)
@given(sizes, st.lists(st.one_of(st.integers(1, 9), st.integers(1, 2 * HEAD_BYTES)), max_size=60))
def test_however_the_stream_is_cut_the_answers_are_those_that_were_sent(lengths: list[int], cuts: list[int]) -> None:
    responses = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
    taken = Taken()
    wire = Wire(taken, None)  # type: ignore[arg-type]  # only what is asked of them here
    feed(wire, b"".join(struct.pack(">i", len(response)) + response for response in responses), cuts)
    assert taken.responses == responses
    assert not taken.ends


def test_an_answer_of_less_than_nothing_ends_the_connection() -> None:
    taken = Taken()
    feed(Wire(taken, None), struct.pack(">i", -5), [])  # type: ignore[arg-type]  # as above
    assert [str(problem) for problem in taken.ends] == ["a response of -5 bytes"]


def test_a_fetch_response_in_place_says_what_aiokafka_reads() -> None:
    records = [bytes([number]) * size for number, size in enumerate((0, 1, 1023, 1024, 70_000))]
    partitions: list[Any] = [(n, 0, 10 * n, 10 * n, [(7, 3)], data) for n, data in enumerate(records)]
    encoded = FetchResponse_v4(0, [("城-" + "x" * 240, partitions), ("none", [(9, 1, -1, -1, None, None)])]).encode()
    theirs = FetchResponse_v4.decode(io.BytesIO(encoded))
    ours = FetchResponse_v4.decode(kafka_wire._Slices(memoryview(encoded)))
    assert ours.topics == theirs.topics
    assert isinstance(ours.topics[0][1][4][-1], memoryview)


def test_the_seam_is_that_of_the_installed_aiokafka() -> None:
    kafka_wire.check_seam.__wrapped__()


def test_an_aiokafka_of_other_insides_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiokafka_conn.AIOKafkaConnection, "_handle_frame", lambda self, resp: None)
    with pytest.raises(SettingsError, match=r"AIOKafkaConnection\._handle_frame has no BytesIO, _requests, io"):
        kafka_wire.check_seam.__wrapped__()


# --- a connection over a real socket ---------------------------------------------------------------------------------

VERSIONS = [(0, 0, 7), (1, 0, 4), (3, 0, 5), (18, 0, 0)]


async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers versions and fetches; at a request for metadata it hangs up."""
    try:
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            request = await reader.readexactly(size)
            api, _, number = struct.unpack_from(">hhi", request)
            if api == 18:
                body = ApiVersionResponse_v0(0, VERSIONS).encode()
            elif api == FetchRequest.API_KEY:
                body = FetchResponse_v4(0, [("t", [(0, 0, 5, 5, None, b"r" * 1_000_000)])]).encode()
            else:
                break
            writer.write(struct.pack(">ii", len(body) + 4, number) + body)
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def test_a_connection_asks_and_is_answered_and_hears_of_its_end() -> None:
    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = Connection("127.0.0.1", port, request_timeout_ms=5_000)
    try:
        await connection.connect()
        assert connection.connected()
        fetch = FetchRequest(100, 1, 1 << 20, 0, [("t", [(0, 0, 1 << 20)])])
        first, second = await asyncio.gather(connection.send(fetch), connection.send(fetch))
        for response in (first, second):
            records = response.topics[0][1][0][-1]
            assert isinstance(records, memoryview)
            assert bytes(records) == b"r" * 1_000_000
        with pytest.raises(KafkaConnectionError, match="closed"):
            await connection.send(MetadataRequest([]))
        assert not connection.connected()
        with pytest.raises(KafkaConnectionError, match="No connection"):
            await connection.send(fetch)
    finally:
        connection.close()
        server.close()


async def test_nobody_there_is_an_error_of_the_socket() -> None:
    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await Connection("127.0.0.1", port, request_timeout_ms=5_000).connect()
