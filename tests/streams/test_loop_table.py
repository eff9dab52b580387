"""Every action by every role in every state: done exactly when the table has it, else refused with the legal ones."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.action import ActionName, Role
from schemas.incident import IncidentChange, State
from schemas.notification import Notification, RefusalReason
from streams.loop_settings import DispatchSettings
from streams.loop_states import TABLE, legal_actions
from tests.support.loop_city import FAR_IN_WEST
from tests.support.loop_log import LoopLog, new_core

WAY_TO: dict[State, list[tuple[str, str, str]]] = {
    State.DISCOVERED: [],
    State.FILED: [("file", "operator", "o")],
    State.DISPATCHED: [("file", "operator", "o"), ("dispatch", "dispatcher", "d")],
}
WAY_TO[State.ACCEPTED] = [*WAY_TO[State.DISPATCHED], ("accept", "handler", "h")]
WAY_TO[State.HANDLING] = [*WAY_TO[State.ACCEPTED], ("start", "handler", "h")]
WAY_TO[State.HANDLED] = [*WAY_TO[State.HANDLING], ("finish", "handler", "h")]
WAY_TO[State.VERIFIED] = [*WAY_TO[State.HANDLED], ("verify_pass", "verifier", "v")]
WAY_TO[State.CLOSED] = [*WAY_TO[State.VERIFIED], ("close", "operator", "o")]
WAY_TO[State.RETURNED] = [*WAY_TO[State.DISPATCHED], ("return", "handler", "h")]
WAY_TO[State.SUSPENDED] = [*WAY_TO[State.ACCEPTED], ("suspend", "supervisor", "s")]
WAY_TO[State.MERGED] = [("merge", "dispatcher", "d")]
WAY_TO[State.FALSE_ALARM] = [("false_alarm", "operator", "o")]
WAY_TO[State.CANCELLED] = [("cancel", "operator", "o")]


def in_state(state: State) -> LoopLog:
    """An incident in this state, beside another one that is open, both dispatched by hand."""
    log = LoopLog(new_core(DispatchSettings(auto_file=False, auto_dispatch=False)))
    log.alert("A-1")
    log.alert("A-2", place=FAR_IN_WEST)
    for action, role, actor in WAY_TO[state]:
        log.act(action, role, actor, to_department="west-water", reason="r", into_incident_id=log.ids[1])
    assert log.latest().state is state
    return log


def complete(log: LoopLog, action: ActionName) -> dict[str, Any]:
    """All that an action may need; for `respond` somebody has been called."""
    department = "west-roads" if action is ActionName.RESPOND else None
    return {
        "reason": "r",
        "to_department": "east-water",
        "departments": ["north-street"],
        "into_incident_id": log.ids[1],
        "severity": 3,
        "department": department,
    }


@pytest.mark.parametrize("state", State)
def test_each_action_is_done_exactly_when_the_table_has_it(state: State) -> None:
    start = in_state(state)
    if (state, ActionName.RESPOND) in TABLE:
        start.act("whistle", "supervisor", "s", departments=["west-roads"])
    parts, incident_id = start.core.parts(), start.first
    for action in ActionName:
        for role in Role:
            log = LoopLog(new_core(DispatchSettings(auto_file=False, auto_dispatch=False)), start.now_ms)
            log.core.restore(parts)
            log.counts.update(start.counts)
            out = log.act(action, role, "somebody-else", on=incident_id, **complete(start, action))
            rule = TABLE.get((state, action))
            if rule is not None and role in rule.roles:
                change = out[0]
                assert isinstance(change, IncidentChange), (state, action, role, change.sentence_en)
                assert change.action.value == action.value and change.previous_state is state
                wanted = State.ACCEPTED if action is ActionName.RESUME else rule.next
                assert change.state is wanted
                assert change.role is role and change.actor == "somebody-else" and change.reason == "r"
            else:
                (answer,) = out
                assert isinstance(answer, Notification)
                assert answer.refusal is (RefusalReason.ILLEGAL if rule is None else RefusalReason.WRONG_ROLE)
                assert answer.legal == legal_actions(state, role)
