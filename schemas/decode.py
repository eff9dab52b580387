"""The reference decoder: one raw record's bytes become a Row, or a BadRecord that says what is wrong and where.

It is the definition of what a valid record is. The fast decoder in streams accepts a subset and hands everything else
to this one, which also words every error. Whatever the bytes, the outcome is a Row or a BadRecord, never another
exception.

Rules that are not in the fields' own descriptions:
- null for an optional field means absent, null for a required one means missing;
- a number is never taken from a string, nor a whole number from 1.0, nor either from true;
- fields with no column of their own, unknown ones included, go to `extra` in the order in which they came;
- a ticket's extra always has text and urgency (an urgency that was not given comes last);
- its `due_ts` stands there as `due_ms`, epoch milliseconds. One before `ts` is kept: the loop will find it overdue at
  once, where somebody sees it, and a call for help is not lost over a slip in a promise;
- what locate itself adds to a ticket's extra (`due_ms`, `place_confidence`) is never taken from the producer: fields
  that he calls so are kept as `sent_due_ms` and `sent_place_confidence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NoReturn
from zoneinfo import ZoneInfo

import msgspec

from schemas import json_faults
from schemas.datums import DATUM_NAMES, Datum
from schemas.dead_letter import Reason
from schemas.errors import BadRecord
from schemas.event_time import event_time_ms
from schemas.raw import MAX_ID_BYTES, MAX_PAYLOAD_BYTES, MAX_STRING_CHARS, MAX_TEXT_CHARS
from schemas.sources import Source

NAN: Final = math.nan
QUALITIES: Final = {"good": 0, "suspect": 1, "bad": 2}
_COLON: Final = 0x3A  # counting an int is much faster than counting bytes
URGENCIES: Final = ("normal", "urgent", "critical")

_Fields = dict[str, Any]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One decoded record, before it is placed. Equal rows may hold NaN: compare their `comparable()`."""

    event_at_ms: int
    entity: str
    kind: str
    value: float  # NaN: missing
    confidence: float
    quality: int  # schemas.observation.Quality
    unit: str | None
    device_type: str | None
    datum: int  # schemas.datums.Datum
    lon: float  # degrees in the record's datum; NaN: absent
    lat: float
    extra: bytes | None  # compact JSON object

    def comparable(self) -> tuple[Any, ...]:
        """All fields, with None for NaN."""
        return tuple(None if value != value else value for value in msgspec.structs.astuple(self))


