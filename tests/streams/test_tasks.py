"""Starting whole and ending for certain."""

from __future__ import annotations

import asyncio

import pytest

from streams.tasks import end, start_whole, within


async def test_a_start_that_is_cancelled_is_finished_and_closed() -> None:
    told: list[str] = []

    async def start() -> None:
        await asyncio.sleep(0.02)
        told.append("open")

    async def close() -> None:
        told.append("closed")

    task = asyncio.create_task(start_whole(start(), close))
    await asyncio.sleep(0)
    await end(task)
    assert told == ["open", "closed"]


async def test_a_start_that_fails_says_why() -> None:
    async def start() -> None:
        raise OSError("no way")

    with pytest.raises(OSError, match="no way"):
        await start_whole(start(), lambda: asyncio.sleep(0))


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.tasks.ASK_AGAIN_S", 0.001)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(task)
    assert swallowed == 3


async def test_work_beyond_its_time_is_left_behind() -> None:
    assert await within(5, asyncio.sleep(0))
    assert not await within(0.01, asyncio.sleep(60))
