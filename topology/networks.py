"""Networks under and over the city: nodes, and edges between them. Roads run both ways; drains run from start to end.

`topology.network_file` says what a network file holds. Look-ups never raise on unknown nodes: nothing is connected to
them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology.grid import Grid, metres_per_degree
from topology.network_file import DIRECTED, NETWORKS, Edge, Network, Node, read_network

__all__ = ["DIRECTED", "NETWORKS", "Edge", "Network", "Networks", "Node"]

Links = dict[str, dict[str, float]]  # node -> connected node -> length in metres of the shortest edge


class Networks:
    """All networks of a city. Made once, never changed."""

    def __init__(self, nodes: Iterable[Node] = (), edges: Iterable[Edge] = (), *, warnings: Sequence[str] = ()) -> None:
        """Nodes and edges that are known to be sound: `load` is what checks."""
        self.nodes: Final[Mapping[str, Node]] = {node.id: node for node in nodes}
        self.edges: Final[tuple[Edge, ...]] = tuple(edges)
        self.warnings: tuple[str, ...] = tuple(warnings)
        """What is odd in the file but does not stop it from being used, each with its line."""
        self._forth: dict[str, Links] = {network: {} for network in NETWORKS}
        self._back: dict[str, Links] = {network: {} for network in NETWORKS}
        for edge in self.edges:
            _link(self._forth[edge.network], edge.start, edge.end, edge.length_m)
            _link(self._back[edge.network], edge.end, edge.start, edge.length_m)
        self._members = {
            network: [self.nodes[name] for name in sorted({*self._forth[network], *self._back[network]})]
            for network in NETWORKS
        }
        self._places = {
            network: np.array([(node.lon, node.lat) for node in members], dtype=np.float64).reshape(-1, 2)
            for network, members in self._members.items()
        }

    @classmethod
    def empty(cls) -> Networks:
        """No networks: nothing is connected."""
        return cls()

    @classmethod
    def load(cls, path: Path | str, *, default_datum: Datum = Datum.WGS84, grid: Grid | None = None) -> Networks:
        """Read a network file. Raises `SettingsError` with every problem in it. Nodes outside `grid` are warned of."""
        found = read_network(Path(path), default_datum, grid)
        if found.problems:
            raise SettingsError(found.problems)
        return cls(found.nodes, found.edges, warnings=found.warnings)

    def downstream(self, node: str, network: Network) -> tuple[str, ...]:
        """All nodes that what leaves `node` can reach, nearest along the edges first. Only for directed networks."""
        return self._reached(node, network, self._forth)

    def upstream(self, node: str, network: Network) -> tuple[str, ...]:
        """All nodes from which `node` can be reached, nearest along the edges first. Only for directed networks."""
        return self._reached(node, network, self._back)

    def neighbours(self, node: str, network: Network) -> tuple[str, ...]:
        """The nodes at the other ends of a node's edges, whichever way they run, by id."""
        return tuple(sorted({*self._forth[network].get(node, ()), *self._back[network].get(node, ())}))

    def nearest_node(self, lon: float, lat: float, network: Network) -> Node | None:
        """The node of a network nearest to a point; of several the one with the smallest id. None without any."""
        places = self._places[network]
        if not len(places) or not (math.isfinite(lon) and math.isfinite(lat)):
            return None
        metres_lon, metres_lat = metres_per_degree(lat)
        east_m = (places[:, 0] - lon) * metres_lon
        north_m = (places[:, 1] - lat) * metres_lat
        return self._members[network][int(np.argmin(east_m * east_m + north_m * north_m))]

    def _reached(self, node: str, network: Network, links: Mapping[str, Links]) -> tuple[str, ...]:
        if network not in DIRECTED:
            raise ValueError(f"networks: a {network} runs both ways and has no upstream; ask for neighbours")
        return tuple(found for found in _by_distance(node, links[network]) if found != node)


def _link(links: Links, start: str, end: str, length_m: float) -> None:
    ends = links.setdefault(start, {})
    ends[end] = min(length_m, ends.get(end, math.inf))


def _by_distance(node: str, links: Links) -> Iterator[str]:
    """Every node that can be reached, the nearest first (Dijkstra); equal distances by id."""
    waiting = [(0.0, node)]
    seen: set[str] = set()
    while waiting:
        distance, here = heapq.heappop(waiting)
        if here in seen:
            continue
        seen.add(here)
        yield here
        for there, length_m in links.get(here, {}).items():
            if there not in seen:
                heapq.heappush(waiting, (distance + length_m, there))
