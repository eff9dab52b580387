"""Device -> registered place: what a device without coordinates in its records is known to stand at.

A register is a file kept by people, so reading one reports every problem at once, each with its line. Two forms, told
apart by the file's ending:

- `.csv`: UTF-8 with a header; columns device_id, lon, lat and, if wanted, datum, device_type, name;
- `.jsonl` or `.ndjson`: one object a line with the same names.

Places are converted to WGS-84 when the file is read. Look-ups run in a kernel over the bytes of a whole column of ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology.datum import convert
from topology.device_file import MAX_PROBLEMS, Device, read_devices
from topology.grid import NO_CELL, Grid
from topology.jit import kernel
from topology.shards import fnv1a64

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float64]
RowArray = npt.NDArray[np.int32]

NOT_REGISTERED: Final = -1


@dataclass(frozen=True, slots=True)
class _Table:
    """The register's ids as arrays.

    Row r has the id arena[starts[r]:starts[r + 1]]; `slots` holds rows by hash, -1 where free.
    """

    arena: Bytes
    starts: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    slots: RowArray


class DeviceRegister:
    """Registered devices in file order; `lon` and `lat` float64[n] are WGS-84. Made once, never changed."""

    def __init__(self, devices: Iterable[Device] = (), *, warnings: Sequence[str] = ()) -> None:
        self.devices: tuple[Device, ...] = tuple(devices)
        self.warnings: tuple[str, ...] = tuple(warnings)
        """What is odd in the file but does not stop it from being used, each with its line."""
        places = [convert(device.lon, device.lat, device.datum, Datum.WGS84) for device in self.devices]
        self.lon: FloatArray = np.array([lon for lon, _ in places], dtype=np.float64)
        self.lat: FloatArray = np.array([lat for _, lat in places], dtype=np.float64)
        self._table = _build_table([device.device_id.encode() for device in self.devices])

    @classmethod
    def load(cls, path: Path | str, *, default_datum: Datum = Datum.WGS84, grid: Grid | None = None) -> DeviceRegister:
        """Read a register file. Raises `SettingsError` with every problem in it, or when it cannot be read.

        `default_datum` is that of lines without one. With a `grid`, a device outside it is warned of: it is kept, since
        it is known where it stands, but its rows will have no cell.
        """
        path = Path(path)
        devices, problems, warnings = read_devices(path, default_datum)
        if problems:
            raise SettingsError(problems)
        register = cls(devices, warnings=warnings)
        if grid is not None:
            register.warnings += tuple(register._outside(path, grid))
        return register

    def __len__(self) -> int:
        return len(self.devices)

    def lookup(
        self, entity_data: Bytes, entity_offsets: Offsets, need: npt.NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
        """(lon, lat, found), each [n], of the rows with `need` set; NaN, NaN and False elsewhere and for unknown ids.

        Row i's id is entity_data[entity_offsets[i]:entity_offsets[i + 1]]; ids are compared byte by byte.
        """
        n = len(entity_offsets) - 1
        lon = np.empty(n, dtype=np.float64)
        lat = np.empty(n, dtype=np.float64)
        found = np.empty(n, dtype=np.bool_)
        table = self._table
        _fill_places(
            entity_data, entity_offsets, need, table.arena, table.starts, table.hashes, table.slots, self.lon, self.lat,
            lon, lat, found,
        )  # fmt: skip
        return lon, lat, found

    def rows_of(self, entity_data: Bytes, entity_offsets: Offsets) -> RowArray:
        """Index int32[n] into `devices` of each id, `NOT_REGISTERED` if unknown."""
        rows = np.empty(len(entity_offsets) - 1, dtype=np.int32)
        table = self._table
        _fill_rows(entity_data, entity_offsets, table.arena, table.starts, table.hashes, table.slots, rows)
        return rows

    def find(self, device_id: str) -> Device | None:
        """One device by its id."""
        data = np.frombuffer(device_id.encode(), dtype=np.uint8)
        row = int(self.rows_of(data, np.array([0, len(data)], dtype=np.int32))[0])
        return None if row == NOT_REGISTERED else self.devices[row]

    def _outside(self, path: Path, grid: Grid) -> list[str]:
        """One warning for each device that stands outside the grid, the first thousand."""
        rows = np.flatnonzero(grid.cells_of(self.lon, self.lat) == NO_CELL)
        warnings = [
            f"{path}:{device.line}: device {device.device_id!r} at lon={device.lon}, lat={device.lat} is outside the "
            "city's grid; its records will have no cell"
            for device in (self.devices[row] for row in rows[:MAX_PROBLEMS])
        ]
        if len(rows) > MAX_PROBLEMS:
            warnings.append(f"{path}: and {len(rows) - MAX_PROBLEMS} more devices outside the city's grid")
        return warnings


def _build_table(ids: list[bytes]) -> _Table:
    starts = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(device_id) for device_id in ids], out=starts[1:])
    arena = np.frombuffer(b"".join(ids) or b"\0", dtype=np.uint8)
    hashes = np.empty(len(ids), dtype=np.uint64)
    # at most half full, so that the id of an unregistered device meets a free slot soon
    slots = np.full(1 << max(4, (2 * len(ids)).bit_length()), NOT_REGISTERED, dtype=np.int32)
    _fill_table(arena, starts, hashes, slots)
    return _Table(arena, starts, hashes, slots)


# --- kernels
# ------------------------------------------------------------------------------------------------------------


@kernel
def _home(id_hash: np.uint64, mask: int) -> int:
    return np.int64((id_hash ^ (id_hash >> np.uint64(32))) & np.uint64(mask))  # type: ignore[return-value]


@kernel
def _fill_table(arena: Bytes, starts: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], slots: RowArray) -> None:
    mask = slots.shape[0] - 1
    for row in range(hashes.shape[0]):
        hashes[row] = fnv1a64(arena, starts[row], starts[row + 1])
        slot = _home(hashes[row], mask)
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = row


@kernel
def find_row(
    data: Bytes,
    start: int,
    end: int,
    arena: Bytes,
    starts: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    slots: RowArray,
) -> int:
    """Row of the id data[start:end], `NOT_REGISTERED` if it is not in the table. Equal hashes are not enough."""
    mask = slots.shape[0] - 1
    id_hash = fnv1a64(data, start, end)
    slot = _home(id_hash, mask)
    while slots[slot] >= 0:
        row = slots[slot]
        if hashes[row] == id_hash and starts[row + 1] - starts[row] == end - start:
            same = True
            for i in range(end - start):
                if data[start + i] != arena[starts[row] + i]:
                    same = False
                    break
            if same:
                return int(row)
        slot = (slot + 1) & mask
    return NOT_REGISTERED


@kernel
def _fill_rows(
    data: Bytes,
    offsets: Offsets,
    arena: Bytes,
    starts: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    slots: RowArray,
    out: RowArray,
) -> None:
    for i in range(out.shape[0]):
        out[i] = find_row(data, offsets[i], offsets[i + 1], arena, starts, hashes, slots)


@kernel
def _fill_places(
    data: Bytes,
    offsets: Offsets,
    need: npt.NDArray[np.bool_],
    arena: Bytes,
    starts: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    slots: RowArray,
    place_lon: FloatArray,
    place_lat: FloatArray,
    lon: FloatArray,
    lat: FloatArray,
    found: npt.NDArray[np.bool_],
) -> None:
    for i in range(found.shape[0]):
        row = NOT_REGISTERED
        if need[i]:
            row = find_row(data, offsets[i], offsets[i + 1], arena, starts, hashes, slots)
        found[i] = row >= 0
        lon[i] = place_lon[row] if row >= 0 else np.nan
        lat[i] = place_lat[row] if row >= 0 else np.nan
