"""The Kafka topics: their names, partition counts and settings, and the administration that makes a broker match.

`apply` creates what is missing, changes what can be changed without moving or losing a record, reports the rest as
drift, and never deletes. Running it twice changes nothing the second time.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, for_code
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import BrokerError
from schemas.sources import Source

MAX_NAME_LENGTH: Final = 249
"""Kafka's own limit for a topic name."""
LARGE_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Frames and snapshots are single messages; 16 MiB holds a flush of some 200,000 observations."""
SMALL_SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""Compaction skips the open segment; a small one keeps what a restart must read small (Kafka's default is 1 GiB)."""
DAY_MS: Final = 86_400_000


class BrokerAway(BrokerError):
    """No Kafka broker answered: the same request may succeed later. A refusal is a plain BrokerError."""


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
    raw_config = {
        # retention and latency count from arrival; event time lives in the payload and may be years old
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": _days(settings.raw_retention_days),
    }
    large = {"max.message.bytes": str(LARGE_MESSAGE_BYTES)}
    compacted = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(SMALL_SEGMENT_BYTES),
    }
    alert_config = {"message.timestamp.type": "LogAppendTime", "retention.ms": _days(settings.alerts_retention_days)}
    raw_partitions = {
        Source.READINGS: settings.readings_partitions,
        Source.CAMERA_EVENTS: settings.camera_events_partitions,
        Source.TICKETS: settings.tickets_partitions,
    }

    def spec(name: str, partitions: int, config: Mapping[str, str], *, growable: bool = False) -> TopicSpec:
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


class Change(StrEnum):
    """What `compare` found about a topic, and whether `apply` can do something about it."""

    CREATE = "create"
    CONFIG = "config"
    GROW = "grow"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between the broker and a spec. Change.DRIFT needs a person; the others `apply` settles."""

    topic: str
    change: Change
    setting: str
    wanted: str
    found: str
    hint: str = ""

    def __str__(self) -> str:
        if self.change is Change.CREATE:
            return f"{self.topic}: missing; wanted with {self.wanted}"
        text = f"{self.topic}: {self.setting} is {self.found}, wanted {self.wanted}"
        return f"{text}; {self.hint}" if self.hint else text


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did, and the drift that it must leave to a person."""

    done: tuple[Difference, ...]
    drift: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as the broker describes it; `config` has every setting, defaults included."""

    partitions: int
    config: Mapping[str, str]


def compare(specs: Sequence[TopicSpec], found: Mapping[str, FoundTopic]) -> list[Difference]:
    """All differences, in the order of the specs. Pure."""
    differences: list[Difference] = []
    for spec in specs:
        topic = found.get(spec.name)
        if topic is None:
            wanted = f"{spec.partitions} partition{'s' if spec.partitions != 1 else ''}"
            differences.append(Difference(spec.name, Change.CREATE, "topic", wanted, "missing"))
            continue
        if topic.partitions != spec.partitions:
            differences.append(_partition_difference(spec, topic.partitions))
        differences.extend(
            Difference(spec.name, Change.CONFIG, key, value, topic.config.get(key, "not set"))
            for key, value in spec.config.items()
            if topic.config.get(key) != value
        )
    return differences


def inspect(
    bootstrap: str, specs: Sequence[TopicSpec], *, options: Mapping[str, Any] | None = None, timeout_s: float = 10.0
) -> list[Difference]:
    """Compare the broker with the specs and change nothing. Raises BrokerAway."""
    with admin_client(bootstrap, options=options, timeout_s=timeout_s) as admin:
        return compare(specs, _describe(admin, specs))


def apply(
    bootstrap: str, specs: Sequence[TopicSpec], *, options: Mapping[str, Any] | None = None, timeout_s: float = 10.0
) -> Applied:
    """Make the broker match the specs as far as that is safe. `options` are kafka-python's security settings.

    Raises BrokerAway, or BrokerError when the broker refuses a change (the message says which and why).
    """
    by_name = {spec.name: spec for spec in specs}
    done: list[Difference] = []
    drift: list[Difference] = []
    with admin_client(bootstrap, options=options, timeout_s=timeout_s) as admin:
        for difference in compare(specs, _describe(admin, specs)):
            if difference.change is Change.DRIFT:
                drift.append(difference)
                continue
            _settle(admin, by_name[difference.topic], difference)
            done.append(difference)
        created = [difference.topic for difference in done if difference.change is Change.CREATE]
        admin.wait_for_topics(created, timeout_ms=int(timeout_s * 1000))
    return Applied(tuple(done), tuple(drift))


def partition_counts(
    bootstrap: str, *, options: Mapping[str, Any] | None = None, timeout_s: float = 10.0
) -> dict[str, int]:
    """Every topic on the broker with its number of partitions, Kafka's internal ones left out. Raises BrokerAway."""
    with admin_client(bootstrap, options=options, timeout_s=timeout_s) as admin:
        return {
            topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics() if not topic["is_internal"]
        }


