"""The topics as they should be: distinct, prefixed, and set up for what they carry."""

from __future__ import annotations

import pytest

from schemas.sources import Source
from streams.topics import LARGE_MESSAGE_BYTES, TopicNames, TopicSpec, TopicsSettings, topic_specs


def test_all_topics_carry_the_prefix_and_are_distinct() -> None:
    names = [spec.name for spec in topic_specs(TopicsSettings(prefix="sh."))]
    assert all(name.startswith("sh.") for name in names)
    assert len(set(names)) == len(names)


def test_every_name_has_a_spec() -> None:
    names = TopicNames("p.")
    properties = [name for name, kind in vars(TopicNames).items() if isinstance(kind, property)]
    wanted = {getattr(names, name) for name in properties} | {names.raw(source) for source in Source}
    assert {spec.name for spec in topic_specs(TopicsSettings(prefix="p."))} == wanted


def test_topics_are_set_up_for_what_they_carry() -> None:
    names = TopicNames()
    specs = {spec.name: spec for spec in topic_specs(TopicsSettings(shards=5))}
    assert {spec.config["message.timestamp.type"] for spec in specs.values()} == {"LogAppendTime"}
    for name in (names.observations, names.join_state, names.join_blocks):
        assert specs[name].config["max.message.bytes"] == str(LARGE_MESSAGE_BYTES)
        assert specs[name].partitions == 5
        assert not specs[name].growable
    assert specs[names.join_state].config["cleanup.policy"] == "compact"
    assert specs[names.archive_state].config["cleanup.policy"] == "compact"
    assert specs[names.join_blocks].config["retention.ms"] == "-1"


def test_name_that_kafka_would_refuse_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        TopicSpec(name="my topic", partitions=1)
