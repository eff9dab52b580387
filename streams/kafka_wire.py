"""Connections to Kafka whose large responses are received into one buffer and read where they lie, without a copy.

aiokafka reads through asyncio's StreamReader: socket, chunk, growing buffer, one bytes object per response, one more
per partition; and a request is joined and joined again before it is written. For what locate and join move that was a
third of the whole worker. Here the socket is read straight into a buffer of the response's size, fetched record sets
are views of it, and a request that has `pieces` is written piece by piece.

`install(client)` makes one aiokafka client open such connections; nothing global is changed. What else a connection
does (versions, SASL, order of answers, idle time) stays aiokafka's. Its insides are a seam: `check_seam` looks at them.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import struct
import types
import weakref
from typing import Any, Final

from aiokafka import client as aiokafka_client
from aiokafka import conn as aiokafka_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.util import create_future, wait_for

from schemas.errors import SettingsError
from streams.buffers import Buffers

log = logging.getLogger(__name__)

HEAD_BYTES: Final = 16 * 1024
"""Read at first, when nobody knows how much comes: small answers fit whole, of large ones this much is copied once."""
VIEW_FROM: Final = 1024
"""Fields of fetch responses from this length on are views. Names, which must be bytes, are at most 249 long."""

_SIZE: Final = struct.Struct(">i")


class Wire(asyncio.BufferedProtocol):
    """Cuts what the socket gives into Kafka's responses. Stands for reader and writer of its connection."""

    def __init__(self, connection: Connection, closed: asyncio.Future[None]) -> None:
        self._connection = weakref.ref(connection)
        self._closed = closed
        self._transport: Any = None
        self._over = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._head = memoryview(bytearray(HEAD_BYTES))
        self._held = 0  # bytes in it
        self._body: memoryview | None = None  # the response that is being received
        self._filled = 0
        self._buffers = Buffers()

    # --- what asyncio calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._body is not None:
            return self._body[self._filled :]
        return self._head[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._body is None:
                self._held += nbytes
                self._cut()
                return
            self._filled += nbytes
            if self._filled == len(self._body):
                body, self._body = self._body, None
                self._give(body)
        except Exception as problem:
            log.exception("kafka: an answer that cannot be read, closing the connection")
            self._end(problem)

    def eof_received(self) -> bool:
        self._over = True
        return False  # the transport closes itself

    def connection_lost(self, exc: BaseException | None) -> None:
        self._over = True
        self._writable.set()
        if not self._closed.done():
            self._closed.set_result(None)
        self._end(exc or EOFError("the broker has closed the connection"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- what the connection calls -----------------------------------------------------------------------------------

    def at_eof(self) -> bool:
        return self._over

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def writelines(self, pieces: list[bytes | memoryview]) -> None:
        self._transport.writelines(pieces)

    async def drain(self) -> None:
        await self._writable.wait()

    def close(self) -> None:
        self._transport.close()

    # --- responses ---------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        """Hand on the whole responses in the head; begin the body of one that is larger."""
        at = 0
        while self._held - at >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._head, at)
            if size < 0:
                raise ValueError(f"a response of {size} bytes")
            begin = at + _SIZE.size
            if begin + size <= self._held:
                at = begin + size
                self._give(self._head[begin:at].tobytes())
            elif _SIZE.size + size <= HEAD_BYTES:
                break
            else:
                body = self._buffers.lease(size).data
                self._filled = self._held - begin
                body[: self._filled] = self._head[begin : self._held]
                self._body, self._held = body, 0
                return
        if at:
            left = self._held - at
            self._head[:left] = self._head[at : self._held].tobytes()
            self._held = left

    def _give(self, response: bytes | memoryview) -> None:
        connection = self._connection()
        if connection is not None:
            connection.take(response)

    def _end(self, problem: BaseException) -> None:
        connection = self._connection()
        if connection is not None:
            connection.end(problem)


class Connection(aiokafka_conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka is untyped
    """An AIOKafkaConnection over a Wire."""

    _reader: Wire | None
    _writer: Wire | None

    async def connect(self) -> tuple[Wire, Wire]:
        # as in aiokafka 0.14, but for the protocol and the task that read it
        loop = self._loop
        self._closed_fut = create_future()
        secure = self._security_protocol in ("SSL", "SASL_SSL")
        wire = Wire(self, self._closed_fut)
        async with asyncio.timeout(self._request_timeout):
            await loop.create_connection(lambda: wire, self.host, self.port, ssl=self._ssl_context if secure else None)
        if wire.at_eof():
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} closed")
        self._reader = self._writer = self._protocol = wire
        self._read_task = create_future()
        self._read_task.set_result(None)  # nothing to cancel
        if self._max_idle_ms is not None:
            self._idle_handle = loop.call_soon(self._idle_check, weakref.ref(self))
        try:
            await self._do_version_lookup()
            if self._security_protocol in ("SASL_SSL", "SASL_PLAINTEXT"):
                await self._do_sasl_handshake()
        except BaseException:
            self.close()
            raise
        return wire, wire

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """As aiokafka's, but a request that offers `pieces` is not joined."""
        writer = self._writer
        if writer is None:
            raise KafkaConnectionError(f"No connection to broker at {self.host}:{self.port}")
        encoded = request.prepare(self._versions)
        pieces_of = getattr(encoded, "pieces", None)
        if pieces_of is None or not expect_response:
            return super().send(request, expect_response)
        number = self._next_correlation_id()
        header = encoded.build_request_header(correlation_id=number, client_id=self._client_id).encode()
        pieces: list[bytes | memoryview] = pieces_of()
        size = len(header) + sum(map(len, pieces))
        try:
            writer.writelines([_SIZE.pack(size) + header, *pieces])
        except OSError as problem:
            self.close(reason=aiokafka_conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {problem}") from problem
        answer = self._loop.create_future()
        self._requests.append((number, encoded, answer))
        return wait_for(answer, self._request_timeout)

    def take(self, response: bytes | memoryview) -> None:
        """The answer to the oldest request that waits for one."""
        if self._reader is None:  # closed by us while this was on its way
            return
        request = self._requests[0][1]
        if request is not None and request.API_KEY == FetchRequest.API_KEY:
            _handle_in_place(self, response)
        else:
            self._handle_frame(bytes(response))

    def end(self, problem: BaseException) -> None:
        """The socket has ended: tell whoever waits for an answer."""
        if self._reader is not None:  # else it was us who closed it
            self.close(reason=aiokafka_conn.CloseReason.CONNECTION_BROKEN, exc=problem)


class _Slices:
    """What aiokafka's types read a fetch response from, in place of BytesIO."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def read(self, size: int) -> bytes | memoryview:
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part if size >= VIEW_FROM else part.tobytes()


def _copy_with(function: Any, **names: Any) -> Any:
    """The function with other globals under some names."""
    own = {**function.__globals__, **names}
    copied = types.FunctionType(function.__code__, own, function.__name__, function.__defaults__, function.__closure__)
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


_handle_in_place: Final = _copy_with(
    aiokafka_conn.AIOKafkaConnection._handle_frame, io=types.SimpleNamespace(BytesIO=_Slices)
)
_create_connection: Final = _copy_with(aiokafka_conn.create_conn, AIOKafkaConnection=Connection)


@functools.cache
def check_seam() -> None:
    """SettingsError unless the aiokafka that is installed has the insides that this module was written against."""
    conn, client = aiokafka_conn.AIOKafkaConnection, aiokafka_client.AIOKafkaClient
    needed = (
        (conn, "_handle_frame", {"io", "BytesIO", "_requests"}),
        (conn, "close", {"_reader", "_writer", "_read_task", "_requests", "_closed_fut", "_idle_handle"}),
        (conn, "connected", {"_reader", "at_eof"}),
        (conn, "connect", {"_do_version_lookup", "_do_sasl_handshake", "_idle_check", "create_connection"}),
        (conn, "send", {"prepare", "build_request_header", "_requests", "_request_timeout"}),
        (client, "_get_conn", {"create_conn"}),
    )
    problems = []
    for owner, name, names in needed:
        code = getattr(getattr(owner, name, None), "__code__", None)
        missing = names - _names_of(code) if code is not None else {"itself"}
        if missing:
            words = ", ".join(sorted(missing))
            problems.append(f"streams/kafka_wire: aiokafka's {owner.__name__}.{name} has no {words} any more")
    if "AIOKafkaConnection" not in _names_of(aiokafka_conn.create_conn.__code__):
        problems.append("streams/kafka_wire: aiokafka's create_conn makes no AIOKafkaConnection any more")
    if problems:
        raise SettingsError([*problems, "streams/kafka_wire: install the versions of the lock file"])


def _names_of(code: types.CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if inspect.iscode(constant)]
    return {*code.co_names, *(name for part in inner for name in _names_of(part))}


def install(client: Any) -> None:
    """Make this aiokafka client, which has not connected yet, open connections of ours from now on."""
    check_seam()
    get = _copy_with(aiokafka_client.AIOKafkaClient._get_conn, create_conn=_create_connection)
    client._get_conn = types.MethodType(get, client)
