"""Cell -> region shard, and the other shards that need a copy of a row because it lies near their border (the halo).

A shard owns whole coarse parent cells, so nearly all of a cell's neighbours live with it. A detector looks at most
`reach_rings` rings around a cell; a row therefore also goes to each shard that owns a cell within that reach. Only the
owner of a cell judges it, so halo copies never raise an alert twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import SettingsError
from topology.grid import MAX_LEVEL, Grid, IntArray, morton_decode, morton_encode, parent_of
from topology.jit import inlined, kernel

NO_SHARD: Final = -1
MAX_HALO: Final = 3
"""A reach of at most half a parent touches two columns and two rows of parents: the own one and three others."""
MAX_SHARDS: Final = 1 << 15

ShardArray = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int32]

# Finaliser of splitmix64: D. Stafford's variant 13 of MurmurHash3's (G. Steele, D. Lea, C. Flood, "Fast Splittable
# Pseudorandom Number Generators", OOPSLA 2014).
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
# FNV-1a, 64 bits (Fowler, Noll, Vo; the constants are those of the IETF draft eastlake-fnv).
_FNV_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x00000100000001B3)


class ShardParams(NamedTuple):
    """The shards' numbers, in the shape that kernels take: `halo_of(cell, shards.params)`."""

    nx: int
    ny: int
    shard_count: int
    parent_levels: int
    reach_rings: int


