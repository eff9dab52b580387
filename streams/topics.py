"""The Kafka topics: their names, partition counts and settings. What makes a broker match is `topic_admin.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.sources import Source

MAX_NAME_LENGTH: Final = 249
"""Kafka's own limit for a topic name."""
LARGE_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Frames and snapshots are single messages; 16 MiB holds a flush of some 200,000 observations."""
SMALL_SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""Compaction skips the open segment; a small one keeps what a restart must read small (Kafka's default is 1 GiB)."""
DAY_MS: Final = 86_400_000


class TopicsSettings(BaseModel):
    """How many partitions each topic gets, under which names, and how long its records stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: Annotated[
        str,
        Field(
            pattern=r"^[a-zA-Z0-9._-]*$",
            max_length=200,
            description="Put before every topic name, e.g. 'shanghai.'; two cities can then share a broker.",
        ),
    ] = ""
    readings_partitions: Annotated[int, Field(ge=1, le=1024, description="Partitions of the raw topic readings.")] = 4
    camera_events_partitions: Annotated[
        int, Field(ge=1, le=1024, description="Partitions of the raw topic camera-events.")
    ] = 4
    tickets_partitions: Annotated[int, Field(ge=1, le=1024, description="Partitions of the raw topic tickets.")] = 4
    shards: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Region shards = partitions of observations. Fixed once data flows: join state lives by shard.",
        ),
    ] = 8
    alerts_partitions: Annotated[
        int, Field(ge=1, le=1024, description="Partitions of alerts, incidents, notifications and actions.")
    ] = 4
    replication: Annotated[
        int, Field(ge=-1, le=9, description="Copies of each partition; -1 takes the broker's default.")
    ] = -1
    raw_retention_days: Annotated[float, Field(gt=0, description="How long raw records stay on Kafka.")] = 7.0
    observations_retention_days: Annotated[float, Field(gt=0, description="How long observations stay on Kafka.")] = 3.0
    alerts_retention_days: Annotated[
        float, Field(gt=0, description="How long alerts and dead letters stay on Kafka; ClickHouse keeps them longer.")
    ] = 30.0


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The topic names under one prefix; the only place that puts the two together."""

    prefix: str = ""

    def raw(self, source: Source) -> str:
        return self.prefix + source.topic

    @property
    def observations(self) -> str:
        return self.prefix + "observations"

    @property
    def alerts(self) -> str:
        return self.prefix + "alerts"

    @property
    def dead_letters(self) -> str:
        return self.prefix + "dead-letters"

    @property
    def join_state(self) -> str:
        return self.prefix + "join-state"

    @property
    def join_open(self) -> str:
        return self.prefix + "join-open"

    @property
    def join_blocks(self) -> str:
        return self.prefix + "join-blocks"

    @property
    def archive_state(self) -> str:
        return self.prefix + "archive-state"

    @property
    def urgent_tickets(self) -> str:
        return self.prefix + "urgent-tickets"

    @property
    def placed_tickets(self) -> str:
        return self.prefix + "placed-tickets"

    @property
    def actions(self) -> str:
        return self.prefix + "actions"

    @property
    def ticks(self) -> str:
        return self.prefix + "ticks"

    @property
    def loop(self) -> str:
        return self.prefix + "loop"

    @property
    def incidents(self) -> str:
        return self.prefix + "incidents"

    @property
    def notifications(self) -> str:
        return self.prefix + "notifications"

    @property
    def loop_state(self) -> str:
        return self.prefix + "loop-state"

    @property
    def loop_parts(self) -> str:
        return self.prefix + "loop-parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What one topic should look like on the broker. `config` holds Kafka's own names and string values."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    growable: bool = False
    """Whether more partitions may be added to a topic that holds data: only where no state or order hangs on them."""
    replication: int = -1

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-zA-Z0-9._-]+", self.name) or len(self.name) > MAX_NAME_LENGTH:
            raise ValueError(
                f"topic name {self.name!r}: expected 1 to {MAX_NAME_LENGTH} letters, digits, '.', '_' or '-'"
            )


def topic_specs(settings: TopicsSettings) -> tuple[TopicSpec, ...]:
    """All topics of Tongguan under these settings, raw topics first."""
    names = TopicNames(settings.prefix)
    copies = settings.replication
    # Retention and latency count from arrival; event time lives in the payload and may be years old. And a broker
    # refuses what a producer whose clock has jumped ahead says, from an hour on: of our own topics, too, it says itself
    arrival = {"message.timestamp.type": "LogAppendTime"}
    raw_config = {"retention.ms": _days(settings.raw_retention_days)}
    large = {"max.message.bytes": str(LARGE_MESSAGE_BYTES)}
    compacted = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(SMALL_SEGMENT_BYTES),
    }
    alert_config = {"retention.ms": _days(settings.alerts_retention_days)}
    raw_partitions = {
        Source.READINGS: settings.readings_partitions,
        Source.CAMERA_EVENTS: settings.camera_events_partitions,
        Source.TICKETS: settings.tickets_partitions,
    }

    def spec(name: str, partitions: int, config: Mapping[str, str], *, growable: bool = False) -> TopicSpec:
        config = {**arrival, **config}
        return TopicSpec(name=name, partitions=partitions, config=config, growable=growable, replication=copies)

    return (
        *(spec(names.raw(source), count, raw_config, growable=True) for source, count in raw_partitions.items()),
        spec(
            names.observations,
            settings.shards,
            large | {"retention.ms": _days(settings.observations_retention_days)},
        ),
        spec(names.alerts, settings.alerts_partitions, alert_config),
        spec(names.dead_letters, settings.alerts_partitions, alert_config, growable=True),
        spec(names.join_state, settings.shards, large | compacted),
        # the join deletes from the head of these two itself, as far as no snapshot needs them
        spec(names.join_open, settings.shards, large | {"cleanup.policy": "delete", "retention.ms": "-1"}),
        spec(names.join_blocks, settings.shards, large | {"cleanup.policy": "delete", "retention.ms": "-1"}),
        spec(names.archive_state, settings.shards, compacted),
        spec(names.urgent_tickets, settings.tickets_partitions, alert_config, growable=True),
        spec(names.placed_tickets, settings.tickets_partitions, large | alert_config, growable=True),
        spec(names.actions, settings.alerts_partitions, alert_config, growable=True),
        spec(names.ticks, 1, alert_config),
        # one partition: the loop's order of events is one order, and all of a city's cases are few records a second
        spec(names.loop, 1, large | alert_config),
        spec(names.incidents, settings.alerts_partitions, alert_config),
        spec(names.notifications, settings.alerts_partitions, alert_config),
        spec(names.loop_state, 1, large | compacted),
        # as with the join's parts: the loop deletes from the head itself
        spec(names.loop_parts, 1, large | {"cleanup.policy": "delete", "retention.ms": "-1"}),
    )


def _days(days: float) -> str:
    return str(int(days * DAY_MS))
