"""What a person sees of each topic: readable in Chinese and English, masked, and unable to drive the terminal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pytest

from deploy.console import UsageProblem
from deploy.options import Lang
from deploy.render import Renderer, Shown, Style, render_alert, render_dead_letter, render_observations, render_raw
from deploy.tail import Filter
from schemas.alert import Action, Alert, encode_alert, make_alert_id
from schemas.dead_letter import DeadLetter, Reason, encode_dead_letter
from schemas.errors import BadRecord
from schemas.observation import NO_CELL, NO_PLACE_E7, OBSERVATION, Flag, FrameHeader, encode_frame

NOON_MS = 1_782_878_400_000  # 2026-07-01 12:00:00 in Shanghai
ZH = Style(Lang.ZH, ZoneInfo("Asia/Shanghai"))
EN = Style(Lang.EN, ZoneInfo("Asia/Shanghai"))
TICKET = (
    '{"ticket_id":"T1","category":"flood","text":"电话13812345678","caller_name":"王小明",'
    '"caller_phone":"13812345678","note":"\\u001b[2J"}'
).encode()
SECRETS = ("13812345678", "王小明", "\x1b")


@dataclass
class Message:
    """The parts of a consumed record that rendering reads."""

    value: bytes | None
    topic: str = "tickets"
    partition: int = 0
    offset: int = 42
    timestamp: int = NOON_MS


ALERT = Alert(
    alert_id=make_alert_id("waterlogging", 1, 172831, NOON_MS),
    revision=0,
    action=Action.RAISE,
    detector="waterlogging",
    detector_version=1,
    category="waterlogging",
    cell=172831,
    lon=121.47,
    lat=31.23,
    onset_ms=NOON_MS,
    window_start_ms=NOON_MS,
    window_end_ms=NOON_MS,
    severity=3,
    confidence=0.9,
    reason="level_and_camera",
    values={"level": 200.0},
    thresholds={"level": 150.0},
    evidence=["readings:0:1", "readings:0:2", "camera-events:1:7", "tickets:0:9"],
    sentence_zh="积水20厘米，摄像头确认。",
    sentence_en="20 cm of water, confirmed by a camera.",
    jurisdiction="310104003",
    unit="310104003012007",
    place_zh="上海市徐汇区天平路街道",
    place_en="Tianping Road, Xuhui",
)
LETTER = DeadLetter.of(
    BadRecord(Reason.MISSING_FIELD, "$.ts", "missing"),
    topic="tickets",
    partition=0,
    offset=42,
    payload=TICKET,
    received_at_ms=NOON_MS,
)


def only(render: Renderer, payload: bytes | None, style: Style = EN) -> Shown:
    [shown] = render(Message(payload), style)
    return shown


def frame(**changes: Any) -> bytes:
    row: dict[str, Any] = {
        "event_at": NOON_MS,
        "received_at": NOON_MS,
        "cell": 172831,
        "source": "tickets",
        "partition": 0,
        "offset": 9,
        "kind": "flood",
        "entity": "T1",
        "value": 1.0,
        "confidence": 1.0,
        "quality": 1,
        "flags": int(Flag.LATE | Flag.HALO),
        "lon_e7": 1_214_700_000,
        "lat_e7": 312_300_000,
        "unit": None,
        "device_type": None,
        "extra": TICKET.decode(),
        "jurisdiction": "310104003",
    } | changes
    arrays = []
    for column in OBSERVATION:
        plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        array = pa.array([row[column.name]], plain)
        arrays.append(array.dictionary_encode().cast(column.type) if plain is not column.type else array)
    return encode_frame(FrameHeader(shard=3, covers=[]), pa.RecordBatch.from_arrays(arrays, schema=OBSERVATION))


def test_alert_is_one_line_in_either_language_in_the_citys_time() -> None:
    assert only(render_alert, encode_alert(ALERT), ZH).line.plain == (
        "07-01 12:00:00 产生 重大 waterlogging 积水20厘米，摄像头确认。 上海市徐汇区天平路街道 0x2a31f "
        "证据 readings:0:1 readings:0:2 camera-events:1:7 +1"
    )
    assert only(render_alert, encode_alert(ALERT), EN).line.plain.startswith(
        "07-01 12:00:00 raise major waterlogging 20 cm of water, confirmed by a camera. Tianping Road, Xuhui 0x2a31f"
    )


def test_alert_for_programs_is_the_alert_itself() -> None:
    assert json.loads(msgspec.json.encode(only(render_alert, encode_alert(ALERT)).document)) == json.loads(
        encode_alert(ALERT)
    )


@pytest.mark.parametrize(
    ("render", "payload"),
    [
        (render_raw, TICKET),
        (render_raw, TICKET[:-1]),
        (render_raw, b"\xff\x00\x1b]0;owned\x07 13812345678"),
        (render_dead_letter, encode_dead_letter(LETTER)),
        (render_observations, frame()),
    ],
)
def test_nothing_personal_and_no_control_character_is_shown(render: Renderer, payload: bytes) -> None:
    shown = only(render, payload)
    for secret in SECRETS:
        assert secret not in shown.line.plain
        assert secret not in json.dumps(shown.document, ensure_ascii=False)


def test_dead_letter_tells_place_reason_path_and_masked_bytes() -> None:
    line = only(render_dead_letter, encode_dead_letter(LETTER), ZH).line.plain
    assert line.startswith("07-01 12:00:00 tickets:0:42 missing_field (缺少必填字段) missing - at $.ts {")
    assert "payload_b64" not in only(render_dead_letter, encode_dead_letter(LETTER)).document


def test_observation_tells_flags_quality_and_place() -> None:
    shown = only(render_observations, frame())
    assert "flood = 1 T1 0x2a31f 310104003 suspect late,halo" in shown.line.plain
    assert (shown.document["lon"], shown.document["lat"]) == (121.47, 31.23)


def test_observation_without_place_or_value_shows_neither() -> None:
    nowhere = {"cell": NO_CELL, "lon_e7": NO_PLACE_E7, "lat_e7": NO_PLACE_E7, "jurisdiction": None}
    payload = frame(**nowhere, value=float("nan"), extra=None)
    shown = only(render_observations, payload)
    assert "flood = - T1 suspect" in shown.line.plain
    assert shown.document["lon"] is None


def test_header_frame_shows_nothing() -> None:
    assert list(render_observations(Message(encode_frame(FrameHeader(shard=0, covers=[]), None)), EN)) == []


@pytest.mark.parametrize("render", [render_alert, render_dead_letter, render_observations])
@pytest.mark.parametrize("payload", [None, b"", b"\x1b[31m", b"{}", b"[" * 100_000])
def test_message_that_is_not_what_its_topic_promises_is_shown_as_trouble(
    render: Renderer, payload: bytes | None
) -> None:
    shown = only(render, payload)
    assert shown.trouble
    assert "tickets:0:42" in shown.line.plain
    assert "\x1b" not in shown.line.plain


def test_null_record_and_absurd_timestamp_are_shown() -> None:
    [shown] = render_raw(Message(None, timestamp=10**18), EN)
    assert shown.line.plain == f"@{10**18} tickets:0:42 null"


def test_filters_combine() -> None:
    shown = only(render_alert, encode_alert(ALERT))
    every = Filter.of(detector="waterlogging", severity=3, cell="0x2a31f", text="CAMERA")
    assert every.lets_through(shown)
    for one in (
        Filter(detector="fire"),
        Filter(severity=4),
        Filter(cell=1),
        Filter(text="fire"),
    ):
        assert not one.lets_through(shown)


def test_text_is_sought_in_what_is_shown_so_that_masked_values_cannot_be_probed() -> None:
    shown = only(render_raw, TICKET)
    assert not Filter(text="13812345678").lets_through(shown)
    assert Filter(text="138****5678").lets_through(shown)


def test_filter_on_what_a_topic_does_not_have_is_refused() -> None:
    with pytest.raises(UsageProblem, match=r"--severity filters alerts"):
        Filter(severity=3).check_fits("readings")
    Filter(cell=3).check_fits("observations")


def test_cell_that_is_no_number_is_refused_with_how_to_write_one() -> None:
    with pytest.raises(UsageProblem, match="hexadecimal"):
        Filter.of(detector=None, severity=None, cell="north", text=None)
