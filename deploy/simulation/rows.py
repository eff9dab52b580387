"""Records before they are bytes: columns of numbers, and the kernel that fills them into pieces of JSON.

Nearly every record of a city is the same text with another number and another time. So text is cut into pieces that
are made once (who, what, unit, where) and a row says which pieces stand around its numbers:

    {"device_id":"WL-0042",  "metric":"water_level_mm","value":  152  ,"unit":"mm","ts":  1752744600000  ,"lon":..}
    who                      what                                number  middle           time              where

Rows that are not of this kind (tickets, records spoilt on purpose) are kept as blobs, bytes made elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from streams.words import PADDING, address_of, load_word, padded, store_byte, store_word
from topology.jit import kernel

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

NO_BLOB: Final = -1
ABSENT: Final = -1
LOCAL_OFFSET_MS: Final = 8 * 3_600_000
MOST_NUMBERS_BYTES: Final = 110
"""Time, value, count and track of one row at most, their names included."""


class TimeForm(IntEnum):
    """How a producer writes times."""

    EPOCH_MS = 0
    WITH_ZONE = 1  # "2025-07-17T17:30:00.123+08:00"
    LOCAL = 2  # "2025-07-17 17:30:00", which the source's zone is to be added to


class Pieces:
    """Texts by number; the same text has one number."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._texts: list[bytes] = []

    def add(self, text: str | bytes) -> int:
        data = text.encode() if isinstance(text, str) else text
        number = self._numbers.setdefault(data, len(self._texts))
        if number == len(self._texts):
            self._texts.append(data)
        return number

    def packed(self) -> tuple[Bytes, Ints]:
        """All texts behind each other, and where each begins (one more than texts)."""
        return packed(self._texts)


def packed(texts: Sequence[bytes]) -> tuple[Bytes, Ints]:
    """All texts behind each other, with the spare bytes that kernels need, and where each begins."""
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    return padded(b"".join(texts)), starts


