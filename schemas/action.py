"""An action: what a person or another system does to an incident, one JSON record on topic `actions`.

An action asks; the loop decides. What it did is a change on `incidents`, what it refused an answer on `notifications`
that names the action by its `action_id`. The id makes a repeat harmless: the same action sent twice is done once.
Which role may do what in which state is the table in `streams/loop_states.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.errors import MessageError
from schemas.fields import FieldClass, note
from schemas.raw import MAX_ID_BYTES, MAX_STRING_CHARS, Ts

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES)]
Words = Annotated[str, msgspec.Meta(max_length=MAX_STRING_CHARS)]


class ActionName(StrEnum):
    """What can be asked of an incident. Values are part of stored history: never rename, only append."""

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
        return _ACTIONS_ZH[self]


_ACTIONS_ZH = {
    ActionName.FILE: "立案",
    ActionName.DISPATCH: "派遣",
    ActionName.ACCEPT: "接单",
    ActionName.START: "开始处置",
    ActionName.FINISH: "处置完成",
    ActionName.VERIFY_PASS: "核查通过",
    ActionName.VERIFY_FAIL: "核查不通过",
    ActionName.CLOSE: "结案",
    ActionName.RETURN: "退单",
    ActionName.TRANSFER: "移交",
    ActionName.MERGE: "并案",
    ActionName.FALSE_ALARM: "误报",
    ActionName.SUSPEND: "挂起",
    ActionName.RESUME: "恢复",
    ActionName.REOPEN: "重新开启",
    ActionName.CANCEL: "作废",
    ActionName.REMIND: "催办",
    ActionName.WHISTLE: "吹哨",
    ActionName.RESPOND: "报到",
    ActionName.CORRECT: "更正",
}


class Role(StrEnum):
    """In which capacity somebody acts."""

    SYSTEM = "system"
    OPERATOR = "operator"
    DISPATCHER = "dispatcher"
    HANDLER = "handler"
    VERIFIER = "verifier"
    SUPERVISOR = "supervisor"
    FRONT_LINE = "front_line"

    @property
    def zh(self) -> str:
        return _ROLES_ZH[self]


_ROLES_ZH = {
    Role.SYSTEM: "系统",
    Role.OPERATOR: "值班坐席",
    Role.DISPATCHER: "派遣员",
    Role.HANDLER: "处置单位",
    Role.VERIFIER: "核查员",
    Role.SUPERVISOR: "督办",
    Role.FRONT_LINE: "一线网格员",
}


class ActionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action on one incident, which is named by its id or by a ticket that it holds.

    Producers may add fields of their own; the loop does not look at them.
    """

    action_id: Annotated[
        str,
        note(
            "操作编号，重复提交不会重复执行",
            "the action; sent twice it is done once",
            min_length=1,
            max_length=MAX_ID_BYTES,
            examples=["web-7f21-0009"],
        ),
    ]
    action: Annotated[ActionName, note("操作", "what is asked")]
    actor: Annotated[
        str,
        note(
            "操作人（工号）",
            "who asks: a staff number, not a name",
            min_length=1,
            max_length=MAX_ID_BYTES,
            examples=["xh-water-017"],
        ),
    ]
    role: Annotated[Role, note("角色", "in which capacity")]
    ts: Ts
    incident_id: Annotated[
        Id | None,
        note("事件编号；与工单编号二选一", "the incident; this or ticket_id", examples=["20260701-5d0c9a3b71e4"]),
    ] = None
    ticket_id: Annotated[
        Id | None, note("工单编号：其所在事件", "a ticket that the incident holds", examples=["12345-20260701-000123"])
    ] = None
    department: Annotated[Id | None, note("操作人所属单位", "the actor's department", examples=["xuhui-water"])] = None
    reason: Annotated[
        Words | None,
        note("原因", "why, in words; masked when it is written to the history", of=FieldClass.PERSONAL, mask="text"),
    ] = None
    result: Annotated[
        Words | None,
        note("处置结果", "what came of it, in words; masked in the history", of=FieldClass.PERSONAL, mask="text"),
    ] = None
    expected_revision: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        note("所依据的修订号；已有新变化则拒绝", "the revision the actor saw; refused when there is a newer one"),
    ] = None
    to_department: Annotated[
        Id | None, note("派往单位（派遣、移交、吹哨主办）", "who shall have it: for dispatch, transfer, whistle (lead)")
    ] = None
    departments: Annotated[
        list[Id], msgspec.Meta(max_length=50), note("吹哨召集的单位", "for whistle: the departments that are called")
    ] = []  # msgspec copies an empty list for each record
    into_incident_id: Annotated[Id | None, note("并入的事件", "for merge: the incident that takes this one in")] = None
    until_ts: Annotated[int | str | None, note("挂起至", "for suspend: until when, a time as in `ts`", unit="ms")] = (
        None
    )
    category: Annotated[Id | None, note("更正后的类型", "for correct: the incident's type")] = None
    severity: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=4)] | None, note("更正后的严重程度", "for correct: 1 minor to 4 extreme")
    ] = None
    lon: Annotated[
        Annotated[float, msgspec.Meta(ge=-180, le=180)] | None,
        note("更正后的经度（WGS-84），须与纬度同时给出", "for correct: WGS-84; only together with lat", unit="deg"),
    ] = None
    lat: Annotated[
        Annotated[float, msgspec.Meta(ge=-90, le=90)] | None,
        note("更正后的纬度（WGS-84），须与经度同时给出", "for correct: WGS-84; only together with lon", unit="deg"),
    ] = None

    @property
    def key(self) -> bytes:
        """The Kafka key: what is asked of one incident stays in one partition, in order."""
        return (self.incident_id or self.ticket_id or self.action_id).encode()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ActionRecord)


def encode_action(action: ActionRecord) -> bytes:
    return _encoder.encode(action)


def decode_action(payload: bytes | memoryview) -> ActionRecord:
    """The action in `payload`; MessageError says what about it cannot be used and where."""
    try:
        action = _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"schemas/action: not an action: {error}") from error
    if (action.incident_id is None) == (action.ticket_id is None):
        given = "neither" if action.incident_id is None else "both"
        raise MessageError(f"schemas/action: expected incident_id or ticket_id, got {given} - at $.incident_id")
    if (action.lon is None) != (action.lat is None):
        raise MessageError("schemas/action: expected lon and lat together, got one of them - at $.lon")
    return action
