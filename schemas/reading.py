"""A sensor reading: one metric of one device at one time, on topic `readings`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from schemas.fields import FieldClass, note
from schemas.raw import MAX_ID_BYTES, DatumName, Lat, Lon, ShortText, Ts
from schemas.sources import Source


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured value.

    Producers may add fields of their own: they are kept. An optional field that is null counts as absent.
    """

    source: ClassVar[Source] = Source.READINGS

    device_id: Annotated[
        str,
        note("设备编号", "the device", min_length=1, max_length=MAX_ID_BYTES, examples=["WL-0042"]),
    ]
    metric: Annotated[
        str,
        note(
            "指标，见 kinds.yaml",
            "what is measured, by preference a name of kinds.yaml",
            of=FieldClass.PUBLIC,
            min_length=1,
            max_length=MAX_ID_BYTES,
            examples=["water_level_mm"],
        ),
    ]
    value: Annotated[float, note("读数", "the value; a finite number, never a string", examples=[152.5])]
    ts: Ts
    unit: Annotated[
        ShortText | None,
        note("单位", "the value's unit; when it is not the metric's own the reading becomes suspect", examples=["mm"]),
    ] = None
    lon: Lon = None
    lat: Lat = None
    datum: DatumName = None
    quality: Annotated[
        Literal["good", "suspect", "bad"] | None,
        note("质量：good 好、suspect 可疑、bad 坏", "the device's own opinion of the value; good when absent"),
    ] = None
    device_type: Annotated[
        ShortText | None, note("设备类型", "kind of device", of=FieldClass.PUBLIC, examples=["radar_level"])
    ] = None
