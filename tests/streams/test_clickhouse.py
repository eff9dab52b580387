"""The store: addresses without secrets, errors by what one can do about them, patience, the embedded engine."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.errors import SettingsError, StoreError, StoreRefused, StoreUnavailable
from schemas.sources import Source
from streams import clickhouse
from streams.archive_core import Covered, make_rows, open_frame
from streams.clickhouse import LoginRefused, Store, StoreThread, connect, parse_address
from tests.support.archive_frames import T0_MS, cover, frame, many_readings, reading_frame, row
from tests.support.stores import embedded_store

NOBODY = "http://tongguan:s3cret@127.0.0.1:9/city"  # port 9, discard: nothing listens there


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with embedded_store(tmp_path_factory.mktemp("store") / "data") as made:
        yield made


# --- addresses -----------------------------------------------------------------------------------------------------


def test_an_address_is_taken_from_the_url_and_the_arguments_fill_in() -> None:
    full = parse_address("https://me:a%40b@ch.example/town", user="you", password="other", database="city")
    assert (full.host, full.port, full.user, full.password, full.database) == ("ch.example", 8443, "me", "a@b", "town")
    bare = parse_address("http://ch.example", user="you", password="pw")
    assert (bare.port, bare.user, bare.password, bare.database) == (8123, "you", "pw", "tongguan")
    embedded = parse_address("chdb:///data/ch%20db")
    assert embedded.embedded and embedded.place == "/data/ch db"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ch.example:8123",
        "http://",
        "ftp://h/db",
        "chdb://relative/dir",
        "chdb:///",
        "http://h:99999",
        "http://h/a;b",
    ],
)
def test_a_url_that_cannot_be_right_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"clickhouse url: .*expected chdb:///") as caught:
        parse_address(url)
    assert "s3cret" not in str(caught.value)


def test_the_password_shows_neither_in_repr_nor_in_str() -> None:
    address = parse_address(NOBODY)
    assert "s3cret" not in f"{address} {address!r}" and "127.0.0.1:9" in str(address)


# --- errors --------------------------------------------------------------------------------------------------------


def test_a_server_that_is_away_is_said_in_one_line_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StoreUnavailable, match=r"clickhouse at http://127\.0\.0\.1:9: ping: .*refused") as caught:
        connect(NOBODY).ping()
    assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)
    assert not caplog.records


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (OperationalError("Error executing HTTP request"), StoreUnavailable),
        (OperationalError("HTTP driver received HTTP status 502, server response: bad gateway"), StoreUnavailable),
        (DatabaseError("HTTP driver received HTTP status 401"), LoginRefused),
        (DatabaseError("Code: 516. DB::Exception: no", code=516), LoginRefused),
        (DatabaseError("Code: 497. DB::Exception: not enough privileges", code=497), LoginRefused),
        (DatabaseError("Code: 252. DB::Exception: too many parts", code=252), StoreUnavailable),
        (DatabaseError("Code: 241. DB::Exception: memory limit", code=241), StoreUnavailable),
        (DatabaseError("Code: 243. DB::Exception: not enough space", code=243), StoreUnavailable),
        (DatabaseError("Code: 60. DB::Exception: unknown table", code=60), StoreRefused),
        (DatabaseError("Code: 62. DB::Exception: syntax", code=62), StoreRefused),
        (ConnectionResetError("reset by peer"), StoreUnavailable),
    ],
)
def test_errors_are_sorted_by_what_one_can_do(
    problem: Exception, kind: type[StoreError], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = connect(NOBODY)

    def fail() -> None:
        raise problem

    monkeypatch.setattr(store, "_open", fail)
    with pytest.raises(StoreError) as caught:
        store.command("SELECT 1")
    assert type(caught.value) is kind


def test_a_password_that_clickhouse_repeats_is_struck_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store = connect(NOBODY)
    monkeypatch.setattr(store, "_open", lambda: (_ for _ in ()).throw(OSError("cannot use s3cret at all")))
    with pytest.raises(StoreUnavailable, match=r"cannot use \*\*\* at all"):
        store.ping()


def test_a_bad_statement_is_refused_with_its_first_words(store: Store) -> None:
    with pytest.raises(StoreRefused, match=r"chdb at .*: SELECT nope FROM observations: Code: 47"):
        store.rows("SELECT nope FROM observations")


def test_a_database_that_does_not_exist_names_the_command_that_makes_it(store: Store) -> None:
    with (
        connect(f"chdb://{store.address.place}", database="nowhere") as other,
        pytest.raises(StoreRefused, match="tongguan migrate"),
    ):
        other.rows("SELECT 1")


def test_a_second_process_at_the_same_directory_is_told_so(store: Store) -> None:
    program = (
        "from streams.clickhouse import connect\n"
        f"try:\n    connect('chdb://{store.address.place}').ping()\n"
        "except Exception as problem:\n    print(type(problem).__name__, problem)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60).stdout
    assert "StoreUnavailable" in told and "in use by another process?" in told


def test_a_second_directory_in_the_same_process_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="already has another embedded engine open"):
        connect(f"chdb://{tmp_path}/other").ping()


# --- inserts -------------------------------------------------------------------------------------------------------


def count(store: Store, where: str = "1") -> int:
    return int(store.rows(f"SELECT count() FROM observations WHERE {where}")[0][0])


def insert(store: Store, *payloads: bytes, token: str) -> None:
    frames = [open_frame("observations", 0, at, payload, T0_MS) for at, payload in enumerate(payloads)]
    for name, table in make_rows(frames, Covered()).tables.items():
        store.insert(name, table, token=token)


def test_frames_go_in_as_they_are_and_come_out_the_same(store: Store) -> None:
    store.command("TRUNCATE TABLE observations")
    given = [
        row(Source.READINGS, 0, 1, kind="水位", entity="设备-1", value=-0.5, unit=None, device_type="雷达"),
        row(Source.CAMERA_EVENTS, 3, 2, kind="b", extra='{"a":"\\u0000 ☂"}', flags=64, quality=2, cell=2**60),
    ]
    insert(store, frame(given, [cover(Source.READINGS, 0, 1, 1)]), token="as-is")
    back = store.query_arrow("SELECT * FROM observations ORDER BY offset").to_pylist()
    for entry, expected in zip(back, given, strict=True):
        times = {"event_at", "received_at"}
        assert {k: v for k, v in entry.items() if k not in times} == {
            k: v for k, v in expected.items() if k not in times
        }
        assert [int(entry[name].timestamp() * 1000) for name in sorted(times)] == [expected[n] for n in sorted(times)]


def test_a_token_that_is_known_drops_the_insert_and_another_does_not(store: Store) -> None:
    store.command("TRUNCATE TABLE observations")
    for token in ("one", "one", "two"):
        insert(store, reading_frame(0, 99), reading_frame(100, 149, kind="other", unit="cm"), token=token)
    assert count(store) == 300
    assert store.rows("SELECT count() FROM v_observations") == [(150,)]


def test_a_batch_that_spans_years_goes_in_once(store: Store) -> None:
    store.command("TRUNCATE TABLE observations")
    years = many_readings(0, 20_000, span_ms=11 * 365 * 86_400_000)
    for _ in range(2):
        insert(store, years, token="years")
    assert count(store) == 20_000
    assert store.rows("SELECT uniq(_partition_id) FROM observations")[0][0] > 120


def test_a_block_larger_than_clickhouse_would_cut_is_still_dropped_as_a_whole(store: Store) -> None:
    store.command("TRUNCATE TABLE observations")
    payloads = [many_readings(at * 300_000, 300_000, seed=at) for at in range(4)]
    for _ in range(2):
        insert(store, *payloads, token="large")
    assert count(store) == 1_200_000
    store.command("TRUNCATE TABLE observations")


# --- patience ------------------------------------------------------------------------------------------------------


async def test_until_done_repeats_with_one_message_and_tells_when_it_is_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse, "FIRST_PAUSE_S", 0.001)
    caplog.set_level(logging.INFO)
    thread = StoreThread(connect(NOBODY))
    outcomes: list[StoreError | int] = [StoreUnavailable("away"), StoreUnavailable("away"), LoginRefused("no"), 7]

    def call(_: Store) -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    assert await thread.until_done(call) == 7
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]
    await thread.close()


async def test_until_done_gives_up_when_it_is_not_wanted_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse, "FIRST_PAUSE_S", 0.001)
    thread = StoreThread(connect(NOBODY))
    asked = 0

    def wanted() -> bool:
        nonlocal asked
        asked += 1
        return asked < 3

    assert await thread.until_done(lambda store: store.ping(), wanted=wanted) is None
    await thread.close()


async def test_the_event_loop_lives_while_the_engine_works(store: Store) -> None:
    thread = StoreThread(store)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await thread.run(lambda s: s.rows("SELECT sleepEachRow(0.25) FROM numbers(4) SETTINGS max_block_size = 1"))
    ticking.cancel()
    assert ticks >= 3


def test_the_arrow_table_of_a_query_has_plain_strings(store: Store) -> None:
    table = store.query_arrow("SELECT 'a' AS s, toDateTime64(0, 3, 'UTC') AS t")
    assert table.schema.field("s").type == pa.utf8() and str(table.schema.field("t").type) == "timestamp[ms, tz=UTC]"
