"""Topics: what they should be is data, what differs is found by a pure function, and applying it is idempotent."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient

from schemas.errors import BrokerError
from streams.topic_admin import BrokerAway, Change, FoundTopic, apply, check_reachable, compare, inspect
from streams.topics import TopicSpec, TopicsSettings, topic_specs

SPEC = TopicSpec(name="readings", partitions=4, config={"retention.ms": "1000"}, growable=True)


def found(partitions: int = 4, **config: str) -> dict[str, FoundTopic]:
    settings = {"retention.ms": "1000"} | {key.replace("_", "."): value for key, value in config.items()}
    return {"readings": FoundTopic(partitions, settings)}


def kinds(spec: TopicSpec, topics: dict[str, FoundTopic]) -> list[Change]:
    return [difference.change for difference in compare([spec], topics)]


def test_topic_as_configured_shows_no_difference() -> None:
    assert compare([SPEC], found(cleanup_policy="delete")) == []


def test_missing_topic_is_to_be_created() -> None:
    assert kinds(SPEC, {}) == [Change.CREATE]


def test_other_setting_is_to_be_set() -> None:
    [difference] = compare([SPEC], found(retention_ms="5"))
    assert difference.change is Change.CONFIG
    assert str(difference) == "readings: retention.ms is 5, wanted 1000"


def test_raw_topic_with_too_few_partitions_grows() -> None:
    assert kinds(SPEC, found(partitions=2)) == [Change.GROW]


def test_topic_whose_state_hangs_on_partitions_never_grows() -> None:
    assert kinds(replace(SPEC, growable=False), found(partitions=2)) == [Change.DRIFT]


def test_surplus_partitions_are_reported_since_kafka_cannot_remove_them() -> None:
    assert kinds(SPEC, found(partitions=6)) == [Change.DRIFT]


@pytest.mark.parametrize(
    ("bootstrap", "words"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: connection refused"),
        ("localhost", "'localhost' is not host:port"),
        ("127.0.0.1:1,nowhere.invalid:9092", "nowhere.invalid:9092: "),
    ],
)
def test_broker_that_is_away_is_told_at_once_with_the_reason_and_a_way_out(bootstrap: str, words: str) -> None:
    with pytest.raises(BrokerAway, match="tongguan up") as caught:
        check_reachable(bootstrap)
    assert words in str(caught.value)


def test_port_that_belongs_to_something_else_ends_in_time_with_a_hint() -> None:
    def listen_and_say_nothing() -> None:
        with other.accept()[0]:  # the check that somebody listens
            pass
        with other.accept()[0] as connection:
            while connection.recv(1000):
                pass

    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=listen_and_say_nothing, daemon=True).start()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(BrokerAway, match="does the port belong to Kafka"):
            inspect(address, [SPEC], timeout_s=1.0)


@pytest.fixture
def settings() -> TopicsSettings:
    return TopicsSettings(prefix=f"topics-{uuid4().hex[:8]}.", shards=2)


@pytest.mark.live
def test_applying_creates_everything_and_the_second_time_nothing(kafka: str, settings: TopicsSettings) -> None:
    specs = topic_specs(settings)
    first = apply(kafka, specs)
    assert {difference.topic for difference in first.done} == {spec.name for spec in specs}
    assert all(difference.change is Change.CREATE for difference in first.done)
    second = apply(kafka, specs)
    assert (second.done, second.drift) == ((), ())


@pytest.mark.live
def test_applying_mends_what_it_can_reports_the_rest_and_deletes_nothing(kafka: str, settings: TopicsSettings) -> None:
    apply(kafka, topic_specs(settings))
    changed = settings.model_copy(update={"readings_partitions": 6, "shards": 3, "raw_retention_days": 1.0})
    result = apply(kafka, topic_specs(changed))
    assert ("partitions", "6") in {(done.setting, done.wanted) for done in result.done}
    assert ("retention.ms", "86400000") in {(done.setting, done.wanted) for done in result.done}
    assert {drift.topic for drift in result.drift} >= {f"{settings.prefix}observations", f"{settings.prefix}join-state"}
    assert inspect(kafka, topic_specs(changed)) == list(result.drift)


@pytest.mark.live
def test_comparing_creates_no_topic(kafka: str, settings: TopicsSettings) -> None:
    inspect(kafka, topic_specs(settings))
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    assert not [name for name in admin.list_topics() if name.startswith(settings.prefix)]
    admin.close()


@pytest.mark.live
def test_refusal_of_the_broker_comes_with_its_own_words(kafka: str, settings: TopicsSettings) -> None:
    name = f"{settings.prefix}odd"
    with pytest.raises(BrokerError, match=r"refused to create .*Not a number"):
        apply(kafka, [TopicSpec(name=name, partitions=1, config={"retention.ms": "soon"})])
    with pytest.raises(BrokerError, match="replication factor"):
        apply(kafka, [TopicSpec(name=name, partitions=1, replication=3)])
    apply(kafka, [TopicSpec(name=name, partitions=1)])
    with pytest.raises(BrokerError, match=r"refused to set retention.mss=1"):
        apply(kafka, [TopicSpec(name=name, partitions=1, config={"retention.mss": "1"})])
