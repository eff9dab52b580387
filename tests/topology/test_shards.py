"""Shards own whole parents; the halo is exactly the other owners within reach, however the border runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsError
from topology.grid import NO_CELL, Grid, decode_cell, morton_encode, parent
from topology.shards import NO_SHARD, Shards, fnv1a64, mix64


def _grid(nx: int, ny: int) -> Grid:
    return Grid(121.0, 31.0, 0.001, 0.001, nx, ny)


def _naive_halo(shards: Shards, cell: int) -> set[int]:
    column, row = decode_cell(cell)
    reach = range(-shards.reach_rings, shards.reach_rings + 1)
    owners = {
        shards.shard_of(morton_encode(column + dx, row + dy))
        for dx in reach
        for dy in reach
        if 0 <= column + dx < shards.grid.nx and 0 <= row + dy < shards.grid.ny
    }
    return owners - {shards.shard_of(cell)}


@settings(max_examples=60, deadline=None)  # the first call compiles
@given(
    nx=st.integers(1, 40),
    ny=st.integers(1, 40),
    count=st.integers(1, 9),
    levels=st.integers(0, 5),
    data=st.data(),
)
def test_halo_equals_a_plain_look_at_all_cells_within_reach(
    nx: int, ny: int, count: int, levels: int, data: st.DataObject
) -> None:
    reach = data.draw(st.integers(0, min(4, (1 << levels) // 2)))
    shards = Shards(_grid(nx, ny), count, parent_levels=levels, reach_rings=reach)
    cells = np.array([morton_encode(x, y) for y in range(ny) for x in range(nx)], dtype=np.int64)
    halo = shards.halo_shards(cells)
    for cell, others in zip(cells.tolist(), halo.tolist(), strict=True):
        used = [shard for shard in others if shard != NO_SHARD]
        assert others[: len(used)] == used  # unused places come last
        assert len(set(used)) == len(used)
        assert set(used) == _naive_halo(shards, cell)


def test_halo_of_a_city_equals_the_plain_look_along_its_real_borders() -> None:
    shards = Shards(_grid(200, 150), 8)
    cells = np.array([morton_encode(x, y) for y in range(150) for x in range(200)], dtype=np.int64)
    halo = shards.halo_shards(cells)
    for column, row in [
        (0, 0),
        (62, 5),
        (63, 5),
        (64, 5),
        (65, 5),
        (63, 63),
        (64, 64),
        (127, 64),
        (199, 149),
        (199, 127),
    ]:
        found = set(halo[row * 200 + column].tolist()) - {NO_SHARD}
        assert found == _naive_halo(shards, morton_encode(column, row))
    inner = [(x & 63 not in (0, 63)) and (y & 63 not in (0, 63)) for y in range(150) for x in range(200)]
    assert (halo[inner] == NO_SHARD).all()
    assert (halo[:, 2] != NO_SHARD).any()  # somewhere four shards meet: the widest case is in this test


@settings(deadline=None)
@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 64), st.integers(0, 8))
def test_one_parent_is_owned_by_one_shard(column: int, row: int, count: int, levels: int) -> None:
    shards = Shards(_grid(6000, 6000), count, parent_levels=levels, reach_rings=0)
    owner = shards.shard_of(morton_encode(column, row))
    assert 0 <= owner < count
    assert owner == shards.shard_of(morton_encode(column >> levels << levels, row >> levels << levels))
    assert owner == int(mix64(parent(morton_encode(column, row), levels))) % count
    assert shards.shards_of(np.array([morton_encode(column, row), NO_CELL])).tolist() == [owner, NO_SHARD]


def test_mix64_is_the_published_finaliser() -> None:
    # splitmix64 seeded with 0 finalises multiples of its golden gamma; its first three outputs are widely printed
    gamma = 0x9E3779B97F4A7C15
    outputs = [int(mix64(np.uint64(gamma * i % 2**64))) for i in (1, 2, 3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize(
    ("text", "expected"),  # from the test suite of the FNV authors
    [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)],
)
def test_fnv1a_gives_the_published_values(text: bytes, expected: int) -> None:
    assert int(fnv1a64(np.frombuffer(text, dtype=np.uint8), 0, len(text))) == expected


def test_rows_without_a_cell_go_to_a_shard_by_entity() -> None:
    shards = Shards(_grid(100, 100), 8)
    ids = [f"device-{i}".encode() for i in range(2000)] + [b"", "水位-7".encode()]
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int32)
    found = shards.shards_of_entities(np.frombuffer(b"".join(ids), dtype=np.uint8), offsets)
    assert found.tolist() == [shards.shard_of_entity(i) for i in ids]
    assert np.bincount(found, minlength=8).min() > 150  # spread over all shards
    # a column that does not start at the buffer's first byte
    assert shards.shards_of_entities(np.frombuffer(b"".join(ids), dtype=np.uint8), offsets[5:9]).tolist() == [
        shards.shard_of_entity(i) for i in ids[5:8]
    ]


def test_no_cell_has_no_shard_and_no_halo() -> None:
    shards = Shards(_grid(100, 100), 8)
    assert shards.shard_of(NO_CELL) == NO_SHARD
    assert shards.halo_shards(np.array([NO_CELL])).tolist() == [[NO_SHARD] * 3]
    assert shards.halo_shards(np.array([], dtype=np.int64)).shape == (0, 3)


def test_parents_lists_each_parent_of_the_city_once() -> None:
    shards = Shards(_grid(130, 65), 8)
    assert sorted(shards.parents().tolist()) == sorted(
        parent(morton_encode(x * 64, y * 64), 6) for x in range(3) for y in range(2)
    )


def test_wrong_shards_are_refused_with_every_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        Shards(_grid(10, 10), 0, parent_levels=2, reach_rings=3)
    assert len(caught.value.problems) == 2
    assert "half a parent's side" in caught.value.problems[1]
    with pytest.raises(SettingsError, match="parent_levels=28"):
        Shards(_grid(10, 10), 8, parent_levels=28)
