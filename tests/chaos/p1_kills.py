"""P1: kill -9 at random moments and at chosen steps, each role alone and all together, changes nothing.

One seed is one city. In turn the victim is locate, join, dispatch, archive, or one worker with all roles; the roles
that are not the victim's run beside it in a worker that is left alone. While records come, then while people act, the
victim is killed some times and started again; the plan is drawn from the seed. In one seed of ten the workers are
executed, not forked. With a protection taken away the kills are aimed at where it is needed, if that is a matter of
moments (`protections.AIMED`).
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Final

from tests.chaos.campaign import Stage, run_seeds
from tests.chaos.lives import PATIENCE_S, Kill, Scene, draw_kills
from tests.chaos.promises import Given, Outcome
from tests.chaos.protections import AIMED, SENT_WITHIN_S
from tests.live.support.small_city import BEHIND

VICTIMS: Final = ("locate", "join", "dispatch", "archive", "all")
RECORDS: Final = 2_400
WORKED: Final = 8  # incidents
AIMED_PATIENCE_S: Final = 30.0  # for a crash point that must come


def run(given: Given) -> Outcome:
    return run_seeds(given, "P1", trial)


async def trial(stage: Stage, seed: int) -> list[str]:
    chance = random.Random(seed)
    aim = next((AIMED[name] for name in stage.given.off if name in AIMED), None)
    victim = VICTIMS[seed % len(VICTIMS)] if aim is None else aim.victim
    executed = seed // len(VICTIMS) % 10 == 9
    city = stage.city(seed, overrides={} if aim is None else aim.overrides)
    await city.set_up_async()
    records = city.make_records(RECORDS, seed, behind=BEHIND if aim is None else aim.behind)
    if aim is None:
        while_sending = draw_kills(chance, victim, chance.randint(1, 3))
        while_acting = draw_kills(chance, victim, 1) if victim in ("dispatch", "archive", "all") else []
    else:
        while_sending = [Kill(0.0, point, 0.0) for point in aim.points]
        while_acting = while_sending[:1] if victim == "dispatch" else []
    async with Scene(city, victim, partial(stage.note, seed), executed=executed) as scene:
        patience_s = PATIENCE_S if aim is None else AIMED_PATIENCE_S
        sending = city.send(records, lasting_s=SENT_WITHIN_S if aim is None else aim.sent_within_s)
        reached = await scene.die(while_sending, sending, patience_s=patience_s)
        await city.all_settled(archived=False)
        messages = city.work_on(await city.incidents_to_work(WORKED, chance))
        if while_acting:
            scene.kill_at_rest()
            stage.note(seed, "from here on people act")
            reached += await scene.die(while_acting, city.act(messages, lasting_s=2.0), patience_s=patience_s)
        else:
            await city.act(messages)
        await city.all_settled()
        problems = await city.problems() + scene.complaints()
        if not problems and seed % 5 == 0:
            status = await scene.stop()
            problems += [f"asked to stop, it ended with status {status}"] if status else []
    stage.outcome.add("kills", len(while_sending) + 2 * len(while_acting))
    stage.outcome.add("at_a_crash_point", reached)
    if not problems:
        await asyncio.to_thread(city.tear_down)
    return problems
