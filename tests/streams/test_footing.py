"""A message counts only if it was fetched since the consumer went back to what is committed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.faust_transport import _Consumer
from streams.footing import STRAY, Footing

GENERATION = 7
PLACE = TP("alerts", 0)


def test_nothing_counts_before_the_consumer_has_gone_back() -> None:
    footing = Footing()
    assert footing.mark(GENERATION) == STRAY
    footing.assigned()
    assert footing.mark(GENERATION) == STRAY
    assert footing.went_back(footing.division)
    assert footing.mark(GENERATION) == GENERATION and footing.counts(GENERATION, GENERATION)


@pytest.mark.parametrize("change", ["revoked", "assigned"])
def test_to_have_gone_back_for_an_earlier_division_is_no_footing(change: str) -> None:
    footing = Footing()
    footing.assigned()
    since = footing.division
    getattr(footing, change)()
    assert not footing.went_back(since)
    assert footing.mark(GENERATION) == STRAY and not footing.counts(GENERATION, GENERATION)


def test_to_go_back_while_nothing_is_ours_is_no_footing() -> None:
    footing = Footing()
    footing.assigned()
    footing.revoked()
    assert not footing.went_back(footing.division)


class Consumer(_Consumer):
    """Ours, over a Faust consumer without an app. `on_seek` is called while it looks for the commits."""

    def __init__(self) -> None:
        self._footing = Footing()
        self.flows = True
        suspend = SimpleNamespace(suspend=lambda: setattr(self, "flows", False))
        self.app: Any = SimpleNamespace(consumer_generation_id=GENERATION, flow_control=suspend)
        self._acked, self._acked_index, self._gap = {PLACE: [4]}, {PLACE: {4}}, {PLACE: "a gap"}
        self.on_seek: Callable[[], None] = lambda: None


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    async def told(self: Consumer, *_: Any) -> None:
        """Of partitions."""

    async def seek(self: Consumer) -> None:
        assert not self.flows
        self.on_seek()

    def message(self: Consumer, tp: TP, record: Any) -> Any:
        return SimpleNamespace(tp=tp, generation_id=self.app.consumer_generation_id, acked=False)

    def ack(self: Consumer, message: Any) -> bool:
        message.acked = True
        return True

    for name, value in (
        ("on_partitions_revoked", told), ("on_partitions_assigned", told), ("perform_seek", seek),
        ("_to_message", message), ("ack", ack), ("stop_flow", lambda self: None),
    ):  # fmt: skip
        monkeypatch.setattr(driver.Consumer, name, value)
    return Consumer()


async def test_messages_count_from_the_seek_to_the_next_division(consumer: Consumer) -> None:
    early = consumer._to_message(PLACE, None)
    await consumer.on_partitions_assigned({PLACE}, GENERATION)
    await consumer.perform_seek()
    assert not consumer._acked and not consumer._acked_index and not consumer._gap  # it all comes again
    counted, also = consumer._to_message(PLACE, None), consumer._to_message(PLACE, None)
    assert counted.generation_id == GENERATION
    assert consumer.ack(counted) and counted.acked
    await consumer.on_partitions_revoked({PLACE})
    late = consumer._to_message(PLACE, None)
    for stray in (early, also, late):
        assert not consumer.ack(stray) and not stray.acked
    assert early.generation_id == late.generation_id == STRAY


async def test_nothing_is_acknowledged_while_the_flow_is_stopped(consumer: Consumer) -> None:
    """Faust's stream acknowledges what it passes over then."""
    await consumer.on_partitions_assigned({PLACE}, GENERATION)
    await consumer.perform_seek()
    message = consumer._to_message(PLACE, None)
    consumer.stop_flow()
    assert not consumer.ack(message) and not message.acked


async def test_a_seek_that_ends_behind_the_next_division_changes_nothing(consumer: Consumer) -> None:
    """Faust lets the flow go on then."""
    await consumer.on_partitions_assigned({PLACE}, GENERATION)
    consumer.on_seek = consumer._footing.revoked
    await consumer.perform_seek()
    assert consumer._acked == {PLACE: [4]}
    assert not consumer.ack(consumer._to_message(PLACE, None))


async def test_a_message_of_an_earlier_generation_is_not_acknowledged(consumer: Consumer) -> None:
    await consumer.on_partitions_assigned({PLACE}, GENERATION)
    await consumer.perform_seek()
    message = consumer._to_message(PLACE, None)
    consumer.app.consumer_generation_id += 1
    consumer.flows = True
    await consumer.on_partitions_assigned({PLACE}, GENERATION + 1)
    await consumer.perform_seek()
    assert not consumer.ack(message)
