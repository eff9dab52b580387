"""The three kinds of raw record, one Kafka topic each."""

from __future__ import annotations

from enum import IntEnum


class Source(IntEnum):
    """Where a raw record came from. The numbers are part of the frame header: never renumber, only append."""

    READINGS = 0
    CAMERA_EVENTS = 1
    TICKETS = 2

    @property
    def topic(self) -> str:
        """The default topic name; also the value of an observation's `source` column."""
        return TOPICS[self]

    @property
    def title_zh(self) -> str:
        return _TITLES_ZH[self]

    @classmethod
    def of_topic(cls, topic: str) -> Source:
        """The source whose default topic name is `topic`; KeyError when there is none."""
        return _BY_TOPIC[topic]


TOPICS: tuple[str, ...] = ("readings", "camera-events", "tickets")
_TITLES_ZH = ("传感器读数", "摄像头事件", "热线工单")
_BY_TOPIC = {topic: Source(number) for number, topic in enumerate(TOPICS)}
