"""The registry of kinds: what comes with it, how a user's file extends it, and how a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.kinds import BUILT_IN, Kind, built_in_kinds, load_kinds
from schemas.sources import Source


def problems_of(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_kinds(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def written(folder: Path, text: str) -> Path:
    path = folder / "kinds.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (
            Source.READINGS,
            "water_level_mm rainfall_mm_h traffic_speed_kmh pm25_ugm3 gas_lel_percent noise_db smoke_obscuration "
            "occupancy pedestrian_count",
        ),
        (Source.CAMERA_EVENTS, "waterlogging stopped_vehicle collision crowding smoke fire"),
        (Source.TICKETS, "flood traffic_accident fire gas_leak trapped_person"),
    ],
)
def test_a_city_knows_its_kinds(source: Source, names: str) -> None:
    for name in names.split():
        kind = built_in_kinds().find(source, name)
        assert kind is not None and kind.zh and kind.en


def test_every_metric_has_a_unit_and_a_range() -> None:
    metrics = built_in_kinds().of(Source.READINGS)
    assert len(metrics) > 40
    for metric in metrics:
        assert metric.unit is not None, metric
        assert metric.valid_min is not None and metric.valid_max is not None, metric


def test_the_same_name_may_be_an_event_and_a_category() -> None:
    kinds = built_in_kinds()
    assert kinds.find(Source.CAMERA_EVENTS, "fire") != kinds.find(Source.TICKETS, "fire")
    assert kinds.find(Source.READINGS, "fire") is None
    assert kinds.title(Source.TICKETS, "fire") == "火灾"
    assert kinds.title(Source.TICKETS, "fire", language="en") == "fire"
    assert kinds.title(Source.TICKETS, "新类别") == "新类别"


def test_units_are_known_in_several_spellings() -> None:
    kinds = built_in_kinds()
    assert kinds.unit_of("℃") == kinds.unit_of("degC") == "degC"
    assert kinds.unit_of("µg/m³") == kinds.unit_of("μg/m³") == "ug/m3"  # two different characters for micro
    assert kinds.unit_of("furlong") == "furlong"
    assert kinds.spelled("mm") == ("mm", "MM", "毫米")


def test_a_users_file_adds_and_replaces(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        units:
          furlong: {zh: 弗隆, en: furlong}
          mm: {zh: 毫米, en: millimetre, aliases: [millis]}
        metrics:
          海浪高度: {zh: 浪高, en: wave height, unit: furlong, valid_min: -1e-1, valid_max: 3}
          water_level_mm: {zh: 水深, en: depth, unit: mm}
        """,
    )
    kinds = load_kinds(path)
    assert kinds.find(Source.READINGS, "海浪高度") == Kind(
        source=Source.READINGS,
        name="海浪高度",
        zh="浪高",
        en="wave height",
        unit="furlong",
        valid_min=-0.1,
        valid_max=3.0,
    )
    assert kinds.title(Source.READINGS, "water_level_mm") == "水深"
    assert kinds.unit_of("millis") == "mm"
    assert kinds.find(Source.READINGS, "rainfall_mm_h") is not None
    assert built_in_kinds().title(Source.READINGS, "water_level_mm") == "积水深度"


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
metrics:
  a: {zh: 甲, unit: mm, valid_min: 3, valid_max: 2}
  b: {zh: 乙, en: b, colour: red}
  b: {zh: 乙, en: b}
  c: 3
  d: {zh: 丁, en: d, unit: ℃}
  e: {zh: 戊, en: e, valid_min: .nan, valid_max: "3"}
  f: {zh: 己, en: f, unit: nope}
sensors: {}
events: [fire]
units:
  cm: {zh: 厘米, en: cm, aliases: [mm, [x]]}
""",
    )
    assert problems_of(path) == [
        "2: metrics.a: en: expected words, it is missing",
        "2: metrics.a: valid_min=3 must be below valid_max=2",
        "3: metrics.b: unknown key 'colour'; expected zh, en, unit, valid_min, valid_max",
        "4: section 'metrics': 'b' is given twice, first in line 3",
        "5: metrics.c: expected a mapping with zh, en, unit, valid_min, valid_max",
        "7: metrics.e: valid_min: expected a finite number, got '.nan'",
        "7: metrics.e: valid_max: expected a finite number, got '3'",
        "9: unknown section 'sensors'; expected units, metrics, events, categories",
        "10: section 'events': expected a mapping",
        "12: units.cm: 'mm' already stands for 'mm'",
        "12: units.cm: expected a spelling of the unit",
        "6: metrics.d: unknown unit '℃'; write 'degC'",
        "8: metrics.f: unknown unit 'nope'; add it to section 'units'",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1: the file is empty"),
        ("metrics: [", "1: not YAML"),
        ("3", "1: the file: expected a mapping"),
        ("? [a]\n: 1", "1: the file: expected a name"),
        ("metrics:\n  '': {zh: 甲, en: a}", "2: metrics.: expected a name"),
        ("[" * 3000, "not"),
    ],
)
def test_a_file_that_is_no_registry_is_told(tmp_path: Path, text: str, says: str) -> None:
    assert says in problems_of(written(tmp_path, text))[0]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml: cannot be read"):
        load_kinds(tmp_path / "absent.yaml")
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_kinds(path)


def test_the_built_in_file_lies_beside_the_module() -> None:
    assert BUILT_IN.is_file()
