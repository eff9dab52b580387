"""How a field is described: its class (who may see it), its words in Chinese and English, its unit, its bounds.

`note(...)` stands beside the field in the message's class and is the only place where any of this is said: the
generated JSON Schema, the AsyncAPI document and the masking all read it from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal, TypeAlias, get_type_hints

import msgspec

Mask: TypeAlias = Literal["hidden", "name", "phone", "plate", "address", "url", "text"]  # how privacy.py masks a field


class FieldClass(StrEnum):
    """Who may see a field. The order of the members is from the least to the most protected."""

    PUBLIC = "public"  # may leave the house
    INTERNAL = "internal"  # for the operations centre and its engineers
    PERSONAL = "personal"  # about one person: masked wherever a person looks, stored in one restricted table


@dataclass(frozen=True, slots=True)
class FieldNote:
    """What `note` said about one field."""

    name: str
    field_class: FieldClass
    zh: str
    en: str
    unit: str | None
    mask: Mask | None


def note(
    zh: str,
    en: str,
    *,
    of: FieldClass = FieldClass.INTERNAL,
    unit: str | None = None,
    mask: Mask | None = None,
    examples: Iterable[Any] = (),
    schema: dict[str, Any] | None = None,
    **bounds: Any,
) -> msgspec.Meta:
    """Describe a field: `Annotated[float, note("读数", "the value measured", ge=0)]`.

    A personal field says how it is masked; without `mask` it is hidden altogether. `bounds` are msgspec's own (ge, le,
    gt, lt, min_length, max_length, pattern); `schema` is added to the field's JSON Schema as it is.
    """
    if of is FieldClass.PERSONAL:
        mask = mask or "hidden"
    more: dict[str, Any] = {"x-class": of.value, "x-zh": zh, **(schema or {})}
    if unit is not None:
        more["x-unit"] = unit
    if mask is not None:
        more["x-mask"] = mask
    return msgspec.Meta(
        description=f"{en}\n{zh}",
        examples=list(examples) or None,
        extra_json_schema=more,
        extra={"note": (of, zh, en, unit, mask)},
        **bounds,
    )


@cache
def notes(message: type[msgspec.Struct]) -> dict[str, FieldNote]:
    """The notes on a message's fields, in order; a field without one is a mistake in the class (TypeError)."""
    hints = get_type_hints(message, include_extras=True)
    found: dict[str, FieldNote] = {}
    for name in message.__struct_fields__:
        meta = _meta(hints[name])
        if meta is None:
            raise TypeError(f"{message.__name__}.{name} has no note(...): say what it is and who may see it")
        found[name] = FieldNote(name, *meta)
    return found


def _meta(hint: Any) -> tuple[FieldClass, str, str, str | None, Mask | None] | None:
    for entry in getattr(hint, "__metadata__", ()):
        if isinstance(entry, msgspec.Meta) and entry.extra and "note" in entry.extra:
            of, zh, en, unit, mask = entry.extra["note"]
            return of, zh, en, unit, mask
    return None
