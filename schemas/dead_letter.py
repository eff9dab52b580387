"""A dead letter: one raw record that could not be used, with the reason, the place and the bytes.

One JSON record each on topic `dead-letters`, keyed "topic:partition:offset", so that a letter written twice after a
restart is the same letter, and one that is fixed can be driven again from its bytes or from the raw log.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from enum import StrEnum
from typing import Annotated, Self

import msgspec

from schemas.errors import BadRecord, MessageError
from schemas.fields import FieldClass, note

PAYLOAD_CAP_BYTES = 16 * 1024  # a letter keeps this much of the record; the raw topic still has the rest


class Reason(StrEnum):
    """Why a raw record is dead. Values are part of stored history and of metrics: never rename, only append."""

    EMPTY = "empty"
    NULL_VALUE = "null_value"
    TOO_LARGE = "too_large"
    BAD_JSON = "bad_json"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_FIELD = "missing_field"
    BAD_TYPE = "bad_type"
    BAD_VALUE = "bad_value"
    BAD_TIME = "bad_time"
    BAD_PLACE = "bad_place"
    OUTSIDE_CITY = "outside_city"
    FUTURE = "future"
    CORRUPT_BATCH = "corrupt_batch"
    UNSUPPORTED_BATCH = "unsupported_batch"

    @property
    def zh(self) -> str:
        return _WORDS[self][0]

    @property
    def en(self) -> str:
        return _WORDS[self][1]


_WORDS: dict[Reason, tuple[str, str]] = {
    Reason.EMPTY: ("记录为空", "the record has no bytes"),
    Reason.NULL_VALUE: ("记录值为 null（墓碑）", "the record has no value (a tombstone)"),
    Reason.TOO_LARGE: ("记录超过大小上限", "the record is larger than allowed"),
    Reason.BAD_JSON: ("不是合法的 UTF-8 JSON", "not valid JSON in UTF-8"),
    Reason.DUPLICATE_KEY: ("同一字段出现两次", "a field is given twice"),
    Reason.MISSING_FIELD: ("缺少必填字段", "a required field is missing"),
    Reason.BAD_TYPE: ("字段类型不对", "a field has the wrong type"),
    Reason.BAD_VALUE: ("字段取值不允许", "a field has a value that is not allowed"),
    Reason.BAD_TIME: ("时间无法识别或超出范围", "the time cannot be read or is out of range"),
    Reason.BAD_PLACE: ("坐标不完整或超出范围", "the coordinates are incomplete or out of range"),
    Reason.OUTSIDE_CITY: ("坐标在本市范围之外", "the place is outside the city"),
    Reason.FUTURE: ("时间超前于到达时间太多", "the time is too far ahead of its arrival"),
    Reason.CORRUPT_BATCH: ("Kafka 批次损坏，无法解开", "the Kafka batch around the record is damaged"),
    Reason.UNSUPPORTED_BATCH: ("Kafka 批次格式不受支持", "the Kafka batch has a format that is not supported"),
}


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One unusable raw record."""

    topic: Annotated[str, note("原始主题", "the raw topic", examples=["readings"])]
    partition: Annotated[int, note("分区", "the raw partition", ge=0)]
    offset: Annotated[int, note("偏移量", "the record's offset in the raw partition", ge=0)]
    reason: Annotated[Reason, note("原因", "why the record cannot be used")]
    path: Annotated[str, note("出错位置", "where in the record, $ for the whole", examples=["$.value"])]
    detail: Annotated[
        str,
        note(
            "说明",
            "what was expected and what was found; shows no personal value",
            examples=['expected number, got "cat"'],
        ),
    ]
    payload_b64: Annotated[
        str,
        note(
            "原始字节（base64，最多 16 KiB）",
            "the record's bytes in base64, the first 16 KiB of them",
            of=FieldClass.PERSONAL,
            schema={"contentEncoding": "base64"},
        ),
    ]
    payload_bytes: Annotated[int, note("原始字节数", "how many bytes the record really has", unit="byte", ge=0)]
    received_at_ms: Annotated[
        int, note("到达时间", "when the broker appended the record, epoch milliseconds", unit="ms")
    ]

    @classmethod
    def of(
        cls,
        error: BadRecord,
        *,
        topic: str,
        partition: int,
        offset: int,
        payload: bytes | memoryview | None,
        received_at_ms: int,
    ) -> Self:
        """The letter for a record that was refused with `error`; None is Kafka's null value."""
        raw = b"" if payload is None else payload
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            reason=error.reason,
            path=error.path,
            detail=error.detail,
            payload_b64=b64encode(raw[:PAYLOAD_CAP_BYTES]).decode("ascii"),
            payload_bytes=len(raw),
            received_at_ms=received_at_ms,
        )

    @property
    def key(self) -> bytes:
        """The Kafka key."""
        return f"{self.topic}:{self.partition}:{self.offset}".encode()

    @property
    def payload(self) -> bytes:
        """The bytes that were kept; all of them when `complete`."""
        return b64decode(self.payload_b64)

    @property
    def complete(self) -> bool:
        """Whether the letter holds the whole record, so that it can be driven again without the raw topic."""
        return self.payload_bytes <= PAYLOAD_CAP_BYTES


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(DeadLetter)


def encode_dead_letter(letter: DeadLetter) -> bytes:
    return _encoder.encode(letter)


def decode_dead_letter(payload: bytes | memoryview) -> DeadLetter:
    """The letter in `payload`; MessageError when it is not one."""
    try:
        letter = _decoder.decode(payload)
        b64decode(letter.payload_b64, validate=True)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"schemas/dead_letter: not a dead letter: {error}") from error
    return letter
