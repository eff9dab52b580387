"""Inserts into the embedded engine by way of memory that is kept: what one leaves there is not the next one's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import StoreRefused
from streams import embedded_insert
from streams.clickhouse import Store
from tests.support.stores import embedded_store


def numbers(first: int, count: int) -> pa.Table:
    words = pa.array([f"word {n % 10}" for n in range(first, first + count)])
    return pa.table({"n": range(first, first + count), "word": words.dictionary_encode()})


def stored(store: Store) -> tuple[int, int, int]:
    (row,) = store.rows("SELECT count(), sum(n), uniqExact(word) FROM numbers")
    return row[0], row[1], row[2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with embedded_store(tmp_path / "data", migrated=False) as made:
        made.create_database()
        made.command(
            "CREATE TABLE numbers (n Int64, word LowCardinality(String)) ENGINE = MergeTree ORDER BY n"
            " SETTINGS non_replicated_deduplication_window = 100"
        )
        yield made


def test_an_insert_is_only_itself_whatever_was_inserted_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.insert("numbers", numbers(0, 200_000), token="a")
    store.insert("numbers", numbers(200_000, 10), token="b")  # the rest of the memory still holds the first
    store.insert("numbers", numbers(200_010, 300_000), token="c")  # and this needs more than there is
    monkeypatch.setattr(embedded_insert, "KEPT_BYTES", 0)
    store.insert("numbers", numbers(500_010, 10), token="d")  # given back behind it
    store.insert("numbers", numbers(500_020, 10), token="e")
    assert stored(store) == (500_030, 500_030 * 500_029 // 2, 10)


def test_a_token_is_known_again_and_an_error_leaves_nothing_behind(store: Store) -> None:
    store.insert("numbers", numbers(0, 100), token="a")
    store.insert("numbers", numbers(0, 100), token="a")
    with pytest.raises(StoreRefused, match="no_such_table"):
        store.insert("no_such_table", numbers(100, 100), token="b")
    with pytest.raises(ValueError, match="plain word"):
        store.insert("numbers", numbers(100, 100), token="it's")
    store.insert("numbers", numbers(100, 10), token="b")
    assert stored(store) == (110, 110 * 109 // 2, 10)
