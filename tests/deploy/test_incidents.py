"""`tongguan incidents`: a list with the worst first, one incident with all of it, and a chain that cannot be mended."""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from deploy.main import app
from schemas.incident import IncidentChange, encode_incident
from streams.archive_lane import Delivery
from streams.archive_loop_records import LoopRecord, insert_new, read_incident
from streams.clickhouse import Store, connect
from streams.migrations import apply_migrations
from tests.support.loop_city import FAR_IN_WEST, HOUR, IN_EAST
from tests.support.loop_log import LoopLog

PHONE = "13812345678"


def worked_city() -> LoopLog:
    """One incident worked to its end and refused something on the way, one far past its deadlines, one fresh."""
    log = LoopLog()
    log.ticket("T-1", due_ms=log.now_ms + HOUR, sentence="积水，联系 138****5678")
    first = log.first
    log.alert("A-late", place=IN_EAST, severity=4)
    log.act("close", "operator", "o-1", on=first)
    log.close(on=first)
    log.now_ms += 9 * HOUR
    log.tick()
    log.alert("A-new", place=FAR_IN_WEST, severity=1)
    return log


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoopLog]:
    """A folder with a configuration and a history, and what went into it."""
    folder = tmp_path_factory.mktemp("incidents")
    (folder / "tongguan.toml").write_text(f'[clickhouse]\nurl = "{url_of(folder)}"\n', encoding="utf-8")
    log = worked_city()
    with connect(url_of(folder)) as store:
        apply_migrations(store)
        store_all(store, log)
    return folder, log


def url_of(folder: Path) -> str:
    return f"chdb://{folder / 'store'}"


def store_all(store: Store, log: LoopLog) -> None:
    changes: list[LoopRecord | None] = [
        read_incident("incidents", 0, Delivery(0, encode_incident(change), 0)) for change in log.changes
    ]
    insert_new(ZoneInfo("Asia/Shanghai"))(store, [*changes, *log.notifications], "once")


def tongguan(folder: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["incidents", *words, "--config", str(folder / "tongguan.toml")])
    return result.exit_code, result.output


def latest_of(log: LoopLog, alert_id: str) -> IncidentChange:
    return next(log.latest(one) for one in log.ids if alert_id in log.latest(one).alert_ids)


def test_the_open_ones_are_listed_the_worst_first(city: tuple[Path, LoopLog]) -> None:
    folder, log = city
    code, shown = tongguan(folder, "list", "--lang", "en")
    lines = shown.splitlines()
    assert code == 0
    assert latest_of(log, "A-late").incident_id in lines[0] and "overdue" in lines[0]
    assert latest_of(log, "A-new").incident_id in lines[1]
    assert lines[2] == "2 incidents 件事件"


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--all"], 3),
        (["--state", "closed"], 1),
        (["--state", "closed", "--state", "dispatched"], 3),
        (["--overdue"], 1),
        (["--type", "waterlogging", "--all"], 3),
        (["--type", "fire", "--all"], 0),
        (["--lead", "east-water", "--all"], 1),
        (["--district", "300101", "--all"], 2),
        (["--since", "1d", "--all"], 0),
        (["--all", "--limit", "2"], 2),
    ],
)
def test_filters_leave_what_fits(city: tuple[Path, LoopLog], words: list[str], count: int) -> None:
    code, shown = tongguan(city[0], "list", "--json", *words)
    documents = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    assert (code, len(documents)) == (0, count)


def test_more_than_are_shown_is_said(city: tuple[Path, LoopLog]) -> None:
    _, shown = tongguan(city[0], "list", "--all", "--limit", "1")
    assert "the first 1 are shown" in shown and "3 incidents" in shown


def test_a_state_that_does_not_exist_is_answered_with_the_choices(city: tuple[Path, LoopLog]) -> None:
    code, shown = tongguan(city[0], "list", "--state", "done")
    assert code == 2 and "unknown state 'done'; choose from discovered, filed" in shown


@pytest.mark.parametrize("by", ["id", "beginning", "ticket"])
def test_one_is_shown_with_all_that_happened_and_what_may_be_done_next(city: tuple[Path, LoopLog], by: str) -> None:
    folder, log = city
    named = {"id": log.first, "beginning": log.first[:-2], "ticket": "T-1"}[by]
    code, shown = tongguan(folder, "show", named, "--lang", "en")
    assert code == 0
    for change in log.history():
        assert change.sentence_en in shown
    assert "T-1 due" in shown and "done in time" in shown
    assert "close refused" in shown and "operator: reopen" in shown
    assert PHONE not in shown and "chain broken" not in shown


def test_it_is_shown_in_chinese_too(city: tuple[Path, LoopLog]) -> None:
    _, shown = tongguan(city[0], "show", city[1].first, "--lang", "zh")
    assert "已结案" in shown and "按时办结" in shown and "值班坐席 operator: 重新开启 reopen" in shown


def test_the_records_themselves_are_there_for_programs(city: tuple[Path, LoopLog]) -> None:
    folder, log = city
    _, shown = tongguan(folder, "show", log.first, "--json")
    assert [line.encode() for line in shown.splitlines()] == [encode_incident(change) for change in log.history()]


@pytest.mark.parametrize(("named", "told"), [("nothing", "no incident and no ticket"), ("2026", "more than one")])
def test_what_is_not_one_incident_is_said(city: tuple[Path, LoopLog], named: str, told: str) -> None:
    code, shown = tongguan(city[0], "show", named)
    assert code == 2 and told in shown


def test_an_untouched_history_is_proved_whole(city: tuple[Path, LoopLog]) -> None:
    folder, log = city
    code, shown = tongguan(folder, "verify")
    assert code == 0 and f"3 incidents, {len(log.changes)} records: every chain is whole" in shown
    code, shown = tongguan(folder, "verify", log.first)
    assert code == 0 and f"1 incident, {len(log.history())} records" in shown


@pytest.mark.parametrize(
    ("forgery", "told"),
    [
        ("ALTER TABLE incidents UPDATE payload = replaceOne(payload, 'o-1', 'o-9') WHERE state = 'closed'", "changed"),
        ("ALTER TABLE incidents DELETE WHERE incident_id = '{first}' AND revision = 3", "revision 4"),
        ("ALTER TABLE incidents UPDATE state = 'filed' WHERE state = 'closed'", "columns do not say"),
        (
            "INSERT INTO incidents SELECT * REPLACE (replaceOne(payload, 'o-1', 'o-9') AS payload) FROM incidents"
            " WHERE state = 'closed'",
            "2 contents",
        ),
    ],
)
def test_a_forged_history_is_found_and_the_command_fails(tmp_path: Path, forgery: str, told: str) -> None:
    (tmp_path / "tongguan.toml").write_text(f'[clickhouse]\nurl = "{url_of(tmp_path)}"\n', encoding="utf-8")
    log = worked_city()
    with connect(url_of(tmp_path)) as store:
        apply_migrations(store)
        store_all(store, log)
        if forgery.startswith("INSERT"):
            store.command("SYSTEM STOP MERGES incidents")  # they would keep one of the two
        settings = "" if forgery.startswith("INSERT") else " SETTINGS mutations_sync = 1"
        store.command(forgery.format(first=log.first) + settings)
    code, shown = tongguan(tmp_path, "verify")
    assert code == 1 and told in shown and "摘要链不完整" in shown
