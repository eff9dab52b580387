"""A row becomes raw records: the mapping's rules compiled into functions once, then applied to every row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from deploy.replay.clock import Clock, clock, number_of
from deploy.replay.mapping import ENTITY, Input, RecordRule, SetMapping, TimeRule, Value, required_fields
from deploy.replay.places import Placer, placer
from deploy.replay.rows import Row, pathed
from deploy.replay.tally import Note, Skip, Tally, Unusable
from schemas.json_faults import shown
from schemas.raw import MAX_PAYLOAD_BYTES
from schemas.sources import Source

Getter = Callable[[Mapping[str, Any]], Any]
"""The value of a column, None when it is missing."""
MEASURED: Final = {Source.READINGS: "value"}
"""The field whose absence is a gap in the measurement, not a mistake in the row."""


class Record(NamedTuple):
    """One raw record, ready to send."""

    at_ms: int  # event time, also in the payload
    source: Source
    key: bytes
    payload: bytes


class Maker:
    """Makes the records of one input's rows."""

    def __init__(self, mapping: SetMapping, rule: Input, tables: Mapping[str, dict[str, tuple[str, str]]]) -> None:
        """`tables` are the positions of sensors, by the name of their file."""
        self._missing = frozenset(mapping.missing)
        self._dotted = rule.format != "csv"
        self.found: dict[str, bool] = {}
        """Whether a column has ever had a value: says which fields of a JSON set are gone."""
        self._skips = [(self.test(skip.when), f"{skip.why.zh} {skip.why.en}") for skip in rule.skip]
        self._clocks: dict[str, Clock] = {}
        self._rules = [_Compiled(self, mapping, rule, record, tables) for record in rule.records]

    def make(self, row: Row, place: str, tally: Tally) -> Iterator[Record]:
        """The records of a row; what it does not give is counted, `place` naming it."""
        values = row.values
        for test, why in self._skips:
            if test(values):
                tally.skip(place, Skip.NOT_A_RECORD, why)
                return
        matched = False
        for rule in self._rules:
            if not rule.test(values):
                continue
            matched = True
            try:
                record = rule.make(values, tally)
            except Unusable as unusable:
                tally.skip(place, unusable.skip, unusable.detail)
                continue
            tally.records += 1
            yield record
        if not matched:
            tally.skip(place, Skip.NO_RULE, "no rule of the mapping file speaks of such a row")

    def clock(self, rule: TimeRule) -> Clock:
        """One reader for all that is written alike, for it remembers what it has read."""
        key = rule.model_dump_json(exclude={"columns"})
        if key not in self._clocks:
            self._clocks[key] = clock(rule)
        return self._clocks[key]

    def getter(self, column: str) -> Getter:
        """Reads a column, None for the texts that stand for no value."""
        missing, found = self._missing, self.found
        found.setdefault(column, False)
        path = tuple(column.split(".")) if self._dotted else (column,)

        def get(values: Mapping[str, Any]) -> Any:
            value = values.get(column) if len(path) == 1 else pathed(values, path)
            if value is None:
                return None
            found[column] = True
            if isinstance(value, str) and value.strip() in missing:
                return None
            return value

        return get

    def test(self, when: Mapping[str, list[str]]) -> Callable[[Mapping[str, Any]], bool]:
        """Whether each of the columns has one of its texts."""
        tests = [(self.getter(column), frozenset(texts)) for column, texts in when.items()]
        return lambda values: all(_text(get(values)) in texts for get, texts in tests)


class _Compiled:
    """One record rule."""

    def __init__(
        self,
        maker: Maker,
        mapping: SetMapping,
        rule: Input,
        record: RecordRule,
        tables: Mapping[str, dict[str, tuple[str, str]]],
    ) -> None:
        time = rule.time_of(record)
        self.test = maker.test(record.when)
        self._source = record.source
        self._clock = maker.clock(time)
        self._time = [maker.getter(column) for column in time.columns]
        self._needed = frozenset(name for name in required_fields(self._source) if name != MEASURED.get(self._source))
        self._fields = [
            (name, _reader(maker, mapping, time, value)) for name, value in (record.fields | record.keep).items()
        ]
        self._place: Placer | None = None
        if record.place is not None:
            place = record.place
            table = None if place.table is None else tables[place.table.file]
            self._place = placer(place, table)
            self._lon = maker.getter(place.of or place.lon)
            self._lat: Getter = maker.getter(place.lat) if place.of is None else lambda _values: None
            self._datum = place.datum

    def make(self, values: Mapping[str, Any], tally: Tally) -> Record:
        """The record. Raises Unusable."""
        parts = [get(values) for get in self._time]
        if None in parts:
            raise Unusable(Skip.MISSING_FIELD, "the time is missing")
        at_ms, note = self._clock(" ".join(map(_text, parts)))
        out: dict[str, object] = {}
        notes = [] if note is None else [note]
        for name, read in self._fields:
            value = read(values, notes)
            if value is not None:
                out[name] = value
            elif name in self._needed:
                raise Unusable(Skip.MISSING_FIELD, f"{name} is missing")
            elif name == MEASURED.get(self._source):
                raise Unusable(Skip.MISSING_VALUE, f"{name} is missing")
        out["ts"] = at_ms
        if self._place is not None:
            found = self._place(self._lon(values), self._lat(values))
            if found.lon is not None and found.lat is not None:
                tally.bounds.add(found.lon, found.lat)
                out |= {"lon": found.lon, "lat": found.lat, "datum": self._datum}
            elif found.note is not None:
                notes.append(found.note)
                if found.why:
                    tally.not_here[found.why] += 1
        payload = msgspec.json.encode(out)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise Unusable(Skip.TOO_LARGE, f"{len(payload):,} bytes; a record has at most {MAX_PAYLOAD_BYTES:,}")
        for noted in notes:
            tally.notes[noted] += 1
        return Record(at_ms, self._source, str(out[ENTITY[self._source]]).encode(), payload)


