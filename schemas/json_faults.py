"""What the reference decoder needs off the common path: wording of bad JSON, duplicate keys, depth, shown values."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

import msgspec

from schemas.dead_letter import Reason
from schemas.errors import BadRecord
from schemas.privacy import mask_number, mask_text
from schemas.raw import MAX_DEPTH

SHOWN_CHARS: Final = 64

_Pairs = list[tuple[str, Any]]
_LONE_SURROGATE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_STRINGS_AND_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def shown(value: Any, *, secret: bool = False) -> str:
    """A value as an error text shows it: short, and nothing of it when it is personal."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"an object of {len(value)} fields"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if secret:
        return {str: "a string", bool: "a boolean"}.get(type(value), "a number") + " (not shown)"
    if isinstance(value, int) and abs(value) >= 10**SHOWN_CHARS:
        return "an integer of more than 64 digits"
    if isinstance(value, str):  # a caller may have put a telephone number anywhere
        start = mask_text(value[: 2 * SHOWN_CHARS])[:SHOWN_CHARS]
        return _quoted(start) if len(value) <= SHOWN_CHARS else f"{_quoted(start)}... ({len(value)} characters)"
    return _quoted(mask_number(value) if type(value) is int else value)


def path_to(key: str) -> str:
    """The $.path of a top-level key."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", key):
        return f"$.{key}"
    return f"$[{shown(key)}]"


def explain(raw: bytes, error: Exception) -> BadRecord:
    """The BadRecord for bytes that msgspec's parser refused with `error`."""
    if not raw.strip(b" \t\r\n"):
        return BadRecord(Reason.EMPTY, "$", f"expected a JSON object, got {'blanks' if raw else 'no bytes'}")
    # How deep a parser gets before it gives up depends on who called it; what a letter says must not.
    if isinstance(error, RecursionError) or _opens_too_deep(raw, error):
        return too_deep()
    try:
        text = raw.decode()
    except UnicodeDecodeError as wrong:
        return BadRecord(Reason.BAD_JSON, "$", f"expected UTF-8, got {raw[wrong.start]:#04x} (byte {wrong.start})")
    if isinstance(error, msgspec.ValidationError):  # the only one without a schema: a number beyond a double
        return _number_too_large(text)
    what = str(error)
    hint = ""
    if _LONE_SURROGATE.search(text):  # msgspec takes some of these for the end of the input
        what = "JSON is malformed"
        hint = "; an escape that is half of a surrogate pair is no character"
    elif text.startswith("\ufeff"):
        hint = "; remove the byte order mark"
    elif found := re.search(r"[:\[,]\s*(-?(?:NaN|Infinity|nan|inf))\b", text):
        hint = f"; {found.group(1)} is not JSON"
    elif re.match(r"\s*\{\s*'", text):
        hint = "; JSON strings have double quotes"
    return BadRecord(Reason.BAD_JSON, "$", f"{what}{hint}")


def refuse_duplicates(raw: bytes, record: dict[str, Any]) -> None:
    """Raises BadRecord when a top-level key of `record` (which is what `raw` holds) was given twice.

    Without escapes the colons can be accounted for exactly: one for each key that is still there, the rest inside
    strings that are still there. Only when that does not add up is the record read a second time.
    """
    if 0x5C not in raw and raw.count(0x3A) == _colons(record):
        return
    seen = set()
    for key, _ in _pairs(raw.decode()):
        if key in seen:
            raise BadRecord(Reason.DUPLICATE_KEY, path_to(key), "expected each field once, got this one twice")
        seen.add(key)


def refuse_depth(record: Any) -> None:
    """Raises BadRecord when a parsed record has more than MAX_DEPTH objects and arrays inside each other."""
    level = [record]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            for inner in value.values() if type(value) is dict else value:
                kind = type(inner)
                if kind is dict or kind is list:
                    below.append(inner)
        if not below:
            return
        level = below
    raise too_deep()


def too_deep() -> BadRecord:
    return BadRecord(Reason.BAD_JSON, "$", f"expected at most {MAX_DEPTH} objects and arrays inside each other")


def may_be_too_deep(raw: bytes) -> bool:
    """Whether there are brackets enough; without them a record need not be looked at."""
    return raw.count(0x5B) + raw.count(0x7B) > MAX_DEPTH


def _opens_too_deep(raw: bytes, error: Exception) -> bool:
    """Whether malformed JSON is deeper than MAX_DEPTH, as far as it goes before the fault."""
    if not may_be_too_deep(raw):
        return False
    place = re.search(r"\(byte (\d+)\)", str(error))
    depth = 0
    for token in _STRINGS_AND_BRACKETS.finditer(raw, 0, int(place[1]) if place else len(raw)):
        opened = token.group()
        if opened in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif opened in b"]}":
            depth -= 1
    return False


def _colons(record: dict[str, Any]) -> int:
    """How many colons the JSON of a record has when nothing in it is escaped."""
    colons = 0
    todo: list[Any] = [record]
    for value in todo:  # grows while it runs
        if type(value) is dict:
            colons += len(value) + "".join(value).count(":")
            value = value.values()
        for inner in value:
            kind = type(inner)
            if kind is str:
                if ":" in inner:
                    colons += inner.count(":")
            elif kind is dict or kind is list:
                todo.append(inner)
    return colons


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_second = json.JSONDecoder(
    object_pairs_hook=lambda pairs: pairs, parse_int=float, parse_constant=_no_constant, strict=True
)


def _pairs(text: str) -> _Pairs:
    """All key-value pairs of the top-level object, repeated keys included; numbers as floats."""
    try:
        pairs = _second.decode(text)
    except ValueError as error:
        raise BadRecord(Reason.BAD_JSON, "$", f"JSON is malformed: {error}") from None
    return pairs if isinstance(pairs, list) else []


def _number_too_large(text: str) -> BadRecord:
    expected = "expected a number that a double can hold, got one beyond it"
    if not text.lstrip().startswith("{"):
        return BadRecord(Reason.BAD_TYPE, "$", "expected an object, got a number or an array")
    try:
        pairs = _pairs(text)
    except BadRecord as error:
        return error
    for key, value in pairs:
        if _has_infinity(value):
            return BadRecord(Reason.BAD_VALUE, path_to(key), expected)
    return BadRecord(Reason.BAD_VALUE, "$", expected)


def _has_infinity(value: Any) -> bool:
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, (list, tuple)):
            todo.extend(value)
        elif isinstance(value, float) and math.isinf(value):
            return True
    return False


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
