"""The table of the loop: what may be asked in which state, by whom, and where it leads.

    state                   action         who            next
    ----------------------  -------------  -------------  ----------------------------------------
    discovered              file           O D Y          filed
    filed, returned         dispatch       D S Y          dispatched
    dispatched              accept         H              accepted
    accepted                start          H              handling
    handling                finish         H              handled
    handled                 verify_pass    V S            verified
    handled                 verify_fail    V S            handling
    verified                close          O D V S Y      closed
    verified, closed        reopen         O D V S Y      dispatched
    false_alarm, cancelled  reopen         O D S          filed
    dispatched, accepted    return         H              returned
    dispatched, accepted    transfer       H D S          dispatched
    handling                transfer       D S            dispatched
    WORKING                 suspend        D S            suspended
    suspended               resume         H D S Y        where it was
    WORKING                 whistle        F H D S        stays
    WAITING                 whistle        F D S          dispatched
    WORKING                 respond        H              stays
    OPEN                    remind         F O D S        stays
    UNHANDLED               correct        O D S          stays
    UNHANDLED               merge          O D S          merged
    UNHANDLED               false_alarm    O D V S        false_alarm
    UNHANDLED               cancel         O D S          cancelled

    WAITING    discovered, filed, returned      it lies at the duty desk
    WORKING    dispatched, accepted, handling   it lies with a department
    UNHANDLED  WAITING, WORKING, suspended
    OPEN       WAITING, WORKING, handled, verified

    O operator 值班坐席   D dispatcher 派遣员   H handler 处置单位   V verifier 核查员   S supervisor 督办
    F front_line 一线网格员   Y system: rules of the loop, and machines that act in its name

An incident closes only by way of `verified`. Suspending stops the clocks, so those whose clocks they are cannot do it.
What the table allows may still be refused for what the incident is (`streams/loop_checks.py`): the wrong department,
one's own work verified, a target that is no target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.action import ActionName, Role
from schemas.incident import State

S = State
A = ActionName


class Rule(NamedTuple):
    """Where an action leads and who may ask for it. `next` None: back to where it was before it was suspended."""

    next: State | None
    roles: frozenset[Role]


_LETTERS: Final = {
    "O": Role.OPERATOR,
    "D": Role.DISPATCHER,
    "H": Role.HANDLER,
    "V": Role.VERIFIER,
    "S": Role.SUPERVISOR,
    "F": Role.FRONT_LINE,
    "Y": Role.SYSTEM,
}
WAITING: Final = (S.DISCOVERED, S.FILED, S.RETURNED)
WORKING: Final = (S.DISPATCHED, S.ACCEPTED, S.HANDLING)
UNHANDLED: Final = (*WAITING, *WORKING, S.SUSPENDED)
OPEN: Final = (*WAITING, *WORKING, S.HANDLED, S.VERIFIED)


def _rules() -> Iterator[tuple[Iterable[State], ActionName, State | None, str]]:
    """(states, action, next state, letters of roles), as in the head of this file."""
    yield (S.DISCOVERED,), A.FILE, S.FILED, "ODY"
    yield (S.FILED, S.RETURNED), A.DISPATCH, S.DISPATCHED, "DSY"
    yield (S.DISPATCHED,), A.ACCEPT, S.ACCEPTED, "H"
    yield (S.DISPATCHED, S.ACCEPTED), A.RETURN, S.RETURNED, "H"
    yield (S.ACCEPTED,), A.START, S.HANDLING, "H"
    yield (S.HANDLING,), A.FINISH, S.HANDLED, "H"
    yield (S.HANDLED,), A.VERIFY_PASS, S.VERIFIED, "VS"
    yield (S.HANDLED,), A.VERIFY_FAIL, S.HANDLING, "VS"
    yield (S.VERIFIED,), A.CLOSE, S.CLOSED, "ODVSY"
    yield (S.SUSPENDED,), A.RESUME, None, "HDSY"
    yield (S.CLOSED, S.VERIFIED), A.REOPEN, S.DISPATCHED, "ODVSY"
    yield (S.FALSE_ALARM, S.CANCELLED), A.REOPEN, S.FILED, "ODS"
    yield (S.DISPATCHED, S.ACCEPTED), A.TRANSFER, S.DISPATCHED, "HDS"
    yield (S.HANDLING,), A.TRANSFER, S.DISPATCHED, "DS"
    yield WORKING, A.SUSPEND, S.SUSPENDED, "DS"
    yield UNHANDLED, A.MERGE, S.MERGED, "ODS"
    yield UNHANDLED, A.FALSE_ALARM, S.FALSE_ALARM, "ODVS"
    yield UNHANDLED, A.CANCEL, S.CANCELLED, "ODS"
    yield WAITING, A.WHISTLE, S.DISPATCHED, "FDS"
    for state in WORKING:
        yield (state,), A.WHISTLE, state, "FHDS"
        yield (state,), A.RESPOND, state, "H"
    for state in UNHANDLED:
        yield (state,), A.CORRECT, state, "ODS"
    for state in OPEN:
        yield (state,), A.REMIND, state, "FODS"


def _build() -> Mapping[tuple[State, ActionName], Rule]:
    table: dict[tuple[State, ActionName], Rule] = {}
    for states, action, to, letters in _rules():
        for state in states:
            if (state, action) in table:
                raise ValueError(f"loop table: {state} {action} is given twice")
            table[state, action] = Rule(to, frozenset(_LETTERS[letter] for letter in letters))
    return MappingProxyType(table)


TABLE: Final = _build()


def legal_actions(state: State, role: Role) -> list[ActionName]:
    """What a role may ask in a state, in the order of ActionName (an incident may still refuse it for what it is)."""
    return [action for action in ActionName if (rule := TABLE.get((state, action))) and role in rule.roles]
