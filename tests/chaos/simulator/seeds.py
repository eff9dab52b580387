"""Runs over seeds: in this process, or in several at once."""

from __future__ import annotations

import gc
import logging
import os
import random
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from tests.chaos.simulator.await_points import AwaitPoint
from tests.chaos.simulator.checks import problems
from tests.chaos.simulator.faults import ODDS
from tests.chaos.simulator.plays import NAMES, choose
from tests.chaos.simulator.protections import PROTECTIONS, switched_off
from tests.chaos.simulator.substitutes import installed
from tests.chaos.simulator.world import Result, World, tidy

TIDY_EVERY: Final = 20
CHUNK: Final = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to run: `only` names plays, `off` protections that are switched off, `odds` is of faults.ODDS."""

    only: Sequence[str] = NAMES
    off: Sequence[str] = ()
    odds: str = "all"


@dataclass(slots=True)
class Tally:
    """What came of many seeds."""

    seeds: int = 0
    failed: list[Result] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    plays: Counter[str] = field(default_factory=Counter)
    hits: set[AwaitPoint] = field(default_factory=set)
    crashes: int = 0
    virtual_s: float = 0.0

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.told += result.told
        self.plays[result.play] += 1
        self.hits |= result.hits
        self.crashes += result.crashes
        self.virtual_s += result.virtual_s
        if result.problems:
            self.failed.append(result)


def run_seed(seed: int, wanted: Wanted | None = None, *, loud: bool = False) -> Result:
    """One seed, with the substitutes in place already (`installed`)."""
    wanted = wanted or Wanted()
    play = choose(random.Random(seed), ODDS[wanted.odds], only=wanted.only)
    world = World(seed, play, loud=loud)
    with switched_off(wanted.off):  # but not while it is checked
        before = world.run()
    found = [*before, *problems(world), *world.trace.bugs]
    return Result(
        seed=seed, play=play.name, problems=found, told=world.faults.told, hits=world.trace.hits,
        steps=world.loop.steps, virtual_s=world.loop.time(), crashes=world.trace.crashes, lines=world.trace.lines,
    )  # fmt: skip


def run_here(seeds: Iterable[int], wanted: Wanted | None = None) -> Iterator[Result]:
    """Seeds one after the other in this process."""
    wanted = wanted or Wanted()
    was_enabled = gc.isenabled()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", RuntimeWarning)  # tasks of the dead were never awaited
        stack.enter_context(installed())
        logging.disable(logging.CRITICAL)
        gc.disable()
        was_frozen = gc.get_freeze_count() > 0
        if not was_frozen:
            gc.freeze()  # what is there already need not be looked at between runs
        try:
            for number, seed in enumerate(seeds):
                yield run_seed(seed, wanted)
                if number % TIDY_EVERY == TIDY_EVERY - 1:
                    tidy()
        finally:
            tidy()
            if not was_frozen:
                # what the first seeds have loaded and compiled; later on never again, or what is left of a world that
                # somebody still holds would stay for good
                gc.freeze()
            logging.disable(logging.NOTSET)
            if was_enabled:
                gc.enable()


def run_many(seeds: range, wanted: Wanted, *, processes: int = 0, seconds: float | None = None) -> Iterator[Result]:
    """Seeds in several processes; in the order in which they come back. After `seconds` no more are begun."""
    processes = processes or os.cpu_count() or 1
    began = time.monotonic()
    chunks = (seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK))
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        waiting = []
        for chunk in chunks:
            waiting.append(pool.submit(_chunk, chunk, wanted))
            while len(waiting) > processes + 1:
                yield from waiting.pop(0).result()
            if seconds is not None and time.monotonic() - began > seconds:
                break
        for future in waiting:
            yield from future.result()


@dataclass(frozen=True, slots=True)
class Caught:
    """The first seed that fails with a protection switched off; None when none of `tried` did."""

    name: str
    seed: int | None
    tried: int
    problem: str = ""


def caught(name: str, *, most: int = 300, first: int = 1) -> Caught:
    """Switch a protection off and run seeds until one fails."""
    protection = PROTECTIONS[name]
    wanted = Wanted(protection.plays, (name,), protection.odds)
    for tried, result in enumerate(run_here(range(first, first + most), wanted), 1):
        if result.problems:
            return Caught(name, result.seed, tried, result.problems[0])
    return Caught(name, None, most)


def all_caught(*, most: int = 300, processes: int = 0) -> Iterator[Caught]:
    """Each protection in turn, several at once."""
    with ProcessPoolExecutor(processes or os.cpu_count() or 1, mp_context=get_context("fork")) as pool:
        for future in [pool.submit(caught, name, most=most) for name in PROTECTIONS]:
            yield future.result()


def _chunk(seeds: range, wanted: Wanted) -> list[Result]:
    return list(run_here(seeds, wanted))
