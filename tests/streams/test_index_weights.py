"""The definition of the city operation index: the one that ships, and tables that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from streams.index_weights import CATEGORIES, WEIGHTS, load_weights

HEADER = WEIGHTS.read_text("utf-8").splitlines()[0]


def table(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """The shipped table with some of its text replaced."""
    text = WEIGHTS.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "weights.csv"
    path.write_text(text, "utf-8")
    return path


def test_the_shipped_definition_has_all_eight_categories_and_each_indicator_once() -> None:
    weights = load_weights()
    assert {weight.category for weight in weights} == set(CATEGORIES)
    assert len({weight.indicator for weight in weights}) == len(weights)
    assert {weight.category: weight.category_weight for weight in weights}.keys() == set(CATEGORIES)
    assert sum({weight.category: weight.category_weight for weight in weights}.values()) == 100.0


def test_a_version_holds_until_the_next_one_begins(tmp_path: Path) -> None:
    lines = WEIGHTS.read_text("utf-8").splitlines()
    second = [line.replace("1,2000-01-01,", "2,2026-07-01,", 1) for line in lines[1:]]
    path = tmp_path / "weights.csv"
    path.write_text("\n".join(lines + second), "utf-8")
    weights = load_weights(path)
    july = 1_782_864_000_000  # 2026-07-01T00:00Z
    assert {(weight.version, weight.valid_to_ms) for weight in weights} == {(1, july), (2, None)}
    assert {weight.valid_from_ms for weight in weights if weight.version == 2} == {july}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("readings,pm25_ugm3,", "readings,pm25,", "'pm25' is no kind of readings"),
        ("mean,,35,150,4", "mean,,35,35,4", "both 35"),
        ("mean,,35,150,4", "mean,,35,nan,4", "bad: expected a finite number, got 'nan'"),
        ("mean,,35,150,4", "median,,35,150,4", "aggregate: 'median' is none of mean"),
        ("mean,,35,150,4", "mean,,35,150,0", "weight: expected more than 0"),
        ("1,2000-01-01,environment,", "1,2000-01-02,environment,", "valid_from differs from line 2"),
        ("1,2000-01-01,environment,", "x,2000-01-01,environment,", "version: expected a whole number"),
        ("Environment,13,pm25", "Environment,14,pm25", "category_weight differs"),
        ("2000-01-01,environment,", "2000-01-01,ecology,", "'ecology' is none of"),
        ("1,2000-01-01,traffic,交通运行,Traffic,15,accidents", "1,2000-01-01,traffic,交通运行,Traffic,15,road_speed",
         "'road_speed' is in line"),
        ("tickets,*,count,100k", "tickets,*,count,1000", "per: '1000' is none of 100k"),
        ("2000-01-01,traffic", "yesterday,traffic", "valid_from: expected a date"),
    ],
)  # fmt: skip
def test_a_definition_that_cannot_work_is_refused_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(SettingsError, match=r"weights\.csv:\d+: ") as refused:
        load_weights(table(tmp_path, (old, new)))
    assert says in str(refused.value)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    path = table(tmp_path, ("mean,,35,150,4", "mean,,35,35,4"), ("mean,,55,75,2", "mean,,55,75,-2"))
    with pytest.raises(SettingsError) as refused:
        load_weights(path)
    assert len(refused.value.problems) == 2


def test_a_version_without_a_category_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    lines = [line for line in WEIGHTS.read_text("utf-8").splitlines() if ",energy_water," not in line]
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(SettingsError, match="no indicator of energy_water"):
        load_weights(path)
