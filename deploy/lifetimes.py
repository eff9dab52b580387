"""How the worker starts its services and apps and ends them again: side by side, in order, and in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Final

import faust
from aiokafka.errors import KafkaError
from mode import Service

from schemas.errors import TongguanError

log = logging.getLogger(__name__)

STOP_WITHIN_S: Final = 5.0  # for what is only kind to the next start; a service that is away must not hold up the end


@contextlib.asynccontextmanager
async def started(service: Service) -> AsyncIterator[Service]:
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def all_started(
    stack: contextlib.AsyncExitStack, parts: Sequence[contextlib.AbstractAsyncContextManager[Service]]
) -> list[Service]:
    """Start all of them side by side, since each mostly waits for its group, and leave them to the stack in order: the
    last is stopped first.

    When one fails, the others are stopped with the stack; the first failure is raised.
    """
    results = await asyncio.gather(*(part.__aenter__() for part in parts), return_exceptions=True)
    services = []
    for part, result in zip(parts, results, strict=True):
        if not isinstance(result, BaseException):
            stack.push_async_exit(part)
            services.append(result)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return services


async def finish(last_work: Awaitable[object], what: str) -> None:
    """Work at the end whose loss costs the next start some replaying, and nothing else."""
    try:
        await asyncio.wait_for(last_work, STOP_WITHIN_S)
    except TimeoutError:
        log.warning("worker: %s within %.0f s; the next start makes up for it", what, STOP_WITHIN_S)
    except (TongguanError, KafkaError) as problem:
        log.warning("worker: %s (%s); the next start makes up for it", what, problem)


@contextlib.asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[None]:
    await app.start()
    try:
        yield
    finally:
        await finish(app.stop(), f"{app.conf.id} not stopped")
