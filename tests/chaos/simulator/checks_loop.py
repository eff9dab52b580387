"""The checks of the loop: its log holds every input once and in order, and what it has told is what the pure core says
of that log, byte for byte, with every incident's chain whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from schemas.dead_letter import decode_dead_letter
from schemas.incident import IncidentChange, decode_incident, encode_incident
from schemas.loop_record import NO_OFFSET, LoopKind, LoopRecord, decode_loop_record
from schemas.notification import encode_notification
from schemas.observation import decode_frame
from schemas.sources import Source
from streams.loop_core import LoopCore
from streams.loop_hash import verify_payloads
from tests.chaos.simulator import city
from tests.chaos.simulator.worker import incident_types

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

Cause = tuple[str, int]


def loop_problems(world: World) -> Iterator[str]:
    yield from _log_problems(world)
    yield from _output_problems(world)


def loop_records(world: World) -> list[LoopRecord]:
    return [decode_loop_record(record.value or b"") for _, record in world.broker.values(world.names.loop)]


def _log_problems(world: World) -> Iterator[str]:
    """Of every source partition, the first appearances stand in order, and none is missing."""
    seen: dict[Cause, list[int]] = defaultdict(list)
    tickets: dict[str, int] = {}
    for index, record in enumerate(loop_records(world)):
        cause = record.cause_topic, record.cause_partition
        if record.cause_offset == NO_OFFSET:
            continue
        if not seen[cause] or record.cause_offset > seen[cause][-1]:
            seen[cause].append(record.cause_offset)
        elif record.cause_offset not in seen[cause] and record.kind is not LoopKind.TICKETS:
            yield f"{cause} offset {record.cause_offset} came after {seen[cause][-1]}, and had not come before"
        for ticket in record.tickets:
            tickets.setdefault(ticket.source, index)
    for cause, wanted in _inputs(world).items():
        missing = wanted - set(seen[cause])
        if missing:
            yield f"{cause}: {len(missing)} inputs are not in the log, such as {min(missing)}"
    missing_tickets = _tickets(world) - set(tickets)
    if missing_tickets:
        yield f"{len(missing_tickets)} tickets are not in the log, such as {min(missing_tickets)}"


def _inputs(world: World) -> dict[Cause, set[int]]:
    """Offsets of alerts, actions and ticks that must be in the log: all but those that became dead letters."""
    names = world.names
    dead = defaultdict(set)
    for _, record in world.broker.values(names.dead_letters):
        letter = decode_dead_letter(record.value or b"")
        dead[letter.topic, letter.partition].add(letter.offset)
    wanted: dict[Cause, set[int]] = {}
    for topic in (names.alerts, names.actions, names.ticks):
        for log in world.broker.of(topic):
            place = topic, log.place.partition
            wanted[place] = {record.offset for record in log.records} - dead[place]
    return wanted


def _tickets(world: World) -> set[str]:
    topic, found = world.names.raw(Source.TICKETS), set()
    for _, record in world.broker.values(world.names.placed_tickets):
        for row in decode_frame(record.value or b"")[1].select(["partition", "offset"]).to_pylist():
            found.add(f"{topic}:{row['partition']}:{row['offset']}")
    return found


def _output_problems(world: World) -> Iterator[str]:
    names = world.names
    place = TopicPartition(names.loop, 0)
    committed = world.group("tongguan-dispatch").committed.get(place)
    core = LoopCore(city.city(), incident_types(), world.config.dispatch)
    wanted: list[bytes] = []
    must = 0
    for offset, record in enumerate(loop_records(world)):
        for one in core.apply(record, offset):
            wanted.append(encode_incident(one) if isinstance(one, IncidentChange) else encode_notification(one))
        if committed is not None and offset < committed.offset:
            must = len(wanted)
    told = [
        record.value or b""
        for topic in (names.incidents, names.notifications)
        for _, record in world.broker.values(topic)
    ]
    missing, foreign = set(wanted[:must]) - set(told), set(told) - set(wanted)
    if missing:
        yield f"{len(missing)} of {must} changes and notifications were never told, such as {min(missing)[:200]!r}"
    if foreign:
        yield f"{len(foreign)} were told that the core does not know, such as {min(foreign)[:200]!r}"
    yield from _chain_problems(world)


def _chain_problems(world: World) -> Iterator[str]:
    histories: dict[str, dict[int, bytes]] = defaultdict(dict)
    for _, record in world.broker.values(world.names.incidents):
        value = record.value or b""
        change = decode_incident(value)
        history = histories[change.incident_id]
        if change.revision > len(history):
            yield f"{change.incident_id} revision {change.revision} came before {len(history)}"
        if history.setdefault(change.revision, value) != value:
            yield f"{change.incident_id} revision {change.revision} was told twice, and not the same"
    for incident_id, history in histories.items():
        for problem in verify_payloads([history[revision] for revision in sorted(history)]):
            yield f"{incident_id}: {problem}"
    incidents: dict[str, str] = {}
    for history in histories.values():
        last = decode_incident(history[max(history)])
        for ticket in last.tickets:
            other = incidents.setdefault(ticket.ticket_id, last.incident_id)
            if other != last.incident_id:
                yield f"ticket {ticket.ticket_id} is in {other} and in {last.incident_id}"
