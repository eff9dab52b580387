"""Mapping files: every problem named with its line, nothing read that could run or grow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.console import UsageProblem
from deploy.replay.mapping_file import find_mapping, read_mapping
from schemas.errors import SettingsError

GOOD = """\
name: my_set
title: {zh: 我的数据, en: my data}
origin: here
licence: CC BY 4.0
inputs:
  - files: [a_*.csv]
    format: csv
    time: {columns: [at], form: local, format: "%Y-%m-%d %H:%M", zone: Europe/Berlin}
    records:
      - topic: readings
        fields:
          device_id: sensor
          metric: {constant: noise_db}
          value: {column: level, as: number}
"""


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "my.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        read_mapping(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_users_own_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(GOOD, "utf-8")
    mapping = find_mapping(str(path))
    assert mapping.name == "my_set" and mapping.order == "time" and mapping.missing == [""]
    assert mapping.inputs[0].records[0].fields["device_id"].column == "sensor", "a plain text names a column"


def test_an_unknown_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageProblem, match=r"unknown data set 'tickets_rome'; choose from camera_deepstream, .*\.yaml"):
        find_mapping("tickets_rome")


def test_all_problems_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    text = GOOD.replace("licence: CC BY 4.0\n", "license: CC BY 4.0\n")
    text = text.replace("format: csv", "format: xlsx").replace("Europe/Berlin", "Europe/Bonn")
    found = problems(tmp_path, text)
    assert len(found) == 4
    assert "4: license: unknown key" in found
    assert "1: licence: missing" in found
    assert any(re.match(r"7: inputs\[0\]\.format: choose from 'csv', 'jsonl' or 'json', got 'xlsx'", f) for f in found)
    assert any(re.match(r"8: inputs\[0\]\.time\.zone: not a time zone; .*got 'Europe/Bonn'", f) for f in found)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("          device_id: sensor\n", "", r"10: inputs\[0\]\.records\[0\]: fields: missing device_id"),
        ("device_id: sensor", "device_id: sensor\n          colour: red", r"fields\.colour: .* goes under keep"),
        ("device_id: sensor", "device_id: sensor\n          lon: x", r"fields\.lon: said by time and place, not here"),
        ("{constant: noise_db}", "{constant: a, column: b}", r"expected exactly one of .*; got column and constant"),
        ("{constant: noise_db}", "{column: a, table: t}", r"unknown table t; tables has none"),
        ("form: local, ", "form: epoch_s, ", r"means nothing for form epoch_s"),
        (', zone: Europe/Berlin', "", r"form local needs zone"),
        ("files: [a_*.csv]", "files: [/etc/*.csv]", r"6: inputs\[0\]\.files\[0\]: string should match"),
        ("files: [a_*.csv]", "files: [../a.csv]", r"6: inputs\[0\]\.files\[0\]: string should match"),
        ("format: csv", "format: json\n    wide: {keep: [], name: a, value: b}", r"wide belongs to csv, this is json"),
        ("as: number", "as: number, times: fast", r"14: .*times: input should be a valid number"),
        ("name: my_set", "name: my_set\nname: other", r"2: 'name' is given twice, first in line 1"),
        ("origin: here", "origin: *here", r"3: aliases \(\*\) are not read"),
        ("origin: here", "origin: [", r"not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_is(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in GOOD
    assert re.search(expected, "\n".join(problems(tmp_path, GOOD.replace(old, new, 1))))


def test_yaml_that_would_make_objects_is_not_run(tmp_path: Path) -> None:
    text = GOOD.replace("origin: here", "origin: !!python/object/apply:os.system [exit 3]")
    assert "not YAML" in problems(tmp_path, text)[0]


@pytest.mark.parametrize("text", ["", "[]", "a", "{{{{", "\x00", "- " * 5000, "a: 2018-02-31", "? [a]\n: b"])
def test_what_is_no_mapping_file_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    assert len(problems(tmp_path, text)) == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read: no such file"):
        find_mapping(str(tmp_path / "none.yaml"))
