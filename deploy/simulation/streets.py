"""The ground: streets as nodes some 250 m apart, on terrain, with drains that run to a river.

A node is a stretch of street: traffic drives over it, rain falls on its catchment, people live along it, devices and
cameras stand at it. Arrays have one element per node; x and y are metres east and north of the box's south-west corner.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from shapely import STRtree, points

from deploy.simulation.chance import Floats, generator
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.street_names import Road, known_roads, made_up_names
from topology.grid import Grid, metres_per_degree

Index = npt.NDArray[np.int32]

NODE_EVERY_M: Final = 250.0
NEIGHBOUR_M: Final = 340.0
NUMBER_EVERY_M: Final = 8.0
"""House numbers rise by two every 16 m: odd ones on the left side, even ones on the right."""
SIDE_M: Final = 14.0
"""From the middle of the street to a house's door."""
LOW_SPOTS_APART_M: Final = 900.0
PAVED: Final = 0.8
"""Share of rain that runs off in a dense quarter (runoff coefficient; GB 50014-2021 table 4.1.8 has 0.85 to 0.95 for
roofs and asphalt)."""
OUTFALL_M: Final = 260.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Streets:
    """Everything fixed about the ground."""

    roads: tuple[Road, ...]
    west: float
    south: float
    metres_lon: float  # of one degree
    metres_lat: float
    road: Index
    along_m: Floats
    x: Floats
    y: Floats
    lon: Floats
    lat: Floats
    cell: npt.NDArray[np.int64]
    area_m2: Floats  # of the catchment
    before: Index  # upstream in the traffic, -1 at a road's end
    downhill: Index  # where surface water runs, -1: it stays (a low spot) or runs into the river
    basin_m2: Floats  # of all the ground whose surface water comes through here
    drain: Index  # the next node of the drain, -1: into the river
    drain_order: Index  # nodes from the ends of the drains down to the river
    design_mm_h: Floats  # of the drains
    low_spots: Index
    district: tuple[str, ...]  # "" where none is known

    @property
    def count(self) -> int:
        return len(self.x)

    def address(self, node: int, offset_m: float = 0.0, *, side: int = 0) -> tuple[str, int, float, float]:
        """(road, house number, lon, lat) of the door so many metres along from the node; side 0 is even, 1 odd."""
        road = self.roads[int(self.road[node])]
        along = max(0.0, float(self.along_m[node]) + offset_m)
        number = 2 * (1 + int(along / (2 * NUMBER_EVERY_M))) - side
        ux, uy = self._direction(road)
        away = SIDE_M if side == 0 else -SIDE_M
        moved = along - float(self.along_m[node])
        lon = float(self.lon[node]) + (moved * ux + away * uy) / self.metres_lon
        lat = float(self.lat[node]) + (moved * uy - away * ux) / self.metres_lat
        return road.name, number, round(lon, 6), round(lat, 6)

    def near(self, node: int, metres: float) -> Index:
        """The nodes within so many metres, itself included."""
        distance = np.hypot(self.x - self.x[node], self.y - self.y[node])
        return np.flatnonzero(distance <= metres).astype(np.int32)

    def _direction(self, road: Road) -> tuple[float, float]:
        dx, dy = (road.lon2 - road.lon1) * self.metres_lon, (road.lat2 - road.lat1) * self.metres_lat
        length = math.hypot(dx, dy)
        return dx / length, dy / length


