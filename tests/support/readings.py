"""Readings as producers write them, and decoders with empty tables."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

from schemas.sources import Source
from streams.decode import Decoder
from streams.strings import StringTable

ZONE = ZoneInfo("Asia/Shanghai")
T0 = 1_782_864_000_000


def reading(*, device: str = "WL-0042", value: Any = 12.5, ts: Any = T0, **more: Any) -> bytes:
    """A valid reading unless told otherwise."""
    record = {"device_id": device, "metric": "water_level_mm", "value": value, "ts": ts, **more}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def decoder() -> Decoder:
    return Decoder(StringTable(), StringTable(), StringTable(), dict.fromkeys(Source, ZONE))
