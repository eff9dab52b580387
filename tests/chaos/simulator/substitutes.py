"""What stands in the product's modules in place of the world outside while a simulation runs: clocks, random names,
connections. They find the simulation by the process that calls (`PROCESS`), so they are put there once for all runs.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import patch

import clickhouse_connect

import deploy.worker
import streams.archive
import streams.archive_frame_lane
import streams.backlog
import streams.dispatch
import streams.dispatch_snapshots
import streams.group_offsets
import streams.intake
import streams.locate
import streams.locate_sender
import streams.loop_inputs
import streams.shard_runner
import streams.shard_store
import streams.snapshots
from schemas.kinds import load_kinds
from streams.locate import LocateService
from tests.chaos.simulator.clickhouse import sim_client
from tests.chaos.simulator.mishaps import PIECES, tripping
from tests.chaos.simulator.process import PROCESS
from tests.chaos.simulator.producer import SimProducer
from tests.chaos.simulator.raw_consumer import SimRawConsumer
from tests.chaos.simulator.readers import SimAdmin, SimReader

SLOWER: Final[tuple[tuple[ModuleType, str, float], ...]] = (
    (streams.locate, "POLL_MS", 1_000),
    (streams.archive, "TICK_S", 0.5),
    (streams.dispatch, "LOOK_EVERY_S", 0.5),
    (deploy.worker, "WATCH_S", 1.0),
)
"""How often idle work looks around: in virtual time it costs as much as in real time, and finds as little."""

SMALLER: Final[tuple[tuple[ModuleType, str, int], ...]] = (
    (streams.shard_runner, "CATCH_UP_MESSAGES", 2),
    (streams.archive_frame_lane, "BACKFILL_FRAMES", 2),
    (streams.snapshots, "DELETE_EVERY", 3),
    (streams.dispatch_snapshots, "DELETE_EVERY", 3),
    (streams.dispatch_snapshots, "MOVE_BEYOND", 2),
    (streams.intake, "MOST_WAITING", 4),
    (streams.intake, "BATCH_RECORDS", 3),
    (streams.loop_inputs, "TICKETS_IN_RECORD", 2),
    (streams.locate_sender, "LETTERS_AT_ONCE", 1),
)
"""Limits, so that little data reaches them."""


class SimTime:
    """The module `time`, for code that runs in a simulated process; the real one outside of it."""

    @staticmethod
    def monotonic() -> float:
        process = PROCESS.get()
        return time.monotonic() if process is None else process.world.loop.time()

    @staticmethod
    def monotonic_ns() -> int:
        return int(SimTime.monotonic() * 1e9)

    @staticmethod
    def time() -> float:
        return SimTime.time_ns() / 1e9

    @staticmethod
    def time_ns() -> int:
        process = PROCESS.get()
        return time.time_ns() if process is None else process.world.now_ms(process.host.clock_ahead_ms) * 1_000_000

    perf_counter = monotonic


class SimUuid:
    """The module `uuid`: names from the seed."""

    @staticmethod
    def uuid4() -> Any:
        process = PROCESS.get()
        return uuid.uuid4() if process is None else SimpleNamespace(hex=f"{process.world.chance.getrandbits(128):032x}")


async def _closed(_: Any) -> None:
    """There are no connections; and nobody waits in what is left of a process that has died."""


def _nothing(*_: Any, **__: Any) -> None:
    """Kernels are warm, and nobody ends a real process."""


@contextmanager
def installed() -> Iterator[None]:
    """The substitutes are in place."""
    cached_kinds: Callable[..., Any] = cache(load_kinds)
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in ("streams", "deploy") and module is not None:
                if getattr(module, "time", None) is time:
                    stack.enter_context(patch.object(module, "time", SimTime))
                if getattr(module, "uuid", None) is uuid:
                    stack.enter_context(patch.object(module, "uuid", SimUuid))
        for place, name, value in (
            (deploy.worker, "AIOKafkaProducer", SimProducer),
            (deploy.worker, "end_within", _nothing),
            (deploy.worker, "warm_up", _nothing),
            (deploy.worker, "load_kinds", cached_kinds),
            (
                deploy.worker, "LocateService",
                partial(LocateService, make_consumer=cast(Any, SimRawConsumer), make_producer=SimProducer),
            ),
            (streams.locate, "warm_up", _nothing),
            (streams.shard_store, "AIOKafkaConsumer", SimReader),
            (streams.shard_store, "AIOKafkaAdminClient", SimAdmin),
            (streams.group_offsets, "AIOKafkaConsumer", SimReader),
            (streams.group_offsets, "AIOKafkaAdminClient", SimAdmin),
            (streams.group_offsets.GroupOffsets, "close", _closed),
            (streams.backlog, "AIOKafkaConsumer", SimReader),
            (streams.backlog, "AIOKafkaAdminClient", SimAdmin),
            (clickhouse_connect, "get_client", sim_client),
            *SLOWER,
            *SMALLER,
            *((of, name, tripping(of, name)) for of, name in PIECES),
        ):  # fmt: skip
            stack.enter_context(patch.object(place, name, value))
        yield
