"""The join's agent: frames from `observations` through the pure join of their shard, alerts out, snapshots.

Faust gives partitions and events; correctness does not rest on its acknowledgements. A shard goes on from the offset
that its snapshot names: frames that it already contains are passed over, and frames between the snapshot and the first
event that Faust delivers are read from the topic directly. An event is acknowledged once a snapshot that contains it is
durable, so in the ordinary case Faust starts where the snapshot ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import faust

from schemas.alert import Alert, encode_alert
from schemas.errors import FrameError, TongguanError
from streams import metrics
from streams.agents import Event, Sender, build_agents
from streams.join_core import JoinSettings, JoinShard
from streams.shard_store import Log
from streams.snapshots import Captured, Snapshots

log = logging.getLogger(__name__)

CATCH_UP_FRAMES: Final = 16  # read at once when going on from a snapshot; a frame may be megabytes


@dataclass(slots=True)
class ShardRun:
    """One shard in this worker's hands, from the first event after its assignment to its revocation."""

    core: JoinShard
    snapshots: Snapshots
    next_offset: int | None = None  # None: not restored yet
    alive: bool = True  # False once the shard is another's: nothing is told, stored or acknowledged any more
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  # a snapshot must not see half of a frame's alerts
    unacked: list[Event] = field(default_factory=list)
    unsent: list[Awaitable[Any]] = field(default_factory=list)
    writing: asyncio.Task[None] | None = None
    written_at: float = field(default_factory=time.monotonic)  # when the last snapshot was taken; age and pacing only


