"""Chaos: keeps the promises of exactness under faults, on the real broker, worker and ClickHouse engine.

    python -m tests.chaos                          all promises, all their seeds (hours); `make chaos` is the same
    python -m tests.chaos --short                  all of them, in minutes
    python -m tests.chaos --only P1 P5 --seeds 10  two promises, ten seeds each
    python -m tests.chaos --only P1 --seed 17      one seed again, as a failure tells it

Ends with a table, and with status 1 when a promise was not kept. tests/chaos/README.md says what each promise is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from tests.chaos.promises import PROMISES, Failure, Given, Outcome, Promise
from tests.chaos.protections import OFF

RESULTS = Path(__file__).with_name("results")
console = Console(stderr=True, highlight=False, markup=False)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="P", help="these promises, such as P1 P5")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="so many seeds of each promise instead of its own number"
    )
    parser.add_argument("--seed", type=int, metavar="K", help="this seed alone; with --seeds, as many from here on")
    parser.add_argument("--short", action="store_true", help="smaller data, shorter outages, few seeds: minutes")
    parser.add_argument("--off", nargs="+", metavar="NAME", default=[], help="take protections away: it must fail then")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object in the last line")
    parser.add_argument("--save", action="store_true", help="keep figures and charts in tests/chaos/results")
    parser.add_argument("--keep", action="store_true", help="keep the folders of promises that were kept, too")
    parser.add_argument("--list", action="store_true", help="name the promises and end")
    given = parser.parse_args(argv)
    if given.seeds is not None and given.seeds < 1:
        parser.error("--seeds must be 1 or more")
    known = {promise.key for promise in PROMISES}
    unknown = {key.upper() for key in given.only or ()} - known
    if unknown:
        parser.error(f"no promise {', '.join(sorted(unknown))}; there are {', '.join(p.key for p in PROMISES)}")
    if missing := set(given.off) - set(OFF):
        parser.error(f"no protection {', '.join(sorted(missing))}; there are {', '.join(OFF)}")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    wanted = arguments(argv)
    if wanted.list:
        for promise in PROMISES:
            print(f"{promise.key:4} {promise.title}{'' if promise.exists else '   (not there yet)'}")
        return 0
    only = {key.upper() for key in wanted.only or ()}
    chosen = [p for p in PROMISES if (p.key in only if only else p.exists)]
    root = Path(tempfile.mkdtemp(prefix="tongguan-chaos-"))
    outcomes = []
    for promise in chosen:
        seeds = promise.short_seeds if wanted.short else promise.seeds
        given = Given(
            seeds=wanted.seeds or (1 if wanted.seed is not None else seeds),
            first_seed=1 if wanted.seed is None else wanted.seed,
            short=wanted.short,
            folder=root / promise.key,
            progress=_teller(promise.key),
            off=tuple(wanted.off),
            results=RESULTS if wanted.save else None,
        )
        outcomes.append(kept(promise, given))
        if outcomes[-1].held and not wanted.keep:
            shutil.rmtree(given.folder)
    console.print(table(outcomes))
    for outcome in outcomes:
        _tell_failures(outcome, short=wanted.short)
    if not any(root.iterdir()):
        root.rmdir()
    else:
        console.print(f"what is left of it: {root}")
    if wanted.save:
        save(outcomes, short=wanted.short)
    if wanted.json:
        print(json.dumps(as_json(outcomes, short=wanted.short)), flush=True)
    return 0 if outcomes and all(outcome.held for outcome in outcomes) else 1


def kept(promise: Promise, given: Given) -> Outcome:
    """Run one promise. A runner that breaks off has not kept it."""
    given.folder.mkdir(parents=True)
    given.progress(f"{promise.title}: {given.seeds} seed{'s' if given.seeds > 1 else ''} from {given.first_seed}")
    began = time.monotonic()
    try:
        outcome = promise.load()(given)
    except Exception:
        outcome = Outcome(promise.key, failures=[Failure(given.first_seed, (traceback.format_exc(),))])
    return replace(outcome, seconds=time.monotonic() - began)


def table(outcomes: Sequence[Outcome]) -> Table:
    made = Table("promise", "", "seeds", "held", "time", "figures", box=None, pad_edge=False)
    for outcome in outcomes:
        figures = ", ".join(f"{name} {_short(value)}" for name, value in outcome.figures.items())
        made.add_row(
            outcome.promise, _promise(outcome.promise).title, str(outcome.seeds),
            "yes" if outcome.held else f"NO ({len(outcome.failures)} failed)", f"{outcome.seconds:.0f} s", figures,
        )  # fmt: skip
    return made


def as_json(outcomes: Sequence[Outcome], *, short: bool) -> dict[str, Any]:
    return {
        "short": short,
        "held": bool(outcomes) and all(outcome.held for outcome in outcomes),
        "promises": [
            asdict(outcome)
            | {"seeds": outcome.seeds, "held": outcome.held, "title": _promise(outcome.promise).title}
            | {"reproduce": [_promise(outcome.promise).reproduce(f.seed, short=short) for f in outcome.failures]}
            for outcome in outcomes
        ],
    }


def save(outcomes: Sequence[Outcome], *, short: bool) -> None:
    """One file for each promise, so that they may be run apart."""
    RESULTS.mkdir(exist_ok=True)
    for outcome, told in zip(outcomes, as_json(outcomes, short=short)["promises"], strict=True):
        text = json.dumps(told | {"short": short, "machine": machine()}, indent=1, sort_keys=True)
        (RESULTS / f"{outcome.promise}.json").write_text(text + "\n", "utf-8")


def _tell_failures(outcome: Outcome, *, short: bool) -> None:
    for failure in outcome.failures:
        console.print(f"\n{outcome.promise} was not kept with seed {failure.seed}; once more:")
        console.print(f"  {_promise(outcome.promise).reproduce(failure.seed, short=short)}")
        for problem in failure.problems:
            console.print(f"  - {problem}")


def _promise(key: str) -> Promise:
    return next(promise for promise in PROMISES if promise.key == key)


def _short(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _teller(key: str) -> Any:
    lock, began = threading.Lock(), time.monotonic()

    def tell(line: str) -> None:
        with lock:
            console.print(f"[{key} {time.monotonic() - began:6.0f} s] {line}")

    return tell


if __name__ == "__main__":
    sys.exit(main())
