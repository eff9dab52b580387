"""Kernels that read one JSON value each: plain strings, plain numbers, times. Part of the fast scan of `json_kernels`.

Each takes the address `at` which it reads and gives the one behind what it read, or `ODD` for anything it is not sure
of: the whole record then goes to the reference decoder. Reading may run over the end of a record, at most into the
buffer's padding, whose zero bytes stop everything here; the caller checks that the record's end was not passed.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.raw import MAX_EVENT_MS, MIN_EVENT_MS
from streams.json_fields import TOKEN_BYTES
from streams.words import as_int, load_byte, load_int, load_word, trailing_zeros
from topology.jit import inlined, kernel

ODD: Final = -1

_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
_ZEROS: Final = np.uint64(0x3030303030303030)
_SIXES: Final = np.uint64(0x0606060606060606)
_HIGH_NIBBLES: Final = np.uint64(0xF0F0F0F0F0F0F0F0)

# The longest run of digits whose value surely fits an int64, and the largest integer that every float64 step reaches.
_MOST_DIGITS: Final = 18
_MOST_MANTISSA: Final = 1 << 53

_POWERS: Final = np.array([10**power for power in range(19)], dtype=np.int64)
_FLOAT_POWERS: Final = np.array([float(10**power) for power in range(23)], dtype=np.float64)

_DAYS_BEFORE_MONTH: Final = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365], dtype=np.int64)
_DAY_MS: Final = 86_400_000


@inlined
def skip_space(at: int) -> int:
    """The address of the next byte that is not JSON white space."""
    byte = load_byte(at)
    while byte == 0x20 or byte == 0x0A or byte == 0x0D or byte == 0x09:
        at += 1
        byte = load_byte(at)
    return at


@inlined
def read_string(at: int, end: int) -> int:
    """The address of the quote that closes the string whose first byte is at `at`.

    ODD for an escape, a control character, or bytes that are not UTF-8.
    """
    while at < end:
        word = load_word(at)
        quotes = word ^ _QUOTES
        backslashes = word ^ _BACKSLASHES
        # The lowest bit set is exact: a false hit of these subtractions only ever follows a true one.
        special = (
            ((quotes - _ONES) & ~quotes) | ((backslashes - _ONES) & ~backslashes) | ((word - _SPACES) & ~word) | word
        ) & _HIGH
        if special == np.uint64(0):
            at += 8
            continue
        at += trailing_zeros(special) >> 3
        byte = load_byte(at)
        if byte == 0x22:
            return at
        if byte < 0x80:
            return ODD
        at = read_character(at)
        if at == ODD:
            return ODD
    return ODD


@kernel
def read_character(at: int) -> int:
    """The address behind one UTF-8 character of two to four bytes (Unicode standard, table 3-7), or ODD."""
    first = load_byte(at)
    second = load_byte(at + 1)
    if first < 0xC2:
        return ODD
    if first < 0xE0:
        return at + 2 if second & 0xC0 == 0x80 else ODD
    third = load_byte(at + 2)
    if first < 0xF0:
        low = 0xA0 if first == 0xE0 else 0x80
        high = 0x9F if first == 0xED else 0xBF
        return at + 3 if low <= second <= high and third & 0xC0 == 0x80 else ODD
    if first > 0xF4:
        return ODD
    low = 0x90 if first == 0xF0 else 0x80
    high = 0x8F if first == 0xF4 else 0xBF
    if low <= second <= high and third & 0xC0 == 0x80 and load_byte(at + 3) & 0xC0 == 0x80:
        return at + 4
    return ODD


@inlined
def read_digits(at: int) -> tuple[int, int]:
    """The value and the number of the decimal digits at `at`; more than 18 digits give (0, 19)."""
    value = 0
    count = 0
    while True:
        digits = load_word(at + count) ^ _ZEROS
        others = ((digits + _SIXES) | digits) & _HIGH_NIBBLES
        here = trailing_zeros(others) >> 3 if others != np.uint64(0) else 8
        if here == 0:
            return value, count
        if count + here > _MOST_DIGITS:
            return 0, _MOST_DIGITS + 1
        # Shifted so that the last digit is the highest byte, missing ones count as leading zeros; then pairs, fours,
        # eights are added up (Lemire's eight-digit trick).
        digits <<= np.uint64(64 - 8 * here)
        digits = (digits * np.uint64(2561)) >> np.uint64(8)
        digits = ((digits & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
        digits = ((digits & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
        value = value * _POWERS[here] + np.int64(digits)
        count += here
        if here < 8:
            return value, count


@inlined
def read_number(at: int) -> tuple[int, int, int]:
    """A plain JSON number as (signed mantissa, digits behind the point, address behind it); address ODD if it is odd.

    Odd are: an exponent, a mantissa above 2**53 or of more than 18 digits, and minus zero (whose sign an integer
    loses). The float is then exactly mantissa / 10**digits, correctly rounded (Clinger: both are exact float64
    numbers).
    """
    negative = load_byte(at) == 0x2D
    if negative:
        at += 1
    mantissa, count = read_digits(at)
    if count == 0 or count > _MOST_DIGITS or (count > 1 and load_byte(at) == 0x30):
        return 0, 0, ODD
    at += count
    scale = 0
    if load_byte(at) == 0x2E:
        tenths = load_byte(at + 1) - 0x30
        behind = load_byte(at + 2) - 0x30
        if 0 <= tenths <= 9 and (behind < 0 or behind > 9) and count < _MOST_DIGITS:  # a constant, as in read_millis
            mantissa = mantissa * 10 + tenths
            scale = 1
            at += 2
        else:
            fraction, scale = read_digits(at + 1)
            if scale == 0 or count + scale > _MOST_DIGITS:
                return 0, 0, ODD
            mantissa = mantissa * _POWERS[scale] + fraction
            at += 1 + scale
    byte = load_byte(at)
    if byte == 0x65 or byte == 0x45 or mantissa > _MOST_MANTISSA:
        return 0, 0, ODD
    if negative:
        if mantissa == 0:
            return 0, 0, ODD
        mantissa = -mantissa
    return mantissa, scale, at


@inlined
def _others(digits: np.uint64) -> np.uint64:
    """High nibbles are set in the bytes of `digits` (a word less its zeros) that are no digit."""
    return ((digits + _SIXES) | digits) & _HIGH_NIBBLES


@inlined
def _eight(digits: np.uint64) -> int:
    """The value of a word of eight digits, the first one lowest (Lemire's eight-digit trick)."""
    digits = (digits * np.uint64(2561)) >> np.uint64(8)
    digits = ((digits & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    digits = ((digits & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
    return as_int(digits)


@inlined
def read_millis(at: int) -> tuple[int, int, int]:
    """`read_number`, quick for a time in milliseconds: 13 digits and no more.

    That the usual lengths are constants here, and not what was counted, lets the processor go on with what follows
    before it has counted: it is the chain of addresses that the scan waits for.
    """
    low = load_word(at) ^ _ZEROS
    high = load_word(at + 8) ^ _ZEROS
    if _others(low) == np.uint64(0) and low & np.uint64(0xFF) != np.uint64(0):
        others = _others(high)
        if others & np.uint64(0xFFFFFFFFFF) == np.uint64(0) and others & np.uint64(0xFF0000000000) != np.uint64(0):
            byte = load_byte(at + 13)
            if byte != 0x2E and byte != 0x65 and byte != 0x45:
                return _eight(low) * 100_000 + _eight(high << np.uint64(24)), 0, at + 13
    return read_number(at)


@inlined
def read_degrees(at: int) -> tuple[int, int, int]:
    """`read_number`, quick for two or three digits, a point and six digits; see `read_millis`."""
    whole = load_word(at) ^ _ZEROS
    here = trailing_zeros(_others(whole)) >> 3
    if here == 3:
        return _read_fraction(at, whole << np.uint64(40), 3)
    if here == 2:
        return _read_fraction(at, whole << np.uint64(48), 2)
    return read_number(at)


@inlined
def _read_fraction(at: int, whole: np.uint64, count: int) -> tuple[int, int, int]:
    digits = load_word(at + count + 1) ^ _ZEROS
    others = _others(digits)
    if (
        load_byte(at) != 0x30
        and load_byte(at + count) == 0x2E
        and others & np.uint64(0xFFFFFFFFFFFF) == np.uint64(0)
        and others & np.uint64(0xFF000000000000) != np.uint64(0)
    ):
        byte = load_byte(at + count + 7)
        if byte != 0x65 and byte != 0x45:
            return _eight(whole) * 1_000_000 + _eight(digits << np.uint64(16)), 6, at + count + 7
    return read_number(at)


@inlined
def as_float(mantissa: int, scale: int) -> float:
    """The float64 nearest to mantissa / 10**scale, for what `read_number` gives."""
    nearest: float = np.float64(mantissa) / _FLOAT_POWERS[scale]
    return nearest


@kernel
def read_time(at: int) -> tuple[int, int]:
    """An RFC 3339 time in its usual form, as (epoch ms, address of the closing quote); address ODD if it is odd.

    Usual: YYYY-MM-DDTHH:MM:SS, nothing or three digits of a second, then Z or +HH:MM or -HH:MM up to 14 hours. All
    others, times without a zone and times out of range go to the reference decoder.
    """
    year, digits = _two_digits(at), _two_digits(at + 2)
    month = _two_digits(at + 5)
    day = _two_digits(at + 8)
    hour = _two_digits(at + 11)
    minute = _two_digits(at + 14)
    second = _two_digits(at + 17)
    # The usual separators; load_byte(at + 10) is the T between date and time.
    if (
        min(year, digits, month, day, hour, minute, second) < 0
        or load_byte(at + 4) != 0x2D
        or load_byte(at + 7) != 0x2D
        or load_byte(at + 10) != 0x54
        or load_byte(at + 13) != 0x3A
        or load_byte(at + 16) != 0x3A
    ):
        return 0, ODD
    year = year * 100 + digits
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    if year < 2000 or year > 2100 or month < 1 or month > 12 or hour > 23 or minute > 59 or second > 59:
        return 0, ODD
    month_days = _DAYS_BEFORE_MONTH[month] - _DAYS_BEFORE_MONTH[month - 1]
    if month == 2 and leap:
        month_days += 1
    if day < 1 or day > month_days:
        return 0, ODD
    at += 19
    millis = 0
    if load_byte(at) == 0x2E:
        millis, digits = read_digits(at + 1)
        if digits != 3:
            return 0, ODD
        at += 4
    zone_minutes = 0
    zone = load_byte(at)
    if zone == 0x2B or zone == 0x2D:
        zone_hour = _two_digits(at + 1)
        zone_minute = _two_digits(at + 4)
        if zone_hour < 0 or zone_hour > 14 or load_byte(at + 3) != 0x3A or zone_minute < 0 or zone_minute > 59:
            return 0, ODD
        zone_minutes = zone_hour * 60 + zone_minute
        if zone == 0x2D:
            if zone_minutes == 0:  # -00:00 says that the zone is not known
                return 0, ODD
            zone_minutes = -zone_minutes
        at += 6
    elif zone == 0x5A:
        at += 1
    else:
        return 0, ODD
    # Days since 2000-01-01, itself 10957 days after the epoch.
    years = year - 2000
    days = 10_957 + 365 * years + (years + 3) // 4 - (years + 99) // 100 + (years + 399) // 400
    days += _DAYS_BEFORE_MONTH[month - 1] + day - 1
    if leap and month > 2:
        days += 1
    at_ms = days * _DAY_MS + ((hour * 60 + minute - zone_minutes) * 60 + second) * 1000 + millis
    if load_byte(at) != 0x22 or at_ms < MIN_EVENT_MS or at_ms >= MAX_EVENT_MS:
        return 0, ODD
    return at_ms, at


@kernel
def _two_digits(at: int) -> int:
    """The value of two decimal digits, or -1."""
    tens = load_byte(at) - 0x30
    ones = load_byte(at + 1) - 0x30
    if tens < 0 or tens > 9 or ones < 0 or ones > 9:
        return -1
    value: int = tens * 10 + ones
    return value


@inlined
def read_token(at: int, tokens_at: int, token_count: int) -> tuple[int, int]:
    """The number of the token at `at`, and the address behind its closing quote; ODD when it is none of them."""
    low = load_word(at)
    high = load_word(at + 8)
    for token in range(token_count):
        token_at = tokens_at + TOKEN_BYTES * token
        if (low & load_word(token_at + 16)) == load_word(token_at) and (high & load_word(token_at + 24)) == load_word(
            token_at + 8
        ):
            return load_int(token_at + 40), at + load_int(token_at + 32)
    return 0, ODD
