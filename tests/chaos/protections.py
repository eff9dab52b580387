"""What keeps the promises, each with a way to take it away: to show once that the checks notice.

    python -m tests.chaos --only P1 --off no-token       must fail

README.md records what each of them led to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec


def _steady_clock() -> None:
    """Pauses and idle sources by the wall clock, deadlines too: what jumps with it jumps."""
    from streams import dispatch, locate, raw_batches, steady_clock

    for module in (locate, raw_batches):
        setattr(module, "steady_ms", steady_clock.wall_ms)  # noqa: B010  # a name that the module imported
    setattr(dispatch, "SteadyClock", lambda: steady_clock.wall_ms)  # noqa: B010


def _greatest_arrival() -> None:
    """The bound for the future by each record's own arrival, as if the clock of arrival never went back."""
    from streams import placing

    place = placing.Placer.place

    def forgetful(self: Any, columns: Any, state: Any) -> Any:
        return place(self, columns, msgspec.structs.replace(state, max_arrival_ms=0))

    setattr(placing.Placer, "place", forgetful)  # noqa: B010


OFF: Final[dict[str, Callable[[], None]]] = {
    "steady-clock": _steady_clock,
    "greatest-arrival": _greatest_arrival,
}


def take_away(names: Iterable[str]) -> None:
    """In a worker, before it starts."""
    for name in names:
        OFF[name]()
