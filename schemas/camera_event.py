"""A camera event: what a camera's analytics believe to have seen, on topic `camera-events`."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from schemas.fields import FieldClass, note
from schemas.raw import MAX_ID_BYTES, MAX_STRING_CHARS, DatumName, Lat, Lon, ShortText, Ts
from schemas.sources import Source


class CameraEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One detection of one camera.

    Producers may add fields of their own: they are kept. An optional field that is null counts as absent.
    """

    source: ClassVar[Source] = Source.CAMERA_EVENTS

    camera_id: Annotated[
        str, note("摄像头编号", "the camera", min_length=1, max_length=MAX_ID_BYTES, examples=["CAM-0107"])
    ]
    event: Annotated[
        str,
        note(
            "事件，见 kinds.yaml",
            "what was seen, by preference a name of kinds.yaml",
            of=FieldClass.PUBLIC,
            min_length=1,
            max_length=MAX_ID_BYTES,
            examples=["waterlogging"],
        ),
    ]
    confidence: Annotated[float, note("置信度", "how sure the analytics are", ge=0, le=1, examples=[0.87])]
    ts: Ts
    lon: Lon = None
    lat: Lat = None
    datum: DatumName = None
    track_id: Annotated[
        int | ShortText | None,
        note("跟踪编号", "the tracked object, a number or a string", examples=[7, "t-19"]),
    ] = None
    count: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        note("数量", "how many objects; the observation's value (1 when absent)", unit="1", examples=[3]),
    ] = None
    bbox: Annotated[
        Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)] | None,
        note("目标框 [x1, y1, x2, y2]", "box of the object in the picture", unit="px", examples=[[10, 20, 110, 220]]),
    ] = None
    snapshot_url: Annotated[
        ShortText | None,
        note(
            "抓拍图地址（图中可能有人脸和车牌）",
            "the picture; it may show faces and plates",
            of=FieldClass.PERSONAL,
            mask="url",
            examples=["https://media.example/cam/107/1.jpg"],
        ),
    ] = None
    plate_hash: Annotated[
        Annotated[str, msgspec.Meta(max_length=MAX_STRING_CHARS)] | None,
        note("车牌散列值", "hash of the number plate", of=FieldClass.PERSONAL, mask="hidden", examples=["b3c1f0"]),
    ] = None