@contextmanager
def admin_client(
    bootstrap: str, *, options: Mapping[str, Any] | None = None, timeout_s: float = 10.0
) -> Iterator[KafkaAdminClient]:
    """A connected administration client. Kafka's errors come out as BrokerAway or BrokerError, with a hint."""
    check_reachable(bootstrap)
    timeout_ms = int(timeout_s * 1000)
    admin: KafkaAdminClient | None = None
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap.split(","),
            client_id="tongguan-admin",
            bootstrap_timeout_ms=timeout_ms,
            request_timeout_ms=timeout_ms,
            **(options or {}),
        )
        yield admin
    except (KafkaConnectionError, KafkaTimeoutError) as error:
        raise BrokerAway(
            f"kafka at {bootstrap}: no answer in {timeout_s:g} s ({error}); "
            "does the port belong to Kafka, and do kafka.security_protocol and the credentials fit?"
        ) from error
    except KafkaError as error:
        raise BrokerError(f"kafka at {bootstrap}: {error}") from error
    finally:
        if admin is not None:
            admin.close()


def check_reachable(bootstrap: str, *, timeout_s: float = 3.0) -> None:
    """Raise BrokerAway unless some address of the list accepts a connection.

    Kafka's clients retry a dead address until their time is up and then say only that; a plain connect answers at
    once with the reason.
    """
    reasons = []
    for address in bootstrap.split(","):
        host, colon, port = address.strip().rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            reasons.append(f"{address.strip()!r} is not host:port")
            continue
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
        except OSError as error:
            reasons.append(f"{address.strip()}: {(error.strerror or str(error)).lower()}")
        else:
            return
    raise BrokerAway(
        f"kafka: no broker reachable ({'; '.join(reasons)}); start one with `tongguan up`, "
        "or set kafka.bootstrap (environment TONGGUAN_KAFKA) to a running one"
    )


def _partition_difference(spec: TopicSpec, found: int) -> Difference:
    grow = spec.growable and found < spec.partitions
    if grow:
        hint = ""
    elif found > spec.partitions and spec.growable:
        hint = "harmless, Kafka cannot remove partitions; set the count in the configuration to what is there"
    else:
        hint = "not changed: records and state are placed by partition; set the count to what is there, or use a prefix"
    change = Change.GROW if grow else Change.DRIFT
    return Difference(spec.name, change, "partitions", str(spec.partitions), str(found), hint)


def _describe(admin: KafkaAdminClient, specs: Sequence[TopicSpec]) -> dict[str, FoundTopic]:
    wanted = {spec.name for spec in specs}
    # every topic is listed, not only the wanted: asking a broker for a missing name may create it
    partitions = {
        topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics() if topic["name"] in wanted
    }
    if not partitions:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in partitions]
    configs = admin.describe_configs(resources, config_filter="all").get("topic", {})
    return {
        name: FoundTopic(
            partitions=count,
            config={key: entry["value"] for key, entry in configs.get(name, {}).items() if entry["value"] is not None},
        )
        for name, count in partitions.items()
    }


def _settle(admin: KafkaAdminClient, spec: TopicSpec, difference: Difference) -> None:
    match difference.change:
        case Change.CREATE:
            wanted = {
                "num_partitions": spec.partitions,
                "replication_factor": spec.replication,
                "configs": dict(spec.config),
            }
            answer = admin.create_topics({spec.name: wanted}, raise_errors=False)["topics"][0]
            if answer["error_code"] != TopicAlreadyExistsError.errno:  # else another worker was faster
                _check_answer(f"create {spec.name}", answer["error_code"], answer["error_message"])
        case Change.CONFIG:
            resource = ConfigResource(ConfigResourceType.TOPIC, spec.name, {difference.setting: difference.wanted})
            said = admin.alter_configs([resource], raise_on_unknown=False)["topic"][spec.name]
            if said != "OK":
                raise BrokerError(
                    f"kafka refused to set {difference.setting}={difference.wanted} on {spec.name}: {said}"
                )
        case Change.GROW:
            result = admin.create_partitions({spec.name: spec.partitions}, raise_errors=False).results[0]
            _check_answer(f"grow {spec.name} to {spec.partitions}", result.error_code, result.error_message)
        case Change.DRIFT:
            raise ValueError(f"drift is reported, never settled: {difference}")


def _check_answer(what: str, error_code: int, message: str | None) -> None:
    if error_code:
        raise BrokerError(f"kafka refused to {what}: {message or for_code(error_code).__name__}")


def _days(days: float) -> str:
    return str(int(days * DAY_MS))
