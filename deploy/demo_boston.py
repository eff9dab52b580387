"""`tongguan demo --data boston`: real tickets of a real city through the loop, and the loop's verdicts beside its own.

Boston wrote down for each ticket when it was opened, closed and due, and whether it was on time. The loop is told the
first three as they happened, and must come to the same verdict wherever deadline and closing time are recorded.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import typer
from rich.live import Live
from rich.text import Text

from deploy.console import UsageProblem, say
from deploy.demo_screen import DIM, Screen
from deploy.demo_stage import DemoFailed, DemoStopped, Stage, stage
from deploy.demo_stop import INTERRUPTED, asked_to_stop
from deploy.options import Lang
from deploy.replay import boston_verdicts
from deploy.replay.boston import RecordedTicket, recorded_tickets
from deploy.replay.boston_city import make_city
from deploy.replay.boston_run import Played, play, settings
from deploy.replay.boston_story import story
from deploy.replay.boston_verdicts import WORDS, Kind, Verdicts, compare
from deploy.store import open_store
from streams.clickhouse import Store
from topology.city import City

ROLES: Final = "locate,dispatch,archive"
SETTLED_WITHIN_S: Final = 60.0
LOOK_S: Final = 0.5
REDRAWN_EVERY_S: Final = 0.25
LINE_EVERY_S: Final = 5.0
BAR: Final = 12
VERDICT_WORDS: Final = {"ONTIME": ("按时", "on time"), "OVERDUE": ("超时", "overdue")}


def run(*, tickets_from: Path | None, limit: int | None, folder: Path, lang: Lang) -> None:
    """Show it; ends with 130 when interrupted. Raises DemoFailed when a verdict differs that must not."""
    began = time.monotonic()
    screen = Screen(lang)
    screen.title(
        "波士顿 311 真实工单：按该市自己的期限走完闭环，逐件核对“是否按时”。",
        "Real tickets of Boston's 311 with the city's own deadlines, through the loop; each verdict is compared.",
    )
    tickets = recorded_tickets(tickets_from)[:limit]
    if not tickets:
        raise UsageProblem(f"{tickets_from}: no tickets there")
    with asked_to_stop() as stop:
        try:
            with stage(
                folder, lambda place: _make(place, tickets), roles=ROLES, stopping=stop.is_set, step=screen.step
            ) as staged:
                played = _play(screen, staged, tickets, stop)
                with screen.step("核对历史库", "comparing with the history"), open_store(staged.config) as store:
                    stored = _stored(store, played, stop)
        except DemoStopped:
            say("已停止，没有留下任何进程 stopped, nothing is left running", style="green")
            raise typer.Exit(INTERRUPTED) from None
    verdicts = compare(tickets, played.outcomes)
    _sum_up(screen, played, verdicts, time.monotonic() - began)
    problems = problems_of(played, verdicts)
    if stored != played.outcomes:
        differ = [name for name, outcome in played.outcomes.items() if stored.get(name, "none") != outcome]
        problems.append(f"{len(differ)} outcomes in the history differ from those on the topic, such as {differ[:3]}")
    if problems:
        raise DemoFailed("\n".join(["the verdicts are not what they should be:", *problems]))


def _make(place: Path, tickets: list[RecordedTicket]) -> tuple[str, City]:
    city = make_city(place, tickets)
    return settings(place), city


def _play(screen: Screen, staged: Stage[City], tickets: list[RecordedTicket], stop: threading.Event) -> Played:
    def check() -> None:
        if stop.is_set():
            raise DemoStopped("stopped")
        staged.check()

    first, last = tickets[0].opened_ms, tickets[-1].opened_ms
    screen.heading("回放", "the replay")
    screen.line(
        f"{len(tickets):,} 件工单，{_day(first)} 至 {_day(last)} 立案；期限、结案时间与结论均为该市当年记录。",
        f"{len(tickets):,} tickets opened from {_day(first)} to {_day(last)}; deadlines and ends are the city's own.",
    )
    with _Progress(screen, len(tickets), sum(ticket.closed_ms is not None for ticket in tickets)) as progress:
        return play(staged.config, story(tickets, staged.made), tickets, audience=progress, check=check)


def _stored(store: Store, played: Played, stop: threading.Event) -> dict[str, bool | None]:
    """The outcomes that the history has, once it has all of them or the time is up."""
    give_up_at = time.monotonic() + SETTLED_WITHIN_S
    while True:
        stored = boston_verdicts.stored_outcomes(store)
        if stored == played.outcomes or time.monotonic() > give_up_at:
            return stored
        if stop.wait(LOOK_S):
            raise DemoStopped("stopped")


class _Progress:
    """How far the story has come: two bars on a terminal, else a line now and then."""

    def __init__(self, screen: Screen, tickets: int, ends: int) -> None:
        self._screen = screen
        self._tickets, self._ends = tickets, ends
        self._told_s = 0.0
        self._live = Live(console=screen.console, auto_refresh=False, transient=True) if screen.is_terminal else None

    def __enter__(self) -> _Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def progress(self, at_ms: int, opened: int, closed: int) -> None:
        now_s = time.monotonic()
        every_s = LINE_EVERY_S if self._live is None else REDRAWN_EVERY_S
        if now_s - self._told_s < every_s:
            return
        self._told_s = now_s
        line = Text(f"  {_day(at_ms)}  ")
        for words, count, total in (
            (("立案", "opened"), opened, self._tickets),
            (("结案", "closed"), closed, self._ends),
        ):
            full = min(BAR, round(BAR * count / max(total, 1)))
            line.append(f"{self._screen.say(*words)} ").append("━" * full, "cyan").append("─" * (BAR - full), DIM)
            line.append(f" {count:,} / {total:,}  ")
        if self._live is None:
            self._screen.show(line)
        else:
            self._live.update(line, refresh=True)


def _sum_up(screen: Screen, played: Played, verdicts: Verdicts, total_s: float) -> None:
    screen.heading("结论对照：与该市记录的“是否按时”", "verdicts beside the city's recorded `ontime`")
    rows = []
    for kind in Kind:
        line = verdicts.lines[kind]
        if line.tickets:
            ours = screen.say("，", ", ").join(
                f"{screen.say(*VERDICT_WORDS[word])} {count:,}" for word, count in sorted(line.ours.items())
            )
            compared = kind is not Kind.WITHOUT_RECORDED_VERDICT
            share = f"{100 * line.agree / line.tickets:.1f} %" if compared else "-"
            rows.append(
                [screen.say(*WORDS[kind]), f"{line.tickets:,}", f"{line.agree:,}" if compared else "-", share, ours]
            )
    screen.table(
        (("工单", "tickets"), ("件数", "count"), ("一致", "agree"), ("比例", "share"), ("本系统结论", "the loop says")),
        rows,
    )
    screen.facts(
        (
            ("闭环操作", "actions of the loop", f"{played.actions:,}"),
            ("事件变更", "changes of incidents", f"{played.changes:,}"),
            ("被拒操作", "actions refused", f"{played.refused:,}"),
            (
                "用时",
                "time",
                screen.say(
                    f"回放 {played.seconds:.1f} s，含启动与停止 {total_s:.1f} s",
                    f"{played.seconds:.1f} s, with start and stop {total_s:.1f} s",
                ),
            ),
        )
    )
    sure = verdicts.lines[Kind.CLOSED_WITH_DEADLINE]
    if verdicts.holds:
        screen.line(
            f"  ✓ 有期限且已办结的 {sure.tickets:,} 件工单，结论与该市记录全部一致",
            f"  ✓ on all {sure.tickets:,} tickets with deadline and closing time the loop says what the city recorded",
            "green",
        )


def problems_of(played: Played, verdicts: Verdicts) -> list[str]:
    sure = verdicts.lines[Kind.CLOSED_WITH_DEADLINE]
    problems = []
    if verdicts.missing:
        problems.append(f"{len(verdicts.missing)} tickets are in no incident, such as {verdicts.missing[:3]}")
    if sure.agree != sure.tickets:
        problems.append(
            f"{sure.tickets - sure.agree} of {sure.tickets} verdicts differ from the record where deadline and closing "
            f"time are known, such as {sure.apart[:3]}"
        )
    if played.refused:
        problems.append(f"{played.refused} actions were refused: {played.refusals[0]}")
    return problems


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
