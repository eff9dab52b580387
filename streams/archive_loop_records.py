"""The loop's records on their way to ClickHouse: how a message is read, and which records the store lacks.

As with alerts (archive_records), a record that is written to Kafka twice has the same id both times, so the store is
asked for the ids of a batch before it is inserted. An action has no id that is surely its own; its place is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from schemas.action import decode_action
from schemas.dead_letter import DeadLetter
from schemas.errors import MessageError
from schemas.incident import decode_incident
from schemas.notification import Notification, decode_notification
from streams import archive_records
from streams.archive_lane import Delivery
from streams.archive_loop_rows import (
    StoredAction,
    StoredChange,
    action_rows,
    incident_rows,
    notification_rows,
    personal_rows,
)
from streams.archive_records import letter_about
from streams.archive_rows import PERSONAL
from streams.clickhouse import Store

LoopRecord = StoredChange | Notification | StoredAction | DeadLetter


def read_incident(topic: str, partition: int, delivery: Delivery) -> LoopRecord:
    """The change in the message, or a dead letter about bytes that are none."""
    try:
        change = decode_incident(delivery.value or b"")
    except MessageError as problem:
        return letter_about(problem, topic, partition, delivery)
    return StoredChange(change, bytes(delivery.value or b"").decode())


def read_notification(topic: str, partition: int, delivery: Delivery) -> LoopRecord:
    """The notification in the message, or a dead letter about bytes that are none."""
    try:
        return decode_notification(delivery.value or b"")
    except MessageError as problem:
        return letter_about(problem, topic, partition, delivery)


def read_action(topic: str, partition: int, delivery: Delivery) -> LoopRecord | None:
    """The action in the message; None for bytes that are none, which the intake makes a dead letter of."""
    try:
        action = decode_action(delivery.value or b"")
    except MessageError:
        return None
    return StoredAction(action, topic, partition, delivery.offset, delivery.timestamp_ms)


def insert_new(zone: ZoneInfo) -> Callable[[Store, Sequence[LoopRecord | None], str], None]:
    """What inserts those records that the store does not have, each once. Repeating a call with the token is safe.

    `zone`: for times of actions that are written without one.
    """

    def insert(store: Store, records: Sequence[LoopRecord | None], token: str) -> None:
        changes = {
            (record.change.incident_id, record.change.revision): record
            for record in records
            if isinstance(record, StoredChange)
        }
        notifications = {record.notification_id: record for record in records if isinstance(record, Notification)}
        actions = {(record.partition, record.offset): record for record in records if isinstance(record, StoredAction)}
        if changes:
            for known in _known_changes(store, list(changes.values())):
                changes.pop(known, None)
            store.insert("incidents", incident_rows(list(changes.values())), token=token)
        if notifications:
            for known_id in _known_notifications(store, list(notifications.values())):
                notifications.pop(known_id, None)
            store.insert("notifications", notification_rows(list(notifications.values())), token=token)
        if actions:
            for place in _known_actions(store, list(actions.values())):
                actions.pop(place, None)
            new = list(actions.values())
            # what people wrote first: an action that is there is never looked at again
            store.insert("personal_fields", personal_rows(new, PERSONAL), token=token)
            store.insert("actions", action_rows(new, zone), token=token)
        archive_records.insert_new(store, [record for record in records if isinstance(record, DeadLetter)], token)

    return insert


def _known_changes(store: Store, changes: Sequence[StoredChange]) -> list[tuple[str, int]]:
    opened = [stored.change.opened_ms for stored in changes]
    rows = store.rows(
        # the month of the opening is the partition, the id leads the order: naming both makes the look-up cheap
        "SELECT incident_id, revision FROM incidents WHERE opened_at >= fromUnixTimestamp64Milli({first:Int64}, 'UTC')"
        " AND opened_at <= fromUnixTimestamp64Milli({last:Int64}, 'UTC') AND incident_id IN {ids:Array(String)}",
        {
            "first": min(opened),
            "last": max(opened),
            "ids": sorted({stored.change.incident_id for stored in changes}),
        },
    )
    return [(incident_id, revision) for incident_id, revision in rows]


def _known_notifications(store: Store, notifications: Sequence[Notification]) -> list[str]:
    times = [notification.at_ms for notification in notifications]
    rows = store.rows(
        "SELECT notification_id FROM notifications WHERE at >= fromUnixTimestamp64Milli({first:Int64}, 'UTC')"
        " AND at <= fromUnixTimestamp64Milli({last:Int64}, 'UTC') AND notification_id IN {ids:Array(String)}",
        {
            "first": min(times),
            "last": max(times),
            "ids": sorted(notification.notification_id for notification in notifications),
        },
    )
    return [notification_id for (notification_id,) in rows]


def _known_actions(store: Store, actions: Sequence[StoredAction]) -> list[tuple[int, int]]:
    known: list[tuple[int, int]] = []
    for partition in sorted({stored.partition for stored in actions}):
        rows = store.rows(
            "SELECT offset FROM actions WHERE partition = {partition:Int32} AND offset IN {offsets:Array(Int64)}",
            {
                "partition": partition,
                "offsets": sorted(stored.offset for stored in actions if stored.partition == partition),
            },
        )
        known += [(partition, offset) for (offset,) in rows]
    return known
