"""Whatever is asked of the loop, in whatever order: its promises hold after every step.

A random crowd of people, sensors and callers works on a core; a second core is given the same log but is stored and
restored now and then. A model that knows nothing but the table follows each incident.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from schemas.action import ActionName, Role
from schemas.alert import Action
from schemas.incident import IncidentChange, State, Step, decode_incident, encode_incident
from schemas.loop_record import LoopKind, decode_loop_record
from schemas.notification import Notification, NotificationKind
from streams.loop_discovery import Outcome
from streams.loop_hash import hash_of, sealed, verify_chain, verify_payloads
from streams.loop_ledger import Output
from streams.loop_settings import DispatchSettings
from streams.loop_states import TABLE, legal_actions
from tests.support.loop_city import DEPARTMENTS, FAR_IN_WEST, HOUR, IN_EAST, IN_WEST, MINUTE, NEXT_TO_IT
from tests.support.loop_log import LoopLog, as_bytes, new_core

ACTORS = ["p-1", "p-2", "p-3", "P-1 "]
HANDS = (Step.ACCEPT, Step.START, Step.FINISH, Step.RESPOND)
NAMES = {action.value for action in ActionName}
FIXED = DispatchSettings(keep_hours=1, reopen_hours=1, merge_limit=4, hand_over_limit=2)

actors = st.sampled_from(ACTORS)
places = st.sampled_from([IN_WEST, IN_WEST, NEXT_TO_IT, FAR_IN_WEST, IN_EAST, None])
categories = st.sampled_from(["flood", "flood", "gas_leak", "noise", "traffic_accident"])
departments = st.sampled_from([*(one.id for one in DEPARTMENTS), "nobody"])
some_id = st.sampled_from([f"i-{number}" for number in range(8)])  # few, so that they come twice
STRAIGHT = [
    ("accept", "handler"),
    ("start", "handler"),
    ("finish", "handler"),
    ("verify_pass", "verifier"),
    ("close", "operator"),
]
straight = st.sampled_from(STRAIGHT)
any_action = st.tuples(st.sampled_from([*ActionName]).map(str), st.sampled_from([*Role]).map(str))


class Loop(RuleBasedStateMachine):
    """Rules append to the log; invariants look at everything that ever came out."""

    incidents: Bundle[str] = Bundle("incidents")

    def __init__(self) -> None:
        super().__init__()
        self.log = LoopLog(new_core(FIXED))
        self.other = new_core(FIXED)
        self.stored: dict[str, bytes] = self.other.parts()
        self.asked: dict[str, list[str]] = {}
        self.inputs = 0
        self.hands: dict[str, set[str]] = {}
        self.history: dict[str, list[IncidentChange]] = {}
        self.lost: Counter[Outcome] = Counter()

    @initialize(target=incidents)
    def opened(self) -> Any:
        self.log.alert("A-0")
        return self.after(1)

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(
        target=incidents, category=categories, place=places, id=some_id, parent=st.none() | some_id,
        urgency=st.sampled_from(["normal", "critical"]), due=st.none() | st.integers(-60, 600),
    )  # fmt: skip
    def ticket(self, category: str, place: Any, id: str, urgency: str, parent: str | None, due: int | None) -> Any:
        due_ms = None if due is None else self.log.now_ms + due * MINUTE
        self.log.ticket(id, category, place, urgency=urgency, parent_ticket_id=parent, due_ms=due_ms)
        return self.after(1)

    @rule(
        target=incidents, place=places, id=some_id, action=st.sampled_from([*Action]), severity=st.integers(1, 4),
        revision=st.integers(0, 3), evidence=st.lists(st.integers(0, 9).map("tickets:0:{}".format), max_size=2),
    )  # fmt: skip
    def alert(self, place: Any, id: str, action: Action, severity: int, revision: int, evidence: list[str]) -> Any:
        self.log.alert(
            id, "waterlogging", place, action=action, severity=severity, revision=revision, evidence=evidence
        )
        return self.after(1)

    @rule(
        incident=incidents,
        pick=st.integers(0, 99),
        actor=actors,
        to=departments,
        into=incidents,
        minutes=st.integers(0, 99),
    )
    def something_legal(self, incident: str, pick: int, actor: str, to: str, into: str, minutes: int) -> None:
        """One of what the table allows, with all that it needs: most of it is done."""
        held = self.log.core.incidents.by_id.get(incident)
        legal = [] if held is None else [(a, r) for r in Role for a in legal_actions(held.state, r)]
        if held is None or not legal:
            return
        action, role = legal[pick % len(legal)]
        self.act(
            incident, (str(action), str(role)), actor, reason="because", to_department=to, departments=["east-water"],
            into_incident_id=into, severity=1 + pick % 4, until_ts=self.log.now_ms + minutes * MINUTE,
            department="east-water" if action is ActionName.RESPOND else None,
        )  # fmt: skip

    @rule(incident=incidents, steps=st.integers(1, 9), first=actors, second=actors)
    def the_straight_way(self, incident: str, steps: int, first: str, second: str) -> None:
        for action, role in [("dispatch", "dispatcher"), ("resume", "dispatcher"), *STRAIGHT][:steps]:
            actor = second if role == "verifier" else first
            self.act(incident, (action, role), actor, to_department="west-water")

    @rule(
        incident=incidents, what=any_action, actor=actors, department=st.none() | departments,
        to=st.none() | departments, called=st.lists(departments, max_size=2), into=incidents,
        reason=st.sampled_from([None, "because"]), ago=st.integers(-400, 400), severity=st.none() | st.integers(1, 4),
        expected=st.none() | st.integers(0, 9), until=st.none() | st.integers(0, 100),
    )  # fmt: skip
    def anything(
        self, incident: str, what: tuple[str, str], actor: str, department: str | None, to: str | None,
        called: list[str], reason: str | None, ago: int, expected: int | None, into: str, severity: int | None,
        until: int | None,
    ) -> None:  # fmt: skip
        self.act(
            incident, what, actor, department=department, to_department=to, departments=called, reason=reason,
            ts=self.log.now_ms - ago * 1000, expected_revision=expected, into_incident_id=into, severity=severity,
            until_ts=None if until is None else self.log.now_ms + until * MINUTE,
        )  # fmt: skip

    @rule(incident=incidents, what=straight, id=some_id)
    def with_an_id_that_may_repeat(self, incident: str, what: tuple[str, str], id: str) -> None:
        self.act(incident, what, "p-1", action_id=id)

    @rule(payload=st.sampled_from([b"", b"null", b'{"action_id":"x","actor":"y"}', b"\xff\xff"]),
          kind=st.sampled_from([LoopKind.ACTION, LoopKind.ALERT, LoopKind.TICK]))  # fmt: skip
    def nonsense(self, payload: bytes, kind: LoopKind) -> None:
        (answer,) = self.log.put(kind, f"{kind}s", payload)
        assert isinstance(answer, Notification) and answer.kind is NotificationKind.UNREADABLE
        self.after(1)

    @rule(minutes=st.sampled_from([1, 1, 1, 10, 10, 31, 240, 24 * 60]))
    def time_goes_on(self, minutes: int) -> None:
        self.log.now_ms += minutes * MINUTE
        self.log.tick()
        self.after(1)

    @rule()
    def the_last_input_comes_twice(self) -> None:
        record = decode_loop_record(self.log.records[-1])
        assert self.log.core.apply(record, len(self.log.records) - 1) == []
        self.inputs += max(1, len(record.tickets))

    @rule()
    def the_other_core_is_stored_and_restored(self) -> None:
        self.stored |= self.other.dirty_parts()
        self.other = new_core(FIXED)
        self.other.restore(self.stored)
        assert self.other.parts() == self.stored

    # --- what must hold -----------------------------------------------------------------------------------------------

    def act(self, incident: str, what: tuple[str, str], actor: str, **more: Any) -> None:
        held = self.log.core.incidents.by_id.get(incident)
        before = None if held is None else (held.state, held.revision)
        out = self.log.act(*what, actor, on=incident, **more)
        answers = [one for one in out if isinstance(one, Notification) and one.to_actor]
        if answers:  # refused or repeated: nothing else happened
            (answer,) = out
            assert isinstance(answer, Notification)
            now = None if held is None else (held.state, held.revision)
            assert now == before
            if answer.kind is NotificationKind.REFUSED:
                assert answer.refusal is not None
                legal = [] if held is None else legal_actions(held.state, Role(what[1]))
                assert answer.legal == legal, "exactly the legal actions for that role and state"
            else:
                assert answer.kind is NotificationKind.REPEATED
        else:
            assert isinstance(out[0], IncidentChange) and out[0].action == what[0] and before is not None
            assert out[0].actor == actor and out[0].revision == before[1] + 1
            assert Role(what[1]) in TABLE[before[0], ActionName(what[0])].roles
        self.after(1)

    def after(self, inputs: int) -> Any:
        """Give the newest record to the other core and follow every change; the incidents that were opened."""
        self.inputs += inputs
        number = len(self.log.records) - 1
        new = self.log.out[sum(map(len, self.history.values())) + self.told :]
        assert as_bytes(self.other.apply(decode_loop_record(self.log.records[-1]), number)) == as_bytes(new)
        fresh = []
        for one in new:
            if isinstance(one, IncidentChange):
                self.follow(one)
                if one.revision == 0:
                    fresh.append(one.incident_id)
            else:
                self.told += 1
        return multiple(*fresh)

    told = 0

    def follow(self, change: IncidentChange) -> None:
        history = self.history.setdefault(change.incident_id, [])
        assert change.revision == len(history)
        if history:
            last = history[-1]
            assert change.previous_state is last.state and change.at_ms >= last.at_ms
            assert change.previous_hash == last.hash
            if change.state is not change.previous_state or change.action in NAMES:
                self.is_in_table(change)
            if change.action in (Step.ATTACH, Step.WORSEN):
                assert change.severity >= last.severity, "never silently lowered"
        else:
            assert (change.action, change.state) == (Step.DISCOVER, State.DISCOVERED)
        hands = self.hands.setdefault(change.incident_id, set())
        if change.action in (Step.VERIFY_PASS, Step.VERIFY_FAIL):
            assert change.actor.strip().casefold() not in hands, "the verifier is never the handler"
        if change.action in HANDS:
            hands.add(change.actor.strip().casefold())
        if change.state is State.CLOSED:
            assert history[-1].state in (State.VERIFIED, State.CLOSED)
            assert all(ticket.done_ms is not None for ticket in change.tickets)
        for ticket in change.tickets:
            if ticket.done_ms is not None:
                assert ticket.on_time is (ticket.due_ms is None or ticket.done_ms <= ticket.due_ms)
        history.append(change)

    def is_in_table(self, change: IncidentChange) -> None:
        assert change.previous_state is not None
        if change.action is Step.REMIND and change.role is Role.SYSTEM:
            assert change.state is change.previous_state
            return
        if change.action is Step.MERGE and change.state is not State.MERGED:
            assert change.state is change.previous_state  # the one that took the other in
            return
        assert change.action in NAMES, f"{change.action} may not change the state"
        allowed = TABLE[change.previous_state, ActionName(change.action.value)]
        assert change.role in allowed.roles
        assert allowed.next is None or change.state is allowed.next

    @invariant()
    def every_input_is_accounted_for(self) -> None:
        assert self.log.core.outcomes.total() == self.inputs

    @invariant()
    def the_state_holds_what_the_history_says(self) -> None:
        for incident in self.log.core.incidents.by_id.values():
            last = self.history[incident.incident_id][-1]
            assert (incident.state, incident.revision, incident.hash) == (last.state, last.revision, last.hash)
            assert [alert.alert_id for alert in incident.alerts] == last.alert_ids
            assert [ticket.ticket_id for ticket in incident.tickets] == last.ticket_ids

    @invariant()
    def every_ticket_and_alert_that_is_held_is_held_once(self) -> None:
        held = self.log.core.incidents
        tickets = Counter(t.ticket_id for incident in held.by_id.values() for t in incident.tickets)
        alerts = Counter(a.alert_id for incident in held.by_id.values() for a in incident.alerts)
        assert set(tickets) == set(held.by_ticket) and set(alerts) == set(held.by_alert)
        assert max([*tickets.values(), *alerts.values()], default=1) == 1

    def teardown(self) -> None:
        for history in self.history.values():
            assert verify_chain(history) == []


Loop.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[*HealthCheck], print_blob=True
)
TestLoop = Loop.TestCase


def a_history() -> list[IncidentChange]:
    log = LoopLog()
    log.ticket("T-1")
    log.alert("A-1")
    log.act("return", "handler", reason="不归我管")
    log.act("dispatch", "dispatcher", to_department="west-roads")
    log.close()
    return log.history()


HISTORY = a_history()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_changed_in_a_stored_history_is_found(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(HISTORY) - 1))
    fields: dict[str, Any] = msgspec.to_builtins(HISTORY[number])
    name = data.draw(st.sampled_from(sorted(fields)))
    other = data.draw(
        st.sampled_from([None, 0, 1, -1, 0.5, "", "x", [], ["x"], True]).filter(
            lambda value: value != fields[name] or type(value) is not type(fields[name])
        )
    )
    stored = [encode_incident(change) for change in HISTORY]
    assert verify_payloads(stored) == []
    stored[number] = msgspec.json.encode(fields | {name: other})
    assert verify_payloads(stored)


@given(st.permutations(range(len(HISTORY))), st.integers(1, len(HISTORY)))
@settings(max_examples=100, deadline=None)
def test_records_dropped_or_put_in_another_order_are_found(order: list[int], kept: int) -> None:
    changes = [HISTORY[number] for number in order[:kept]]
    assert bool(verify_chain(changes)) is (order[:kept] != list(range(kept)))


@pytest.mark.parametrize("number", range(len(HISTORY) - 1))
def test_a_record_that_was_changed_and_given_a_fitting_hash_is_found_by_the_next(number: int) -> None:
    forged = sealed(msgspec.structs.replace(HISTORY[number], actor="somebody else"))
    (problem,) = verify_chain([*HISTORY[:number], forged, *HISTORY[number + 1 :]])
    assert problem.endswith(f"revision {number + 1}: does not follow the record before it")


def test_a_field_of_a_later_version_does_not_break_the_chain_but_one_added_later_does() -> None:
    fields: dict[str, Any] = msgspec.to_builtins(HISTORY[0]) | {"weather": "rain"}
    assert verify_payloads([msgspec.json.encode(fields)])
    fields["hash"] = hash_of(fields)
    assert verify_payloads([msgspec.json.encode(fields)]) == []
    assert decode_incident(msgspec.json.encode(fields)).incident_id == HISTORY[0].incident_id


@pytest.mark.parametrize("every", [1, 7, 23])
def test_the_same_log_in_one_go_or_across_restarts_gives_the_same_bytes(every: int) -> None:
    log = LoopLog()
    for day in range(3):
        for number in range(12):
            log.ticket(f"T-{day}-{number}", "flood" if number % 3 else "noise", (IN_WEST, IN_EAST, None)[number % 3])
            log.alert(f"A-{day}-{number}", place=(FAR_IN_WEST, NEXT_TO_IT)[number % 2], severity=1 + number % 4)
            log.now_ms += 17 * MINUTE
            log.tick()
        for id in log.ids:
            log.close(on=id)
        log.now_ms += 20 * HOUR
        log.tick()
    expected: list[Output] = log.out
    core, stored, out = new_core(), new_core().parts(), []
    for offset, record in enumerate(log.records):
        if offset % every == 0:
            stored |= core.dirty_parts()
            core = new_core()
            core.restore(stored)
        out += core.apply(decode_loop_record(record), offset)
    assert as_bytes(out) == as_bytes(expected)
    assert len(expected) > 400
