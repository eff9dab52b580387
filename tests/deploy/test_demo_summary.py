"""What the demo says at its end, and that it does not say so when figures disagree."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from rich.console import Console

from deploy.board_state import CityWatch
from deploy.console import UsageProblem
from deploy.demo_boston import problems_of
from deploy.demo_command import Request, check
from deploy.demo_screen import Screen
from deploy.demo_summary import Counts, Outcome, Summary, broken_chains, is_whole
from deploy.demo_truth import Score
from deploy.options import Lang
from deploy.replay.boston_run import Played
from deploy.replay.boston_verdicts import Kind, Verdicts
from schemas.incident import encode_incident
from tests.deploy.test_board import alert
from tests.support.loop_city import MINUTE, loop_city
from tests.support.loop_log import LoopLog


def told() -> tuple[CityWatch, LoopLog]:
    log, watch = LoopLog(), CityWatch(loop_city())
    watch.alert(alert())
    log.alert("A-1")
    for _ in range(60):
        log.now_ms += MINUTE
        log.tick()
    for change in log.changes:
        watch.change(change)
    for notification in log.notifications:
        watch.told(notification)
    return watch, log


def counts(watch: CityWatch, **changes: int) -> Counts:
    return replace(Counts(97, 3, watch.alert_records, watch.changes, watch.notifications), **changes)


def outcome(watch: CityWatch, **changes: Any) -> Outcome:
    scores = {"waterlogging": Score(3, 2, 1, [60.0, 120.0], ["flood-3"])}
    return replace(
        Outcome(100, 7, watch, scores, counts(watch), dead={"bad_json": 2, "bad_time": 1}, first_alert_s=12.3),
        **changes,
    )


def printed(made: Outcome, lang: Lang) -> str:
    console = Console(file=io.StringIO(), width=120, highlight=False, markup=False)
    Summary(Screen(lang, console=console), made).print()
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_it_says_what_came_of_it_in_both_languages() -> None:
    watch, _ = told()
    for lang, words in (
        (Lang.ZH, ("发送记录 100", "死信 3", "积水内涝 3 2 1 1 1.5 min", "首条告警 12.3 s", "已派遣 1", "摘要链完整")),
        (Lang.EN, ("records sent 100", "dead letters 3", "waterlogging 3 2 1 1 1.5 min", "dispatched 1", "is whole")),
    ):
        text = printed(outcome(watch), lang)
        for word in words:
            assert word in text, f"{word!r} is not in: {text}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sent": 101}, "101 records sent, but 97 archived and 3 dead: 1 are missing"),
        ({"counts": Counts(97, 3, 1, late=50)}, "50 of 97 observations came late, more than 5%"),
        ({"broken": ["20260701-1: does not follow"]}, "does not follow"),
        ({"watch": CityWatch(loop_city())}, "no alert was raised"),
    ],
)
def test_a_figure_that_does_not_agree_is_a_problem_and_no_check_mark_is_shown(
    changes: dict[str, Any], says: str
) -> None:
    watch, _ = told()
    assert list(outcome(watch).problems()) == []
    made = replace(outcome(watch), **changes)
    assert any(says in problem for problem in made.problems())
    assert "✓" not in printed(made, Lang.EN)


@pytest.mark.parametrize("field", ["alerts", "changes", "notifications", "observations", "dead"])
def test_the_history_is_whole_only_when_it_has_everything_that_was_told(field: str) -> None:
    watch, _ = told()
    assert is_whole(counts(watch), 100, watch)
    fewer = replace(counts(watch), **{field: getattr(counts(watch), field) - 1})
    assert not is_whole(fewer, 100, watch)
    assert list(outcome(watch, counts=fewer).problems())


class Kept:
    """A store that holds these records of incidents."""

    def __init__(self, records: list[tuple[str, str]]) -> None:
        self._records = records

    def rows(self, _sql: str, parameters: dict[str, Any]) -> list[tuple[str, str]]:
        return [row for row in self._records if row[0] in parameters["ids"]]


def test_a_stored_history_that_was_changed_or_cut_is_found() -> None:
    watch, log = told()
    records = [(change.incident_id, encode_incident(change).decode()) for change in log.changes]
    assert broken_chains(Kept(records), watch) == []  # type: ignore[arg-type]  # what it asks of a store
    assert any("differ" in one for one in broken_chains(Kept(records[:-1]), watch))  # type: ignore[arg-type]
    other = msgspec.json.decode(records[-1][1]) | {"actor": "nobody"}
    changed = [*records[:-1], (records[-1][0], msgspec.json.encode(other).decode())]
    assert any("was changed" in one for one in broken_chains(Kept(changed), watch))  # type: ignore[arg-type]


def test_one_verdict_that_differs_fails_bostons_demo() -> None:
    verdicts = Verdicts()
    line = verdicts.lines[Kind.CLOSED_WITH_DEADLINE]
    line.tickets = line.agree = 10
    assert problems_of(Played(), verdicts) == []
    line.agree, line.apart = 9, ["T-1"]
    assert "T-1" in problems_of(Played(), verdicts)[0]
    verdicts.missing.append("T-2")
    assert "in no incident" in problems_of(Played(), verdicts)[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": "paris"}, "there is boston"),
        ({"data": "boston", "minutes": 2.0, "speed": 60.0}, "--minutes, --speed belongs to the simulated city"),
        ({"limit": 3}, "--limit belongs to --data"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(given: dict[str, Any], says: str, tmp_path: Any) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("minutes", "speed", "seed", "data", "source", "limit", "lang"))
    with pytest.raises(UsageProblem, match=says):
        check(Request(**nothing | {"folder": tmp_path} | given))
    check(Request(**nothing | {"folder": tmp_path}))
