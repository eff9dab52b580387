"""Point and time -> jurisdiction: the finest one in force there and then, exact at its borders.

One rule for a point on a border, and for one that several jurisdictions of a level cover: the smallest code owns it
(covers, not contains; codes compare as text). A point in a district for which no subdistrict is known gets the
district, and a point nobody covers gets -1.

Jurisdictions change: each has a validity, and an observation keeps the one that was in force at its event time. Between
two changes lies an epoch; for each epoch that is asked for there is one table over the grid's cells
(`topology.cell_table`). Most points lie in a cell that one jurisdiction holds whole; those in border cells are tested
against the edges that run through their cell, and the few for which rounding might decide against the polygons, by
shapely, all at once.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology.border_lists import NOBODY, UNSURE, BorderLists
from topology.boundaries import read_boundaries
from topology.boundary_file import Boundary
from topology.cell_table import FIRST_BORDER, CellTable, build_table
from topology.grid import Grid
from topology.levels import Jurisdiction, Level
from topology.unit_grid import UnitGrid

__all__ = ["NOBODY", "Jurisdiction", "Jurisdictions", "Level"]

MAX_TABLES: Final = 4
"""Tables kept, of the epochs asked for last: 7 MB each for Shanghai in cells of 100 m."""
DEFAULT_ZONE: Final = "Asia/Shanghai"

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RowArray = npt.NDArray[np.int32]

_INT64_MIN: Final = -(1 << 63)


class Jurisdictions:
    """All jurisdictions of a city over one grid. Made once; look-ups are pure and may run in several threads.

    `entries` are all jurisdictions in all their validities, by code and time. A row is an index into `codes`, which are
    distinct: `find(codes[row], at_ms)` is the entry. Where no code changed over time, `entries[row]` is it as well.
    """

    def __init__(
        self,
        grid: Grid,
        entries: Iterable[tuple[Jurisdiction, BaseGeometry | None]] = (),
        *,
        warnings: Sequence[str] = (),
    ) -> None:
        """Entries with their areas in WGS-84, known to be sound: `load` is what checks."""
        ordered = sorted(entries, key=lambda pair: (pair[0].code, _start(pair[0])))
        self.grid: Final = grid
        self.entries: tuple[Jurisdiction, ...] = tuple(entry for entry, _ in ordered)
        self.codes: tuple[str, ...] = tuple(dict.fromkeys(entry.code for entry in self.entries))
        self.warnings: tuple[str, ...] = tuple(warnings)
        """What is odd in the files but does not stop them from being used, each with its line."""
        self._rows = {code: row for row, code in enumerate(self.codes)}
        self._areas = np.array([area for _, area in ordered] + [None], dtype=object)[:-1]
        for area in self._areas:
            if area is not None:
                _prepare(area)
        self._row_of_entry = np.array([self._rows[entry.code] for entry in self.entries], dtype=np.int32)
        self._by_code: dict[str, list[Jurisdiction]] = {}
        for entry in self.entries:
            self._by_code.setdefault(entry.code, []).append(entry)
        moments = {m for entry in self.entries for m in (entry.valid_from_ms, entry.valid_to_ms) if m is not None}
        self._changes = np.array(sorted(moments), dtype=np.int64)
        self._tables: OrderedDict[int, CellTable] = OrderedDict()
        self._unit_grids: dict[Jurisdiction, UnitGrid | None] = {}
        self._lock = threading.Lock()
        if self.entries:
            self._table(len(self._changes))  # the last epoch, which a worker most likely asks for first

    @classmethod
    def empty(cls, grid: Grid) -> Jurisdictions:
        """No jurisdictions: every look-up says so, at no cost."""
        return cls(grid)

    @classmethod
    def load(
        cls, files: Sequence[Path], grid: Grid, *, default_datum: Datum = Datum.WGS84, zone: str = DEFAULT_ZONE
    ) -> Jurisdictions:
        """Read GeoJSON files of boundaries (`topology.boundary_file` says what they hold).

        Raises `SettingsError` with every problem of all files, each with its line. `default_datum` is that of files
        that say none; `zone` is where the midnights of their dates are.
        """
        found = read_boundaries(files, grid, default_datum=default_datum, zone=zone)
        if found.problems:
            raise SettingsError(found.problems)
        entries = [_entry(boundary, parent) for boundary, parent in zip(found.boundaries, found.parents, strict=True)]
        return cls(grid, entries, warnings=found.warnings)

    def __len__(self) -> int:
        return len(self.codes)

    # --- points ---------------------------------------------------------------------------------------------------

    def rows_at(self, lon: FloatArray, lat: FloatArray, cell: IntArray, event_at_ms: IntArray) -> RowArray:
        """Row int32[n] of the finest jurisdiction in force at each point and time, -1 for none.

        `cell` are the points' base cells of this grid; -1 where a cell is `NO_CELL` or a longitude NaN.
        """
        out = np.empty(len(cell), dtype=np.int32)
        if not self.entries:
            out.fill(NOBODY)
            return out
        if not len(out):
            return out
        if not len(self._changes):
            self._fill(0, lon, lat, cell, out)
            return out
        first, last = self._epoch_of(int(event_at_ms.min())), self._epoch_of(int(event_at_ms.max()))
        if first == last:
            self._fill(first, lon, lat, cell, out)
            return out
        epochs = np.searchsorted(self._changes, event_at_ms, side="right")
        for epoch in np.unique(epochs):
            rows = np.flatnonzero(epochs == epoch)
            part = np.empty(len(rows), dtype=np.int32)
            self._fill(int(epoch), lon[rows], lat[rows], cell[rows], part)
            out[rows] = part
        return out

    def row_at(self, lon: float, lat: float, at_ms: int) -> int:
        """Row of the finest jurisdiction in force at one point and time, -1 for none or outside the grid."""
        lons, lats = np.array([lon], dtype=np.float64), np.array([lat], dtype=np.float64)
        return int(self.rows_at(lons, lats, self.grid.cells_of(lons, lats), np.array([at_ms], dtype=np.int64))[0])

    def code_at(self, lon: float, lat: float, at_ms: int) -> str | None:
        """Its code."""
        row = self.row_at(lon, lat, at_ms)
        return None if row < 0 else self.codes[row]

    def unit_at(self, lon: float, lat: float, at_ms: int) -> str | None:
        """Code of the unit grid cell: the city's own where it has one, else a generated one (`topology.unit_grid`).

        None where nobody owns the point, and for jurisdictions whose codes are not official ones.
        """
        code = self.code_at(lon, lat, at_ms)
        if code is None:
            return None
        for entry in self.chain(code, at_ms):
            if entry.level == Level.UNIT:
                return entry.code
            units = self._units(entry)
            if units is not None:
                return units.code(self.grid.cell(lon, lat))
        return None

    # --- codes ----------------------------------------------------------------------------------------------------

    def find(self, code: str, at_ms: int) -> Jurisdiction | None:
        """The jurisdiction that a code means at a time, None if there is none in force."""
        for entry in self._by_code.get(code, ()):
            if entry.is_valid(at_ms):
                return entry
        return None

    def chain(self, code: str, at_ms: int) -> tuple[Jurisdiction, ...]:
        """The jurisdiction and what it belongs to, finest first, up to the city; empty if none is in force."""
        links = []
        entry = self.find(code, at_ms)
        while entry is not None:
            links.append(entry)
            entry = None if entry.parent is None else self.find(entry.parent, at_ms)
        return tuple(links)

    def district_of(self, code: str, at_ms: int) -> str | None:
        """Code of the district it belongs to or is; of the city for what belongs to no district; None if unknown."""
        chain = self.chain(code, at_ms)
        for level in (Level.DISTRICT, Level.CITY):
            for entry in chain:
                if entry.level == level:
                    return entry.code
        return None

    def name_zh(self, code: str, at_ms: int) -> str:
        """The full name, coarsest first: 上海市徐汇区天平路街道. A code that is not in force stands for itself."""
        return "".join(entry.name_zh for entry in reversed(self.chain(code, at_ms))) or code

    def name_en(self, code: str, at_ms: int) -> str:
        """Finest first and without the city, unless it is the city: "Tianping Road, Xuhui".

        A Chinese name stands where there is no English one, a code where it is not in force.
        """
        chain = self.chain(code, at_ms)
        named = [entry for entry in chain if entry.level != Level.CITY] or chain
        return ", ".join(entry.name_en or entry.name_zh for entry in named) or code

    # --- tables ---------------------------------------------------------------------------------------------------

    def _epoch_of(self, at_ms: int) -> int:
        return int(np.searchsorted(self._changes, at_ms, side="right"))

    def _valid_in(self, epoch: int) -> list[int]:
        """Indices of the entries in force in an epoch, in precedence: the finest level first, then by code."""
        at_ms = int(self._changes[epoch - 1]) if epoch else _INT64_MIN
        valid = [i for i, entry in enumerate(self.entries) if entry.is_valid(at_ms)]
        return sorted(valid, key=lambda i: (-self.entries[i].level, self.entries[i].code))

    def _table(self, epoch: int) -> CellTable:
        """The table of an epoch, made when it is first asked for: of rows, but in its lists of indices of entries."""
        with self._lock:
            table = self._tables.get(epoch)
            if table is None:
                shapes = ((i, self._areas[i]) for i in self._valid_in(epoch))
                table = build_table(self.grid, [(i, area) for i, area in shapes if area is not None])
                whole = table.values >= 0
                table.values[whole] = self._row_of_entry[table.values[whole]]  # only lists stay entries
                self._tables[epoch] = table
            self._tables.move_to_end(epoch)
            while len(self._tables) > MAX_TABLES:
                self._tables.popitem(last=False)
            return table

    def _units(self, entry: Jurisdiction) -> UnitGrid | None:
        with self._lock:
            if entry not in self._unit_grids:
                area = self._areas[self.entries.index(entry)]
                self._unit_grids[entry] = None if area is None else UnitGrid.of(entry.code, area, self.grid)
            return self._unit_grids[entry]

    def _fill(self, epoch: int, lon: FloatArray, lat: FloatArray, cell: IntArray, out: RowArray) -> None:
        """`rows_at` for rows of one epoch."""
        table = self._table(epoch)
        border = table.look_up(cell, lon, out)
        if len(border):
            which = FIRST_BORDER - out[border].astype(np.int64)
            out[border] = self._decide(table.lists, which, lon[border], lat[border])

    def _decide(self, lists: BorderLists, which: IntArray, lon: FloatArray, lat: FloatArray) -> RowArray:
        """Row of each point in a border cell: the first of its list that covers it."""
        entries = lists.owners(which, lon, lat)
        unsure = np.flatnonzero(entries == UNSURE)
        if len(unsure):
            entries[unsure] = self._decide_exactly(lists, which[unsure], lon[unsure], lat[unsure])
        found = np.full(len(which), NOBODY, dtype=np.int32)
        owned = entries >= 0
        found[owned] = self._row_of_entry[entries[owned]]
        return found

    def _decide_exactly(self, lists: BorderLists, which: IntArray, lon: FloatArray, lat: FloatArray) -> RowArray:
        """The same by the polygons themselves, as entries: for points at which rounding might decide."""
        found = np.full(len(which), NOBODY, dtype=np.int32)
        at = lists.starts[which]
        end = lists.starts[which + 1]
        left = np.arange(len(which))
        while len(left):  # one turn for each place in the longest list: two or three
            entries = lists.rows[at[left]]
            covers = shapely.intersects_xy(self._areas[entries], lon[left], lat[left])
            found[left[covers]] = entries[covers]
            left = left[~covers]
            at[left] += 1
            left = left[at[left] < end[left]]
        return found


def _entry(boundary: Boundary, parent: str | None) -> tuple[Jurisdiction, BaseGeometry | None]:
    area = boundary.geometry
    west, south, east, north = (math.nan,) * 4 if area is None else shapely.bounds(area).tolist()
    return Jurisdiction(
        boundary.code, boundary.name_zh, boundary.name_en, boundary.level, parent,
        boundary.valid_from_ms, boundary.valid_to_ms, west, south, east, north,
    ), area  # fmt: skip


def _prepare(area: BaseGeometry) -> None:
    """Index an area for point tests, now: GEOS completes the index at the first test, which is not safe in threads."""
    shapely.prepare(area)
    shapely.intersects_xy(area, *area.representative_point().coords[0])


def _start(entry: Jurisdiction) -> int:
    return _INT64_MIN if entry.valid_from_ms is None else entry.valid_from_ms
