"""In which order frames leave, and what is committed when, with a producer that answers when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber

from schemas.dead_letter import DeadLetter, Reason
from schemas.errors import BadRecord, BrokerError
from streams import locate_sender
from streams.flush import Commit, Flush, FrameOut, UrgentTicket
from streams.frame_batch import FrameBatch
from streams.locate_sender import LocateSender
from streams.placing import RawKey
from streams.topics import TopicNames


class Broker:
    """All producers of a test: what they sent, in order, each with the future of its acknowledgement."""

    def __init__(self, *, partitions: int = 2) -> None:
        self.partitions = partitions
        self.counts: dict[str, int] = {}  # of topics that have another number
        self.client = self
        self.asked_again = 0
        self.sent: list[tuple[str, int | None, bytes, asyncio.Future[None]]] = []
        self.producers = 0
        self.away = 0  # this many connections fail

    def __call__(self, **options: Any) -> Broker:
        self.producers += 1
        assert options["enable_idempotence"]
        assert options["acks"] == "all"
        return self

    async def start(self) -> None:
        if self.away:
            self.away -= 1
            raise KafkaConnectionError("nobody there")

    async def stop(self) -> None: ...

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self.counts.get(topic, self.partitions)))

    async def force_metadata_update(self) -> None:
        self.asked_again += 1

    async def send(self, topic: str, value: bytes, key: bytes | None = None) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self.sent.append((topic, None, value, future))
        return future

    async def send_batch(self, batch: FrameBatch, topic: str, partition: int) -> asyncio.Future[None]:
        value = bytes(batch._value)
        future = await self.send(topic, value)
        self.sent[-1] = (topic, partition, value, future)
        return future

    async def values(self) -> list[bytes]:
        """What is on its way and not acknowledged, once everybody has had a turn."""
        for _ in range(20):
            await asyncio.sleep(0)
        return [value for *_, value, future in self.sent if not future.done()]

    async def acknowledge(self, *wanted: bytes) -> None:
        for *_, value, future in self.sent:
            if not future.done() and (not wanted or value in wanted):
                future.set_result(None)
        await self.values()

    def fail(self, error: Exception) -> None:
        for *_, future in self.sent:
            if not future.done():
                future.set_exception(error)


class Rig:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.committed: dict[RawKey, Commit] = {}
        self.refused = 0  # this many commits fail
        self.sender = LocateSender(
            TopicNames("t."), bootstrap="nowhere:1", options={}, shards=2, commit=self.commit, commit_interval_ms=0,
            make_producer=broker,
        )  # fmt: skip

    async def commit(self, commits: Mapping[RawKey, Commit]) -> bool:
        if self.refused:
            self.refused -= 1
            return False
        self.committed.update(commits)
        return True


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(locate_sender, "FIRST_PAUSE_S", 0.001)
    rig = Rig(Broker())
    await rig.sender.start()
    yield rig
    await rig.sender.stop()


def flush(*frames: tuple[int, bytes], upto: int = 0, letters: Sequence[DeadLetter] = ()) -> Flush:
    commits = {(0, 0): Commit(upto, "state")} if upto else {}
    return Flush(tuple(FrameOut(shard, data, 1) for shard, data in frames), tuple(letters), commits, bool(upto))


async def test_frames_of_one_shard_wait_for_each_other_and_those_of_others_do_not(rig: Rig) -> None:
    rig.sender.put(flush((0, b"a1"), (0, b"a2"), (1, b"b1")))
    assert await rig.broker.values() == [b"a1", b"b1"]
    await rig.broker.acknowledge(b"a1")
    assert await rig.broker.values() == [b"b1", b"a2"]


async def test_a_flush_waits_for_the_one_before_and_one_may_wait(rig: Rig) -> None:
    rig.sender.put(flush((0, b"a")))
    await rig.broker.values()
    room = [rig.sender.has_room]
    rig.sender.put(flush((0, b"b")))
    assert await rig.broker.values() == [b"a"]
    room.append(rig.sender.has_room)
    await rig.broker.acknowledge()
    assert await rig.broker.values() == [b"b"]
    room.append(rig.sender.has_room)
    assert room == [True, False, True]


async def test_offsets_are_committed_after_frames_and_letters_and_not_before(rig: Rig) -> None:
    error = BadRecord(Reason.BAD_JSON, "$", "no JSON")
    letter = DeadLetter.of(error, topic="r", partition=0, offset=4, payload=b"", received_at_ms=0)
    rig.sender.put(flush((0, b"a"), upto=5, letters=[letter]))
    (frame, dead) = await rig.broker.values()
    assert (frame, b"bad_json" in dead) == (b"a", True)
    await rig.broker.acknowledge(b"a")
    assert not rig.committed
    await rig.broker.acknowledge(dead)
    assert rig.committed == {(0, 0): Commit(5, "state")}


async def test_offsets_whose_commit_was_refused_are_committed_with_the_next_flush(rig: Rig) -> None:
    """When nothing more comes there is no later commit of that partition, only flushes without rows."""
    rig.refused = 1
    rig.sender.put(flush((0, b"a"), upto=5))
    await rig.broker.values()
    await rig.broker.acknowledge()
    assert not rig.committed
    rig.sender.put(flush((0, b"header")))
    await rig.broker.values()
    await rig.broker.acknowledge()
    assert rig.committed == {(0, 0): Commit(5, "state")}


async def test_offsets_of_partitions_that_are_anothers_are_not_tried_again(rig: Rig) -> None:
    rig.refused = 1
    rig.sender.put(flush((0, b"a"), upto=5))
    await rig.broker.values()
    await rig.broker.acknowledge()
    rig.sender.forget([(0, 0)])
    rig.sender.put(flush((0, b"header")))
    await rig.broker.values()
    await rig.broker.acknowledge()
    assert not rig.committed


async def test_urgent_tickets_pass_a_stuck_flush_but_hold_back_the_commit_behind_them(rig: Rig) -> None:
    rig.sender.put(flush((0, b"stuck"), upto=1))
    await rig.broker.values()
    rig.sender.urgent([UrgentTicket(b"T-1", b"urgent")])
    assert await rig.broker.values() == [b"stuck", b"urgent"]
    rig.sender.put(flush(upto=9))
    await rig.broker.acknowledge(b"stuck")
    assert rig.committed == {(0, 0): Commit(1, "state")}
    await rig.broker.acknowledge(b"urgent")
    assert rig.committed == {(0, 0): Commit(9, "state")}


async def test_what_a_failed_producer_left_is_sent_again_by_a_new_one(rig: Rig) -> None:
    rig.sender.put(flush((0, b"a1"), (0, b"a2"), (1, b"b1"), upto=7))
    await rig.broker.values()
    await rig.broker.acknowledge(b"b1")
    rig.broker.away = 2
    rig.broker.fail(OutOfOrderSequenceNumber())
    async with asyncio.timeout(5):
        while await rig.broker.values() != [b"a1"]:  # noqa: ASYNC110  # pauses of the sender pass
            await asyncio.sleep(0.001)
    assert rig.broker.producers == 4  # the first, two that found nobody, and the one that works
    assert not rig.committed
    await rig.broker.acknowledge()
    await rig.broker.acknowledge()
    assert [value for *_, value, _ in rig.broker.sent] == [b"a1", b"b1", b"a1", b"a2"]
    assert rig.committed[0, 0].offset == 7


async def test_drain_returns_when_all_is_acknowledged_and_committed(rig: Rig) -> None:
    rig.sender.put(flush((0, b"a"), upto=3))
    draining = asyncio.create_task(rig.sender.drain())
    await rig.broker.values()
    assert not draining.done()
    await rig.broker.acknowledge()
    async with asyncio.timeout(5):
        await draining
    assert rig.committed[0, 0].offset == 3


async def test_a_stop_does_not_wait_for_a_broker_that_is_silent(rig: Rig) -> None:
    rig.sender.put(flush((0, b"a"), upto=3))
    rig.sender.urgent([UrgentTicket(b"T-1", b"urgent")])
    await rig.broker.values()
    async with asyncio.timeout(5):
        await rig.sender.stop()
    assert not rig.committed
    assert not rig.sender.running


async def test_another_number_of_partitions_than_shards_is_refused() -> None:
    rig = Rig(Broker(partitions=8))
    with pytest.raises(BrokerError, match=r"t\.observations has 8 partitions, but topics\.shards is 2"):
        await rig.sender.start()
    await rig.sender.stop()


async def test_fewer_partitions_for_placed_tickets_than_raw_ones_are_refused() -> None:
    broker = Broker()
    broker.counts["t.tickets"] = 3
    rig = Rig(broker)
    with pytest.raises(
        BrokerError, match=r"t\.placed-tickets has 2 partitions, but t\.tickets has 3; set topics\.tick"
    ):
        await rig.sender.start()
    await rig.sender.stop()


async def test_placed_tickets_go_to_their_raw_partition_in_order_and_before_the_commit(rig: Rig) -> None:
    tickets = (FrameOut(1, b"t1", 1), FrameOut(1, b"t2", 1), FrameOut(0, b"t0", 1))
    rig.sender.put(Flush((FrameOut(1, b"a", 1),), (), {(2, 1): Commit(9, "state")}, level=True, tickets=tickets))
    assert await rig.broker.values() == [b"a", b"t1", b"t0"]
    assert {(topic, partition) for topic, partition, *_ in rig.broker.sent} == {
        ("t.observations", 1), ("t.placed-tickets", 1), ("t.placed-tickets", 0),
    }  # fmt: skip
    await rig.broker.acknowledge(b"a", b"t0")
    assert not rig.committed
    await rig.broker.acknowledge(b"t1")
    assert await rig.broker.values() == [b"t2"]
    assert not rig.committed
    await rig.broker.acknowledge(b"t2")
    assert rig.committed == {(2, 1): Commit(9, "state")}


async def test_tickets_of_a_partition_that_was_added_wait_until_the_topic_has_it_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locate_sender, "LONGEST_PAUSE_S", 0.01)
    rig.sender.put(Flush((), (), {}, level=True, tickets=(FrameOut(2, b"t", 1),)))
    async with asyncio.timeout(5):
        while not rig.broker.asked_again:  # noqa: ASYNC110  # pauses of the sender pass
            await asyncio.sleep(0.001)
        assert await rig.broker.values() == []
        rig.broker.partitions = 3
        while await rig.broker.values() != [b"t"]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
