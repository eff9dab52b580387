"""`tongguan replay` as a user meets it, without a broker: lists, dry runs, refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.main import app
from tests.deploy.replay.made_up import metr_la, tickets_la, write

pytestmark = pytest.mark.usefixtures("empty_folder")


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["replay", *words])
    return int(result.exit_code), result.stdout, result.stderr


def test_the_list_says_what_there_is_where_it_is_from_and_under_which_licence() -> None:
    code, shown, _ = run("--list")
    assert code == 0 and "tickets_boston  [随附节选 extract ships]" in shown and "PDDL" in shown
    sets = [json.loads(line) for line in run("--list", "--json")[1].splitlines()]
    assert len(sets) == 9 and all(one["licence"] and one["origin"] for one in sets)


def test_a_dry_run_shows_first_records_masked_and_what_became_of_every_row() -> None:
    code, shown, _ = run("tickets_boston", "--dry-run", "-n", "2")
    lines = shown.splitlines()
    assert code == 0 and lines[0].startswith("2011-07-01T05:32:33Z tickets {") and "101000295614" in lines[1]
    assert "rows read     5,236" in shown and "可用记录 records     5,236" in shown
    assert "City Hall, the fallback for an unusable address" in shown
    assert "delivered" not in shown


def test_what_a_dry_run_shows_is_masked(tmp_path: Path) -> None:
    path = tickets_la(tmp_path) / "myla311_made_up.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"Bulky Items", b"Call 13800138000")))
    code, shown, _ = run("tickets_la", "--data-dir", str(tmp_path), "--dry-run")
    assert code == 0 and "Call 138" in shown and "13800138000" not in shown


def test_a_dry_run_counts_for_programs_too() -> None:
    told = json.loads(run("tickets_boston", "--dry-run", "-n", "1", "--json")[1].splitlines()[-1])
    assert told["rows"] == told["records"] == 5236 and told["skipped"] == {}
    assert sum(told["positions_left_out"].values()) == told["notes"]["position_left_out"]


def test_a_span_is_closed_open_and_in_the_zone_of_the_set() -> None:
    _, shown, _ = run("tickets_boston", "--dry-run", "--from", "2011-07-01T02:18:31", "--until", "2011-07-01T02:28:04")
    assert [line.split()[0] for line in shown.splitlines() if " tickets {" in line] == ["2011-07-01T06:18:31Z"]
    code, _, complaint = run("tickets_boston", "--dry-run", "--from", "2011-07-02", "--until", "2011-07-01")
    assert code == 2 and "the span is empty" in complaint


def test_a_set_outside_the_city_is_refused_with_a_city_that_would_hold_it(tmp_path: Path) -> None:
    code, _, complaint = run("sensors_metr_la", "--data-dir", str(metr_la(tmp_path)))
    assert code == 2 and "outside the configured city" in complaint and "TONGGUAN_CITY__WEST=-118.67" in complaint


def test_columns_that_changed_end_with_one_sentence_and_exit_code_two(tmp_path: Path) -> None:
    write(tmp_path / "myla311_new.csv", "id,created\n1,2\n")
    code, shown, complaint = run("tickets_la", "--data-dir", str(tmp_path))
    assert code == 2 and shown == ""
    assert "myla311_new.csv:1: column srnumber, requesttype" in complaint and "nothing of the set was sent" in complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a data set"),
        (["tickets_rome"], "unknown data set 'tickets_rome'"),
        (["sensors_metr_la"], "--data-dir"),
        (["tickets_boston", "--speed", "-1"], "--speed"),
        (["tickets_boston", "--speed", "nan"], "--speed"),
        (["tickets_boston", "--dry-run", "--from", "soon"], "cannot read 'soon' as a moment"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_two(words: list[str], said: str) -> None:
    code, _, complaint = run(*words)
    assert code == 2 and said in complaint


def test_without_a_broker_it_ends_with_three(tmp_path: Path) -> None:
    folder = metr_la(tmp_path)
    code, _, complaint = run("sensors_metr_la", "--data-dir", str(folder), "--anywhere")
    assert code == 3 and "tongguan up" in complaint
