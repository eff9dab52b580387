"""Reading a record's times: epoch milliseconds, or a date and time as RFC 3339 has it, with or without a zone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas.dead_letter import Reason
from schemas.errors import BadRecord
from schemas.json_faults import shown
from schemas.raw import MAX_EVENT_MS, MIN_EVENT_MS, TIME_PATTERN

PATH: Final = "$.ts"

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY_S: Final = 86_400
_matches = re.compile(TIME_PATTERN.removesuffix("$") + r"\Z").match


def event_time_ms(ts: Any, zone: ZoneInfo, *, path: str = PATH) -> int:
    """Epoch milliseconds of a record's `ts` value, which lies in [2000-01-01, 2100-01-01) UTC. Raises BadRecord.

    The same goes for any other time of a record; `path` says where it stands.

    A time without zone is in `zone`: when clocks go back the first of the two hours is meant, and a time that clocks
    jumped over is read with the offset before the jump. Fractions are cut to the millisecond. Second 60 (a leap second)
    is the second after 59.
    """
    if type(ts) is int:
        at_ms = ts
    elif type(ts) is str:
        at_ms = _parse(ts, zone, path)
    elif ts is None:
        raise BadRecord(Reason.MISSING_FIELD, path, "expected this field, it is absent or null")
    else:
        hint = "; milliseconds have no decimal point" if type(ts) is float else ""
        raise BadRecord(Reason.BAD_TYPE, path, f"expected an integer or a string, got {shown(ts)}{hint}")
    if MIN_EVENT_MS <= at_ms < MAX_EVENT_MS:
        return at_ms
    raise _out_of_range(ts, path)


def _parse(text: str, zone: ZoneInfo, path: str) -> int:
    found = _matches(text)
    if found is None:
        raise BadRecord(
            Reason.BAD_TIME, path, f"expected RFC 3339 such as 2026-07-01T08:00:00+08:00, got {shown(text)}"
        )
    second = int(text[17:19])
    fraction, written = found.groups()
    try:
        if second > 60:
            raise ValueError("no such second")
        minute_s = _minute_s(text[:16], written, None if written else zone)
    except (ValueError, OverflowError) as error:
        raise BadRecord(Reason.BAD_TIME, path, f"expected a time that exists, got {shown(text)}: {error}") from None
    millis = int(fraction[1:4].ljust(3, "0")) if fraction else 0
    return (minute_s + second) * 1000 + millis


@lru_cache(maxsize=8192)  # records come minute by minute: nearly every one finds its minute here
def _minute_s(text: str, written: str | None, zone: ZoneInfo | None) -> int:
    """Epoch seconds of the start of the minute "YYYY-MM-DDThh:mm", in the zone as written or in `zone`."""
    start = datetime(int(text[:4]), int(text[5:7]), int(text[8:10]), int(text[11:13]), int(text[14:16]), tzinfo=zone)
    days = start.toordinal() - _EPOCH_DAY
    return days * _DAY_S + start.hour * 3600 + start.minute * 60 - _offset_s(written, start)


def _offset_s(written: str | None, start: datetime) -> int:
    """Seconds east of UTC."""
    if written is None:
        offset = start.utcoffset()
        return 0 if offset is None else offset.days * _DAY_S + offset.seconds
    if written in ("Z", "z"):
        return 0
    east_h, east_min = int(written[1:3]), int(written[4:6])
    if east_h > 23 or east_min > 59:
        raise ValueError("no such zone")
    east_s = east_h * 3600 + east_min * 60
    return -east_s if written[0] == "-" else east_s


def _out_of_range(ts: int | str, path: str) -> BadRecord:
    hint = ""
    if type(ts) is int:
        if MIN_EVENT_MS // 1000 <= ts < MAX_EVENT_MS // 1000:
            hint = "; looks like seconds, multiply by 1000"
        elif MIN_EVENT_MS * 1000 <= ts < MAX_EVENT_MS * 1000:
            hint = "; looks like microseconds, divide by 1000"
        elif MIN_EVENT_MS * 1_000_000 <= ts < MAX_EVENT_MS * 1_000_000:
            hint = "; looks like nanoseconds, divide by 1000000"
    low, high = (datetime.fromtimestamp(edge / 1000, UTC).date() for edge in (MIN_EVENT_MS, MAX_EVENT_MS))
    return BadRecord(
        Reason.BAD_TIME, path, f"expected a time from {low} to before {high}, in milliseconds, got {shown(ts)}{hint}"
    )
