"""The store's way to a server: formats, refusals, lost answers and slowness over ClickHouse's HTTP interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.clickhouse_front import Fault
from schemas.errors import StoreRefused, StoreUnavailable
from streams.archive_core import Covered, make_rows, open_frame
from streams.clickhouse import LoginRefused, Store, StoreThread, connect
from streams.migrations import apply_migrations
from tests.support.archive_frames import T0_MS, many_readings, reading_frame

pytestmark = pytest.mark.live

PASSWORD = "s3cret/@:"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    with LocalClickHouse(tmp_path_factory.mktemp("front"), password=PASSWORD) as running:
        with connect(running.url, password=PASSWORD) as store:
            apply_migrations(store)
        yield running


@pytest.fixture
def store(server: LocalClickHouse) -> Iterator[Store]:
    server.act_out(Fault())
    with connect(server.url, password=PASSWORD, request_timeout_s=1) as made:
        made.command("TRUNCATE TABLE observations")
        yield made
    server.act_out(Fault())


def rows(*payloads: bytes) -> pa.Table:
    frames = [open_frame("observations", 0, at, payload, T0_MS) for at, payload in enumerate(payloads)]
    return make_rows(frames, Covered()).tables["observations"]


def count(store: Store) -> int:
    return int(store.rows("SELECT count() FROM observations")[0][0])


def test_frames_with_dictionaries_of_their_own_go_in_as_they_are(store: Store) -> None:
    store.insert("observations", rows(reading_frame(0, 4), reading_frame(5, 9, kind="other", unit="cm")), token="a")
    store.insert("observations", rows(reading_frame(0, 4), reading_frame(5, 9, kind="other", unit="cm")), token="a")
    table = store.query_arrow("SELECT kind, unit, offset FROM v_observations ORDER BY offset")
    assert table["offset"].to_pylist() == list(range(10))
    assert table["kind"].to_pylist() == ["water_level_mm"] * 5 + ["other"] * 5
    assert table["unit"].to_pylist() == ["mm"] * 5 + ["cm"] * 5


def test_a_wrong_password_is_refused_without_showing_it(server: LocalClickHouse) -> None:
    with pytest.raises(LoginRefused, match="user 'default' is refused - check user and password") as caught:
        connect(server.url, password="wr0ng").ping()
    assert "wr0ng" not in str(caught.value) and PASSWORD not in str(caught.value)


def test_a_database_that_is_missing_names_the_command(server: LocalClickHouse) -> None:
    with pytest.raises(StoreRefused, match="tongguan migrate"):
        connect(server.url, password=PASSWORD, database="nowhere").rows("SELECT 1")


async def test_a_lost_answer_a_time_out_and_a_busy_server_store_the_rows_once(
    server: LocalClickHouse, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    thread = StoreThread(store)
    for fault in (
        Fault(mode="lose_answer", only_inserts=True, times=2),
        Fault(delay_s=2, only_inserts=True, times=1),  # goes on in the server after the client has given up
        Fault(mode="refuse", code=252, status=500, message="Too many parts. (TOO_MANY_PARTS)", times=3),
        Fault(mode="refuse", code=516, status=403, message="Authentication failed", times=2),
    ):
        before, table = count(store), rows(many_readings(0, 5000, seed=id(fault)))
        server.act_out(fault)
        await thread.until_done(lambda s, table=table, fault=fault: s.insert("observations", table, token=str(fault)))  # type: ignore[misc]
        assert count(store) == before + 5000, fault
    assert not any(record.exc_info for record in caplog.records)


def test_an_answer_that_does_not_come_in_time_is_unavailable(server: LocalClickHouse, store: Store) -> None:
    store.ping()
    server.act_out(Fault(delay_s=3))
    with pytest.raises(StoreUnavailable, match="timed out"):
        store.rows("SELECT 1")


def test_data_is_there_after_kill_9_of_the_server(tmp_path: Path) -> None:
    with LocalClickHouse(tmp_path) as first, connect(first.url) as store:
        apply_migrations(store)
        store.insert("observations", rows(reading_frame(0, 99)), token="kept")
        first.kill()
        with pytest.raises(StoreUnavailable):
            store.ping()
    with LocalClickHouse(tmp_path) as second, connect(second.url) as store:
        store.insert("observations", rows(reading_frame(0, 99)), token="kept")  # also the window of tokens survives
        assert count(store) == 100
