"""What the three raw records have in common: limits, and the types of the fields they share.

`decode.py` enforces exactly these limits; the generated JSON Schema states them as far as JSON Schema can.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from schemas.datums import DATUM_PATTERN
from schemas.fields import FieldClass, note

MAX_PAYLOAD_BYTES: Final = 65_536
MAX_ID_BYTES: Final = 256  # ids and kinds, in UTF-8
MAX_TEXT_CHARS: Final = 8_192  # a ticket's text
MAX_STRING_CHARS: Final = 1_024  # every other known string field
MAX_DEPTH: Final = 64  # objects and arrays inside each other, the record itself included

MIN_EVENT_MS: Final = 946_684_800_000  # 2000-01-01T00:00:00Z, allowed
MAX_EVENT_MS: Final = 4_102_444_800_000  # 2100-01-01T00:00:00Z, not allowed any more

# A date and time as RFC 3339 has it, except that the zone may be missing and a blank may stand for the T.
TIME_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?$"
)

Number = int | float
EpochMs = Annotated[int, msgspec.Meta(ge=MIN_EVENT_MS, lt=MAX_EVENT_MS)]
TimeText = Annotated[str, msgspec.Meta(pattern=TIME_PATTERN)]
ShortText = Annotated[str, msgspec.Meta(max_length=MAX_STRING_CHARS)]

Ts = Annotated[
    EpochMs | TimeText,
    note(
        "发生时间：毫秒时间戳，或 RFC 3339 时间；不带时区时按来源声明的时区",
        "when it happened: epoch milliseconds (an integer) or RFC 3339; without a zone it is in the source's zone",
        of=FieldClass.PUBLIC,
        unit="ms",
        examples=[1782864000000, "2026-07-01T08:00:00+08:00", "2026-07-01 08:00:00"],
    ),
]
Lon = Annotated[
    Annotated[float, msgspec.Meta(ge=-180, le=180)] | None,
    note("经度，须与纬度同时给出", "longitude; only together with lat", unit="deg", examples=[121.4737]),
]
Lat = Annotated[
    Annotated[float, msgspec.Meta(ge=-90, le=90)] | None,
    note("纬度，须与经度同时给出", "latitude; only together with lon", unit="deg", examples=[31.2304]),
]
DatumName = Annotated[
    Annotated[str, msgspec.Meta(pattern=DATUM_PATTERN)] | None,
    note(
        "坐标系：WGS-84、CGCS2000、GCJ-02 或 BD-09；不给则按来源声明",
        "datum of lon and lat: WGS-84, CGCS2000, GCJ-02 or BD-09; without it the source's declared one",
        of=FieldClass.PUBLIC,
        examples=["GCJ-02"],
    ),
]
