"""The checks of the archive: the history holds everything once, as its views read it, and its roll-up adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from schemas.action import decode_action
from schemas.alert import decode_alert
from schemas.dead_letter import decode_dead_letter
from schemas.errors import MessageError
from schemas.incident import decode_incident
from schemas.notification import decode_notification
from schemas.sources import Source
from tests.chaos.simulator.raw_facts import RawFacts

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

Rows = set[tuple[Any, ...]]


def store_problems(world: World, facts: RawFacts) -> Iterator[str]:
    if "locate" in world.play.roles:
        yield from _observation_problems(world, facts)
    for table, wanted, possible in _records(world):
        stored = set(world.clickhouse.keys(table))
        if wanted - stored:
            yield f"{table}: {len(wanted - stored)} of {len(wanted)} are missing, such as {min(wanted - stored)}"
        if stored - possible:
            yield f"{table}: {len(stored - possible)} should not be there, such as {min(stored - possible)}"


def _observation_problems(world: World, facts: RawFacts) -> Iterator[str]:
    """The views drop a row that is there twice, so what counts is the set; the roll-up adds up what came, so it must
    have come once."""
    engine = world.clickhouse
    stored = set(engine.keys("observations"))
    wanted = {(source.topic, partition, offset) for source, partition, offset in facts.good}
    for word, some in (("missing", wanted - stored), ("too much", stored - wanted)):
        if some:
            yield f"observations: {len(some)} of {len(wanted)} {word}, such as {min(some)}"
    tickets = {(partition, offset) for source, partition, offset in facts.good if source is Source.TICKETS}
    if set(engine.keys("tickets")) != tickets:
        yield f"tickets: {len(set(engine.keys('tickets')))} rows for {len(tickets)} tickets"
    records: Counter[str] = Counter()
    total = 0.0
    for part in engine.rolled_up:
        sources = part.column("source").to_pylist()
        records.update(sources)
        total += sum(
            value
            for source, value in zip(sources, part.column("value").to_pylist(), strict=True)
            if source == Source.READINGS.topic
        )
    for source in Source:
        if records[source.topic] != facts.count(source):
            yield f"roll-up: {records[source.topic]} {source.topic} for {facts.count(source)}"
    running = sum(offset + 1 for source, _, offset in facts.good if source is Source.READINGS)
    if total != running:
        yield f"roll-up: the readings add up to {total}, should be {running}"


def _records(world: World) -> Iterator[tuple[str, Rows, Rows]]:
    """(table, rows that must be there, rows that may be) of the records that have ids of their own. What was told
    after the archive had come to rest need not be there."""
    names = world.names
    letters = {_letter(value) for value in _values(world, names.dead_letters)}
    unread = {(topic, partition, offset) for topic, partition, offset in _unreadable(world)}
    yield "dead_letters", letters | unread, letters | unread
    for table, topic, name in (
        ("alerts", names.alerts, _alert),
        ("incidents", names.incidents, _incident),
        ("notifications", names.notifications, _notification),
    ):
        everything = {key for value in _values(world, topic) if (key := name(value)) is not None}
        settled = {key for value in _values(world, topic, settled=True) if (key := name(value)) is not None}
        yield table, settled, everything
    actions = {
        (log.place.partition, record.offset)
        for log in world.broker.of(names.actions)
        for record in log.records
        if _reads(decode_action, record.value)
    }
    yield "actions", actions, actions


def _values(world: World, topic: str, *, settled: bool = False) -> Iterator[bytes]:
    committed = world.group("tongguan-archive").committed
    for log in world.broker.of(topic):
        upto = committed[log.place].offset if log.place in committed else 0
        for record in log.records:
            if not settled or record.offset < upto:
                yield record.value or b""


def _unreadable(world: World) -> Iterator[tuple[str, int, int]]:
    """Alerts that are none: the archive makes a dead letter of them, as the intake does."""
    for log in world.broker.of(world.names.alerts):
        for record in log.records:
            if not _reads(decode_alert, record.value):
                yield log.place.topic, log.place.partition, record.offset


def _reads(decode: Any, value: bytes | None) -> bool:
    try:
        decode(value or b"")
    except MessageError:
        return False
    return True


def _letter(value: bytes) -> tuple[Any, ...]:
    letter = decode_dead_letter(value)
    return letter.topic, letter.partition, letter.offset


def _alert(value: bytes) -> tuple[Any, ...] | None:
    if not _reads(decode_alert, value):
        return None
    alert = decode_alert(value)
    return alert.alert_id, alert.revision


def _incident(value: bytes) -> tuple[Any, ...]:
    change = decode_incident(value)
    return change.incident_id, change.revision


def _notification(value: bytes) -> tuple[Any, ...]:
    return (decode_notification(value).notification_id,)
