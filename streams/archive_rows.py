"""What the archive writes: Arrow tables for ClickHouse out of observation batches, alerts and dead letters. Pure.

Column names and types are those of schemas/clickhouse/*.sql. No row of a batch becomes a Python object, but for those
whose extra fields must be taken apart: tickets, and records that carry something personal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.alert import Alert
from schemas.dead_letter import DeadLetter
from schemas.observation import OBSERVATION
from schemas.privacy import all_personal_fields, mask_field
from schemas.raw import MAX_EVENT_MS, MIN_EVENT_MS
from schemas.sources import Source
from streams.archive_order import in_table_order

_INSTANT: Final = pa.timestamp("ms", tz="UTC")

# Fields of a ticket that `tickets` has columns for; text and address are personal, and v_tickets shows them masked.
TICKET_FIELDS: Final = ("text", "address", "urgency", "channel", "parent_ticket_id")
# Those that are made here, of which no value but these is one.
MADE_FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "place_confidence": lambda value: type(value) in (int, float) and 0 <= value <= 1,
    "due_ms": lambda value: type(value) is int and MIN_EVENT_MS <= value < MAX_EVENT_MS,
}

TICKETS: Final = pa.schema(
    [
        ("event_at", _INSTANT),
        ("received_at", _INSTANT),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("ticket_id", pa.utf8()),
        ("category", pa.dictionary(pa.int32(), pa.utf8())),
        ("urgency", pa.utf8()),
        ("text", pa.utf8()),
        ("address", pa.utf8()),
        ("text_masked", pa.utf8()),
        ("address_masked", pa.utf8()),
        ("channel", pa.utf8()),
        ("parent_ticket_id", pa.utf8()),
        ("cell", pa.int64()),
        ("lon_e7", pa.int32()),
        ("lat_e7", pa.int32()),
        ("flags", pa.uint16()),
        ("jurisdiction", pa.dictionary(pa.int32(), pa.utf8())),
        ("place_confidence", pa.float32()),
        ("due_at", _INSTANT),
    ]
)
PERSONAL: Final = pa.schema(
    [
        ("event_at", _INSTANT),
        ("topic", pa.utf8()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("field", pa.utf8()),
        ("value", pa.utf8()),
    ]
)
ALERTS: Final = pa.schema(
    [
        ("alert_id", pa.utf8()),
        ("revision", pa.int32()),
        ("action", pa.utf8()),
        ("detector", pa.utf8()),
        ("detector_version", pa.int32()),
        ("category", pa.utf8()),
        ("cell", pa.int64()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("onset_at", _INSTANT),
        ("window_start_at", _INSTANT),
        ("window_end_at", _INSTANT),
        ("severity", pa.uint8()),
        ("confidence", pa.float64()),
        ("reason", pa.utf8()),
        ("values", pa.map_(pa.utf8(), pa.float64())),
        ("thresholds", pa.map_(pa.utf8(), pa.float64())),
        ("evidence", pa.list_(pa.utf8())),
        ("sentence_zh", pa.utf8()),
        ("sentence_en", pa.utf8()),
        ("jurisdiction", pa.utf8()),
        ("unit", pa.utf8()),
        ("place_zh", pa.utf8()),
        ("place_en", pa.utf8()),
    ]
)
DEAD_LETTERS: Final = pa.schema(
    [
        ("topic", pa.utf8()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("reason", pa.utf8()),
        ("path", pa.utf8()),
        ("detail", pa.utf8()),
        ("payload_b64", pa.utf8()),
        ("payload_bytes", pa.int64()),
        ("received_at", _INSTANT),
    ]
)

_PERSONAL_NAMES: Final = frozenset(all_personal_fields())
# Extra is compact JSON that escapes no plain letter, so a field's name stands there as it is. What else the pattern
# finds (a text that quotes a name) only costs the time to look.
_PERSONAL_PATTERN: Final = '"(' + "|".join(sorted(map(re.escape, _PERSONAL_NAMES))) + ')":'


class Separated(NamedTuple):
    """Observations and what was taken out of them."""

    observations: pa.Table
    tickets: pa.Table
    personal_fields: pa.Table


def observation_rows(batches: Sequence[pa.RecordBatch]) -> Separated:
    """Observation batches as rows of `observations`, `tickets` and `personal_fields`.

    Personal fields leave `extra` for personal_fields, ticket fields leave it for tickets; the rest stays. Tickets and
    personal fields are in the order of the batches, observations in that of their table (streams/archive_order.py), so
    equal batches give equal tables.
    """
    table = pa.Table.from_batches(batches, schema=OBSERVATION).combine_chunks()
    if not table.num_rows:
        return Separated(table, TICKETS.empty_table(), PERSONAL.empty_table())
    separated = _separated(table)
    return separated._replace(observations=in_table_order(_without_nulls(separated.observations)))


def _without_nulls(table: pa.Table) -> pa.Table:
    """Columns that are null in every row are left out: ClickHouse fills them, which is cheaper than to move them."""
    return table.select(
        [
            name
            for name, column in zip(table.column_names, table.columns, strict=True)
            if column.null_count < len(column)
        ]
    )


def _separated(table: pa.Table) -> Separated:
    extra = table["extra"].combine_chunks()
    is_ticket = _is_source(table, Source.TICKETS)
    touched = is_ticket
    if extra.null_count < len(extra):
        others = np.flatnonzero(extra.is_valid().to_numpy(zero_copy_only=False) & ~is_ticket)
        if len(others):
            hit = pc.match_substring_regex(extra.take(pa.array(others)), _PERSONAL_PATTERN)
            touched = is_ticket.copy()
            touched[others] = hit.to_numpy(zero_copy_only=False)
    at = np.flatnonzero(touched)
    if not len(at):
        return Separated(table, TICKETS.empty_table(), PERSONAL.empty_table())
    opened = _open_extra(table, extra, at, is_ticket[at])
    rest = pc.replace_with_mask(extra, pa.array(touched), pa.array(opened.rest, pa.utf8()))
    observations = table.set_column(table.schema.get_field_index("extra"), OBSERVATION.field("extra"), rest)
    return Separated(observations, opened.tickets, opened.personal_fields)


def alert_rows(alerts: Sequence[Alert]) -> pa.Table:
    """Rows of `alerts`."""
    rows = [msgspec.structs.asdict(alert) for alert in alerts]
    columns = [pa.array([_alert_value(row, field.name) for row in rows], field.type) for field in ALERTS]
    return pa.Table.from_arrays(columns, schema=ALERTS)


def dead_letter_rows(letters: Sequence[DeadLetter]) -> pa.Table:
    """Rows of `dead_letters`."""
    columns = [
        pa.array([_letter_value(letter, field.name) for letter in letters], field.type) for field in DEAD_LETTERS
    ]
    return pa.Table.from_arrays(columns, schema=DEAD_LETTERS)


class _Opened(NamedTuple):
    rest: list[str | None]  # what stays of extra, for each touched row
    tickets: pa.Table
    personal_fields: pa.Table


def _open_extra(
    table: pa.Table, extra: pa.Array, at: npt.NDArray[np.int64], is_ticket: npt.NDArray[np.bool_]
) -> _Opened:
    """Takes apart the extra fields of the rows `at`."""
    rest: list[str | None] = []
    words: dict[str, list[str | None]] = {name: [] for name in (*TICKET_FIELDS, "text_masked", "address_masked")}
    made: dict[str, list[Any]] = {name: [] for name in MADE_FIELDS}
    owners: list[int] = []
    names: list[str] = []
    values: list[str] = []
    for row, ticket, raw in zip(at.tolist(), is_ticket.tolist(), extra.take(pa.array(at)).to_pylist(), strict=True):
        fields: dict[str, Any] = msgspec.json.decode(raw) if raw else {}
        if ticket:
            text, address, caller = fields.pop("text", None), fields.pop("address", None), fields.get("caller_name")
            words["text"].append(_as_text(text))
            words["text_masked"].append(_as_text(mask_field("text", text, caller)))
            words["address"].append(_as_text(address))
            words["address_masked"].append(_as_text(mask_field("address", address, caller)))
            words["urgency"].append(_as_text(fields.pop("urgency", None)) or "normal")
            words["channel"].append(_as_text(fields.pop("channel", None)))
            words["parent_ticket_id"].append(_as_text(fields.pop("parent_ticket_id", None)))
            for name, fits in MADE_FIELDS.items():  # frames of version 1 may hold anything a producer called so
                made[name].append(fields.pop(name) if name in fields and fits(fields[name]) else None)
        for name in _PERSONAL_NAMES & fields.keys():
            value = fields.pop(name)
            if value is not None:
                owners.append(row)
                names.append(name)
                values.append(_as_text(value) or "")
        rest.append(msgspec.json.encode(fields).decode() if fields else None)
    return _Opened(rest, _ticket_rows(table, at[is_ticket], words, made), _personal_rows(table, owners, names, values))


def _ticket_rows(
    table: pa.Table, at: npt.NDArray[np.int64], words: dict[str, list[str | None]], made: dict[str, list[Any]]
) -> pa.Table:
    rows = table.take(pa.array(at))
    rows = rows.rename_columns({"entity": "ticket_id", "kind": "category"})
    given: dict[str, list[Any]] = {
        **words,
        **{name: [text or "" for text in words[name]] for name in ("text", "text_masked")},
        "place_confidence": made["place_confidence"],
        "due_at": made["due_ms"],
    }
    columns = [
        pa.array(given[field.name], field.type) if field.name in given else rows[field.name] for field in TICKETS
    ]
    return pa.Table.from_arrays(columns, schema=TICKETS)


def _personal_rows(table: pa.Table, owners: list[int], names: list[str], values: list[str]) -> pa.Table:
    rows = table.select(["event_at", "source", "partition", "offset"]).take(pa.array(owners, pa.int64()))
    columns = {
        "event_at": rows["event_at"],
        "topic": rows["source"].cast(pa.utf8()),
        "partition": rows["partition"],
        "offset": rows["offset"],
        "field": pa.array(names, pa.utf8()),
        "value": pa.array(values, pa.utf8()),
    }
    return pa.Table.from_arrays([columns[field.name] for field in PERSONAL], schema=PERSONAL)


def _is_source(table: pa.Table, source: Source) -> npt.NDArray[np.bool_]:
    column = table["source"].combine_chunks()
    names = column.dictionary.to_pylist()
    if source.topic not in names:
        return np.zeros(len(column), dtype=np.bool_)
    same: npt.NDArray[np.bool_] = column.indices.to_numpy(zero_copy_only=False) == names.index(source.topic)
    return same


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _alert_value(row: dict[str, Any], name: str) -> Any:
    """The message says `onset_ms`, the table `onset_at`; a map goes to Arrow as pairs."""
    value = row[name] if name in row else row[name.removesuffix("_at") + "_ms"]
    return list(value.items()) if isinstance(value, dict) else value


def _letter_value(letter: DeadLetter, name: str) -> Any:
    return letter.received_at_ms if name == "received_at" else getattr(letter, name)
