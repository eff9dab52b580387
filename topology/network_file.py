"""Reading a network file: one CSV table of nodes and edges, in any order, with every problem named by its line.

`record` says what a line is; the fields of the other kind are left empty:

    record      node or edge
    id          of the node or of the edge, unique among its kind
    lon, lat    of a node: its place
    datum       of a node, if it is not the file's
    kind        of a node, if wanted: manhole, pump, outfall, junction ...
    network     of an edge: road or drain
    start, end  of an edge: ids of two nodes; a drain runs from start to end
    length_m    of an edge; without it the straight distance counts

Problems are unknown nodes, ids and edges that stand twice, loops from a node to itself, numbers that are none, and
drains that run in a circle.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from schemas.datums import DATUM_NAMES, Datum
from topology.city_table import FileReport, Row, read_table
from topology.datum import convert
from topology.grid import Grid, metres_per_degree

Network = Literal["road", "drain"]
NETWORKS: Final[tuple[Network, ...]] = get_args(Network)
DIRECTED: Final = frozenset({"drain"})
REQUIRED: Final = ("record", "id")
OPTIONAL: Final = ("lon", "lat", "datum", "kind", "network", "start", "end", "length_m")
MAX_CIRCLES: Final = 20
"""Circles named of one network: each takes a search through all edges."""

_SHORTER: Final = 0.95  # an edge may not be shorter than the straight line, beyond what rounded coordinates explain
_ROUNDING_M: Final = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    """A place in WGS-84 where edges meet."""

    id: str
    lon: float
    lat: float
    kind: str | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A stretch of one network. For a drain, water runs from `start` to `end`."""

    id: str
    network: Network
    start: str
    end: str
    length_m: float


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """What a file holds. With any problem the rest is incomplete: do not use it."""

    nodes: list[Node]
    edges: list[Edge]
    problems: list[str]
    warnings: list[str]


def read_network(path: Path, default_datum: Datum, grid: Grid | None) -> NetworkFile:
    """Read a network file. Never raises for what is in it."""
    reader = _Reader(path, default_datum, grid)
    reader.read()
    report = reader.report
    return NetworkFile(list(reader.nodes.values()), reader.edges, report.all_problems(), report.warnings)


