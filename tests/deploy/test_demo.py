"""What the demo shows and what it may touch; the whole of it on real services is in test_demo_live.py."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from deploy.config_load import load_config
from deploy.console import UsageProblem
from deploy.demo_recording import DEVICES, PARTITIONS, UNDERPASS, place_near
from deploy.demo_replay import Outcome, look_up
from deploy.demo_screen import Screen
from deploy.demo_stage import MARKER, check_folder, make_fresh, settings_left_aside
from schemas.alert import Action, Alert, make_alert_id
from schemas.sources import Source

NOON_MS = 1_752_811_200_000  # in Shanghai
ZONES = dict.fromkeys(Source, ZoneInfo("Asia/Shanghai"))


def alert(action: Action = Action.RAISE, severity: int = 2, **changes: object) -> Alert:
    fields: dict[str, object] = {
        "alert_id": make_alert_id("waterlogging", 1, 7, NOON_MS),
        "revision": 0,
        "action": action,
        "detector": "waterlogging",
        "detector_version": 1,
        "category": "waterlogging",
        "cell": 7,
        "lon": UNDERPASS.lon,
        "lat": UNDERPASS.lat,
        "onset_ms": NOON_MS,
        "window_start_ms": NOON_MS,
        "window_end_ms": NOON_MS,
        "severity": severity,
        "confidence": 0.9,
        "reason": "level_and_tickets",
        "values": {"level_mm": 348.0, "tickets": 1.0, "camera_events": None},
        "thresholds": {},
        "evidence": ["readings:0:1", "readings:0:2", "readings:0:3", "tickets:0:5"],
        "sentence_zh": "积水深 348 毫米",
        "sentence_en": "Water is 348 mm deep",
    }
    return Alert(**(fields | changes))  # type: ignore[arg-type]  # fields by name


def reading(device: str, value: float, ts: int = NOON_MS) -> bytes:
    return json.dumps({"device_id": device, "metric": "water_level_mm", "value": value, "ts": ts}).encode()


TICKET = (
    '{"ticket_id":"T1","category":"flood","text":"积水很深，电话13812345678","ts":"2025-07-18 11:58:00",'
    '"caller_name":"王小明","caller_phone":"13812345678","address":"\\u001b[2J"}'
).encode()


def shown(told: Alert, *evidence: tuple[str, bytes], was: int | None = None, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    Screen(ZoneInfo("Asia/Shanghai"), console=console).alert(told, evidence, was=was)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_raise_shows_both_sentences_place_values_and_the_records_behind_it() -> None:
    text = shown(alert(), ("readings:0:2", reading("WL-1", 348)), ("tickets:0:5", TICKET))
    for part in (
        "12:00  ● 产生 raised  较大 moderate  积水内涝 Waterlogging",
        UNDERPASS.zh, UNDERPASS.en, "积水深 348 毫米", "Water is 348 mm deep",
        "水深（毫米） 348", "摄像头识别 -",
        "readings:0:2  12:00:00  WL-1  积水深度 348", "tickets:0:5  11:58:00  T1  内涝积水", "另有 2 条",
    ):  # fmt: skip
        assert part in text


def test_no_personal_value_and_no_control_character_reaches_the_screen() -> None:
    text = shown(alert(sentence_zh="清屏\x1b[2J"), ("tickets:0:5", TICKET))
    assert "138****5678" in text
    assert "王**" in text
    assert not [secret for secret in ("13812345678", "王小明", "\x1b") if secret in text]


def test_evidence_that_is_no_record_is_shown_masked_all_the_same() -> None:
    assert "138****5678" in shown(alert(), ("tickets:0:5", b'{"text":"13812345678"'))


@pytest.mark.parametrize(
    ("told", "was", "words"),
    [
        (alert(Action.UPDATE, severity=3), 2, "▲ 升级 up  重大 major"),
        (alert(Action.UPDATE, severity=1), 2, "▽ 降级 down  一般 minor"),
        (alert(Action.UPDATE, severity=2), 2, "更新 updated"),
        (alert(Action.CLEAR), 2, "✓ 解除 cleared"),
    ],
)
def test_a_change_is_told_as_what_it_means(told: Alert, was: int, words: str) -> None:
    text = shown(told, was=was)
    assert words in text
    assert UNDERPASS.zh in text


def test_an_alert_without_a_place_says_so() -> None:
    assert "未定位" in shown(alert(lon=None, lat=None))
    assert place_near(116.39, 39.9) is None


def test_the_record_that_holds_the_alerts_own_value_is_chosen_before_newer_ones() -> None:
    log = {
        "readings:0:1": reading("WL-1", 120),
        "readings:0:2": reading("WL-1", 348),
        "readings:0:3": reading("WL-2", 90, NOON_MS + 1_000),
        "tickets:0:5": TICKET,
    }

    async def fetch(name: str) -> bytes:
        return log[name]

    chosen = asyncio.run(look_up(alert(), fetch, ZONES))
    assert [name for name, _ in chosen] == ["tickets:0:5", "readings:0:2"]


def test_it_is_settled_only_when_all_is_archived_and_what_can_clear_has_cleared() -> None:
    whole = Outcome(sent=10, observations=9, dead=1, alert_records=2, archived_alerts=2, raised={"a": 1}, cleared={"a"})
    assert whole.is_settled
    assert Outcome(sent=10, observations=9, dead=1, raised={"urgent_ticket-1": 4}).is_settled
    assert not Outcome(sent=10, observations=8, dead=1, raised={"a": 1}, cleared={"a"}).is_settled
    assert not Outcome(sent=10, observations=9, dead=1, raised={"a": 1}).is_settled
    assert not Outcome(sent=10, observations=9, dead=1).is_settled, "an hour without any alert shows nothing"


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
    (tmp_path / "worker.log").write_text("of the last run")
    (tmp_path / "my-notes.txt").write_text("keep")
    check_folder(tmp_path)
    make_fresh(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {MARKER, "devices.csv", "tongguan.toml", "my-notes.txt"}


def test_the_demos_own_configuration_is_valid_and_fits_the_recording(tmp_path: Path) -> None:
    make_fresh(tmp_path)
    config = load_config(tmp_path / "tongguan.toml", environ={}).config
    assert config.data_dir == tmp_path
    assert config.city.devices is not None
    assert config.city.devices.read_bytes() == DEVICES.read_bytes()
    topics = config.topics
    assert {
        Source.READINGS: topics.readings_partitions,
        Source.CAMERA_EVENTS: topics.camera_events_partitions,
        Source.TICKETS: topics.tickets_partitions,
    } == PARTITIONS


def test_settings_of_a_real_system_are_left_aside_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONGGUAN_KAFKA", "production:9092")
    monkeypatch.setenv("TONGGUAN_CACHE", "/somewhere")
    with settings_left_aside():
        assert "TONGGUAN_KAFKA" not in os.environ
        assert os.environ["TONGGUAN_CACHE"] == "/somewhere"
    assert os.environ["TONGGUAN_KAFKA"] == "production:9092"