def decode(source: Source, payload: bytes | memoryview | None, zone: ZoneInfo) -> Row:
    """The row in `payload`; `zone` is the source's declared zone, for times without one. Raises BadRecord.

    None is Kafka's null value.
    """
    if payload is None:
        raise BadRecord(Reason.NULL_VALUE, "$", "expected a JSON object, got no value (a tombstone)")
    raw = payload if type(payload) is bytes else bytes(payload)
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise BadRecord(Reason.TOO_LARGE, "$", f"expected at most {MAX_PAYLOAD_BYTES} bytes, got {len(raw)}")
    try:
        record = _parse(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise json_faults.explain(raw, error) from None
    if json_faults.may_be_too_deep(raw) and type(record) in (dict, list):
        json_faults.refuse_depth(record)  # before anything that recurses, whose reach depends on who called it
    if type(record) is not dict:
        raise BadRecord(Reason.BAD_TYPE, "$", f"expected an object, got {json_faults.shown(record)}")
    # A key of its own has a colon of its own, so as many colons as keys means that no key came twice (the usual case).
    if raw.count(_COLON) != len(record):
        json_faults.refuse_duplicates(raw, record)
    return _READERS[source](record, zone)


def _reading(record: _Fields, zone: ZoneInfo) -> Row:
    entity = _identifier(record, "device_id")
    kind = _identifier(record, "metric")
    value = _number(record, "value")
    event_at_ms = event_time_ms(record.get("ts"), zone)
    datum, lon, lat = _place(record)
    quality = record.get("quality")
    if quality is None:
        grade = 0
    elif type(quality) is not str:
        _wrong_type("quality", "a string", quality)
    else:
        grade = QUALITIES.get(quality, -1)
        if grade < 0:
            _wrong_value("quality", "one of good, suspect, bad", quality)
    unit = _string(record, "unit")
    device_type = _string(record, "device_type")
    extra = None if record.keys() <= _READING_COLUMNS else _extra(record, _READING_COLUMNS, ())
    return Row(event_at_ms, entity, kind, value, 1.0, grade, unit, device_type, datum, lon, lat, extra)


def _camera_event(record: _Fields, zone: ZoneInfo) -> Row:
    entity = _identifier(record, "camera_id")
    kind = _identifier(record, "event")
    confidence = _number(record, "confidence")
    if not 0.0 <= confidence <= 1.0:
        _wrong_value("confidence", "a number from 0 to 1", record["confidence"])
    event_at_ms = event_time_ms(record.get("ts"), zone)
    datum, lon, lat = _place(record)
    count = record.get("count")
    if count is None:
        value = 1.0
    elif type(count) is not int:
        _wrong_type("count", "an integer", count)
    elif count < 0:
        _wrong_value("count", "an integer of 0 or more", count)
    else:
        value = _number(record, "count")
    if record.keys() <= _CAMERA_COLUMNS:
        return Row(event_at_ms, entity, kind, value, confidence, 0, None, None, datum, lon, lat, None)
    track_id = record.get("track_id")
    if type(track_id) is not int:
        _string(record, "track_id", "a string or an integer")
    _string(record, "snapshot_url", secret=True)
    _string(record, "plate_hash", secret=True)
    box = record.get("bbox")
    if box is not None:
        _check_box(box)
    extra = _extra(record, _CAMERA_COLUMNS, _CAMERA_EXTRAS)
    return Row(event_at_ms, entity, kind, value, confidence, 0, None, None, datum, lon, lat, extra)


def _ticket(record: _Fields, zone: ZoneInfo) -> Row:
    entity = _identifier(record, "ticket_id")
    kind = _identifier(record, "category")
    text = record.get("text")
    if type(text) is not str:
        _no_string("text", "a string", text, required=True, secret=True)
    if len(text) > MAX_TEXT_CHARS:
        _wrong_length("text", f"at most {MAX_TEXT_CHARS} characters", len(text))
    event_at_ms = event_time_ms(record.get("ts"), zone)
    datum, lon, lat = _place(record)
    urgency = record.get("urgency")
    if urgency is None:
        record.pop("urgency", None)
        record["urgency"] = "normal"
    elif type(urgency) is not str:
        _wrong_type("urgency", "a string", urgency)
    elif urgency not in URGENCIES:
        _wrong_value("urgency", "one of normal, urgent, critical", urgency)
    _string(record, "address", secret=True)
    _string(record, "caller_name", secret=True)
    _string(record, "caller_phone", secret=True)
    _string(record, "channel")
    if record.get("parent_ticket_id") is not None:
        _identifier(record, "parent_ticket_id")
    if not record.keys().isdisjoint(_RENAMED):
        record = _rename(record, zone)
    extra = _extra(record, _TICKET_COLUMNS, _TICKET_EXTRAS)
    return Row(event_at_ms, entity, kind, 1.0, 1.0, 0, None, None, datum, lon, lat, extra)


_READERS: Final[tuple[Callable[[_Fields, ZoneInfo], Row], ...]] = (_reading, _camera_event, _ticket)  # by Source
_parse = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

# Fields with a column of their own, and the known fields without one (of which null means absent).
_READING_COLUMNS: Final = frozenset(
    ("device_id", "metric", "value", "ts", "unit", "lon", "lat", "datum", "quality", "device_type")
)
_CAMERA_COLUMNS: Final = frozenset(("camera_id", "event", "confidence", "ts", "lon", "lat", "datum", "count"))
_CAMERA_EXTRAS: Final = ("track_id", "bbox", "snapshot_url", "plate_hash")
_TICKET_COLUMNS: Final = frozenset(("ticket_id", "category", "ts", "lon", "lat", "datum"))
_TICKET_EXTRAS: Final = ("address", "caller_name", "caller_phone", "channel", "parent_ticket_id", "due_ms")
_RENAMED: Final = {"due_ts": "due_ms", "due_ms": "sent_due_ms", "place_confidence": "sent_place_confidence"}


def _rename(record: _Fields, zone: ZoneInfo) -> _Fields:
    """A ticket's fields, in their order, under the names that they have in extra."""
    due = record.get("due_ts")
    if due is not None:
        record["due_ts"] = event_time_ms(due, zone, path="$.due_ts")
    return {_RENAMED.get(name, name): value for name, value in record.items()}


def _identifier(record: _Fields, field: str) -> str:
    value = record.get(field)
    if type(value) is not str:
        _no_string(field, "a string", value, required=True)
    if not value:
        _wrong_length(field, f"1 to {MAX_ID_BYTES} bytes of UTF-8", 0)
    # ASCII is one byte a character and no character has more than four, which saves most encodings
    if len(value) * 4 > MAX_ID_BYTES and len(value.encode()) > MAX_ID_BYTES:
        _wrong_length(field, f"1 to {MAX_ID_BYTES} bytes of UTF-8", len(value.encode()))
    return value


def _string(record: _Fields, field: str, expected: str = "a string", *, secret: bool = False) -> str | None:
    value = record.get(field)
    if value is None:
        return None
    if type(value) is not str:
        _no_string(field, expected, value, secret=secret)
    if len(value) > MAX_STRING_CHARS:
        _wrong_length(field, f"at most {MAX_STRING_CHARS} characters", len(value))
    return value


def _number(record: _Fields, field: str) -> float:
    """A required finite number."""
    value = record.get(field)
    if type(value) is float:
        return value  # JSON has no NaN, and the parser refuses what a double cannot hold
    if type(value) is not int:
        if value is None:
            _missing(field)
        _wrong_type(field, "a number", value)
    try:
        return float(value)
    except OverflowError:
        _wrong_value(field, "a number that a double can hold", value)


def _place(record: _Fields) -> tuple[int, float, float]:
    """Datum code, longitude and latitude; NaN when the record has no coordinates."""
    name = record.get("datum")
    if name is None:
        datum = Datum.NOT_GIVEN.value
    else:
        if type(name) is not str:
            _wrong_type("datum", "a string", name)
        known = _DATUM_CODES.get(name) or _DATUM_CODES.get(name.upper())
        if known is None:
            _wrong_value("datum", "one of WGS-84, CGCS2000, GCJ-02, BD-09", name)
        datum = known
    lon = record.get("lon")
    lat = record.get("lat")
    if lon is None and lat is None:
        return datum, NAN, NAN
    if lon is None or lat is None:
        given, absent = ("lon", "lat") if lat is None else ("lat", "lon")
        raise BadRecord(Reason.BAD_PLACE, f"$.{absent}", f"expected lon and lat together, got only {given}")
    if type(lon) is not float and type(lon) is not int:
        _wrong_type("lon", "a number", lon)
    if type(lat) is not float and type(lat) is not int:
        _wrong_type("lat", "a number", lat)
    if not -180 <= lon <= 180:
        raise BadRecord(Reason.BAD_PLACE, "$.lon", f"expected -180 to 180 degrees, got {json_faults.shown(lon)}")
    if not -90 <= lat <= 90:
        hint = "; lon and lat look swapped" if abs(lon) <= 90 and abs(lat) <= 180 else ""
        raise BadRecord(Reason.BAD_PLACE, "$.lat", f"expected -90 to 90 degrees, got {json_faults.shown(lat)}{hint}")
    return datum, float(lon), float(lat)


_DATUM_CODES: Final = {name: int(code) for name, code in DATUM_NAMES.items()}


def _check_box(box: Any) -> None:
    if type(box) is not list:
        _wrong_type("bbox", "an array of 4 numbers", box)
    if len(box) != 4:
        _wrong_length("bbox", "an array of 4 numbers", len(box))
    if _NUMBERS.issuperset(map(type, box)) and max(box) <= _MAX_PIXELS and min(box) >= -_MAX_PIXELS:
        return
    for index, edge in enumerate(box):
        if type(edge) not in _NUMBERS:
            _wrong_type(f"bbox[{index}]", "a number", edge)
        if abs(edge) > _MAX_PIXELS:
            _wrong_value(f"bbox[{index}]", "a number of pixels", edge)


_NUMBERS: Final = frozenset((int, float))
_MAX_PIXELS: Final = 2**63  # nobody has such a picture, and far larger integers do not fit a double


def _extra(record: _Fields, columns: frozenset[str], nullable: tuple[str, ...]) -> bytes | None:
    """The fields outside `columns` as compact JSON; of the `nullable` ones only those that are given."""
    rest = {name: value for name, value in record.items() if name not in columns}
    if None in rest.values():
        rest = {name: value for name, value in rest.items() if value is not None or name not in nullable}
    return _encode(rest) if rest else None


def _missing(field: str) -> NoReturn:
    raise BadRecord(Reason.MISSING_FIELD, f"$.{field}", "expected this field, it is absent or null")


def _wrong_type(field: str, expected: str, value: Any, *, secret: bool = False) -> NoReturn:
    raise BadRecord(
        Reason.BAD_TYPE, f"$.{field}", f"expected {expected}, got {json_faults.shown(value, secret=secret)}"
    )


def _wrong_value(field: str, expected: str, value: Any) -> NoReturn:
    raise BadRecord(Reason.BAD_VALUE, f"$.{field}", f"expected {expected}, got {json_faults.shown(value)}")


def _wrong_length(field: str, expected: str, length: int) -> NoReturn:
    raise BadRecord(Reason.BAD_VALUE, f"$.{field}", f"expected {expected}, got {length}")


def _no_string(field: str, expected: str, value: Any, *, required: bool = False, secret: bool = False) -> NoReturn:
    if value is None and required:
        _missing(field)
    _wrong_type(field, expected, value, secret=secret)
