"""The embedded ClickHouse engine behind the local front: requests in, answers out, sessions kept apart. No HTTP here.

A process can host one engine; connections ("handles") to it are cheap (0.2 ms) and run side by side, each with its own
USE and SET state but one statement at a time. A request without a session gets a handle of its own and leaves nothing
behind; a session keeps its handle, and settings that came with one request are put back afterwards.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import chdb
from chdb import ChdbError

from deploy.local.clickhouse_sql import answers_rows, data_insert, output_format

SESSION_TIMEOUT_S = 60.0
SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
READONLY_CODE, UNKNOWN_SETTING_CODE, SESSION_IS_LOCKED_CODE = 164, 115, 373


class EngineError(Exception):
    """The engine, or the front in its place, refused a request.

    `code` is ClickHouse's number for the reason, `status` an HTTP status other than the one that goes with it.
    """

    def __init__(self, code: int, message: str, status: int | None = None) -> None:
        self.code = code
        self.status = status
        self.message = message
        super().__init__(message)

    @classmethod
    def of(cls, error: Exception) -> EngineError:
        text = str(error)
        begin = text.find("Code: ")
        number = re.match(r"Code: (\d+)", text[begin:]) if begin >= 0 else None
        # 1002 is ClickHouse's own "unknown exception".
        return cls(int(number[1]) if number else 1002, text[max(begin, 0) :].strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """One statement with everything that a server reads beside it."""

    body: bytes
    """The statement, and after an `INSERT ... FORMAT name` its data."""
    database: str | None = None
    session_id: str | None = None
    session_timeout_s: float = SESSION_TIMEOUT_S
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    default_format: str | None = None
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """`format_name` is None for statements without a result set."""

    data: bytes
    format_name: str | None
    summary: dict[str, str]
    wrote: bool


@dataclass(slots=True)
class _Session:
    handle: Any
    lock: threading.Lock
    expires_at: float


class Engine:
    """One engine on one directory; safe to call from many threads."""

    def __init__(self, directory: Path) -> None:
        self._store = str(directory / "store")
        self._incoming = directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left_over in self._incoming.iterdir():  # of a run that was killed
            left_over.unlink()
        self._keeper = self._open()  # while one handle is open the engine stays up
        self._sessions: dict[str, _Session] = {}
        self._sessions_lock = threading.Lock()
        version, zone = bytes(self._keeper.query("SELECT version(), timezone()", "TabSeparated").bytes()).split()
        self.version, self.time_zone = version.decode(), zone.decode()

    def close(self) -> None:
        with self._sessions_lock:
            for session in self._sessions.values():
                session.handle.close()
            self._sessions.clear()
        self._keeper.close()

    def run(self, request: EngineRequest) -> EngineAnswer:
        """Carry out one request. EngineError has ClickHouse's code and words."""
        if request.session_id is None:
            handle = self._open()
            try:
                self._prepare(handle, request)
                return self._execute(handle, request)
            finally:
                handle.close()
        session = self._session(request.session_id, request.session_timeout_s)
        if not session.lock.acquire(blocking=False):
            raise EngineError(
                SESSION_IS_LOCKED_CODE,
                f"Code: {SESSION_IS_LOCKED_CODE}. DB::Exception: Session {request.session_id} is locked by a "
                "concurrent client. (SESSION_IS_LOCKED)",
            )
        try:
            before = self._settings_now(session.handle, request.settings)
            try:
                self._prepare(session.handle, request)
                return self._execute(session.handle, request)
            finally:
                self._put_back(session.handle, before)
        finally:
            session.lock.release()

    def _open(self) -> Any:
        return chdb.connect(self._store)  # type: ignore[no-untyped-call]  # chdb says it is typed; this is not

    def _session(self, session_id: str, timeout_s: float) -> _Session:
        now = time.monotonic()
        with self._sessions_lock:
            for name, session in list(self._sessions.items()):
                if session.expires_at < now and not session.lock.locked():
                    del self._sessions[name]
                    session.handle.close()
            if session_id not in self._sessions:
                self._sessions[session_id] = _Session(self._open(), threading.Lock(), now)
            found = self._sessions[session_id]
            found.expires_at = now + timeout_s
            return found

    def _prepare(self, handle: Any, request: EngineRequest) -> None:
        if request.database:
            _query(handle, f"USE {_quoted_name(request.database)}")
        if request.settings:
            _query(
                handle, "SET " + ", ".join(f"{_name(key)} = {_text(value)}" for key, value in request.settings.items())
            )

    def _settings_now(self, handle: Any, names: Mapping[str, str]) -> dict[str, str | None]:
        """The session's own values of these settings; None where it has not set one."""
        if not names:
            return {}
        listed = ", ".join(_text(_name(name)) for name in names)
        rows = _query(handle, f"SELECT name, hex(value) FROM system.settings WHERE changed AND name IN ({listed})")
        own = dict(line.split("\t") for line in bytes(rows.bytes()).decode().splitlines())
        return {name: bytes.fromhex(own[name]).decode() if name in own else None for name in names}

    def _put_back(self, handle: Any, values: Mapping[str, str | None]) -> None:
        for name, value in values.items():
            try:
                _query(handle, f"SET {name} = {'DEFAULT' if value is None else _text(value)}")
            except EngineError as error:
                if error.code != UNKNOWN_SETTING_CODE:  # refused when it came, so it was never set
                    raise

    def _execute(self, handle: Any, request: EngineRequest) -> EngineAnswer:
        insert = data_insert(request.body)
        if request.readonly and (insert or not answers_rows(_decoded(request.body[:10_000]))):
            raise EngineError(
                READONLY_CODE,
                f"Code: {READONLY_CODE}. DB::Exception: Cannot execute query in readonly mode. "
                "For queries over HTTP, method GET implies readonly. (READONLY)",
            )
        if insert is None:
            statement = _decoded(request.body)
            has_rows = answers_rows(statement)
            format_name = output_format(statement, request.default_format)
            result = _query(handle, request.body, format_name, request.parameters)
            return _answer(result, format_name if has_rows else None, wrote=not has_rows)
        file, path = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(file, "wb") as data:
                data.write(memoryview(request.body)[insert.data_from :])
            return _answer(_query(handle, insert.from_file(path), parameters=request.parameters), None, wrote=True)
        finally:
            Path(path).unlink()