def build_streets(
    settings: SimulationSettings, grid: Grid, district_of: Callable[[float, float], str] | None = None
) -> Streets:
    """The ground of a seed."""
    metres_lon, metres_lat = metres_per_degree((settings.south + settings.north) / 2)
    roads = _roads(settings, metres_lon, metres_lat)
    parts = [_nodes(number, road, settings, metres_lon, metres_lat) for number, road in enumerate(roads)]
    road = np.concatenate([np.full(len(along), number, dtype=np.int32) for number, (along, _, _) in enumerate(parts)])
    along = np.concatenate([part[0] for part in parts])
    lon = np.concatenate([part[1] for part in parts])
    lat = np.concatenate([part[2] for part in parts])
    x, y = (lon - settings.west) * metres_lon, (lat - settings.south) * metres_lat
    first = np.r_[True, road[1:] != road[:-1]]
    before = np.where(first, -1, np.arange(len(road)) - 1).astype(np.int32)

    elevation = _terrain(settings, x, y)
    chance = generator(settings.seed, "low spots")
    low = _low_spots(settings, roads, road, x, y, chance)
    elevation[low] -= chance.uniform(0.9, 1.7, len(low))
    pairs = _neighbours(x, y)
    size = ((settings.east - settings.west) * metres_lon, (settings.north - settings.south) * metres_lat)
    drain, order = _drains(settings, x, y, elevation, pairs, size)
    area = _catchments(x, y, pairs, size)
    downhill, uphill = _downhill(elevation, pairs, np.union1d(low, np.flatnonzero(drain < 0)))
    design = generator(settings.seed, "drains").uniform(36.0, 56.0, len(x))
    basin = area.copy()
    for node in uphill.tolist():
        if downhill[node] >= 0:
            basin[downhill[node]] += basin[node]
    return Streets(
        roads=tuple(roads), west=settings.west, south=settings.south, metres_lon=metres_lon, metres_lat=metres_lat,
        road=road, along_m=along, x=x, y=y, lon=lon, lat=lat, cell=grid.cells_of(lon, lat),
        area_m2=area, before=before, downhill=downhill, basin_m2=basin, drain=drain, drain_order=order,
        design_mm_h=design, low_spots=low,
        district=tuple(district_of(float(a), float(b)) if district_of else "" for a, b in zip(lon, lat, strict=True)),
    )  # fmt: skip


def _roads(settings: SimulationSettings, metres_lon: float, metres_lat: float) -> list[Road]:
    """Known roads of the box, and made-up streets in a jittered grid."""
    chance = generator(settings.seed, "streets")
    west, south, east, north = settings.west, settings.south, settings.east, settings.north
    known = [
        road for road in known_roads()
        if all(west < lon < east for lon in (road.lon1, road.lon2))
        and all(south < lat < north for lat in (road.lat1, road.lat2))
    ]  # fmt: skip
    across = max(1, round((east - west) * metres_lon / settings.street_spacing_m))
    along = max(1, round((north - south) * metres_lat / settings.street_spacing_m))
    names = made_up_names(chance, across + along)
    made: list[Road] = []
    for number in range(across):
        middle = west + (number + 0.5) * (east - west) / across
        lons = middle + chance.uniform(-0.2, 0.2, 2) * (east - west) / across
        made.append(
            Road(names[number], float(lons[0]), south, float(lons[1]), north, 4 if number % 3 == 1 else 2, 40.0)
        )
    for number in range(along):
        middle = south + (number + 0.5) * (north - south) / along
        lats = middle + chance.uniform(-0.2, 0.2, 2) * (north - south) / along
        made.append(
            Road(names[across + number], west, float(lats[0]), east, float(lats[1]), 4 if number % 3 == 1 else 2, 40.0)
        )
    return known + made


def _nodes(
    number: int, road: Road, settings: SimulationSettings, metres_lon: float, metres_lat: float
) -> tuple[Floats, Floats, Floats]:
    """(metres along, lon, lat) of a road's nodes, its ends kept clear of the box's edge."""
    length = math.hypot((road.lon2 - road.lon1) * metres_lon, (road.lat2 - road.lat1) * metres_lat)
    count = max(2, round(length / NODE_EVERY_M))
    share = (np.arange(count) + 0.5) / count
    chance = generator(settings.seed, "nodes", number)
    share = share + chance.uniform(-0.15, 0.15, count) / count
    lon, lat = road.lon1 + share * (road.lon2 - road.lon1), road.lat1 + share * (road.lat2 - road.lat1)
    return share * length, np.round(lon, 6), np.round(lat, 6)


def _terrain(settings: SimulationSettings, x: Floats, y: Floats) -> Floats:
    """Metres above the river: a plain with gentle waves, as a delta city has."""
    chance = generator(settings.seed, "terrain")
    height = np.full(len(x), 4.0)
    for wave_m, metres in ((6_000.0, 0.8), (2_500.0, 0.5), (1_100.0, 0.3), (600.0, 0.15)):
        for _ in range(2):
            angle, phase = chance.uniform(0, 2 * math.pi, 2)
            height += metres * np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / wave_m + phase) / 2
    return height