FieldReader = Callable[[Mapping[str, Any], list[Note]], object]


def _reader(maker: Maker, mapping: SetMapping, time: TimeRule, value: Value) -> FieldReader:
    """Reads one field of a row; None when it is missing. Raises Unusable."""
    if value.constant is not None:
        constant = value.constant
        return lambda _values, _notes: constant
    if value.time is not None:
        return _time_reader(maker.getter(value.time), maker.clock(time), value.time)
    if value.numbers:
        return _numbers_reader(value.numbers, [maker.getter(name) for name in value.numbers])
    if value.columns:
        get = _joined([maker.getter(name) for name in value.columns], value.by)
    else:
        assert value.column is not None  # the mapping has been checked
        get = maker.getter(value.column)
    what = value.column or "+".join(value.columns)
    table = None
    if value.table is not None:
        groups = mapping.tables[value.table]
        table = {text: meaning for meaning, texts in groups.items() for text in texts}
    return _plain_reader(get, what, value, table)


def _plain_reader(get: Getter, what: str, value: Value, table: dict[str, str] | None) -> FieldReader:
    is_number = value.as_ in ("number", "integer") or value.times != 1.0
    otherwise = None if value.otherwise is None else str(value.otherwise)

    def read(values: Mapping[str, Any], notes: list[Note]) -> object:
        found = get(values)
        if found is None or value.as_ == "same":
            return found
        if table is not None:
            meant = table.get(_text(found).strip(), otherwise)
            if meant is None:
                raise Unusable(Skip.NOT_IN_TABLE, f"{what}: {shown(found)} is not in table {value.table}")
            if _text(found).strip() not in table:
                notes.append(Note.OTHERWISE)
            found = meant
        if not is_number:
            return _text(found).strip()
        number = _number(found, what) * value.times
        if not math.isfinite(number):
            raise Unusable(Skip.BAD_NUMBER, f"{what}: {shown(found)} is too large")
        if value.as_ == "integer":
            if number != math.floor(number):
                raise Unusable(Skip.BAD_NUMBER, f"{what}: expected a whole number, got {shown(found)}")
            return int(number)
        return number if value.decimals is None else round(number, value.decimals)

    return read


def _time_reader(get: Getter, tell: Clock, what: str) -> FieldReader:
    def read(values: Mapping[str, Any], _notes: list[Note]) -> object:
        found = get(values)
        if found is None:
            return None
        try:
            return tell(_text(found))[0]
        except Unusable as unusable:
            raise Unusable(unusable.skip, f"{what}: {unusable.detail}") from None

    return read


def _numbers_reader(names: list[str], getters: list[Getter]) -> FieldReader:
    def read(values: Mapping[str, Any], _notes: list[Note]) -> object:
        found = [get(values) for get in getters]
        if None in found:
            return None
        return [_number(value, name) for value, name in zip(found, names, strict=True)]

    return read


def _joined(getters: list[Getter], by: str) -> Getter:
    def get(values: Mapping[str, Any]) -> Any:
        texts = [_text(found).strip() for one in getters if (found := one(values)) is not None]
        return by.join(texts) or None

    return get


def _number(value: Any, what: str) -> float:
    number = None
    if isinstance(value, str):
        number = number_of(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < 1e300 else None
    if number is None:
        raise Unusable(Skip.BAD_NUMBER, f"{what}: expected a number, got {shown(value)}")
    return number


def _text(value: Any) -> str:
    """A value as text: that of CSV as it is, numbers of JSON as JSON writes them."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()
