"""`tongguan demo`: a whole city on this machine, on one screen.

It starts a real Kafka and ClickHouse engine in a directory of its own, a worker beside them, and plays a simulated
Shanghai into them: sensors, cameras, callers, a storm, departments that work well and badly. A board shows it live;
at the end everything is counted, held against the truth and stopped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Final

import typer

from deploy.board import BoardState
from deploy.board_live import BoardShow
from deploy.board_state import CityWatch
from deploy.console import say
from deploy.demo_player import Player
from deploy.demo_screen import Screen
from deploy.demo_stage import DemoFailed, DemoStopped, Stage, stage
from deploy.demo_stop import INTERRUPTED, asked_to_stop
from deploy.demo_story import ROLES, DemoCity, build, story
from deploy.demo_summary import Counts, Outcome, Summary, broken_chains, dead_by_reason, is_whole
from deploy.demo_truth import judge
from deploy.options import Lang
from deploy.store import open_store
from streams.clickhouse import Store

SETTLED_WITHIN_S: Final = 60.0
"""How long after the last record the rest of the way may take, on a busy machine."""
QUIET_S: Final = 1.0
"""For so long nothing more must have been told before the history is taken to be whole."""


def run(*, minutes: float | None, speed: float, seed: int, folder: Path, lang: Lang) -> None:
    """Show the demo for `minutes` of the wall clock, None: until it is interrupted, which ends it with 130.

    Raises DemoFailed when it does not show what it should.
    """
    began = time.monotonic()
    screen = Screen(lang)
    settings = story(seed=seed, city_minutes=None if minutes is None else minutes * speed)
    with asked_to_stop() as stop:
        try:
            screen.title(
                "模拟的上海夏夜：传感器、摄像头、12345 热线，一场暴雨过境，各部门有好有差。",
                "A simulated summer evening in Shanghai: sensors, cameras, hotline calls, a storm passing over, "
                "departments that work well and badly.",
            )
            with stage(
                folder, lambda city: build(city, settings), roles=ROLES, stopping=stop.is_set, step=screen.step
            ) as staged:
                where_to_look(screen, staged)
                outcome = _play(screen, staged, speed, stop, began)
        except DemoStopped:
            say("已停止，没有留下任何进程 stopped, nothing is left running", style="green")
            raise typer.Exit(INTERRUPTED) from None
    outcome.total_s = time.monotonic() - began
    Summary(screen, outcome).print()
    afterwards(screen, staged.file)
    if problems := list(outcome.problems()):
        raise DemoFailed("\n".join(["the demo did not show what it should:", *problems, str(staged.worker.log_path)]))


def _play(screen: Screen, staged: Stage[DemoCity], speed: float, stop: threading.Event, began: float) -> Outcome:
    city, simulated = staged.config.load_city(), staged.made
    board = BoardState(
        city_zh=city.name_zh, city_en=city.name_en, zone=staged.config.city.zone_info, speed=speed,
        footer_zh=f"Ctrl-C 结束；另开终端：tongguan tail incidents -c {shown(staged.file)}",
        footer_en=f"Ctrl-C ends; in another terminal: tongguan tail incidents -c {shown(staged.file)}",
    )  # fmt: skip
    watch = CityWatch(city, board)
    show = BoardShow(board, screen.lang, screen.console)
    player = Player(staged, watch, speed=speed, stopping=stop.is_set, tell=show.tell)
    playing_since = time.monotonic()
    with open_store(staged.config) as store:

        def settled() -> bool:
            return player.quiet_s >= QUIET_S and is_whole(Counts.of(store), player.sent.records, watch)

        with show.running():
            asyncio.run(player.run(settled, settled_within_s=SETTLED_WITHIN_S))
        running_s = time.monotonic() - playing_since
        with screen.step(
            "核对：记录、事件、摘要链、告警与实情", "checking records, incidents, chains of hashes, alerts"
        ):
            return _outcome(store, simulated, watch, player, began, running_s)


def _outcome(
    store: Store, simulated: DemoCity, watch: CityWatch, player: Player, began: float, running_s: float
) -> Outcome:
    to_ms = min(player.city_ms, simulated.settings.end_ms)  # what is late on purpose is sent after the end
    scores = judge(simulated.truth(), watch.episodes, from_ms=simulated.from_ms, to_ms=to_ms)
    first_s = None if watch.first_alert_s is None else watch.first_alert_s - began
    return Outcome(
        sent=player.sent.records,
        actions=player.actions,
        watch=watch,
        scores=scores,
        counts=Counts.of(store),
        dead=dead_by_reason(store),
        broken=broken_chains(store, watch),
        first_alert_s=first_s,
        running_s=running_s,
    )


def where_to_look(screen: Screen, staged: Stage[DemoCity]) -> None:
    """While it runs, from another terminal."""
    file = shown(staged.file)
    screen.line("另开终端可看：", "in another terminal:")
    screen.facts(
        (
            ("看告警", "alerts", f"tongguan tail alerts -c {file}"),
            ("看事件", "incidents", f"tongguan incidents list -c {file}"),
            ("看指标", "metrics", staged.metrics_url),
            ("查历史", "history", f'tongguan sql -c {file} "SELECT * FROM v_city_index"'),
        )
    )


def afterwards(screen: Screen, file: Path) -> None:
    """What can be done now that nothing runs any more."""
    screen.heading("接下来", "where to look next")
    file = shown(file)
    screen.facts(
        (
            ("查询历史", "ask the history", f'tongguan sql -c {file} "SELECT * FROM v_alerts"'),
            ("看一件事件", "look at an incident", f"tongguan incidents list --all -c {file}"),
            ("常驻运行", "run it yourself", "tongguan up"),
            ("人工处置", "work an incident", "tongguan act --help"),
            ("了解原理", "how it works", "README.md, ARCHITECTURE.md"),
        )
    )


def shown(file: Path) -> Path:
    """The path as one would type it here."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
