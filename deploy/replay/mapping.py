"""The form of a mapping file: how the rows of a recorded data set become raw records. Data only, nothing is evaluated.

`deploy/replay/sets/` holds one file per set that ships; a user's own has the same form. `mapping_file.py` reads them.
A place where a value is wanted takes the name of a column (in JSON a path with dots), or a mapping as `Value` has it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.camera_event import CameraEvent
from schemas.datums import DATUM_NAMES
from schemas.reading import Reading
from schemas.sources import Source
from schemas.ticket import Ticket

RULES: Final = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
RECORDS: Final[dict[Source, type[msgspec.Struct]]] = {
    Source.READINGS: Reading,
    Source.CAMERA_EVENTS: CameraEvent,
    Source.TICKETS: Ticket,
}
PLACE_FIELDS: Final = frozenset({"lon", "lat", "datum"})
"""Fields of a record that its `place` says, and `ts`, which its `time` says: not to be given among `fields`."""
ENTITY: Final = {Source.READINGS: "device_id", Source.CAMERA_EVENTS: "camera_id", Source.TICKETS: "ticket_id"}
"""The field that names who or what the record is about; it is also the record's key in Kafka."""


def required_fields(source: Source) -> tuple[str, ...]:
    """The fields that a record of this source cannot be without, `ts` aside."""
    return tuple(
        field.name for field in msgspec.structs.fields(RECORDS[source]) if field.required and field.name != "ts"
    )


Name = Annotated[str, Field(min_length=1, max_length=256)]
FileName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^/\\]+$")]
Names = Annotated[list[Name], Field(min_length=1)]
Scalar = str | int | float | bool


class Part(BaseModel):
    """Any part of a mapping file."""

    model_config = RULES


class Words(Part):
    """The same in both languages."""

    zh: Name
    en: Name


class Value(Part):
    """One value of a record: where it comes from, and what is done to it, in the order of these lines."""

    column: Name | None = None
    columns: list[Name] = []
    """Several columns as one text; empty ones are left out."""
    by: str = " "
    """What stands between them."""
    numbers: list[Name] = []
    """Several columns as a list of numbers."""
    constant: Scalar | None = None
    time: Name | None = None
    """A column that holds a time of the form of the record's `time`; becomes epoch milliseconds."""
    table: Name | None = None
    """A table of this file: the text is replaced by what it stands for."""
    otherwise: Scalar | None = None
    """What a text stands for that is not in the table; without this such a row cannot be used."""
    as_: Literal["text", "number", "integer", "same"] = Field(default="text", alias="as")
    """`same` keeps a JSON value as it is."""
    times: float = 1.0
    """A factor, to convert units: `as: number` is implied."""
    decimals: Annotated[int, Field(ge=0, le=12)] | None = None
    """Round a number to so many places."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_column_for_short(cls, data: Any) -> Any:
        return {"column": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        given = [
            name
            for name, there in (
                ("column", self.column is not None),
                ("columns", bool(self.columns)),
                ("numbers", bool(self.numbers)),
                ("constant", self.constant is not None),
                ("time", self.time is not None),
            )
            if there
        ]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of column, columns, numbers, constant, time; got {' and '.join(given) or 'none'}"
            )
        if self.otherwise is not None and self.table is None:
            raise ValueError("otherwise belongs to a table; there is none")
        if self.table is not None and given[0] not in ("column", "columns"):
            raise ValueError(f"a table needs column or columns; got {given[0]}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it needs."""
        return tuple(name for name in (self.column, self.time, *self.columns, *self.numbers) if name is not None)


class TimeRule(Part):
    """How event times are written."""

    columns: Names
    """With a blank between them when there are several."""
    form: Literal["local", "rfc3339", "epoch_s", "epoch_ms", "frames"]
    """`local`: as `format` says, in `zone`; of an hour that clocks repeat the first is meant, one that they skip is
    read with the offset before the jump: both are counted. `frames`: a counter, `per_second` from `start` on."""
    format: Name | None = None
    """In the words of strptime."""
    zone: Name | None = None
    until: Name | None = None
    """Only the text before this mark counts."""
    per_second: Annotated[float, Field(gt=0, le=10_000)] | None = None
    start: Name | None = None
    """RFC 3339, with a zone."""

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str | None) -> str | None:
        try:
            return None if zone is None else ZoneInfo(zone).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("not a time zone; write a name such as America/New_York") from None

    @field_validator("start")
    @classmethod
    def _is_a_moment(cls, start: str | None) -> str | None:
        if start is None:
            return None
        try:
            moment = datetime.fromisoformat(start)
        except ValueError:
            raise ValueError("expected RFC 3339 such as 2018-01-01T00:00:00Z") from None
        if moment.tzinfo is None:
            raise ValueError("expected a zone at the end, such as Z")
        return start

    @model_validator(mode="after")
    def _has_what_its_form_needs(self) -> Self:
        needs = {"local": ("format", "zone"), "frames": ("per_second", "start")}.get(self.form, ())
        for name in ("format", "zone", "per_second", "start"):
            there = getattr(self, name) is not None
            if there and name not in needs:
                raise ValueError(f"{name} means nothing for form {self.form}")
            if not there and name in needs:
                raise ValueError(f"form {self.form} needs {name}")
        return self


class NotHere(Part):
    """A point that stands for "unknown": records there are sent without a position."""

    lon: Annotated[float, Field(ge=-180, le=180)]
    lat: Annotated[float, Field(ge=-90, le=90)]
    within_deg: Annotated[float, Field(gt=0, le=1)] = 1e-6
    """How far off it may be, each way; rounding, not distance, is meant."""
    why: Words


class SensorTable(Part):
    """A file that holds the positions, one row each."""

    file: FileName
    key: Name
    """Its column that names the sensor."""


