"""What the loop told, held to what it must have told: by its own log, and by the inputs as if no fault had been.

By its log: every change and notification is, byte for byte, what the pure loop makes of topic `loop`; none is missing
of the records that the loop has acknowledged (ticks go on while we look, so the newest records may be on their way).
By the inputs: the log has the true alerts, tickets and actions and no others, those of an alert, a raw partition, a
partition of `actions` in their order; and the steps of each incident are those that the pure loop makes of them when
each comes once, where it stands in the log first.

Between an alert's news and what people do meanwhile there is no order but the log's: an alert that clears after its
incident was closed is another story than one that cleared before, and both are true.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from schemas.alert import decode_alert
from schemas.incident import IncidentChange, decode_incident, encode_incident
from schemas.loop_record import NO_OFFSET, LoopKind, LoopRecord, TicketInLoop, decode_loop_record
from schemas.notification import decode_notification, encode_notification
from streams.loop_core import LoopCore
from streams.loop_hash import verify_chain
from streams.loop_inputs import ticket_records
from tests.live.support.small_city import PureFlow

Message = tuple[str, int, bytes]
"""topic, partition, payload"""
Histories = dict[str, list[IncidentChange]]


@dataclass(frozen=True, slots=True)
class Told:
    """What lies on the topics. `acknowledged`: the loop's records below this offset have been worked through."""

    acknowledged: int
    incidents: Sequence[Any]
    notifications: Sequence[Any]
    log: Sequence[Any]  # read last: it holds everything that the others follow from


def loop_problems(
    make_core: Callable[[], LoopCore],
    told: Told,
    flow: PureFlow,
    acted: Sequence[tuple[Message, int]],
    tickets_topic: str,
) -> list[str]:
    """What is wrong, in sentences."""
    histories, problems = _histories(told.incidents)
    problems += _by_the_log(make_core(), told, histories)
    problems += [problem for history in histories.values() for problem in verify_chain(history)]
    problems += _order_problems(told.log, acted)
    inputs = Inputs(told.log)
    problems += inputs.problems(flow, tickets_topic)
    if not problems:
        records = [decode_loop_record(message.value) for message in told.log]
        steps, expected = (_steps(_made_of(make_core(), some)) for some in (records, inputs.once))
        problems += [
            f"incident {incident} went {steps.get(incident)}, without repeats {expected.get(incident)}"
            for incident in sorted(expected.keys() | steps.keys())
            if steps.get(incident) != expected.get(incident)
        ]
    return problems


def _histories(messages: Sequence[Any]) -> tuple[Histories, list[str]]:
    """Changes by incident; one that is told again after a crash must be the same again."""
    histories: Histories = defaultdict(list)
    problems: list[str] = []
    for message in messages:
        change = decode_incident(message.value)
        history = histories[change.incident_id]
        where = f"{change.incident_id} revision {change.revision}"
        if change.revision == len(history):
            history.append(change)
        elif change.revision > len(history):
            problems.append(f"{where}: comes after revision {len(history) - 1}")
        elif encode_incident(history[change.revision]) != message.value:
            problems.append(f"{where}: told again, it is another")
    return dict(histories), problems


def _by_the_log(core: LoopCore, told: Told, histories: Histories) -> Iterator[str]:
    must: dict[str, int] = defaultdict(int)  # changes that must be there already
    full: Histories = defaultdict(list)
    answers: dict[str, tuple[bytes, bool]] = {}
    for message in told.log:
        due = message.offset < told.acknowledged
        for output in core.apply(decode_loop_record(message.value), message.offset):
            if isinstance(output, IncidentChange):
                full[output.incident_id].append(output)
                must[output.incident_id] += due
            else:
                answers[output.notification_id] = encode_notification(output), due
    for incident in sorted(full.keys() | histories.keys()):
        history = histories.get(incident, [])
        if history != full[incident][: len(history)]:
            yield f"{incident}: its history is not what the log leads to"
        elif len(history) < must[incident]:
            yield f"{incident}: {len(history)} changes were told, the log leads to {must[incident]}"
    found = {decode_notification(message.value).notification_id: message.value for message in told.notifications}
    for name, (payload, due) in answers.items():
        if name not in found and due:
            yield f"notification {name} is missing"
        elif name in found and found[name] != payload:
            yield f"notification {name} is not what the log leads to"
    yield from (f"notification {name} should not be" for name in found.keys() - answers.keys())


