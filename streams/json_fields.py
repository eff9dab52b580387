"""Which fields the fast JSON scan knows per source, as arrays a kernel can compare with whole words.

A field without a column of its own is kept, in the record's own spelling, as part of the row's `extra` JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.raw import MAX_ID_BYTES, MAX_STRING_CHARS, MAX_TEXT_CHARS
from schemas.sources import Source
from streams.words import padded


class Role(IntEnum):
    """What the scan does with a field's value: numbers first, then free strings, then strings from a list."""

    EVENT_AT = 0
    VALUE = 1
    LON = 2
    LAT = 3
    CONFIDENCE = 4
    COUNT = 5  # a whole number that becomes the row's value
    ENTITY = 6
    KIND = 7
    UNIT = 8
    DEVICE_TYPE = 9
    KEPT_NUMBER_OR_TEXT = 10  # goes to `extra`, as do the next two
    KEPT_TEXT = 11
    KEPT_URGENCY = 12
    QUALITY = 13
    DATUM = 14
    DUE_AT = 15  # a time; goes to `extra` as `due_ms`


# Columns of the table of fields: three words of the key with its closing quote, three masks of the bytes that count,
# then
KEY_LENGTH, ROLE, MOST_BYTES = 6, 7, 8  # its length with the quote, its role, the longest string that is taken
FIELD_BYTES: Final = 72
_KEY_WORDS: Final = 3

# Columns of a table of tokens: two words, two masks, the length with the quote, the number it stands for.
TOKEN_BYTES: Final = 48
_TOKEN_WORDS: Final = 2


class Fields(NamedTuple):
    """The known fields of one source.

    `successors[f + 1]` is the field that followed field `f` last time (index 0: the first of a record): producers
    repeat their order of keys, so the guess is nearly always right. The kernel rewrites it as it goes.
    """

    table: npt.NDArray[np.int64]  # [fields, 9], columns above
    successors: npt.NDArray[np.int64]
    required: int  # a bit per field
    defaulted: int  # the bit of the field that is kept as DEFAULTED when it is absent, or 0


_PLACE: Final = (("lon", Role.LON, 0), ("lat", Role.LAT, 0), ("datum", Role.DATUM, 0))

_FIELDS: Final[dict[Source, tuple[tuple[str, Role, int], ...]]] = {
    Source.READINGS: (
        ("device_id", Role.ENTITY, MAX_ID_BYTES),
        ("metric", Role.KIND, MAX_ID_BYTES),
        ("value", Role.VALUE, 0),
        ("ts", Role.EVENT_AT, 0),
        ("unit", Role.UNIT, MAX_STRING_CHARS),
        ("quality", Role.QUALITY, 0),
        ("device_type", Role.DEVICE_TYPE, MAX_STRING_CHARS),
        *_PLACE,
    ),
    Source.CAMERA_EVENTS: (
        ("camera_id", Role.ENTITY, MAX_ID_BYTES),
        ("event", Role.KIND, MAX_ID_BYTES),
        ("confidence", Role.CONFIDENCE, 0),
        ("ts", Role.EVENT_AT, 0),
        ("count", Role.COUNT, 0),
        ("track_id", Role.KEPT_NUMBER_OR_TEXT, MAX_STRING_CHARS),
        ("snapshot_url", Role.KEPT_TEXT, MAX_STRING_CHARS),
        ("plate_hash", Role.KEPT_TEXT, MAX_STRING_CHARS),
        *_PLACE,
    ),
    Source.TICKETS: (
        ("ticket_id", Role.ENTITY, MAX_ID_BYTES),
        ("category", Role.KIND, MAX_ID_BYTES),
        ("text", Role.KEPT_TEXT, MAX_TEXT_CHARS),
        ("ts", Role.EVENT_AT, 0),
        ("urgency", Role.KEPT_URGENCY, 0),
        ("address", Role.KEPT_TEXT, MAX_STRING_CHARS),
        ("caller_name", Role.KEPT_TEXT, MAX_STRING_CHARS),
        ("caller_phone", Role.KEPT_TEXT, MAX_STRING_CHARS),
        ("channel", Role.KEPT_TEXT, MAX_STRING_CHARS),
        ("parent_ticket_id", Role.KEPT_TEXT, MAX_ID_BYTES),
        ("due_ts", Role.DUE_AT, 0),
        *_PLACE,
    ),
}

# What a ticket without urgency keeps, behind all that it has; the extra JSON stays shorter than its record, which has
# the names of three more fields.
DEFAULTED: Final = padded(b',"urgency":"normal"')
DEFAULTED_BYTES: Final = 19

_REQUIRED: Final[dict[Source, tuple[str, ...]]] = {
    Source.READINGS: ("device_id", "metric", "value", "ts"),
    Source.CAMERA_EVENTS: ("camera_id", "event", "confidence", "ts"),
    Source.TICKETS: ("ticket_id", "category", "text", "ts"),
}


def fields_of(source: Source) -> Fields:
    """The field table of a source, with a successor array of its own."""
    known = _FIELDS[source]
    names = [name for name, _, _ in known]
    more = [(len(name) + 1, int(role), most) for name, role, most in known]
    return Fields(
        table=_table([name + '"' for name in names], _KEY_WORDS, more),
        successors=np.array([*range(len(known)), 0], dtype=np.int64),
        required=sum(1 << names.index(name) for name in _REQUIRED[source]),
        defaulted=1 << names.index("urgency") if "urgency" in names else 0,
    )


def tokens_of(codes: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """The table of a list of strings with their numbers."""
    return _table([text + '"' for text in codes], _TOKEN_WORDS, [(len(text) + 1, code) for text, code in codes.items()])


def _table(texts: list[str], words: int, more: Sequence[tuple[int, ...]]) -> npt.NDArray[np.int64]:
    """Per text its bytes as little-endian words, their masks, and more columns."""
    room = 8 * words
    rows = []
    for text, columns in zip(texts, more, strict=True):
        data = text.encode("ascii")
        if len(data) > room:
            raise ValueError(f"streams/json_fields: {text} has {len(data)} bytes, there is room for {room}")
        words_and_masks = data.ljust(room, b"\0") + (b"\xff" * len(data)).ljust(room, b"\0")
        rows.append([*np.frombuffer(words_and_masks, dtype="<i8").tolist(), *columns])
    return np.array(rows, dtype=np.int64)
