"""Rows of the decoders, compared bit for bit."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from schemas.decode import Row


def bits(row: Row) -> tuple[Any, ...]:
    """A row as something that is equal only bit for bit; confidence is kept in 32 bits."""
    return tuple(
        struct.pack("<f" if name == "confidence" else "<d", value) if isinstance(value, float) else value
        for name, value in zip(row.__struct_fields__, msgspec.structs.astuple(row), strict=True)
    )