def _query(
    handle: Any, statement: str | bytes, format_name: str = "TabSeparated", parameters: Mapping[str, str] | None = None
) -> Any:
    try:
        return handle.query(statement, format_name, params=dict(parameters or {}))
    except (ChdbError, RuntimeError) as error:
        raise EngineError.of(error) from error


def _answer(result: Any, format_name: str | None, *, wrote: bool) -> EngineAnswer:
    rows, size = cast(int, result.rows_read()), cast(int, result.bytes_read())
    written_rows, written_bytes = cast(int, result.rows_written()), cast(int, result.bytes_written())
    summary = {
        "read_rows": str(rows),
        "read_bytes": str(size),
        "written_rows": str(written_rows),
        "written_bytes": str(written_bytes),
        "total_rows_to_read": "0",
        "result_rows": "0" if format_name is None else str(rows),
        "result_bytes": "0" if format_name is None else str(size),
        "elapsed_ns": str(int(result.elapsed() * 1e9)),
    }
    return EngineAnswer(bytes(result.bytes()), format_name, summary, wrote)


def _decoded(statement: bytes) -> str:
    return statement.decode("utf-8", errors="replace")


def _name(setting: str) -> str:
    if not SETTING_NAME.match(setting):
        raise EngineError(
            UNKNOWN_SETTING_CODE,
            f"Code: {UNKNOWN_SETTING_CODE}. DB::Exception: Unknown setting {setting!r}. (UNKNOWN_SETTING)",
        )
    return setting


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _quoted_name(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
