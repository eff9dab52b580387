"""A hotline ticket (12345): what a citizen told the city, on topic `tickets`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from schemas.fields import FieldClass, note
from schemas.raw import MAX_ID_BYTES, MAX_TEXT_CHARS, DatumName, EpochMs, Lat, Lon, ShortText, TimeText, Ts
from schemas.sources import Source


class Ticket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ticket.

    Producers may add fields of their own: they are kept. An optional field that is null counts as absent.
    """

    source: ClassVar[Source] = Source.TICKETS

    ticket_id: Annotated[
        str,
        note("工单编号", "the ticket", min_length=1, max_length=MAX_ID_BYTES, examples=["12345-20260701-000123"]),
    ]
    category: Annotated[
        str,
        note(
            "类别，见 kinds.yaml",
            "what it is about, by preference a name of kinds.yaml",
            of=FieldClass.PUBLIC,
            min_length=1,
            max_length=MAX_ID_BYTES,
            examples=["flood"],
        ),
    ]
    text: Annotated[
        str,
        note(
            "诉求内容",
            "what was said; it may name people, telephones and plates",
            of=FieldClass.PERSONAL,
            mask="text",
            max_length=MAX_TEXT_CHARS,
            examples=["漕溪北路下立交积水，车辆无法通行"],
        ),
    ]
    ts: Ts
    address: Annotated[
        ShortText | None,
        note("地址", "the place in words", of=FieldClass.PERSONAL, mask="address", examples=["徐汇区漕溪北路 398 号"]),
    ] = None
    lon: Lon = None
    lat: Lat = None
    datum: DatumName = None
    urgency: Annotated[
        Literal["normal", "urgent", "critical"] | None,
        note("紧急程度：normal 一般、urgent 紧急、critical 特急", "how urgent; normal when absent"),
    ] = None
    caller_name: Annotated[
        ShortText | None,
        note("来电人姓名", "the caller's name", of=FieldClass.PERSONAL, mask="name", examples=["王小明"]),
    ] = None
    caller_phone: Annotated[
        ShortText | None,
        note("来电号码", "the caller's telephone", of=FieldClass.PERSONAL, mask="phone", examples=["13800138000"]),
    ] = None
    channel: Annotated[
        ShortText | None,
        note("受理渠道", "how it came in: phone, app, web, ...", of=FieldClass.PUBLIC, examples=["phone"]),
    ] = None
    parent_ticket_id: Annotated[
        Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES)] | None,
        note("父工单编号", "the ticket that this one repeats or belongs to", examples=["12345-20260701-000100"]),
    ] = None
    due_ts: Annotated[
        EpochMs | TimeText | None,
        note(
            "办理时限：热线承诺办结的时间，写法同 ts",
            "when the hotline promised it would be done, written as ts is; before ts it means overdue at once",
            of=FieldClass.PUBLIC,
            unit="ms",
            examples=["2026-07-08T18:00:00+08:00"],
        ),
    ] = None
