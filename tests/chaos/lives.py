"""The lives of a worker that is killed again and again, by a plan drawn from a seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos import crash_points
from tests.chaos.chaos_city import SESSION_S
from tests.chaos.chaos_worker import ChaosWorker
from tests.chaos.crash_points import CrashPoint

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
    """One life for each kill, and in the end one that is left alone. Gives what befell the worker, for the report;
    AssertionError when it ended by itself."""
    befell: list[str] = []
    for kill in kills:
        worker.start(kill.point)
        await _ended_by_itself(worker, kill.after_s if kill.point is None else patience_s)
        if worker.running:
            worker.kill()
            befell.append(
                f"{'/'.join(worker.roles)} killed: {kill}{'' if kill.point is None else ' (never came there)'}"
            )
        else:
            status = worker.exit_status()
            assert status == KILLED, f"the worker ended by itself with {status}:\n{worker.log[-6_000:]}"
            befell.append(f"{'/'.join(worker.roles)} killed itself: {kill}")
        await asyncio.sleep(kill.down_s)
    worker.start()
    return befell


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
