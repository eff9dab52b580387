"""A small server that answers ClickHouse's HTTP interface with the embedded engine, for tests and for one desk.

    python -m deploy.local.clickhouse_front DIRECTORY --port 8123 --control-port 8124

No current ClickHouse server can be installed with a package client, but clients' server paths (formats, settings,
compression, errors, refusals, slowness, broken connections) deserve a real engine. What a server does and this does
not: users beyond one, roles, external tables, ClickHouse's own block compression (`compress=1`), progress headers,
streaming of long results (an answer is built in memory). The control port takes faults to act out: see `Fault`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import gzip
import json
import signal
import sys
import uuid
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import cramjam
import msgspec
from aiohttp import web

from deploy.local.clickhouse_engine import Engine, EngineAnswer, EngineError, EngineRequest
from deploy.local.process import LOOPBACK

ENGINE_THREADS = 8
MAX_BODY_BYTES = 4 << 30
SHUTDOWN_S = 3.0

# Parameters of a request that speak to the HTTP interface; every other one is a setting for the engine.
INTERFACE_PARAMETERS = frozenset(
    [
        *("query", "database", "default_format", "query_id", "user", "password", "role", "quota_key"),
        *("session_id", "session_timeout", "session_check", "close_session"),
        *("compress", "decompress", "enable_http_compression", "http_zlib_compression_level"),
        *("buffer_size", "wait_end_of_query", "client_protocol_version", "stacktrace"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
    ]
)
CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
}
# How a ClickHouse server maps its codes to HTTP; what is not listed is a 500.
STATUS_OF_CODE = (
    dict.fromkeys((6, 26, 27, 33, 38, 41, 42, 43, 53, 62, 72, 117), 400)  # cannot parse, syntax, type mismatch
    | dict.fromkeys((194,), 401)
    | dict.fromkeys((192, 193, 497, 516), 403)
    | dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 81, 115), 404)  # unknown function, table, database, setting ...
    | dict.fromkeys((48,), 501)
    | dict.fromkeys((209, 439), 503)
)
AUTHENTICATION_FAILED_CODE, NOT_IMPLEMENTED_CODE, BAD_ARGUMENTS_CODE = 516, 48, 36

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": cramjam.lz4.decompress,
    "zstd": cramjam.zstd.decompress,
    "br": cramjam.brotli.decompress,
}
# In the order in which a server prefers them.
ENCODERS: dict[str, Callable[[bytes], Any]] = {
    "br": lambda data: cramjam.brotli.compress(data, level=1),
    "zstd": lambda data: cramjam.zstd.compress(data, level=1),
    "lz4": lambda data: cramjam.lz4.compress(data, level=1),
    "deflate": lambda data: zlib.compress(data, 1),
    "gzip": lambda data: gzip.compress(data, 1),
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the front acts out until told otherwise. POST it as JSON to the control port's /fault.

    refuse       requests are answered with ClickHouse's `code` and HTTP `status`; nothing reaches the engine
    lose_answer  requests are carried out, then the connection is cut instead of the answer: the client cannot know
    down         nobody listens: open connections are cut and new ones are refused
    `delay_s` makes every affected request wait first. `only_inserts` leaves queries and pings alone. After `times`
    affected requests the fault is over (0: it stays).
    """

    mode: Literal["none", "refuse", "lose_answer", "down"] = "none"
    delay_s: float = 0.0
    code: int = 202
    status: int = 503
    message: str = "Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)"
    only_inserts: bool = False
    times: int = 0