def _low_spots(
    settings: SimulationSettings, roads: Sequence[Road], road: Index, x: Floats, y: Floats, chance: np.random.Generator
) -> Index:
    """Underpasses and sags, some way apart, mostly of main roads; asking for more of them keeps the first ones."""
    main = np.array([one.lanes >= 4 for one in roads])[road]
    order = np.argsort(chance.random(len(x)) + np.where(main, 0.0, 0.7))
    chosen: list[int] = []
    for node in order.tolist():
        if len(chosen) == settings.low_spots:
            break
        if all(math.hypot(x[node] - x[other], y[node] - y[other]) >= LOW_SPOTS_APART_M for other in chosen):
            chosen.append(node)
    return np.array(chosen, dtype=np.int32)


def _neighbours(x: Floats, y: Floats) -> tuple[Index, Index]:
    """All pairs (from, to) of different nodes within NEIGHBOUR_M, sorted."""
    tree = STRtree(points(x, y))
    start, end = tree.query(points(x, y), predicate="dwithin", distance=NEIGHBOUR_M)
    order = np.lexsort((end, start))
    start, end = start[order].astype(np.int32), end[order].astype(np.int32)
    return start[start != end], end[start != end]


def _downhill(elevation: Floats, pairs: tuple[Index, Index], ends: Index) -> tuple[Index, Index]:
    """Where each node's surface water runs: towards low spots and the river, without a sag in between.

    Streets are graded so that water finds its way: the flow directions of a terrain whose depressions are filled
    (priority flood; R. Barnes et al., Computers & Geosciences 62, 2014). -1 at the ends. Also the order of the nodes
    from the far ones down.
    """
    start, end = pairs
    first = np.searchsorted(start, np.arange(len(elevation) + 1))
    downhill = np.full(len(elevation), -1, dtype=np.int32)
    seen = np.zeros(len(elevation), dtype=np.bool_)
    seen[ends] = True
    queue = [(float(elevation[node]), int(node)) for node in ends]
    heapq.heapify(queue)
    visited: list[int] = []
    while queue:
        level, node = heapq.heappop(queue)
        visited.append(node)
        for other in end[first[node] : first[node + 1]].tolist():
            if not seen[other]:
                seen[other] = True
                downhill[other] = node
                heapq.heappush(queue, (max(level, float(elevation[other])), other))
    return downhill, np.array(visited[::-1], dtype=np.int32)


def _catchments(x: Floats, y: Floats, pairs: tuple[Index, Index], size: tuple[float, float]) -> Floats:
    """The area that each node drains: the box shared out, less to a node with many neighbours."""
    crowd = 1.0 + np.bincount(pairs[0], minlength=len(x))
    return np.clip(size[0] * size[1] * (1 / crowd) / np.sum(1 / crowd), 4_000.0, 60_000.0)


def _drains(
    settings: SimulationSettings, x: Floats, y: Floats, elevation: Floats, pairs: tuple[Index, Index],
    size: tuple[float, float],
) -> tuple[Index, Index]:  # fmt: skip
    """(next node, order from the far ends down): shortest ways to the river, uphill stretches counted as longer."""
    bend = generator(settings.seed, "river").uniform(0.35, 0.65, 2)
    river = size[0] * (bend[0] + 0.12 * np.sin(2 * math.pi * (y / size[1] + bend[1])))
    outfall = np.abs(x - river) <= OUTFALL_M
    start, end = pairs
    first = np.searchsorted(start, np.arange(len(x) + 1))
    length = np.hypot(x[start] - x[end], y[start] - y[end])
    way_m = np.where(outfall, 0.0, np.inf)
    following = np.full(len(x), -1, dtype=np.int32)
    queue = [(0.0, int(node)) for node in np.flatnonzero(outfall)]
    heapq.heapify(queue)
    while queue:
        metres, node = heapq.heappop(queue)
        if metres > way_m[node]:
            continue
        for at in range(first[node], first[node + 1]):
            other = int(end[at])
            against = max(0.0, float(elevation[node] - elevation[other]))  # from other to node the pipe must dig deeper
            further = metres + float(length[at]) * (1.0 + 2.0 * against)
            if further < way_m[other]:
                way_m[other] = further
                following[other] = node
                heapq.heappush(queue, (further, other))
    return following, np.argsort(-way_m, kind="stable").astype(np.int32)  # a node cut off drains by itself (-1)
