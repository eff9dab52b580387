"""Whether a backlog is taken, when owners change in the middle of asking."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams.backlog import Backlog

PLACE = TopicPartition("actions", 0)


class Told(Backlog):
    """A backlog of which the test says what the broker answers, and when."""

    def __init__(self) -> None:
        super().__init__("nowhere:1", group="g", topic="actions", client_options={})
        self.end, self.committed = 5, 0
        self.away = False
        self.answer = asyncio.Event()
        self.answer.set()

    async def _end_offsets(self) -> dict[TopicPartition, int]:
        end = self.end
        await self.answer.wait()
        if self.away:
            raise KafkaConnectionError
        return {PLACE: end}

    async def _committed(self) -> dict[TopicPartition, int]:
        await self.answer.wait()
        return {PLACE: self.committed}


async def test_a_backlog_is_what_lay_there_when_it_was_first_asked_about() -> None:
    backlog = Told()
    assert not await backlog.is_taken()
    backlog.end, backlog.committed = 100, 5
    assert await backlog.is_taken()
    backlog.forget()
    assert not await backlog.is_taken()


async def test_a_broker_that_is_away_means_not_taken_and_is_asked_again() -> None:
    backlog = Told()
    backlog.away, backlog.committed = True, 5
    assert not await backlog.is_taken()
    backlog.away = False
    assert await backlog.is_taken()


@pytest.mark.parametrize("asked_before", [True, False])
async def test_a_question_that_is_forgotten_while_it_is_asked_is_not_the_answer_to_the_next(asked_before: bool) -> None:
    """Seen: a rebalance in the middle of a tick ended the worker; and the answer of before would have let the clock of
    the next owner run ahead of actions that wait."""
    backlog = Told()
    if asked_before:
        await backlog.is_taken()
    backlog.answer.clear()
    backlog.committed = 5
    asking = asyncio.create_task(backlog.is_taken())
    await asyncio.sleep(0)
    backlog.end = 100
    backlog.forget()
    backlog.answer.set()
    assert not await asking
    assert not await backlog.is_taken(), "there are 95 more since then"
