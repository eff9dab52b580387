"""The board: within its size in every language, each part in its place, and nothing of a record drives the terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, Final

import pytest
from rich.cells import cell_len
from rich.console import Console

from deploy.board import BoardState, District, ShownAlert, lines, plain_status
from deploy.board_live import BoardShow
from deploy.board_metrics import Measured, read
from deploy.board_state import CityWatch
from deploy.options import Lang
from schemas.alert import Action, Alert, make_alert_id
from schemas.incident import State, Step
from schemas.notification import NotificationKind
from schemas.sources import Source
from streams.urgent import DETECTOR as URGENT
from tests.support.loop_city import IN_EAST, IN_WEST, MINUTE, loop_city
from tests.support.loop_log import LoopLog
from topology.levels import Level

NOON: Final = 1_752_811_200_000
SIZES: Final = ((40, 12), (80, 24), (100, 30), (132, 43), (200, 60))


def alert(number: int = 1, action: Action = Action.RAISE, **changes: Any) -> Alert:
    fields: dict[str, Any] = {
        "alert_id": make_alert_id("waterlogging", 1, number, NOON), "revision": 0, "action": action,
        "detector": "waterlogging", "detector_version": 1, "category": "waterlogging", "cell": number, "lon": 121.4,
        "lat": 31.2, "onset_ms": NOON, "window_start_ms": NOON, "window_end_ms": NOON + number * MINUTE, "severity": 2,
        "confidence": 0.9, "reason": "level_and_tickets", "values": {}, "thresholds": {}, "evidence": [],
        "sentence_zh": "积水深 348 毫米，达到报警值 150 毫米，属较大；近 5 分钟本格及周边有 2 次摄像头积水识别。",
        "sentence_en": "Water is 348 mm deep, at or above 150 mm (moderate), confirmed by 2 camera detections.",
        "jurisdiction": "310104", "place_zh": "上海市徐汇区", "place_en": "Xuhui",
    }  # fmt: skip
    return Alert(**fields | changes)


def busy() -> CityWatch:
    """A city in which much has happened."""
    watch = CityWatch(loop_city(), BoardState(city_zh="上海市", city_en="Shanghai", now_ms=NOON, speed=60.0))
    watch.board.footer_zh, watch.board.footer_en = "Ctrl-C 结束", "Ctrl-C ends"
    watch.board.weather_zh, watch.board.weather_en = "天气：暴雨过境", "weather: a storm passes"
    for number in range(30):
        watch.alert(alert(number, severity=1 + number % 4))
    watch.alert(alert(3, Action.CLEAR, revision=1))
    log = LoopLog()
    log.alert("A-1", place=IN_WEST)
    log.ticket("T-1", "parking", IN_EAST)
    for _ in range(300):
        log.now_ms += MINUTE
        log.tick()
    for change in log.changes:
        watch.change(change)
    for notification in log.notifications:
        watch.told(notification)
    names = ("浦东新区", "徐汇区", "闵行区", "长宁区", "普陀区", "黄浦区", "静安区")
    weak = (("市政设施", "municipal facilities", 61.0), ("交通运行", "traffic", 76.0))
    watch.indexed(NOON, [District(name, f"District {n}", 70.0 + 4 * n, weak) for n, name in enumerate(names)])
    watch.measured(measured(10.0, 9_000), measured(8.0, 1_000))
    return watch


def measured(at_s: float, records: int) -> Measured:
    counts = {Source.READINGS: records, Source.CAMERA_EVENTS: records // 100, Source.TICKETS: records // 200}
    return Measured(
        at_s=at_s, records=counts, dead=7, unread_s=0.2, located=records, archived=records - 2_000, alerts=4,
        alerts_s=1.0, loop_s=0.1,
    )  # fmt: skip


@pytest.mark.parametrize("lang", list(Lang))
@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("state", [BoardState(), busy().board], ids=["at the start", "busy"])
def test_it_fits_every_terminal(state: BoardState, lang: Lang, width: int, height: int) -> None:
    drawn = lines(state, lang, width, height)
    assert len(drawn) == height
    assert all(cell_len(line.plain) <= width for line in drawn)


@pytest.mark.parametrize("lang", list(Lang))
def test_each_part_keeps_its_place_while_more_happens(lang: Lang) -> None:
    def headings(state: BoardState) -> list[int]:
        return [n for n, line in enumerate(lines(state, lang, 100, 30)) if line.plain.startswith("─")]

    empty = BoardState(footer_zh="Ctrl-C 结束", footer_en="Ctrl-C ends")
    assert len(headings(empty)) == 3
    assert headings(empty) == headings(replace(empty, alerts=(ShownAlert(alert()),))) == headings(busy().board)


def text(state: BoardState, lang: Lang, width: int = 132, height: int = 43) -> str:
    return "\n".join(line.plain for line in lines(state, lang, width, height))


def test_it_says_in_chinese_what_a_mayor_asks() -> None:
    drawn = text(busy().board, Lang.ZH)
    for word in (
        "上海市 城市运行一网统管", "2025-07-18 12:00", "60 倍速", "天气：暴雨过境", "传感器 4,000/秒", "滞后",
        "定位 0.2s", "告警 0.2s", "归档 0.5s", "未解除 29，累计 30", "重大", "徐汇区  积水深 348 毫米", "解除", "超时 ",
        "期限按时率", "浦东新区  70.0", "市政设施 61", "Ctrl-C 结束",
    ):  # fmt: skip
        assert word in drawn, f"{word!r} is not in:\n{drawn}"
    assert "上海市徐汇区" not in drawn, "which city it is stands above"


def test_it_says_the_same_in_english() -> None:
    drawn = text(busy().board, Lang.EN)
    for word in (
        "Shanghai city operations", "60 x", "sensors 4,000/s", "lag", "29 standing, 30 so far", "Xuhui  Water is 348",
        "cleared", "overdue ", "deadlines kept", "District 0", "municipal facilities 61",
    ):  # fmt: skip
        assert word in drawn, f"{word!r} is not in:\n{drawn}"


def test_columns_of_districts_stand_below_each_other_whatever_their_names_width() -> None:
    drawn = [line.plain for line in lines(busy().board, Lang.ZH, 80, 24) if "━━" in line.plain]
    assert len({cell_len(line[: line.index("━")]) for line in drawn}) == 1


def test_figures_that_do_not_fit_are_left_out_rather_than_cut() -> None:
    (flow,) = [line.plain for line in lines(busy().board, Lang.ZH, 80, 24) if "传感器" in line.plain]
    assert "…" not in flow
    assert "定位 0.2s" in flow


def test_nothing_in_a_record_drives_the_terminal() -> None:
    watch = CityWatch(loop_city())
    watch.alert(alert(sentence_zh="清屏\x1b[2J", place_zh="徐\x07汇"))
    drawn = text(watch.board, Lang.ZH)
    assert "\\x1b[2J" in drawn and "\x1b" not in drawn and "\x07" not in drawn


def test_many_callers_about_one_fire_are_one_line_and_another_fire_is_another() -> None:
    watch = CityWatch(loop_city())
    for number, where in enumerate(("310104", "310104", None, "310115")):
        watch.alert(alert(number, detector=URGENT, category="fire", jurisdiction=where))
    assert [shown.times for shown in watch.board.alerts] == [1, 3]
    assert watch.board.raised_alerts == 4
    assert watch.board.active_alerts == 0, "a person ends an urgent ticket, not a detector"
    assert "3 人来电" in text(watch.board, Lang.ZH)


# --- what is counted -------------------------------------------------------------------------------------------------


def test_a_change_that_comes_again_is_counted_once() -> None:
    log = LoopLog()
    log.alert("A-1")
    watch = CityWatch(loop_city())
    seen = [watch.change(change) for change in (*log.changes, *log.changes)]
    assert seen == [True] * len(log.changes) + [False] * len(log.changes)
    assert watch.changes == len(log.changes)
    assert watch.states() == {State.DISPATCHED: 1}


def test_deadlines_are_kept_by_who_met_them_and_missed_by_who_did_not_by_level() -> None:
    watch = busy()
    assert watch.steps[Step.OVERDUE] > 0
    assert watch.notes[NotificationKind.REMINDER] > 0
    assert watch.board.overdue == 2
    by_level = dict(watch.deadlines())
    assert {level: [(stage.kept, stage.missed) for stage in stages.values()] for level, stages in by_level.items()} == {
        None: [(0, 1), (0, 0), (0, 0)],
        Level.DISTRICT: [(0, 1), (0, 1), (0, 0)],
    }
    assert (watch.board.kept, watch.board.missed) == (0, 3)


def test_figures_are_read_off_the_workers_own_page() -> None:
    page = """\
