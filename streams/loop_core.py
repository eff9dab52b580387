"""The closed loop (发现、派遣、处置、反馈) as a pure state machine: records of the log in, changes of incidents out.

    record of `loop` -> duplicate? -> alert, ticket   discovery   home? -> attach | open -> file -> dispatch
                                      action          checks      refuse | effects
                                      tick            timers      remind, overdue, escalate, resume, forget

No clock is read and no input/output done: the same log gives the same outputs, byte for byte, in one go or across
snapshots. Each input has one `Outcome`, counted in `outcomes`; nothing that comes in goes unanswered.

Time is the records' own: an alert's window end, a ticket's event time, an action's `ts`, a tick's time. An action takes
effect at its `ts`, but never before the last change of state of its incident: up to `clock_skew_s` behind it counts as
at the same time, farther behind it is refused. Whether something was in time is judged by that time, so a tick that was
written before the news came does no injustice. The history's `at_ms` never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from schemas.action import ActionRecord, decode_action
from schemas.alert import decode_alert
from schemas.errors import BadRecord, MessageError
from schemas.event_time import event_time_ms
from schemas.incident_types import IncidentTypes
from schemas.loop_record import NO_OFFSET, LoopKind, LoopRecord, TicketInLoop, decode_tick
from schemas.notification import NotificationKind, RefusalReason
from schemas.raw import MAX_EVENT_MS, MIN_EVENT_MS
from streams.loop_cases import Cases
from streams.loop_checks import Asked, Refusal, first_refusal, legal_for
from streams.loop_discovery import Discovery, Outcome
from streams.loop_effects import Effects
from streams.loop_incident import BUCKETS, DoneAction, Incident, Incidents
from streams.loop_ledger import Ledger, Output, Turn
from streams.loop_parts import HEAD, decode_bucket, decode_head, encode_buckets, encode_head
from streams.loop_settings import DispatchSettings
from streams.loop_timers import Timers
from streams.loop_words import Words
from topology.city import City
from topology.grid import MAX_AXIS, NO_CELL

MAX_NAMED: Final = 120
MAX_REVISION: Final = 1 << 53  # what every JSON reader can hold; also keeps the state's encoding safe


class LoopCore:
    """The loop of one city. Not safe for threads; one record after the other, in the order of the log."""

    def __init__(self, city: City, types: IncidentTypes, settings: DispatchSettings) -> None:
        self.incidents = Incidents()
        self.clock_ms = 0
        self.outcomes: Counter[Outcome] = Counter()
        """How many inputs had each outcome since this object was made."""
        self._seen: dict[tuple[str, int], int] = {}
        self._settings = settings
        self._city = city
        self._zone = ZoneInfo(city.zone)
        self._ledger = Ledger(city, self.incidents, Words(types, city.departments))
        cases = Cases(city, types, settings, self.incidents, self._ledger)
        self._discovery = Discovery(cases)
        self._effects = Effects(cases)
        self._timers = Timers(cases)

    def apply(self, record: LoopRecord, offset: int) -> list[Output]:
        """Read one record of the log, which stands at `offset` in it: what comes of it, in order."""
        turn = Turn(offset, record)
        if self._is_duplicate(record):
            self.outcomes[Outcome.DUPLICATE] += max(1, len(record.tickets))
            return turn.out
        match record.kind:
            case LoopKind.ALERT:
                self.outcomes[self._alert(turn)] += 1
            case LoopKind.TICKETS:
                for ticket in record.tickets:
                    self.outcomes[self._ticket(turn, ticket)] += 1
            case LoopKind.ACTION:
                self.outcomes[self._action(turn)] += 1
            case LoopKind.TICK:
                self.outcomes[self._tick(turn)] += 1
        return turn.out

    def _is_duplicate(self, record: LoopRecord) -> bool:
        """Whether this cause was read before: the log may hold it twice after a crash of who writes it."""
        if record.cause_offset == NO_OFFSET:
            return False
        key = (record.cause_topic, record.cause_partition)
        if record.cause_offset <= self._seen.get(key, NO_OFFSET):
            return True
        self._seen[key] = record.cause_offset
        return False

    def _alert(self, turn: Turn) -> Outcome:
        try:
            alert = decode_alert(turn.record.payload)
            if not (in_time(alert.onset_ms) and in_time(alert.window_end_ms)):
                raise MessageError(f"schemas/alert: expected times from 2000 to 2100, got {alert.window_end_ms}")
            if alert.revision > MAX_REVISION or not is_cell(alert.cell):
                raise MessageError(f"schemas/alert: revision={alert.revision} or cell={alert.cell} is out of range")
        except MessageError as error:
            self._ledger.unreadable(turn, str(error))
            return Outcome.UNREADABLE
        return self._discovery.take_alert(turn, alert)

    def _ticket(self, turn: Turn, ticket: TicketInLoop) -> Outcome:
        due_ms = ticket.event_at_ms if ticket.due_ms is None else ticket.due_ms
        if in_time(ticket.event_at_ms) and in_time(due_ms) and is_cell(ticket.cell):
            return self._discovery.take_ticket(turn, ticket)
        self._ledger.unreadable(
            turn,
            f"ticket {ticket.ticket_id[:MAX_NAMED]}: event_at_ms={ticket.event_at_ms}, due_ms={ticket.due_ms} "
            f"or cell={ticket.cell} is out of range",
        )
        return Outcome.UNREADABLE

    def _tick(self, turn: Turn) -> Outcome:
        record = turn.record
        try:
            at_ms = decode_tick(record.payload).at_ms
            if at_ms > record.arrived_ms + self._settings.clock_skew_s * 1000:
                raise MessageError(f"schemas/loop_record: tick at_ms={at_ms} is later than its arrival")
        except MessageError as error:
            self._ledger.unreadable(turn, str(error))
            return Outcome.UNREADABLE
        if at_ms > self.clock_ms:
            self.clock_ms = at_ms
            self._timers.tick(turn, at_ms)
        return Outcome.TICKED

    # --- actions ------------------------------------------------------------------------------------------------------

    def _action(self, turn: Turn) -> Outcome:
        try:
            action = decode_action(turn.record.payload)
        except MessageError as error:
            author = _author(turn.record.payload)
            self._ledger.unreadable(turn, str(error), action_id=author.action_id, actor=author.actor)
            return Outcome.UNREADABLE
        incident = self._incident_of(action)
        done = self.incidents.by_action.get(action.action_id)
        if done is not None:
            return self._again(turn, action, incident, *done)
        asked = self._asked(turn, action, incident)
        if isinstance(asked, Refusal):
            return self._refuse(turn, action, incident, asked, turn.record.arrived_ms)
        refusal = first_refusal(asked)
        if refusal is not None:
            return self._refuse(turn, action, incident, refusal, asked.at_ms)
        revision = asked.incident.revision + 1
        self._effects.do(turn, asked, max(asked.at_ms, asked.incident.acted_ms))
        self.incidents.add_action(asked.incident, DoneAction(action.action_id, action.action, action.actor, revision))
        return Outcome.DONE

    def _refuse(
        self, turn: Turn, action: ActionRecord, incident: Incident | None, refusal: Refusal, at_ms: int
    ) -> Outcome:
        legal = legal_for(incident, action.role)
        self._ledger.refuse(turn, action, refusal.reason, refusal.detail, incident, legal, at_ms)
        return Outcome.REFUSED

    def _incident_of(self, action: ActionRecord) -> Incident | None:
        if action.incident_id is not None:
            return self.incidents.by_id.get(action.incident_id)
        return None if action.ticket_id is None else self.incidents.by_ticket.get(action.ticket_id)

    def _asked(self, turn: Turn, action: ActionRecord, incident: Incident | None) -> Asked | Refusal:
        """The action with its times read; a Refusal when it has no incident or no usable time."""
        if incident is None:
            named = action.incident_id or f"ticket {action.ticket_id}"
            return Refusal(
                RefusalReason.UNKNOWN_INCIDENT, (named[:MAX_NAMED], f"no incident {named[:MAX_NAMED]} is held")
            )
        try:
            at_ms = event_time_ms(action.ts, self._zone)
            until_ms = None if action.until_ts is None else event_time_ms(action.until_ts, self._zone)
        except BadRecord as error:
            return Refusal(RefusalReason.BAD_TIME, (error.detail, error.detail))
        skew_ms = self._settings.clock_skew_s * 1000
        now_ms = max(turn.record.arrived_ms, self.clock_ms)
        if at_ms > now_ms + skew_ms:
            ahead_s = (at_ms - now_ms) // 1000
            return Refusal(RefusalReason.FUTURE, (f"超前 {ahead_s} 秒", f"its time is {ahead_s} s ahead of now"))
        return Asked(action, incident, at_ms, until_ms, self.incidents, self._city, skew_ms)

    def _again(
        self, turn: Turn, action: ActionRecord, named: Incident | None, incident: Incident, done: DoneAction
    ) -> Outcome:
        """An action id that was done before: a repeat, or the id of another action."""
        at_ms = max(incident.changed_ms, turn.record.arrived_ms)
        same = done.action == action.action and done.actor == action.actor
        if same and (named is incident or action.incident_id is None):
            sentence = (
                f"{action.action.zh}已在第 {done.revision} 次变化中执行，未重复执行。",
                f"{action.action} was done in revision {done.revision} and is not done again.",
            )
            self._ledger.answer(turn, action, NotificationKind.REPEATED, incident, sentence, at_ms)
            return Outcome.REPEATED
        detail = (
            f"{action.action_id[:MAX_NAMED]} 已用于 {incident.incident_id} 的{done.action}",
            f"{action.action_id[:MAX_NAMED]} was {done.action} on {incident.incident_id}",
        )
        return self._refuse(turn, action, named, Refusal(RefusalReason.ID_REUSED, detail), at_ms)

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, bytes]:
        """The whole state, and from now on `dirty_parts` counts from here."""
        return self._parts(range(BUCKETS))

    def dirty_parts(self) -> dict[str, bytes]:
        """What changed since `parts` or `dirty_parts` was last asked; the head is always among it."""
        return self._parts(sorted(self.incidents.dirty))

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Fill an empty core with the newest version of every part; BrokerError when one is damaged."""
        for name, part in sorted(parts.items()):
            if name == HEAD:
                head = decode_head(part)
                self.clock_ms = head.clock_ms
                self._seen = {(topic, partition): offset for topic, partition, offset in head.seen}
            else:
                for incident in decode_bucket(name, part):
                    self.incidents.add(incident)
                    self._timers.wake(incident)
        self.incidents.dirty.clear()

    def _parts(self, buckets: range | list[int]) -> dict[str, bytes]:
        parts = {HEAD: encode_head(self.clock_ms, self._seen)} | encode_buckets(self.incidents, buckets)
        self.incidents.dirty.clear()
        return parts


def in_time(at_ms: int) -> bool:
    """Whether a moment lies in the years that deadlines can be worked out for."""
    return MIN_EVENT_MS <= at_ms < MAX_EVENT_MS


def is_cell(cell: int) -> bool:
    """Whether a number is a base cell of some grid, or says that there is none."""
    return NO_CELL <= cell < MAX_AXIS * MAX_AXIS


class _Author(msgspec.Struct):
    """What is read of an action that cannot be used, so that its author gets the answer."""

    action_id: str | None = None
    actor: str | None = None


_author_decoder = msgspec.json.Decoder(_Author)


def _author(payload: bytes) -> _Author:
    try:
        author = _author_decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _Author()
    return _Author(
        author.action_id[:MAX_NAMED] if author.action_id else None, author.actor[:MAX_NAMED] if author.actor else None
    )
