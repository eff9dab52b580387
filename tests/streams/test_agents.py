"""The shell of the Faust apps: what happens to events behind one that failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streams.agents import build_agents


class App:
    """As much of a Faust app as the shell uses."""

    def __init__(self) -> None:
        self.conf = SimpleNamespace(id="app")
        self.consume: Callable[[Any], Awaitable[None]] | None = None
        self.crashes: list[Exception] = []

    def topic(self, name: str, **_: Any) -> str:
        return name

    def agent(self, _topic: str, **_: Any) -> Callable[[Any], None]:
        def keep(consume: Callable[[Any], Awaitable[None]]) -> None:
            self.consume = consume

        return keep

    async def crash(self, problem: Exception) -> None:
        self.crashes.append(problem)


class Stream:
    def __init__(self, *offsets: int) -> None:
        self._offsets = iter(offsets)

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[Any]:
        for offset in self._offsets:
            yield SimpleNamespace(message=SimpleNamespace(topic="t", partition=0, offset=offset))


async def test_nothing_is_taken_behind_an_event_that_failed() -> None:
    """Faust starts the agent anew until the app has stopped; the next event must not be taken for the first one."""
    app, taken = App(), []

    async def take(event: Any) -> None:
        taken.append(event.message.offset)
        if event.message.offset == 1:
            raise ValueError("nobody expected this")

    build_agents(app, {"agent": "t"}, take)  # type: ignore[arg-type]
    assert app.consume is not None
    stream = Stream(0, 1, 2, 3)
    with pytest.raises(ValueError, match="nobody expected"):
        await app.consume(stream)
    await app.consume(stream)
    assert taken == [0, 1]
    assert [str(problem) for problem in app.crashes] == ["nobody expected this"]
