"""The state of a shard is the last value of each key; on a log in memory, and how a real one answers trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, TopicAuthorizationFailedError
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import BrokerError
from streams import shard_store
from streams.shard_store import KafkaLog, ShardStore
from tests.support.memory_log import MemoryLog

TOPIC = "archive-state"


async def test_a_shard_nobody_wrote_is_empty() -> None:
    assert await ShardStore(TOPIC, MemoryLog()).load(3) == {}


async def test_load_gives_the_last_value_of_each_key_of_its_own_shard() -> None:
    store = ShardStore(TOPIC, MemoryLog())
    offsets = [await store.put(0, "a", b"1"), await store.put(0, "b", b"2"), await store.put(0, "a", b"3")]
    await store.put(1, "a", b"other shard")
    await store.put(0, "b", None)
    assert offsets == [0, 1, 2]
    assert await store.load(0) == {"a": b"3"}
    assert await store.load(1) == {"a": b"other shard"}


writes = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.binary(max_size=3), st.booleans()), max_size=30)


@given(writes)
@settings(deadline=None)
async def test_compaction_at_any_moment_changes_nothing(sequence: list[tuple[str, bytes | None, bool]]) -> None:
    log, expected = MemoryLog(), dict[str, bytes]()
    store = ShardStore(TOPIC, log)
    for key, value, compact in sequence:
        await store.put(0, key, value)
        expected.pop(key, None)
        if value is not None:
            expected[key] = value
        if compact:
            log.compact(TOPIC, 0)
        assert await store.load(0) == expected


async def test_a_message_without_key_is_not_ours() -> None:
    log = MemoryLog()
    await log.append(TOPIC, 0, b"x")
    with pytest.raises(BrokerError, match="has no key"):
        await ShardStore(TOPIC, log).load(0)


@dataclass
class Done:
    offset: int


class TroubledSender:
    """A producer whose first sends fail."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.sent: list[tuple[Any, ...]] = []

    async def send_and_wait(self, topic: str, value: Any = None, key: Any = None, partition: Any = None) -> Done:
        if self.troubles:
            raise self.troubles.pop(0)
        self.sent.append((topic, partition, key, value))
        return Done(41)

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Awaitable[Done]:
        if self.troubles:
            raise self.troubles.pop(0)
        self.sent.append((topic, partition, batch.closed, batch.values))
        return asyncio.sleep(0, Done(41))


class Batch:
    """A record batch with room for three values."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.closed = False

    def append(self, *, key: None, value: bytes, timestamp: None) -> object | None:
        if len(self.values) == 3:
            return None
        self.values.append(value)
        return object()

    def close(self) -> None:
        self.closed = True


async def test_a_broker_that_is_away_is_waited_for_with_one_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shard_store, "FIRST_PAUSE_S", 0.001)
    sender = TroubledSender(*(KafkaConnectionError() for _ in range(3)))
    assert await ShardStore(TOPIC, KafkaLog("nowhere:1", sender)).put(2, "k", b"v") == 41
    assert sender.sent == [(TOPIC, 2, b"k", b"v")]
    assert len(caplog.records) == 1


async def test_a_batch_that_failed_is_written_again_before_the_one_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_store, "FIRST_PAUSE_S", 0.001)
    sender = TroubledSender(KafkaConnectionError())
    await KafkaLog("nowhere:1", sender).append_many(TOPIC, 2, [b"1", b"2", b"3", b"4"])
    assert sender.sent == [(TOPIC, 2, True, [b"1", b"2", b"3"]), (TOPIC, 2, True, [b"4"])]


async def test_a_batch_that_cannot_be_written_keeps_back_the_ones_behind_it() -> None:
    sender = TroubledSender(TopicAuthorizationFailedError())
    with pytest.raises(BrokerError, match="Authorization"):
        await KafkaLog("nowhere:1", sender).append_many(TOPIC, 2, [b"1", b"2", b"3", b"4"])
    assert sender.sent == []


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (MessageSizeTooLargeError(), "message of 3 bytes is too large"),
        (TopicAuthorizationFailedError(), "Authorization"),
    ],
)
async def test_what_waiting_cannot_help_is_said_at_once(trouble: Exception, words: str) -> None:
    with pytest.raises(BrokerError, match=words):
        await KafkaLog("nowhere:1", TroubledSender(trouble)).append(TOPIC, 0, b"abc")


def test_offsets_close_together_are_read_in_one_go() -> None:
    assert list(shard_store._runs([])) == []
    assert list(shard_store._runs([1, 2, 17, 40, 41])) == [[1, 2, 17], [40, 41]]
