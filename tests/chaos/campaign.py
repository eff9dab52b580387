"""Many seeds on one broker and one ClickHouse, some at a time, each a city of its own."""

from __future__ import annotations

import asyncio
import resource
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.local.stack import LocalStack
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.promises import Given, Outcome
from tests.chaos.zygote import Zygote

AT_ONCE: Final = 4  # a seed mostly waits: for sessions to time out, for commits


@dataclass
class Stage:
    """What the seeds of a campaign share."""

    given: Given
    stack: LocalStack
    zygote: Zygote
    outcome: Outcome
    notes: dict[int, list[str]] = field(default_factory=dict)

    def city(self, seed: int, name: str = "", **options: Any) -> ChaosCity:
        """A city with this seed's name; its logs lie in a folder of the seed's own."""
        folder = self.given.folder / f"seed{seed}"
        folder.mkdir(exist_ok=True)
        return ChaosCity(
            self.stack.kafka_bootstrap, self.stack.clickhouse_url, f"{self.given.folder.name.lower()}s{seed}{name}",
            folder, zygote=self.zygote, off=self.given.off, **options,
        )  # fmt: skip

    def note(self, seed: int, words: str) -> None:
        """What befell the seed, told when it fails."""
        self.notes.setdefault(seed, []).append(words)


Trial = Callable[[Stage, int], Awaitable[list[str]]]
"""One seed; the problems."""


def run_seeds(given: Given, promise: str, trial: Trial, *, at_once: int = AT_ONCE) -> Outcome:
    outcome = Outcome(promise)
    began, began_cpu = time.monotonic(), _cpu_s()
    with LocalStack(given.folder / "stack", quick=True) as stack, Zygote(given.folder) as zygote:
        asyncio.run(_all_seeds(Stage(given, stack, zygote, outcome), trial, at_once))
    outcome.figures["seconds_a_seed"] = round((time.monotonic() - began) / given.seeds, 1)
    outcome.figures["cpu_s_a_seed"] = round((_cpu_s() - began_cpu) / given.seeds, 1)
    return outcome


async def _all_seeds(stage: Stage, trial: Trial, at_once: int) -> None:
    waiting = iter(stage.given.seed_range)

    async def work() -> None:
        for seed in waiting:
            if stage.given.off and stage.outcome.failures:
                return  # that it is noticed was the question
            began = time.monotonic()
            try:
                problems = await trial(stage, seed)
            except Exception as broken:
                problems = [f"{type(broken).__name__}: {broken}", traceback.format_exc()[-3_000:]]
            if problems:
                problems += [f"befell it: {words}" for words in stage.notes.get(seed, ())]
            stage.outcome.tried(seed, problems)
            told = "held" if not problems else f"NOT KEPT: {problems[0][:300]}"
            stage.given.progress(f"seed {seed}: {told} ({time.monotonic() - began:.0f} s)")

    await asyncio.gather(*(work() for _ in range(min(at_once, stage.given.seeds))))


def _cpu_s() -> float:
    """Of us and of the children that have ended: workers, broker and ClickHouse too, once their guards have."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
