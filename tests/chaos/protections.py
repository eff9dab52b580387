"""What keeps the promises, each with a way to take it away: to show once that the checks notice.

    python -m tests.chaos --only P1 --off no-token       must fail

README.md records what each of them led to. Where the need for a protection is a matter of a few milliseconds between
two steps, P1 kills there and nowhere else while it is off (`AIMED`): on a busy machine a plan drawn from a seed meets
such a moment once in some dozens of seeds.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tests.chaos.crash_points import CrashPoint
from tests.live.support.small_city import BEHIND


def _steady_clock() -> None:
    """Pauses and idle sources by the wall clock, deadlines too: what jumps with it jumps."""
    from streams import dispatch, locate, raw_batches, steady_clock

    for module in (locate, raw_batches):
        setattr(module, "steady_ms", steady_clock.wall_ms)  # noqa: B010  # a name that the module imported
    setattr(dispatch, "SteadyClock", lambda: steady_clock.wall_ms)  # noqa: B010


def _greatest_arrival() -> None:
    """The bound for the future by each record's own arrival, as if the clock of arrival never went back."""
    from streams import placing

    place = placing.Placer.place

    def forgetful(self: Any, columns: Any, state: Any) -> Any:
        return place(self, columns, msgspec.structs.replace(state, max_arrival_ms=0))

    setattr(placing.Placer, "place", forgetful)  # noqa: B010


def _coverage() -> None:
    """No memory of covered offsets: join and archive take what locate sends again after a crash."""
    from streams.coverage import Coverage

    setattr(Coverage, "overlaps", lambda self, first, last: False)  # noqa: B010


def _no_token() -> None:
    """Each attempt to insert a batch has a token of its own: what is done again is in twice. (Without any token
    ClickHouse still knows a block by its sum.)"""
    from streams.clickhouse import Store

    insert = Store.insert

    def another(self: Any, table: str, rows: Any, *, token: str | None = None) -> None:
        insert(self, table, rows, token=uuid.uuid4().hex)

    setattr(Store, "insert", another)  # noqa: B010


def _known_ids() -> None:
    """The archive does not ask which records ClickHouse has."""
    from streams import archive_loop_records, archive_records

    for module in (archive_records, archive_loop_records):
        for name in [name for name in vars(module) if name.startswith("_known_")]:
            setattr(module, name, lambda _store, _records: [])


def _commit_after_frames() -> None:
    """locate commits what it has read at once, not when its frames, which go out a little later, are acknowledged."""
    from streams.locate_sender import LocateSender

    put, deliver = LocateSender.put, LocateSender._deliver_frames

    def commit_first(self: Any, flush: Any) -> None:
        put(self, flush)
        if flush.commits:
            self.committing = asyncio.ensure_future(self._commit(flush.commits))

    async def later(self: Any, topic: str, frames: Any) -> None:
        await asyncio.sleep(0.2)
        await deliver(self, topic, frames)

    setattr(LocateSender, "put", commit_first)  # noqa: B010
    setattr(LocateSender, "_deliver_frames", later)  # noqa: B010


def _alerts_before_snapshot() -> None:
    """A snapshot is durable, and its events acknowledged, before what follows from them is sent."""
    from streams.shard_runner import ShardRunner

    async def take(self: Any, run: Any, payload: bytes, offset: int) -> None:
        outgoing = run.work.take(payload, offset)
        run.next_offset = offset + 1
        run.unsent.append(outgoing)

    async def write(self: Any, run: Any, captured: Any, unsent: Any, events: Any) -> None:
        if await run.work.write(captured):
            for event in events:
                event.ack()
        for outgoing in unsent:
            for message in outgoing:
                await (await self._sender.send(*message))

    setattr(ShardRunner, "_take", take)  # noqa: B010
    setattr(ShardRunner, "_write", write)  # noqa: B010


def _ack_after_snapshot() -> None:
    """An event is acknowledged when it is taken in, and what lies behind the snapshot is not read again."""
    from streams.shard_runner import ShardRunner

    handle = ShardRunner.handle

    async def ack_at_once(self: Any, event: Any) -> None:
        await handle(self, event)
        event.ack()

    async def no_catch_up(self: Any, run: Any, until: int) -> None:
        run.next_offset = until

    setattr(ShardRunner, "handle", ack_at_once)  # noqa: B010
    setattr(ShardRunner, "_catch_up", no_catch_up)  # noqa: B010


def _intake_order() -> None:
    """The intake acknowledges what it has taken in, and writes it to the log a little later."""
    from streams.intake import Intake

    write = Intake._write

    async def ack_first(self: Any) -> None:
        for entry in self._waiting:
            entry.event.ack()
        await asyncio.sleep(3.0)  # until that is committed
        await write(self)

    setattr(Intake, "_write", ack_first)  # noqa: B010


def _loop_repeats() -> None:
    """The loop does not know an input again by its place."""
    from streams.loop_core import LoopCore

    setattr(LoopCore, "_is_duplicate", lambda self, record: False)  # noqa: B010


