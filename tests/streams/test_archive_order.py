"""Observations are inserted in the order of their table, whatever it takes to find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from streams import archive_order
from streams.archive_order import HOUR_MS, in_table_order

T0 = 1_780_000_000_000
NAMES = ("events", "kind", "Zone", "noise_db", "水位", "é")


def table(rows: list[tuple[str, int, int, str, int, int]]) -> pa.Table:
    kind, event_at, cell, source, partition, offset = zip(*rows, strict=True)
    return pa.table(
        {
            "event_at": pa.array(event_at, pa.timestamp("ms", tz="UTC")),
            "cell": pa.array(cell, pa.int64()),
            "source": pa.array(source, pa.utf8()).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.utf8())),
            "partition": pa.array(partition, pa.int32()),
            "offset": pa.array(offset, pa.int64()),
            "kind": pa.array(kind, pa.utf8()).dictionary_encode(),
        }
    )


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    at = int(row["event_at"].timestamp() * 1000)
    names = row["kind"].encode(), row["source"].encode()
    return names[0], at // HOUR_MS, row["cell"], row["event_at"], names[1], row["partition"], row["offset"]


def is_in_order(made: pa.Table) -> bool:
    keys = [key(row) for row in made.to_pylist()]
    return keys == sorted(keys)


rows = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from([T0, T0 + 1, T0 - 1, T0 + 2 * HOUR_MS]) | st.integers(T0 - 9 * HOUR_MS, T0 + 9 * HOUR_MS),
        st.sampled_from([-1, 0, 7, 8]) | st.integers(-1, 1 << 30),
        st.sampled_from(["readings", "camera-events", "tickets"]),
        st.integers(0, 2),
        st.integers(0, 5) | st.integers(0, 1 << 60),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(rows)
def test_rows_come_in_the_order_of_their_table_and_none_is_lost(given_rows: list[Any]) -> None:
    before = table(given_rows)
    after = in_table_order(before)
    assert is_in_order(after)
    assert sorted(map(key, after.to_pylist())) == sorted(map(key, before.to_pylist()))


@pytest.mark.parametrize("count", [30, 5_000])
def test_many_rows_of_one_moment_and_cell_are_sorted_too(count: int) -> None:
    shuffled = np.random.default_rng(count).permutation(count).tolist()
    made = in_table_order(table([("k", T0, 5, "readings", offset % 3, offset) for offset in shuffled]))
    assert is_in_order(made)
    assert made["partition"].to_pylist() == sorted(made["partition"].to_pylist())


def test_what_does_not_fit_is_left_to_clickhouse() -> None:
    apart = table([("b", T0, 1 << 54, "readings", 0, 1), ("a", T0, -1, "readings", 0, 0)])
    assert in_table_order(apart).equals(apart)


def test_the_order_is_that_of_the_table() -> None:
    sql = (Path(schemas.__file__).parent / "clickhouse" / "0002_observations.sql").read_text("utf-8")
    assert "ORDER BY (kind, toStartOfHour(event_at), cell, event_at, source, partition, offset)" in sql
    assert "(kind, hour of the event, cell, event time, source, partition, offset)" in (in_table_order.__doc__ or "")
    assert archive_order.HOUR_MS == 3_600_000
