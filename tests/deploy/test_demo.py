"""What the demo may touch, its story, and its judgement of alerts; the whole of it is in test_demo_live.py."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.config_load import load_config
from deploy.console import UsageProblem
from deploy.demo_screen import language
from deploy.demo_stage import (
    CITY,
    FILE,
    MARKER,
    PARTITIONS,
    check_folder,
    make_fresh,
    settings_left_aside,
    write_settings,
)
from deploy.demo_story import SECTIONS, UNSEEN_MINUTES, DemoCity, DemoPace, build, story
from deploy.demo_truth import WITHIN_MS, Episode, judge
from deploy.options import Lang
from schemas.sources import Source
from topology.city import City


def test_a_directory_with_other_peoples_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with pytest.raises(UsageProblem, match="not empty and was not made by the demo"):
        check_folder(tmp_path)
    file = tmp_path / "kafka" / "a-file"
    file.touch()
    with pytest.raises(UsageProblem, match="not a directory"):
        check_folder(file)


def test_starting_fresh_deletes_what_the_demo_made_and_nothing_else(tmp_path: Path) -> None:
    check_folder(tmp_path)
    make_fresh(tmp_path)
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    (tmp_path / CITY).mkdir()
    (tmp_path / "worker.log").write_text("of the last run")
    (tmp_path / FILE).write_text("of the last run")
    (tmp_path / "my-notes.txt").write_text("keep")
    check_folder(tmp_path)
    make_fresh(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {MARKER, "my-notes.txt"}


def test_settings_of_a_real_system_are_left_aside_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONGGUAN_KAFKA", "production:9092")
    monkeypatch.setenv("TONGGUAN_CACHE", "/somewhere")
    with settings_left_aside():
        assert "TONGGUAN_KAFKA" not in os.environ
        assert os.environ["TONGGUAN_CACHE"] == "/somewhere"
    assert os.environ["TONGGUAN_KAFKA"] == "production:9092"


def test_the_demos_city_is_shanghai_with_what_was_simulated_and_its_configuration_is_valid(tmp_path: Path) -> None:
    sections, made = build(tmp_path / CITY, story(seed=1, city_minutes=2))
    assert sections == SECTIONS
    write_settings(tmp_path / FILE, sections)
    config = load_config(tmp_path / FILE, environ={}).config
    assert config.data_dir == tmp_path
    assert not config.dispatch.ticker
    topics = config.topics
    assert {
        Source.READINGS: topics.readings_partitions,
        Source.CAMERA_EVENTS: topics.camera_events_partitions,
        Source.TICKETS: topics.tickets_partitions,
    } == PARTITIONS
    city = config.load_city()
    assert city.devices_path is not None and city.devices_path.is_relative_to(tmp_path)
    road, number, _, _ = made.streets.address(0)
    assert city.addresses is not None
    assert city.addresses.resolve(f"{road}{number}号").lon is not None, "addresses alone place a ticket"


@pytest.fixture(scope="module")
def looked_at() -> DemoCity:
    return DemoCity(story(seed=1, city_minutes=4), City.load("shanghai"))


def test_the_story_is_seen_from_its_moment_on_at_its_pace(looked_at: DemoCity) -> None:
    blocks = list(looked_at.blocks())
    assert all(block.rows.send_ms.min() >= looked_at.from_ms for block in blocks)
    pace = DemoPace(speed=60.0)
    due = [due_s for block in blocks for _, due_s in pace.slices(block.rows.send_ms, looked_at.settings.start_ms, 0)]
    assert due == sorted(due)
    assert due[0] < 0.2, "it does not wait for what is not shown"
    on_time = due[round(0.9 * len(due))]  # what is late on purpose comes after the end
    assert on_time == pytest.approx(0.9 * 4.0, abs=0.4), "four minutes at sixty times the pace"


def test_streets_are_flooded_soon_after_it_begins(looked_at: DemoCity) -> None:
    flooded = [e for e in looked_at.truth() if e.get("should_raise") == "waterlogging"]
    assert flooded, "nothing to see in the first minutes"
    assert min(entry["onset_ms"] for entry in flooded) <= looked_at.from_ms + 60_000


def test_the_same_evening_is_told_however_long_one_looks() -> None:
    short, long = story(seed=1, city_minutes=10), story(seed=1, city_minutes=None)
    assert (short.minutes, long.minutes) == (10 + UNSEEN_MINUTES, 7 * 24 * 60)
    assert short.with_changes(minutes=long.minutes) == long


# --- alerts against the truth ----------------------------------------------------------------------------------------

CELL = City.load("shanghai").grid.cell(121.44, 31.19)
FAR = City.load("shanghai").grid.cell(121.40, 31.15)
NOON = 1_752_811_200_000
HOUR = 3_600_000


def happened(**changes: Any) -> Mapping[str, Any]:
    entry = {"entry": "incident", "id": "fire-1", "type": "fire", "cell": CELL, "begin_ms": NOON - 60_000,
             "onset_ms": NOON, "end_ms": None, "should_raise": "fire"}  # fmt: skip
    return entry | changes


def raised(at_ms: int, **changes: Any) -> Episode:
    fields: dict[str, Any] = {"category": "fire", "cell": CELL, "raised_ms": at_ms}
    return Episode(**fields | changes)


@pytest.mark.parametrize(
    ("truth", "alerts", "expected"),
    [
        ([happened()], [raised(NOON + 90_000)], (1, 1, 0, [90.0])),
        ([happened()], [raised(NOON - 30_000)], (1, 1, 0, [0.0])),  # seen before it was worth an alert
        ([happened()], [], (1, 0, 0, [])),
        ([happened()], [raised(NOON + WITHIN_MS + 1)], (1, 0, 0, [])),  # too late to be of use; but no false alarm
        ([happened(onset_ms=NOON + HOUR - 60_000)], [], (0, 0, 0, [])),  # the demo ended before anybody could tell
        ([happened(should_raise=None)], [raised(NOON + 60_000)], (0, 0, 0, [])),  # small, but no invention
        ([happened()], [raised(NOON, cell=FAR)], (1, 0, 1, [])),
        ([happened()], [raised(NOON, urgent=True)], (1, 0, 0, [])),  # a caller's word
        ([happened()], [raised(NOON, category="gas_leak")], (1, 0, 0, [])),
        ([happened(end_ms=NOON - HOUR)], [raised(NOON + HOUR)], (0, 0, 1, [])),  # over before the demo looked
        ([{"entry": "device"}], [], (0, 0, 0, [])),
    ],
)
def test_alerts_are_held_against_what_happened(
    truth: list[Mapping[str, Any]], alerts: list[Episode], expected: tuple[int, int, int, list[float]]
) -> None:
    scores = judge(truth, alerts, from_ms=NOON - HOUR // 2, to_ms=NOON + HOUR)
    fire = scores["fire"]
    assert (fire.happened, fire.found, sum(score.false for score in scores.values()), fire.delays_s) == expected


def test_an_incident_that_began_before_the_demo_looked_is_timed_from_then() -> None:
    scores = judge([happened(onset_ms=NOON - HOUR)], [raised(NOON + 60_000)], from_ms=NOON, to_ms=NOON + HOUR)
    assert scores["fire"].delays_s == [60.0]


@pytest.mark.parametrize(
    ("asked", "locale", "spoken"),
    [(None, "", Lang.ZH), (None, "C.UTF-8", Lang.ZH), (None, "en_GB.UTF-8", Lang.EN), (Lang.ZH, "en_GB", Lang.ZH)],
)
def test_it_speaks_chinese_unless_english_is_wanted(
    monkeypatch: pytest.MonkeyPatch, asked: Lang | None, locale: str, spoken: Lang
) -> None:
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", locale)
    assert language(asked) is spoken
