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
from tests.chaos.simulator.faults import Odds
from tests.chaos.simulator.plays import NAMES, choose
from tests.chaos.simulator.protections import switched_off
from tests.chaos.simulator.substitutes import installed
from tests.chaos.simulator.world import Result, World, tidy

TIDY_EVERY: Final = 20
CHUNK: Final = 25


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to run: `only` names plays, `off` protections that are switched off."""

    only: Sequence[str] = NAMES
    off: Sequence[str] = ()
    odds: Odds | None = None


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
    play = choose(random.Random(seed), only=wanted.only, odds=wanted.odds)
    world = World(seed, play, loud=loud)
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
        stack.enter_context(switched_off(wanted.off))
        logging.disable(logging.CRITICAL)
        gc.disable()
        gc.freeze()  # what is there already need not be looked at between runs
        try:
            for number, seed in enumerate(seeds):
                yield run_seed(seed, wanted)
                if number % TIDY_EVERY == TIDY_EVERY - 1:
                    tidy()
        finally:
            tidy()
            gc.unfreeze()
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


def _chunk(seeds: range, wanted: Wanted) -> list[Result]:
    return list(run_here(seeds, wanted))
