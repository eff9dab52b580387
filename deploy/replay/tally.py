"""What became of the rows of a data set: counted by reason, with the first places to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

PLACES_PER_REASON: Final = 5
"""How many rows of one kind are named; the others are counted."""


class Skip(StrEnum):
    """Why a row gives no record."""

    MISSING_VALUE = "missing_value"
    """There was no measurement: an expected gap, kept as one."""
    NOT_A_RECORD = "not_a_record"
    """The mapping file says so, and why."""
    BAD_ROW = "bad_row"
    """Not the file's form: another number of fields, no JSON object."""
    MISSING_FIELD = "missing_field"
    BAD_NUMBER = "bad_number"
    BAD_TIME = "bad_time"
    NOT_IN_TABLE = "not_in_table"
    NO_RULE = "no_rule"
    """No rule of the mapping file speaks of such a row."""
    TOO_LARGE = "too_large"


SKIPS_ZH: Final = {
    Skip.MISSING_VALUE: "无测量值",
    Skip.NOT_A_RECORD: "并非记录",
    Skip.BAD_ROW: "行格式不符",
    Skip.MISSING_FIELD: "缺少字段",
    Skip.BAD_NUMBER: "数值有误",
    Skip.BAD_TIME: "时间有误",
    Skip.NOT_IN_TABLE: "不在对照表中",
    Skip.NO_RULE: "没有对应规则",
    Skip.TOO_LARGE: "记录过大",
}


class Note(StrEnum):
    """What was odd about a row that gave a record all the same."""

    REPEATED_HOUR = "repeated_hour"
    SKIPPED_HOUR = "skipped_hour"
    NO_POSITION = "no_position"
    BAD_POSITION = "bad_position"
    NOT_HERE = "position_left_out"
    OTHERWISE = "not_in_table_but_has_an_otherwise"
    EARLIER = "earlier_than_the_record_before"


NOTES: Final = {
    Note.REPEATED_HOUR: ("处于拨回时钟的重复小时，按第一次计", "in the hour that clocks repeat: the first is meant"),
    Note.SKIPPED_HOUR: (
        "处于时钟跳过的小时，按跳前时差计",
        "in the hour that clocks skip: read with the offset before",
    ),
    Note.NO_POSITION: ("没有坐标", "no position given"),
    Note.BAD_POSITION: ("坐标有误，未采用", "position is no point on earth: left out"),
    Note.NOT_HERE: ("占位坐标，未采用", "a point that stands for unknown: left out"),
    Note.OTHERWISE: ("类别不在对照表，归入其他", "not in the table of kinds: taken as other"),
    Note.EARLIER: ("早于前一条记录（乱序）", "earlier than the record before it"),
}


class Unusable(Exception):
    """A row that gives no record."""

    def __init__(self, skip: Skip, detail: str) -> None:
        self.skip = skip
        self.detail = detail
        super().__init__(detail)


@dataclass(slots=True)
class Bounds:
    """The box around the positions, degrees; how many they are."""

    count: int = 0
    west: float = 180.0
    south: float = 90.0
    east: float = -180.0
    north: float = -90.0

    def add(self, lon: float, lat: float) -> None:
        self.count += 1
        self.west, self.east = min(self.west, lon), max(self.east, lon)
        self.south, self.north = min(self.south, lat), max(self.north, lat)


@dataclass(slots=True)
class Tally:
    """Counts over one reading of a data set."""

    rows: int = 0
    records: int = 0
    skipped: Counter[Skip] = field(default_factory=Counter)
    not_records: Counter[str] = field(default_factory=Counter)  # NOT_A_RECORD by the mapping file's words
    notes: Counter[Note] = field(default_factory=Counter)
    not_here: Counter[str] = field(default_factory=Counter)  # NOT_HERE by the mapping file's words
    bounds: Bounds = field(default_factory=Bounds)
    places: list[str] = field(default_factory=list)  # "file:line: reason: detail", the first of each reason

    def skip(self, place: str, reason: Skip, detail: str) -> None:
        """Count a row without record; rows that are wrong, not merely empty, are also named."""
        self.skipped[reason] += 1
        if reason is Skip.NOT_A_RECORD:
            self.not_records[detail] += 1
        elif reason is not Skip.MISSING_VALUE and self.skipped[reason] <= PLACES_PER_REASON:
            self.places.append(f"{place}: {reason.value}: {detail}")

    @property
    def unusable(self) -> int:
        """Rows that should have given a record and did not."""
        expected = (Skip.MISSING_VALUE, Skip.NOT_A_RECORD)
        return sum(count for reason, count in self.skipped.items() if reason not in expected)
