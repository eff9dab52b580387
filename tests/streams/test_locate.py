"""The locate service around its pure core: what an error leaves behind, without a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.kinds import built_in_kinds
from schemas.sources import Source
from streams.flush import Flush
from streams.locate import LocateService
from streams.locate_settings import LocateSettings
from streams.placing import WatermarkState
from streams.topics import TopicNames
from tests.live.support import small_city

KEY = (int(Source.READINGS), 0)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocateService]:
    """With one partition, and a sender that takes everything."""
    made = LocateService(
        bootstrap="nowhere:1", names=TopicNames(""), settings=LocateSettings(), shards=small_city.shards(),
        kinds=built_in_kinds(),
    )  # fmt: skip
    made._locator.assign(KEY, 0, WatermarkState(), 0)
    monkeypatch.setattr(type(made._sender), "running", True)
    yield made
    made._thread.shutdown()


@pytest.fixture
def sent(service: LocateService, monkeypatch: pytest.MonkeyPatch) -> list[Flush]:
    flushes: list[Flush] = []

    async def drained() -> None: ...

    monkeypatch.setattr(service._sender, "put", flushes.append)
    monkeypatch.setattr(service._sender, "drain", drained)
    return flushes


def broken(*_: Any, **__: Any) -> Any:
    raise MemoryError("in the middle of a flush")


async def test_partitions_that_go_are_sent_and_committed_first(service: LocateService, sent: list[Flush]) -> None:
    await service._give_back([KEY])
    assert [flush.level for flush in sent] == [True]
    assert not service._locator.assigned


async def test_after_an_error_in_the_middle_of_a_flush_nothing_is_sent_or_committed_any_more(
    service: LocateService, sent: list[Flush], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of that flush are lost with their covers, so what follows them begins behind a gap: the orderly stop
    of a worker that had failed committed the raw offsets beyond records that nobody had ever sent."""
    with monkeypatch.context() as patched:
        patched.setattr(service._locator, "flush", broken)
        with pytest.raises(MemoryError):
            await service._hand_over(level=False)
    await service._give_back([KEY])
    assert not sent
    assert not service._locator.assigned


async def test_an_error_while_giving_back_ends_the_worker(
    service: LocateService, sent: list[Flush], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for it in a rebalance logs the error and goes on."""
    monkeypatch.setattr(service._locator, "flush", broken)
    crashed: list[BaseException] = []
    monkeypatch.setattr(service, "_crash", crashed.append)
    await service._give_back([KEY])
    assert [type(problem) for problem in crashed] == [MemoryError]
    assert not sent and not service._locator.assigned