class PlaceRule(Part):
    """Where a record's position comes from. A record without one is sent without: the platform has its own ways."""

    lon: Name
    lat: Name
    datum: Name
    of: Name | None = None
    """With `table`: the row's column that names the sensor."""
    table: SensorTable | None = None
    """`lon` and `lat` are columns of this file, else of the row."""
    not_here: list[NotHere] = []

    @field_validator("datum")
    @classmethod
    def _is_a_datum(cls, datum: str) -> str:
        if datum.upper() not in DATUM_NAMES:
            raise ValueError("choose WGS-84, CGCS2000, GCJ-02 or BD-09")
        return datum

    @model_validator(mode="after")
    def _has_both_or_none(self) -> Self:
        if (self.of is None) != (self.table is None):
            raise ValueError("of and table belong together")
        return self


class RecordRule(Part):
    """One record that a row gives."""

    topic: Literal["readings", "camera-events", "tickets"]
    when: dict[Name, list[str]] = {}
    """Only rows where each of these columns has one of these texts."""
    time: TimeRule | None = None
    """Where it differs from the input's."""
    fields: dict[Name, Value]
    """The record's fields as schemas/ has them, but for ts, lon, lat and datum."""
    keep: dict[Name, Value] = {}
    """Fields of the set's own, kept with the record."""
    place: PlaceRule | None = None

    @property
    def source(self) -> Source:
        return Source.of_topic(self.topic)

    @model_validator(mode="after")
    def _has_the_fields_of_its_topic(self) -> Self:
        record = RECORDS[self.source]
        known = {field.name: field for field in msgspec.structs.fields(record)}
        problems = []
        for name in self.fields:
            if name == "ts" or name in PLACE_FIELDS:
                problems.append(f"fields.{name}: said by time and place, not here")
            elif name not in known:
                problems.append(
                    f"fields.{name}: a record of {self.topic} has no such field; one of the set's own goes under keep"
                )
        problems += [
            f"keep.{name}: is a field of {self.topic}; it goes under fields" for name in self.keep if name in known
        ]
        missing = [name for name in required_fields(self.source) if name not in self.fields]
        if missing:
            problems.append(f"fields: missing {', '.join(missing)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a row that it needs, its time's aside."""
        values = [name for value in (*self.fields.values(), *self.keep.values()) for name in value.names]
        place = [] if self.place is None else [self.place.of] if self.place.of else [self.place.lon, self.place.lat]
        return tuple(dict.fromkeys([*self.when, *values, *(name for name in place if name)]))


class SkipRule(Part):
    """Rows that are no records, and why."""

    when: Annotated[dict[Name, list[str]], Field(min_length=1)]
    why: Words


class Wide(Part):
    """A table with one column per sensor: each cell becomes a row of its own."""

    keep: list[Name]
    """The columns that are no sensors; every cell's row has them."""
    name: Name
    """What the row calls the column's heading."""
    value: Name
    """What the row calls the cell."""


class Input(Part):
    """Files of one form."""

    files: Annotated[list[FileName], Field(min_length=1)]
    """Patterns such as counts_*.csv.gz; .gz is unpacked. At least one file must be there."""
    format: Literal["csv", "jsonl", "json"]
    """`json`: a file is one object or one list of them."""
    each: list[Name] = []
    """JSON: fields that hold lists; each element, in the place of its list, makes a row of its own."""
    wide: Wide | None = None
    time: TimeRule | None = None
    skip: list[SkipRule] = []
    records: Annotated[list[RecordRule], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.wide is not None and self.format != "csv":
            raise ValueError(f"wide belongs to csv, this is {self.format}")
        if self.each and self.format == "csv":
            raise ValueError("each belongs to json and jsonl, this is csv")
        for number, record in enumerate(self.records):
            if record.time is None and self.time is None:
                raise ValueError(f"records[{number}]: has no time, and the input has none either")
        return self

    def time_of(self, record: RecordRule) -> TimeRule:
        found = record.time or self.time
        assert found is not None  # checked above
        return found


class Box(Part):
    """The ground the set covers, degrees in WGS-84: what a city for it must hold."""

    west: float
    south: float
    east: float
    north: float


class SetMapping(Part):
    """A whole mapping file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    title: Words
    origin: Name
    licence: Name
    traps: list[Words] = []
    """What is odd about the set, and what this file does about it."""
    city: Box | None = None
    """Absent: the set has no positions."""
    missing: list[str] = [""]
    """Texts that stand for "no value"."""
    order: Literal["time", "recorded"] = "time"
    """`recorded`: the order of a file is part of the recording, out of order or not, and is kept."""
    tables: dict[Name, dict[str, list[str]]] = {}
    """What texts stand for: for each meaning, its texts."""
    shipped: list[FileName] = []
    """Files of the extract that comes with Tongguan, in deploy/replay/data."""
    inputs: Annotated[list[Input], Field(min_length=1)]

    @field_validator("tables")
    @classmethod
    def _says_each_text_once(cls, tables: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
        problems = []
        for name, table in tables.items():
            seen: dict[str, str] = {}
            for meaning, texts in table.items():
                for text in texts:
                    if seen.setdefault(text, meaning) != meaning:
                        problems.append(f"{name}: {text!r} stands for {seen[text]!r} and for {meaning!r}")
        if problems:
            raise ValueError("; ".join(problems))
        return tables

    @model_validator(mode="after")
    def _knows_its_tables(self) -> Self:
        used = {
            value.table
            for input_ in self.inputs
            for record in input_.records
            for value in (*record.fields.values(), *record.keep.values())
            if value.table is not None
        }
        if unknown := sorted(used - self.tables.keys()):
            raise ValueError(f"unknown table {', '.join(unknown)}; tables has {', '.join(self.tables) or 'none'}")
        return self
