"""`tongguan city`: what a user sees of a good folder, of a bad one, and of a new one; exit codes as the README says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.city import examine, known_categories
from deploy.config import TongguanConfig
from deploy.main import app
from tests.support.city_folder import DEPARTMENTS, write_city


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tongguan.toml of a developer's own takes part."""
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Ran:
    """One run of the command."""

    exit_code: int
    stdout: str
    stderr: str


def tongguan(*words: str) -> Ran:
    result = CliRunner().invoke(app, list(words))
    return Ran(result.exit_code, result.stdout, result.stderr)


def test_good_folder_is_told_with_its_counts_and_ends_with_0(tmp_path: Path) -> None:
    folder = write_city(tmp_path / "city", devices_csv="device_id,lon,lat\nD1,120.05,30.05\n")
    result = tongguan("city", "check", str(folder))
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["2", "区", "districts"] in lines
    assert ["1", "设备", "devices"] in lines
    assert "测试市 Testville (990000)" in result.stdout
    assert "problem" not in result.stdout


def test_bad_folder_names_every_problem_and_ends_with_1(tmp_path: Path) -> None:
    folder = write_city(
        tmp_path / "city",
        departments_csv=DEPARTMENTS + "x,某局,X,planet,990000,\n",
        devices_csv="device_id,lon,lat\nD1,east,30.05\n",
    )
    result = tongguan("city", "check", str(folder))
    assert result.exit_code == 1
    assert f"{folder}/departments.csv:7: level 'planet'" in result.stdout
    assert f"{folder}/devices.csv:2: lon must be a number" in result.stdout
    assert "2 problems 发现 2 个问题" in result.stderr


def test_programs_get_one_document(tmp_path: Path) -> None:
    folder = write_city(tmp_path / "city", departments_csv=DEPARTMENTS + "x,某局,X,planet,990000,\n")
    result = tongguan("city", "check", str(folder), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["good"] is False and document["city"] is None
    (problem,) = document["problems"]
    assert (problem["file"], problem["line"]) == (f"{folder}/departments.csv", 7)
    good = json.loads(tongguan("city", "check", str(write_city(tmp_path / "good")), "--json").stdout)
    assert good["good"] is True and good["counts"]["district"] == 2


def test_folder_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    result = tongguan("city", "check", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "no such folder; `tongguan city new` makes a city folder" in result.stderr


def test_without_a_name_the_configured_city_is_checked(tmp_path: Path) -> None:
    folder = write_city(tmp_path / "city")
    (tmp_path / "tongguan.toml").write_text(f'[city]\nfolder = "{folder}"\n')
    assert "测试市 Testville (990000)" in tongguan("city", "check").stdout


def test_configuration_without_a_city_folder_has_none_to_check(tmp_path: Path) -> None:
    (tmp_path / "tongguan.toml").write_text("[city]\nwest = 121.0\n")
    result = tongguan("city", "check")
    assert result.exit_code == 2
    assert "name the folder to check" in result.stderr


def test_shanghai_that_ships_has_no_problem_and_only_warnings_it_cannot_help() -> None:
    report = examine(Path("/nowhere"), {}, today=date(2024, 6, 1))
    assert report.problems
    from topology.city import city_folder

    report = examine(city_folder("shanghai"), known_categories(TongguanConfig()), today=date(2024, 6, 1))
    assert report.problems == []
    for warning in report.warnings:
        # one street's boundary is known, by other hands than its district's; the notices are those that are public
        assert any(words in warning for words in ("what belongs to it covers", "slivers", "no holiday notice")), warning


def test_new_folder_from_a_box_can_be_checked_and_used(tmp_path: Path) -> None:
    result = tongguan("city", "new", "--box", "-71.2,42.2,-70.9,42.45", "--zone", "America/New_York", "boston")
    assert result.exit_code == 0, result.stderr
    assert '[city] folder = "boston"' in result.stderr
    assert tongguan("city", "check", "boston").exit_code == 0
    (tmp_path / "tongguan.toml").write_text('[city]\nfolder = "boston"\n')
    checked = tongguan("config", "check")
    assert checked.exit_code == 0 and "city boston" in checked.stderr


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "", "1;2;3;4"])
def test_box_that_is_none_is_wrong_usage(box: str) -> None:
    result = tongguan("city", "new", "--box", box, "x")
    assert result.exit_code == 2
    assert "expected west,south,east,north in degrees" in result.stderr


def test_new_folder_where_one_is_already_is_refused(tmp_path: Path) -> None:
    folder = write_city(tmp_path / "city")
    before = sorted(path.name for path in folder.iterdir())
    result = tongguan("city", "new", "--box", "-71.2,42.2,-70.9,42.45", str(folder))
    assert result.exit_code == 2
    assert "is there already and not empty" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
