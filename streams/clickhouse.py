"""ClickHouse as the project uses it: one blocking client for a server (HTTP) and for the embedded engine (chDB).

    Store         commands, queries, Arrow inserts; every failure is a StoreError in one line, without secrets
    StoreThread   the same for asyncio: calls run one after another in a thread; `until_done` retries for ever

The tables are made by `streams/migrations.py`. Arrow tables go in as they are, dictionary columns too, on both
interfaces. Into chDB on one core an observation takes 0.6 to 0.7 us, with all that makes it a row
(benchmarks/archive.py).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from schemas.errors import SettingsError, StoreError, StoreRefused, StoreUnavailable
from streams import metrics
from streams.embedded_insert import EmbeddedInsert

if TYPE_CHECKING:  # the driver is imported by the first call: 0.2 s that workers without an archive need not spend
    from clickhouse_connect.driver.client import Client

log = logging.getLogger(__name__)
# The driver logs a traceback for every refused connection and urllib3 a warning for every attempt; what happened is in
# the exception, and we say it once, in one line.
logging.getLogger("clickhouse_connect.driver").setLevel(logging.CRITICAL)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

T = TypeVar("T")

DEFAULT_DATABASE: Final = "tongguan"
CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 5, 60
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0  # between attempts of `until_done`
LONGEST_MESSAGE = 400  # characters of ClickHouse's own words that are passed on

# An insert must mean the same whatever the user's profile says: acknowledged when written, dropped when its token is
# known, whatever span of months it has (a year of replayed records has 12 partitions, bad clocks have more).
INSERT_SETTINGS: Final[Mapping[str, int | str]] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "max_partitions_per_insert_block": 0,
    "max_insert_threads": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,  # a crash between a table and its roll-up is made good
    "optimize_on_insert": 0,  # a batch has no row twice, looking for that costs 0.3 us a row
}

_LOGIN_CODES: Final = {192, 193, 194, 497, 516}  # unknown user, wrong or missing password, access denied
_BUSY_CODES: Final = {
    *(159, 160, 201, 202, 203, 209, 210, 236),  # too slow, quota, too many queries, network, aborted
    *(241, 242, 243, 252, 279, 285, 319, 373),  # memory, read-only table, disk full, too many parts, replicas, session
    *(394, 425, 439, 473, 745, 999, 1000, 1001),  # cancelled, system error, threads, deadlock, overload, keeper, files
}
_UNKNOWN_DATABASE: Final = 81


class LoginRefused(StoreRefused):
    """ClickHouse is there but does not let this user in (or not at this table)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store is. Only `place` is ever shown; the password is not in repr."""

    interface: str  # "chdb", "http" or "https"
    place: str  # host:port, or the directory of the embedded engine
    host: str = ""
    port: int = 0
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = DEFAULT_DATABASE

    @property
    def embedded(self) -> bool:
        return self.interface == "chdb"

    def __str__(self) -> str:
        return f"chdb at {self.place}" if self.embedded else f"clickhouse at {self.interface}://{self.place}"


def parse_address(
    url: str, *, user: str | None = None, password: str | None = None, database: str | None = None
) -> Address:
    """`chdb:///absolute/directory` or `http(s)://[user[:password]@]host[:port][/database]`; arguments fill in what the
    URL leaves out. SettingsError, which does not repeat the URL (it may hold a password), when it is neither."""
    hint = "expected chdb:///absolute/directory or http(s)://user:password@host:port/database"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise SettingsError(f"clickhouse url: {problem} - {hint}") from None
    if parts.scheme == "chdb":
        path = unquote(parts.path)
        if parts.netloc or not path.startswith("/") or path == "/":
            raise SettingsError(f"clickhouse url: {hint}")
        return Address("chdb", path, database=database or DEFAULT_DATABASE)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"clickhouse url: {hint}")
    port = port or (8443 if parts.scheme == "https" else 8123)
    name = unquote(parts.path.strip("/")) or database or DEFAULT_DATABASE
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
        raise SettingsError(f"clickhouse url: {name!r} is not a database name - {hint}")
    return Address(
        parts.scheme,
        f"{parts.hostname}:{port}",
        host=parts.hostname,
        port=port,
        user=unquote(parts.username) if parts.username else (user or "default"),
        password=unquote(parts.password) if parts.password is not None else (password or ""),
        database=name,
    )


def connect(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    database: str | None = None,
    connect_timeout_s: int = CONNECT_TIMEOUT_S,
    request_timeout_s: int = REQUEST_TIMEOUT_S,
) -> Store:
    """A store for the address. It connects at its first use, so a server that is away is no error here.

    SettingsError for a URL that cannot be right.
    """
    return Store(
        parse_address(url, user=user, password=password, database=database),
        connect_timeout_s=connect_timeout_s,
        request_timeout_s=request_timeout_s,
    )


class Store:
    """A blocking client. Not for several threads at once; `StoreThread` is for asyncio.

    Methods raise StoreUnavailable (try again later), LoginRefused or StoreRefused (do not). After an error the
    connection is opened anew at the next call. A process can have one embedded engine open, and an engine's directory
    belongs to one process.
    """

    def __init__(
        self,
        address: Address,
        *,
        connect_timeout_s: int = CONNECT_TIMEOUT_S,
        request_timeout_s: int = REQUEST_TIMEOUT_S,
    ) -> None:
        self.address = address
        self._connect_timeout_s = connect_timeout_s
        self._request_timeout_s = request_timeout_s
        self._client: Client | None = None
        self._embedded = EmbeddedInsert()

    def ping(self) -> str:
        """The engine's version. The cheapest question that shows that it answers and lets us in."""
        return str(self._call("ping", lambda client: client.command("SELECT version()", use_database=False)))

    def create_database(self) -> None:
        name = self.address.database
        self._call(
            f"create database {name}",
            lambda client: client.command(f"CREATE DATABASE IF NOT EXISTS `{name}`", use_database=False),
        )

    def command(self, sql: str) -> None:
        """Run one statement that returns nothing."""
        self._call(_summary(sql), lambda client: client.command(sql))

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The result of a query; `{name:Type}` in it takes its value from `parameters`."""
        answer = self._call(_summary(sql), lambda client: client.query(sql, parameters=dict(parameters or {})))
        return [tuple(row) for row in answer.result_rows]

    def query_arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        return self._call(
            _summary(sql),
            lambda client: client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True),
        )

    def insert(self, table: str, rows: pa.Table, *, token: str | None = None) -> None:
        """Insert an Arrow table, columns by name. It is written when this returns.

        `token`: ClickHouse drops an insert whose token it knows, so the same rows with the same token may be sent
        again after a crash or a lost answer. The rows must then be the same in the same order.
        """
        if not rows.num_rows:
            return
        settings = dict(INSERT_SETTINGS)
        if token is not None:
            settings["insert_deduplication_token"] = token
        started = time.perf_counter()
        try:
            # the Arrow file format allows one dictionary per column, frames bring their own
            one = rows.combine_chunks() if any(column.num_chunks > 1 for column in rows.columns) else rows
            insert = self._embedded.insert if self.address.embedded else _insert_arrow
            self._call(f"insert {rows.num_rows} rows into {table}", lambda client: insert(client, table, one, settings))
        finally:
            metrics.CLICKHOUSE_INSERT_SECONDS.observe(time.perf_counter() - started)
        metrics.CLICKHOUSE_ROWS.labels(table).inc(rows.num_rows)

    def close(self) -> None:
        client, self._client = self._client, None
        self._embedded.close()
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, what: str, call: Callable[[Client], T]) -> T:
        from clickhouse_connect.driver.exceptions import ClickHouseError

        try:
            client = self._client or self._open()
            answer = call(client)
        except (ClickHouseError, OSError, RuntimeError) as problem:
            if not self.address.embedded:
                self.close()
            metrics.CLICKHOUSE_UP.set(0)
            raise self._explain(what, problem) from None
        metrics.CLICKHOUSE_UP.set(1)
        return answer

    def _open(self) -> Client:
        from clickhouse_connect import get_client

        address = self.address
        if address.embedded:
            Path(address.place).mkdir(parents=True, exist_ok=True)
            client = get_client(interface="chdb", path=address.place, show_clickhouse_errors="scrub")
        else:
            client = get_client(
                interface=address.interface,
                host=address.host,
                port=address.port,
                username=address.user,
                password=address.password,
                connect_timeout=self._connect_timeout_s,
                send_receive_timeout=self._request_timeout_s,
                autogenerate_session_id=False,  # a session admits one query at a time: a timed-out one would block us
                dedicated_pool=True,
                show_clickhouse_errors="scrub",
            )
            client.write_compression = "lz4"  # of Arrow buffers, by pyarrow's own codec; it costs next to nothing
        # the database is set after the handshake, so that one that does not exist yet can be created
        client.database = address.database
        self._client = client
        return client

    def _explain(self, what: str, problem: BaseException) -> StoreError:
        address = self.address
        words = _words(problem)
        if address.password:
            words = words.replace(address.password, "***")
        text = f"{address}: {what}: {words}"
        if address.embedded and self._client is None:
            if "already initialized with path" in words:
                return StoreRefused(f"{address}: this process already has another embedded engine open ({words})")
            return StoreUnavailable(f"{address}: cannot open it ({words}) - is it in use by another process?")
        code = getattr(problem, "code", None) or _code_in(words)
        if code in _LOGIN_CODES or (code is None and re.search(r"\bstatus 40[13]\b", words)):
            return LoginRefused(f"{address}: user {address.user!r} is refused - check user and password ({words})")
        if code == _UNKNOWN_DATABASE:
            return StoreRefused(f"{text} - create it with `tongguan migrate`")
        if code is None:  # no ClickHouse error came back at all: no connection, no answer in time, a proxy's page
            return StoreUnavailable(f"{text} - is it running and reachable?")
        return StoreUnavailable(text) if code in _BUSY_CODES else StoreRefused(text)


class StoreThread:
    """A Store behind one thread, so that the event loop lives while ClickHouse works (chDB releases the GIL)."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clickhouse")
        self._away_since: float | None = None
        self._calls = 0

    @property
    def busy(self) -> bool:
        """Whether a call is under way, or waits for its turn. It may take a minute without being an outage yet."""
        return self._calls > 0

    @property
    def away(self) -> bool:
        """Whether a call is being repeated because the store does not do it."""
        return self._away_since is not None

    async def run(self, call: Callable[[Store], T]) -> T:
        """`call(store)` in the thread. A cancelled caller does not stop a call that has begun."""
        self._calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, self.store)
        finally:
            self._calls -= 1

    async def until_done(self, call: Callable[[Store], T], *, wanted: Callable[[], bool] = lambda: True) -> T | None:
        """Repeat `call` with growing pauses until it works, however long that takes; None once it is not `wanted`.

        Also a refusal is repeated: the password is put right, the missing table made, the quota raised, and nothing
        was lost meanwhile. One message when an outage begins, a reminder each time its cause changes, one at its end.
        """
        pause, told = FIRST_PAUSE_S, ""
        while wanted():
            try:
                answer = await self.run(call)
            except StoreError as problem:
                kind = type(problem).__name__
                if self._away_since is None:
                    self._away_since = time.monotonic()
                if told != kind:
                    told = kind
                    log.error("%s; waiting, nothing is lost: Kafka keeps it", problem)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            if self._away_since is not None:
                log.info("%s answers again after %.0f s", self.store.address, time.monotonic() - self._away_since)
                self._away_since = None
            return answer
        return None

    async def close(self) -> None:
        await self.run(lambda store: store.close())
        self._thread.shutdown(wait=False)


def _insert_arrow(client: Client, table: str, rows: pa.Table, settings: Mapping[str, int | str]) -> None:
    client.insert_arrow(table, rows, settings=dict(settings))


def _summary(sql: str) -> str:
    """The first words of a statement, enough to know it by."""
    words = " ".join(re.sub(r"--[^\n]*", "", sql).split())
    return words if len(words) <= 60 else words[:60] + "..."


def _code_in(message: str) -> int | None:
    found = re.search(r"\bCode:\s*(\d+)", message)
    return int(found.group(1)) if found else None


def _words(problem: BaseException) -> str:
    """What happened, in one line. Transport errors are wrapped several times; the innermost one says it."""
    text = str(problem) or type(problem).__name__
    inner = problem.__cause__ or problem.__context__
    if _code_in(text) is None and inner is not None:
        while (deeper := inner.__cause__ or inner.__context__) is not None:
            inner = deeper
        text = f"{text}: {inner}"
    text = re.sub(r"^Received ClickHouse exception, code: \d+, server response: ", "", " ".join(text.split()))
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."
