"""A record of the loop's log: one input of the closed loop, on topic `loop`, in the one order that all agree on.

Alerts, tickets, actions and ticks come from topics with partitions of their own; `loop` has one partition, so whoever
reads it sees the same order and comes to the same incidents. An input that cannot be used is in the log all the
same: the loop answers it, it does not vanish on the way.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from schemas.errors import MessageError
from schemas.fields import FieldClass, note
from schemas.raw import EpochMs

NO_OFFSET = -1
"""`cause_offset` of a record that was written straight into the log: it has no place in another topic."""


class LoopKind(StrEnum):
    """What a record of the loop's log holds."""

    ALERT = "alert"
    TICKETS = "tickets"
    ACTION = "action"
    TICK = "tick"

    @property
    def zh(self) -> str:
        return _KINDS_ZH[self]


_KINDS_ZH = {LoopKind.ALERT: "告警", LoopKind.TICKETS: "工单", LoopKind.ACTION: "操作", LoopKind.TICK: "时钟"}


class TicketInLoop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A placed ticket as the loop needs it: without what the caller said."""

    ticket_id: Annotated[str, note("工单编号", "the ticket")]
    category: Annotated[str, note("类别", "what it is about")]
    event_at_ms: Annotated[int, note("来电时间", "when the citizen told it", unit="ms")]
    source: Annotated[str, note("原始记录：主题:分区:偏移量", "the raw record", examples=["tickets:1:5"])]
    urgency: Annotated[Literal["normal", "urgent", "critical"], note("紧急程度", "how urgent")] = "normal"
    cell: Annotated[int, note("网格单元编号；-1 为无法定位", "the compute cell; -1: unplaced")] = -1
    lon: Annotated[float | None, note("经度", "WGS-84; null when unplaced", unit="deg")] = None
    lat: Annotated[float | None, note("纬度", "WGS-84; null when unplaced", unit="deg")] = None
    jurisdiction: Annotated[str | None, note("管辖区划代码", "code of the finest jurisdiction it lies in")] = None
    confidence: Annotated[float, note("位置置信度", "how sure the place is", ge=0, le=1)] = 1.0
    parent_ticket_id: Annotated[str | None, note("父工单编号", "the ticket that it repeats or belongs to")] = None
    due_ms: Annotated[int | None, note("办理期限", "the deadline that came with it; null: none did", unit="ms")] = None
    sentence: Annotated[str, note("诉求摘要，已脱敏", "what it is about in words, masked", of=FieldClass.PUBLIC)] = ""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """The time by which deadlines are judged; also what topic `ticks` carries."""

    at_ms: Annotated[EpochMs, note("时刻", "it is now at least this late", unit="ms", examples=[1782864005000])]


class LoopRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the loop."""

    kind: Annotated[LoopKind, note("种类", "what it holds")]
    cause_topic: Annotated[str, note("来源主题", "the topic that it came from", examples=["alerts"])]
    cause_partition: Annotated[int, note("来源分区", "the partition there", ge=0)]
    cause_offset: Annotated[
        int, note("来源偏移量；-1 为直接写入", "the offset there; -1: written straight into this log", ge=NO_OFFSET)
    ]
    arrived_ms: Annotated[int, note("到达时间", "when the broker appended it there", unit="ms")]
    payload: Annotated[
        bytes,
        note(
            "原始字节（base64）；工单为空",
            "its bytes as they came, in base64; empty for tickets",
            of=FieldClass.PERSONAL,
            schema={"contentEncoding": "base64"},
        ),
    ] = b""
    tickets: Annotated[list[TicketInLoop], note("工单", "for kind tickets")] = []  # copied by msgspec

    @property
    def cause(self) -> str:
        return f"{self.cause_topic}:{self.cause_partition}:{self.cause_offset}"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LoopRecord)
_tick_decoder = msgspec.json.Decoder(Tick)


def encode_loop_record(record: LoopRecord) -> bytes:
    """The record as compact JSON; fields in the order of the class."""
    return _encoder.encode(record)


def decode_loop_record(payload: bytes | memoryview) -> LoopRecord:
    """The record in `payload`; MessageError when it is not one."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"schemas/loop_record: not a record of the loop: {error}") from error


def encode_tick(tick: Tick) -> bytes:
    return _encoder.encode(tick)


def decode_tick(payload: bytes | memoryview) -> Tick:
    """The tick in `payload`; MessageError when it is not one."""
    try:
        return _tick_decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"schemas/loop_record: not a tick: {error}") from error
