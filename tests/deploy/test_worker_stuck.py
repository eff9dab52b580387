"""How a worker ends whose consumer stands still: with a status of its own, which supervisors and commands know."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from mode import Service

import deploy.worker
from deploy.console import ExitCode, exit_code_of
from deploy.worker import archive_pace
from schemas.errors import BrokerError, WorkerStuck
from streams.clickhouse import StoreThread, connect
from streams.liveness import BUSY, NORMAL, WAITS


class Failed(Service):
    """A service that has crashed."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__()
        self._crash(reason)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses with which the process would end if its orderly end hung."""
    found: list[int] = []
    monkeypatch.setattr(deploy.worker, "end_within", lambda _seconds, *, status: found.append(status))
    return found


async def watch(service: Service) -> None:
    worker: Any = object.__new__(deploy.worker._Worker)
    await worker._watch([service], asyncio.Event())


async def test_a_consumer_that_stands_still_ends_the_worker_with_a_status_of_its_own(ends: list[int]) -> None:
    with pytest.raises(WorkerStuck, match="join: nothing moves") as raised:
        await watch(Failed(WorkerStuck("join: nothing moves")))
    assert ends == [deploy.worker.STUCK_STATUS] == [ExitCode.STUCK] == [exit_code_of(raised.value)]


async def test_any_other_failure_is_a_plain_one(ends: list[int]) -> None:
    with pytest.raises(deploy.worker.WorkerStopped):
        await watch(Failed(BrokerError("no")))
    assert ends == [1]


async def test_time_hardly_counts_against_an_archive_that_waits_for_a_slow_store() -> None:
    """Each shard's batch waits for the inserts of all others: a minute without a commit is no stuck consumer, and its
    worker's end would silence the alerts, too."""
    thread = StoreThread(connect("http://127.0.0.1:1"))
    assert archive_pace(thread) == NORMAL
    answered = threading.Event()
    calls = [asyncio.create_task(thread.run(lambda _: answered.wait(10))) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert archive_pace(thread) == BUSY
    answered.set()
    await asyncio.gather(*calls)
    assert archive_pace(thread) == NORMAL

    away = asyncio.create_task(thread.until_done(lambda store: store.ping()))
    async with asyncio.timeout(10):
        while not thread.away:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    assert archive_pace(thread) == WAITS
    away.cancel()
    await asyncio.gather(away, return_exceptions=True)
    await thread.close()
