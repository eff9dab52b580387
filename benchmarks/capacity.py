"""How many machines a city, a province or a country needs: plain arithmetic on measured constants.

    python -m benchmarks.capacity                                   the table of docs/capacity.md
    python -m benchmarks.capacity --devices 800000 --cameras 20000  a place of one's own
    python -m benchmarks.capacity --write                           put the table into docs/capacity.md

What was measured is read from benchmarks/results/*.json; where a result is missing, a stated fall-back stands in and is
marked as such. What cannot be measured on one machine (a broker's network, merges of ClickHouse) is an assumption and
marked too. docs/capacity.md says what the figures mean, and what breaks first.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import report

PAGE: Final = report.HERE.parent / "docs" / "capacity.md"
BEGIN: Final = "<!-- written by python -m benchmarks.capacity --write -->"
END: Final = "<!-- end -->"
DAY_S: Final = 86_400
GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that the model rests on, and where it is from."""

    value: float
    unit: str
    origin: str
    """"measured: FILE", "fall-back: why" or "assumed: why"."""


@dataclass(frozen=True, slots=True)
class Place:
    """What comes in. Rates are means over the day; the peak is what machines are counted for."""

    name: str
    people: int
    devices: int
    cameras: int
    tickets_a_day: int
    area_km2: int
    indicators: int = 1_700
    reports_a_device_minute: float = 1.0
    events_a_camera_minute: float = 2.0
    peak: float = 3.0
    """Of the busiest minutes, a storm, against the mean."""
    busy_cells: float = 0.5
    """Share of the 100 m cells that hold a device or camera at all, at most one a device."""

    @property
    def records_s(self) -> float:
        """Mean records a second of all three sources."""
        return (
            self.devices * self.reports_a_device_minute / 60
            + self.cameras * self.events_a_camera_minute / 60
            + self.tickets_a_day / DAY_S
        )

    @property
    def active_cells(self) -> float:
        return min(self.area_km2 * 100 * self.busy_cells, self.devices)


CITY: Final = Place("city", 25_000_000, 5_000_000, 100_000, 30_000, 6_340)
PROVINCE: Final = Place("province", 100_000_000, 20_000_000, 400_000, 120_000, 180_000, busy_cells=0.05)
COUNTRY: Final = Place("country", 1_400_000_000, 280_000_000, 5_600_000, 1_680_000, 9_600_000, busy_cells=0.02)


def constants() -> dict[str, Constant]:
    """Every constant by name. Those of `results` are read anew each time."""
    return {
        "join_us": _measured(
            "cityjoin", _cityjoin_us, "µs CPU a record, locate and join", 0.9,
            "CityJoin on one core, measured by hand in 2026",
        ),
        "scale_cost": _measured(
            "scaleout", _scale_cost, "CPU of many workers against one", 1.15, "not measured yet"
        ),
        "rules_cost": _measured(
            "growth", _rules_cost, "CPU of all rules against one", 2.0, "the bar of 100 rules against one"
        ),
        "archive_us": _measured(
            "archive", lambda kept: _plain(kept)["cpu_us_per_row"], "µs CPU a row, archive and embedded engine", 2.0,
            "the bar of 500 thousand rows a second and core",
        ),
        "raw_wire": Constant(66, "bytes a raw record, lz4", "fall-back: 8 million records of CityJoin on disk"),
        "frame_bytes": _measured(
            "archive", lambda kept: _plain(kept)["frame_bytes_per_row"], "bytes an observation in a frame", 90,
            "Arrow, uncompressed",
        ),
        "stored_bytes": _measured(
            "archive", _disk_bytes, "bytes of an observation in ClickHouse", 20,
            "ZSTD, by column",
        ),
        "loop_changes_s": Constant(
            540, "changes of incidents a second, one loop", "fall-back: at least, 44,155 changes in 82 s of a replay"
        ),
        "changes_a_ticket": Constant(8.4, "changes a ticket", "fall-back: 44,155 changes of 5,236 recorded tickets"),
        "incidents_a_million_s": Constant(
            2.0, "incidents by alert a second, per million records a second", "assumed: merged and with hysteresis"
        ),
        "features": Constant(
            40, "features that the join keeps by cell", "assumed: of 100 rules; other indicators come from roll-ups"
        ),
        "buckets": Constant(60, "buckets a feature", "assumed: an hour in minutes"),
        "value_bytes": Constant(9, "bytes a cell, feature and bucket", "assumed: the bar, 4 GiB for 1 M x 8 x 60"),
        "changed_share": Constant(0.03, "share of the state in a snapshot", "assumed: 2 of 60 buckets, every 5 s"),
        "frame_us": Constant(150, "µs CPU a frame, both sides", "assumed: one Faust event, header, acknowledgement"),
        "frames_s": Constant(10, "frames a second from a locate to a shard", "the settings: a header every 100 ms"),
        "load": Constant(0.5, "of a core in use at the peak", "assumed: half is for catching up after an outage"),
        "copies": Constant(3, "copies on Kafka", "assumed: min.insync.replicas 2"),
        "raw_days": Constant(7, "days of raw records on Kafka", "the settings"),
        "frame_days": Constant(3, "days of observations on Kafka", "the settings"),
        "history_days": Constant(400, "days of observations in ClickHouse", "assumed: a year and a month"),
        "store_copies": Constant(2, "copies in ClickHouse", "assumed: a usual one"),
        "broker_mb_s": Constant(150, "MB/s written to a broker, copies included", "assumed: 10 GbE, NVMe, half in use"),
        "broker_tb": Constant(12, "TB of a broker", "assumed: a usual one"),
        "broker_partitions": Constant(4_000, "partitions a broker, copies included", "assumed: the usual advice"),
        "store_tb": Constant(16, "TB of a ClickHouse node", "assumed: a usual one"),
        "store_rows_s": Constant(1_000_000, "rows a second into a node, roll-ups included", "assumed: 16 cores"),
        "store_inserts_s": Constant(20, "inserts a second into a node", "assumed: merges keep up, no part is refused"),
        "worker_cores": Constant(8, "cores of a worker machine, a worker each", "assumed: a usual one"),
        "worker_gb": Constant(32, "GB of a worker machine", "assumed: a usual one"),
    }  # fmt: skip


