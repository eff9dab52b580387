"""The loop's metrics: each message counts once, and a label that nothing has any more falls to 0."""

from __future__ import annotations

from collections import Counter
from typing import Any

from schemas.incident import State
from schemas.notification import NotificationKind
from streams import metrics
from streams.dispatch_metrics import ACCEPTED, LoopCounts, count_told
from streams.loop_discovery import Outcome
from tests.support.loop_city import HOUR
from tests.support.loop_log import LoopLog


def value(metric: Any, *labels: str) -> float:
    return float((metric.labels(*labels) if labels else metric)._value.get())


def test_actions_count_by_what_became_of_them() -> None:
    log = LoopLog()
    log.alert()
    before = {name: value(metrics.ACTIONS, name) for name in (ACCEPTED, "illegal", NotificationKind.REPEATED)}
    for outputs in (
        log.act("close", "operator"),
        log.act("accept", "handler", action_id="a"),
        log.act("accept", "handler", action_id="a"),
    ):
        count_told(outputs)
    assert {name: value(metrics.ACTIONS, name) - count for name, count in before.items()} == dict.fromkeys(before, 1)


def test_the_time_to_dispatch_is_of_the_first_dispatch_alone() -> None:
    log = LoopLog()
    before_s = metrics.TIME_TO_DISPATCH._sum.get()
    count_told(log.alert(at_ms=log.now_ms))
    first_s = metrics.TIME_TO_DISPATCH._sum.get()
    log.now_ms += HOUR
    count_told(log.act("return", "handler", reason="not ours"))
    count_told(log.act("dispatch", "dispatcher", to_department="west-roads"))
    assert metrics.TIME_TO_DISPATCH._sum.get() == first_s >= before_s


def test_deadlines_that_pass_are_counted_and_what_is_past_one_now_is_a_gauge() -> None:
    log, counts = LoopLog(), LoopCounts()
    log.alert()
    before = value(metrics.OVERDUE, "waterlogging")
    log.now_ms += 9 * HOUR
    count_told(log.tick())
    counts.count(log.core.incidents.by_id.values(), log.core.outcomes)
    assert value(metrics.OVERDUE, "waterlogging") > before
    assert value(metrics.OVERDUE_INCIDENTS) == 1
    assert value(metrics.INCIDENTS, "waterlogging", State.DISPATCHED) == 1
    log.close()
    counts.count(log.core.incidents.by_id.values(), log.core.outcomes)
    assert value(metrics.INCIDENTS, "waterlogging", State.DISPATCHED) == 0
    assert value(metrics.INCIDENTS, "waterlogging", State.CLOSED) == 1
    assert value(metrics.OVERDUE_INCIDENTS) == 0
    counts.forget()


def test_outcomes_are_counted_once_however_often_they_are_looked_at() -> None:
    counts, before = LoopCounts(), value(metrics.LOOP_OUTCOMES, Outcome.DUPLICATE)
    for seen in (2, 2, 5):
        counts.count([], Counter({Outcome.DUPLICATE: seen}))
    assert value(metrics.LOOP_OUTCOMES, Outcome.DUPLICATE) - before == 5
