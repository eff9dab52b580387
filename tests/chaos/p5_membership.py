"""P5: workers join and leave every few seconds under load: politely, by kill -9, and frozen until they are given up.

One seed is one city and three workers with all roles, in an hour's traffic within a minute. Every other second or so
one of them is asked to stop, killed, or frozen (SIGSTOP, as a paused virtual machine) for up to four session timeouts
and thawed beside its successor: a zombie, which goes on in the middle of whatever it was doing. What is down comes up
again. People act meanwhile. Sources count as idle after three seconds here, and none ever is: whoever calls one so was
away himself.

A worker that ends by itself counts against the promise, unless it says that another has taken over.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.campaign import Stage, run_seeds
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.chaos_worker import ChaosWorker
from tests.chaos.lives import complaints
from tests.chaos.promises import Given, Outcome
from tests.live.support.loop_run import SESSION_S
from tests.live.support.small_city import Record

WORKERS: Final = 3
LASTING_S: Final = 60.0
SHORT_LASTING_S: Final = 14.0
PER_S: Final = 200.0  # records
EVENT_PER_S: Final = 24.0  # records in a second of event time: eight times as fast as the clock
IDLE_AFTER_MS: Final = 3_000
WORKED: Final = 4  # incidents at a time
TRIES: Final = 3
"""A feed that this machine held up for half of `IDLE_AFTER_MS` proves nothing; then the seed is tried again."""


def run(given: Given) -> Outcome:
    return run_seeds(given, "P5", trial, at_once=1 if given.short else 2)


async def trial(stage: Stage, seed: int) -> list[str]:
    problems: list[str] = []
    for number in range(TRIES):
        problems, pause_s = await _try(stage, seed, number)
        if pause_s * 1000 < IDLE_AFTER_MS / 2 or not problems:
            return problems
        stage.note(seed, f"the feed was held up for {pause_s:.1f} s")
        stage.outcome.add("held_up", 1)
    return problems


async def _try(stage: Stage, seed: int, number: int) -> tuple[list[str], float]:
    chance = random.Random(seed)
    city = stage.city(seed, f"t{number}", overrides={"locate": {"idle_after_ms": IDLE_AFTER_MS}})
    await city.set_up_async()
    lasting_s = SHORT_LASTING_S if stage.given.short else LASTING_S
    records = city.make_records(int(lasting_s * PER_S), seed, per_s=EVENT_PER_S)
    crowd = _Crowd([city.chaos_worker(f"t{number}w{at}") for at in range(WORKERS)], chance)
    try:
        await crowd.begin()
        over = asyncio.Event()
        changing = asyncio.create_task(crowd.come_and_go(over))
        acting = asyncio.create_task(_act(city, chance, over))
        pause_s = await _feed(city, records)
        over.set()
        await asyncio.gather(changing, acting)
        await crowd.all_up()
        await city.all_settled()
        problems = await city.problems(frozen=True)
        for worker in crowd.workers:
            problems += complaints(worker)
    finally:
        crowd.end()
    for words in crowd.befell:
        stage.note(seed, words)
    for name, count in crowd.counts.items():
        stage.outcome.add(name, count)
    if not problems:
        await asyncio.to_thread(city.tear_down)
    return problems, pause_s


@dataclass
class _Crowd:
    """The workers, and who of them is up, down or frozen."""

    workers: Sequence[ChaosWorker]
    chance: random.Random
    befell: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: {"stopped": 0, "killed": 0, "frozen": 0, "zombies": 0, "ended": 0}
    )
    _up: set[int] = field(default_factory=set)
    _frozen: dict[int, float] = field(default_factory=dict)  # until when, by the event loop's clock
    _began: float = field(default_factory=time.monotonic)

    async def begin(self) -> None:
        for worker in self.workers:
            worker.start()
        self._up = set(range(len(self.workers)))
        await asyncio.gather(*(worker.says("running on") for worker in self.workers))

    async def come_and_go(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await asyncio.sleep(self.chance.uniform(0.5, 2.5))
            await self._thaw(due_only=True)
            self._look_after_the_ended()
            down = [at for at in range(len(self.workers)) if at not in self._up]
            if down and self.chance.random() < 0.6:
                self._start(self.chance.choice(down))
                continue
            at = self.chance.randrange(len(self.workers))
            if at not in self._up or at in self._frozen:
                continue
            await self._change(at, self.chance.choices(("stopped", "killed", "frozen"), (2, 3, 5))[0])

    async def all_up(self) -> None:
        await self._thaw(due_only=False)
        self._look_after_the_ended()
        for at in set(range(len(self.workers))) - self._up:
            self._start(at)

    def end(self) -> None:
        for worker in self.workers:
            worker.kill_if_running()
        self.counts["zombies"] = sum(
            worker.log.count("claimed by another owner") + worker.log.count("another owner has claimed")
            for worker in self.workers
        )

    async def _change(self, at: int, way: str) -> None:
        worker = self.workers[at]
        self.counts[way] += 1
        if way == "frozen":
            for_s = self.chance.uniform(0.5, 4.0) * SESSION_S
            self._frozen[at] = time.monotonic() + for_s
            worker.freeze()
            self._note(at, f"frozen for {for_s:.1f} s")
        elif way == "killed":
            worker.kill()
            self._up.discard(at)
            self._note(at, "killed")
        else:
            worker.ask_to_stop()
            status = await asyncio.to_thread(worker.exit_status)
            self._up.discard(at)
            self._note(at, f"stopped with status {status}")
            unheard = status == -signal.SIGTERM and not worker.log_of_this_life  # it had not come to listening yet
            assert status == 0 or unheard, (
                f"worker {at} was asked to stop and ended with {status}:\n{worker.log[-4_000:]}"
            )

    async def _thaw(self, *, due_only: bool) -> None:
        for at, until in list(self._frozen.items()):
            if due_only and time.monotonic() < until:
                continue
            await asyncio.sleep(max(0.0, until - time.monotonic()))
            self.workers[at].thaw()
            del self._frozen[at]
            self._note(at, "thawed")

    def _look_after_the_ended(self) -> None:
        """As whoever manages the workers would."""
        for at in list(self._up - self._frozen.keys()):
            if not self.workers[at].running:
                status = self.workers[at].exit_status()
                self._note(at, f"ended by itself with status {status}")
                self.counts["ended"] += 1
                self._up.discard(at)

    def _start(self, at: int) -> None:
        self.workers[at].start()
        self._up.add(at)
        self._note(at, "started")

    def _note(self, at: int, words: str) -> None:
        self.befell.append(f"{time.monotonic() - self._began:5.1f} s: worker {at} {words}")


async def _feed(city: ChaosCity, records: Sequence[Record]) -> float:
    """Send at an even pace; the longest time that nothing went out."""
    longest_s, last = 0.0, time.monotonic()
    began = last
    async with city.producer() as producer:
        waiting = []
        for number, record in enumerate(records):
            waiting.append(
                await producer.send(
                    city.names.raw(record.source), record.value, partition=record.partition,
                    key=b"tombstone" if record.value is None else None,
                )
            )  # fmt: skip
            city.sent.append(record)
            now = time.monotonic()
            longest_s, last = max(longest_s, now - last), now
            ahead_s = number / PER_S - (now - began)
            if ahead_s > 0.02:
                await asyncio.sleep(ahead_s)
        await asyncio.gather(*waiting)
    return longest_s


async def _act(city: ChaosCity, chance: random.Random, over: asyncio.Event) -> None:
    """People take some incidents from beginning to end, again and again; each incident once."""
    worked: set[str] = set()
    while not over.is_set():
        found = [one for one in await city.incidents_to_work(10_000, chance) if one not in worked][:WORKED]
        worked.update(found)
        await city.act(city.work_on(found), lasting_s=0.5)
        await asyncio.sleep(1.0)