def _measured(name: str, take: Callable[[Any], float], unit: str, otherwise: float, why: str) -> Constant:
    kept = report.load(name)
    if kept is None:
        return Constant(otherwise, unit, f"fall-back: {why}")
    return Constant(round(take(kept["result"]), 3), unit, f"measured: results/{name}.json, {kept['date']}")


def _cityjoin_us(result: Any) -> float:
    longest = max(row["records"] for row in result["runs"])
    return statistics.median(float(row["cpu_us_per_record"]) for row in result["runs"] if row["records"] == longest)


def _scale_cost(result: Any) -> float:
    """Of the most workers on one core; never below 1, which would be the machine's mood."""
    rows = [row for row in result["shared"] if row["cores"] == 1]
    return max(1.0, float(max(rows, key=lambda row: row["workers"])["cost"]))


def _rules_cost(result: Any) -> float:
    """A hundred rules against one where it weighs most: devices that speak once a minute, and alerts."""
    lines = result["rules"]["lines"].values()
    costs = [{point["size"]: float(point["cpu_us"]["total"]) for point in line["points"]} for line in lines]
    return max(1.0, *(cost[100] / cost[1] for cost in costs))


def _disk_bytes(result: Any) -> float:
    return float(_plain(result)["stored"]["disk_bytes_per_row"])


def _plain(result: Any) -> Any:
    return next(row for row in result["alone"] if row["data"] == "plain")


@dataclass(frozen=True, slots=True)
class Need:
    """What a place needs as one installation."""

    records_s: float
    peak_records_s: float
    worker_cores: int
    worker_machines: int
    join_gb: float
    all_indicators_gb: float
    """The state if each indicator were a feature by cell and minute."""
    snapshot_mb_s: float
    shards: int
    partitions: int
    brokers: int
    kafka_tb: float
    kafka_in_mb_s: float
    kafka_out_mb_s: float
    store_nodes: int
    store_tb: float
    limits: tuple[tuple[str, float], ...]
    """What is limited by design, and how much of it is used (1 = the end), the tightest first."""


def need(place: Place, known: dict[str, Constant]) -> Need:
    """The model. docs/capacity.md tells it in words."""
    k = {name: constant.value for name, constant in known.items()}
    peak_s = place.records_s * place.peak
    record_us = k["join_us"] * k["rules_cost"] * k["scale_cost"] + k["archive_us"]
    cores = max(2, math.ceil(peak_s * record_us / 1e6 / k["load"]))
    feature_gb = place.active_cells * k["buckets"] * k["value_bytes"] / GB
    join_gb = feature_gb * k["features"]
    machines = max(2, math.ceil(cores / k["worker_cores"]), math.ceil(join_gb * 2 / k["worker_gb"]))
    shards = max(4, 2 * cores)  # two to a core, so that they can be spread evenly
    copies = k["copies"]
    partitions = round((3 * shards + 6 * shards + 40) * copies)  # raw x 3, the shards' topics x 6, the rest

    raw_mb_s = peak_s * k["raw_wire"] / 1e6
    frame_mb_s = peak_s * k["frame_bytes"] / 1e6
    snapshot_mb_s = join_gb * 1000 * k["changed_share"] / 5
    in_mb_s = (raw_mb_s + frame_mb_s + snapshot_mb_s) * copies
    # raw is read once, frames by join and archive; copies are read by the followers
    out_mb_s = raw_mb_s + 2 * frame_mb_s + in_mb_s * (copies - 1) / copies
    day_tb = place.records_s * DAY_S / 1e12
    kafka_tb = day_tb * (k["raw_wire"] * k["raw_days"] + k["frame_bytes"] * k["frame_days"]) * copies
    brokers = max(
        3,
        math.ceil(in_mb_s / k["broker_mb_s"]),
        math.ceil(kafka_tb / k["broker_tb"]),
        math.ceil(partitions / k["broker_partitions"]),
    )
    store_tb = day_tb * k["stored_bytes"] * k["history_days"] * k["store_copies"]
    stores = max(
        2, math.ceil(store_tb / k["store_tb"]), math.ceil(peak_s / k["store_rows_s"]) * round(k["store_copies"])
    )

    incidents_s = place.tickets_a_day / DAY_S * place.peak + peak_s / 1e6 * k["incidents_a_million_s"]
    limits = {
        "the loop: one topic of one partition, one process": incidents_s * k["changes_a_ticket"] / k["loop_changes_s"],
        "frames from every locate to every shard, on a shard's core": (
            cores * k["frames_s"] * k["frame_us"] / 1e6 / (1 - k["load"])
        ),
        "inserts into a ClickHouse node (a batch a second from each shard)": (
            shards / (stores / k["store_copies"]) / k["store_inserts_s"]
        ),
        "partitions of one topic as the settings allow (1,024)": shards / 1_024,
        "the state of a shard at a restart (4 GB, 10 s)": join_gb / shards / 4,
    }
    return Need(
        records_s=place.records_s, peak_records_s=peak_s, worker_cores=cores, worker_machines=machines, join_gb=join_gb,
        all_indicators_gb=feature_gb * place.indicators,
        snapshot_mb_s=snapshot_mb_s, shards=shards, partitions=partitions, brokers=brokers, kafka_tb=kafka_tb,
        kafka_in_mb_s=in_mb_s, kafka_out_mb_s=out_mb_s, store_nodes=stores, store_tb=store_tb,
        limits=tuple(sorted(limits.items(), key=lambda limit: -limit[1])),
    )  # fmt: skip


