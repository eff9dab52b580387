"""Which batches come next, and what a partition's standing tells, with a consumer that says what the test wants."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from aiokafka import TopicPartition

from schemas.errors import BrokerError
from streams.batches import RawBatch
from streams.locate_core import Locator
from streams.locate_reader import LocateReader
from streams.placing import RawKey, WatermarkState
from streams.topics import TopicNames
from tests.support.decoded_rows import Tables

KEY: RawKey = (0, 0)
TP = TopicPartition("readings", 0)
TICKETS = TopicPartition("tickets", 1)


class Consumer:
    """In the place of RawBatchConsumer."""

    def __init__(self) -> None:
        self.commits: dict[TopicPartition, tuple[int, str]] = {}
        self.beginnings: dict[TopicPartition, int] = {}
        self.standings: dict[TopicPartition, tuple[int, int, int]] = {}
        self.seeks: list[tuple[TopicPartition, int]] = []
        self.here: dict[TopicPartition, list[RawBatch]] = {}

    async def getmany(self, *partitions: TopicPartition, **_: Any) -> dict[TopicPartition, list[RawBatch]]:
        return {tp: self.here.pop(tp) for tp in list(self.here) if not partitions or tp in partitions}

    async def committed(self, partition: TopicPartition) -> tuple[int, str] | None:
        return self.commits.get(partition)

    async def beginning(self, partition: TopicPartition) -> int:
        return self.beginnings.get(partition, 0)

    def standing(self, partition: TopicPartition) -> tuple[int, int, int] | None:
        return self.standings.get(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.seeks.append((partition, offset))


def batch(first: int, count: int = 1) -> RawBatch:
    return RawBatch(first, first + count, count, 0, True, b"")


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def locator() -> Locator:
    return Tables().locator()


@pytest.fixture
def reader(consumer: Consumer, locator: Locator) -> LocateReader:
    async def on_revoked(_keys: object) -> None: ...

    reader = LocateReader(TopicNames(), locator, bootstrap="nowhere:1", options={}, on_revoked=on_revoked)
    reader._consumer = consumer  # type: ignore[assignment]  # stands in for it
    reader.mine = frozenset({TP, TICKETS})
    return reader


def begin(locator: Locator, at: int) -> None:
    locator.assign(KEY, at, WatermarkState(), 0)


def test_batches_that_go_on_where_the_locator_is_are_next(reader: LocateReader, locator: Locator) -> None:
    begin(locator, 5)
    assert reader.is_next(TP, [batch(5)])


@pytest.mark.parametrize("first", [3, 8])
def test_batches_of_an_older_assignment_are_dropped_and_the_partition_set_back(
    reader: LocateReader, locator: Locator, consumer: Consumer, first: int
) -> None:
    begin(locator, 5)
    assert not reader.is_next(TP, [batch(first)])
    assert consumer.seeks == [(TP, 5)]
    assert reader.is_next(TP, [batch(5)])
    assert locator.assigned[KEY].position == 5


def test_a_gap_that_is_still_there_at_the_second_look_was_deleted_by_the_broker(
    reader: LocateReader, locator: Locator, caplog: pytest.LogCaptureFixture
) -> None:
    begin(locator, 5)
    assert not reader.is_next(TP, [batch(100)])
    with caplog.at_level(logging.WARNING):
        assert reader.is_next(TP, [batch(100)])
    assert "offsets 5 to 99 of readings[0] are gone" in caplog.text
    assert locator.assigned[KEY].position == 100


def test_partitions_that_are_not_ours_any_more_are_not_fed(reader: LocateReader, locator: Locator) -> None:
    begin(locator, 5)
    reader.mine = frozenset()
    assert not reader.is_next(TP, [batch(5)])


async def test_a_partition_begins_at_its_commit_with_the_state_in_it(
    reader: LocateReader, locator: Locator, consumer: Consumer
) -> None:
    consumer.commits[TP] = (42, WatermarkState(777).encode())
    await reader.adopt(0)
    assert (locator.assigned[KEY].position, locator.assigned[KEY].state) == (42, WatermarkState(777))


async def test_a_commit_of_another_tool_begins_lateness_afresh_and_says_so(
    reader: LocateReader, locator: Locator, consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    consumer.commits[TP] = (42, "moved by hand")
    await reader.adopt(0)
    assert (locator.assigned[KEY].position, locator.assigned[KEY].state) == (42, WatermarkState())
    assert "moved by hand" in caplog.text


async def test_without_a_commit_a_partition_begins_at_its_first_record_whatever_was_handed_out_and_dropped(
    reader: LocateReader, locator: Locator, consumer: Consumer
) -> None:
    """Tickets are looked at between two slices of readings, also before the locator knows their partition."""
    consumer.beginnings[TICKETS] = 3
    consumer.here[TICKETS] = [batch(3)]
    ((ticket_tp, tickets),) = await reader.poll_tickets()
    assert not reader.is_next(ticket_tp, tickets)
    consumer.standings[TICKETS] = (4, 5, 0)
    await reader.adopt(0)
    assert {key: progress.position for key, progress in locator.assigned.items()} == {KEY: 0, (2, 1): 3}
    assert not reader.is_next(TICKETS, [batch(4)])
    assert consumer.seeks == [(TICKETS, 3)]


def test_offsets_without_records_are_passed_only_when_all_that_came_is_fed(
    reader: LocateReader, locator: Locator, consumer: Consumer
) -> None:
    begin(locator, 5)
    consumer.standings[TP] = (9, 9, 1_000)
    reader.unread.add(TP)
    reader.look_at_ends()
    assert locator.assigned[KEY].position == 5
    reader.unread.clear()
    reader.look_at_ends()
    consumer.standings[TP] = (9, 9, 1_500)
    reader.look_at_ends()
    assert (locator.assigned[KEY].position, locator.assigned[KEY].end) == (9, 9)


def test_an_end_is_as_old_as_the_fetch_that_was_sent_for_it_not_as_the_reading_of_its_answer(
    reader: LocateReader, locator: Locator, consumer: Consumer
) -> None:
    """A process that is paused for a minute finds an answer in its socket: of a minute ago."""
    begin(locator, 5)
    for answered_ms, known_ms in ((1_000, 0), (1_500, 1_000), (1_501, 1_000), (61_500, 1_500), (62_000, 61_500)):
        consumer.standings[TP] = (5, 5, answered_ms)
        reader.look_at_ends()
        assert locator.assigned[KEY].end_seen_ms == known_ms
    reader.forget([KEY])
    consumer.standings[TP] = (5, 5, 63_000)
    reader.look_at_ends()
    assert locator.assigned[KEY].end_seen_ms == 61_500, "of a new assignment nothing is known yet"


def test_batches_that_are_dropped_because_their_partition_goes_are_not_taken_for_offsets_without_records(
    reader: LocateReader, locator: Locator, consumer: Consumer
) -> None:
    """A cover over rows that nobody sent would be believed by all readers."""
    begin(locator, 5)
    reader.mine = frozenset()  # it is being revoked; the locator still waits to give it back
    assert not reader.is_next(TP, [batch(5)])
    consumer.standings[TP] = (6, 6, 1_000)
    reader.look_at_ends()
    assert locator.assigned[KEY].position == 5


def test_a_topic_that_was_made_anew_is_refused(reader: LocateReader, locator: Locator, consumer: Consumer) -> None:
    begin(locator, 500)
    consumer.standings[TP] = (0, 20, 1_000)
    with pytest.raises(BrokerError, match=r"readings\[0\] ends at offset 20, but was read up to 500"):
        reader.look_at_ends()


async def test_tickets_are_first_and_are_not_read_while_older_ones_wait(
    reader: LocateReader, consumer: Consumer
) -> None:
    consumer.here = {TP: [batch(0)], TICKETS: [batch(0)]}
    assert [tp for tp, _ in await reader.poll(0)] == [TICKETS, TP]
    consumer.here = {TICKETS: [batch(1)], TP: [batch(1)]}
    assert await reader.poll_tickets() == []
    reader.unread.discard(TICKETS)
    assert [tp for tp, _ in await reader.poll_tickets()] == [TICKETS]
