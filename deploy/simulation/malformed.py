"""Records spoilt on purpose: the ways in which real producers get it wrong, applied to a good record's bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from schemas.sources import Source

FAR_LON, FAR_LAT = 116.3913, 39.9075
"""Far outside the city: another city's feed in the wrong topic."""
AHEAD_MS: Final = 40 * 365 * 86_400_000
"""Far enough to lie in the future on the day on which a run of the past is sent: nearer, it would be believed, and push
the event time of its partition so far that everything after it is late."""
TOO_LARGE: Final = 70_000
TOO_DEEP: Final = 80

_VALUE_OF: Final = {Source.READINGS: "value", Source.CAMERA_EVENTS: "confidence", Source.TICKETS: "text"}
_ID_OF: Final = {Source.READINGS: "device_id", Source.CAMERA_EVENTS: "camera_id", Source.TICKETS: "ticket_id"}

Spoiler = Callable[[Source, bytes, int], bytes]
"""(source, the good bytes, event time) -> bad bytes."""


def _fields(payload: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(payload)
    return fields


def _packed(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _cut_off(source: Source, payload: bytes, event_ms: int) -> bytes:
    return payload[: max(1, len(payload) * 3 // 5)]


def _not_a_number(source: Source, payload: bytes, event_ms: int) -> bytes:
    return re.sub(rb'("(?:value|confidence|ts)":)("[^"]*"|[-0-9.]+)', rb"\1NaN", payload, count=1)


def _without_value(source: Source, payload: bytes, event_ms: int) -> bytes:
    fields = _fields(payload)
    del fields[_VALUE_OF[source]]
    return _packed(fields)


def _without_time(source: Source, payload: bytes, event_ms: int) -> bytes:
    fields = _fields(payload)
    del fields["ts"]
    return _packed(fields)


def _other_type(source: Source, payload: bytes, event_ms: int) -> bytes:
    fields, name = _fields(payload), _VALUE_OF[source]
    fields[name] = [fields[name]] if source is Source.TICKETS else str(fields[name])
    return _packed(fields)


def _null_id(source: Source, payload: bytes, event_ms: int) -> bytes:
    return _packed(_fields(payload) | {_ID_OF[source]: None})


def _seconds(source: Source, payload: bytes, event_ms: int) -> bytes:
    return _packed(_fields(payload) | {"ts": event_ms // 1000})


def _no_such_time(source: Source, payload: bytes, event_ms: int) -> bytes:
    return _packed(_fields(payload) | {"ts": "2025-02-30 25:61:00"})


def _half_a_place(source: Source, payload: bytes, event_ms: int) -> bytes:
    fields = {name: value for name, value in _fields(payload).items() if name != "lat"}
    return _packed(fields | {"lon": 121.47})


def _swapped(source: Source, payload: bytes, event_ms: int) -> bytes:
    fields = _fields(payload)
    lon, lat = fields.get("lon", 121.4737), fields.get("lat", 31.2304)
    return _packed(fields | {"lon": lat, "lat": lon})


def _twice(source: Source, payload: bytes, event_ms: int) -> bytes:
    return payload[:-1] + b',"ts":%d}' % event_ms


def _broken_text(source: Source, payload: bytes, event_ms: int) -> bytes:
    return payload.replace(b'":"', b'":"\xff\xfe', 1)


def _empty(source: Source, payload: bytes, event_ms: int) -> bytes:
    return b""


def _an_array(source: Source, payload: bytes, event_ms: int) -> bytes:
    return b"[" + payload + b"]"


def _xml(source: Source, payload: bytes, event_ms: int) -> bytes:
    return b'<?xml version="1.0"?><record ts="%d"/>' % event_ms


def _too_large(source: Source, payload: bytes, event_ms: int) -> bytes:
    return payload[:-1] + b',"padding":"' + b"x" * TOO_LARGE + b'"}'


def _too_deep(source: Source, payload: bytes, event_ms: int) -> bytes:
    return payload[:-1] + b',"nested":' + b"[" * TOO_DEEP + b"]" * TOO_DEEP + b"}"


def _far_ahead(source: Source, payload: bytes, event_ms: int) -> bytes:
    return _packed(_fields(payload) | {"ts": event_ms + AHEAD_MS})


def _outside(source: Source, payload: bytes, event_ms: int) -> bytes:
    fields = {name: value for name, value in _fields(payload).items() if name != "datum"}
    return _packed(fields | {"lon": FAR_LON, "lat": FAR_LAT})


SPOILERS: Final[dict[str, Spoiler]] = {
    "cut_off": _cut_off,
    "not_a_number": _not_a_number,
    "without_value": _without_value,
    "without_time": _without_time,
    "other_type": _other_type,
    "null_id": _null_id,
    "seconds": _seconds,
    "no_such_time": _no_such_time,
    "half_a_place": _half_a_place,
    "swapped": _swapped,
    "field_twice": _twice,
    "broken_text": _broken_text,
    "empty": _empty,
    "array": _an_array,
    "xml": _xml,
    "too_large": _too_large,
    "too_deep": _too_deep,
    "far_ahead": _far_ahead,
    "outside": _outside,
}
DECODES: Final = frozenset({"far_ahead", "outside"})
"""These are read without complaint; their time or place is refused afterwards."""


def spoil(kind: str, source: Source, payload: bytes, event_ms: int) -> bytes:
    """The payload of a good record, made bad in this way."""
    return SPOILERS[kind](source, payload, event_ms)
