"""`tongguan sql`: only reads, prints what programs and people need, and tells refusals in one sentence."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from deploy.console import ExitCode, UsageProblem
from deploy.main import app
from deploy.options import Format
from deploy.sql import check_query, print_table, with_times

SHANGHAI = ZoneInfo("Asia/Shanghai")
ROWS = pa.table(
    {
        "kind": ["flood", "a\x1b[31mb"],
        "count": [1, 2_000],
        "at": pa.array([datetime(2026, 7, 1, tzinfo=UTC), None], pa.timestamp("ms", tz="UTC")),
        "tags": [["x", "y"], []],
        "values": pa.array([[("level", 2.5)], []], pa.map_(pa.string(), pa.float64())),
    }
)


@pytest.mark.parametrize(
    "query",
    ["SELECT 1", "  select 1 ; ", "with 1 as x select x", "SHOW TABLES", "-- why\nSELECT 1", "(SELECT 1)", "DESC t"],
)
def test_reading_queries_pass(query: str) -> None:
    assert check_query(query)


@pytest.mark.parametrize(
    "query", ["DROP TABLE alerts", "INSERT INTO t VALUES (1)", "/* x */ ALTER TABLE t", "42", "SET x=1"]
)
def test_anything_that_is_not_a_query_is_refused(query: str) -> None:
    with pytest.raises(UsageProblem, match="only reads"):
        check_query(query)


def test_empty_query_and_own_format_are_refused_with_what_to_do() -> None:
    with pytest.raises(UsageProblem, match="SHOW TABLES"):
        check_query(" ; ")
    with pytest.raises(UsageProblem, match="--format"):
        check_query("SELECT 1 FORMAT JSON")


def test_csv_is_csv(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, format=Format.CSV, limit=10, zone=SHANGHAI)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == {
        "kind": "flood",
        "count": "1",
        "at": "2026-07-01T00:00:00+00:00",
        "tags": '["x", "y"]',
        "values": '{"level": 2.5}',
    }
    assert rows[1]["at"] == ""


def test_json_has_one_document_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, format=Format.JSON, limit=10, zone=SHANGHAI)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert documents[0] == {
        "kind": "flood",
        "count": 1,
        "at": "2026-07-01T00:00:00+00:00",
        "tags": ["x", "y"],
        "values": {"level": 2.5},
    }


def test_table_shows_the_citys_time_and_lets_no_control_character_through(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, format=Format.TABLE, limit=10, zone=SHANGHAI)
    shown = capsys.readouterr().out
    assert "2026-07-01 08:00:00" in shown
    assert "\x1b" not in shown
    assert r"a\x1b[31mb" in shown


def test_rows_beyond_the_limit_are_announced_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, format=Format.CSV, limit=1, zone=SHANGHAI)
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "1 more rows not shown" in captured.err


def test_bare_seconds_become_times_again() -> None:
    table = with_times(pa.table({"t": pa.array([0], pa.uint32()), "n": pa.array([7], pa.uint32())}), {"t": "DateTime"})
    assert table.to_pylist() == [{"t": datetime(1970, 1, 1, tzinfo=UTC), "n": 7}]


def test_without_any_history_the_command_says_so_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["sql", "SELECT 1"])
    assert result.exit_code == ExitCode.AWAY
    assert "no history in" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_server_that_is_away_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TONGGUAN_CLICKHOUSE", "http://me:hunter2@127.0.0.1:1")
    result = CliRunner().invoke(app, ["sql", "SELECT 1"])
    assert result.exit_code == ExitCode.AWAY
    assert "clickhouse at http://127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.output + result.stderr