def _lateness() -> None:
    """The watermark is not committed with the offset: after a restart lateness is judged afresh."""
    from streams.placing import WatermarkState

    setattr(WatermarkState, "decode", classmethod(lambda cls, text: cls()))  # noqa: B010


def _claims() -> None:
    """An owner that has been declared dead writes as if it had not: one key for all, no claim is looked for."""
    from streams.shard_claim import ShardClaim

    async def unasked(self: Any, key: str, payload: bytes | None) -> bool:
        if payload is not None:  # there is no other key to clear away
            await self._store.put(self._shard, self._name, payload)
        return True

    setattr(ShardClaim, "_write", unasked)  # noqa: B010


def _slowest_partition() -> None:
    """A shard's watermark is that of its fastest raw partition, not of its slowest."""
    from streams.raw_progress import RawProgress

    def fastest(self: Any) -> int | None:
        return max((p.watermark_ms for p in self.partitions.values() if p.watermark_ms is not None), default=None)

    setattr(RawProgress, "_minimum", fastest)  # noqa: B010


def _future_bound() -> None:
    """A record from the year 2099 is believed."""
    from streams import placing

    made = placing.Placer.__init__

    def believing(self: Any, *given: Any, **named: Any) -> None:
        made(self, *given, **{**named, "future_bound_ms": 2**60})

    setattr(placing.Placer, "__init__", believing)  # noqa: B010


def _bad_record() -> None:
    """What the reference decoder refuses is an error like any other."""
    from schemas import decode as reference
    from streams import decode

    def settle_slow(self: Any, row: int, payload: bytes | None, zone: Any) -> None:
        self._slow_rows.append(reference.decode(self.source, payload, zone))
        self._slow.append(row)

    setattr(decode._Work, "settle_slow", settle_slow)  # noqa: B010


def _dead_letter() -> None:
    """Every hundredth dead letter is forgotten."""
    from streams import decode

    add = decode._Work._add_letter

    def forgetful(self: Any, error: Any, offset: int, payload: Any, at_ms: int) -> None:
        if offset % 100 != 99:
            add(self, error, offset, payload, at_ms)

    setattr(decode._Work, "_add_letter", forgetful)  # noqa: B010


def _batch_bytes() -> None:
    """A batch may unpack to any size."""
    from streams import decode

    setattr(decode, "MOST_BATCH_BYTES", 2**31)  # noqa: B010


def _part_checksum() -> None:
    """Parts of the join's snapshots without a checksum: what decodes is believed."""
    from streams import snapshots

    setattr(snapshots, "checksum", lambda _message: 0)  # noqa: B010  # a name that the module imported


OFF: Final[dict[str, Callable[[], None]]] = {
    "steady-clock": _steady_clock,
    "greatest-arrival": _greatest_arrival,
    "future-bound": _future_bound,
    "bad-record": _bad_record,
    "dead-letter": _dead_letter,
    "batch-bytes": _batch_bytes,
    "coverage": _coverage,
    "no-token": _no_token,
    "known-ids": _known_ids,
    "commit-after-frames": _commit_after_frames,
    "alerts-before-snapshot": _alerts_before_snapshot,
    "ack-after-snapshot": _ack_after_snapshot,
    "intake-order": _intake_order,
    "loop-repeats": _loop_repeats,
    "lateness": _lateness,
    "claims": _claims,
    "part-checksum": _part_checksum,
    "slowest-partition": _slowest_partition,
}


SENT_WITHIN_S: Final = 6.0


@dataclass(frozen=True, slots=True)
class Aim:
    """The role that must be killed for the lack of a protection to show, the steps at which, one in each life, and
    settings (by section) that leave the time for it."""

    victim: str
    points: tuple[CrashPoint, ...]
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sent_within_s: float = SENT_WITHIN_S
    """The records, so that each life has some."""
    behind: float = BEHIND
    """The share of records that come too late."""


_NO_SNAPSHOT: Final = {"join": {"snapshot_every_s": 60.0}}
AIMED: Final[Mapping[str, Aim]] = {
    # later calls are of what was acknowledged
    "commit-after-frames": Aim("locate", (CrashPoint("commit", "after", 1),) * 3),
    "lateness": Aim("locate", (CrashPoint("commit", "after", 2),) * 6, sent_within_s=25.0, behind=0.1),
    "coverage": Aim("locate", tuple(CrashPoint("commit", "before", nth) for nth in (2, 1, 2))),
    "ack-after-snapshot": Aim("join", (CrashPoint("acked", "after", 1),) * 3, _NO_SNAPSHOT),
    "intake-order": Aim("dispatch", (CrashPoint("log", "before", 1),) * 3),
    "loop-repeats": Aim("dispatch", (CrashPoint("log", "after", 1),) * 2),  # what people do most of all
    "known-ids": Aim("archive", tuple(CrashPoint("insert", "after", nth) for nth in (3, 4, 5))),
    "no-token": Aim("archive", tuple(CrashPoint("insert", "after", nth) for nth in (1, 2, 3))),
}
"""Where P1 strikes while one of these is off."""


def take_away(names: Iterable[str]) -> None:
    """In a worker, before it starts."""
    for name in names:
        OFF[name]()
