"""Masking of personal values, used wherever a person looks: tail, sentences, views, error texts.

Every mask is idempotent (masking twice changes nothing) and keeps the value's shape, so that an operator still
recognises a call ("138****5678") without learning a number. Masks hide, they do not encrypt: whoever may see the true
value reads the restricted table.

What free text cannot give away here: telephone numbers, identity and card numbers, number plates, names after a label
("联系人：...") and, in a ticket, the caller's own name. Other names inside free text are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from schemas.camera_event import CameraEvent
from schemas.fields import FieldClass, Mask, notes
from schemas.reading import Reading
from schemas.sources import Source
from schemas.ticket import Ticket

HIDDEN: Final = "***"

_STAR: Final = "*"
_RECORDS: Final = {Source.READINGS: Reading, Source.CAMERA_EVENTS: CameraEvent, Source.TICKETS: Ticket}

# Two-character surnames that are not rare; any other name is taken to have a surname of one character.
_LONG_SURNAMES: Final = frozenset(
    re.findall(
        "..",
        "欧阳太史端木上官司马东方独孤南宫万俟闻人夏侯诸葛尉迟公羊赫连澹台皇甫宗政濮阳公冶太叔申屠"
        "公孙慕容仲孙钟离长孙宇文司徒鲜于司空令狐呼延",
    )
)
_PROVINCES: Final = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领"

# Full-width digits and letters look like their ASCII twins, so they are matched as them (one character for one).
_NARROW: Final = {0xFF01 + i: 0x21 + i for i in range(94)} | {ord("ｘ"): ord("x"), 0x3000: ord(" ")}

_GAP = r"[ \-－—–·.]?"  # what people put between the groups of a number


def mask_name(name: str) -> str:
    """王小明 -> 王**, 欧阳娜娜 -> 欧阳**, John Smith -> J*** S****."""
    parts = re.split(r"([\s·.•]+)", name)
    return "".join(part if index % 2 else _mask_word(part) for index, part in enumerate(parts))


def mask_phone(phone: str) -> str:
    """13812345678 -> 138****5678, 021-61234567 -> 021-****4567; the last four and the prefix stay."""
    if any(ch.isalpha() for ch in phone):
        return "".join(_STAR if ch.isalnum() else ch for ch in phone)
    count = sum(map(_is_symbol, phone))
    if count < 7:
        return _keep(phone, 0, 0)
    return _keep(phone, max(0, min(count - 8, 5)), 3 if count == 7 else 4)


def mask_plate(plate: str) -> str:
    """沪A12345 -> 沪A***45."""
    return _keep(plate, 2, 2) if sum(map(_is_symbol, plate)) >= 6 else _keep(plate, 0, 0)


def mask_id_number(number: str) -> str:
    """Identity and card numbers: 310101199001011234 -> 31**************34."""
    return _keep(number, 2, 2) if sum(map(_is_symbol, number)) >= 11 else _keep(number, 0, 0)


def mask_number(number: int) -> int | str:
    """A number is masked when it has the form of a mobile or an identity number, else it stays a number."""
    digits = str(number) if 10**10 <= number < 10**18 else ""
    if re.fullmatch(r"1[3-9][0-9]{9}", digits):
        return mask_phone(digits)
    return mask_id_number(digits) if len(digits) == 18 else number


def mask_address(address: str) -> str:
    """Building and road stay, the flat does not: 漕溪北路398号3幢1502室 -> 漕溪北路398号3幢****室."""
    return mask_text(_ROOM.sub(lambda found: _keep(found.group(1), 0, 0) + found.group(2), address))


def mask_url(url: str) -> str:
    """The host stays, the path to the picture does not."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,31}://)(?:[^/?#\s@]*@)?([^/?#\s@]*)", url)
    return f"{found.group(1)}{found.group(2)}/{HIDDEN}" if found else HIDDEN


def mask_hidden(_value: str) -> str:
    """Nothing of the value stays."""
    return HIDDEN


