"""A log of the loop in memory: writes inputs as the intake would, applies them to a core, keeps what came out."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from schemas.action import ActionName, Role
from schemas.alert import Action, Alert, encode_alert
from schemas.incident import IncidentChange, encode_incident
from schemas.incident_types import built_in_types
from schemas.loop_record import LoopKind, LoopRecord, TicketInLoop, decode_loop_record, encode_loop_record
from schemas.notification import Notification, NotificationKind, encode_notification
from streams.loop_core import LoopCore
from streams.loop_incident import Incident
from streams.loop_ledger import Output
from streams.loop_settings import DispatchSettings
from tests.support.loop_city import GRID, IN_WEST, loop_city
from topology.city import City

Place = tuple[float, float]
NOWHERE: Place | None = None


def new_core(settings: DispatchSettings | None = None, city: City | None = None) -> LoopCore:
    return LoopCore(city or loop_city(), built_in_types(), settings or DispatchSettings())


def refusal(outputs: list[Output]) -> Notification:
    """The one output there is, which is a refusal that its author can read in both languages."""
    (answer,) = outputs
    assert isinstance(answer, Notification) and answer.kind is NotificationKind.REFUSED
    assert answer.to_actor and answer.sentence_zh.startswith("拒绝") and "refused" in answer.sentence_en
    return answer


def as_bytes(outputs: list[Output]) -> list[bytes]:
    return [encode_incident(o) if isinstance(o, IncidentChange) else encode_notification(o) for o in outputs]


@dataclass
class LoopLog:
    """`now_ms` is moved by hand; each method appends one record and applies it."""

    core: LoopCore = field(default_factory=new_core)
    now_ms: int = 1_782_864_000_000  # 2026-07-01 08:00 in the city, a Wednesday
    records: list[bytes] = field(default_factory=list)
    out: list[Output] = field(default_factory=list)
    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def alert(
        self,
        alert_id: str = "A-1",
        category: str = "waterlogging",
        place: Place | None = IN_WEST,
        *,
        action: Action = Action.RAISE,
        severity: int = 2,
        revision: int = 0,
        at_ms: int | None = None,
        evidence: list[str] | None = None,
    ) -> list[Output]:
        end_ms = self.now_ms if at_ms is None else at_ms
        alert = Alert(
            alert_id=alert_id, revision=revision, action=action, detector="d", detector_version=1, category=category,
            cell=-1 if place is None else GRID.cell(*place),
            lon=None if place is None else place[0], lat=None if place is None else place[1],
            onset_ms=end_ms - 60_000, window_start_ms=end_ms - 60_000, window_end_ms=end_ms, severity=severity,
            confidence=0.9, reason="r", values={}, thresholds={}, evidence=evidence or [],
            sentence_zh="", sentence_en="",
        )  # fmt: skip
        return self.put(LoopKind.ALERT, "alerts", encode_alert(alert))

    def ticket(
        self, ticket_id: str = "T-1", category: str = "flood", place: Place | None = IN_WEST, **more: Any
    ) -> list[Output]:
        return self.tickets(self.a_ticket(ticket_id, category, place, **more))

    def a_ticket(
        self, ticket_id: str, category: str = "flood", place: Place | None = IN_WEST, **more: Any
    ) -> TicketInLoop:
        more = {"event_at_ms": self.now_ms, "source": f"tickets:0:{self.counts['raw']}"} | more
        self.counts["raw"] += 1
        if place is not None:
            more = {"cell": GRID.cell(*place), "lon": place[0], "lat": place[1]} | more
        return TicketInLoop(ticket_id=ticket_id, category=category, **more)

    def tickets(self, *tickets: TicketInLoop) -> list[Output]:
        return self.put(LoopKind.TICKETS, "tickets", b"", tickets=list(tickets))

    def act(
        self, action: ActionName | str, role: Role | str, actor: str = "p-1", *, on: str | None = None, **more: Any
    ) -> list[Output]:
        """`on`: an incident id; without it the incident that was opened first."""
        self.counts["action"] += 1
        fields = {
            "action_id": f"act-{self.counts['action']}",
            "action": str(action),
            "actor": actor,
            "role": str(role),
            "ts": self.now_ms,
        } | more
        if "incident_id" not in fields and "ticket_id" not in fields:
            fields["incident_id"] = on or self.first
        fields = {name: value for name, value in fields.items() if value is not ...}
        return self.put(LoopKind.ACTION, "actions", json.dumps(fields).encode())

    def tick(self, at_ms: int | None = None) -> list[Output]:
        at_ms = self.now_ms if at_ms is None else at_ms
        return self.put(LoopKind.TICK, "ticks", json.dumps({"at_ms": at_ms}).encode())

    def put(
        self, kind: LoopKind, topic: str, payload: bytes, *, tickets: list[TicketInLoop] | None = None,
        offset: int | None = None,
    ) -> list[Output]:  # fmt: skip
        """One record with the next offset of its topic; through its JSON, as on Kafka."""
        if offset is None:
            offset = self.counts[topic]
            self.counts[topic] += 1
        record = LoopRecord(
            kind=kind, cause_topic=topic, cause_partition=0, cause_offset=offset, arrived_ms=self.now_ms,
            payload=payload, tickets=tickets or [],
        )  # fmt: skip
        self.records.append(encode_loop_record(record))
        outputs = self.core.apply(decode_loop_record(self.records[-1]), len(self.records) - 1)
        self.out += outputs
        return outputs

    # --- asking ------------------------------------------------------------------------------------------------------

    @property
    def changes(self) -> list[IncidentChange]:
        return [one for one in self.out if isinstance(one, IncidentChange)]

    @property
    def notifications(self) -> list[Notification]:
        return [one for one in self.out if isinstance(one, Notification)]

    @property
    def first(self) -> str:
        return self.changes[0].incident_id

    @property
    def ids(self) -> list[str]:
        """Every incident, in the order in which they were opened."""
        return list(dict.fromkeys(change.incident_id for change in self.changes))

    def history(self, incident_id: str | None = None) -> list[IncidentChange]:
        return [change for change in self.changes if change.incident_id == (incident_id or self.first)]

    def latest(self, incident_id: str | None = None) -> IncidentChange:
        return self.history(incident_id)[-1]

    def incident(self, incident_id: str | None = None) -> Incident:
        return self.core.incidents.by_id[incident_id or self.first]

    # --- short ways through the loop ---------------------------------------------------------------------------------

    def handle(self, actor: str = "h-1", on: str | None = None) -> None:
        """From dispatched to handled."""
        for action in ("accept", "start", "finish"):
            self.act(action, "handler", actor, on=on)

    def close(self, on: str | None = None) -> None:
        """From dispatched to closed."""
        self.handle(on=on)
        self.act("verify_pass", "verifier", "v-1", on=on)
        self.act("close", "operator", "o-1", on=on)


def shown(outputs: list[Output]) -> list[str]:
    """Outputs in a few words: "dispatch: dispatched" for a change, "reminder to west-water" for a notification."""
    return [
        f"{one.action}: {one.state}" if isinstance(one, IncidentChange) else f"{one.kind} to {one.to}"
        for one in outputs
    ]
