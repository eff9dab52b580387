"""Shapes of records: what a source's last record was made of, so that the next one is read by it, if it is alike.

Producers write the same keys in the same order, with the same white space: between two values the same bytes come in
every record. A shape is these bytes and what the values between them are, learned from a record that the scan of
`json_kernels` took. `read_shaped` compares the bytes whole words at a time and reads the values; a record that differs
in anything, be it a value that is not of the plain form, is left to that scan, which knows every key in any place. So
a shape decides nothing but how fast a record is read.

Only fields with a column have a place in a shape; a record that has others (most tickets) is the scan's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.raw import MAX_EVENT_MS, MIN_EVENT_MS
from streams.columns import NO_CODE
from streams.json_fields import Role
from streams.json_values import (
    ODD,
    as_float,
    read_degrees,
    read_millis,
    read_number,
    read_string,
    read_time,
    read_token,
)
from streams.reals import store_int
from streams.strings import MISSING, intern
from streams.words import as_int, load_byte, load_int, load_word, store_word, trailing_zeros
from topology.jit import inlined, kernel

# Roles as plain integers for the kernel.
_EVENT_AT: Final = int(Role.EVENT_AT)
_VALUE: Final = int(Role.VALUE)
_LON: Final = int(Role.LON)
_LAT: Final = int(Role.LAT)
_CONFIDENCE: Final = int(Role.CONFIDENCE)
_COUNT: Final = int(Role.COUNT)
_ENTITY: Final = int(Role.ENTITY)
_KIND: Final = int(Role.KIND)
_UNIT: Final = int(Role.UNIT)
_DEVICE_TYPE: Final = int(Role.DEVICE_TYPE)
_QUALITY: Final = int(Role.QUALITY)
_DATUM: Final = int(Role.DATUM)
_END: Final = 99  # no value follows: the record ends here

MOST_STEPS: Final = 16
"""A shape has a step for each field and one for what follows the last."""

# A step: four words that come before its value and the masks of those bytes that count; how many count; the role of
# the value; the longest string that is taken.
_GLUE_WORDS: Final = 4
_GLUE_BYTES: Final = 8 * _GLUE_WORDS
_LENGTH, _ROLE, _MOST, _STEP_WORDS = 8, 9, 10, 11
_STEP_BYTES: Final = 8 * _STEP_WORDS

# Before the steps: a credit that records earn which are alike, and others cost. Where it is used up, nothing is
# compared for a while.
_CREDIT, _HEAD_WORDS = 0, 1
_MOST_CREDIT: Final = 64
_MISS_COSTS: Final = 4
_REST: Final = -1024

SHAPE_ROOM: Final = _HEAD_WORDS + MOST_STEPS * _STEP_WORDS

# Strings of up to 23 bytes that were seen in this call, each in the place that its words give: three words with the
# closing quote and zeros behind it, code. There are a handful of metrics and units, and to look for the end of one,
# to hash it and to look it up in its table costs more than all else that is done for it.
_ENTRIES: Final = 16
_ENTRY_WORDS: Final = 4
_TABLE_BYTES: Final = 8 * _ENTRIES * _ENTRY_WORDS
SEEN_KINDS, SEEN_UNITS, SEEN_TYPES, _MARKS = 0, _TABLE_BYTES, 2 * _TABLE_BYTES, 3 * _TABLE_BYTES

# Behind them, what the scan notes of each field of a record: role, where its value begins and ends, the longest string
# that is taken. Strings are without quotes, those from a list with the closing one.
_MARK_WORDS: Final = 4
_MARK_BYTES: Final = 8 * _MARK_WORDS
SEEN_ROOM: Final = 3 * _ENTRIES * _ENTRY_WORDS + MOST_STEPS * _MARK_WORDS
_SHIFT: Final = np.uint64(60)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_QUOTES: Final = np.uint64(0x2222222222222222)
_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_NOTHING: Final = np.uint64(0)


def new_shape() -> npt.NDArray[np.int64]:
    """A shape that no record has: nothing, and then its end."""
    shape = np.zeros(SHAPE_ROOM, dtype=np.int64)
    shape[_HEAD_WORDS + _ROLE] = _END
    shape[_CREDIT] = _MOST_CREDIT
    return shape


@inlined
def _quote_in(word: np.uint64) -> np.uint64:
    """The lowest bit set is the highest of the first quote; 0 when there is none."""
    quotes = word ^ _QUOTES
    return (quotes - _ONES) & ~quotes & _HIGH


@inlined
def _words_of(at: int) -> tuple[np.uint64, np.uint64, np.uint64, int]:
    """The words of a string with its closing quote, zeros behind it, and its length; ODD when it has more bytes."""
    first = load_word(at)
    quote = _quote_in(first)
    if quote != _NOTHING:  # up to the quote, and with it: the bits up to the lowest one set
        return first & (quote ^ (quote - np.uint64(1))), _NOTHING, _NOTHING, trailing_zeros(quote) >> 3
    second = load_word(at + 8)
    quote = _quote_in(second)
    if quote != _NOTHING:
        return first, second & (quote ^ (quote - np.uint64(1))), _NOTHING, 8 + (trailing_zeros(quote) >> 3)
    third = load_word(at + 16)
    quote = _quote_in(third)
    if quote != _NOTHING:
        return first, second, third & (quote ^ (quote - np.uint64(1))), 16 + (trailing_zeros(quote) >> 3)
    return _NOTHING, _NOTHING, _NOTHING, ODD


@inlined
def _entry_of(first: np.uint64, second: np.uint64, third: np.uint64, seen_at: int) -> int:
    mixed = (first ^ (second << np.uint64(1)) ^ (third << np.uint64(2))) * _MIX
    return seen_at + 8 * _ENTRY_WORDS * as_int(mixed >> _SHIFT)


@inlined
def _seen(at: int, seen_at: int) -> tuple[int, int]:
    """The code and the length of the string at `at`, if it was seen in this call; the code is else MISSING.

    What was seen has been found to be a plain string, and was in its table.
    """
    first, second, third, length = _words_of(at)
    entry_at = _entry_of(first, second, third, seen_at)
    if (
        length == ODD
        or load_word(entry_at) != first
        or load_word(entry_at + 8) != second
        or load_word(entry_at + 16) != third
    ):
        return MISSING, 0
    return load_int(entry_at + 24), length


@kernel
def intern_seen(at: int, length: int, header_at: int, seen_at: int) -> int:
    """`intern`, for strings that repeat: a plain one with a quote behind it. `seen_at` is that of its own table."""
    code, _ = _seen(at, seen_at)
    if code != MISSING:
        return code
    code = intern(at, length, header_at)
    first, second, third, known = _words_of(at)
    if code >= 0 and known == length:
        entry_at = _entry_of(first, second, third, seen_at)
        store_word(entry_at, first)
        store_word(entry_at + 8, second)
        store_word(entry_at + 16, third)
        store_int(entry_at + 24, code)
    return code


@inlined
def read_shaped(
    at: int,
    end: int,
    shape_at: int,
    seen_at: int,
    qualities_at: int,
    quality_count: int,
    datums_at: int,
    datum_count: int,
) -> tuple[bool, int, int, int, int, float, float, int, int, float, float, int, int]:
    """The record from `at` to `end`, which is not empty, read by the shape: whether it could be, event time, codes of
    kind, unit and device type, value, confidence, quality, datum, lon, lat, address and length of the entity.

    Every step reads on from where the one before it stopped, and the last must stop at `end`: so nothing was taken
    from behind it.
    """
    event_at_ms = 0
    kind = MISSING
    unit = NO_CODE
    device_type = NO_CODE
    value = 1.0
    confidence = 1.0
    quality = 0
    datum = 0
    lon = np.nan
    lat = np.nan
    entity_at = 0
    entity_length = 0
    alike = False
    step_at = shape_at + 8 * _HEAD_WORDS
    while True:
        differ = ((load_word(at) ^ load_word(step_at)) & load_word(step_at + 32)) | (
            (load_word(at + 8) ^ load_word(step_at + 8)) & load_word(step_at + 40)
        )
        length = load_int(step_at + 8 * _LENGTH)
        if length > 16:
            differ |= ((load_word(at + 16) ^ load_word(step_at + 16)) & load_word(step_at + 48)) | (
                (load_word(at + 24) ^ load_word(step_at + 24)) & load_word(step_at + 56)
            )
        if differ != _NOTHING:
            break
        at += length
        role = load_int(step_at + 8 * _ROLE)
        if role == _ENTITY:
            entity_at = at
            at = read_string(at, end)
            entity_length = at - entity_at
            if at == ODD or entity_length == 0 or entity_length > load_int(step_at + 8 * _MOST):
                break
        elif role == _KIND:
            kind, length = _seen(at, seen_at + SEEN_KINDS)
            if kind == MISSING:
                break
            at += length
        elif role == _UNIT:
            unit, length = _seen(at, seen_at + SEEN_UNITS)
            if unit == MISSING:
                break
            at += length
        elif role == _DEVICE_TYPE:
            device_type, length = _seen(at, seen_at + SEEN_TYPES)
            if device_type == MISSING:
                break
            at += length
        elif role == _EVENT_AT:
            if load_byte(at - 1) == 0x22:
                event_at_ms, at = read_time(at)
                if at == ODD:
                    break
            else:
                event_at_ms, scale, at = read_millis(at)
                if at == ODD or scale != 0 or event_at_ms < MIN_EVENT_MS or event_at_ms >= MAX_EVENT_MS:
                    break
        elif role == _LON:
            mantissa, scale, at = read_degrees(at)
            lon = as_float(mantissa, scale)
            if at == ODD or lon < -180.0 or lon > 180.0:
                break
        elif role == _LAT:
            mantissa, scale, at = read_degrees(at)
            lat = as_float(mantissa, scale)
            if at == ODD or lat < -90.0 or lat > 90.0:
                break
        elif role == _QUALITY:
            quality, at = read_token(at, qualities_at, quality_count)
            if at == ODD:
                break
        elif role == _DATUM:
            datum, at = read_token(at, datums_at, datum_count)
            if at == ODD:
                break
        elif role == _END:
            alike = at == end
            break
        else:  # value, confidence, count
            mantissa, scale, at = read_number(at)
            number = as_float(mantissa, scale)
            if at == ODD:
                break
            if role == _CONFIDENCE:
                confidence = number
                if number < 0.0 or number > 1.0:
                    break
            else:
                value = number
                if role == _COUNT and (scale != 0 or mantissa < 0):
                    break
        step_at += _STEP_BYTES
    return (
        alike, event_at_ms, kind, unit, device_type, value, confidence, quality, datum, lon, lat, entity_at,
        entity_length,
    )  # fmt: skip


@inlined
def worth_trying(shape_at: int) -> bool:
    """Whether the last records were alike."""
    return load_int(shape_at + 8 * _CREDIT) > 0


@inlined
def gained(shape_at: int) -> None:
    """A record was read by the shape."""
    store_int(shape_at + 8 * _CREDIT, min(load_int(shape_at + 8 * _CREDIT) + 1, _MOST_CREDIT))


@inlined
def lost(shape_at: int) -> None:
    """A record had another shape."""
    credit = load_int(shape_at + 8 * _CREDIT) - _MISS_COSTS
    store_int(shape_at + 8 * _CREDIT, credit if credit > 0 else _REST)


@inlined
def rested(shape_at: int) -> None:
    """A record was not compared."""
    credit = load_int(shape_at + 8 * _CREDIT) + 1
    store_int(shape_at + 8 * _CREDIT, credit if credit < 0 else _MOST_CREDIT // 2)


@kernel
def mark(seen_at: int, marked: int, role: int, begin: int, stop: int, most: int) -> int:
    """Note a field whose value lies from `begin` to `stop`, quotes included; gives how many fields are noted."""
    if marked == MOST_STEPS - 1:
        return marked
    if load_byte(begin) == 0x22:
        begin += 1
        if role != _QUALITY and role != _DATUM:
            stop -= 1
    mark_at = seen_at + _MARKS + _MARK_BYTES * marked
    store_int(mark_at, role)
    store_int(mark_at + 8, begin)
    store_int(mark_at + 16, stop)
    store_int(mark_at + 24, most)
    return marked + 1


@kernel
def _unlearn(shape_at: int) -> None:
    """Make it a shape that no record has, and rest: a shape must never be half of one and half of another."""
    step_at = shape_at + 8 * _HEAD_WORDS
    for word in range(_STEP_WORDS):
        store_int(step_at + 8 * word, _END if word == _ROLE else 0)
    store_int(shape_at + 8 * _CREDIT, _REST)


@kernel
def learn(at: int, end: int, seen_at: int, marked: int, shape_at: int) -> None:
    """Make a shape of the record from `at` to `end`, of which the scan has noted `marked` fields."""
    if marked == 0 or marked == MOST_STEPS - 1:
        _unlearn(shape_at)
        return
    step_at = shape_at + 8 * _HEAD_WORDS
    for step in range(marked + 1):
        mark_at = seen_at + _MARKS + _MARK_BYTES * step
        stop = load_int(mark_at + 8) if step < marked else end
        length = stop - at
        if length > _GLUE_BYTES:  # nobody writes that much between two values
            _unlearn(shape_at)
            return
        for word in range(_GLUE_WORDS):
            count = min(max(length - 8 * word, 0), 8)
            mask = (np.uint64(1) << np.uint64(8 * count)) - np.uint64(1) if count < 8 else ~_NOTHING
            store_word(step_at + 8 * word, load_word(at + 8 * word) & mask)
            store_word(step_at + 8 * (_GLUE_WORDS + word), mask)
        store_int(step_at + 8 * _LENGTH, length)
        store_int(step_at + 8 * _ROLE, load_int(mark_at) if step < marked else _END)
        store_int(step_at + 8 * _MOST, load_int(mark_at + 24))
        at = load_int(mark_at + 16)
        step_at += _STEP_BYTES