def mask_text(text: str) -> str:
    """Free text without the numbers, plates and labelled names in it (see the head of this file)."""
    while _SUSPICIOUS.search(narrow := _narrow(text)):  # nearly no text has anything that a rule could find
        masked = text
        for pattern, mask in _text_rules():
            hidden = _replace(pattern, mask, masked, narrow)
            if hidden is not masked:
                masked, narrow = hidden, _narrow(hidden)
        if masked == text:
            break
        text = masked  # hiding one number can bare another beside it; stars only grow, so this ends
    return text


MASKS: Final[Mapping[Mask, Callable[[str], str]]] = {
    "hidden": mask_hidden,
    "name": mask_name,
    "phone": mask_phone,
    "plate": mask_plate,
    "address": mask_address,
    "url": mask_url,
    "text": mask_text,
}


@cache
def personal_fields(source: Source) -> Mapping[str, Mask]:
    """The personal fields of a source's records, and how each is masked."""
    described = notes(_RECORDS[source]).values()
    return {n.name: n.mask or "hidden" for n in described if n.field_class is FieldClass.PERSONAL}


@cache
def all_personal_fields() -> Mapping[str, Mask]:
    """The personal fields of all sources: a caller's name is personal in whatever record it turns up."""
    return {name: mask for source in Source for name, mask in personal_fields(source).items()}


@cache
def _shown_fields() -> frozenset[str]:
    """Known fields that are not personal: ids may look like telephone numbers, they are shown as they are."""
    return frozenset(name for record in _RECORDS.values() for name in notes(record)) - all_personal_fields().keys()


def mask_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A raw record, or an observation's extra fields, fit to be shown.

    Known personal fields get their own mask, other known fields stay, every unknown string (at any depth) gets the mask
    for free text. The caller's own name is also hidden inside text. The input is not changed.
    """
    caller = fields.get("caller_name")
    return {
        name: value
        if name in _shown_fields() and not isinstance(value, dict | list)
        else _mask_value(name, value, caller)
        for name, value in fields.items()
    }


def mask_field(name: str, value: Any, caller_name: Any) -> Any:
    """The value of one personal field of a record, fit to be shown; what `mask_fields` gives for it."""
    return _mask_value(name, value, caller_name)


def mask_extra(extra: str | bytes | None) -> str | None:
    """An observation's `extra` column, fit to be shown."""
    return None if extra is None else mask_payload(extra if isinstance(extra, bytes) else extra.encode())


def mask_payload(payload: bytes | memoryview) -> str:
    """The bytes of a raw record (also of one that is not even JSON) as text that is fit to be shown."""
    try:
        record = msgspec.json.decode(payload)
        if isinstance(record, dict):
            return msgspec.json.encode(mask_fields(record)).decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # not JSON: shown as text below
    text = bytes(payload).decode("utf-8", "replace")
    return mask_text(_LOOSE_FIELD.sub(lambda found: found.group(1) + HIDDEN, text))


def _mask_value(name: str, value: Any, caller: Any) -> Any:
    if isinstance(value, str):
        kind = all_personal_fields().get(name, "text")
        if kind in ("text", "address") and isinstance(caller, str) and len(caller) >= 2 and _STAR not in caller:
            value = value.replace(caller, mask_name(caller))
        return MASKS[kind](value)
    if name in all_personal_fields() and value is not None:
        return HIDDEN
    if isinstance(value, dict):
        return {key: _mask_value(key, inner, caller) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mask_value("", inner, caller) for inner in value]
    return mask_number(value) if type(value) is int else value


def _mask_word(word: str) -> str:
    kept = 2 if len(word) > 2 and word[:2] in _LONG_SURNAMES else 1
    return word[:kept] + _STAR * (len(word) - kept) if len(word) > kept else _STAR * len(word)


def _is_symbol(ch: str) -> bool:
    return ch == _STAR or ch.isalnum()


def _keep(value: str, first: int, last: int) -> str:
    """Stars for every letter and digit but the first and last few; everything else (blanks, dashes) stays."""
    count = sum(map(_is_symbol, value))
    out, seen = [], 0
    for ch in value:
        if not _is_symbol(ch):
            out.append(ch)
            continue
        out.append(ch if seen < first or seen >= count - last else _STAR)
        seen += 1
    return "".join(out)


