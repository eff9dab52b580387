"""What every promise gets and gives back, and the list of the promises.

A promise is one module `pN_name.py` with `run(given: Given) -> Outcome`. A *seed* is one trial: what is sent and when
the faults fall is drawn from it, so `--seed 17` does the same again. (On a real broker the moment at which a fault
meets the program is still the machine's; a failure may need a few tries of its seed.)

    def run(given: Given) -> Outcome:
        outcome = Outcome("P4")
        for seed in given.seed_range:
            problems = one_trial(seed, given.folder / str(seed))
            outcome.tried(seed, problems)
            given.progress(f"seed {seed}: {'held' if not problems else problems[0]}")
        outcome.figures["dead_letters"] = 1_000
        return outcome
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

MOST_PROBLEMS: Final = 20
"""Kept of one seed: a fault that breaks everything should not fill the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a promise is asked to do."""

    seeds: int
    """How many trials; for a promise without chance (a soak, an outage) how often."""
    first_seed: int
    short: bool
    """Seconds instead of minutes: smaller data, shorter outages, looser figures. The same checks."""
    folder: Path
    """An empty folder of its own; deleted afterwards unless the promise failed."""
    progress: Callable[[str], None]
    """One line for whoever watches; called from any thread."""
    results: Path | None = None
    """Where what shall last is written, such as charts; None: nowhere."""
    off: tuple[str, ...] = ()
    """Protections to take away in the workers (protections.py): then the promise must be seen to fail."""

    @property
    def seed_range(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True, slots=True)
class Failure:
    """A trial in which the promise was not kept."""

    seed: int
    problems: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """What came of it. `promise` is the key, such as "P1"."""

    promise: str
    passed: int = 0
    failures: list[Failure] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)
    """What was measured or counted, for the table and for the README: {"kills": 212, "rss_mb_per_h": 0.3}."""
    seconds: float = 0.0

    @property
    def seeds(self) -> int:
        return self.passed + len(self.failures)

    @property
    def held(self) -> bool:
        """A promise that was not tried has not been kept."""
        return self.passed > 0 and not self.failures

    def tried(self, seed: int, problems: Iterable[str]) -> None:
        """Count one trial; it passed when there is no problem."""
        found = tuple(problems)[:MOST_PROBLEMS]
        if found:
            self.failures.append(Failure(seed, found))
        else:
            self.passed += 1

    def add(self, figure: str, more: float | int) -> None:
        """Add to a figure that counts something over all seeds."""
        before = self.figures.get(figure, 0)
        assert not isinstance(before, str), f"{figure} is a text"
        self.figures[figure] = before + more


class Runner(Protocol):
    def __call__(self, given: Given) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    key: str
    title: str
    module: str
    seeds: int
    """Trials of a full run."""
    short_seeds: int = 1

    @property
    def exists(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    def load(self) -> Runner:
        run: Runner = importlib.import_module(self.module).run
        return run

    def reproduce(self, seed: int, *, short: bool) -> str:
        return f"python -m tests.chaos --only {self.key} --seed {seed}{' --short' if short else ''}"


PROMISES: Final = (
    Promise(key="P1", title="kill -9 at any moment changes nothing", module="tests.chaos.p1_kills", seeds=250),
    Promise(key="P2", title="killed again while recovering", module="tests.chaos.p2_recovery", seeds=20),
    Promise(key="P3", title="the same log gives the same alerts", module="tests.chaos.p3_same_log", seeds=5),
    Promise(key="P4", title="hostile records harm nobody", module="tests.chaos.p4_fuzz", seeds=3),
    Promise(key="P5", title="workers come, go, die and freeze", module="tests.chaos.p5_membership", seeds=10),
    Promise(key="P6", title="ClickHouse away, slow, refusing, full", module="tests.chaos.p6_clickhouse", seeds=1),
    Promise(key="P7", title="the host's clock jumps", module="tests.chaos.p7_clock", seeds=2),
    Promise(key="P8", title="broker restarted, killed, cut off", module="tests.chaos.p8_broker", seeds=3),
    Promise(key="P9", title="nothing grows in a soak", module="tests.chaos.p9_soak", seeds=1),
    Promise(key="P10", title="a bad snapshot is never silently wrong", module="tests.chaos.p10_snapshots", seeds=1),
    Promise(
        key="SIM",
        title="the same in simulation, all of them",
        module="tests.chaos.simulated",
        seeds=20_000,
        short_seeds=300,
    ),
)
"""In the order of running."""
