"""Device -> registered place: what a device without coordinates in its records is known to stand at.

A register is a file kept by people, so reading one reports every problem at once, each with its line. Two forms, told
apart by the file's ending:

- `.csv`: UTF-8 with a header; columns device_id, lon, lat and, if wanted, datum, device_type, name;
- `.jsonl` or `.ndjson`: one object a line with the same names.

Places are converted to WGS-84 when the file is read. Look-ups run in a kernel over the bytes of a whole column of ids.
Everything is kept as columns (topology.device_columns): ten million devices take 0.8 GB, loading included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology.datum import to_wgs84
from topology.device_columns import Bytes, Columns, Device, Devices, FloatArray
from topology.device_file import read_devices
from topology.device_report import MAX_PROBLEMS
from topology.device_table import NOT_REGISTERED, IdTable, Offsets, RowArray, fill_places, fill_rows
from topology.grid import NO_CELL, Grid

__all__ = ["NOT_REGISTERED", "Device", "DeviceRegister"]

_AT_ONCE: Final = 1 << 20  # devices whose cells are looked up together


class DeviceRegister:
    """Registered devices in file order; `lon` and `lat` float64[n] are WGS-84. Made once, never changed."""

    def __init__(self, devices: Iterable[Device] = (), *, warnings: Sequence[str] = ()) -> None:
        columns = Columns.of(devices)
        self._keep(columns, IdTable.of(columns), warnings)

    @classmethod
    def load(cls, path: Path | str, *, default_datum: Datum = Datum.WGS84, grid: Grid | None = None) -> DeviceRegister:
        """Read a register file. Raises `SettingsError` with every problem in it, or when it cannot be read.

        `default_datum` is that of lines without one. With a `grid`, a device outside it is warned of: it is kept, since
        it is known where it stands, but its rows will have no cell.
        """
        path = Path(path)
        columns, table, report = read_devices(path, default_datum)
        if report.problems:
            raise SettingsError(report.problems)
        register = cls.__new__(cls)
        register._keep(columns, table, report.warnings)
        if grid is not None:
            register.warnings += tuple(register._outside(path, grid))
        return register

    def _keep(self, columns: Columns, table: IdTable, warnings: Sequence[str]) -> None:
        self._columns = columns
        self._table = table
        self.devices: Sequence[Device] = Devices(columns)
        self.warnings: tuple[str, ...] = tuple(warnings)
        """What is odd in the file but does not stop it from being used, each with its line."""
        self._places = columns.places  # [n, 2], so that a look-up finds both in one place of memory
        if (columns.datum > Datum.CGCS2000).any():
            lon, lat = (np.ascontiguousarray(columns.places[:, axis]) for axis in (0, 1))
            self._places = np.stack(to_wgs84(lon, lat, columns.datum), axis=1)
        self.lon: FloatArray = self._places[:, 0]
        self.lat: FloatArray = self._places[:, 1]

    def __len__(self) -> int:
        return len(self._columns)

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
        columns = self._columns
        fill_places(
            entity_data, entity_offsets, need, columns.data, columns.starts, self._table.slots, self._places, lon, lat,
            found,
        )  # fmt: skip
        return lon, lat, found

    def rows_of(self, entity_data: Bytes, entity_offsets: Offsets) -> RowArray:
        """Index int32[n] into `devices` of each id, `NOT_REGISTERED` if unknown."""
        rows = np.empty(len(entity_offsets) - 1, dtype=np.int32)
        fill_rows(entity_data, entity_offsets, self._columns.data, self._columns.starts, self._table.slots, rows)
        return rows

    def find(self, device_id: str) -> Device | None:
        """One device by its id."""
        data = np.frombuffer(device_id.encode(), dtype=np.uint8)
        row = int(self.rows_of(data, np.array([0, len(data)], dtype=np.int32))[0])
        return None if row == NOT_REGISTERED else self.devices[row]

    def _outside(self, path: Path, grid: Grid) -> list[str]:
        """One warning for each device that stands outside the grid, the first thousand."""
        warnings: list[str] = []
        count = 0
        for begin in range(0, len(self), _AT_ONCE):
            lon, lat = (np.ascontiguousarray(side[begin : begin + _AT_ONCE]) for side in (self.lon, self.lat))
            rows = begin + np.flatnonzero(grid.cells_of(lon, lat) == NO_CELL)
            count += len(rows)
            warnings += [
                f"{path}:{device.line}: device {device.device_id!r} at lon={device.lon}, lat={device.lat} is outside "
                "the city's grid; its records will have no cell"
                for device in (self.devices[row] for row in rows[: MAX_PROBLEMS - len(warnings)].tolist())
            ]
        if count > MAX_PROBLEMS:
            warnings.append(f"{path}: and {count - MAX_PROBLEMS} more devices outside the city's grid")
        return warnings
