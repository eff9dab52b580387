"""The checker of the loop's story: what it lets through and what it does not, without a broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.alert import Action, decode_alert
from schemas.incident import IncidentChange, encode_incident
from schemas.loop_record import LoopKind, LoopRecord, encode_loop_record
from schemas.notification import encode_notification
from streams.loop_core import LoopCore
from streams.loop_inputs import ticket_records
from tests.chaos.loop_check import Message, Told, loop_problems
from tests.live.support.loop_run import WORK, LoopRun
from tests.live.support.small_city import PureFlow

RAW_TICKETS = "tickets"


class Story:
    """What was sent to a city's loop, and the log that the intake has made of it."""

    def __init__(self, directory: Path) -> None:
        self.run = LoopRun("nowhere:1", "check", directory)
        self.core = self.run.core()
        self.log: list[LoopRecord] = []
        self.acted: list[tuple[Message, int]] = []
        raised, cleared = (
            self.run.alert(0, action, revision=n) for n, action in enumerate((Action.RAISE, Action.CLEAR))
        )
        self.raised, self.cleared = self.of_alert(raised, 0), self.of_alert(cleared, 1)
        frame = self.run.tickets(1, 3)[2]
        (self.tickets,) = ticket_records(frame, RAW_TICKETS)
        told = [decode_alert(payload) for _, _, payload in (raised, cleared)]
        frames: Any = (SimpleNamespace(data=frame),)
        self.flow = PureFlow({(alert.alert_id, alert.revision): alert for alert in told}, frames)

    def of_alert(self, message: Message, offset: int) -> LoopRecord:
        return self.record(LoopKind.ALERT, message, offset)

    def record(self, kind: LoopKind, message: Message, offset: int) -> LoopRecord:
        topic, partition, payload = message
        return LoopRecord(
            kind=kind, cause_topic=topic, cause_partition=partition, cause_offset=offset,
            arrived_ms=self.run.began_ms + 10_000, payload=payload,
        )  # fmt: skip

    def work(self) -> list[LoopRecord]:
        """People take the incident of the alert from its beginning to its end."""
        (opened, *_) = (
            change for change in self.run.core().apply(self.raised, 0) if isinstance(change, IncidentChange)
        )
        messages = [self.run.action(*step, opened.incident_id, number) for number, step in enumerate(WORK)]
        self.acted = [(message, offset) for offset, message in enumerate(messages)]
        return [self.record(LoopKind.ACTION, message, offset) for message, offset in self.acted]

    def problems(self, log: Sequence[LoopRecord], make_core: Callable[[], LoopCore] | None = None) -> list[str]:
        told = [output for at, record in enumerate(log) for output in self.core.apply(record, at)]
        return loop_problems(
            make_core or self.run.core,
            Told(
                len(log),
                _messages(encode_incident(one) for one in told if isinstance(one, IncidentChange)),
                _messages(encode_notification(one) for one in told if not isinstance(one, IncidentChange)),
                _messages(map(encode_loop_record, log)),
            ),
            self.flow, self.acted, RAW_TICKETS,
        )  # fmt: skip


def _messages(values: Any) -> list[Any]:
    return [SimpleNamespace(offset=at, value=value) for at, value in enumerate(values)]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_an_alert_may_clear_before_its_incident_is_worked_meanwhile_or_after(story: Story) -> None:
    """Under load a crowd of workers was told to be wrong that had judged a window after people had been there: the
    checker's own run took all alerts first."""
    work = story.work()
    for at in range(len(work) + 1):
        story.core = story.run.core()
        assert story.problems([story.raised, story.tickets, *work[:at], story.cleared, *work[at:]]) == []


def test_what_stands_in_the_log_again_changes_nothing(story: Story) -> None:
    work = story.work()
    again = story.of_alert(("alerts", 0, story.raised.payload), 7)  # the join told it twice
    log = [story.raised, story.tickets, story.raised, *work, *work[:3], again, story.tickets, story.cleared]
    assert story.problems(log) == []


def test_what_is_missing_made_up_or_out_of_order_is_told(story: Story) -> None:
    work = story.work()
    whole = [story.raised, story.tickets, *work, story.cleared]
    other = story.of_alert(story.run.alert(1), 2)
    for log, words in (
        (whole[:-1], "alert ('A-0', 1) is not in the log"),
        ([*whole[:1], *whole[2:]], "ticket tickets:1:0 is not in the log"),
        ([*whole, other], "alert ('A-1', 0) should not be in the log"),
        ([story.cleared, *whole[:-1]], "A-0: 0 stands behind 1"),
        ([*whole[:2], *work[1:], story.cleared], "the log has"),
    ):
        story.core = story.run.core()
        assert any(words in problem for problem in story.problems(log)), words


def test_a_loop_that_takes_a_repeat_for_news_is_told(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pure loop stands for the product here, so that it agrees with its own log."""
    work = story.work()
    monkeypatch.setattr(LoopCore, "_is_duplicate", lambda self, record: False)
    monkeypatch.setattr("streams.loop_discovery.Discovery._alert_news", _opens_it_again)
    log = [story.raised, story.raised, story.tickets, *work, story.cleared]
    assert any("without repeats" in problem for problem in story.problems(log))


def _opens_it_again(self: Any, turn: Any, incident: Any, alert: Any) -> Any:
    return self._worse(turn, incident, incident.severity + 1, alert.window_end_ms, ("", ""), None)
