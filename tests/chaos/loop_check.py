"""What the loop told, held to what it must have told: by its own log, and by the inputs as if no fault had been.

By its log: every change and notification is, byte for byte, what the pure loop makes of topic `loop`; none is missing
of the records that the loop has acknowledged (ticks go on while we look, so the newest records may be on their way).
By the inputs: the steps of each incident are those that the pure loop makes of the true alerts, tickets and actions,
each taken once, whatever order the log has them in.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from schemas.action import Role, decode_action, encode_action
from schemas.alert import encode_alert
from schemas.incident import IncidentChange, Step, decode_incident, encode_incident
from schemas.loop_record import LoopKind, LoopRecord, decode_loop_record
from schemas.notification import decode_notification, encode_notification
from streams.loop_core import LoopCore
from streams.loop_hash import verify_chain
from streams.loop_inputs import ticket_records
from tests.live.support.small_city import PureFlow

Message = tuple[str, int, bytes]
"""topic, partition, payload"""
Histories = dict[str, list[IncidentChange]]

_BY_THE_CLOCK: Final = {(Role.SYSTEM, step) for step in (Step.OVERDUE, Step.ESCALATE, Step.REMIND)}
"""What the clock does by itself: right by the log, but another day's on another day."""


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
    if not problems:
        signs = {incident: _sign(history) for incident, history in histories.items()}
        expected = _uninterrupted(make_core(), flow, acted, signs, tickets_topic)
        steps = _steps(histories)
        problems += [
            f"the incident of {sign} went {steps.get(sign)}, without faults {expected.get(sign)}"
            for sign in sorted(expected.keys() | steps.keys())
            if expected.get(sign) != steps.get(sign)
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


def _uninterrupted(
    core: LoopCore,
    flow: PureFlow,
    acted: Sequence[tuple[Message, int]],
    signs: Mapping[str, str],
    tickets_topic: str,
) -> dict[str, list[str]]:
    """The steps when every input comes once, in the order of its making.

    `signs`: the sign of each incident that actions may name. The same incident has another id here when its alert has
    another place in topic `alerts`.
    """
    histories: Histories = defaultdict(list)

    def take(record: LoopRecord, offset: int) -> None:
        for output in core.apply(record, offset):
            if isinstance(output, IncidentChange):
                histories[output.incident_id].append(output)

    found = list(_signs(flow, tickets_topic))
    for offset, record in enumerate(found):
        take(record, offset)
    ids = {_sign(history): incident for incident, history in histories.items()}
    for number, ((topic, partition, payload), offset) in enumerate(acted):
        action = decode_action(payload)
        action = replace(action, incident_id=ids.get(signs.get(action.incident_id or "", "")))
        record = LoopRecord(
            kind=LoopKind.ACTION, cause_topic=topic, cause_partition=partition, cause_offset=offset,
            arrived_ms=time.time_ns() // 1_000_000, payload=encode_action(action),
        )  # fmt: skip
        take(record, len(found) + number)
    return _steps(histories)


def _signs(flow: PureFlow, tickets_topic: str) -> Iterator[LoopRecord]:
    """Alerts and tickets as the loop gets them."""
    for number, key in enumerate(sorted(flow.alerts, key=lambda key: (key[1], key[0]))):
        yield LoopRecord(
            kind=LoopKind.ALERT, cause_topic="alerts", cause_partition=0, cause_offset=number,
            arrived_ms=time.time_ns() // 1_000_000, payload=encode_alert(flow.alerts[key]),
        )  # fmt: skip
    for frame in flow.tickets:
        yield from ticket_records(bytes(frame.data), tickets_topic)


def _steps(histories: Mapping[str, Sequence[IncidentChange]]) -> dict[str, list[str]]:
    """What became of each incident, by its first alert or ticket, without when."""
    told: dict[str, list[str]] = {}
    for history in histories.values():
        told.setdefault(_sign(history), []).extend(  # a second incident of one sign shows as steps too many
            f"{change.action}: {change.state} {change.severity} {change.alert_ids} {change.ticket_ids}"
            for change in history
            if (change.role, change.action) not in _BY_THE_CLOCK
        )
    return told


def _sign(history: Sequence[IncidentChange]) -> str:
    return (history[0].alert_ids or history[0].ticket_ids)[0]
