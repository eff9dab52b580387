"""Networks: who is downstream of whom, which node is nearest, and every problem of a file with its line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology.datum import convert
from topology.grid import Grid
from topology.network_file import MAX_CIRCLES, _circle
from topology.networks import Edge, Networks, Node

HEAD = "record,id,lon,lat,datum,kind,network,start,end,length_m\n"
SHANGHAI = Grid.metric(120.85, 30.65, 122.25, 31.9)


def _write(path: Path, text: str, head: str = HEAD) -> Path:
    path.write_text(head + text, encoding="utf-8")
    return path


def _problems(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Networks.load(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


SOUND = (
    "edge,D1,,,,,drain,M1,M2,120.5\n"  # edges may come before their nodes
    "node,M1,121.470,31.230,,manhole,,,,\n"
    "node,M2,121.471,31.230,,manhole,,,,\n"
    "node,M3,121.472,31.231,,pump,,,,\n"
    "node,J1,121.470,31.240,GCJ-02,,,,,\n"
    "edge,D2,,,,,drain,M2,M3,\n"
    "edge,D3,,,,,drain,M1,M3,900\n"
    "edge,R1,,,,,road,J1,M1,\n"
)


def test_drains_run_one_way_and_roads_both(tmp_path: Path) -> None:
    networks = Networks.load(_write(tmp_path / "networks.csv", SOUND), grid=SHANGHAI)
    assert networks.warnings == ()
    assert networks.downstream("M1", "drain") == ("M2", "M3")
    assert networks.upstream("M3", "drain") == ("M2", "M1")  # M2 is nearer
    assert networks.downstream("M3", "drain") == networks.upstream("M1", "drain") == ()
    assert networks.neighbours("M2", "drain") == ("M1", "M3")
    assert networks.neighbours("M1", "road") == ("J1",)
    assert networks.neighbours("J1", "road") == ("M1",)
    assert networks.downstream("nowhere", "drain") == networks.neighbours("nowhere", "road") == ()
    with pytest.raises(ValueError, match="runs both ways"):
        networks.downstream("M1", "road")
    assert networks.nodes["M3"].kind == "pump"
    wgs = convert(121.47, 31.24, Datum.GCJ02, Datum.WGS84)
    assert (networks.nodes["J1"].lon, networks.nodes["J1"].lat) == wgs
    lengths = {edge.id: edge.length_m for edge in networks.edges}
    assert lengths["D1"] == 120.5
    assert lengths["D2"] == pytest.approx(146.2, abs=1)  # 95 m east, 111 m north


def test_the_nearest_node_is_of_that_network(tmp_path: Path) -> None:
    networks = Networks.load(_write(tmp_path / "networks.csv", SOUND))
    found = networks.nearest_node(121.4719, 31.2309, "drain")
    assert found is not None and found.id == "M3"
    on_road = networks.nearest_node(121.4719, 31.2309, "road")
    assert on_road is not None and on_road.id == "M1"
    assert networks.nearest_node(math.nan, 31.2, "drain") is None
    assert Networks.empty().nearest_node(121.4, 31.2, "drain") is None
    twins = [Node("b", 0, 0, None), Node("a", 0, 0, None), Node("c", 0, 60, None), Node("d", 1, 60, None)]
    edges = [Edge("1", "road", "b", "a", 1), Edge("2", "road", "c", "d", 1)]
    nearest = Networks(twins, edges).nearest_node(0.001, 0, "road")
    assert nearest is not None and nearest.id == "a"
    # a degree of longitude at 60 N is half a degree of latitude
    north = Networks([Node("e", 1, 60, None), Node("n", 0, 60.6, None)], [Edge("1", "road", "e", "n", 1)])
    east = north.nearest_node(0, 60, "road")
    assert east is not None and east.id == "e"


def test_every_problem_is_named_with_its_line(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "networks.csv",
        "node,A,121.4,31.2,,,,,,\n"
        "node,B,121.5,31.2,,,,,,\n"
        "node,A,121.6,31.2,,,,,,\n"
        "node,C,31.2,121.4,,,,,,\n"
        "node,D,nan,31.2,,,,,,\n"
        "node,E,121.4,,,,,,,\n"
        "node,F,121.4,31.2,mars,,,,,\n"
        "pipe,G,,,,,,,,\n"
        "edge,1,,,,,drain,A,B,\n"
        "edge,1,,,,,drain,B,Z,\n"
        "edge,2,,,,,drain,A,A,\n"
        "edge,3,,,,,sewer,A,B,\n"
        "edge,4,,,,,drain,A,B,-5\n"
        "edge,5,,,,,drain,A,B,\n"
        "edge,6,,,,,road,A,B,inf\n"
        "edge,7,,,,,road,A,B,\n"
        "edge,8,,,,,road,B,A,\n"
        "edge,9,,,,,road,A,C,\n"  # C is there, with a problem of its own
        "edge,10,,,,,road,,B,\n"
        "edge,11,,,,,road,A,B\n",
    )
    assert _problems(path) == [
        "21: 9 fields where the header has 10",
        "4: node 'A' is in line 2 already",
        "5: lat must be from -90 to 90 degrees, got '121.4'; lon and lat look swapped",
        "6: lon must be from -180 to 180 degrees, got 'nan'",
        "7: lat missing",
        "8: datum 'mars' is unknown; choose one of WGS-84, CGCS2000, GCJ-02, BD-09",
        "9: record 'pipe' is unknown; choose node or edge",
        "11: edge '1' is in line 10 already",
        "11: end 'Z' is not a node of this file",
        "12: edge '2' runs from node 'A' to itself",
        "13: network 'sewer' is unknown; choose one of road, drain",
        "14: length_m must be a number of metres above 0, got '-5'",
        "15: the drain from 'A' to 'B' is in line 10 already",
        "16: length_m must be a number of metres above 0, got 'inf'",
        "18: the road from 'B' to 'A' is in line 17 already",
        "20: start missing",
    ]


def test_a_drain_that_runs_in_a_circle_is_a_problem(tmp_path: Path) -> None:
    nodes = "".join(f"node,{name},121.4,31.2,,,,,,\n" for name in "ABCDEF")
    path = _write(
        tmp_path / "networks.csv",
        nodes
        + "edge,1,,,,,drain,A,B,\n"
        + "edge,2,,,,,drain,B,C,\n"
        + "edge,3,,,,,drain,C,D,\n"
        + "edge,4,,,,,drain,D,B,\n"
        + "edge,5,,,,,drain,D,E,\n"
        + "edge,6,,,,,drain,E,F,\n"
        + "edge,7,,,,,drain,F,E,\n"
        + "edge,8,,,,,road,A,B,\nedge,9,,,,,road,B,C,\nedge,10,,,,,road,C,A,\n",  # roads may
    )
    assert _problems(path) == [
        "9: drains run in a circle, B -> C -> D -> B (lines 9, 10, 11); which one runs the other way?",
        "13: drains run in a circle, E -> F -> E (lines 13, 14); which one runs the other way?",
    ]
    many = nodes + "".join(f"node,n{i},121.4,31.2,,,,,,\n" for i in range(100))
    many += "".join(f"edge,{i},,,,,drain,n{i},n{i ^ 1},\n" for i in range(100))
    assert len(_problems(_write(tmp_path / "many.csv", many))) == MAX_CIRCLES


def test_odd_but_usable_lines_give_warnings(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "networks.csv",
        "node,A,121.4,31.2,,,,,,\nnode,B,121.5,31.2,,,,,,\nnode,C,120.0,31.2,,,,,,\nedge,1,,,,,drain,A,B,9000\n",
    )
    networks = Networks.load(path, grid=SHANGHAI)
    assert [warning.removeprefix(f"{path}:") for warning in networks.warnings] == [
        "4: node 'C' lies outside the city's grid",
        "5: length_m=9000 is less than the straight distance, 9530.4 m",
        "4: node 'C' has no edge",
    ]
    assert networks.edges[0].length_m == 9000


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_downstream_is_all_that_can_be_reached_and_upstream_its_mirror(pairs: list[tuple[int, int]]) -> None:
    nodes = [Node(str(i), i, i, None) for i in range(8)]
    edges = [Edge(f"{a}-{b}", "drain", str(a), str(b), a + b + 1) for a, b in set(pairs) if a < b]
    networks = Networks(nodes, edges)
    reach = {(e.start, e.end) for e in edges}
    for _ in nodes:
        reach |= {(a, d) for a, b in reach for c, d in reach if b == c}
    for node in nodes:
        assert set(networks.downstream(node.id, "drain")) == {b for a, b in reach if a == node.id}
        assert set(networks.upstream(node.id, "drain")) == {a for a, b in reach if b == node.id}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25))
def test_a_circle_is_found_exactly_when_there_is_one(pairs: list[tuple[int, int]]) -> None:
    edges = {(str(a), str(b)): Edge(f"{a}-{b}", "drain", str(a), str(b), 1.0) for a, b in pairs if a != b}
    reach = set(edges)
    for _ in range(10):
        reach |= {(a, d) for a, b in reach for c, d in reach if b == c}
    circle = _circle(edges)
    assert bool(circle) is any(a == b for a, b in reach)
    for edge, after in zip(circle, [*circle[1:], *circle[:1]], strict=True):
        assert edge.end == after.start
