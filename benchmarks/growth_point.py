"""One point of a growth curve, measured in a process of its own: benchmarks.growth starts it and reads its last line.

A process a point, because memory is measured by the system's own mark of the most that a process ever used, and
because what one point leaves behind (caches, heap) must not help or hurt the next. It is pinned to one core first.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import Any, Final

Result = dict[str, Any]

WARM_UP_RECORDS: Final = 20_000
NEVER: Final = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A city and what is watched in it. `rules` 0 means the memory point (growth_memory)."""

    cells: int
    devices: int
    period_s: float
    records: int
    rules: int
    shards: int = 4
    spike_every: int = 5_000
    registered: bool = False
    """Devices do not say where they are: a register of all of them does."""
    repeats: int = 1
    """The same records so often, each time with nothing known before, where one time is too short to be timed."""
    check: bool = True
    """Compute the alerts by the plain batch computation as well. Else only their digest is told."""


def measure(point: Point) -> Result:
    """CPU a record by step, memory, number and digest of the alerts; "wrong" says what the answers lack."""
    from benchmarks.growth_data import CitySpec, cell_ids
    from benchmarks.growth_path import Path, run
    from benchmarks.growth_rules import batch_alerts, changes_of, make_rules

    spec = CitySpec(
        cells=point.cells, devices=point.devices, period_s=point.period_s, spike_every=point.spike_every,
        placed=not point.registered,
    )  # fmt: skip
    rules = make_rules(point.rules, spec)
    # so many values out of order that alerts are told: what only they need must be loaded as well
    small = CitySpec(cells=500, devices=1_000, period_s=1.0, spike_every=50, placed=not point.registered)
    run(Path(small, make_rules(min(point.rules, 30), small), register=_register(small)[0]), small, WARM_UP_RECORDS)
    base_mib = memory_mib("VmRSS")
    register, loading = _register(spec)
    forget_peak()
    spent: dict[str, float] = {}
    alerts: list[Any] = []
    peak_mib, snapshot_mib = 0.0, 0.0
    for _ in range(point.repeats):
        path = Path(spec, rules, shards=point.shards, register=register)
        run(path, spec, point.records)
        if not spent:
            alerts, peak_mib = path.alerts, memory_mib("VmHWM")
            snapshot_mib = path.snapshot_bytes / 2**20
        for step, us in path.spent.per_record_us(point.records).items():
            spent[step] = spent.get(step, 0.0) + us / point.repeats
        del path
    numbers = {int(cell): number for number, cell in enumerate(cell_ids(spec))}
    got = changes_of(alerts, numbers)
    result: Result = {
        "cpu_us": {step: round(us, 4) for step, us in spent.items()},
        "memory_mib": round(peak_mib - base_mib, 1),
        "base_mib": round(base_mib, 1),
        "snapshot_mib": round(snapshot_mib, 1),
        "alerts": len(alerts),
        "digest": hashlib.sha256(repr(sorted(got, key=repr)).encode()).hexdigest()[:16],
        "wrong": "" if len(got) == len(alerts) else f"{len(alerts) - len(got)} alerts told twice",
        **loading,
    }
    if point.check:
        want = batch_alerts(spec, _all_records(spec, point.records), rules)
        if got != want:
            result["wrong"] = f"{len(want - got)} changes are missing, {len(got - want)} should not be there"
    return result


def _register(spec: Any) -> tuple[Any, Result]:
    """The register of a city whose devices do not say where they are, read from its file, and what reading cost."""
    from benchmarks.growth_register import write_register
    from topology.devices import DeviceRegister

    if spec.placed:
        return None, {}
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        file = FilePath(folder) / "devices.csv"
        write_register(file, spec)
        forget_peak()
        before_mib, began, cpu = memory_mib("VmRSS"), time.perf_counter(), time.process_time()
        register = DeviceRegister.load(file, grid=spec.grid)
        loading = {
            "load_s": round(time.perf_counter() - began, 3),
            "load_cpu_s": round(time.process_time() - cpu, 3),
            "load_peak_mib": round(memory_mib("VmHWM") - before_mib, 1),
            "register_mib": round(memory_mib("VmRSS") - before_mib, 1),
        }
    return register, loading


def _all_records(spec: Any, count: int) -> Any:
    from benchmarks.growth_data import make_records

    return make_records(spec, 0, count)


def memory_mib(field: str) -> float:
    """VmRSS: memory in use now; VmHWM: the most since `forget_peak`."""
    for line in FilePath("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def forget_peak() -> None:
    FilePath("/proc/self/clear_refs").write_text("5")


def main() -> int:
    core, given = int(sys.argv[1]), json.loads(sys.argv[2])
    os.sched_setaffinity(0, {core})  # before numba and the pools of threads are there
    if "rules" in given:
        result = measure(Point(**given))
    else:
        from benchmarks.growth_memory import fill

        result = fill(**given)
    print(json.dumps(result))
    return 0


def argument(point: Point) -> str:
    return json.dumps(asdict(point))


if __name__ == "__main__":
    sys.exit(main())