def _order_problems(log: Sequence[Any], acted: Sequence[tuple[Message, int]]) -> Iterator[str]:
    """Of each partition of `actions` the log must have each record once and in order, when repeats are left out."""
    seen: dict[int, list[int]] = defaultdict(list)
    for message in log:
        record = decode_loop_record(message.value)
        if record.kind is LoopKind.ACTION and record.cause_offset > (seen[record.cause_partition] or [-1])[-1]:
            seen[record.cause_partition].append(record.cause_offset)
    sent: dict[int, list[int]] = defaultdict(list)
    for (_, partition, _), offset in acted:
        sent[partition].append(offset)
    for partition in sent.keys() | seen.keys():
        if seen[partition] != sorted(sent[partition]):
            yield f"actions[{partition}]: the log has {seen[partition]}, sent were {sorted(sent[partition])}"


class Inputs:
    """The inputs that the log holds, each where it stands first; the records that say nothing new are left out."""

    def __init__(self, log: Sequence[Any]) -> None:
        self.once: list[LoopRecord] = []
        self._alerts: dict[tuple[str, int], LoopRecord] = {}
        self._tickets: dict[str, TicketInLoop] = {}
        self._places: set[tuple[str, int, int]] = set()
        for message in log:
            record = self._new(decode_loop_record(message.value))
            if record is not None:
                self.once.append(record)

    def problems(self, flow: PureFlow, tickets_topic: str) -> Iterator[str]:
        """Where the inputs are not the true ones, or not in order."""
        alerts = {key: decode_alert(record.payload) for key, record in self._alerts.items()}
        yield from _differences("alert", alerts, flow.alerts)
        tickets = {
            ticket.source: ticket
            for frame in flow.tickets
            for record in ticket_records(bytes(frame.data), tickets_topic)
            for ticket in record.tickets
        }
        yield from _differences("ticket", self._tickets, tickets)
        newest: dict[str, int] = {}
        sources = [(partition, int(offset)) for partition, _, offset in (s.rpartition(":") for s in self._tickets)]
        for name, number in [*self._alerts, *sources]:
            if number < newest.get(name, -1):
                yield f"{name}: {number} stands behind {newest[name]} in the log"
            newest[name] = number

    def _new(self, record: LoopRecord) -> LoopRecord | None:
        """The record, without tickets that were there before; None when nothing is left."""
        if record.kind is LoopKind.TICKETS:
            new = [ticket for ticket in record.tickets if ticket.source not in self._tickets]
            self._tickets |= {ticket.source: ticket for ticket in new}
            return replace(record, tickets=new) if new else None
        if record.kind is LoopKind.ALERT:
            alert = decode_alert(record.payload)
            key = alert.alert_id, alert.revision
            known = key in self._alerts
            self._alerts.setdefault(key, record)
            return None if known else record
        place = record.cause_topic, record.cause_partition, record.cause_offset
        if record.cause_offset != NO_OFFSET and place in self._places:
            return None
        self._places.add(place)
        return record


def _differences(what: str, found: Mapping[Any, Any], true: Mapping[Any, Any]) -> Iterator[str]:
    yield from (f"{what} {key} is not in the log of the loop" for key in true.keys() - found.keys())
    yield from (f"{what} {key} should not be in the log of the loop" for key in found.keys() - true.keys())
    for key in found.keys() & true.keys():
        if found[key] != true[key]:
            yield f"{what} {key} is {found[key]} in the log of the loop, not {true[key]}"


def _made_of(core: LoopCore, records: Sequence[LoopRecord]) -> Histories:
    histories: Histories = defaultdict(list)
    for offset, record in enumerate(records):
        for output in core.apply(record, offset):
            if isinstance(output, IncidentChange):
                histories[output.incident_id].append(output)
    return histories


def _steps(histories: Mapping[str, Sequence[IncidentChange]]) -> dict[str, list[str]]:
    """What became of each incident, without when."""
    return {
        incident: [
            f"{change.action}: {change.state} {change.severity} {change.alert_ids} {change.ticket_ids}"
            for change in history
        ]
        for incident, history in histories.items()
    }
