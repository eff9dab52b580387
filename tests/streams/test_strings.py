"""String tables: codes in order of appearance, the same from Python and from a kernel, growing as needed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.strings import MISSING, StringTable, intern_bytes
from streams.words import padded


@settings(deadline=None)
@given(st.lists(st.text(max_size=40)))
def test_codes_follow_first_appearance_and_values_give_the_strings_back(texts: list[str]) -> None:
    table = StringTable(room=4)
    codes = [table.add(text) for text in texts]
    distinct = list(dict.fromkeys(texts))
    assert table.values == distinct
    assert codes == [distinct.index(text) for text in texts]
    assert [table.find(text) for text in texts] == codes


def test_strings_that_differ_only_in_trailing_zero_bytes_get_different_codes() -> None:
    table = StringTable()
    assert [table.add(text) for text in ("a", "a\0", "a\0\0", "", "\0")] == [0, 1, 2, 3, 4]


def test_a_kernel_adds_until_the_room_is_used_and_python_grows_the_table() -> None:
    table = StringTable(room=2)
    codes = [intern_bytes(padded(name), len(name), table.header) for name in (b"water", b"level", b"speed")]
    assert codes == [0, 1, MISSING]
    assert table.add("speed") == 2
    assert table.values == ["water", "level", "speed"]
    assert len(table.starts) > 2


def test_ten_thousand_strings_keep_their_codes_through_growth() -> None:
    table = StringTable(room=8)
    names = [f"metric_{number}" * (number % 7 + 1) for number in range(10_000)]
    assert [table.add(name) for name in names] == list(range(10_000))
    assert [table.find(name) for name in names] == list(range(10_000))
    assert table.find("metric") == MISSING


def test_clearing_starts_a_new_generation() -> None:
    table = StringTable(crowded_at=2)
    for name in ("a", "b", "c"):
        table.add(name)
    assert table.crowded
    table.clear()
    assert (len(table), table.values, table.generation, table.crowded) == (0, [], 1, False)
    assert table.find("a") == MISSING
    assert np.count_nonzero(table.slots) == 0