class JoinRunner:
    """Takes frames shard by shard. `make_core` and `make_snapshots` give the empty pieces of a shard."""

    def __init__(
        self,
        *,
        observations: str,
        alerts: str,
        make_core: Callable[[int], JoinShard],
        make_snapshots: Callable[[int], Snapshots],
        sender: Sender,
        log_: Log,
        settings: JoinSettings,
    ) -> None:
        self._observations = observations
        self._alerts = alerts
        self._make_core = make_core
        self._make_snapshots = make_snapshots
        self._sender = sender
        self._log = log_
        self._settings = settings
        self._runs: dict[int, ShardRun] = {}
        self._closing = False

    async def handle(self, event: Event) -> None:
        """Take in the frame of one event. The event is acknowledged later, with the snapshot that contains it."""
        shard, offset = event.message.partition, event.message.offset
        if self._closing:
            return
        run = self._runs.get(shard)
        if run is None:
            run = self._runs[shard] = ShardRun(self._make_core(shard), self._make_snapshots(shard))
        async with run.busy:
            try:
                await self._join(run, event, offset)
            except TongguanError:
                if run.alive:
                    raise  # else its new owner has moved what we were reading

    async def _join(self, run: ShardRun, event: Event, offset: int) -> None:
        if run.next_offset is None:
            await self._recover(run)
        assert run.next_offset is not None
        if run.alive and offset > run.next_offset:
            await self._catch_up(run, offset)
        if run.alive and offset >= run.next_offset:
            await self._take(run, event.value, offset)
        event.value = event.message.value = None  # up to megabytes, and it waits for its acknowledgement
        run.unacked.append(event)
        await self._snapshot_when_due(run)

    async def snapshot_due(self) -> None:
        """Snapshots of shards to which nothing comes any more: what they have taken in shall not be replayed, nor
        stand as lag. Called about once a second."""
        for run in list(self._runs.values()):
            if run.unacked and not run.busy.locked():
                async with run.busy:
                    await self._snapshot_when_due(run)

    def forget(self, shards: Iterable[int]) -> None:
        """Another worker has these shards now (or we get them again later, from the snapshot).

        A frame that is being taken in goes no further: a snapshot by us could name blocks that the new owner deletes.
        """
        for shard in shards:
            run = self._runs.pop(shard, None)
            if run is not None:
                run.alive = False
                if run.writing is not None:
                    run.writing.cancel()
                for gauge in (metrics.ACTIVE_CELLS, metrics.SNAPSHOT_AGE, metrics.SNAPSHOT_BYTES):
                    gauge.remove(str(shard))

    async def close(self) -> None:
        """Take no more frames, and write a last snapshot of every shard: the next start has little to replay."""
        self._closing = True
        await asyncio.gather(*(self._close(run) for run in list(self._runs.values())))

    async def _close(self, run: ShardRun) -> None:
        async with run.busy:
            await self._written(run)
            if run.alive and run.unacked:
                self._begin_snapshot(run)
                await self._written(run)

    # --- recovery --------------------------------------------------------------------------------------------------

    async def _recover(self, run: ShardRun) -> None:
        began = time.monotonic()
        next_offset = await run.snapshots.read(run.core)
        run.next_offset = next_offset or 0
        if next_offset is not None:
            log.info(
                "join shard %d: restored %d cells in %.1f s, going on at offset %d",
                run.core.shard, run.core.slots.count, time.monotonic() - began, next_offset,
            )  # fmt: skip

    async def _catch_up(self, run: ShardRun, until: int) -> None:
        """Frames between the snapshot and the first event: acknowledged by an owner that did not live to snapshot."""
        shard = run.core.shard
        assert run.next_offset is not None
        log.info("join shard %d: reading frames %d to %d again", shard, run.next_offset, until - 1)
        for first in range(run.next_offset, until, CATCH_UP_FRAMES):
            last = min(first + CATCH_UP_FRAMES, until) - 1
            for message in await self._log.read_range(self._observations, shard, first, last):
                if message.value is not None and run.alive:
                    await self._take(run, message.value, message.offset)
            if not run.alive:
                return
        run.next_offset = until

    # --- the way of a frame ----------------------------------------------------------------------------------------

    async def _take(self, run: ShardRun, frame: bytes, offset: int) -> None:
        try:
            alerts = run.core.process(frame)
        except FrameError as error:
            # only locate writes here: a foreign or damaged message is not worth stopping the city for, but is told
            log.error("join: passing over %s:%d:%d: %s", self._observations, run.core.shard, offset, error)
            metrics.BAD_FRAMES.inc()
            alerts = []
        run.next_offset = offset + 1
        for alert in alerts:
            run.unsent.append(await self._sender.send(self._alerts, encode_alert(alert), alert.key))
        self._count(run, alerts)

    def _count(self, run: ShardRun, alerts: list[Alert]) -> None:
        counts = run.core.take_counts()
        metrics.ROWS.labels("joined").inc(counts.joined)
        metrics.DUPLICATE_ROWS.inc(counts.duplicate)
        for topic, late in counts.late.items():
            metrics.LATE_RECORDS.labels(topic, "join").inc(late)
        if not alerts:
            return
        now_s = time.time()
        since_event, since_arrival = (metrics.ALERT_LATENCY.labels(since) for since in ("event", "arrival"))
        for (detector, action), count in Counter((alert.detector, alert.action) for alert in alerts).items():
            metrics.ALERTS.labels(detector, action).inc(count)
        for alert in alerts:
            since_event.observe(max(0.0, now_s - alert.window_end_ms / 1000))
            since_arrival.observe(max(0.0, now_s - run.core.arrived_ms / 1000))

    # --- snapshots -------------------------------------------------------------------------------------------------

    async def _snapshot_when_due(self, run: ShardRun) -> None:
        if not run.alive:
            return
        if run.writing is not None and run.writing.done():
            run.writing.result()  # a snapshot that cannot be written must stop the worker, not pile up events
            run.writing = None
        age_s = time.monotonic() - run.written_at
        metrics.SNAPSHOT_AGE.labels(str(run.core.shard)).set(age_s)
        if age_s < self._settings.snapshot_every_s:
            return
        if run.writing is None:
            self._begin_snapshot(run)
        elif age_s > 10 * self._settings.snapshot_every_s:
            # Kafka is slower than the stream: wait rather than hold ever more unacknowledged events
            await self._written(run)

    async def _written(self, run: ShardRun) -> None:
        """Wait until the snapshot being written is durable. One that was cancelled with its shard is no error."""
        if run.writing is not None:
            await asyncio.wait([run.writing])
            if run.alive:
                run.writing.result()

    def _begin_snapshot(self, run: ShardRun) -> None:
        assert run.next_offset is not None
        captured = run.snapshots.capture(run.core, run.next_offset)
        events, run.unacked = run.unacked, []
        unsent, run.unsent = run.unsent, []
        run.written_at = time.monotonic()
        metrics.ACTIVE_CELLS.labels(str(run.core.shard)).set(run.core.slots.count)
        run.writing = asyncio.create_task(self._write(run, captured, unsent, events))

    async def _write(
        self, run: ShardRun, captured: Captured, unsent: list[Awaitable[Any]], events: list[Event]
    ) -> None:
        began = time.monotonic()
        for sent in unsent:
            await sent  # an alert that is not durable must be found again by a restart
        await run.snapshots.write(captured)
        for event in events:
            event.ack()
        metrics.SNAPSHOT_SECONDS.observe(time.monotonic() - began)
        metrics.SNAPSHOT_BYTES.labels(str(run.core.shard)).set(captured.size)


def build_join(app: faust.App, runner: JoinRunner, observations: str) -> None:
    """Put the join's agent into a Faust app that has nothing else."""
    build_agents(
        app,
        {"join": observations},
        runner.handle,
        tick=runner.snapshot_due,
        revoked=lambda partitions: runner.forget(shard for _, shard in partitions),
    )
