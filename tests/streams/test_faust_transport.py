"""Frames read in place are the records that aiokafka gives, whatever else stands between them."""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.faust_transport import FETCH_WAIT_MS, VIEW_FROM, FrameRecords, _Thread
from streams.frame_batch import FrameBatch
from streams.raw_batches import RawMemoryRecords
from tests.support.kafka_bytes import CODECS, CONTROL, LOG_APPEND, TRANSACTIONAL, abort_marker, batch_bytes, remade

PARTITION = TopicPartition("observations", 2)
LARGE = bytes(range(256)) * (VIEW_FROM // 256)


def read(records: Any, data: bytes, *, position: int = 0, check: bool = True) -> tuple[list[Any], int]:
    wrap, unpack = records
    iterator = unpack(PARTITION, wrap(data), [], position, None, None, check, 0)
    return list(iterator), iterator.next_fetch_offset


OURS, THEIRS = (RawMemoryRecords, FrameRecords), (MemoryRecords, PartitionRecords)


def frame(base_offset: int, size: int = VIEW_FROM) -> bytes:
    return remade(bytes(FrameBatch(LARGE[:size], timestamp_ms=1_700_000_000_000)._build()), base_offset=base_offset)


KINDS = ("frame", "short", "small", "several", "keyed", "late", "control", "log", "transaction", *CODECS)


def batch(kind: str, offset: int) -> bytes:
    if kind in ("frame", "short"):
        return frame(offset, VIEW_FROM - (kind == "short"))
    if kind == "small":
        return batch_bytes([b"x"], base_offset=offset)
    if kind == "several":
        return batch_bytes([LARGE, LARGE, b"y"], base_offset=offset)
    if kind == "control":
        return abort_marker(offset, 4)
    attributes = {"log": LOG_APPEND, "transaction": TRANSACTIONAL}.get(kind, 0)
    return batch_bytes(
        [LARGE], base_offset=offset, keys=kind == "keyed", next_offset=offset + 3 if kind == "late" else None,
        codec=kind if kind in CODECS else "none", attributes=attributes,
    )  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(4, 9)), min_size=1, max_size=6),
    st.integers(0, 30),
    st.integers(0, 80),
    st.booleans(),
)
def test_the_records_are_those_that_aiokafka_gives(
    recipe: list[tuple[str, int]], position: int, short: int, check: bool
) -> None:
    log, offset = b"", 3
    for kind, step in recipe:
        log += batch(kind, offset)
        offset += step
    log = log[: len(log) - short]  # the broker cuts the last batch
    ours, ours_next = read(OURS, log, position=position, check=check)
    theirs, theirs_next = read(THEIRS, log, position=position, check=check)
    assert ours == theirs
    assert ours_next == theirs_next
    assert [bytes(record.value) for record in ours] == [record.value for record in theirs]


def test_a_frame_is_not_copied_and_a_small_value_is_bytes() -> None:
    data = frame(0) + frame(1, VIEW_FROM - 1)
    (large, small), _ = read(OURS, data)
    assert isinstance(large.value, memoryview)
    assert isinstance(small.value, bytes)


def test_a_damaged_frame_is_refused_as_aiokafka_does() -> None:
    data = bytearray(frame(0))
    data[9_000] ^= 1
    for records in (OURS, THEIRS):
        with pytest.raises(CorruptRecordException, match=r"Invalid CRC"):
            read(records, bytes(data))
    assert len(read(OURS, bytes(data), check=False)[0]) == 1


def test_control_batches_of_any_size_are_passed_over() -> None:
    data = bytearray(frame(0))
    struct.pack_into(">h", data, 21, CONTROL)
    assert read(OURS, remade(data)) == read(THEIRS, remade(data)) == ([], 1)


async def test_a_fetch_that_finds_nothing_is_soon_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that was left out of it is asked for again only then."""
    made = AIOKafkaConsumer(fetch_max_wait_ms=1_500)  # as Faust makes it
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_create_consumer", lambda _, loop: made)
    consumer: Any = _Thread._create_consumer(object.__new__(_Thread), loop=None)
    await made.stop()
    assert consumer is made
    assert consumer._fetch_max_wait_ms == FETCH_WAIT_MS < 1_500


class _Positions:
    """A consumer with three partitions: one committed, one not, one that has just been taken away."""

    def __init__(self) -> None:
        self.began: list[str] = []

    async def seek_to_committed(self) -> dict[str, int | None]:
        return {"committed": 7, "new": None, "at its first": 0, "gone": None}

    async def seek_to_beginning(self, *partitions: str) -> None:
        self.began += partitions

    def assignment(self) -> set[str]:
        return {"committed", "new", "at its first"}


async def test_a_partition_of_which_nothing_is_committed_is_read_from_its_first_message_again() -> None:
    """Five tickets never came to the loop: their frame was fetched while the group was being divided first,
    and thrown away, and aiokafka does not go back where nothing was committed."""
    consumer = _Positions()
    thread = _Thread.__new__(_Thread)
    thread._ensure_consumer = lambda: consumer  # type: ignore[method-assign]
    thread._seeking = asyncio.Lock()
    assert (await thread._seek_to_committed())["committed"] == 7
    assert consumer.began == ["new", "at its first"]


async def test_a_seek_that_was_let_go_of_ends_before_the_next_one_begins() -> None:
    """The simulator: one of a division that was over ended last, and frames in hand came again."""
    said: list[str] = []
    slow = asyncio.Event()

    class Positions(_Positions):
        async def seek_to_committed(self) -> dict[str, int | None]:
            said.append("begins")
            await slow.wait()
            said.append("ends")
            return await super().seek_to_committed()

    thread = _Thread.__new__(_Thread)
    thread._ensure_consumer = Positions  # type: ignore[method-assign]
    thread._seeking = asyncio.Lock()
    seeks = [asyncio.create_task(thread._seek_to_committed()) for _ in range(2)]
    await asyncio.sleep(0.01)
    slow.set()
    await asyncio.gather(*seeks)
    assert said == ["begins", "ends"] * 2


async def test_the_end_of_a_partition_is_known_from_its_fetches_and_of_another_it_is_not() -> None:
    """aiokafka fails where the partition has just been taken away, which would end the worker."""
    state = SubscriptionState()
    thread = _Thread.__new__(_Thread)
    thread._consumer = None
    ours, gone = TP(*PARTITION), TP("observations", 3)
    assert thread.highwater(ours) is None  # before it starts
    thread._consumer = SimpleNamespace(_subscription=state)
    assert thread.highwater(ours) is None  # before the group is divided
    state.subscribe({"observations"})
    state.assign_from_subscribed([PARTITION])
    assert thread.highwater(ours) is None  # before the first fetch
    state.subscription.assignment.state_value(PARTITION).highwater = 12
    assert thread.highwater(ours) == 12
    assert thread.highwater(gone) is None
