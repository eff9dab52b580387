"""`tongguan simulate` as users meet it: files that are there, a description, and sentences for what is wrong."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.main import app
from schemas.sources import TOPICS

SMALL = ("--minutes", "2", "--devices", "60", "--cameras", "90", "--set", "people=400000")


pytestmark = pytest.mark.usefixtures("empty_folder")


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["simulate", *words])
    return result.exit_code, result.stdout, result.stderr


def test_a_file_run_leaves_records_truth_and_the_files_of_its_city(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    code, out, err = run("--preset", "mixed", "--seed", "7", "--sink", "file", "--out", str(folder), *SMALL)
    assert code == 0, err
    assert {path.name for path in folder.iterdir()} == {
        "records.jsonl", "truth.jsonl", "devices.csv", "addresses.csv", "networks.csv",
    }  # fmt: skip
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]
    assert {line["topic"] for line in lines} == set(TOPICS)
    for line in lines:
        assert line["payload"].encode() if "payload" in line else base64.b64decode(line["payload_base64"])
    truth = [json.loads(line) for line in (folder / "truth.jsonl").read_bytes().splitlines()]
    assert truth[0]["entry"] == "run" and truth[0]["counts"]["sent"] == len(lines)
    assert f"{len(lines):,} 条记录 records" in out


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run("--seed", "9", "--sink", "file", "--out", name, *SMALL)[0] == 0
    for file in ("records.jsonl", "truth.jsonl", "devices.csv", "addresses.csv", "networks.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_null_run_only_counts(tmp_path: Path) -> None:
    code, out, _ = run("--preset", "quiet", "--sink", "null", *SMALL)
    assert code == 0 and "-> null" in out and list(tmp_path.iterdir()) == []


def test_describe_prints_every_setting_and_does_nothing(tmp_path: Path) -> None:
    code, out, _ = run("--preset", "storm", "--describe", "--set", "faults.late_rate=0.25", "--seed", "11")
    assert code == 0 and list(tmp_path.iterdir()) == []
    assert "seed = 11" in out and "faults.late_rate = 0.25" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--preset", "blizzard"), "choose one of quiet, storm, rush, mixed"),
        (("--sink", "pigeon"), "choose one of kafka, file, null"),
        (("--sink", "file"), "--sink file needs --out"),
        (("--sink", "null", "--set", "devices"), "expected name=number"),
        (("--sink", "null", "--minutes", "0"), "minutes=0.0 must be above 0"),
        (("--sink", "null", "--start", "soon"), "cannot read 'soon' as a moment"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    code, _, err = run(*words)
    assert code == 2 and sentence in err and "Traceback" not in err


def test_without_a_broker_it_says_how_to_start_one() -> None:
    code, _, err = run("--sink", "kafka")
    assert code == 3 and "tongguan up" in err
