"""Lines of a register in CSV that are of the plain shape, to columns in machine code; what is not sure is left over.

Plain: no quotation mark, no control character, as many fields as the header has; an id of 1 to 256 bytes; lon and lat
in digits with at most a point and a minus sign; a known datum or none; no field begins or ends with a white-space
character outside ASCII. Spaces around a field are dropped. Such a line gives what the reference reader
(topology.device_file) gives; a property test holds both equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.datums import DATUM_NAMES
from topology.device_columns import Bytes, FloatArray, IntArray
from topology.jit import kernel

PLAIN, BLANK, OTHER = range(3)
MAX_ID_BYTES: Final = 256  # as in raw records
NOT_USED: Final = -1
ID, LON, LAT, DATUM, TYPE, NAME = range(6)
ROLES: Final = ("device_id", "lon", "lat", "datum", "device_type", "name")
_LONGEST: Final = 100_000  # bytes of a line; csv has a limit for fields
_MOST_DIGITS: Final = 15  # so many are exact in a float64, and divided by a power of ten rounded once
_POWERS: Final = 10.0 ** np.arange(_MOST_DIGITS + 1)
_LIMITS: Final = np.array([0.0, 180.0, 90.0])  # by role

_COMMA, _SPACE, _POINT, _MINUS, _ZERO, _NINE, _FEED, _RETURN, _ASCII = 44, 32, 46, 45, 48, 57, 10, 13, 128
_DATUM_ROOM: Final = max(map(len, DATUM_NAMES))
_DATUM_TEXTS: Final = np.array([list(name.encode().ljust(_DATUM_ROOM, b"\0")) for name in DATUM_NAMES], dtype=np.uint8)
_DATUM_CODES: Final = np.array([int(datum) for datum in DATUM_NAMES.values()], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Lines:
    """Line i lies at bounds[i] to bounds[i + 1] with its line feed; the rest is told of `PLAIN` lines alone."""

    state: npt.NDArray[np.uint8]
    bounds: IntArray
    fields: IntArray  # [n, 6, 2]: where each role's text begins and ends; equal where there is none
    places: FloatArray  # [n, 2]
    datum: npt.NDArray[np.uint8]


def roles_of(header: Sequence[str]) -> npt.NDArray[np.int8]:
    """The role of each column, `NOT_USED` where its name means nothing."""
    return np.array([ROLES.index(name) if name in ROLES else NOT_USED for name in header], dtype=np.int8)


def scan_lines(piece: bytes, roles: npt.NDArray[np.int8], default_datum: int) -> Lines:
    """The lines of `piece`, which ends where a line does; the last one may lack its line feed."""
    count = piece.count(b"\n") + (not piece.endswith(b"\n") and bool(piece))
    lines = Lines(
        state=np.empty(count, dtype=np.uint8),
        bounds=np.zeros(count + 1, dtype=np.int64),
        fields=np.empty((count, len(ROLES), 2), dtype=np.int64),
        places=np.empty((count, 2)),
        datum=np.empty(count, dtype=np.uint8),
    )
    if count:
        data = np.frombuffer(piece, dtype=np.uint8)
        _scan(data, roles, default_datum, lines.state, lines.bounds, lines.fields, lines.places, lines.datum)
    return lines


# --- kernels ---------------------------------------------------------------------------------------------------------


@kernel
def _scan(
    data: Bytes,
    roles: npt.NDArray[np.int8],
    default_datum: int,
    state: npt.NDArray[np.uint8],
    bounds: IntArray,
    fields: IntArray,
    places: FloatArray,
    datum: npt.NDArray[np.uint8],
) -> None:
    start = 0
    for i in range(state.shape[0]):
        end = start
        while end < data.shape[0] and data[end] != _FEED:
            end += 1
        bounds[i + 1] = min(end + 1, data.shape[0])
        stop = end - 1 if end > start and data[end - 1] == _RETURN else end
        state[i] = _line(data, start, stop, roles, default_datum, fields[i], places[i], datum[i : i + 1])
        start = end + 1


@kernel
def _line(
    data: Bytes,
    start: int,
    stop: int,
    roles: npt.NDArray[np.int8],
    default_datum: int,
    fields: IntArray,
    place: FloatArray,
    datum: npt.NDArray[np.uint8],
) -> int:
    if stop - start > _LONGEST:
        return OTHER
    fields[:] = 0
    column = 0
    blank = True
    begin = start
    for at in range(start, stop + 1):
        if at < stop and data[at] != _COMMA:
            if data[at] < _SPACE:
                return OTHER
            continue
        first, last = begin, at
        while first < last and data[first] == _SPACE:
            first += 1
        while first < last and data[last - 1] == _SPACE:
            last -= 1
        if first < last:
            blank = False
            if _may_be_space(data, first) or _may_be_space(data, _character_of(data, last - 1, first)):
                return OTHER
        if column < roles.shape[0] and roles[column] >= 0:
            fields[roles[column], 0] = first
            fields[roles[column], 1] = last
        column += 1
        begin = at + 1
    if blank:
        return BLANK
    size = fields[ID, 1] - fields[ID, 0]
    if column != roles.shape[0] or size < 1 or size > MAX_ID_BYTES:
        return OTHER
    for role in (LON, LAT):
        value = _decimal(data, fields[role, 0], fields[role, 1])
        if not abs(value) <= _LIMITS[role]:
            return OTHER
        place[role - LON] = value
    datum[0] = default_datum
    if fields[DATUM, 0] < fields[DATUM, 1]:
        datum[0] = _datum(data, fields[DATUM, 0], fields[DATUM, 1])
        if datum[0] == 0:
            return OTHER
    return PLAIN


@kernel
def _decimal(data: Bytes, start: int, end: int) -> float:
    """The number of a plain decimal, as `float` gives it; NaN where it is not plain."""
    sign = 1.0
    if start < end and data[start] == _MINUS:
        sign = -1.0
        start += 1
    if start == end or data[start] == _POINT:
        return np.nan
    number = digits = 0
    point = -1
    for at in range(start, end):
        if data[at] == _POINT and point < 0:
            point = at
        elif _ZERO <= data[at] <= _NINE:
            number = number * 10 + data[at] - _ZERO
            digits += 1
            if digits > _MOST_DIGITS:
                return np.nan
        else:
            return np.nan
    behind = end - point - 1 if point >= 0 else 0
    return float(sign * (number / _POWERS[behind]))


@kernel
def _datum(data: Bytes, start: int, end: int) -> int:
    """The code of a datum's name in either case; 0 where it is none."""
    if end - start > _DATUM_ROOM:
        return 0
    for k in range(_DATUM_CODES.shape[0]):
        same = True
        for i in range(_DATUM_ROOM):
            letter = data[start + i] if start + i < end else 0
            if 97 <= letter <= 122:
                letter -= 32
            if letter != _DATUM_TEXTS[k, i]:
                same = False
                break
        if same:
            return int(_DATUM_CODES[k])
    return 0


@kernel
def _character_of(data: Bytes, at: int, first: int) -> int:
    """Where the UTF-8 character begins that the byte at `at` belongs to."""
    while at > first and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


@kernel
def _may_be_space(data: Bytes, at: int) -> bool:
    """Whether the character may be white space outside ASCII: those begin with C2, E1, E2 or E3."""
    return bool(data[at] == 0xC2 or 0xE1 <= data[at] <= 0xE3)