@dataclass(frozen=True, slots=True)
class Shards:
    """How a grid is divided among `count` partitions of `observations`.

    `parent_levels`: a parent of 2**levels x 2**levels base cells is owned whole (6: 6.4 km in a 100 m grid). Parents
    are given to shards by hash: a grid of few parents is divided unevenly, so choose it small enough to have many per
    shard.

    `reach_rings`: the farthest any detector looks, in rings of base cells.

    Changing any of these while `observations` holds frames moves cells between shards: the join must be replayed.
    """

    grid: Grid
    count: int
    parent_levels: int = 6
    reach_rings: int = 1

    def __post_init__(self) -> None:
        problems = []
        if not 1 <= self.count <= MAX_SHARDS:
            problems.append(f"shards: count={self.count} must be from 1 to {MAX_SHARDS}")
        if not 0 <= self.parent_levels <= MAX_LEVEL:
            problems.append(f"shards: parent_levels={self.parent_levels} must be from 0 to {MAX_LEVEL}")
        elif not 0 <= 2 * self.reach_rings <= 1 << self.parent_levels:
            problems.append(
                f"shards: reach_rings={self.reach_rings} must be from 0 to half a parent's side, which is "
                f"{1 << self.parent_levels} cells at parent_levels={self.parent_levels}; "
                f"a row would have to go to more than {MAX_HALO} other shards"
            )
        if problems:
            raise SettingsError(problems)

    @property
    def params(self) -> ShardParams:
        """The same numbers for kernels."""
        return ShardParams(
            int(self.grid.nx), int(self.grid.ny), int(self.count), int(self.parent_levels), int(self.reach_rings)
        )

    def shard_of(self, cell: int) -> int:
        """The shard that owns a base cell, `NO_SHARD` for `NO_CELL`."""
        return int(owner_of(cell, self.params))

    def shards_of(self, cells: IntArray) -> ShardArray:
        """`shard_of` of int64[n] base cells."""
        out = np.empty(len(cells), dtype=np.int32)
        fill_owners(cells, self.params, out)
        return out

    def halo_shards(self, cells: IntArray) -> ShardArray:
        """int32[n, 3]: the other shards that own a cell within reach of each base cell, `NO_SHARD` in the unused
        places.

        Distinct, in no particular order. Cells beyond the city's edge do not count.
        """
        out = np.empty((len(cells), MAX_HALO), dtype=np.int32)
        fill_halo(cells, self.params, out)
        return out

    def shard_of_entity(self, entity: bytes) -> int:
        """The shard of a row that has no cell: by its entity's id, so that one device's rows stay together."""
        data = np.frombuffer(entity, dtype=np.uint8)
        return int(fnv1a64(data, 0, len(data)) % np.uint64(self.count))

    def shards_of_entities(self, data: Bytes, offsets: Offsets) -> ShardArray:
        """`shard_of_entity` of n ids: id i is data[offsets[i]:offsets[i + 1]]."""
        out = np.empty(len(offsets) - 1, dtype=np.int32)
        _fill_entity_shards(data, offsets, self.count, out)
        return out

    def parents(self) -> IntArray:
        """All parent cells of the grid: the unit in which ground is given to shards."""
        side = 1 << self.parent_levels
        columns, rows = -(-self.grid.nx // side), -(-self.grid.ny // side)
        corners = (morton_encode(x * side, y * side) for y in range(rows) for x in range(columns))
        return np.array([parent_of(cell, self.parent_levels) for cell in corners], dtype=np.int64)


# --- kernels, callable from other kernels -----------------------------------------------------------------------------


@kernel
def mix64(value: int | np.uint64) -> np.uint64:
    """A bijection of 64 bits in which every input bit moves every output bit."""
    z = np.uint64(value)
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@kernel
def fnv1a64(data: Bytes, start: int, end: int) -> np.uint64:
    """FNV-1a hash of data[start:end]."""
    h = _FNV_OFFSET
    for i in range(start, end):
        h = (h ^ np.uint64(data[i])) * _FNV_PRIME
    return h


@inlined
def owner_of(cell: int, shards: ShardParams) -> int:
    """The shard that owns a base cell, `NO_SHARD` for `NO_CELL`."""
    if cell < 0:
        return NO_SHARD
    parent = parent_of(cell, shards.parent_levels)
    return int(mix64(parent) % np.uint64(shards.shard_count))


@inlined
def halo_of(cell: int, shards: ShardParams) -> tuple[int, int, int]:
    """The other shards that need a copy of a row in this base cell; unused places are `NO_SHARD`, and come last."""
    if cell < 0 or shards.shard_count == 1:
        return NO_SHARD, NO_SHARD, NO_SHARD
    levels = shards.parent_levels
    reach = shards.reach_rings
    mask = (1 << levels) - 1
    column, row = morton_decode(cell)
    x = column & mask
    y = row & mask
    if x >= reach and x + reach <= mask and y >= reach and y + reach <= mask:
        return NO_SHARD, NO_SHARD, NO_SHARD  # nearly all rows: 94 % at 64 x 64 cells and one ring
    first_column = max(column - reach, 0) >> levels
    last_column = min(column + reach, shards.nx - 1) >> levels
    first_row = max(row - reach, 0) >> levels
    last_row = min(row + reach, shards.ny - 1) >> levels
    owner = owner_of(cell, shards)
    a = NO_SHARD
    b = NO_SHARD
    c = NO_SHARD
    for parent_row in range(first_row, last_row + 1):
        for parent_column in range(first_column, last_column + 1):
            other = owner_of(morton_encode(parent_column << levels, parent_row << levels), shards)
            if other != owner and other != a and other != b:
                if a == NO_SHARD:
                    a = other
                elif b == NO_SHARD:
                    b = other
                else:
                    c = other  # the fourth parent at most: there is no later one to compare with it
    return a, b, c


@kernel
def fill_owners(cells: IntArray, shards: ShardParams, out: ShardArray) -> None:
    """`owner_of` of int64[n] cells, into int32[n]."""
    for i in range(cells.shape[0]):
        out[i] = owner_of(cells[i], shards)


@kernel
def fill_halo(cells: IntArray, shards: ShardParams, out: ShardArray) -> None:
    """`halo_of` of int64[n] cells, into int32[n, 3]."""
    for i in range(cells.shape[0]):
        out[i, 0], out[i, 1], out[i, 2] = halo_of(cells[i], shards)


@kernel
def _fill_entity_shards(data: Bytes, offsets: Offsets, count: int, out: ShardArray) -> None:
    for i in range(out.shape[0]):
        out[i] = np.int64(fnv1a64(data, offsets[i], offsets[i + 1]) % np.uint64(count))