# TYPE tongguan_records counter
tongguan_records_total{source="readings"} 1200.0
tongguan_records_total{source="tickets"} 3.0
# TYPE tongguan_dead_letters counter
tongguan_dead_letters_total{source="readings",reason="bad_json"} 2.0
tongguan_dead_letters_total{source="tickets",reason="bad_time"} 1.0
# TYPE tongguan_lag_seconds gauge
tongguan_lag_seconds{topic="readings",partition="0"} 0.5
tongguan_lag_seconds{topic="readings",partition="1"} 1.5
# TYPE tongguan_rows counter
tongguan_rows_total{step="located"} 1190.0
tongguan_rows_total{step="archived"} 1000.0
# TYPE tongguan_loop_lag_seconds gauge
tongguan_loop_lag_seconds 0.25
# TYPE tongguan_alert_latency_seconds histogram
tongguan_alert_latency_seconds_count{since="event"} 9.0
tongguan_alert_latency_seconds_sum{since="event"} 900.0
tongguan_alert_latency_seconds_count{since="arrival"} 4.0
tongguan_alert_latency_seconds_sum{since="arrival"} 2.0
"""
    now = read(page, 10.0)
    assert now.records == {Source.READINGS: 1_200, Source.CAMERA_EVENTS: 0, Source.TICKETS: 3}
    assert now.dead == 3
    before = read("", 9.0)
    assert now.lag_s(before) == {
        "locate": 1.5, "loop": 0.25, "archive": pytest.approx(190 / 1190), "alert": 0.5
    }  # fmt: skip
    assert "alert" not in before.lag_s(read("", 8.0)), "no alert was timed yet"


# --- without a terminal ----------------------------------------------------------------------------------------------


def test_into_a_pipe_go_plain_lines_each_once_in_their_order() -> None:
    watch = CityWatch(loop_city(), BoardState(city_zh="上海市", now_ms=NOON))
    console = Console(file=io.StringIO(), width=120, highlight=False, markup=False)
    show = BoardShow(watch.board, Lang.ZH, console)
    with show.running():
        for number in (1, 2):
            watch.alert(alert(number))
            watch.alert(alert(number + 10))
            show.tell()
    assert isinstance(console.file, io.StringIO)
    told = [line.split()[0] for line in console.file.getvalue().splitlines() if "积水深" in line]
    assert told == ["12:01", "12:11", "12:02", "12:12"]
    assert plain_status(watch.board, Lang.ZH).plain in console.file.getvalue()
