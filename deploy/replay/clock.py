"""Event times of recorded rows: text in the mapping's form -> epoch milliseconds, with what was odd about them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from deploy.replay.mapping import TimeRule
from deploy.replay.tally import Note, Skip, Unusable
from schemas.errors import BadRecord
from schemas.event_time import event_time_ms
from schemas.json_faults import shown
from schemas.raw import MAX_EVENT_MS, MIN_EVENT_MS

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - wall clocks are subtracted from it, no moments
REMEMBERED: Final = 8192
"""Times repeat: by the row in tables of many sensors, by the hour across stations."""
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")

Clock = Callable[[str], tuple[int, Note | None]]
"""(epoch ms, what is odd about it); raises Unusable."""


def clock(rule: TimeRule) -> Clock:
    """The reader of times for a rule."""
    read = _reader(rule)
    until = rule.until

    @lru_cache(maxsize=REMEMBERED)
    def tell(text: str) -> tuple[int, Note | None]:
        at_ms, note = read(text if until is None else text.split(until, 1)[0])
        if not MIN_EVENT_MS <= at_ms < MAX_EVENT_MS:
            raise Unusable(Skip.BAD_TIME, f"expected a time from 2000 to before 2100, got {shown(text)}")
        return at_ms, note

    return tell


def _reader(rule: TimeRule) -> Clock:
    match rule.form:
        case "local":
            assert rule.format is not None and rule.zone is not None  # the mapping has been checked
            return _local(rule.format, ZoneInfo(rule.zone))
        case "rfc3339":
            return _rfc3339
        case "frames":
            assert rule.start is not None and rule.per_second is not None
            start_ms = round(datetime.fromisoformat(rule.start).timestamp() * 1000)
            return _scaled(start_ms, 1000 / rule.per_second)
        case "epoch_s":
            return _scaled(0, 1000.0)
        case "epoch_ms":
            return _scaled(0, 1.0)


def _local(form: str, zone: ZoneInfo) -> Clock:
    iso = form == "%Y-%m-%d %H:%M:%S"  # which Python reads twenty times as fast by another way

    def read(text: str) -> tuple[int, Note | None]:
        try:
            if iso and len(text) == 19 and text[4] == text[7] == "-" and text[10] == " ":
                wall = datetime.fromisoformat(text)
            else:
                wall = datetime.strptime(text, form)  # noqa: DTZ007 - its zone is the rule's
        except ValueError:
            raise Unusable(Skip.BAD_TIME, f"expected a time like {form}, got {shown(text)}") from None
        if wall.tzinfo is not None:
            return _ms(wall - datetime(1970, 1, 1, tzinfo=UTC)), None
        first = wall.replace(tzinfo=zone).utcoffset() or timedelta()
        second = wall.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
        note = None
        if first != second:
            note = Note.REPEATED_HOUR if first > second else Note.SKIPPED_HOUR
        return _ms(wall - EPOCH - first), note

    return read


def _rfc3339(text: str) -> tuple[int, Note | None]:
    try:
        return event_time_ms(text, UTC_ZONE), None
    except BadRecord as error:
        raise Unusable(Skip.BAD_TIME, error.detail) from None


UTC_ZONE: Final = ZoneInfo("UTC")


def _scaled(start_ms: int, ms_each: float) -> Clock:
    def read(text: str) -> tuple[int, Note | None]:
        number = number_of(text)
        if number is None or abs(number) > MAX_EVENT_MS:
            raise Unusable(Skip.BAD_TIME, f"expected a number that is a time, got {shown(text)}")
        return start_ms + round(number * ms_each), None

    return read


def number_of(text: str) -> float | None:
    """A plain finite number, or None: Python alone would also take "nan", "1_000" and digits of any script."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or not text.isascii():
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
