"""`tongguan demo`: the whole product on this machine; an hour of a city goes in, alerts and history come out.

It starts a real Kafka and ClickHouse engine in a directory of its own, a worker beside them, replays the recorded
hour (deploy/demo_hour.py makes it), shows the alerts as they come, asks the history, and stops everything.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import typer
from rich.text import Text

from deploy import demo_recording
from deploy.config import CitySettings
from deploy.console import say
from deploy.demo_recording import Record
from deploy.demo_replay import Outcome, replay
from deploy.demo_screen import Screen
from deploy.demo_stage import DemoFailed, DemoStopped, Stage, stage
from deploy.store import open_store
from streams.clickhouse import Store

INTERRUPTED: Final = 130

ROWS_SQL: Final = """\
SELECT source, count() AS records, uniqExact(entity) AS senders, countIf(late) AS late,
       countIf(out_of_range) AS out_of_range, countIf(place_from_register) AS from_register
FROM v_observations GROUP BY source ORDER BY records DESC"""
DEAD_SQL: Final = """\
SELECT topic, reason, path, count() AS records
FROM v_dead_letters GROUP BY topic, reason, path ORDER BY topic, reason, path"""
ALERTS_SQL: Final = """\
SELECT detector, worst_severity AS worst, status,
       formatDateTime(onset_at, '%H:%i', 'Asia/Shanghai') AS onset,
       formatDateTime(cleared_at, '%H:%i', 'Asia/Shanghai') AS cleared,
       round(lon, 4) AS lon, round(lat, 4) AS lat
FROM v_alerts ORDER BY onset_at, alert_id"""
WORST_SQL: Final = """\
SELECT cell FROM v_alerts WHERE detector = 'waterlogging' ORDER BY worst_severity DESC, onset_at, cell LIMIT 1"""
LEVEL_SQL: Final = """\
SELECT formatDateTime(toStartOfFiveMinutes(event_at), '%H:%i', 'Asia/Shanghai') AS time,
       max(value) AS level_mm, bar(level_mm, 0, 500, 40) AS chart
FROM v_observations WHERE cell = {cell} AND kind = 'water_level_mm' AND quality = 0
GROUP BY time ORDER BY time"""


def run(*, speed: float, folder: Path) -> None:
    """Show the demo; ends with 130 when interrupted. Raises DemoFailed when it does not show what it should."""
    began = time.monotonic()
    records = demo_recording.read()
    screen = Screen(CitySettings().zone_info)
    with _asked_to_stop() as stop:
        try:
            screen.title()
            with stage(folder, stopping=stop.is_set, step=screen.step) as staged:
                outcome = _play(screen, staged, records, speed, stop)
                with open_store(staged.config) as store:
                    _ask(screen, store, stop)
                screen.show()
        except DemoStopped:
            say("已停止，没有留下任何进程 stopped, nothing is left running", style="green")
            raise typer.Exit(INTERRUPTED) from None
    _sum_up(screen, outcome, staged, time.monotonic() - began)


def _play(screen: Screen, staged: Stage, records: Sequence[Record], speed: float, stop: threading.Event) -> Outcome:
    seconds = demo_recording.HOUR_MS / 1000 / speed
    screen.heading("回放", "the replay")
    screen.show(
        Text(f"2025-07-17 17:30 至 18:30，{len(records):,} 条记录，{speed:g} 倍速，约 {seconds:.0f} 秒  ")
        + Text(f"one hour at {speed:g} times its pace", style="bright_black")
    )
    with screen.playing():
        return replay(staged, records, speed=speed, audience=screen, stopping=stop.is_set)


def _ask(screen: Screen, store: Store, stop: threading.Event) -> None:
    """Ask the history what an analyst would, and show the question with the answer."""
    screen.heading("历史查询", "ask the history")
    worst = store.rows(WORST_SQL)
    questions = [
        ("各来源记录数", "records by source", ROWS_SQL),
        ("无法使用的记录及原因", "records that could not be used, and why", DEAD_SQL),
        ("告警的起止", "alerts from onset to clear", ALERTS_SQL),
    ]
    if worst:
        level = LEVEL_SQL.format(cell=int(worst[0][0]))
        questions.append(("最严重积水点的水位变化", "water level in the worst flooded cell", level))
    for zh, en, sql in questions:
        if stop.is_set():
            raise DemoStopped("stopped")
        found = store.query_arrow(sql)
        screen.answer(zh, en, sql, found.column_names, [tuple(row.values()) for row in found.to_pylist()])


def _sum_up(screen: Screen, outcome: Outcome, staged: Stage, total_s: float) -> None:
    """What came of it all, and where to look next. Raises DemoFailed when something is missing."""
    first = "-"
    if outcome.first_alert_s is not None:
        first = f"{outcome.first_alert_s:.1f} s（事件时间 event time {screen.clock(outcome.first_alert_event_ms)}）"
    screen.heading("小结", "summary")
    screen.facts(
        (
            ("发送记录", "records sent", f"{outcome.sent:,}"),
            ("归档观测", "observations archived", f"{outcome.observations:,}"),
            ("死信", "dead letters, each with its reason", f"{outcome.dead:,}"),
            ("告警", "alerts raised / cleared", f"{len(outcome.raised)} / {len(outcome.cleared)}"),
            ("首条告警", "first alert, after the first record", first),
            ("回放用时", "replay", f"{outcome.replay_s:.1f} s"),
            ("总用时", "all in all", f"{total_s:.1f} s"),
        )
    )
    if not outcome.is_settled:
        raise DemoFailed(
            f"the history is not whole: {outcome.sent} records sent, {outcome.observations} archived and "
            f"{outcome.dead} dead; {outcome.alert_records} alert records told, {outcome.archived_alerts} archived; "
            f"still active: {', '.join(sorted(outcome.active)) or 'none'}; the worker's log: {staged.worker.log_path}"
        )
    screen.heading("接下来", "where to look next")
    screen.next_steps(_shown(staged.file))


def _shown(file: Path) -> Path:
    """The path as one would type it here."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM, however often: everything is stopped in order all the same."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            say("正在停止 stopping ...", style="yellow")
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
