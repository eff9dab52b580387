"""One example of each message, valid by the classes, the decoder and the generated schemas (a test holds that).

People in them are invented; the telephone number belongs to nobody.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.action import ActionName, ActionRecord, Role
from schemas.alert import Action, Alert, make_alert_id
from schemas.camera_event import CameraEvent
from schemas.dead_letter import DeadLetter, Reason
from schemas.errors import BadRecord
from schemas.incident import IncidentChange, State, Step, TicketOutcome
from schemas.loop_record import LoopKind, LoopRecord, Tick, TicketInLoop
from schemas.notification import Notification, NotificationKind, RefusalReason
from schemas.observation import Cover, FrameHeader
from schemas.reading import Reading
from schemas.ticket import Ticket

_START_MS: Final = 1_782_864_000_000  # 2026-07-01T00:00:00Z
_CELL: Final = 172_831

READING: Final = Reading(
    device_id="WL-0042",
    metric="water_level_mm",
    value=152.5,
    ts=_START_MS + 12_000,
    unit="mm",
    lon=121.4365,
    lat=31.1934,
    datum="WGS-84",
    quality="good",
    device_type="radar_level",
)
CAMERA_EVENT: Final = CameraEvent(
    camera_id="CAM-0107",
    event="waterlogging",
    confidence=0.87,
    ts="2026-07-01T08:00:31+08:00",
    lon=121.4366,
    lat=31.1935,
    datum="GCJ-02",
    track_id=7,
    count=1,
    bbox=[102.0, 340.5, 611.0, 702.0],
    snapshot_url="https://media.example/cam/107/1782864031.jpg",
    plate_hash="b3c1f0",
)
TICKET: Final = Ticket(
    ticket_id="12345-20260701-000123",
    category="flood",
    text="漕溪北路下立交积水，车辆无法通行，请尽快处理",
    ts="2026-07-01 08:00:45",
    address="徐汇区漕溪北路398号",
    urgency="urgent",
    caller_name="王小明",
    caller_phone="13800138000",
    channel="phone",
    due_ts="2026-07-08 18:00:00",
)
ALERT: Final = Alert(
    alert_id=make_alert_id("waterlogging", 1, _CELL, _START_MS),
    revision=0,
    action=Action.RAISE,
    detector="waterlogging",
    detector_version=1,
    category="waterlogging",
    cell=_CELL,
    lon=121.4365,
    lat=31.1934,
    onset_ms=_START_MS,
    window_start_ms=_START_MS,
    window_end_ms=_START_MS + 60_000,
    severity=2,
    confidence=0.9,
    reason="level_and_camera",
    values={"level_mm": 152.5, "camera": 1.0, "tickets": 1.0, "rain_mm_h": None},
    thresholds={"level_mm": 150.0},
    evidence=["readings:0:1042", "camera-events:2:77", "tickets:1:5"],
    sentence_zh="积水深度 152.5 毫米，超过 150 毫米，摄像头与市民来电均已证实。",
    sentence_en="standing water of 152.5 mm, above 150 mm, confirmed by a camera and a caller.",
    jurisdiction="310104003",
    unit="310104003012007",
    place_zh="徐汇区天平路街道",
    place_en="Tianping Road, Xuhui",
)
DEAD_LETTER: Final = DeadLetter.of(
    BadRecord(Reason.BAD_TYPE, "$.value", 'expected a number, got "cat"'),
    topic="readings",
    partition=3,
    offset=1042,
    payload=b'{"device_id":"WL-0042","metric":"water_level_mm","value":"cat","ts":1782864012000}',
    received_at_ms=_START_MS + 12_350,
)
FRAME_HEADER: Final = FrameHeader(
    shard=3,
    covers=[
        Cover(
            source=0,
            partition=0,
            first=1000,
            last=1999,
            watermark_ms=_START_MS + 7_000,
            max_event_ms=_START_MS + 12_000,
            idle=False,
            arrived_ms=_START_MS + 12_350,
        )
    ],
)

_INCIDENT_ID: Final = "20260701-5d0c9a3b71e4"
ACTION: Final = ActionRecord(
    action_id="web-7f21-0009",
    action=ActionName.FINISH,
    actor="xh-water-017",
    role=Role.HANDLER,
    ts=_START_MS + 3_600_000,
    incident_id=_INCIDENT_ID,
    department="xuhui-water",
    result="已抽排完毕，恢复通行",
    expected_revision=5,
)
INCIDENT: Final = IncidentChange(
    incident_id=_INCIDENT_ID,
    revision=6,
    state=State.HANDLED,
    previous_state=State.HANDLING,
    action=Step.FINISH,
    actor="xh-water-017",
    role=Role.HANDLER,
    department="xuhui-water",
    at_ms=_START_MS + 3_600_000,
    reason=None,
    result="已抽排完毕，恢复通行",
    type="waterlogging",
    category="waterlogging",
    index_category="municipal_facilities",
    severity=2,
    cell=_CELL,
    lon=121.4365,
    lat=31.1934,
    jurisdiction="310104008",
    district="310104",
    unit=None,
    place_zh="上海市徐汇区徐家汇街道",
    place_en="Xujiahui, Xuhui, Shanghai",
    opened_ms=_START_MS + 60_000,
    lead="xuhui-water",
    lead_level=2,
    assisting=["xuhui-traffic"],
    alert_ids=[make_alert_id("waterlogging", 1, _CELL, _START_MS)],
    standing_alerts=[],
    ticket_ids=["12345-20260701-000123"],
    tickets=[
        TicketOutcome(
            ticket_id="12345-20260701-000123",
            category="flood",
            event_at_ms=_START_MS + 45_000,
            due_ms=_START_MS + 14_400_000,
            done_ms=_START_MS + 3_600_000,
            on_time=True,
        )
    ],
    accept_due_ms=None,
    handle_due_ms=None,
    verify_due_ms=_START_MS + 18_000_000,
    accept_overdue=False,
    handle_overdue=False,
    verify_overdue=False,
    escalated_to=None,
    escalated_level=None,
    whistles=[],
    hand_overs=0,
    reopenings=0,
    reminders=0,
    handled_by="xh-water-017",
    handled_ms=_START_MS + 3_600_000,
    verified_by=None,
    suspended_until_ms=None,
    merged_into=None,
    action_id="web-7f21-0009",
    cause="actions:0:12",
    sentence_zh="上海市徐汇区徐家汇街道：内涝积水（较大），处置完成，等待核查。",
    sentence_en="Xujiahui, Xuhui, Shanghai: waterlogging (moderate): finished, waits for verification.",
    previous_hash="0f" * 32,
    hash="a5" * 32,
)
NOTIFICATION: Final = Notification(
    notification_id="1042-1",
    kind=NotificationKind.REFUSED,
    to="xh-water-017",
    to_actor=True,
    incident_id=_INCIDENT_ID,
    revision=6,
    at_ms=_START_MS + 3_700_000,
    action_id="web-7f21-0010",
    refusal=RefusalReason.SELF_VERIFICATION,
    legal=["verify_fail", "verify_pass"],
    cause="actions:0:13",
    sentence_zh="拒绝核查通过：处置人及其单位不得核查自己的处置。",
    sentence_en="verify_pass refused: who handled it may not verify it.",
)
TICK: Final = Tick(at_ms=_START_MS + 5_000)
LOOP_RECORD: Final = LoopRecord(
    kind=LoopKind.TICKETS,
    cause_topic="placed-tickets",
    cause_partition=1,
    cause_offset=3,
    arrived_ms=_START_MS + 46_000,
    tickets=[
        TicketInLoop(
            ticket_id="12345-20260701-000123",
            category="flood",
            event_at_ms=_START_MS + 45_000,
            source="tickets:1:5",
            urgency="urgent",
            cell=_CELL,
            lon=121.4365,
            lat=31.1934,
            jurisdiction="310104008",
            sentence="漕溪北路下立交积水，车辆无法通行",
        )
    ],
)

EXAMPLES: Final[dict[str, Any]] = {
    "reading": READING,
    "camera_event": CAMERA_EVENT,
    "ticket": TICKET,
    "alert": ALERT,
    "dead_letter": DEAD_LETTER,
    "frame_header": FRAME_HEADER,
    "action": ACTION,
    "incident": INCIDENT,
    "notification": NOTIFICATION,
    "loop_record": LOOP_RECORD,
    "tick": TICK,
}
