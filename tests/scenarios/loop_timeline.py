"""A story of the loop on a hand-moved clock: `at("09-30 16:00").act(...)`, `between(a, b).expect(...)`.

Times are local times of the year 2026 in the city of `tests/support/loop_city.py`. The clock ticks every `TICK_MINUTES`
between two lines of the story, as the loop's ticker would. What came is told in a few words, see `shown`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

from schemas.incident import IncidentChange
from streams.loop_hash import verify_chain
from streams.loop_ledger import Output
from tests.support.loop_log import LoopLog, shown

ZONE = ZoneInfo("Asia/Shanghai")
TICK_MINUTES = 10


def moment(text: str) -> int:
    """ "09-30 16:00" -> epoch ms"""
    return round(datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=ZONE).timestamp() * 1000)


@dataclass
class LoopStory:
    """Each line happens when it is told; `between` asks about what came of it."""

    log: LoopLog = field(default_factory=LoopLog)
    seen: list[tuple[int, Output]] = field(default_factory=list)
    started: bool = False

    def at(self, text: str) -> Self:
        """Let the time pass until then, with ticks on the way and one at the end."""
        to_ms = moment(text)
        if not self.started:
            self.log.now_ms, self.started = to_ms, True
        assert to_ms >= self.log.now_ms, "a story goes forward"
        while self.log.now_ms < to_ms:
            self.log.now_ms = min(self.log.now_ms + TICK_MINUTES * 60_000, to_ms)
            self._came(self.log.tick())
        return self

    def without_ticks_until(self, text: str) -> Self:
        """The worker is down; when it is back, one tick comes."""
        self.log.now_ms = moment(text)
        return self._came(self.log.tick())

    def alert(self, *given: Any, **more: Any) -> Self:
        return self._came(self.log.alert(*given, **more))

    def ticket(self, *given: Any, **more: Any) -> Self:
        return self._came(self.log.ticket(*given, **more))

    def act(self, action: str, role: str, actor: str, **more: Any) -> Self:
        return self._came(self.log.act(action, role, actor, **more))

    def _came(self, outputs: list[Output]) -> Self:
        self.seen += [(self.log.now_ms, one) for one in outputs]
        return self

    def between(self, first: str, last: str) -> Stretch:
        """What came from `first` on and before `last`."""
        return Stretch([one for at_ms, one in self.seen if moment(first) <= at_ms < moment(last)])

    def on(self, text: str) -> Stretch:
        """What came at this minute."""
        return Stretch([one for at_ms, one in self.seen if at_ms // 60_000 == moment(text) // 60_000])

    @property
    def now(self) -> IncidentChange:
        """The incident that was opened first, as it is now; its history must be a whole chain."""
        for incident_id in self.log.ids:
            assert verify_chain(self.log.history(incident_id)) == []
        return self.log.latest()


@dataclass(frozen=True)
class Stretch:
    """What came in a stretch of the story."""

    outputs: list[Output]

    def expect(self, *wanted: str) -> None:
        """Exactly these, in this order."""
        assert shown(self.outputs) == list(wanted)

    def expect_nothing(self) -> None:
        self.expect()

    @property
    def reasons(self) -> list[str | None]:
        return [one.reason for one in self.outputs if isinstance(one, IncidentChange)]
