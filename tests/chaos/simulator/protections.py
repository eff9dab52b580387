"""What keeps the promises, each with a way to switch it off: to show that the checks notice.

Each entry says which part of the design it is, in which plays it is needed, and takes it away while its context is
open. `python -m tests.chaos.simulator --protections` runs seeds against each until one fails; test_simulated.py holds
that all of them do.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import numpy as np

import streams.archive
import streams.archive_core
import streams.archive_frame_lane
import streams.archive_lane
import streams.clickhouse
import streams.dispatch
import streams.faust_transport
import streams.intake
import streams.join
import streams.locate
import streams.locate_reader
import streams.steady_clock
import streams.urgent
from streams.agents import Event, build_agents
from streams.archive_frame_lane import FrameLane
from streams.archive_lane import Lane
from streams.coverage import Coverage
from streams.flush import Commit, Flush
from streams.footing import Footing
from streams.intake import Intake
from streams.locate import LocateService
from streams.locate_core import Locator
from streams.locate_reader import LocateReader
from streams.locate_sender import LocateSender
from streams.loop_core import LoopCore
from streams.placing import WatermarkState
from streams.raw_progress import RawProgress
from streams.shard_claim import ShardClaim
from streams.shard_runner import ShardRun, ShardRunner
from streams.shard_store import KafkaLog
from tests.chaos.simulator.faust_app import SimApp
from tests.chaos.simulator.substitutes import SimUuid

Off = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Protection:
    """`what` is taken away; `plays` are those where it is needed, `odds` (faults.ODDS) what makes the need likely."""

    name: str
    what: str
    off: Off
    plays: tuple[str, ...]
    odds: str = "all"


@contextmanager
def switched_off(names: Iterable[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(PROTECTIONS[name].off())
        yield


# --- locate ----------------------------------------------------------------------------------------------------------


def _commits_before_acknowledgement() -> AbstractContextManager[object]:
    deliver = LocateSender._deliver_frames

    async def begun(self: LocateSender, topic: str, frames: Sequence[Any]) -> None:
        self._urgent.append(asyncio.create_task(deliver(self, topic, frames)))
        await asyncio.sleep(0)

    async def run(self: LocateSender) -> None:
        while True:
            flush: Flush = await self._queue.get()
            self._room.set()
            for frame in flush.frames:
                await begun(self, self._names.observations, [frame])
            for frame in flush.tickets:
                await begun(self, self._names.placed_tickets, [frame])
            if flush.dead_letters:
                await self._deliver_letters(flush.dead_letters)
            self._uncommitted.update(flush.commits)
            await self._commit_now()
            self._queue.task_done()

    return patch.object(LocateSender, "_run", run)


def _no_watermark_in_commits() -> AbstractContextManager[object]:
    commits = Locator._commits

    def without(self: Locator) -> dict[Any, Commit]:
        return {key: Commit(commit.offset, WatermarkState().encode()) for key, commit in commits(self).items()}

    return patch.object(Locator, "_commits", without)


def _frames_out_of_order() -> AbstractContextManager[object]:
    deliver = LocateSender._deliver_frames

    async def reversed_(self: LocateSender, topic: str, frames: Sequence[Any]) -> None:
        await deliver(self, topic, list(reversed(frames)))

    return patch.object(LocateSender, "_deliver_frames", reversed_)


def _begins_where_the_consumer_stands() -> AbstractContextManager[object]:
    begin = LocateReader._begin

    async def standing(consumer: Any, tp: Any) -> tuple[int, WatermarkState]:
        if await consumer.committed(tp) is None and (there := consumer.standing(tp)) is not None:
            return int(there[0]), WatermarkState()
        return await begin(consumer, tp)

    return patch.object(LocateReader, "_begin", staticmethod(standing))


def _revoked_partitions_stay_ours() -> AbstractContextManager[object]:
    async def nothing(self: Any, revoked: Iterable[Any]) -> None: ...

    return patch.object(streams.locate_reader._Listener, "on_partitions_revoked", nothing)


def _the_wall_clock_paces() -> AbstractContextManager[object]:
    return patch.object(streams.locate, "steady_ms", streams.steady_clock.wall_ms)


def _flushes_over_an_error() -> AbstractContextManager[object]:
    in_thread = LocateService._in_thread

    async def still_sound(self: LocateService, work: Callable[[], Any], then: Any = None) -> Any:
        try:
            return await in_thread(self, work, then)
        finally:
            self._sound = True

    return patch.object(LocateService, "_in_thread", still_sound)


# --- the shell of Faust's apps ---------------------------------------------------------------------------------------


def _faust_goes_on_after_an_error() -> AbstractContextManager[object]:
    """What Faust does by itself: acknowledge, and start the agent anew behind the event."""

    def build(app: Any, agents: Any, take: Callable[[Event], Awaitable[None]], **options: Any) -> None:
        async def forgiving(event: Event) -> None:
            try:
                await take(event)
            except Exception:
                event.ack()

        build_agents(app, agents, forgiving, **options)

    stack = ExitStack()
    for module in (streams.archive, streams.dispatch, streams.intake, streams.join, streams.urgent):
        stack.enter_context(patch.object(module, "build_agents", build))
    return stack


def _faust_seeks_as_it_does() -> AbstractContextManager[object]:
    async def seek(self: Any) -> Any:
        return await self._ensure_consumer().seek_to_committed()

    return patch.object(streams.faust_transport._Thread, "_seek_to_committed", seek)


def _every_message_counts() -> AbstractContextManager[object]:
    stack = ExitStack()
    stack.enter_context(patch.object(Footing, "mark", lambda self, generation: generation))
    stack.enter_context(patch.object(Footing, "counts", lambda self, mark, generation: True))
    stack.enter_context(patch.object(SimApp, "stops_to_seek", False))
    return stack


# --- join ------------------------------------------------------------------------------------------------------------


def _join_forgets_what_it_covered() -> AbstractContextManager[object]:
    return patch.object(RawProgress, "coverage", lambda self, key: Coverage())


def _snapshot_before_alerts() -> AbstractContextManager[object]:
    write = ShardRunner._write

    async def at_once(
        self: ShardRunner[Any], run: ShardRun[Any], captured: Any, unsent: list[Any], events: list[Any]
    ) -> None:
        await write(self, run, captured, [], events)

    return patch.object(ShardRunner, "_write", at_once)


def _acknowledged_at_once_and_no_catching_up() -> AbstractContextManager[object]:
    handle = ShardRunner._handle

    async def acknowledged(self: ShardRunner[Any], run: ShardRun[Any], event: Any, offset: int) -> None:
        await handle(self, run, event, offset)
        event.ack()

    async def skip(self: ShardRunner[Any], run: ShardRun[Any], until: int) -> None:
        run.next_offset = until

    stack = ExitStack()
    stack.enter_context(patch.object(ShardRunner, "_handle", acknowledged))
    stack.enter_context(patch.object(ShardRunner, "_catch_up", skip))
    return stack


def _snapshot_after_an_error() -> AbstractContextManager[object]:
    take = ShardRunner._take

    async def still_sound(self: ShardRunner[Any], run: ShardRun[Any], payload: bytes, offset: int) -> None:
        try:
            await take(self, run, payload, offset)
        finally:
            run.sound = True

    return patch.object(ShardRunner, "_take", still_sound)


# --- loop ------------------------------------------------------------------------------------------------------------


def _intake_acknowledges_at_once() -> AbstractContextManager[object]:
    take = Intake.take

    async def acknowledged(self: Intake, event: Any) -> None:
        await take(self, event)
        event.ack()

    return patch.object(Intake, "take", acknowledged)


def _log_in_any_order() -> AbstractContextManager[object]:
    append_many = KafkaLog.append_many

    async def shuffled(self: KafkaLog, topic: str, partition: int, values: Sequence[bytes]) -> None:
        mixed = list(values)
        random.Random(len(values)).shuffle(mixed)
        await append_many(self, topic, partition, mixed)

    return patch.object(KafkaLog, "append_many", shuffled)


def _loop_takes_repeats() -> AbstractContextManager[object]:
    return patch.object(LoopCore, "_is_duplicate", lambda self, record: False)


# --- owners ----------------------------------------------------------------------------------------------------------


def _claims_do_not_count() -> AbstractContextManager[object]:
    write = ShardClaim._write

    async def always(self: ShardClaim, key: str, payload: bytes | None) -> bool:
        await write(self, key, payload)
        return True

    return patch.object(ShardClaim, "_write", always)


# --- archive ---------------------------------------------------------------------------------------------------------


def _archive_forgets_what_it_covered() -> AbstractContextManager[object]:
    return patch.object(
        streams.archive_core, "_known", lambda batch, header, covered: np.zeros(batch.num_rows, dtype=np.bool_)
    )


def _no_plan() -> AbstractContextManager[object]:
    put = FrameLane._put

    async def only_when_done(self: FrameLane, checkpoint: Any) -> bool:
        return await put(self, checkpoint) if checkpoint.done else True

    return patch.object(FrameLane, "_put", only_when_done)


def _another_token_each_time() -> AbstractContextManager[object]:
    def insert_all(store: Any, rows: Any, token: str) -> bool:
        for name, table in rows.tables.items():
            store.insert(name, table, token=SimUuid.uuid4().hex)
        return True

    return patch.object(streams.archive_frame_lane, "_insert_all", insert_all)


def _token_not_for_the_roll_up() -> AbstractContextManager[object]:
    settings = dict(streams.clickhouse.INSERT_SETTINGS)
    settings.pop("deduplicate_blocks_in_dependent_materialized_views")
    return patch.object(streams.clickhouse, "INSERT_SETTINGS", settings)


def _acknowledged_before_it_is_in() -> AbstractContextManager[object]:
    accept = Lane.accept

    async def acknowledged(self: Lane, delivery: Any) -> None:
        delivery.ack()
        await accept(self, delivery)

    return patch.object(Lane, "accept", acknowledged)


def _waits_for_a_broker_that_refuses() -> AbstractContextManager[object]:
    class Never(Exception):
        """Nothing raises it."""

    return patch.object(streams.archive_lane, "BrokerRefused", Never)


_ALL: Final = (
    Protection(
        "commit-after-acks", "raw offsets are committed only when the frames are acknowledged",
        _commits_before_acknowledgement, ("street",), "kills",
    ),
    Protection(
        "watermark-in-commit", "the watermark goes with the raw offset, so that lateness is judged as before",
        _no_watermark_in_commits, ("street",), "kills",
    ),
    Protection("frames-in-order", "frames of a shard go one after the other", _frames_out_of_order, ("street",)),
    Protection(
        "first-record", "a raw partition without a commit begins at its first record, whatever was handed out",
        _begins_where_the_consumer_stands, ("street",), "lags",
    ),
    Protection(
        "give-back", "partitions that go are sent, committed and forgotten first", _revoked_partitions_stay_ours,
        ("street",), "members",
    ),
    Protection(
        "steady-clock", "flushes are paced by a clock that nobody sets", _the_wall_clock_paces, ("street",), "clocks"
    ),
    Protection(
        "coverage-in-join", "the join drops raw offsets that it has covered", _join_forgets_what_it_covered,
        ("street",), "kills",
    ),
    Protection(
        "alerts-before-snapshot", "a snapshot is written when the alerts before it are acknowledged",
        _snapshot_before_alerts, ("street",), "producers",
    ),
    Protection(
        "snapshot-before-ack", "frames are acknowledged with a snapshot, and read again from where it ends",
        _acknowledged_at_once_and_no_catching_up, ("street",), "kills",
    ),
    Protection(
        "intake-before-ack", "an input is acknowledged when it is in the loop's log", _intake_acknowledges_at_once,
        ("loop",), "kills",
    ),
    Protection("order-of-log", "inputs of a partition stand in their order", _log_in_any_order, ("loop",)),
    Protection(
        "repeats-in-loop", "the loop knows an input again by its place", _loop_takes_repeats, ("loop",), "kills"
    ),
    Protection("claims", "an owner that was frozen notices that another has claimed its shard", _claims_do_not_count,
               ("history",), "zombies"),
    Protection(
        "coverage-in-archive", "the archive drops raw offsets that it has covered", _archive_forgets_what_it_covered,
        ("history",), "kills",
    ),
    Protection("plan-before-insert", "a batch is planned before it is inserted", _no_plan, ("history",), "store"),
    Protection(
        "token-of-plan", "a batch that is done again has the token of its plan", _another_token_each_time,
        ("history",), "store",
    ),
    Protection(
        "token-for-roll-up", "the token counts for the roll-up, too", _token_not_for_the_roll_up, ("history",), "store"
    ),
    Protection(
        "insert-before-ack", "records are acknowledged when they are in ClickHouse", _acknowledged_before_it_is_in,
        ("history", "loop"), "kills",
    ),
    Protection(
        "sound-locator", "locate gives nothing more out after an error in the middle of its work",
        _flushes_over_an_error, ("street",), "errors",
    ),
    Protection(
        "sound-shard", "a shard whose message was interrupted by an error is not stored",
        _snapshot_after_an_error, ("street", "loop"), "errors",
    ),
    Protection(
        "error-ends", "a worker whose agent fails ends, and acknowledges nothing more", _faust_goes_on_after_an_error,
        ("street", "loop", "history"), "errors",
    ),
    Protection(
        "first-message", "where nothing is committed, Faust's consumer goes back to the first message",
        _faust_seeks_as_it_does, ("street", "loop"), "members",
    ),
    Protection(
        "footing", "what was fetched before the consumer has gone back is neither handed on nor acknowledged",
        _every_message_counts, ("loop", "history"), "recovery",
    ),
    Protection(
        "refused-ends", "a worker whose producer is refused for good ends", _waits_for_a_broker_that_refuses,
        ("history",), "producers",
    ),
)  # fmt: skip
PROTECTIONS: Final[Mapping[str, Protection]] = {protection.name: protection for protection in _ALL}
