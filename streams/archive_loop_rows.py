"""What the archive writes of the loop: Arrow tables out of changes of incidents, notifications and actions. Pure.

Column names and types are those of schemas/clickhouse/0008_incidents.sql: a message's fields, times as instants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from schemas.action import ActionRecord
from schemas.errors import BadRecord
from schemas.event_time import event_time_ms
from schemas.incident import IncidentChange
from schemas.notification import Notification
from schemas.privacy import mask_text

_INSTANT: Final = pa.timestamp("ms", tz="UTC")
_WORDS: Final = pa.list_(pa.utf8())

_TICKET: Final = pa.struct(
    [
        ("ticket_id", pa.utf8()),
        ("category", pa.utf8()),
        ("event_at", _INSTANT),
        ("due_at", _INSTANT),
        ("done_at", _INSTANT),
        ("on_time", pa.bool_()),
    ]
)
_WHISTLE: Final = pa.struct(
    [
        ("department", pa.utf8()),
        ("called_at", _INSTANT),
        ("due_at", _INSTANT),
        ("responded_at", _INSTANT),
        ("overdue", pa.bool_()),
    ]
)
INCIDENTS: Final = pa.schema(
    [
        ("incident_id", pa.utf8()),
        ("revision", pa.int32()),
        ("state", pa.utf8()),
        ("previous_state", pa.utf8()),
        ("action", pa.utf8()),
        ("actor", pa.utf8()),
        ("role", pa.utf8()),
        ("department", pa.utf8()),
        ("at", _INSTANT),
        ("reason", pa.utf8()),
        ("result", pa.utf8()),
        ("type", pa.utf8()),
        ("category", pa.utf8()),
        ("index_category", pa.utf8()),
        ("severity", pa.uint8()),
        ("cell", pa.int64()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("jurisdiction", pa.utf8()),
        ("district", pa.utf8()),
        ("unit", pa.utf8()),
        ("place_zh", pa.utf8()),
        ("place_en", pa.utf8()),
        ("opened_at", _INSTANT),
        ("lead", pa.utf8()),
        ("lead_level", pa.uint8()),
        ("assisting", _WORDS),
        ("alert_ids", _WORDS),
        ("standing_alerts", _WORDS),
        ("ticket_ids", _WORDS),
        ("tickets", pa.list_(_TICKET)),
        ("accept_due_at", _INSTANT),
        ("handle_due_at", _INSTANT),
        ("verify_due_at", _INSTANT),
        ("accept_overdue", pa.bool_()),
        ("handle_overdue", pa.bool_()),
        ("verify_overdue", pa.bool_()),
        ("escalated_to", pa.utf8()),
        ("escalated_level", pa.uint8()),
        ("whistles", pa.list_(_WHISTLE)),
        ("hand_overs", pa.int32()),
        ("reopenings", pa.int32()),
        ("reminders", pa.int32()),
        ("handled_by", pa.utf8()),
        ("handled_at", _INSTANT),
        ("verified_by", pa.utf8()),
        ("suspended_until_at", _INSTANT),
        ("merged_into", pa.utf8()),
        ("action_id", pa.utf8()),
        ("cause", pa.utf8()),
        ("sentence_zh", pa.utf8()),
        ("sentence_en", pa.utf8()),
        ("previous_hash", pa.utf8()),
        ("hash", pa.utf8()),
        ("payload", pa.utf8()),
    ]
)
NOTIFICATIONS: Final = pa.schema(
    [
        ("notification_id", pa.utf8()),
        ("kind", pa.utf8()),
        ("to", pa.utf8()),
        ("to_actor", pa.bool_()),
        ("incident_id", pa.utf8()),
        ("revision", pa.int32()),
        ("at", _INSTANT),
        ("action_id", pa.utf8()),
        ("refusal", pa.utf8()),
        ("legal", _WORDS),
        ("cause", pa.utf8()),
        ("sentence_zh", pa.utf8()),
        ("sentence_en", pa.utf8()),
    ]
)
ACTIONS: Final = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("received_at", _INSTANT),
        ("cause", pa.utf8()),
        ("acted_at", _INSTANT),
        ("action_id", pa.utf8()),
        ("action", pa.utf8()),
        ("actor", pa.utf8()),
        ("role", pa.utf8()),
        ("incident_id", pa.utf8()),
        ("ticket_id", pa.utf8()),
        ("department", pa.utf8()),
        ("reason", pa.utf8()),
        ("result", pa.utf8()),
        ("expected_revision", pa.int64()),
        ("to_department", pa.utf8()),
        ("departments", _WORDS),
        ("into_incident_id", pa.utf8()),
        ("until_at", _INSTANT),
        ("category", pa.utf8()),
        ("severity", pa.uint8()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
    ]
)
PERSONAL_OF_ACTIONS: Final = ("reason", "result")
"""Fields of an action that hold words of people: masked in `actions`, as they were given in `personal_fields`."""


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A change of an incident, and the bytes that its hash was taken over."""

    change: IncidentChange
    payload: str


