"""Alerts and dead letters on their way to ClickHouse: how a message is read, and which records the store lacks.

A record that is written to Kafka twice after a restart has the same id both times. So the store is asked for the ids of
a batch before it is inserted; with the order of the tables that reads a few granules.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from schemas.alert import Alert, decode_alert
from schemas.dead_letter import DeadLetter, Reason, decode_dead_letter
from schemas.errors import BadRecord, MessageError
from streams.archive_lane import Delivery
from streams.archive_rows import alert_rows, dead_letter_rows
from streams.clickhouse import Store

log = logging.getLogger(__name__)

ArchivedRecord = Alert | DeadLetter


def read_alert(topic: str, partition: int, delivery: Delivery) -> ArchivedRecord:
    """The alert in the message, or a dead letter about bytes that are none."""
    try:
        return decode_alert(delivery.value or b"")
    except MessageError as problem:
        return letter_about(problem, topic, partition, delivery)


def read_dead_letter(topic: str, partition: int, delivery: Delivery) -> ArchivedRecord:
    """The dead letter in the message, or one about bytes that are none."""
    try:
        return decode_dead_letter(delivery.value or b"")
    except MessageError as problem:
        return letter_about(problem, topic, partition, delivery)


def insert_new(store: Store, records: Sequence[ArchivedRecord], token: str) -> None:
    """Insert those that the store does not have, each once. Repeating the call with the token is safe."""
    alerts = {(record.alert_id, record.revision): record for record in records if isinstance(record, Alert)}
    letters = {
        (record.topic, record.partition, record.offset): record for record in records if isinstance(record, DeadLetter)
    }
    if alerts:
        for known in _known_alerts(store, list(alerts.values())):
            alerts.pop(known, None)
        store.insert("alerts", alert_rows(list(alerts.values())), token=token)
    if letters:
        for place in _known_letters(store, list(letters)):
            letters.pop(place, None)
        store.insert("dead_letters", dead_letter_rows(list(letters.values())), token=token)


def _known_alerts(store: Store, alerts: Sequence[Alert]) -> list[tuple[str, int]]:
    onsets = [alert.onset_ms for alert in alerts]
    rows = store.rows(
        # detector and onset are in the id already, and lead the table's order: naming them makes the look-up cheap
        "SELECT alert_id, revision FROM alerts WHERE detector IN {detectors:Array(String)}"
        " AND onset_at >= fromUnixTimestamp64Milli({first:Int64}, 'UTC')"
        " AND onset_at <= fromUnixTimestamp64Milli({last:Int64}, 'UTC')"
        " AND alert_id IN {ids:Array(String)}",
        {
            "detectors": sorted({alert.detector for alert in alerts}),
            "first": min(onsets),
            "last": max(onsets),
            "ids": sorted({alert.alert_id for alert in alerts}),
        },
    )
    return [(alert_id, revision) for alert_id, revision in rows]


def _known_letters(store: Store, places: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    by_partition: dict[tuple[str, int], list[int]] = {}
    for topic, partition, offset in places:
        by_partition.setdefault((topic, partition), []).append(offset)
    known: list[tuple[str, int, int]] = []
    for (topic, partition), offsets in by_partition.items():
        rows = store.rows(
            "SELECT offset FROM dead_letters WHERE topic = {topic:String} AND partition = {partition:Int32}"
            " AND offset IN {offsets:Array(Int64)}",
            {"topic": topic, "partition": partition, "offsets": sorted(offsets)},
        )
        known += [(topic, partition, offset) for (offset,) in rows]
    return known


def letter_about(problem: MessageError, topic: str, partition: int, delivery: Delivery) -> DeadLetter:
    log.error("%s[%d] offset %d: %s", topic, partition, delivery.offset, problem)
    return DeadLetter.of(
        BadRecord(Reason.CORRUPT_BATCH, "$", str(problem)),
        topic=topic,
        partition=partition,
        offset=delivery.offset,
        payload=delivery.value,
        received_at_ms=delivery.timestamp_ms,
    )
