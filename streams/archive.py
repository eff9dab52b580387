"""The archive's Faust app: observations, alerts, the loop's records and dead letters into ClickHouse, each row once.

It wants an app of its own (own consumer group): when ClickHouse is away it stops consuming, and in Faust a full buffer
of one topic can hold up every topic of the app. Alerts must not wait for that.

Faust gives partitions and messages. What is in is decided by checkpoints and ids (archive_core, archive_records), not
by committed offsets: a message that comes twice is passed over, frames that were skipped are read from the topic.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import faust
from faust.types import TP

from streams import archive_loop_records, archive_records
from streams.agents import Event, build_agents
from streams.archive_core import ArchiveSettings
from streams.archive_frame_lane import FrameLane
from streams.archive_lane import Delivery, Lane
from streams.archive_record_lane import RecordLane
from streams.clickhouse import StoreThread
from streams.shard_store import Log, ShardStore
from streams.topics import TopicNames

TICK_S: Final = 0.1  # how often waiting batches are looked at
FETCH_BYTES: Final = 4 * 1024 * 1024  # per partition and fetch; a larger frame still comes, alone
LONGEST_OUTAGE_S: Final = 7 * 86_400.0  # while ClickHouse is away nothing is polled, and the group must bear that


def archive_app_options(settings: ArchiveSettings) -> dict[str, Any]:
    """The options that a Faust app needs for `build_archive` to keep its promises."""
    return {
        "stream_wait_empty": False,  # acknowledgements are explicit; True would hold a rebalance up for an outage
        "stream_buffer_maxsize": settings.buffer_frames,
        "consumer_max_fetch_size": FETCH_BYTES,
        "consumer_auto_offset_reset": "earliest",
        "broker_max_poll_records": max(1, settings.buffer_frames // 2),
        "broker_max_poll_interval": LONGEST_OUTAGE_S,
        "broker_commit_interval": 1.0,
        "topic_disable_leader": True,
    }


class Archive:
    """The lanes of the partitions that this worker has now."""

    def __init__(
        self,
        settings: ArchiveSettings,
        names: TopicNames,
        *,
        store: StoreThread,
        state: ShardStore,
        log_: Log,
        begin_of: Callable[[str, int], Awaitable[int]],
        zone: ZoneInfo,
        end_of: Callable[[str, int], int | None] = lambda topic, partition: None,
    ) -> None:
        self.names = names
        self._begin_of = begin_of
        self._end_of = end_of
        self._settings = settings
        self._store = store
        self._state = state
        self._log = log_
        self._lanes: dict[tuple[str, int], Lane] = {}
        insert_loop = archive_loop_records.insert_new(zone)
        self._records: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
            names.alerts: (archive_records.read_alert, archive_records.insert_new),
            names.dead_letters: (archive_records.read_dead_letter, archive_records.insert_new),
            names.incidents: (archive_loop_records.read_incident, insert_loop),
            names.notifications: (archive_loop_records.read_notification, insert_loop),
            names.actions: (archive_loop_records.read_action, insert_loop),
        }

    async def take(self, event: Event) -> None:
        """Hand the event to its lane; returns when there is room for the next. Acknowledged when durable."""
        message = event.message
        lane = self._lane(message.topic, message.partition)  # now: after a wait the partition may be another's
        end = self._end_of(message.topic, message.partition)
        is_last = end is not None and message.offset + 1 >= end
        delivery = Delivery(message.offset, event.value, int(message.timestamp * 1000), event.ack, is_last)
        event.value = message.value = None  # up to megabytes; the lane lets go of them as soon as they are in
        await lane.accept(delivery)
        await self._make_room()

    async def flush_due(self) -> None:
        """Write the batches that have waited long enough."""
        for lane in list(self._lanes.values()):
            await lane.flush_if_due(time.monotonic())

    async def flush(self) -> None:
        """Write everything in hand, for an orderly stop; waits as long as ClickHouse makes it wait."""
        for lane in list(self._lanes.values()):
            await lane.flush()

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """These are another worker's now, or come again from what is checkpointed."""
        for topic, partition in list(partitions):
            lane = self._lanes.pop((topic, partition), None)
            if lane is not None:
                lane.revoke()

    def begin_anew(self, partitions: Iterable[tuple[str, int]]) -> None:
        """After each division of the group all that is ours comes from its committed offset on, and an event that was
        on its way while it was being divided has got a lane that nobody would ever take away."""
        self.forget(self._lanes)

    async def _make_room(self) -> None:
        """Write the largest batch while those of all shards together are more than may wait: a worker has few shards or
        sixty, and the memory of one."""
        lanes = self._lanes.values()
        while sum(lane.waiting_bytes for lane in lanes) > self._settings.waiting_bytes:
            largest = max(lanes, key=lambda lane: lane.waiting_bytes)
            await largest.flush()

    def _lane(self, topic: str, partition: int) -> Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = self._new_lane(topic, partition)
        return lane

    def _new_lane(self, topic: str, partition: int) -> Lane:
        if topic == self.names.observations:
            return FrameLane(
                topic, partition, self._store, self._settings,
                state=self._state, log=self._log, begin=partial(self._begin_of, topic, partition),
            )  # fmt: skip
        read, insert_new = self._records[topic]
        return RecordLane(topic, partition, self._store, self._settings, read=read, insert_new=insert_new)


def build_archive(
    app: faust.App,
    settings: ArchiveSettings,
    *,
    names: TopicNames,
    store: StoreThread,
    state: ShardStore,
    log_: Log,
    begin_of: Callable[[str, int], Awaitable[int]],
    zone: ZoneInfo,
) -> Archive:
    """Put the archive's agents into an app that has nothing else and was made with `archive_app_options`.

    `state` is on topic `archive-state`, `log_` reads observations, `begin_of` says where the app's group begins with a
    partition, by its commits (BrokerError: ask again), `zone` is for times that are written without one.
    The tables must be there (`apply_migrations`); while they are not, the archive waits and says so. The caller closes
    `store` after the app has stopped.
    """

    def end_of(topic: str, partition: int) -> int | None:
        end: int | None = app.consumer.highwater(TP(topic, partition))  # as of the last fetch, without asking
        return end

    archive = Archive(settings, names, store=store, state=state, log_=log_, begin_of=begin_of, zone=zone, end_of=end_of)

    agents = {
        "archive-observations": names.observations,
        "archive-alerts": names.alerts,
        "archive-dead-letters": names.dead_letters,
        "archive-incidents": names.incidents,
        "archive-notifications": names.notifications,
        "archive-actions": names.actions,
    }
    build_agents(
        app, agents, archive.take,
        tick=archive.flush_due, tick_every_s=TICK_S, assigned=archive.begin_anew, revoked=archive.forget,
    )  # fmt: skip
    return archive
