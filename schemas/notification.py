"""A notification: one JSON record on topic `notifications` that tells a department or a person something.

It changes nothing: what happened is on `incidents`. Refusals are here too, with the actions that would be legal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.errors import MessageError
from schemas.fields import FieldClass, note


class NotificationKind(StrEnum):
    """Why somebody is told. Values are part of stored history: never rename, only append."""

    FILED = "filed"  # to the duty desk: nobody is responsible by the list, or nothing is done by itself
    DISPATCHED = "dispatched"  # to the lead
    ASSIST = "assist"  # to an assisting department
    RETURNED = "returned"  # to the duty desk
    TO_VERIFY = "to_verify"  # to the duty desk: it is handled, somebody else must verify it
    REWORK = "rework"  # to the lead: verification failed
    REMINDER = "reminder"
    OVERDUE = "overdue"
    ESCALATED = "escalated"
    WHISTLE = "whistle"
    WORSENED = "worsened"  # to who has it: the severity rose
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    MERGED = "merged"
    CLOSED = "closed"
    REOPENED = "reopened"
    ENDED = "ended"  # to the lead: false alarm or cancelled
    REFUSED = "refused"  # to the actor: an action was refused
    REPEATED = "repeated"  # to the actor: an action was done before
    UNREADABLE = "unreadable"  # to the duty desk: a record that cannot be used

    @property
    def zh(self) -> str:
        return _KINDS_ZH[self]


_KINDS_ZH = {
    NotificationKind.FILED: "待派遣",
    NotificationKind.DISPATCHED: "派单",
    NotificationKind.ASSIST: "协办",
    NotificationKind.RETURNED: "退单",
    NotificationKind.TO_VERIFY: "待核查",
    NotificationKind.REWORK: "返工",
    NotificationKind.REMINDER: "催办",
    NotificationKind.OVERDUE: "超时",
    NotificationKind.ESCALATED: "上报",
    NotificationKind.WHISTLE: "吹哨",
    NotificationKind.WORSENED: "升级",
    NotificationKind.SUSPENDED: "挂起",
    NotificationKind.RESUMED: "恢复",
    NotificationKind.MERGED: "并案",
    NotificationKind.CLOSED: "结案",
    NotificationKind.REOPENED: "重新开启",
    NotificationKind.ENDED: "终止",
    NotificationKind.REFUSED: "拒绝",
    NotificationKind.REPEATED: "重复",
    NotificationKind.UNREADABLE: "无法读取",
}


class RefusalReason(StrEnum):
    """Why an action was refused. Values are part of stored history and of metrics: never rename, only append."""

    UNKNOWN_INCIDENT = "unknown_incident"  # never seen, or ended longer ago than it can be reopened
    ILLEGAL = "illegal"  # no role may do this in this state
    WRONG_ROLE = "wrong_role"  # another role may
    WRONG_DEPARTMENT = "wrong_department"  # the incident lies with another department
    SELF_VERIFICATION = "self_verification"  # who handled it, or their department, may not verify it
    STALE = "stale"  # it changed since the actor looked
    OUT_OF_ORDER = "out_of_order"  # earlier than what was done before
    FUTURE = "future"  # later than now
    BAD_TIME = "bad_time"  # the time cannot be read
    INCOMPLETE = "incomplete"  # the action lacks something that it needs
    UNKNOWN_DEPARTMENT = "unknown_department"
    BAD_TARGET = "bad_target"  # cannot be merged into that one
    NOTHING_TO_DO = "nothing_to_do"  # nobody called, nothing would change
    ID_REUSED = "id_reused"  # the action id belongs to another action

    @property
    def zh(self) -> str:
        return _REASONS_ZH[self]


_REASONS_ZH = {
    RefusalReason.UNKNOWN_INCIDENT: "没有这个事件，或已结束太久",
    RefusalReason.ILLEGAL: "当前状态不允许此操作",
    RefusalReason.WRONG_ROLE: "该角色无权执行此操作",
    RefusalReason.WRONG_DEPARTMENT: "事件不在该单位",
    RefusalReason.SELF_VERIFICATION: "处置人及其单位不得核查自己的处置",
    RefusalReason.STALE: "事件已有新的变化",
    RefusalReason.OUT_OF_ORDER: "早于此前已执行的操作",
    RefusalReason.FUTURE: "时间超前",
    RefusalReason.BAD_TIME: "时间无法识别",
    RefusalReason.INCOMPLETE: "缺少必要内容",
    RefusalReason.UNKNOWN_DEPARTMENT: "没有这个单位",
    RefusalReason.BAD_TARGET: "不能并入该事件",
    RefusalReason.NOTHING_TO_DO: "无需执行",
    RefusalReason.ID_REUSED: "操作编号已用于另一操作",
}


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one department or person."""

    notification_id: Annotated[
        str,
        note(
            "通知编号：循环日志偏移量-序号",
            "offset in the loop's log and a number: the same however often the log is read",
            examples=["1042-1"],
        ),
    ]
    kind: Annotated[NotificationKind, note("通知类别", "why somebody is told")]
    to: Annotated[str, note("接收单位或操作人", "a department's id, or the actor of a refused action")]
    to_actor: Annotated[bool, note("接收方是否为操作人", "whether `to` is a person rather than a department")]
    incident_id: Annotated[str | None, note("事件编号", "the incident; null when there is none")]
    revision: Annotated[int | None, note("事件修订号", "the incident's revision at that time")]
    at_ms: Annotated[int, note("时间", "when, in the time of the log", unit="ms")]
    action_id: Annotated[str | None, note("操作编号", "the action that is answered")]
    refusal: Annotated[RefusalReason | None, note("拒绝原因", "why an action was refused")]
    legal: Annotated[list[str], note("该角色此时可执行的操作", "for a refusal: what this role may do in this state")]
    cause: Annotated[str, note("起因记录：主题:分区:偏移量", "the record that led to it", examples=["actions:0:12"])]
    sentence_zh: Annotated[str, note("一句话说明，已脱敏", "one Chinese sentence, masked", of=FieldClass.PUBLIC)]
    sentence_en: Annotated[str, note("英文说明，已脱敏", "one English sentence, masked", of=FieldClass.PUBLIC)]

    @property
    def key(self) -> bytes:
        """The Kafka key: what concerns one incident stays in one partition, in order."""
        return (self.incident_id or self.action_id or self.notification_id).encode()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Notification)


def encode_notification(notification: Notification) -> bytes:
    """The notification as compact JSON; fields in the order of the class."""
    return _encoder.encode(notification)


def decode_notification(payload: bytes | memoryview) -> Notification:
    """The notification in `payload`; MessageError when it is not one."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"schemas/notification: not a notification: {error}") from error
