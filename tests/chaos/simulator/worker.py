"""A worker in the simulation: deploy.worker's own composition of the roles, over the scripted services."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

import deploy.worker
from deploy.config import TongguanConfig
from deploy.lifetimes import all_started
from detectors.contract import Detector
from schemas.errors import TongguanError
from schemas.incident_types import IncidentTypes, load_incident_types
from schemas.kinds import built_in_kinds
from tests.chaos.simulator import city
from tests.chaos.simulator.faust_app import SimApp
from tests.chaos.simulator.process import Process

if TYPE_CHECKING:
    import faust

ROLES = ("locate", "join", "dispatch", "archive")


class SimConfig(TongguanConfig):
    """The configuration of a run. What a real worker reads from files at its start is read once."""

    def incident_types(self) -> IncidentTypes:
        return incident_types()

    def load_city(self) -> Any:
        return city.city()


incident_types = cache(load_incident_types)


class SimWorker(deploy.worker._Worker):
    """One life of a worker, from its start to its end, its crash or its death."""

    def __init__(
        self, process: Process, config: SimConfig, roles: Sequence[str], detectors: tuple[Detector[Any], ...]
    ) -> None:
        super().__init__(config, roles, detectors)
        self._shards = city.shards()
        self._kinds = built_in_kinds()
        self._process = process
        self._stop = asyncio.Event()
        self.runs = False
        """Whether it has started all that it is for."""

    async def run(self) -> None:
        try:
            await self._run()
        except (TongguanError, KafkaError) as problem:
            self._process.ended(f"status 1: {problem}")
        except BaseException as problem:
            self._process.world.trace.crashed(self._process.name, "worker", problem)
            self._process.ended(f"status 1: {problem!r}")
        else:
            self._process.ended("as asked to")

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            producer = await stack.enter_async_context(self._producer(self._stop))
            if self._stop.is_set():
                return
            bulk_producer = await stack.enter_async_context(self._producer(self._stop))
            services = await all_started(stack, self._parts(producer, bulk_producer))
            self._process.world.trace.say(f"{self._process.name} runs {', '.join(self._roles)}")
            self.runs = True
            try:
                await self._watch(services, self._stop)
            except deploy.worker.WorkerStopped as problem:
                if problem.__cause__ is not None:
                    self._process.world.trace.crashed(self._process.name, str(problem), problem.__cause__)
                raise

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._stop.set()

    def _app(self, role: str, partitions: int, **options: Any) -> faust.App:
        kafka = self._config.kafka
        app: Any = SimApp(
            self._group(role), **({"broker_session_timeout": kafka.session_timeout_s} | _COMMITS | options)
        )
        return app  # type: ignore[no-any-return]


_COMMITS = {"broker_commit_interval": 1.0}
