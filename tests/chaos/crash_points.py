"""kill -9 at a step of the protocol: a worker that ends itself before or after its n-th write, commit, insert, restore.

Kills at random times mostly fall where the worker waits. What must hold is the order of a few steps, each durable
before the next begins; a crash point falls exactly between two of them.
"""

from __future__ import annotations

import inspect
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from faust.transport.consumer import Consumer

from streams.clickhouse import Store
from streams.dispatch import LoopWork
from streams.intake import Intake
from streams.join import JoinWork
from streams.locate_reader import LocateReader
from streams.locate_sender import LocateSender
from streams.shard_store import KafkaLog, ShardStore


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """The worker kills itself at the `nth` call of this step: before it, or after it has worked."""

    step: str
    side: str  # "before" or "after"
    nth: int

    def __str__(self) -> str:
        return f"{self.side} {self.step} {self.nth}"

    def as_spec(self) -> dict[str, Any]:
        return asdict(self)


STEPS: Final[dict[str, tuple[type, str]]] = {
    "state": (ShardStore, "put"),  # the manifest of a snapshot, the checkpoint of the archive
    "part": (KafkaLog, "append"),  # a part of a snapshot, a tick
    "log": (KafkaLog, "append_many"),  # the intake's batch
    "look": (KafkaLog, "read_range"),  # catching up
    "parts": (KafkaLog, "read_at"),  # restoring
    "load": (ShardStore, "load"),
    "commit": (LocateReader, "commit"),
    "acked": (Consumer, "_commit_offsets"),  # what Faust commits once a second: what was acknowledged
    "flush": (LocateSender, "put"),
    "insert": (Store, "insert"),
    "frame": (JoinWork, "take"),
    "record": (LoopWork, "take"),
    "input": (Intake, "take"),
}
"""Where a worker can be told to crash. The calls are counted together over all shards and lanes of the process."""

OF_ROLE: Final[dict[str, tuple[str, ...]]] = {
    "locate": ("commit", "flush"),
    "join": ("state", "part", "parts", "load", "frame", "acked"),
    "dispatch": ("state", "part", "log", "look", "parts", "load", "record", "input", "acked"),
    "archive": ("state", "load", "look", "insert", "acked"),
}
_MOST: Final = {"frame": 60, "record": 120, "input": 80, "flush": 25, "insert": 14, "part": 20, "commit": 5}
"""How many calls of a step a short life has, about; three of the rest."""


def draw(chance: random.Random, role: str) -> CrashPoint:
    """A crash point that a worker of this role will probably come to within seconds."""
    steps = OF_ROLE[role] if role in OF_ROLE else tuple(STEPS)
    step = chance.choice(steps)
    return CrashPoint(step, chance.choice(("before", "after")), chance.randint(1, _MOST.get(step, 6)))


def arm(point: CrashPoint) -> None:
    """In the worker, before it starts."""
    of, name = STEPS[point.step]
    real: Callable[..., Any] = getattr(of, name)
    lock, calls = threading.Lock(), 0

    def counted() -> bool:
        nonlocal calls
        with lock:
            calls += 1
            return calls == point.nth

    def die() -> None:
        os.write(2, f"chaos: kill -9 {point}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(real):

        async def awaited(*args: Any, **options: Any) -> Any:
            due = counted()
            if due and point.side == "before":
                die()
            result = await real(*args, **options)
            if due:
                die()
            return result

        setattr(of, name, awaited)
    else:

        def called(*args: Any, **options: Any) -> Any:
            due = counted()
            if due and point.side == "before":
                die()
            result = real(*args, **options)
            if due:
                die()
            return result

        setattr(of, name, called)
