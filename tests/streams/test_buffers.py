"""Memory that is used again: never while anybody looks at it, and never more than was said."""

from __future__ import annotations

import gc
import random
import weakref

import numpy as np
import pyarrow as pa
import pytest

from streams.buffers import FORGET_AFTER, SMALLEST, STEP, Buffers, Room


def where(view: object) -> int:
    return int(np.frombuffer(view, dtype=np.uint8).ctypes.data)  # type: ignore[call-overload]  # any buffer


def test_memory_that_nobody_looks_at_is_handed_out_again() -> None:
    buffers = Buffers()
    first = buffers.lease(STEP)
    place = where(first)
    del first
    assert where(buffers.lease(STEP - 5)) == place


def test_what_a_burst_needed_is_let_go_of_when_it_is_over() -> None:
    buffers = Buffers()
    burst = [buffers.lease(STEP) for _ in range(6)]
    arrays = [weakref.ref(lease.base) for lease in burst]
    del burst
    for _ in range(7 * FORGET_AFTER):
        buffers.lease(STEP)
    assert sum(array() is not None for array in arrays) == 1


def test_what_is_looked_at_is_not_forgotten() -> None:
    buffers = Buffers()
    kept, other = buffers.lease(STEP), buffers.lease(STEP)
    kept[:] = 7
    del other
    for _ in range(2 * FORGET_AFTER):
        buffers.lease(STEP)[:] = 1
    assert (kept == 7).all()


@pytest.mark.parametrize(
    "look",
    [
        lambda view: view,
        lambda view: view[10:20],
        lambda view: view.data,
        lambda view: view.data[7:9].cast("B"),
        lambda view: np.frombuffer(view.data[8:16], dtype=np.int64),
        lambda view: pa.py_buffer(view.data).slice(3, 4),
        lambda view: pa.Array.from_buffers(pa.int64(), 2, [None, pa.py_buffer(view[8:24])]).slice(1),
    ],
)
def test_memory_under_any_kind_of_view_is_not(look: object) -> None:
    buffers = Buffers()
    lease = buffers.lease(STEP)
    place = where(lease)
    view = look(lease)  # type: ignore[operator]  # it is a function
    del lease
    gc.collect()
    assert where(buffers.lease(STEP)) != place
    del view
    assert place in {where(lease) for lease in [buffers.lease(STEP), buffers.lease(STEP)]}


def test_what_is_written_stays_while_it_is_held() -> None:
    chance, buffers = random.Random(5), Buffers(6 * STEP)
    held: list[tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], int]] = []
    for turn in range(2_000):
        lease = buffers.lease(chance.randrange(1, 3 * STEP))
        lease[:: max(1, len(lease) // 50)] = turn % 256
        held.append((lease, turn % 256))
        while len(held) > chance.randrange(1, 8):
            kept, mark = held.pop(chance.randrange(len(held)))
            assert (kept[:: max(1, len(kept) // 50)] == mark).all()
        assert sum(map(len, buffers._held)) <= 6 * STEP


def test_small_and_huge_ones_are_not_kept() -> None:
    buffers = Buffers(2 * STEP)
    assert len(buffers.lease(SMALLEST - 1)) == SMALLEST - 1
    assert len(buffers.lease(2 * STEP + 1)) == 2 * STEP + 1
    assert not buffers._held


def test_columns_of_a_room_lie_apart_and_hold_it_as_long_as_one_is_left() -> None:
    buffers = Buffers()
    rows = SMALLEST
    room = Room(buffers, rows * (8 + 1 + 4), 3)
    columns = [room.column(kind, rows) for kind in (np.int64, np.uint8, np.float32)]
    for number, column in enumerate(columns):
        column[:] = number + 1
    assert [set(column.tolist()) for column in columns] == [{1}, {2}, {3}]
    with pytest.raises(ValueError, match="of a room"):
        room.column(np.int64, rows)
    place = where(columns[0])
    last = columns[1][5:]
    del room, columns, column
    assert where(buffers.lease(rows * 13)) != place
    del last
    assert where(buffers.lease(rows * 13)) == place