@dataclass(slots=True, kw_only=True)
class Rows:
    """Records as columns of one length. Times in epoch ms."""

    source: npt.NDArray[np.int8]
    entity: npt.NDArray[np.int32]  # whose key and partition it has
    fate: npt.NDArray[np.uint64]  # what chance decides about this record by
    event_ms: Ints  # as the record says it
    send_ms: Ints  # when it reaches the bus
    who: npt.NDArray[np.int32]  # numbers of pieces
    what: npt.NDArray[np.int32]
    middle: npt.NDArray[np.int32]
    where: npt.NDArray[np.int32]
    number: Ints  # the value times 10 ** decimals
    decimals: npt.NDArray[np.int8]
    time_form: npt.NDArray[np.int8]
    count: Ints  # ABSENT: none
    track: Ints  # ABSENT: none
    blob: Ints  # number of the blob that is the payload, NO_BLOB: none

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Self:
        return type(self)(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        return cls(**{column.name: np.concatenate([getattr(p, column.name) for p in parts]) for column in fields(cls)})

    @classmethod
    def blobs(
        cls, source: Sequence[int], entity: Sequence[int], fate: Sequence[int], event_ms: Sequence[int],
        send_ms: Sequence[int], blob: Sequence[int],
    ) -> Rows:  # fmt: skip
        """Rows whose bytes are made elsewhere."""
        none = np.zeros(len(source), dtype=np.int32)
        return cls(
            source=np.array(source, dtype=np.int8), entity=np.array(entity, dtype=np.int32),
            fate=np.array(fate, dtype=np.uint64), event_ms=np.array(event_ms, dtype=np.int64),
            send_ms=np.array(send_ms, dtype=np.int64), who=none, what=none, middle=none, where=none,
            number=none.astype(np.int64), decimals=none.astype(np.int8), time_form=none.astype(np.int8),
            count=none.astype(np.int64), track=none.astype(np.int64), blob=np.array(blob, dtype=np.int64),
        )  # fmt: skip


def empty_rows() -> Rows:
    return Rows.blobs((), (), (), (), (), ())


class Renderer:
    """Rows -> bytes."""

    def __init__(self, pieces: Pieces) -> None:
        self._data, self._starts = pieces.packed()
        self._lengths: Ints = np.diff(self._starts)

    def render(self, rows: Rows, blobs: Sequence[bytes]) -> tuple[Bytes, Ints]:
        """(all payloads behind each other, and spare bytes; where each begins). A row with blob i has blobs[i]."""
        blob_data, blob_starts = packed(blobs)
        template = rows.blob == NO_BLOB
        bound = sum(
            int(self._lengths[column[template]].sum()) for column in (rows.who, rows.what, rows.middle, rows.where)
        )
        bound += int(template.sum()) * MOST_NUMBERS_BYTES + int(np.diff(blob_starts)[rows.blob[~template]].sum())
        out: Bytes = np.empty(bound + PADDING, dtype=np.uint8)
        starts: Ints = np.empty(len(rows) + 1, dtype=np.int64)
        _render(
            self._data, self._starts, blob_data, blob_starts, rows.who, rows.what, rows.middle, rows.where, rows.number,
            rows.decimals, rows.event_ms, rows.time_form, rows.count, rows.track, rows.blob, out, starts,
        )  # fmt: skip
        return out, starts


_COUNT: Final = padded(b',"count":')
_COUNT_BYTES: Final = len(b',"count":')
_TRACK: Final = padded(b',"track_id":')
_TRACK_BYTES: Final = len(b',"track_id":')

# --- kernels: addresses and not arrays are handed on, see streams.words
# --------------------------------------------------------------------------------------------------------------------


@kernel
def copied(source: int, size: int, at: int) -> int:
    """Copy so many bytes; returns the address behind them. Up to 7 bytes more are read and written."""
    for done in range(0, size, 8):
        store_word(at + done, load_word(source + done))
    return at + size


@kernel
def _put_digits(value: int, width: int, at: int) -> int:
    """Exactly `width` digits, leading zeros included."""
    for i in range(width):
        store_byte(at + width - 1 - i, 48 + value % 10)
        value //= 10
    return at + width


@kernel
def _put_integer(value: int, at: int) -> int:
    if value < 0:
        store_byte(at, 45)
        at += 1
        value = -value
    width = 1
    top = 10
    while value >= top and width < 18:
        width += 1
        top *= 10
    return _put_digits(value, width, at)


@kernel
def _put_number(scaled: int, decimals: int, at: int) -> int:
    """scaled / 10**decimals."""
    if decimals == 0:
        return _put_integer(scaled, at)
    if scaled < 0:
        store_byte(at, 45)
        at += 1
        scaled = -scaled
    unit = 1
    for _ in range(decimals):
        unit *= 10
    at = _put_integer(scaled // unit, at)
    store_byte(at, 46)
    return _put_digits(scaled % unit, decimals, at + 1)


@kernel
def _put_pair(value: int, width: int, mark: int, at: int) -> int:
    """Digits and the mark behind them."""
    at = _put_digits(value, width, at)
    store_byte(at, mark)
    return at + 1


@kernel
def _put_date(at_ms: int, form: int, at: int) -> int:
    """A quoted local time. The calendar is H. Hinnant's civil_from_days ("chrono-compatible date algorithms")."""
    local = at_ms + LOCAL_OFFSET_MS
    days = local // 86_400_000 + 719_468
    rest = local % 86_400_000
    era = days // 146_097
    doe = days - era * 146_097
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    store_byte(at, 34)
    at = _put_pair(year, 4, 45, at + 1)
    at = _put_pair(month, 2, 45, at)
    at = _put_pair(day, 2, 84 if form == 1 else 32, at)
    at = _put_pair(rest // 3_600_000, 2, 58, at)
    at = _put_pair(rest // 60_000 % 60, 2, 58, at)
    at = _put_pair(rest // 1000 % 60, 2, 46 if form == 1 else 34, at)
    if form == 1:
        at = _put_pair(rest % 1000, 3, 43, at)
        at = _put_pair(8, 2, 58, at)
        at = _put_pair(0, 2, 34, at)
    return at


@kernel
def _render(
    pieces: Bytes, piece_starts: Ints, blobs: Bytes, blob_starts: Ints, who: npt.NDArray[np.int32],
    what: npt.NDArray[np.int32], middle: npt.NDArray[np.int32], where: npt.NDArray[np.int32], number: Ints,
    decimals: npt.NDArray[np.int8], event_ms: Ints, time_form: npt.NDArray[np.int8], count: Ints, track: Ints,
    blob: Ints, out: Bytes, starts: Ints,
) -> None:  # fmt: skip
    pieces_at, blobs_at, out_at = address_of(pieces), address_of(blobs), address_of(out)
    count_at, track_at = address_of(_COUNT), address_of(_TRACK)
    at = out_at
    for i in range(len(who)):
        starts[i] = at - out_at
        if blob[i] >= 0:
            begin = blob_starts[blob[i]]
            at = copied(blobs_at + begin, blob_starts[blob[i] + 1] - begin, at)
            continue
        for piece in (who[i], what[i]):
            begin = piece_starts[piece]
            at = copied(pieces_at + begin, piece_starts[piece + 1] - begin, at)
        at = _put_number(number[i], decimals[i], at)
        begin = piece_starts[middle[i]]
        at = copied(pieces_at + begin, piece_starts[middle[i] + 1] - begin, at)
        if time_form[i] == 0:
            at = _put_integer(event_ms[i], at)
        else:
            at = _put_date(event_ms[i], time_form[i], at)
        if count[i] >= 0:
            at = copied(count_at, _COUNT_BYTES, at)
            at = _put_integer(count[i], at)
        if track[i] >= 0:
            at = copied(track_at, _TRACK_BYTES, at)
            at = _put_integer(track[i], at)
        begin = piece_starts[where[i]]
        at = copied(pieces_at + begin, piece_starts[where[i] + 1] - begin, at)
    starts[len(who)] = at - out_at
