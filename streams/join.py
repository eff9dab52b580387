"""The join's agent: frames from `observations` through the pure join of their shard, alerts out, snapshots.

The way of a frame, recovery and acknowledgement are those of every shard (streams/shard_runner.py); a frame is taken in
by `JoinWork`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import faust

from schemas.alert import Alert, encode_alert
from schemas.errors import FrameError
from streams import metrics
from streams.agents import Sender, build_agents
from streams.join_core import JoinSettings, JoinShard
from streams.shard_runner import Outgoing, ShardRunner
from streams.shard_store import Log
from streams.snapshots import Captured, Snapshots

log = logging.getLogger(__name__)

MANY_CELLS: Final = 2_000  # from here on state is copied in a thread, while the event loop serves the other shards


class JoinWork:
    """The join of one shard, as the runner sees it."""

    def __init__(self, core: JoinShard, snapshots: Snapshots, alerts: str) -> None:
        self.label = str(core.shard)
        self._core = core
        self._snapshots = snapshots
        self._alerts = alerts

    async def restore(self) -> int | None:
        began = time.monotonic()
        next_offset = await self._snapshots.read(self._core)
        if next_offset is not None:
            log.info(
                "join shard %s: restored %d cells in %.1f s, going on at offset %d",
                self.label, self._core.slots.count, time.monotonic() - began, next_offset,
            )  # fmt: skip
        return next_offset

    def take(self, payload: bytes, offset: int) -> list[Outgoing]:
        try:
            alerts = self._core.process(payload)
        except FrameError as error:
            # only locate writes here: a foreign or damaged message is not worth stopping the city for, but is told
            log.error("join: passing over offset %d of shard %s: %s", offset, self.label, error)
            metrics.BAD_FRAMES.inc()
            alerts = []
        self._count(alerts)
        return [Outgoing(self._alerts, encode_alert(alert), alert.key) for alert in alerts]

    async def capture(self, next_offset: int) -> Captured:
        cells = self._core.slots.count
        metrics.ACTIVE_CELLS.labels(self.label).set(cells)
        if cells < MANY_CELLS:
            return self._snapshots.capture(self._core, next_offset)
        return await asyncio.to_thread(self._snapshots.capture, self._core, next_offset)

    async def write(self, captured: Captured) -> bool:
        return await self._snapshots.write(captured)

    def gone(self, first: int, last: int) -> None:
        metrics.GONE_MESSAGES.labels("observations").inc(last + 1 - first)
        log.error(
            "join shard %s: frames %d to %d are gone from Kafka and in no snapshot; alerts of their time may be "
            "missing, windows and standing alerts are rebuilt from what there is - raise the retention of observations",
            self.label, first, last,
        )  # fmt: skip

    def forget(self) -> None:
        metrics.ACTIVE_CELLS.remove(self.label)

    def _count(self, alerts: list[Alert]) -> None:
        counts = self._core.take_counts()
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
        for end_ms, count in Counter(alert.window_end_ms for alert in alerts).items():
            since_event.observe_many(max(0.0, now_s - end_ms / 1000), count)
        since_arrival.observe_many(max(0.0, now_s - self._core.arrived_ms / 1000), len(alerts))


class JoinRunner(ShardRunner[Captured]):
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
        super().__init__(
            observations,
            lambda shard: JoinWork(make_core(shard), make_snapshots(shard), alerts),
            sender=sender,
            log_=log_,
            snapshot_every_s=settings.snapshot_every_s,
        )


def build_join(app: faust.App, runner: JoinRunner, observations: str) -> None:
    """Put the join's agent into a Faust app that has nothing else."""
    build_agents(
        app,
        {"join": observations},
        runner.handle,
        tick=runner.snapshot_due,
        revoked=lambda partitions: runner.forget(shard for _, shard in partitions),
    )