class _Reader:
    """One file's lines -> nodes and edges; problems go to the report."""

    def __init__(self, path: Path, default_datum: Datum, grid: Grid | None) -> None:
        self._path = path
        self._default_datum = default_datum
        self._grid = grid
        self.report = FileReport()
        self._lines: dict[tuple[str, str], int] = {}  # (record, id) -> line
        self._pairs: dict[tuple[str, str, str], int] = {}  # (network, start, end) -> line
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []

    def read(self) -> None:
        """Nodes first, whatever their order in the file: edges refer to them."""
        rows = read_table(self._path, REQUIRED, OPTIONAL, self.report)
        for row in rows:
            if row.fields["record"] == "node":
                self._node(row)
            elif row.fields["record"] != "edge":
                self._problem(row, f"record {row.fields['record']!r} is unknown; choose node or edge")
        for row in rows:
            if row.fields["record"] == "edge":
                self._edge(row)
        self._check_circles()
        used = {name for edge in self.edges for name in (edge.start, edge.end)}
        for name in self.nodes:
            if name not in used:
                self.report.warn(self._path, self._lines["node", name], f"node {name!r} has no edge")

    def _problem(self, row: Row, text: str) -> None:
        self.report.problem(self._path, row.line, text)

    def _is_new(self, row: Row) -> bool:
        record, name = row.fields["record"], row.fields["id"]
        first = self._lines.setdefault((record, name), row.line)
        if first != row.line:
            self._problem(row, f"{record} {name!r} is in line {first} already")
        return first == row.line

    def _node(self, row: Row) -> None:
        is_new = self._is_new(row)
        lon, lat = self._degrees(row, "lon", 180.0), self._degrees(row, "lat", 90.0)
        named = row.get("datum")
        datum = self._default_datum if named is None else DATUM_NAMES.get(named.upper())
        if datum is None:
            self._problem(row, f"datum {named!r} is unknown; choose one of WGS-84, CGCS2000, GCJ-02, BD-09")
        if not is_new or lon is None or lat is None or datum is None:
            return
        lon, lat = convert(lon, lat, datum, Datum.WGS84)
        if self._grid is not None and self._grid.cell(lon, lat) < 0:
            hint = "; lon and lat look swapped" if self._grid.cell(lat, lon) >= 0 else ""
            self.report.warn(self._path, row.line, f"node {row.fields['id']!r} lies outside the city's grid{hint}")
        self.nodes[row.fields["id"]] = Node(row.fields["id"], lon, lat, row.get("kind"))

    def _edge(self, row: Row) -> None:
        is_new = self._is_new(row)
        network = next((known for known in NETWORKS if known == row.get("network")), None)
        if network is None:
            self._problem(row, f"network {row.get('network')!r} is unknown; choose one of {', '.join(NETWORKS)}")
        ends = [self._end(row, "start"), self._end(row, "end")]
        length_m = self._length(row)
        start, end = ends
        if start is None or end is None or network is None or length_m is None:
            return
        if start == end:
            self._problem(row, f"edge {row.fields['id']!r} runs from node {start.id!r} to itself")
            return
        straight_m = _distance_m(start, end)
        if length_m == 0.0:  # not given
            length_m = straight_m
        elif length_m < straight_m * _SHORTER - _ROUNDING_M:
            self.report.warn(
                self._path, row.line, f"length_m={length_m:g} is less than the straight distance, {straight_m:.1f} m"
            )
        turned = network not in DIRECTED and start.id > end.id
        pair = (end.id, start.id) if turned else (start.id, end.id)
        first = self._pairs.setdefault((network, *pair), row.line)
        if first != row.line:
            self._problem(row, f"the {network} from {start.id!r} to {end.id!r} is in line {first} already")
        elif is_new:
            self.edges.append(Edge(row.fields["id"], network, start.id, end.id, length_m))

    def _end(self, row: Row, field: str) -> Node | None:
        name = row.get(field)
        if name is None:
            self._problem(row, f"{field} missing")
            return None
        if name not in self.nodes and ("node", name) not in self._lines:  # a node with problems has been reported
            self._problem(row, f"{field} {name!r} is not a node of this file")
        return self.nodes.get(name)

    def _length(self, row: Row) -> float | None:
        """Metres, 0 if not given, None after a problem."""
        text = row.get("length_m")
        if text is None:
            return 0.0
        number = _number(text)
        if number is None or not (0 < number < math.inf):
            self._problem(row, f"length_m must be a number of metres above 0, got {text[:40]!r}")
            return None
        return number

    def _degrees(self, row: Row, field: str, limit: float) -> float | None:
        text = row.get(field)
        if text is None:
            self._problem(row, f"{field} missing")
            return None
        number = _number(text)
        if number is None or not abs(number) <= limit:
            swapped = field == "lat" and number is not None and limit < abs(number) <= 180
            hint = "; lon and lat look swapped" if swapped else ""
            self._problem(row, f"{field} must be from -{limit:g} to {limit:g} degrees, got {text[:40]!r}{hint}")
            return None
        return number

    def _check_circles(self) -> None:
        """Name each circle of a directed network once, at the line of its first edge."""
        for network in sorted(DIRECTED):
            edges = {(edge.start, edge.end): edge for edge in self.edges if edge.network == network}
            for _ in range(MAX_CIRCLES):
                circle = _circle(edges)
                if not circle:
                    break
                lines = sorted(self._lines["edge", edge.id] for edge in circle)
                way = " -> ".join([*(edge.start for edge in circle), circle[0].start])
                at = ", ".join(str(line) for line in lines)
                text = f"{network}s run in a circle, {way} (lines {at}); which one runs the other way?"
                self.report.problem(self._path, lines[0], text)
                for edge in circle:
                    del edges[edge.start, edge.end]


def _circle(edges: Mapping[tuple[str, str], Edge]) -> list[Edge]:
    """The edges of one circle in their order, or none: nodes that nothing runs to or from are taken away first."""
    out: dict[str, set[str]] = defaultdict(set)
    into: dict[str, set[str]] = defaultdict(set)
    for start, end in edges:
        out[start].add(end)
        into[end].add(start)
    for here, there in ((out, into), (into, out)):
        free = [name for name in there if not here.get(name)]
        while free:
            name = free.pop()
            for other in there.pop(name, ()):
                here[other].discard(name)
                if not here[other]:
                    free.append(other)
            here.pop(name, None)
    if not out:
        return []
    way = [min(out)]
    seen = {way[0]: 0}
    while True:
        after = min(out[way[-1]])
        if after in seen:
            way = way[seen[after] :]
            return [edges[start, end] for start, end in zip(way, [*way[1:], after], strict=True)]
        seen[after] = len(way)
        way.append(after)


def _distance_m(a: Node, b: Node) -> float:
    metres_lon, metres_lat = metres_per_degree((a.lat + b.lat) / 2)
    return math.hypot((a.lon - b.lon) * metres_lon, (a.lat - b.lat) * metres_lat)


def _number(text: str) -> float | None:
    """A finite or infinite number as people write it; None for another text ("1_000" is one only to Python)."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
