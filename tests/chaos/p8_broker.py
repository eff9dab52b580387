"""P8: the broker is restarted and killed, and the network between it and the worker stalls, delays, loses, cuts.

The worker reaches the broker through a proxy that can be bad (proxy.py); records are sent directly, so that faults meet
the product and not the test. Each trial draws its faults, all kinds before one comes twice, some longer than the
group's session: the worker is then thought dead and comes back to an order that has gone on.

Held against the uninterrupted truth in the end: alerts, incidents, dead letters, history.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from streams.tasks import end
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.chaos_worker import ChaosWorker
from tests.chaos.promises import Given, Outcome
from tests.chaos.proxy import LOOPBACK, Proxy, Weather
from tests.live.support.loop_run import SESSION_S

RECORDS: Final = 2_400
LASTING_S: Final = 40.0
SHORT_LASTING_S: Final = 12.0
PAUSE_S: Final = (0.5, 3.0)  # between faults
WITHIN_S: Final = 180.0
LONG_CUT_S: Final = 50.0
"""Beyond the 40 s for which Kafka's clients wait for an answer; once in a full run, in its first trial."""

Fault = Callable[["_Ground", random.Random], Awaitable[None]]


class _Ground:
    """What faults act on."""

    def __init__(self, broker: LocalKafka, network: Proxy) -> None:
        self.broker = broker
        self.network = network

    async def start_broker(self) -> None:
        await asyncio.to_thread(self.broker.start)
        self.network.target_port = self.broker.proxied_port


async def _stall(ground: _Ground, chance: random.Random) -> None:
    await _weather(ground, Weather.STALL, chance.uniform(0.5, 3 * SESSION_S))


async def _delay(ground: _Ground, chance: random.Random) -> None:
    ground.network.become(Weather.DELAY, delay_s=chance.uniform(0.02, 0.3))
    await asyncio.sleep(chance.uniform(1.0, 4.0))
    ground.network.become(Weather.FINE)


async def _lose_answers(ground: _Ground, chance: random.Random) -> None:
    await _weather(ground, Weather.LOSE_ANSWERS, chance.uniform(0.5, 3.0))


async def _refuse(ground: _Ground, chance: random.Random) -> None:
    await _weather(ground, Weather.REFUSE, chance.uniform(0.5, 2 * SESSION_S))


async def _resets(ground: _Ground, chance: random.Random) -> None:
    for _ in range(chance.randint(2, 8)):
        ground.network.reset()
        await asyncio.sleep(chance.uniform(0.05, 0.6))


async def _restart(ground: _Ground, chance: random.Random) -> None:
    await asyncio.to_thread(ground.broker.stop)
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await ground.start_broker()


async def _kill(ground: _Ground, chance: random.Random) -> None:
    await asyncio.to_thread(ground.broker.kill)
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await ground.start_broker()


FAULTS: Final[dict[str, Fault]] = {
    "stalls": _stall, "delays": _delay, "lost_answers": _lose_answers, "refusals": _refuse, "resets": _resets,
    "broker_restarts": _restart, "broker_kills": _kill,
}  # fmt: skip


async def _weather(ground: _Ground, weather: Weather, lasting_s: float) -> None:
    ground.network.become(weather)
    await asyncio.sleep(lasting_s)
    ground.network.become(Weather.FINE)


def run(given: Given) -> Outcome:
    outcome = Outcome("P8")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own clients see the broker die, too
    with Proxy() as network, LocalClickHouse(given.folder / "clickhouse") as store:
        broker = LocalKafka(given.folder / "kafka", proxy_port=network.port)
        ground = _Ground(broker, network)
        asyncio.run(ground.start_broker())
        try:
            for seed in given.seed_range:
                folder = given.folder / str(seed)
                folder.mkdir()
                problems = asyncio.run(_trial(ground, store.url, folder, seed, outcome, given))
                outcome.tried(seed, problems)
                given.progress(f"seed {seed}: {'held' if not problems else problems[0]}")
        finally:
            broker.stop()
    return outcome


async def _trial(ground: _Ground, store_url: str, folder: Path, seed: int, outcome: Outcome, given: Given) -> list[str]:
    chance = random.Random(seed)
    proxied = f"{LOOPBACK}:{ground.network.port}"
    city = ChaosCity(ground.broker.bootstrap, store_url, f"p8_{seed}", folder, worker_bootstrap=proxied, off=given.off)
    await city.set_up_async()
    records = city.make_records(RECORDS, seed)
    with city.chaos_worker() as worker:
        await worker.reads()
        async with _supervised(worker, outcome):
            sending = asyncio.create_task(city.send(records, lasting_s=SHORT_LASTING_S if given.short else LASTING_S))
            await _break(ground, chance, outcome, sending)
            if not given.short and seed == given.first_seed:
                await _weather(ground, Weather.STALL, LONG_CUT_S)
                outcome.add("long_cuts", 1)
            await sending
            await city.all_settled(within_s=WITHIN_S)
            outcome.add("connections_cut", ground.network.resets)
            ground.network.resets = 0
            return await city.problems()


@contextlib.asynccontextmanager
async def _supervised(worker: ChaosWorker, outcome: Outcome) -> AsyncIterator[None]:
    """Start the worker again when it ends by itself, as whatever runs it in a city does. How often is told."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(0.2)
            if not worker.running:
                outcome.add("workers_started_again", 1)
                worker.start()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        await end(watching)


async def _break(ground: _Ground, chance: random.Random, outcome: Outcome, sending: asyncio.Task[None]) -> None:
    """One fault after the other until everything has been sent."""
    bag: list[str] = []
    while not sending.done():
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        if not bag:
            bag = sorted(FAULTS)
            chance.shuffle(bag)
        name = bag.pop()
        await FAULTS[name](ground, chance)
        outcome.add(name, 1)
