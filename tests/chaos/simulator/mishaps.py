"""Errors that are raised instead of a process dying: by a piece of the product, before or after it has worked, and by
a service in its answer.

A worker must come through either way: it ends in order and is started again, or goes on; and nothing is lost, told in
two ways or counted twice. A dead process runs no `finally` and no orderly stop; one in which something was raised runs
them all, in the middle of whatever it was doing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from aiokafka.errors import KafkaError, NotLeaderForPartitionError, RequestTimedOutError, TopicAuthorizationFailedError

import streams.archive_frame_lane
import streams.urgent
from streams.archive import Archive
from streams.archive_core import ShardArchive
from streams.archive_frame_lane import FrameLane
from streams.decode import Decoder
from streams.dispatch import LoopWork, Ticker
from streams.dispatch_snapshots import LoopSnapshots
from streams.intake import Intake
from streams.join import JoinWork
from streams.join_core import JoinShard
from streams.locate_core import Locator
from streams.locate_reader import LocateReader
from streams.locate_sender import LocateSender
from streams.loop_core import LoopCore
from streams.shard_claim import ShardClaim
from streams.shard_runner import ShardRunner
from streams.shard_store import KafkaLog
from streams.snapshots import Snapshots
from tests.chaos.simulator.process import PROCESS
from tests.chaos.simulator.producer import SimProducer


class Mishap(Exception):
    """Something that nobody expected: a bug, a full disk, no memory."""


def is_mishap(problem: BaseException | None) -> bool:
    """Whether it is one, or follows from one: all that a task group gathered, or what it was raised from."""
    if isinstance(problem, BaseExceptionGroup):
        return all(is_mishap(one) for one in problem.exceptions)
    return problem is not None and (isinstance(problem, Mishap) or is_mishap(problem.__cause__))


ANSWERS: Final[tuple[type[KafkaError], ...]] = (
    RequestTimedOutError, NotLeaderForPartitionError, TopicAuthorizationFailedError,
)  # fmt: skip
"""What Kafka may say: the first two go by, the last does not."""

PIECES: Final[tuple[tuple[type | ModuleType, str], ...]] = (
    (Decoder, "decode"), (Locator, "feed"), (Locator, "_frame"), (Locator, "flush"), (Locator, "advance"),
    (LocateReader, "adopt"), (LocateReader, "is_next"), (LocateReader, "commit"), (LocateReader, "poll"),
    (LocateSender, "put"), (LocateSender, "_deliver_frames"), (LocateSender, "_deliver_letters"),
    (LocateSender, "_deliver"), (LocateSender, "_commit_now"),
    (JoinShard, "process"), (JoinWork, "take"), (JoinWork, "capture"), (Snapshots, "write"), (Snapshots, "read"),
    (ShardRunner, "_take"), (ShardRunner, "_catch_up"), (ShardRunner, "_write"), (ShardRunner, "snapshot_due"),
    (ShardClaim, "take"), (ShardClaim, "put"), (SimProducer, "send"), (SimProducer, "send_batch"),
    (KafkaLog, "append"), (KafkaLog, "append_many"), (KafkaLog, "read_range"), (KafkaLog, "read_at"),
    (Intake, "take"), (Intake, "_read_single"), (Intake, "_read_frame"), (Intake, "_write"), (Intake, "_bury"),
    (LoopCore, "apply"), (LoopWork, "take"), (LoopWork, "capture"), (LoopSnapshots, "write"), (LoopSnapshots, "read"),
    (Ticker, "_tick"), (streams.urgent, "urgent_alerts"),
    (Archive, "take"), (Archive, "flush_due"), (ShardArchive, "offer"), (ShardArchive, "plan"),
    (ShardArchive, "finish"), (FrameLane, "_put"), (FrameLane, "_insert"), (FrameLane, "_open"),
    (streams.archive_frame_lane, "make_rows"), (streams.archive_frame_lane, "_insert_all"),
)  # fmt: skip
"""Where something may be raised: steps between which an order counts."""


def name_of(of: type | ModuleType, name: str) -> str:
    return f"{of.__name__.rpartition('.')[2]}.{name}"


@dataclass(slots=True)
class Trip:
    """Raises at the nth call of a piece from now on, before it works or after."""

    piece: str
    left: int
    after: bool


def tripping(of: type | ModuleType, name: str) -> Callable[..., Any]:
    """The piece, with a look at the faults of its world before and after."""
    real: Callable[..., Any] = getattr(of, name)
    piece = name_of(of, name)

    def look(after: bool) -> None:
        process = PROCESS.get()
        if process is not None and process.world.faults.trips:
            process.world.faults.trip(process, piece, after=after)

    if inspect.iscoroutinefunction(real):

        @functools.wraps(real)
        async def awaited(*args: Any, **options: Any) -> Any:
            look(False)
            result = await real(*args, **options)
            look(True)
            return result

        return awaited

    @functools.wraps(real)
    def called(*args: Any, **options: Any) -> Any:
        look(False)
        result = real(*args, **options)
        look(True)
        return result

    return called
