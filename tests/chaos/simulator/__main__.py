"""Thousands of seeds, or one of them again.

    python -m tests.chaos.simulator --seeds 5000                progress, failures with their seeds, status 1 if any
    python -m tests.chaos.simulator --seed 17 --trace           one seed, with everything that happened
    python -m tests.chaos.simulator --only loop --odds zombies  one play (plays.py), one kind of trouble (faults.py)
    python -m tests.chaos.simulator --off NAME                  without one protection (protections.py): must fail
    python -m tests.chaos.simulator --protections --seeds 100   all of them in turn: each must be caught
    python -m tests.chaos.simulator --awaits                    which awaits of the product the faults have not met

A seed means the same in every process only while the code is the same.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence

from rich.console import Console

from tests.chaos.simulator.await_points import coverage
from tests.chaos.simulator.faults import ODDS
from tests.chaos.simulator.plays import NAMES
from tests.chaos.simulator.protections import PROTECTIONS
from tests.chaos.simulator.seeds import Tally, Wanted, all_caught, run_many, run_seed
from tests.chaos.simulator.substitutes import installed
from tests.chaos.simulator.world import Result

console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
TELL_EVERY_S = 5.0
MOST_TOLD = 12  # problems of a seed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.simulator", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1_000, metavar="N", help="so many (1000)")
    parser.add_argument("--first", type=int, default=1, metavar="K", help="from this one on (1)")
    parser.add_argument("--seconds", type=float, metavar="S", help="begin no more after so long")
    parser.add_argument("--seed", type=int, metavar="K", help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: everything that happened")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="PLAY", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument("--off", nargs="+", choices=sorted(PROTECTIONS), default=(), metavar="NAME", help="protections")
    parser.add_argument("--protections", action="store_true", help="switch each off in turn, and see it caught")
    parser.add_argument("--odds", choices=ODDS, default="all", help=f"what goes wrong: {', '.join(ODDS)} (all)")
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="at once (one for each processor)")
    parser.add_argument("--awaits", action="store_true", help="list the awaits that no fault has met")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object in the last line")
    given = parser.parse_args(argv)
    wanted = Wanted(tuple(given.only), tuple(given.off), given.odds)
    if given.protections:
        return _protections(given.seeds)
    if given.seed is not None:
        return _one(given.seed, wanted, trace=given.trace)
    return _many(given, wanted)


def _one(seed: int, wanted: Wanted, *, trace: bool) -> int:
    with warnings.catch_warnings(), installed():
        warnings.simplefilter("ignore", RuntimeWarning)
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger().addHandler(logging.NullHandler())
        result = run_seed(seed, wanted, loud=trace)
    for line in result.lines:
        print(line)
    print(f"seed {seed}, {result.play}: {result.steps} steps, {result.virtual_s:.1f} s of virtual time")
    _tell(result)
    return 1 if result.problems else 0


def _protections(most: int) -> int:
    missed = 0
    for found in all_caught(most=most):
        what = PROTECTIONS[found.name].what
        if found.seed is None:
            missed += 1
            console.print(f"{found.name:24} NOT CAUGHT by {found.tried} seeds: without it, {what}")
        else:
            plays = " ".join(PROTECTIONS[found.name].plays)
            print(f"| {found.name} | {what} | {plays}, seed {found.seed} ({found.tried}.) | {found.problem[:110]} |")
    return 1 if missed else 0


def _many(given: argparse.Namespace, wanted: Wanted) -> int:
    tally, began, told = Tally(), time.monotonic(), time.monotonic()
    seeds = range(given.first, given.first + given.seeds)
    for result in run_many(seeds, wanted, processes=given.processes, seconds=given.seconds):
        tally.add(result)
        if result.problems:
            _tell(result)
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            console.print(f"{tally.seeds} of {given.seeds} seeds, {len(tally.failed)} failed, {told - began:.0f} s")
    seconds = time.monotonic() - began
    met, missed = coverage(tally.hits)
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.told.items()))
    console.print(
        f"{tally.seeds} seeds in {seconds:.1f} s ({60 * tally.seeds / seconds:.0f} a minute): {dict(tally.plays)}"
    )
    console.print(f"faults: {faults}; {tally.crashes} crashes")
    console.print(f"faults fell at {len(met)} of {len(met) + len(missed)} awaits of the product")
    if given.awaits:
        for point in missed:
            console.print(f"  not at {point}")
    console.print(f"{len(tally.failed)} seeds failed" if tally.failed else "every seed held")
    if given.json:
        print(json.dumps(_as_json(tally, seconds, len(met), len(missed))), flush=True)
    return 1 if tally.failed or not tally.seeds else 0


def _tell(result: Result) -> None:
    for problem in list(dict.fromkeys(result.problems))[:MOST_TOLD]:
        console.print(f"seed {result.seed} ({result.play}): {problem}")


def _as_json(tally: Tally, seconds: float, met: int, missed: int) -> dict[str, object]:
    return {
        "seeds": tally.seeds, "seconds": round(seconds, 1), "failed": [result.seed for result in tally.failed],
        "plays": dict(tally.plays), "faults": dict(tally.told), "crashes": tally.crashes,
        "awaits_met": met, "awaits": met + missed, "virtual_hours": round(tally.virtual_s / 3600, 2),
    }  # fmt: skip


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # sets of strings must have the same order in every process, or a seed would not happen again
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.chaos.simulator", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )  # fmt: skip
    sys.exit(main())
