"""The promises in simulation: thousands of seeds of the logic, where the broker gets a few (see simulator/).

Each promise has the kind of trouble that it speaks of (`simulator.faults.ODDS`). What the fakes claim about Kafka,
Faust and ClickHouse is what the promises on the real ones are there to confirm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.chaos.promises import Given, Outcome

KINDS: Final[dict[str, str]] = {
    "P1": "kills",
    "P2": "recovery",
    "P3": "none",
    "P5": "members",
    "P6": "store",
    "P7": "clocks",
    "P8": "broker",
    "P10": "state",
    "zombies": "zombies",
    "errors": "errors",
    "everything": "all",
}
"""Which odds speak of which promise; frozen owners, errors that are raised, and a bit of everything, besides."""
ROOT: Final = Path(__file__).resolve().parents[2]


def run(given: Given) -> Outcome:
    outcome = Outcome("SIM")
    each = max(1, given.seeds // len(KINDS))
    for promise, odds in KINDS.items():
        told = _simulated(odds, given.first_seed, each)
        failed = set(told["failed"])
        for seed in range(given.first_seed, given.first_seed + told["seeds"]):
            again = f"python -m tests.chaos.simulator --odds {odds} --seed {seed} --trace"
            outcome.tried(seed, [f"{promise} ({odds}): {again}"] if seed in failed else ())
        outcome.add("virtual_hours", told["virtual_hours"])
        outcome.add("faults", sum(told["faults"].values()))
        given.progress(f"{promise} ({odds}): {told['seeds']} seeds, {len(failed)} failed, {told['seconds']} s")
    return outcome


def _simulated(odds: str, first: int, seeds: int) -> dict[str, Any]:
    """In a process of its own, where sets of strings have the same order each time."""
    arguments = ["--odds", odds, "--first", str(first), "--seeds", str(seeds), "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.chaos.simulator", *arguments],
        cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True,
    )  # fmt: skip
    if not ran.stdout:
        raise RuntimeError(f"the simulator broke off: {ran.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return told
