"""Makes a broker's topics match what they should look like (`topics.py`).

`apply` creates what is missing, changes what can be changed without moving or losing a record, reports the rest as
drift, and never deletes. Running it twice changes nothing the second time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, for_code

from schemas.errors import BrokerError
from streams.topics import TopicSpec


class BrokerAway(BrokerError):
    """No Kafka broker answered: the same request may succeed later. A refusal is a plain BrokerError."""


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
