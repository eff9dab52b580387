"""An incident as the loop keeps it, and all of them with the ways to find one: by id, ticket, alert, record and place.

Only what the next decisions need is here; the history is the stream of changes. An ended incident stays for as long as
it may be opened again, then it leaves the state with everything that leads to it, so the state stays bounded.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal
from zlib import crc32

import msgspec

from schemas.incident import State, TicketOutcome, WhistleCall
from streams.loop_grouping import PlaceIndex

BUCKETS: Final = 64
ACTIONS_KEPT: Final = 500  # of one incident, by which a repeat is known; real ones have some ten
NEVER_MS: Final = 1 << 62

Stage = Literal["accept", "handle", "verify"]


class StageClock(msgspec.Struct):
    """The clock of one stage. `used_ms` of `duration_ms` were used before `start_ms` (the stage was suspended)."""

    working: bool  # counts working time only
    duration_ms: int
    start_ms: int
    due_ms: int
    remind_ms: int
    used_ms: int = 0
    running: bool = True
    reminded: bool = False
    overdue: bool = False
    escalate_ms: int | None = None  # when the next level is told


class AlertInIncident(msgspec.Struct):
    """The newest that is known of an alert."""

    alert_id: str
    revision: int
    severity: int
    standing: bool


class DoneAction(msgspec.Struct, frozen=True, array_like=True):
    """An action that was done, so that a repeat is known."""

    action_id: str
    action: str
    actor: str
    revision: int


class Incident(msgspec.Struct, kw_only=True):
    """One incident; times in ms, see `IncidentChange` for the fields that it shares."""

    incident_id: str
    state: State
    type: str
    category: str
    index_category: str
    severity: int
    cell: int
    lon: float | None
    lat: float | None
    jurisdiction: str | None
    district: str | None
    unit: str | None
    place_zh: str
    place_en: str
    opened_ms: int
    first_ms: int  # of its signs: alerts and tickets
    last_ms: int
    revision: int = -1  # of the newest change
    hash: str = ""
    changed_ms: int = 0  # effective time of the newest change
    acted_ms: int = 0  # of the newest change of state
    ended_ms: int | None = None
    before_suspension: State | None = None
    suspended_ms: int | None = None
    suspended_until_ms: int | None = None
    lead: str | None = None
    assisting: list[str] = []
    gave_away: list[str] = []  # departments that returned or transferred it
    alerts: list[AlertInIncident] = []
    tickets: list[TicketOutcome] = []
    records: list[str] = []  # raw tickets behind its tickets and alerts
    accept: StageClock | None = None
    handle: StageClock | None = None
    verify: StageClock | None = None
    escalated_to: str | None = None
    whistles: list[WhistleCall] = []
    hand_overs: int = 0
    reopenings: int = 0
    reminders: int = 0
    result: str | None = None
    handled_by: str | None = None
    handled_ms: int | None = None
    hands: list[str] = []  # everybody who worked on it, as `same_person` compares them
    hand_departments: list[str] = []
    verified_by: str | None = None
    verified_ms: int | None = None
    merged_into: str | None = None
    actions: list[DoneAction] = []

    @property
    def bucket(self) -> int:
        return bucket_of(self.incident_id)

    @property
    def members(self) -> int:
        return len(self.alerts) + len(self.tickets)

    @property
    def standing(self) -> bool:
        """Whether one of its alerts has not cleared."""
        return any(alert.standing for alert in self.alerts)

    def alert(self, alert_id: str) -> AlertInIncident:
        """The alert with this id; it must be there."""
        return next(alert for alert in self.alerts if alert.alert_id == alert_id)

    def clocks(self) -> Iterator[tuple[Stage, StageClock]]:
        if self.accept is not None:
            yield "accept", self.accept
        if self.handle is not None:
            yield "handle", self.handle
        if self.verify is not None:
            yield "verify", self.verify


def bucket_of(incident_id: str) -> int:
    return crc32(incident_id.encode()) % BUCKETS


@dataclass(slots=True)
class Incidents:
    """All incidents in the state, and the indexes over them."""

    by_id: dict[str, Incident] = field(default_factory=dict)
    buckets: list[dict[str, Incident]] = field(default_factory=lambda: [{} for _ in range(BUCKETS)])
    by_ticket: dict[str, Incident] = field(default_factory=dict)
    by_alert: dict[str, Incident] = field(default_factory=dict)
    by_record: dict[str, Incident] = field(default_factory=dict)
    by_action: dict[str, tuple[Incident, DoneAction]] = field(default_factory=dict)
    places: PlaceIndex = field(default_factory=PlaceIndex)
    timers: list[tuple[int, str]] = field(default_factory=list)  # a heap of (when, incident); stale entries are skipped
    timer_of: dict[str, int] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)  # buckets changed since they were last stored

    def add(self, incident: Incident) -> None:
        """Take an incident in, with all that leads to it."""
        self.by_id[incident.incident_id] = incident
        self.buckets[incident.bucket][incident.incident_id] = incident
        self.places.add(incident.type, incident.cell, incident.incident_id)
        for alert in incident.alerts:
            self.by_alert[alert.alert_id] = incident
        for ticket in incident.tickets:
            self.by_ticket[ticket.ticket_id] = incident
        for record in incident.records:
            self.by_record[record] = incident
        for done in incident.actions:
            self.by_action[done.action_id] = (incident, done)
        self.dirty.add(incident.bucket)

    def drop(self, incident: Incident) -> None:
        """Forget an incident and all that leads to it."""
        del self.by_id[incident.incident_id]
        del self.buckets[incident.bucket][incident.incident_id]
        self.timer_of.pop(incident.incident_id, None)
        self.places.remove(incident.type, incident.cell, incident.incident_id)
        for alert in incident.alerts:
            self._unlink(self.by_alert, alert.alert_id, incident)
        for ticket in incident.tickets:
            self._unlink(self.by_ticket, ticket.ticket_id, incident)
        for record in incident.records:
            self._unlink(self.by_record, record, incident)
        for done in incident.actions:
            self.by_action.pop(done.action_id, None)
        self.dirty.add(incident.bucket)

    def add_alert(self, incident: Incident, alert: AlertInIncident) -> None:
        incident.alerts.append(alert)
        self.by_alert[alert.alert_id] = incident

    def add_ticket(self, incident: Incident, ticket: TicketOutcome) -> None:
        incident.tickets.append(ticket)
        self.by_ticket[ticket.ticket_id] = incident

    def add_record(self, incident: Incident, record: str) -> None:
        """Each record leads to one incident, the first: so a restored index is the one that was stored."""
        if record not in self.by_record:
            incident.records.append(record)
            self.by_record[record] = incident

    def add_action(self, incident: Incident, done: DoneAction) -> None:
        incident.actions.append(done)
        self.by_action[done.action_id] = (incident, done)
        if len(incident.actions) > ACTIONS_KEPT:
            self.by_action.pop(incident.actions.pop(0).action_id, None)

    def move(self, incident: Incident, *, type: str, cell: int) -> None:
        """The incident's type or place was corrected."""
        self.places.remove(incident.type, incident.cell, incident.incident_id)
        incident.type, incident.cell = type, cell
        self.places.add(type, cell, incident.incident_id)

    def pour(self, source: Incident, target: Incident) -> None:
        """Give all alerts and tickets of one incident to another."""
        alerts, tickets, records = source.alerts, source.tickets, source.records
        source.alerts, source.tickets, source.records = [], [], []
        for alert in alerts:
            self.add_alert(target, alert)
        for ticket in tickets:
            self.add_ticket(target, ticket)
        for record in records:
            self._unlink(self.by_record, record, source)
            self.add_record(target, record)

    def wake_at(self, incident: Incident, at_ms: int) -> None:
        """Look at the incident again at this time; replaces the time before."""
        if self.timer_of.get(incident.incident_id) == at_ms:
            return
        if at_ms >= NEVER_MS:
            self.timer_of.pop(incident.incident_id, None)
            return
        self.timer_of[incident.incident_id] = at_ms
        heapq.heappush(self.timers, (at_ms, incident.incident_id))
        if len(self.timers) > 4 * len(self.timer_of) + 1024:  # mostly stale: times that were replaced
            self.timers = [(when, id) for id, when in self.timer_of.items()]
            heapq.heapify(self.timers)

    def due(self, now_ms: int) -> Iterator[Incident]:
        """Incidents whose time has come, earliest first and by id within one moment, each once per time set for it."""
        while self.timers and self.timers[0][0] <= now_ms:
            at_ms, incident_id = heapq.heappop(self.timers)
            if self.timer_of.get(incident_id) == at_ms:
                del self.timer_of[incident_id]
                yield self.by_id[incident_id]

    @staticmethod
    def _unlink(index: dict[str, Incident], key: str, incident: Incident) -> None:
        if index.get(key) is incident:
            del index[key]
