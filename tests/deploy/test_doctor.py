"""The doctor: every check says what is wrong and what to do, and one broken thing does not hide another."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.config import ClickHouseSettings, KafkaSettings, MetricsSettings, TongguanConfig
from deploy.console import ExitCode
from deploy.doctor import (
    Finding,
    Status,
    check_clickhouse,
    check_data_dir,
    check_kafka,
    check_metrics_port,
    check_packages,
)
from deploy.main import app
from streams import metrics
from tests.support.city_folder import DEPARTMENTS, write_city

pytestmark = pytest.mark.usefixtures("empty_folder")


def doctor(*words: str) -> tuple[int, dict[str, Finding]]:
    result = CliRunner().invoke(app, ["doctor", "--json", *words])
    findings = [Finding(**json.loads(line)) for line in result.stdout.splitlines()]
    return result.exit_code, {finding.subject: finding for finding in findings}


def test_machine_without_anything_running_is_well() -> None:
    code, findings = doctor()
    assert code == ExitCode.OK
    assert findings["local stack"].status == Status.NOTE
    assert "tongguan up" in findings["local stack"].advice


def test_city_is_checked_and_its_faults_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, findings = doctor()
    assert findings["city"].status == Status.OK and "上海市 Shanghai" in findings["city"].message
    folder = write_city(tmp_path / "city", departments_csv=DEPARTMENTS + "x,某局,X,planet,990000,\n")
    monkeypatch.setenv("TONGGUAN_CITY__FOLDER", str(folder))
    code, findings = doctor()
    assert code == ExitCode.PROBLEMS
    assert findings["city"].status == Status.WRONG
    assert f"{folder}/departments.csv:7: level 'planet'" in findings["city"].message
    monkeypatch.setenv("TONGGUAN_CITY__FOLDER", str(write_city(tmp_path / "other", calendar__2024_json=None)))
    _, findings = doctor()
    assert findings["calendar"].status == Status.NOTE


def test_wrong_configuration_ends_with_2_and_still_checks_python(tmp_path: Path) -> None:
    (tmp_path / "tongguan.toml").write_text("[metrics]\nprot = 1\n", encoding="utf-8")
    code, findings = doctor()
    assert code == ExitCode.USAGE
    assert "did you mean port?" in findings["configuration"].message
    assert findings["python"].status == Status.OK


def test_all_that_is_away_is_named_in_one_run_and_ends_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONGGUAN_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("TONGGUAN_CLICKHOUSE", "http://me:hunter2@127.0.0.1:1")
    code, findings = doctor()
    assert code == ExitCode.AWAY
    assert (findings["kafka"].status, findings["clickhouse"].status) == (Status.AWAY, Status.AWAY)
    assert findings["data_dir"].status == Status.OK
    assert "hunter2" not in str(findings)


def test_missing_package_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.doctor.CORE_MODULES", ("json", "no_such_module_here"))
    [finding] = check_packages()
    assert (finding.status, finding.message) == (Status.WRONG, "missing: no_such_module_here")


def test_port_that_our_own_worker_serves_is_well() -> None:
    with metrics.serve("127.0.0.1", 0) as server:
        [finding] = check_metrics_port(TongguanConfig(metrics=MetricsSettings(port=server.port)))
        assert (finding.status, "a worker of Tongguan" in finding.message) == (Status.OK, True)


def test_port_taken_by_a_program_that_speaks_no_http_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.doctor.QUICK_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        [finding] = check_metrics_port(TongguanConfig(metrics=MetricsSettings(port=other.getsockname()[1])))
    assert finding.status == Status.WRONG
    assert "set metrics.port" in finding.advice


def test_data_directory_that_is_a_file_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder", encoding="utf-8")
    [finding] = check_data_dir(TongguanConfig(data_dir=tmp_path / "data"))
    assert finding.status == Status.WRONG


def test_full_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.doctor.MIN_FREE_BYTES", 2**62)
    [finding] = check_data_dir(TongguanConfig(data_dir=tmp_path / "not made yet"))
    assert finding.status == Status.WRONG
    assert "make room" in finding.advice
    assert not (tmp_path / "not made yet").exists()


def test_nothing_is_asked_of_servers_that_are_not_configured() -> None:
    config = TongguanConfig(kafka=KafkaSettings(), clickhouse=ClickHouseSettings())
    assert list(check_kafka(config)) == []
    assert list(check_clickhouse(config)) == []
