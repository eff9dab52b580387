"""An alert: one JSON record for each raise, update and clear, keyed by alert id on topic `alerts`.

Its content is a pure function of the log: no wall clock, no random id, no worker's name. The same log gives the same
bytes, however often and by whom it is replayed. The sentences hold no personal value: they are masked when made.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.errors import MessageError
from schemas.fields import FieldClass, note


class Action(StrEnum):
    """What an alert record says about its alert."""

    RAISE = "raise"
    UPDATE = "update"
    CLEAR = "clear"

    @property
    def zh(self) -> str:
        return _ACTIONS_ZH[self]


_ACTIONS_ZH = {Action.RAISE: "产生", Action.UPDATE: "更新", Action.CLEAR: "解除"}

SEVERITY_ZH = {1: "一般", 2: "较大", 3: "重大", 4: "特别重大"}  # the four levels of GB emergency plans, 4 the worst
SEVERITY_EN = {1: "minor", 2: "moderate", 3: "major", 4: "extreme"}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one alert."""

    alert_id: Annotated[
        str,
        note(
            "告警编号：检测器-版本-网格-起始时间",
            "detector-version-cell-onset: the same in every record of the alert",
            examples=["waterlogging-1-2a31f-1782864000000"],
        ),
    ]
    revision: Annotated[int, note("修订号，从 0 起", "0 for the raise, then one more for each record", ge=0)]
    action: Annotated[Action, note("动作：产生、更新、解除", "raise, update or clear")]
    detector: Annotated[str, note("检测器名称", "the detector's name", examples=["waterlogging"])]
    detector_version: Annotated[int, note("检测器版本", "the detector's version", ge=0)]
    category: Annotated[str, note("事件类别", "what kind of event it is", examples=["waterlogging"])]
    cell: Annotated[
        int, note("网格单元编号", "the compute cell; a 64-bit integer, do not read it into a double", examples=[172831])
    ]
    lon: Annotated[
        float | None, note("网格中心经度；无法定位时为空", "the cell's centre, WGS-84; null when unplaced", unit="deg")
    ]
    lat: Annotated[
        float | None, note("网格中心纬度；无法定位时为空", "the cell's centre, WGS-84; null when unplaced", unit="deg")
    ]
    onset_ms: Annotated[
        int, note("起始时间（窗口起点）", "start of the first window that led to the raise, epoch ms", unit="ms")
    ]
    window_start_ms: Annotated[int, note("判定窗口起点", "start of the judged window (closed)", unit="ms")]
    window_end_ms: Annotated[int, note("判定窗口终点", "end of the judged window (open)", unit="ms")]
    severity: Annotated[int, note("严重程度，4 最重", "1 minor to 4 extreme", ge=1, le=4)]
    confidence: Annotated[float, note("置信度", "how sure the detector is", ge=0, le=1)]
    reason: Annotated[str, note("判定原因", "which of the detector's reasons applies", examples=["level_and_camera"])]
    values: Annotated[
        dict[str, float | None], note("特征取值", "feature values at the judgement; null where there was no data")
    ]
    thresholds: Annotated[dict[str, float], note("阈值", "what the values were held against")]
    evidence: Annotated[
        list[str],
        note(
            "证据：主题:分区:偏移量", "raw records behind it as topic:partition:offset", examples=[["readings:0:1042"]]
        ),
    ]
    sentence_zh: Annotated[str, note("一句话说明，已脱敏", "one Chinese sentence, masked", of=FieldClass.PUBLIC)]
    sentence_en: Annotated[str, note("英文说明，已脱敏", "one English sentence, masked", of=FieldClass.PUBLIC)]
    jurisdiction: Annotated[
        str | None,
        note(
            "起始时所在最小辖区的代码，辖区之外为空",
            "code of the smallest jurisdiction there at the onset; null outside every one",
            examples=["310104003"],
        ),
    ] = None
    unit: Annotated[
        str | None,
        note(
            "单元网格编号（15 位）",
            "the 15-digit code of the unit grid cell; null when unplaced or outside every jurisdiction",
            examples=["310104003012007"],
        ),
    ] = None
    place_zh: Annotated[
        str | None,
        note(
            "辖区名称",
            "what the jurisdiction is called, in Chinese",
            of=FieldClass.PUBLIC,
            examples=["徐汇区天平路街道"],
        ),
    ] = None
    place_en: Annotated[
        str | None,
        note("辖区英文名称", "what it is called, in English", of=FieldClass.PUBLIC, examples=["Tianping Road, Xuhui"]),
    ] = None

    @property
    def key(self) -> bytes:
        """The Kafka key: all records of one alert stay in one partition, in order."""
        return self.alert_id.encode()


def make_alert_id(detector: str, version: int, cell: int, onset_ms: int) -> str:
    """The deterministic id: two workers that see the same log give the same alert the same id."""
    return f"{detector}-{version}-{cell:x}-{onset_ms}"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Alert)


def encode_alert(alert: Alert) -> bytes:
    """The alert as compact JSON; fields in the order of the class, so equal alerts give equal bytes."""
    return _encoder.encode(alert)


def decode_alert(payload: bytes | memoryview) -> Alert:
    """The alert in `payload`; MessageError when it is not one."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"schemas/alert: not an alert: {error}") from error
