"""The incidents of each type by cell, so that those around a place are found without looking at all of them.

A neighbourhood is the square of cells within some rings. Finding the ones around a cell takes one look for each cell of
the square, however many incidents the city has.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from topology.grid import NO_CELL, neighbour_cells, ring_distance


class PlaceIndex:
    """Incidents by type and cell; those without a place are not in it."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, int], list[str]] = {}

    def add(self, type: str, cell: int, incident_id: str) -> None:
        if cell != NO_CELL:
            self._ids.setdefault((type, cell), []).append(incident_id)

    def remove(self, type: str, cell: int, incident_id: str) -> None:
        ids = self._ids.get((type, cell))
        if ids is not None and incident_id in ids:
            ids.remove(incident_id)
            if not ids:
                del self._ids[type, cell]

    def near(self, type: str, cell: int, rings: int) -> Iterator[tuple[int, str]]:
        """(rings away, incident) of a type within `rings` of a cell; the order means nothing."""
        if cell == NO_CELL:
            return
        around = [cell] if rings == 0 else neighbour_cells(np.array([cell], dtype=np.int64), rings)[0].tolist()
        for other in around:
            for incident_id in self._ids.get((type, other), ()):
                yield ring_distance(cell, other), incident_id
