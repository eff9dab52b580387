"""The table of the loop: what its head says is what it does, and its promises hold for every state."""

from __future__ import annotations

import pytest

from schemas.action import ActionName, Role
from schemas.incident import State
from streams import loop_states
from streams.loop_states import OPEN, TABLE, UNHANDLED, WAITING, WORKING, Rule, legal_actions

GROUPS = {"WAITING": WAITING, "WORKING": WORKING, "UNHANDLED": UNHANDLED, "OPEN": OPEN}
LETTERS = dict(
    zip("ODHVSFY", ["operator", "dispatcher", "handler", "verifier", "supervisor", "front_line", "system"], strict=True)
)


def documented() -> dict[tuple[State, ActionName], Rule]:
    """The table in the head of the module, read as a person would."""
    table: dict[tuple[State, ActionName], Rule] = {}
    lines = (loop_states.__doc__ or "").split("---------\n", 1)[1].split("\n\n", 1)[0].splitlines()
    for line in lines:
        states, action, who, to = (line[4:28].strip(), line[28:43].strip(), line[43:58].split(), line[58:].strip())
        for state in GROUPS.get(states) or tuple(map(State, states.split(", "))):
            into = {"stays": state, "where it was": None}.get(to, to)
            key = (state, ActionName(action))
            assert key not in table
            table[key] = Rule(None if into is None else State(into), frozenset(Role(LETTERS[w]) for w in who))
    return table


def test_the_table_that_people_read_is_the_table_that_holds() -> None:
    assert documented() == dict(TABLE)


def test_an_incident_closes_only_from_verified_and_is_verified_only_from_handled() -> None:
    into_closed = {key for key, rule in TABLE.items() if rule.next is State.CLOSED is not key[0]}
    into_verified = {key for key, rule in TABLE.items() if rule.next is State.VERIFIED is not key[0]}
    into_handled = {key for key, rule in TABLE.items() if rule.next is State.HANDLED is not key[0]}
    assert into_closed == {(State.VERIFIED, ActionName.CLOSE)}
    assert into_verified == {(State.HANDLED, ActionName.VERIFY_PASS)}
    assert into_handled == {(State.HANDLING, ActionName.FINISH)}


def test_no_role_handles_and_verifies() -> None:
    handling = {role for (_, action), rule in TABLE.items() if action is ActionName.FINISH for role in rule.roles}
    verifying = {
        role
        for (_, action), rule in TABLE.items()
        if action in (ActionName.VERIFY_PASS, ActionName.VERIFY_FAIL)
        for role in rule.roles
    }
    assert not handling & verifying


@pytest.mark.parametrize("state", State)
def test_every_state_that_has_not_ended_has_a_way_to_go_on(state: State) -> None:
    ways = [rule for (at, _), rule in TABLE.items() if at is state and rule.next is not state]
    assert ways or state is State.MERGED


def test_every_state_can_be_reached() -> None:
    reached, todo = {State.DISCOVERED}, [State.DISCOVERED]
    for state in todo:  # grows while it runs
        for (at, _), rule in TABLE.items():
            if at is state and rule.next is not None and rule.next not in reached:
                reached.add(rule.next)
                todo.append(rule.next)
    assert reached == set(State)


@pytest.mark.parametrize("action", ActionName)
def test_every_action_is_good_for_something(action: ActionName) -> None:
    assert any(at_action is action for _, at_action in TABLE)


def test_legal_actions_lists_what_a_role_may_ask() -> None:
    assert legal_actions(State.HANDLED, Role.VERIFIER) == [ActionName.VERIFY_PASS, ActionName.VERIFY_FAIL]
    assert legal_actions(State.DISPATCHED, Role.VERIFIER) == [ActionName.FALSE_ALARM]
    assert legal_actions(State.HANDLING, Role.FRONT_LINE) == [ActionName.REMIND, ActionName.WHISTLE]
    assert legal_actions(State.MERGED, Role.SUPERVISOR) == []
