"""clickhouse-connect's server path against the local front: a real engine behind ClickHouse's HTTP interface."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import clickhouse_connect
import msgspec
import pyarrow as pa
import pytest
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.clickhouse_front import Fault
from deploy.local.process import LocalStackError

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """A front of this module's own: it is made to misbehave."""
    with LocalClickHouse(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


def connect(url: str, **options: object) -> Client:
    address = urlsplit(url)
    return clickhouse_connect.get_client(host=address.hostname or "", port=address.port or 0, **options)  # type: ignore[arg-type]  # options are the caller's


def plain_request(
    server: LocalClickHouse,
    method: str,
    parameters: Mapping[str, str],
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[Mapping[str, str], bytes]:
    """One request with no client library in between: the answer's headers, and its body as sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, f"/?{urlencode(parameters)}", body, dict(headers or {}))
        answer = connection.getresponse()
        return dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.fixture
def client(server: LocalClickHouse) -> Iterator[Client]:
    server.act_out(Fault())
    with connect(server.url) as opened:
        yield opened
    server.act_out(Fault())


@pytest.fixture
def table(client: Client) -> str:
    """A table that drops inserts whose token it has seen."""
    name = f"t{uuid4().hex}"
    client.command(
        f"CREATE TABLE {name} (id Int64, name LowCardinality(String), at DateTime64(3, 'UTC')) "
        "ENGINE MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100"
    )
    return name


def rows(first: int, count: int) -> pa.Table:
    ids = range(first, first + count)
    moments = pa.array([1_700_000_000_000 + i for i in ids], pa.timestamp("ms", "UTC"))
    return pa.table({"id": pa.array(ids, pa.int64()), "name": [f"名{i % 7}" for i in ids], "at": moments})


def test_what_was_inserted_is_read_back_in_every_way_that_we_use(client: Client, table: str) -> None:
    summary = client.insert_arrow(table, rows(0, 3))
    assert summary.written_rows == 3
    client.insert(table, [[3, "x", datetime(2024, 1, 1, 0, 0, 0, 123_000, UTC)]])
    assert client.command(f"SELECT toUnixTimestamp64Milli(max(at)) FROM {table}") == 1_704_067_200_123
    assert client.command(f"SELECT count() FROM {table}") == 4
    assert client.query(f"SELECT id, name FROM {table} ORDER BY id").result_rows == [
        (0, "名0"),
        (1, "名1"),
        (2, "名2"),
        (3, "x"),
    ]
    arrow = client.query_arrow(f"SELECT id FROM {table} ORDER BY id", settings={"max_threads": "1"})
    assert arrow.column("id").to_pylist() == [0, 1, 2, 3]
    assert msgspec.json.decode(client.raw_query(f"SELECT max(id) AS m FROM {table}", fmt="JSONEachRow")) == {"m": 3}


@pytest.mark.parametrize("compress", [False, "gzip", "lz4", "zstd"])
def test_bodies_are_compressed_both_ways_as_the_client_asks(
    server: LocalClickHouse, client: Client, table: str, compress: str | bool
) -> None:
    with connect(server.url, compress=compress) as packed:
        packed.insert(table, [[i, "long " * 20, 0] for i in range(10_000)], column_names=["id", "name", "at"])
        assert len(packed.query(f"SELECT * FROM {table}").result_rows) == 10_000
        batch = rows(20_000, 5_000)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_table(batch)
        packed.raw_insert(table, insert_block=sink.getvalue().to_pybytes(), fmt="ArrowStream")
        assert packed.command(f"SELECT count() FROM {table}") == 15_000
    if compress:
        asked = {"Accept-Encoding": str(compress)}
        headers, _ = plain_request(server, "POST", {"enable_http_compression": "1"}, f"SELECT * FROM {table}", asked)
        assert headers["Content-Encoding"] == compress


def test_a_large_binary_body_arrives_whole(client: Client, table: str) -> None:
    client.insert_arrow(table, rows(0, 1_000_000))
    assert client.query(f"SELECT count(), sum(id) FROM {table}").result_rows == [(1_000_000, 499_999_500_000)]


def test_an_insert_that_is_repeated_with_its_token_counts_once(client: Client, table: str) -> None:
    for token in ("a", "a", "b", "a"):
        client.insert_arrow(table, rows(0, 10), settings={"insert_deduplication_token": token})
    assert client.command(f"SELECT count() FROM {table}") == 20


def test_query_parameters_and_settings_reach_the_engine_for_one_request_only(client: Client) -> None:
    found = client.query("SELECT {a:Int64} + 1, {b:Array(String)}", parameters={"a": 41, "b": ["x'y", "z"]})
    assert found.result_rows == [(42, ["x'y", "z"])]
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == 3
    client.command("SET max_threads = 2")  # a session keeps what it set itself
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == 3
    assert client.command("SELECT getSetting('max_threads')") == 2


def test_a_session_keeps_its_temporary_tables_to_itself(server: LocalClickHouse, client: Client) -> None:
    client.command("CREATE TEMPORARY TABLE mine (a Int8)")
    client.command("INSERT INTO mine VALUES (1)")
    assert client.command("SELECT count() FROM mine") == 1
    with connect(server.url) as other, pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        other.command("SELECT count() FROM mine")


@pytest.mark.parametrize(
    ("statement", "code", "name"),
    [
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELECT FROM WHERE", 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nobase.t", 81, "UNKNOWN_DATABASE"),
        ("SELECT toInt8('x')", 6, "CANNOT_PARSE_TEXT"),
    ],
)
def test_errors_carry_the_engines_code_name_and_words(client: Client, statement: str, code: int, name: str) -> None:
    with pytest.raises(DatabaseError, match=name) as caught:
        client.query(statement)
    assert caught.value.code == code


def test_a_bad_body_is_refused_and_leaves_nothing(client: Client, table: str) -> None:
    with pytest.raises(DatabaseError):
        client.raw_insert(table, insert_block=b"this is not arrow", fmt="ArrowStream")
    with pytest.raises(DatabaseError, match="bad zstd body"):
        client.raw_insert(table, insert_block=b"this is not zstd", fmt="ArrowStream", compression="zstd")
    assert client.command(f"SELECT count() FROM {table}") == 0


def test_a_wrong_password_is_refused_with_the_servers_code(tmp_path: Path) -> None:
    with LocalClickHouse(tmp_path, password="right") as server:
        assert connect(server.url, password="right").command("SELECT 1") == 1
        with pytest.raises(DatabaseError, match="Authentication failed") as caught:
            connect(server.url, password="wrong")
        assert caught.value.code == 516
    assert (tmp_path / "password").stat().st_mode & 0o077 == 0


def test_a_get_request_cannot_write(server: LocalClickHouse, table: str) -> None:
    headers, _ = plain_request(server, "GET", {"query": f"DROP TABLE {table}"})
    assert headers["X-ClickHouse-Exception-Code"] == "164"
    assert plain_request(server, "GET", {"query": f"EXISTS {table}"})[1] == b"1\n"


def test_many_clients_insert_and_query_at_once(server: LocalClickHouse, client: Client, table: str) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with connect(server.url) as own:
                for step in range(10):
                    own.insert_arrow(table, rows(number * 1000 + step * 10, 10))
                    assert own.command(f"SELECT {number}, count() > 0 FROM {table}") == [str(number), "1"]
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert client.query(f"SELECT count(), uniqExact(id) FROM {table}").result_rows == [(1200, 1200)]


def test_a_refusing_server_answers_with_the_given_code_and_takes_nothing(
    server: LocalClickHouse, client: Client, table: str
) -> None:
    server.act_out(
        Fault(mode="refuse", code=252, status=500, message="Too many parts. (TOO_MANY_PARTS)", only_inserts=True)
    )
    with pytest.raises(DatabaseError, match="TOO_MANY_PARTS") as caught:
        client.insert_arrow(table, rows(0, 1))
    assert caught.value.code == 252
    assert client.command(f"SELECT count() FROM {table}") == 0
    server.act_out(Fault(mode="refuse", times=1))
    assert client.query("SELECT 1").result_rows == [(1,)]  # the client's own second try


def test_a_slow_server_is_waited_for_or_given_up(server: LocalClickHouse, client: Client) -> None:
    server.act_out(Fault(delay_s=0.5))
    started = time.monotonic()
    assert client.command("SELECT 1") == 1
    assert time.monotonic() - started >= 0.5
    server.act_out(Fault())
    with connect(server.url, send_receive_timeout=1, query_retries=0) as hasty:
        server.act_out(Fault(delay_s=5.0))
        with pytest.raises((OperationalError, DatabaseError), match=re.compile("timed out|timeout", re.IGNORECASE)):
            hasty.command("SELECT 1")


def test_an_answer_that_is_lost_leaves_the_insert_done_and_the_token_makes_the_repeat_harmless(
    server: LocalClickHouse, client: Client, table: str
) -> None:
    settings = {"insert_deduplication_token": "lost"}
    server.act_out(Fault(mode="lose_answer", only_inserts=True))
    with pytest.raises(OperationalError):
        client.insert_arrow(table, rows(0, 10), settings=settings)
    assert client.command(f"SELECT count() FROM {table}") == 10
    server.act_out(Fault())
    client.insert_arrow(table, rows(0, 10), settings=settings)
    assert client.command(f"SELECT count() FROM {table}") == 10


def test_a_server_that_is_down_refuses_connections_and_comes_back_on_its_port(
    server: LocalClickHouse, client: Client
) -> None:
    server.act_out(Fault(mode="down"))
    with pytest.raises(OperationalError):
        client.command("SELECT 1")
    server.act_out(Fault())
    assert client.command("SELECT 1") == 1


def test_acknowledged_rows_survive_kill_minus_9_and_a_second_start_finds_them_on_the_same_port(tmp_path: Path) -> None:
    server = LocalClickHouse(tmp_path)
    server.start()
    url = server.url
    with connect(url) as client:
        client.command(
            "CREATE TABLE kept (id Int64, name String, at DateTime64(3, 'UTC')) ENGINE MergeTree ORDER BY id"
        )
        client.insert_arrow("kept", rows(0, 10))
    server.kill()
    with pytest.raises(LocalStackError, match="not running"):
        server.url  # noqa: B018
    with server:
        assert server.url == url
        with pytest.raises(LocalStackError, match="in use by process"):
            LocalClickHouse(tmp_path).start()
        with connect(url) as client:
            assert client.command("SELECT count() FROM kept") == 10


def test_no_engine_is_left_after_kill_minus_9_of_its_owner(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from deploy.local.clickhouse import LocalClickHouse
print(LocalClickHouse(Path({str(tmp_path)!r})).start().url, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("http://127.0.0.1:")
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with LocalClickHouse(tmp_path) as server:  # it waits for the lock, which the old one holds until it is gone
        assert server.running
    assert os.listdir(tmp_path / "incoming") == []