ROWS: Final[tuple[tuple[str, Callable[[Place, Need], str]], ...]] = (
    ("people", lambda place, _: f"{place.people:,}"),
    ("devices; cameras", lambda place, _: f"{place.devices:,}; {place.cameras:,}"),
    ("tickets a day", lambda place, _: f"{place.tickets_a_day:,}"),
    ("records a second, mean; peak", lambda _, n: f"{n.records_s:,.0f}; {n.peak_records_s:,.0f}"),
    ("cores for workers (peak at half load)", lambda _, n: f"{n.worker_cores:,}"),
    ("machines for workers", lambda _, n: f"{n.worker_machines:,}"),
    ("state of the join, GB", lambda _, n: f"{n.join_gb:,.1f}"),
    ("the same if all indicators were kept so, GB", lambda _, n: f"{n.all_indicators_gb:,.0f}"),
    ("snapshots, MB/s", lambda _, n: f"{n.snapshot_mb_s:,.0f}"),
    ("region shards", lambda _, n: f"{n.shards:,}"),
    ("partitions, copies included", lambda _, n: f"{n.partitions:,}"),
    ("brokers", lambda _, n: f"{n.brokers:,}"),
    ("Kafka in; out, MB/s at the peak", lambda _, n: f"{n.kafka_in_mb_s:,.0f}; {n.kafka_out_mb_s:,.0f}"),
    ("Kafka's disks, TB", lambda _, n: f"{n.kafka_tb:,.1f}"),
    ("ClickHouse nodes", lambda _, n: f"{n.store_nodes:,}"),
    ("ClickHouse's disks, TB", lambda _, n: f"{n.store_tb:,.1f}"),
)


def table(places: Sequence[Place], known: dict[str, Constant]) -> str:
    """Needs, limits and constants in Markdown."""
    needs = [need(place, known) for place in places]
    lines = [f"| | {' | '.join(place.name for place in places)} |", f"|:---|{'---:|' * len(places)}"]
    for title, cell in ROWS:
        lines.append(f"| {title} | {' | '.join(cell(*pair) for pair in zip(places, needs, strict=True))} |")
    lines += ["", "How much of what the design limits is used (100 % is the end), as one installation:", ""]
    lines += [f"| | {' | '.join(place.name for place in places)} |", f"|:---|{'---:|' * len(places)}"]
    for what, _ in needs[-1].limits:
        lines.append(f"| {what} | {' | '.join(f'{dict(n.limits)[what]:,.0%}' for n in needs)} |")
    lines += ["", "| constant | value | where from |", "|:---|---:|:---|"]
    lines += [f"| {constant.unit} | {constant.value:,g} | {constant.origin} |" for constant in known.values()]
    return "\n".join(lines) + "\n"


def written(page: str, part: str) -> str:
    """The page with its table replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name}: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{part}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = [field.name for field in dataclasses.fields(Place) if field.name != "name"]
    for name in numbers:
        kind = int if isinstance(getattr(CITY, name), int) else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="default: the city's")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE.name}")
    given = parser.parse_args()
    own = {name: getattr(given, name) for name in numbers if getattr(given, name) is not None}
    places: tuple[Place, ...] = (CITY, PROVINCE, COUNTRY)
    if own:
        places = (dataclasses.replace(CITY, name="yours", **own),)
    part = table(places, constants())
    if given.write and not own:
        Path(PAGE).write_text(written(PAGE.read_text("utf-8"), part), "utf-8")
        print(f"wrote docs/{PAGE.name}", file=sys.stderr)
    else:
        print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
