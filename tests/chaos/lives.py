"""The lives of a worker that is killed again and again, by a plan drawn from a seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from streams.tasks import end
from tests.chaos import crash_points
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.chaos_worker import ALL_ROLES, ChaosWorker
from tests.chaos.crash_points import CrashPoint
from tests.live.support.loop_run import SESSION_S

PATIENCE_S: Final = 8.0  # for a crash point; one that has not come by then is replaced by a kill
KILLED: Final = -int(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Kill:
    """How a life ends, and how long nobody lives then."""

    after_s: float
    point: CrashPoint | None
    down_s: float

    def __str__(self) -> str:
        return f"{self.point or f'{self.after_s:.2f} s after its start'}, then {self.down_s:.2f} s of nobody"


def draw_kills(chance: random.Random, role: str, count: int) -> list[Kill]:
    """Half of them at crash points; of those by time, one in three while the dead member's session still runs, so that
    the killed one has not begun to read."""
    return [
        Kill(
            chance.uniform(0.05, SESSION_S) if chance.random() < 0.33 else SESSION_S + chance.uniform(0.5, 3.0),
            crash_points.draw(chance, role) if chance.random() < 0.5 else None,
            chance.choice((0.0, chance.uniform(0.0, 1.5))),
        )
        for _ in range(count)
    ]


async def live_and_die(worker: ChaosWorker, kills: Sequence[Kill], *, patience_s: float = PATIENCE_S) -> list[str]:
    """One life for each kill, and in the end one that is left alone. Gives what befell the worker, for the report."""
    befell: list[str] = []
    who = "/".join(worker.roles)
    for kill in kills:
        worker.start(kill.point)
        await _ended_by_itself(worker, kill.after_s if kill.point is None else patience_s)
        if worker.running:
            worker.kill()
            befell.append(f"{who} killed: {kill}{'' if kill.point is None else ' (never came there)'}")
        else:
            status = worker.exit_status()
            befell.append(f"{who} killed itself: {kill}" if status == KILLED else f"{who} ended with status {status}")
        await asyncio.sleep(kill.down_s)
    worker.start()
    return befell


class Scene:
    """A victim and, in a worker of their own, the roles that it does not have. `async with`: all are up from the first
    `die` on; one that has ended by itself (its consumer stood still on a busy machine) is started again, as whoever
    manages the workers would."""

    def __init__(self, city: ChaosCity, victim: str, note: Callable[[str], None], *, executed: bool = False) -> None:
        everything = victim == "all"
        self.victim = city.chaos_worker("victim", roles=ALL_ROLES if everything else (victim,), executed=executed)
        rest = tuple(role for role in ALL_ROLES if role != victim)
        self._others = [] if everything else [city.chaos_worker("others", roles=rest, executed=executed)]
        self._note = note
        self._dying = True  # not started yet, in any case
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for worker in self._others:
            worker.start()
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._looking)
        for worker in self._all:
            worker.kill_if_running()

    async def die(
        self, kills: Sequence[Kill], work: Coroutine[Any, Any, None], *, patience_s: float = PATIENCE_S
    ) -> int:
        """Have the victim live and die by the plan while `work` is done; how often it killed itself as planned."""
        self._dying = True
        dying = asyncio.create_task(live_and_die(self.victim, kills, patience_s=patience_s))
        await work
        befell = await dying
        self._dying = False
        for words in befell:
            self._note(words)
        return sum("killed itself" in words for words in befell)

    def kill_at_rest(self) -> None:
        """So that its next life, with a crash point, begins with the next `die`."""
        self._dying = True
        self.victim.kill()
        self._note("killed at rest")

    async def stop(self) -> int:
        """Ask the victim to end; its exit status."""
        self._dying = True
        self.victim.ask_to_stop()
        return await asyncio.to_thread(self.victim.exit_status)

    def complaints(self) -> list[str]:
        """What is in the logs that should not be."""
        return [words for worker in self._all for words in complaints(worker)]

    @property
    def _all(self) -> list[ChaosWorker]:
        return [self.victim, *self._others]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            for worker in self._others if self._dying else self._all:
                if not worker.running:
                    status = worker.exit_status()
                    self._note(f"{'/'.join(worker.roles)} ended by itself with status {status}: started again")
                    worker.start()


async def _ended_by_itself(worker: ChaosWorker, within_s: float) -> None:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + within_s
    while worker.running and loop.time() < give_up_at:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)


def complaints(worker: ChaosWorker) -> list[str]:
    """What is in the log that should not be."""
    if "Traceback" not in worker.log:
        return []
    at = worker.log.index("Traceback")
    return [f"{worker.log_path.name} has a traceback: ...{worker.log[max(0, at - 500) : at + 2_500]}"]