class Front:
    """The HTTP side: reads a request, lets the engine run it in a thread, words the answer."""

    def __init__(self, engine: Engine, user: str, password: str, port: int) -> None:
        self._engine = engine
        self._user = user
        self._password = password
        self._port = port
        self._threads = ThreadPoolExecutor(ENGINE_THREADS, thread_name_prefix="engine")
        self._fault = Fault()
        self._fault_uses = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    async def listen(self) -> None:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/ping", self._pong)
        app.router.add_route("*", "/", self._answer)
        # Bodies are decompressed here: aiohttp would do gzip and zstd but not lz4.
        self._runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=SHUTDOWN_S, access_log=None)
        await self._runner.setup()
        await self._open()

    async def _open(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, LOOPBACK, self._port, reuse_address=True)
        await self._site.start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._threads.shutdown()

    async def set_fault(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"{error}\n")
        if fault.mode == "down" and self._site is not None:
            await self._site.stop()
            self._site = None
            self._cut_connections()
        elif fault.mode != "down" and self._site is None:
            await self._open()
        self._fault, self._fault_uses = fault, 0
        return web.Response(text="Ok.\n")

    def _cut_connections(self) -> None:
        assert self._runner is not None
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def _pong(self, _request: web.Request) -> web.Response:
        if self._fault.mode == "refuse" and not self._fault.only_inserts:
            return web.Response(status=self._fault.status, text=f"Code: {self._fault.code}. {self._fault.message}\n")
        return web.Response(text="Ok.\n")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Server-Display-Name": "tongguan-local",
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.time_zone,
        }
        try:
            self._authenticate(request)
            parsed = await self._read(request)
            if not parsed.body.strip():
                return web.Response(text="Ok.\n")
            fault = self._take_fault(parsed)
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault.mode == "refuse":
                raise EngineError(fault.code, f"Code: {fault.code}. DB::Exception: {fault.message}", fault.status)
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, self._engine.run, parsed)
            if fault.mode == "lose_answer" and request.transport is not None:
                request.transport.abort()
            return await loop.run_in_executor(self._threads, self._word, request, answer, headers)
        except EngineError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            text = f"{error.message} (version {self._engine.version} (embedded))\n"
            status = error.status or STATUS_OF_CODE.get(error.code, 500)
            return web.Response(status=status, text=text, headers=headers)

    def _take_fault(self, request: EngineRequest) -> Fault:
        fault = self._fault
        if fault == Fault() or (fault.only_inserts and request.body.lstrip()[:6].upper() != b"INSERT"):
            return Fault()
        self._fault_uses += 1
        if self._fault_uses == fault.times:
            self._fault = Fault()
        return fault

    def _authenticate(self, request: web.Request) -> None:
        user, password = request.query.get("user", "default"), request.query.get("password", "")
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                user, password = "?", ""
        user = request.headers.get("X-ClickHouse-User", user)
        password = request.headers.get("X-ClickHouse-Key", password)
        if (user, password) != (self._user, self._password):
            raise EngineError(
                AUTHENTICATION_FAILED_CODE,
                f"Code: {AUTHENTICATION_FAILED_CODE}. DB::Exception: {user}: Authentication failed: password is "
                "incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)",
            )

    async def _read(self, request: web.Request) -> EngineRequest:
        given = dict(request.query)
        if given.get("compress") == "1" or given.get("decompress") == "1":
            raise _not_implemented("ClickHouse's own block compression (compress=1, decompress=1)")
        statement = given.get("query", "").encode()
        if request.content_type == "multipart/form-data":
            form = await request.post()
            if any(not isinstance(value, str) for value in form.values()):
                raise _not_implemented("external data")
            given |= {name: str(value) for name, value in form.items()}
            body = given.get("query", "").encode()
        else:
            body = await self._decompressed(request)
            if statement:
                body = statement + b"\n" + body if body else statement
        parameters = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
        settings = {
            name: value
            for name, value in given.items()
            if name not in INTERFACE_PARAMETERS and not name.startswith("param_")
        }
        return EngineRequest(
            body=body,
            database=request.headers.get("X-ClickHouse-Database") or given.get("database"),
            session_id=given.get("session_id"),
            session_timeout_s=float(given.get("session_timeout", "60")),
            settings=settings,
            parameters=parameters,
            default_format=request.headers.get("X-ClickHouse-Format") or given.get("default_format"),
            readonly=request.method == "GET",
        )

    async def _decompressed(self, request: web.Request) -> bytes:
        data = await request.read()
        encoding = request.headers.get("Content-Encoding", "identity").lower()
        if encoding == "identity":
            return data
        if encoding not in DECODERS:
            raise _not_implemented(f"Content-Encoding {encoding}")
        try:
            plain = await asyncio.get_running_loop().run_in_executor(self._threads, DECODERS[encoding], data)
        except (OSError, EOFError, zlib.error, cramjam.DecompressionError) as error:
            raise EngineError(
                BAD_ARGUMENTS_CODE, f"Code: {BAD_ARGUMENTS_CODE}. DB::Exception: bad {encoding} body: {error}"
            ) from error
        return bytes(plain)

    def _word(self, request: web.Request, answer: EngineAnswer, headers: Mapping[str, str]) -> web.Response:
        told = dict(headers) | {"X-ClickHouse-Summary": json.dumps(answer.summary)}
        data = answer.data
        if answer.format_name is not None:
            told["X-ClickHouse-Format"] = answer.format_name
            told["Content-Type"] = CONTENT_TYPES.get(answer.format_name, "application/octet-stream")
        wanted = {part.split(";")[0].strip().lower() for part in request.headers.get("Accept-Encoding", "").split(",")}
        if data and request.query.get("enable_http_compression") == "1":
            encoding = next((name for name in ENCODERS if name in wanted), None)
            if encoding is not None:
                data = bytes(ENCODERS[encoding](data))
                told["Content-Encoding"] = encoding
        return web.Response(body=data, headers=told)


def _not_implemented(what: str) -> EngineError:
    return EngineError(
        NOT_IMPLEMENTED_CODE,
        f"Code: {NOT_IMPLEMENTED_CODE}. DB::Exception: the local front has no {what}. (NOT_IMPLEMENTED)",
    )


async def serve(directory: Path, port: int, control_port: int, user: str, password: str) -> None:
    """Run until SIGTERM or SIGINT."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    engine = Engine(directory)
    for number in (signal.SIGTERM, signal.SIGINT):  # after the engine, which may bring handlers of its own
        loop.add_signal_handler(number, done.set)
    front = Front(engine, user, password, port)
    control = web.Application()
    control.router.add_post("/fault", front.set_fault)
    control_runner = web.AppRunner(control, access_log=None)
    await control_runner.setup()
    try:
        await web.TCPSite(control_runner, LOOPBACK, control_port).start()
        await front.listen()
        await done.wait()
    finally:
        await control_runner.cleanup()
        await front.close()
        engine.close()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.clickhouse_front", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password-file", type=Path, help="not on the command line, where every user could read it")
    given = parser.parse_args(argv)
    password = given.password_file.read_text("utf-8").rstrip("\n") if given.password_file else ""
    asyncio.run(serve(given.directory, given.port, given.control_port, given.user, password))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
