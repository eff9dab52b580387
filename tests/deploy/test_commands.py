"""The command as users meet it: help with an example everywhere, one sentence and an exit code for every failure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deploy.console import ExitCode, exit_code_of, safe
from deploy.main import app
from schemas.errors import (
    BrokerError,
    MessageError,
    SettingsError,
    StoreRefused,
    StoreUnavailable,
    TongguanError,
)
from streams.metrics import PortTaken
from streams.topic_admin import BrokerAway

ROOT = Path(__file__).parent.parent.parent


pytestmark = pytest.mark.usefixtures("empty_folder")


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.stdout, result.stderr


def commands() -> Iterator[list[str]]:
    def walk(command: object, path: list[str]) -> Iterator[list[str]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path
        else:
            for name, child in inner.items():
                yield from walk(child, [*path, name])

    yield from walk(typer.main.get_command(app), [])


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help_in_both_languages_with_an_example(path: list[str]) -> None:
    code, shown, _ = run(*path, "--help")
    assert code == ExitCode.OK
    assert re.search(r"Example:.*tongguan", shown, re.DOTALL)
    assert re.search(r"[\u4e00-\u9fff]", shown)


def test_help_of_the_whole_documents_the_exit_codes() -> None:
    _, shown, _ = run("--help")
    assert "Exit codes: 0 done; 1 found problems; 2 wrong usage" in shown


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError(["a", "b"]), 2),
        (PortTaken("taken"), 2),
        (BrokerAway("away"), 3),
        (BrokerError("refused"), 3),
        (StoreUnavailable("away"), 3),
        (StoreRefused("no"), 1),
        (MessageError("not one"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: TongguanError, code: int) -> None:
    assert exit_code_of(error) == code


def test_control_characters_are_written_out() -> None:
    assert safe("a\x1b[31m\r\nb\u202e中文\x9b") == "a\\x1b[31m\\x0d\\x0ab\\u202e中文\\x9b"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["topics", "apply"], 3, "no broker is configured and no local stack runs in"),
        (["tail", "alerts"], 3, "start one with `tongguan up`"),
        (["tail", "alarms"], 2, "cannot follow 'alarms'; choose from alerts"),
        (["tail", "alerts", "--cell", "north"], 2, "in decimal, or in hexadecimal"),
        (["tail", "alerts", "--since", "yesterday"], 2, "cannot read 'yesterday' as a moment"),
        (["tail", "readings", "--detector", "fire"], 2, "--detector filters alerts"),
        (["worker", "--roles", "locate,jion"], 2, "unknown role jion; choose from locate, join, dispatch, archive"),
        (["worker", "--roles", ","], 2, "no role given"),
        (["up", "--roles", "all"], 2, "unknown role all"),
        (["config", "check", "-c", "none.toml"], 2, "none.toml: no such file"),
        (["sql", "DROP TABLE alerts"], 2, "only reads"),
    ],
)
def test_failure_is_one_sentence_with_what_to_do_and_the_documented_code(
    words: list[str], code: int, told: str
) -> None:
    got, _, shown = run(*words)
    assert told in shown
    assert got == code
    assert "Traceback" not in shown


@pytest.mark.parametrize("words", [["topics", "apply"], ["tail", "alerts"], ["dead-letters", "list"]])
def test_broker_that_is_away_ends_with_3(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONGGUAN_KAFKA", "127.0.0.1:1")
    code, _, shown = run(*words)
    assert code == ExitCode.AWAY
    assert "127.0.0.1:1: connection refused" in shown


def test_all_problems_of_a_configuration_are_listed(tmp_path: Path) -> None:
    (tmp_path / "tongguan.toml").write_text("[metrics]\nport = -1\nhots = 1\n", encoding="utf-8")
    code, _, shown = run("config", "check")
    assert code == ExitCode.USAGE
    assert "2 problems" in shown
    assert "metrics.port = -1" in shown
    assert "did you mean host?" in shown


def test_unexpected_error_is_a_sentence_that_blames_us(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("boom\x1b[31m")

    monkeypatch.setattr("deploy.config_sample.sample_toml", broken)
    code, _, shown = run("config", "sample")
    assert code == ExitCode.INTERNAL
    assert "internal: RuntimeError: boom\\x1b[31m" in shown
    assert "Traceback" not in shown


def test_config_show_prints_what_is_in_force_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONGGUAN_CLICKHOUSE", "http://me:hunter2@store:8123")
    monkeypatch.setenv("TONGGUAN_METRICS__PORT", "9500")
    code, shown, said = run("config", "show", "--json")
    document = json.loads(shown)
    assert code == 0
    assert document["metrics"]["port"] == 9500
    assert document["clickhouse"]["password"] == "***"
    assert "TONGGUAN_METRICS__PORT" in said
    assert "hunter2" not in shown + said


def test_what_config_show_prints_can_be_loaded_again(tmp_path: Path) -> None:
    _, shown, _ = run("config", "show")
    (tmp_path / "shown.toml").write_text(shown, encoding="utf-8")
    assert run("config", "check", "-c", "shown.toml")[0] == 0


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m deploy.main config sample | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_help_imports_nothing_heavy() -> None:
    """A second of numba and pandas before the first line of help would make the command feel broken."""
    program = (
        "import sys, deploy.main; "
        "print([name for name in ('numba', 'pyarrow', 'faust', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