def _narrow(text: str) -> str:
    """The text with ASCII twins in place of full-width characters, each in its place."""
    return text.translate(_NARROW) if _WIDE.search(text) else text


def _replace(pattern: re.Pattern[str], mask: Callable[[str], str], text: str, narrow: str) -> str:
    """Masks what the pattern finds in the narrow form of the text, in the text itself; that very text if nothing."""
    out, end = [], 0
    for found in pattern.finditer(narrow):
        start, stop = found.span("x")
        out += [text[end:start], mask(text[start:stop])]
        end = stop
    return "".join(out) + text[end:] if out else text


_WIDE = re.compile("[\uff01-\uff5e\u3000]")
_ROOM = re.compile(r"([0-9０-９A-Za-z]+(?:[-－][0-9０-９A-Za-z]+)*)(\s*(?:室|房(?!屋)))")
_LOOSE_FIELD = re.compile(
    r'("(?:' + "|".join(name for name, mask in all_personal_fields().items() if mask != "text") + r')"\s*:\s*)'
    r'(?:"(?:[^"\\]|\\.)*"?|[^,}\s]+)',
    re.DOTALL,
)
_SPOKEN = "零〇一二三四五六七八九幺两"
_LABELS = "姓名|联系人|来电人|诉求人|报警人|投诉人|当事人|业主"
# What every rule's find has in it, so that a text without it need not be asked rule by rule: three digits together, a
# plate's beginning, a mobile number's spoken beginning, a label.
_SUSPICIOUS = re.compile(rf"[0-9]{{3}}|[{_PROVINCES}][A-Za-z]|[一幺][三四五六七八九][{_SPOKEN}]|(?:{_LABELS})\s*[:：]")


@cache
def _text_rules() -> tuple[tuple[re.Pattern[str], Callable[[str], str]], ...]:
    """What is looked for in free text, in this order, each as the group x of its pattern."""
    rules = (
        # identity numbers, cards and cards; first, because their groups look like landlines
        (rf"(?<![0-9])(?P<x>[0-9]{{6}}{_GAP}[0-9]{{8}}{_GAP}[0-9]{{3}}[0-9Xx])(?![0-9])", mask_id_number),
        (r"(?<![0-9])(?P<x>[0-9]{4}(?:[ \-][0-9]{4}){3}(?:[ \-][0-9]{1,3})?)(?![0-9])", mask_id_number),
        # mobile, with or without country code and gaps
        (rf"(?<![0-9])(?P<x>(?:(?:\+|00)86{_GAP})?1[3-9][0-9]{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}})(?![0-9])", mask_phone),
        # landline with area code, and extension
        (
            rf"(?<![0-9])(?P<x>[(（]?0[1-9][0-9]{{1,2}}[)）]?{_GAP}[2-9][0-9]{{2,3}}{_GAP}[0-9]{{4}})(?![0-9])",
            mask_phone,
        ),
        # landline without area code, only after a word that says it is one
        (
            r"(?:电话|座机|来电|致电|手机|回电|联系方式|[Tt][Ee][Ll])[号码是为:\s]{0,4}(?P<x>[2-9][0-9]{6,7})(?![0-9])",
            mask_phone,
        ),
        # mobile as it is spoken
        (rf"(?<![{_SPOKEN}])(?P<x>[一幺][三四五六七八九][{_SPOKEN}]{{9}})(?![{_SPOKEN}])", mask_id_number),
        # anything else that long
        (r"(?P<x>[0-9]{11,}[Xx]?)", mask_id_number),
        # number plates, of new energy vehicles too
        (
            rf"(?P<x>[{_PROVINCES}][A-HJ-NP-Za-hj-np-z]{_GAP}[A-HJ-NP-Za-hj-np-z0-9]{{4,5}}"
            r"[A-HJ-NP-Za-hj-np-z0-9挂学警港澳])(?![A-Za-z0-9])",
            mask_plate,
        ),
        # a name after a label
        (
            rf"(?:{_LABELS})\s*[:：]\s*"
            r"(?P<x>[\u4e00-\u9fff]{2,4})(?![\u4e00-\u9fff])",
            mask_name,
        ),
    )
    return tuple((re.compile(pattern), mask) for pattern, mask in rules)
