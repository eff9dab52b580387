"""An incident and its history: one JSON record for each change, keyed by incident id on topic `incidents`.

The newest record of an incident is the whole incident; all of them together are its history. Each carries the hash
of the one before it and its own (see `streams/loop_hash.py`), so a record that is changed, dropped or slipped in later
is found. Like an alert, a change is a pure function of the log and holds no personal value.

"Transferred" and "reopened" are steps, not states: an incident that was transferred lies with the next department and
waits for it exactly like one that was dispatched, and one that was reopened is worked like any other. Both are counted.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.action import ActionName, Role
from schemas.errors import MessageError
from schemas.fields import FieldClass, note


class State(StrEnum):
    """Where an incident is. Values are part of stored history: never rename, only append."""

    DISCOVERED = "discovered"
    FILED = "filed"
    DISPATCHED = "dispatched"
    ACCEPTED = "accepted"
    HANDLING = "handling"
    HANDLED = "handled"
    VERIFIED = "verified"
    CLOSED = "closed"
    RETURNED = "returned"
    SUSPENDED = "suspended"
    MERGED = "merged"
    FALSE_ALARM = "false_alarm"
    CANCELLED = "cancelled"

    @property
    def zh(self) -> str:
        return _STATES_ZH[self]

    @property
    def ended(self) -> bool:
        """Nobody has to do anything any more."""
        return self in _ENDED


_STATES_ZH = {
    State.DISCOVERED: "已发现",
    State.FILED: "已立案",
    State.DISPATCHED: "已派遣",
    State.ACCEPTED: "已接单",
    State.HANDLING: "处置中",
    State.HANDLED: "已处置",
    State.VERIFIED: "已核查",
    State.CLOSED: "已结案",
    State.RETURNED: "已退单",
    State.SUSPENDED: "已挂起",
    State.MERGED: "已并案",
    State.FALSE_ALARM: "误报",
    State.CANCELLED: "已作废",
}
_ENDED = frozenset({State.CLOSED, State.MERGED, State.FALSE_ALARM, State.CANCELLED})


class Step(StrEnum):
    """What made a change: an action by its own name, or what the loop does by itself."""

    DISCOVER = "discover"  # the first record of an incident
    ATTACH = "attach"  # an alert or a ticket joined it
    WORSEN = "worsen"  # an alert or a ticket raised its severity
    ALERT_CLEAR = "alert_clear"  # one of its alerts cleared; the incident goes on until it is verified
    OVERDUE = "overdue"  # a deadline passed
    ESCALATE = "escalate"  # the next level was told
    FILE = "file"
    DISPATCH = "dispatch"
    ACCEPT = "accept"
    START = "start"
    FINISH = "finish"
    VERIFY_PASS = "verify_pass"
    VERIFY_FAIL = "verify_fail"
    CLOSE = "close"
    RETURN = "return"
    TRANSFER = "transfer"
    MERGE = "merge"
    FALSE_ALARM = "false_alarm"
    SUSPEND = "suspend"
    RESUME = "resume"
    REOPEN = "reopen"
    CANCEL = "cancel"
    REMIND = "remind"
    WHISTLE = "whistle"
    RESPOND = "respond"
    CORRECT = "correct"

    @property
    def zh(self) -> str:
        own = _STEPS_ZH.get(self)
        return ActionName(self.value).zh if own is None else own


_STEPS_ZH = {
    Step.DISCOVER: "发现",
    Step.ATTACH: "归并",
    Step.WORSEN: "升级",
    Step.ALERT_CLEAR: "告警解除",
    Step.OVERDUE: "超时",
    Step.ESCALATE: "上报",
}


class TicketOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One ticket of an incident, and whether it was done in time."""

    ticket_id: Annotated[str, note("工单编号", "the ticket")]
    category: Annotated[str, note("类别", "the ticket's category")]
    event_at_ms: Annotated[int, note("来电时间", "when the citizen told it", unit="ms")]
    due_ms: Annotated[int | None, note("办理期限；空为无期限", "its deadline; null: it has none", unit="ms")]
    done_ms: Annotated[int | None, note("办结时间", "when it was done; null while it is not", unit="ms")]
    on_time: Annotated[
        bool | None,
        note(
            "是否按时；未到期且未办结为空",
            "done at or before its deadline; null while it is open and not past it; false as soon as it is past it",
        ),
    ]


class WhistleCall(msgspec.Struct, frozen=True, kw_only=True):
    """One department that was called to a joint incident."""

    department: Annotated[str, note("被召集单位", "the department that was called")]
    called_ms: Annotated[int, note("吹哨时间", "when it was called", unit="ms")]
    due_ms: Annotated[int, note("应报到时间", "when it must have answered", unit="ms")]
    responded_ms: Annotated[int | None, note("报到时间", "when it answered; null: not yet", unit="ms")]
    overdue: Annotated[bool, note("报到超时", "it has not answered in time")]


class IncidentChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one incident, with all of the incident as it is after it."""

    incident_id: Annotated[
        str,
        note(
            "事件编号：日期-首因摘要",
            "local date and a digest of the record that opened it",
            of=FieldClass.PUBLIC,
            examples=["20260701-5d0c9a3b71e4"],
        ),
    ]
    revision: Annotated[int, note("修订号，从 0 起", "0 for the first record, then one more for each", ge=0)]
    state: Annotated[State, note("状态", "where the incident is now")]
    previous_state: Annotated[State | None, note("变化前状态", "where it was before; null in the first record")]
    action: Annotated[Step, note("动作", "what made the change")]
    actor: Annotated[str, note("操作人；系统规则为 system:规则-版本", "who made it; a rule is system:name-version")]
    role: Annotated[Role, note("角色", "in which capacity")]
    department: Annotated[str | None, note("操作人所属单位", "the actor's department")]
    at_ms: Annotated[
        int, note("生效时间，同一事件内不倒退", "when it took effect; never goes back within an incident", unit="ms")
    ]
    reason: Annotated[str | None, note("原因，已脱敏", "why, masked")]
    result: Annotated[str | None, note("处置结果，已脱敏", "what came of the handling, masked")]
    type: Annotated[str, note("事件类型", "what kind of incident, see incident_types.yaml", examples=["waterlogging"])]
    category: Annotated[str, note("首因类别", "category of the alert or ticket that opened it", examples=["flood"])]
    index_category: Annotated[
        str, note("城市运行指数大类", "which category of the city operation index", examples=["municipal_facilities"])
    ]
    severity: Annotated[int, note("严重程度，4 最重", "1 minor to 4 extreme", ge=1, le=4)]
    cell: Annotated[int, note("网格单元编号；-1 为无法定位", "the compute cell; -1: unplaced")]
    lon: Annotated[float | None, note("经度；无法定位时为空", "WGS-84; null when unplaced", unit="deg")]
    lat: Annotated[float | None, note("纬度；无法定位时为空", "WGS-84; null when unplaced", unit="deg")]
    jurisdiction: Annotated[str | None, note("管辖区划代码", "code of the finest jurisdiction it lies in")]
    district: Annotated[str | None, note("所属区代码", "code of the district it lies in")]
    unit: Annotated[str | None, note("单元网格代码", "code of the unit grid it lies in")]
    place_zh: Annotated[str, note("地点（中文）", "the place in Chinese; empty when it is not known")]
    place_en: Annotated[str, note("地点（英文）", "the place in English; empty when it is not known")]
    opened_ms: Annotated[int, note("发现时间", "event time of the record that opened it", unit="ms")]
    lead: Annotated[str | None, note("主办单位", "the department that has it; null: it lies at the duty desk")]
    lead_level: Annotated[
        int | None, note("主办单位层级：1 市 2 区 3 街镇 4 居村 5 单元", "level of the lead: 1 city to 5 unit")
    ]
    assisting: Annotated[list[str], note("协办单位", "departments that help")]
    alert_ids: Annotated[list[str], note("告警编号", "its alerts, in the order in which they joined")]
    standing_alerts: Annotated[list[str], note("未解除的告警", "those of them that have not cleared")]
    ticket_ids: Annotated[list[str], note("工单编号", "its tickets, in the order in which they joined")]
    tickets: Annotated[list[TicketOutcome], note("各工单的期限与结果", "each ticket's own deadline and outcome")]
    accept_due_ms: Annotated[
        int | None, note("应派遣或接单时间", "when somebody must have taken it on; null: not running", unit="ms")
    ]
    handle_due_ms: Annotated[
        int | None, note("应处置完成时间", "when it must be handled; null: not running", unit="ms")
    ]
    verify_due_ms: Annotated[int | None, note("应核查结案时间", "when it must be closed; null: not running", unit="ms")]
    accept_overdue: Annotated[bool, note("接单超时", "it was not taken on in time")]
    handle_overdue: Annotated[bool, note("处置超时", "it was not handled in time")]
    verify_overdue: Annotated[bool, note("核查超时", "it was not verified and closed in time")]
    escalated_to: Annotated[str | None, note("已上报至", "the department above that was told; null: none")]
    escalated_level: Annotated[int | None, note("上报层级", "level of that department: 1 city to 5 unit")]
    whistles: Annotated[list[WhistleCall], note("吹哨召集", "departments called together, and their answers")]
    hand_overs: Annotated[int, note("退单与移交次数", "how often it was returned or transferred", ge=0)]
    reopenings: Annotated[int, note("重开与返工次数", "how often it was reopened or failed verification", ge=0)]
    reminders: Annotated[int, note("催办次数", "how often somebody was reminded", ge=0)]
    handled_by: Annotated[str | None, note("处置人", "who finished it; may not verify it")]
    handled_ms: Annotated[int | None, note("处置完成时间", "when it was finished; null while it is not", unit="ms")]
    verified_by: Annotated[str | None, note("核查人", "who verified it")]
    suspended_until_ms: Annotated[
        int | None, note("挂起至", "until when it is suspended; null: not, or open", unit="ms")
    ]
    merged_into: Annotated[str | None, note("并入的事件", "the incident that took it in")]
    action_id: Annotated[str | None, note("操作编号", "the action that made the change; null for the loop itself")]
    cause: Annotated[
        str, note("起因记录：主题:分区:偏移量", "the record that led to the change", examples=["alerts:2:77"])
    ]
    sentence_zh: Annotated[str, note("一句话说明，已脱敏", "one Chinese sentence, masked", of=FieldClass.PUBLIC)]
    sentence_en: Annotated[str, note("英文说明，已脱敏", "one English sentence, masked", of=FieldClass.PUBLIC)]
    previous_hash: Annotated[
        str, note("上一条的摘要；首条为空", "hash of the record before; empty in the first", examples=[""])
    ]
    hash: Annotated[
        str,
        note("本条摘要（SHA-256，十六进制）", "SHA-256 in hex of the record as canonical JSON with this field empty"),
    ]

    @property
    def key(self) -> bytes:
        """The Kafka key: all changes of one incident stay in one partition, in order."""
        return self.incident_id.encode()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(IncidentChange)


def encode_incident(change: IncidentChange) -> bytes:
    """The change as compact JSON; fields in the order of the class, so equal changes give equal bytes."""
    return _encoder.encode(change)


def decode_incident(payload: bytes | memoryview) -> IncidentChange:
    """The change in `payload`; MessageError when it is not one."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"schemas/incident: not a change of an incident: {error}") from error
