"""How a worker ends whose consumer stands still: with a status of its own, which supervisors and commands know."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mode import Service

import deploy.worker
from deploy.console import ExitCode, exit_code_of
from schemas.errors import BrokerError, WorkerStuck


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
