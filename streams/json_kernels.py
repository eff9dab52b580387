"""The fast JSON scan: raw record values to typed columns in one pass of a kernel.

It takes only the plain shape it is sure of: one flat object; known fields, each once; strings without escapes; plain
numbers; times in their usual form; everything in range. Any other record it marks as slow, and that one goes alone to
`schemas.decode.decode`, which settles what it is and words the error. So this scan can be strict and simple: it never
has to say what is wrong, and whatever it takes, the reference decoder must take with the same result (a property test
holds both equal). A record that is made like the one before it is read by that one's shape (`json_shapes`), key by key
only if it is not.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.datums import DATUM_NAMES
from schemas.decode import QUALITIES, URGENCIES
from schemas.raw import MAX_EVENT_MS, MAX_PAYLOAD_BYTES, MIN_EVENT_MS
from streams.columns import NO_CODE
from streams.json_fields import DEFAULTED_BYTES, FIELD_BYTES, KEY_LENGTH, MOST_BYTES, ROLE, Role, tokens_of
from streams.json_shapes import (
    SEEN_KINDS,
    SEEN_TYPES,
    SEEN_UNITS,
    gained,
    intern_seen,
    learn,
    lost,
    mark,
    read_shaped,
    rested,
    worth_trying,
)
from streams.json_values import (
    ODD,
    as_float,
    read_degrees,
    read_millis,
    read_number,
    read_string,
    read_time,
    read_token,
    skip_space,
)
from streams.strings import MISSING
from streams.words import address_of, load_byte, load_int, load_word, store_byte, store_word
from topology.jit import kernel

# Roles as plain integers for the kernel, which compares them in this order.
_EVENT_AT: Final = int(Role.EVENT_AT)
_VALUE: Final = int(Role.VALUE)
_LON: Final = int(Role.LON)
_LAT: Final = int(Role.LAT)
_CONFIDENCE: Final = int(Role.CONFIDENCE)
_LAST_NUMBER: Final = int(Role.COUNT)
_ENTITY: Final = int(Role.ENTITY)
_KIND: Final = int(Role.KIND)
_UNIT: Final = int(Role.UNIT)
_DEVICE_TYPE: Final = int(Role.DEVICE_TYPE)
_KEPT_NUMBER_OR_TEXT: Final = int(Role.KEPT_NUMBER_OR_TEXT)
_LAST_STRING: Final = int(Role.KEPT_TEXT)
_KEPT_URGENCY: Final = int(Role.KEPT_URGENCY)
_QUALITY: Final = int(Role.QUALITY)
_DATUM: Final = int(Role.DATUM)
_DUE_AT: Final = int(Role.DUE_AT)


class Tokens(NamedTuple):
    """The lists of strings that some fields must be from, as tables of json_fields.tokens_of."""

    qualities: npt.NDArray[np.int64]
    datums: npt.NDArray[np.int64]
    urgencies: npt.NDArray[np.int64]


TOKENS: Final = Tokens(
    qualities=tokens_of(QUALITIES),
    datums=tokens_of({name: int(code) for name, code in DATUM_NAMES.items()}),
    urgencies=tokens_of({name: code for code, name in enumerate(URGENCIES)}),
)


class Rows(NamedTuple):
    """The columns the scan fills, one entry per record; those of a slow record mean nothing.

    Row i's entity lies in entity_data[entity_offsets[i]:entity_offsets[i + 1]].
    """

    event_at_ms: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int32]
    unit: npt.NDArray[np.int32]
    device_type: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float32]
    quality: npt.NDArray[np.uint8]
    datum: npt.NDArray[np.uint8]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    entity_offsets: npt.NDArray[np.int32]
    entity_data: npt.NDArray[np.uint8]


class Kept(NamedTuple):
    """What the scan says about the records of one call, beside their columns.

    The extra JSON of record i, if extra_lengths[i] is not 0, is in extra_data from extra_starts[i] on.
    """

    slow: npt.NDArray[np.bool_]
    extra_starts: npt.NDArray[np.int64]
    extra_lengths: npt.NDArray[np.int64]
    extra_data: npt.NDArray[np.uint8]


@kernel
def scan(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    count: int,
    fields: npt.NDArray[np.int64],
    successors: npt.NDArray[np.int64],
    shape: npt.NDArray[np.int64],
    required: int,
    defaulted: int,
    default_text: npt.NDArray[np.uint8],
    kinds: npt.NDArray[np.int64],
    units: npt.NDArray[np.int64],
    types: npt.NDArray[np.int64],
    tokens: Tokens,
    seen_strings: npt.NDArray[np.int64],
    rows: Rows,
    first_row: int,
    kept: Kept,
) -> int:
    """Scan `count` records into `rows` from `first_row` on; gives how many are slow.

    The buffer has words.PADDING zero bytes behind its last record; `kept.extra_data` is as large as the buffer, and
    `rows.entity_data` has room for it behind entity_offsets[first_row]. `fields`, `successors`, `required`
    and `defaulted` are a json_fields.Fields, `shape` is one of json_shapes, `default_text` is DEFAULTED; `kinds`,
    `units` and `types` the headers of string tables. `seen_strings` int64[SEEN_ROOM] is for the call's own use.
    """
    slow_count = 0
    first = address_of(buffer)
    fields_at = address_of(fields)
    successors_at = address_of(successors)
    field_count = len(fields)
    kinds_at = address_of(kinds)
    units_at = address_of(units)
    types_at = address_of(types)
    qualities_at = address_of(tokens.qualities)
    datums_at = address_of(tokens.datums)
    urgencies_at = address_of(tokens.urgencies)
    entities_at = address_of(rows.entity_data)
    extras_at = address_of(kept.extra_data)
    default_at = address_of(default_text)
    seen_strings[:] = 0
    seen_at = address_of(seen_strings)
    shape_at = address_of(shape)
    entity_end: int = rows.entity_offsets[first_row]
    extra_end = 0
    for record in range(count):
        row = first_row + record
        at = first + starts[record]
        end = at + lengths[record]
        extra_start = extra_end
        learning = worth_trying(shape_at)
        if learning and lengths[record] > 1 and lengths[record] <= MAX_PAYLOAD_BYTES:
            found = read_shaped(
                at, end, shape_at, seen_at, qualities_at, len(tokens.qualities), datums_at, len(tokens.datums)
            )
            if found[0]:
                gained(shape_at)
                rows.event_at_ms[row] = found[1]
                rows.kind[row] = found[2]
                rows.unit[row] = found[3]
                rows.device_type[row] = found[4]
                rows.value[row] = found[5]
                rows.confidence[row] = found[6]
                rows.quality[row] = found[7]
                rows.datum[row] = found[8]
                rows.lon[row] = found[9]
                rows.lat[row] = found[10]
                for step in range(0, found[12], 8):  # as below
                    store_word(entities_at + entity_end + step, load_word(found[11] + step))
                entity_end += found[12]
                kept.slow[record] = False
                kept.extra_starts[record] = extra_start
                kept.extra_lengths[record] = 0
                rows.entity_offsets[row + 1] = entity_end
                continue
            lost(shape_at)
        elif not learning:
            rested(shape_at)
        marked = 0
        seen = 0
        field = -1
        entity_at = 0
        entity_length = 0
        kind_at = 0
        kind_length = 0
        unit_at = 0
        unit_length = 0
        type_at = 0
        type_length = 0
        event_at_ms = 0
        value = 1.0
        confidence = 1.0
        quality = 0
        datum = 0
        lon = np.nan
        lat = np.nan
        fine = False

        if lengths[record] > 1 and lengths[record] <= MAX_PAYLOAD_BYTES:
            at = skip_space(at)
            fine = load_byte(at) == 0x7B
            at += 1
        while fine:
            fine = False

            # A key: first the one that followed this field the last time.
            if load_byte(at) != 0x22:
                at = skip_space(at)
                if load_byte(at) != 0x22:
                    break
            at += 1
            previous = field
            field = load_int(successors_at + 8 * (previous + 1))
            field_at = fields_at + FIELD_BYTES * field
            if not _is_key(at, field_at):
                field = _find_key(at, fields_at, field_count)
                if field < 0:
                    break
                field_at = fields_at + FIELD_BYTES * field
                successors[previous + 1] = field
            if seen & (1 << field):
                break
            seen |= 1 << field
            at += load_int(field_at + 8 * KEY_LENGTH)
            if load_byte(at) != 0x3A:
                at = skip_space(at)
                if load_byte(at) != 0x3A:
                    break
            at += 1
            if load_byte(at) <= 0x20:
                at = skip_space(at)
            if at >= end:
                break

            # Its value.
            role = load_int(field_at + 8 * ROLE)
            value_at = at
            if role <= _LAST_NUMBER:
                if role == _EVENT_AT and load_byte(at) == 0x22:
                    event_at_ms, at = read_time(at + 1)
                    if at == ODD:
                        break
                    at += 1
                else:
                    if role == _EVENT_AT:
                        mantissa, scale, at = read_millis(at)
                    elif role in (_LON, _LAT):
                        mantissa, scale, at = read_degrees(at)
                    else:
                        mantissa, scale, at = read_number(at)
                    if at == ODD:
                        break
                    if role == _EVENT_AT:
                        event_at_ms = mantissa
                        if scale != 0 or event_at_ms < MIN_EVENT_MS or event_at_ms >= MAX_EVENT_MS:
                            break
                    else:
                        number = as_float(mantissa, scale)
                        if role == _VALUE:
                            value = number
                        elif role == _LON:
                            lon = number
                            if number < -180.0 or number > 180.0:
                                break
                        elif role == _LAT:
                            lat = number
                            if number < -90.0 or number > 90.0:
                                break
                        elif role == _CONFIDENCE:
                            confidence = number
                            if number < 0.0 or number > 1.0:
                                break
                        else:  # a count
                            value = number
                            if scale != 0 or mantissa < 0:
                                break
            elif role == _DUE_AT:
                extra_end, at = _keep_due(at, end, extras_at, extra_start, extra_end)
                if at == ODD:
                    break
            else:
                if load_byte(at) == 0x22:
                    at += 1
                    if role <= _LAST_STRING:
                        string_at = at
                        at = read_string(at, end)
                        length = at - string_at
                        if at == ODD or length == 0 or length > load_int(field_at + 8 * MOST_BYTES):
                            break
                        at += 1
                        if role == _ENTITY:
                            entity_at = string_at
                            entity_length = length
                        elif role == _KIND:
                            kind_at = string_at
                            kind_length = length
                        elif role == _UNIT:
                            unit_at = string_at
                            unit_length = length
                        elif role == _DEVICE_TYPE:
                            type_at = string_at
                            type_length = length
                    else:
                        if role == _QUALITY:
                            quality, at = read_token(at, qualities_at, len(tokens.qualities))
                        elif role == _DATUM:
                            datum, at = read_token(at, datums_at, len(tokens.datums))
                        else:
                            _, at = read_token(at, urgencies_at, len(tokens.urgencies))
                        if at == ODD:
                            break
                elif role == _KEPT_NUMBER_OR_TEXT:
                    _, scale, at = read_number(at)
                    if at == ODD or scale != 0:
                        break
                else:
                    break
                if role >= _KEPT_NUMBER_OR_TEXT and role <= _KEPT_URGENCY:
                    if at > end:
                        break
                    extra_end = _keep(value_at, at, field_at, extras_at, extra_start, extra_end)

            if learning:
                marked = mark(seen_at, marked, role, value_at, at, load_int(field_at + 8 * MOST_BYTES))

            # A comma and the next key, or the end.
            byte = load_byte(at)
            if byte <= 0x20:
                at = skip_space(at)
                byte = load_byte(at)
            at += 1
            if at > end:
                break
            if byte == 0x2C:
                at += load_byte(at) == 0x20
                fine = True
                continue
            if byte == 0x7D:
                if at < end:
                    at = skip_space(at)
                fine = at == end and (seen & required) == required and (lon == lon) == (lat == lat)
            break

        if fine:
            kind = intern_seen(kind_at, kind_length, kinds_at, seen_at + SEEN_KINDS)
            unit = NO_CODE
            if unit_length > 0:
                unit = intern_seen(unit_at, unit_length, units_at, seen_at + SEEN_UNITS)
                fine = unit != MISSING
            device_type = NO_CODE
            if type_length > 0:
                device_type = intern_seen(type_at, type_length, types_at, seen_at + SEEN_TYPES)
                fine = fine and device_type != MISSING
            fine = fine and kind != MISSING
            rows.event_at_ms[row] = event_at_ms
            rows.kind[row] = kind
            rows.unit[row] = unit
            rows.device_type[row] = device_type
            rows.value[row] = value
            rows.confidence[row] = confidence
            rows.quality[row] = quality
            rows.datum[row] = datum
            rows.lon[row] = lon
            rows.lat[row] = lat
        kept.slow[record] = not fine
        if fine:
            # Whole words: the bytes that are written too much are overwritten by the next row.
            for step in range(0, entity_length, 8):
                store_word(entities_at + entity_end + step, load_word(entity_at + step))
            entity_end += entity_length
            if (defaulted & ~seen) != 0:
                for step in range(0, DEFAULTED_BYTES, 8):
                    store_word(extras_at + extra_end + step, load_word(default_at + step))
                extra_end += DEFAULTED_BYTES
            if extra_end > extra_start:
                store_byte(extras_at + extra_end, 0x7D)
                extra_end += 1
            if learning:
                learn(first + starts[record], end, seen_at, marked if extra_end == extra_start else 0, shape_at)
        else:
            slow_count += 1
            extra_end = extra_start
        kept.extra_starts[record] = extra_start
        kept.extra_lengths[record] = extra_end - extra_start
        rows.entity_offsets[row + 1] = entity_end
    return slow_count


@kernel
def _is_key(at: int, field_at: int) -> bool:
    """Whether the key at `at`, with its closing quote, is the one of the field whose entry is at `field_at`."""
    if (load_word(at) & load_word(field_at + 24)) != load_word(field_at):
        return False
    length = load_int(field_at + 8 * KEY_LENGTH)
    if length <= 8:
        return True
    if (load_word(at + 8) & load_word(field_at + 32)) != load_word(field_at + 8):
        return False
    return length <= 16 or (load_word(at + 16) & load_word(field_at + 40)) == load_word(field_at + 16)


@kernel
def _find_key(at: int, fields_at: int, field_count: int) -> int:
    """The field whose key is at `at`, or -1."""
    for field in range(field_count):
        if _is_key(at, fields_at + FIELD_BYTES * field):
            return field
    return -1


@kernel
def _keep(at: int, stop: int, field_at: int, extras_at: int, extra_start: int, extra_end: int) -> int:
    """Write a brace or comma, the key, and the value from `at` to `stop`, behind `extra_end`; gives the new end."""
    store_byte(extras_at + extra_end, 0x7B if extra_end == extra_start else 0x2C)
    store_byte(extras_at + extra_end + 1, 0x22)
    to = extras_at + extra_end + 2
    key_length = load_int(field_at + 8 * KEY_LENGTH)
    for step in range(0, key_length, 8):
        store_word(to + step, load_word(field_at + step))
    to += key_length
    store_byte(to, 0x3A)
    to += 1
    for step in range(0, stop - at, 8):
        store_word(to + step, load_word(at + step))
    return to + stop - at - extras_at


_DUE_KEY: Final = np.frombuffer(b'"due_ms":', dtype=np.uint8)


@kernel
def _keep_due(at: int, end: int, extras_at: int, extra_start: int, extra_end: int) -> tuple[int, int]:
    """Read the time at `at` and write a brace or comma, `"due_ms":` and its milliseconds behind `extra_end`.

    Gives the new end and the address behind the value, or ODD. What is written is no longer than what the record has
    for it: `"due_ts":` and as many digits, or a longer text.
    """
    if load_byte(at) == 0x22:
        time_ms, at = read_time(at + 1)
        if at == ODD:
            return extra_end, ODD
        at += 1
    else:
        time_ms, scale, at = read_number(at)
        if at == ODD or scale != 0 or time_ms < MIN_EVENT_MS or time_ms >= MAX_EVENT_MS:
            return extra_end, ODD
    if at > end:
        return extra_end, ODD
    store_byte(extras_at + extra_end, 0x7B if extra_end == extra_start else 0x2C)
    to = extras_at + extra_end + 1
    for i in range(len(_DUE_KEY)):
        store_byte(to + i, _DUE_KEY[i])
    to += len(_DUE_KEY)
    digits = 12 if time_ms < 1_000_000_000_000 else 13  # from 2000 to 2100 there are no other lengths
    for i in range(digits):
        store_byte(to + digits - 1 - i, 0x30 + time_ms % 10)
        time_ms //= 10
    return to + digits - extras_at, at
