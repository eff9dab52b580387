"""Two habits for tasks that hold connections: start them whole, and end them for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

END_WITHIN_S: Final = 8.0
ASK_AGAIN_S: Final = 0.5


async def start_whole(start: Coroutine[Any, Any, None], close: Callable[[], Awaitable[None]]) -> None:
    """Await `start`; if we are cancelled meanwhile, let it come to its end and `close` what it opened.

    aiokafka cancelled in the middle of connecting leaves the connection open, with nobody who knows of it.
    """
    starting = asyncio.create_task(start)
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting], timeout=END_WITHIN_S)
        if not starting.done():
            starting.cancel()
        elif not starting.cancelled() and starting.exception() is None:
            await close()
        raise


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task until it has ended, and see to its exception.

    Once is not enough: `asyncio.wait_for` (Python 3.11) swallows a cancellation that comes together with the result.
    """
    if task is None:
        return
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=ASK_AGAIN_S)
    if not task.cancelled():
        task.exception()


async def within(seconds: float, work: Coroutine[Any, Any, Any]) -> bool:
    """Run `work` for so long at most, then cancel it and wait no longer; whether it came to its end by itself."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        finished = task.done()
        task.cancel()
    if finished and not task.cancelled():
        task.result()
    return finished
