"""P2: killed while it recovers, and again while it recovers from that.

One seed is one city, its victim as in P1. It lives a while and dies; its next life ends at a step of recovery (loading
manifests or checkpoints, reading the parts they name, doing an unfinished batch again, reading a backlog, the first
messages), and so does the one after that. In half of the seeds snapshots and commits are rare, so that there is much to
recover.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any, Final

from tests.chaos.campaign import Stage, run_seeds
from tests.chaos.crash_points import CrashPoint
from tests.chaos.lives import Kill, Scene
from tests.chaos.p1_kills import RECORDS, VICTIMS, WORKED
from tests.chaos.promises import Given, Outcome
from tests.chaos.protections import SENT_WITHIN_S
from tests.live.support.loop_run import SESSION_S

RARELY: Final[dict[str, dict[str, Any]]] = {
    "locate": {"commit_interval_ms": 5_000},
    "join": {"snapshot_every_s": 5.0},
    "dispatch": {"snapshot_every_s": 5.0},
}
RECOVERING: Final = {
    "locate": ("commit", "flush"),
    "join": ("load", "parts", "frame", "state"),
    "dispatch": ("load", "parts", "record", "input", "log", "state"),
    "archive": ("load", "look", "insert", "state"),
}
"""The steps that a recovery begins with; the first few calls of each."""
PATIENCE_S: Final = 20.0
CALLS: Final = {"frame": 12, "record": 40, "input": 20, "flush": 4}


def run(given: Given) -> Outcome:
    return run_seeds(given, "P2", trial)


async def trial(stage: Stage, seed: int) -> list[str]:
    chance = random.Random(seed)
    victim = VICTIMS[seed % len(VICTIMS)]
    rarely = bool(seed // len(VICTIMS) % 2)
    city = stage.city(seed, overrides=RARELY if rarely else {})
    await city.set_up_async()
    records = city.make_records(RECORDS, seed)
    kills = _draw(chance, victim)
    async with Scene(city, victim, partial(stage.note, seed)) as scene:
        reached = await scene.die(kills, city.send(records, lasting_s=SENT_WITHIN_S), patience_s=PATIENCE_S)
        await city.all_settled(archived=False)
        await city.act(city.work_on(await city.incidents_to_work(WORKED, chance)))
        await city.all_settled()
        problems = await city.problems() + scene.complaints()
    stage.outcome.add("killed_in_recovery", reached)
    stage.outcome.add("kills", len(kills))
    if not problems:
        await asyncio.to_thread(city.tear_down)
    return problems


def _draw(chance: random.Random, victim: str) -> list[Kill]:
    """A life of some seconds, and two recoveries."""
    kills = [Kill(SESSION_S + chance.uniform(1.0, 4.0), None, 0.0)]
    for _ in range(2):
        role = victim if victim in RECOVERING else chance.choice(tuple(RECOVERING))
        step = chance.choice(RECOVERING[role])
        point = CrashPoint(step, chance.choice(("before", "after")), chance.randint(1, CALLS.get(step, 3)))
        kills.append(Kill(0.0, point, 0.0))
    return kills
