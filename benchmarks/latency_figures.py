"""From what was seen of a run to latencies: which moment counts for which alert, and what is kept of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from benchmarks.cityjoin_data import SIDE, SOUTH, STEP_DEG, WEST
from benchmarks.latency_generator import APPENDED, SENT
from benchmarks.latency_load import PLACES, WINDOW_MS, Ints
from benchmarks.latency_run import Run
from benchmarks.latency_trace import HOPS, Way, hops
from topology.grid import Grid
from topology.shards import Shards

PERMILLE: Final = {"p50": 500, "p90": 900, "p99": 990, "p999": 999}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """In ms, one element per alert of the measured time; `at_s` is when, in seconds of that time."""

    from_due: np.ndarray
    from_append: np.ndarray
    at_s: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The latencies of one run."""

    run: Run
    alerts: Latencies
    urgent: Latencies
    generator_late_ms: np.ndarray  # of each request: how late the generator itself was
    hops_ns: Ints | None  # as from latency_trace.hops


def measure(run: Run) -> Measured:
    """Everything that follows from a run."""
    append = _Appends(run.appended)
    expected, load = run.expected, run.load
    begin_ns, end_ns = int(run.plan.warm_s * 1e9), int((run.plan.warm_s + run.plan.measured_s) * 1e9)

    window = np.array([(key[1] - int(expected.window_ms[0])) // WINDOW_MS for key in run.told], dtype=np.int64)
    told_ms, cell = np.array(list(run.told.values()), dtype=np.int64).T
    due_ns = expected.due_ns[window]
    mine = np.flatnonzero((due_ns >= begin_ns) & (due_ns < end_ns))
    window, told_ms, cell, due_ns = window[mine], told_ms[mine], cell[mine], due_ns[mine]
    offset = expected.offset[window]
    append_ms = np.max([append.ms(np.full(len(mine), place), offset[:, place]) for place in range(PLACES)], axis=0)

    place, calls, called_ns = expected.urgent[(expected.urgent[:, 2] >= begin_ns) & (expected.urgent[:, 2] < end_ns)].T
    answered_ms = np.array([run.urgent_told[key] for key in zip(place.tolist(), calls.tolist(), strict=True)])
    requests = dict(zip(SENT, run.sent.T, strict=True))
    late_ns = (requests["handed_ns"] - requests["due_ns"])[requests["due_ns"] >= load.start_ms * 1_000_000 + begin_ns]

    hops_ns = None
    if run.tables is not None:
        grid = Grid.degrees(WEST, SOUTH, WEST + SIDE * STEP_DEG, SOUTH + SIDE * STEP_DEG, STEP_DEG)
        shard = Shards(grid=grid, count=run.shards, reach_rings=0).shards_of(cell).astype(np.int64)
        way = Way(
            due_ns=load.start_ms * 1_000_000 + due_ns, append_ms=append_ms, offset=offset,
            end_ms=expected.window_ms[window] + WINDOW_MS, shard=shard, told_ms=told_ms,
        )  # fmt: skip
        hops_ns = hops(run.tables, way)
    return Measured(
        run=run,
        alerts=_latencies(load.start_ms, begin_ns, due_ns, append_ms, told_ms),
        urgent=_latencies(load.start_ms, begin_ns, called_ns, append.ms(place, calls), answered_ms),
        generator_late_ms=late_ns / 1e6,
        hops_ns=hops_ns,
    )


def _latencies(start_ms: int, begin_ns: int, due_ns: Ints, append_ms: Ints, told_ms: Ints) -> Latencies:
    return Latencies(
        from_due=told_ms - (start_ms + due_ns / 1e6),
        from_append=(told_ms - append_ms).astype(float),
        at_s=(due_ns - begin_ns) / 1e9,
    )


class _Appends:
    """When the broker appended the record at an offset of a place."""

    def __init__(self, appended: Ints) -> None:
        table = dict(zip(APPENDED, appended.T, strict=True))
        self._tables = {}
        for number in range(PLACES):
            mine = table["place"] == number
            self._tables[number] = table["offset"][mine], table["append_ms"][mine]

    def ms(self, places: Ints, offsets: Ints) -> Ints:
        found = np.empty(len(offsets), dtype=np.int64)
        for number in np.unique(places).tolist():
            begins, at = self._tables[number]
            rows = places == number
            found[rows] = at[np.searchsorted(begins, offsets[rows], side="right") - 1]
        return found


# --- what is kept --------------------------------------------------------------------------------------------------


def summary(values: np.ndarray) -> dict[str, Any]:
    """Percentiles are values that occurred: the smallest that so many do not exceed."""
    if not len(values):
        return {"count": 0}
    ordered = np.sort(values)
    ranks = {name: -(-len(ordered) * permille // 1000) for name, permille in PERMILLE.items()}
    named = {f"{name}_ms": round(float(ordered[rank - 1]), 1) for name, rank in ranks.items()}
    return {"count": len(ordered), **named, "max_ms": round(float(ordered[-1]), 1)}


def figures(measured: Measured) -> dict[str, Any]:
    """What is kept of one run."""
    run = measured.run
    found = {
        "rate": run.load.rate,
        "seconds": run.plan.measured_s,
        "warm_up_s": run.plan.warm_s,
        "roles": run.plan.roles,
        "records": run.load.count,
        "alerts_checked": len(run.told) + len(run.urgent_told),
        "alert_from_due": summary(measured.alerts.from_due),
        "alert_from_append": summary(measured.alerts.from_append),
        "urgent_from_due": summary(measured.urgent.from_due),
        "urgent_from_append": summary(measured.urgent.from_append),
        "seconds_with_alerts": len(np.unique(np.floor(measured.alerts.at_s))),
        "generator_late": summary(measured.generator_late_ms),
        "cpu_cores": asdict(run.cpu),
        "worker_peak_rss_mb": run.worker_rss_mb,
        "seed": run.load.seed,
    }
    if measured.hops_ns is not None and run.tables is not None:
        found["hops"] = _hop_figures(measured.hops_ns)
        found["stalls"] = {
            name: summary((run.tables[table][:, 1] - run.tables[table][:, 0]) / 1e6)
            for name, table in (
                ("event_loop_late", "stall"), ("garbage_collections", "collected"), ("snapshot_captures", "captured"),
            )
        }  # fmt: skip
    return found


def _hop_figures(hops_ns: Ints) -> list[dict[str, Any]]:
    """How long the alerts' ways took from each moment to the next."""
    known = hops_ns[(hops_ns >= 0).all(axis=1)]
    return [
        {
            "until": words,
            **summary((known[:, i] - known[:, i - 1]) / 1e6),
            "mean_since_due_ms": round(float((known[:, i] - known[:, 0]).mean() / 1e6), 1),
        }
        for i, (_, words) in enumerate(HOPS[1:], start=1)
    ]