@dataclass(frozen=True, slots=True)
class StoredAction:
    """An action and its place on the topic."""

    action: ActionRecord
    topic: str
    partition: int
    offset: int
    received_at_ms: int


R = TypeVar("R")


def incident_rows(changes: Sequence[StoredChange]) -> pa.Table:
    """Rows of `incidents`."""
    return _table(INCIDENTS, changes, lambda stored: {**_instants(stored.change), "payload": stored.payload})


def notification_rows(notifications: Sequence[Notification]) -> pa.Table:
    """Rows of `notifications`."""
    return _table(NOTIFICATIONS, notifications, _instants)


def action_rows(actions: Sequence[StoredAction], zone: ZoneInfo) -> pa.Table:
    """Rows of `actions`; `zone` is for times that are written without one."""

    def row(stored: StoredAction) -> dict[str, Any]:
        fields = msgspec.structs.asdict(stored.action)
        masked = {name: mask_text(fields[name]) for name in PERSONAL_OF_ACTIONS if fields[name] is not None}
        return {
            **fields,
            **masked,
            "partition": stored.partition,
            "offset": stored.offset,
            "received_at": stored.received_at_ms,
            "cause": f"{stored.topic}:{stored.partition}:{stored.offset}",
            "acted_at": _moment_ms(stored.action.ts, zone),
            "until_at": _moment_ms(stored.action.until_ts, zone),
        }

    return _table(ACTIONS, actions, row)


def personal_rows(actions: Sequence[StoredAction], schema: pa.Schema) -> pa.Table:
    """Rows of `personal_fields`: what people wrote into actions."""
    rows = [
        {
            "event_at": stored.received_at_ms,
            "topic": stored.topic,
            "partition": stored.partition,
            "offset": stored.offset,
            "field": name,
            "value": value,
        }
        for stored in actions
        for name in PERSONAL_OF_ACTIONS
        if (value := getattr(stored.action, name)) is not None
    ]
    return _table(schema, rows, dict)


def _table(schema: pa.Schema, records: Sequence[R], row_of: Callable[[R], Mapping[str, Any]]) -> pa.Table:
    rows = [row_of(record) for record in records]
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _instants(message: msgspec.Struct) -> dict[str, Any]:
    """The fields of a message under the names of columns: `opened_ms` and `event_at_ms` are `_at`, `at_ms` is `at`."""
    return {_column(name): _value(value) for name, value in msgspec.structs.asdict(message).items()}


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_instants(item) if isinstance(item, msgspec.Struct) else item for item in value]
    return value


def _column(field: str) -> str:
    if field == "at_ms" or not field.endswith("_ms"):
        return field.removesuffix("_ms")
    return field.removesuffix("_ms").removesuffix("_at") + "_at"


def _moment_ms(ts: int | str | None, zone: ZoneInfo) -> int | None:
    """None also for what cannot be read: the loop has refused such an action and said why."""
    try:
        return None if ts is None else event_time_ms(ts, zone)
    except BadRecord:
        return None
