"""Whether an action may be done: one question after the other, the first that fails is the answer.

Nothing is changed before all of them have passed, so an action is done whole or not at all.

Who may verify: GB/T 30428 (digital urban management) parts supervision and command (监管分离): those who judge a case
closed are not those who handle it, neither the person nor the department. So nobody may verify who ever took on,
started, finished or answered a call for this incident, nor anybody of a department that did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.action import ActionName, ActionRecord, Role
from schemas.notification import RefusalReason
from streams.loop_incident import Incident, Incidents
from streams.loop_settings import MAX_MEMBERS
from streams.loop_states import TABLE, WORKING, legal_actions
from streams.loop_words import Sentence
from topology.city import City
from topology.grid import NO_CELL

A = ActionName

NEEDS_REASON: Final = frozenset({A.RETURN, A.TRANSFER, A.VERIFY_FAIL, A.FALSE_ALARM, A.CANCEL, A.SUSPEND, A.REOPEN})
"""What goes off the straight way is explained."""
OF_THE_LEAD: Final = frozenset({A.ACCEPT, A.START, A.FINISH, A.RETURN, A.TRANSFER, A.RESUME})
"""Of what a handler may ask, what only the lead's may."""


class Refusal(NamedTuple):
    """Why not, and in one more sentence in each language."""

    reason: RefusalReason
    detail: Sentence


@dataclass(frozen=True, slots=True)
class Asked:
    """An action that could be read, with what the checks need to know."""

    action: ActionRecord
    incident: Incident
    at_ms: int
    until_ms: int | None
    incidents: Incidents
    city: City
    skew_ms: int

    @property
    def department(self) -> str | None:
        """The actor's department; a handler who names none belongs to the lead."""
        if self.action.department is None and self.action.role is Role.HANDLER:
            return self.incident.lead
        return self.action.department


def first_refusal(asked: Asked) -> Refusal | None:
    """The answer of the first check that fails; None when the action may be done."""
    for check in CHECKS:
        refusal = check(asked)
        if refusal is not None:
            return refusal
    return None


def not_stale(asked: Asked) -> Refusal | None:
    seen, now = asked.action.expected_revision, asked.incident.revision
    if seen is None or seen == now:
        return None
    return Refusal(
        RefusalReason.STALE, (f"所据修订号 {seen}，现为 {now}", f"it was asked of revision {seen}, now it is {now}")
    )


def in_table(asked: Asked) -> Refusal | None:
    state, action, role = asked.incident.state, asked.action.action, asked.action.role
    rule = TABLE.get((state, action))
    if rule is None:
        into = asked.incident.merged_into
        more = (f"，见 {into}", f", see {into}") if into is not None else ("", "")
        return Refusal(RefusalReason.ILLEGAL, (f"状态为{state.zh}{more[0]}", f"the incident is {state}{more[1]}"))
    if role not in rule.roles:
        may = sorted(rule.roles)
        return Refusal(
            RefusalReason.WRONG_ROLE,
            (f"须由{'、'.join(one.zh for one in may)}执行", f"a {role} may not, only {', '.join(may)}"),
        )
    return None


def in_order(asked: Asked) -> Refusal | None:
    """A hand terminal's clock may be a little behind; what was done before it cannot be undone by it."""
    if asked.at_ms >= asked.incident.acted_ms - asked.skew_ms:
        return None
    late_s = (asked.incident.acted_ms - asked.at_ms) // 1000
    return Refusal(
        RefusalReason.OUT_OF_ORDER,
        (f"早于此前状态变化 {late_s} 秒", f"its time is {late_s} s before the last change of state"),
    )


def right_department(asked: Asked) -> Refusal | None:
    incident, department = asked.incident, asked.department
    if asked.action.role is not Role.HANDLER or asked.action.action not in OF_THE_LEAD:
        return None
    if department == incident.lead:
        return None
    return Refusal(
        RefusalReason.WRONG_DEPARTMENT,
        (f"主办单位为 {incident.lead}", f"it lies with {incident.lead}, not {department}"),
    )


def not_own_work(asked: Asked) -> Refusal | None:
    if asked.action.action not in (A.VERIFY_PASS, A.VERIFY_FAIL):
        return None
    incident, action = asked.incident, asked.action
    if same_person(action.actor) in incident.hands:
        return Refusal(RefusalReason.SELF_VERIFICATION, (f"{action.actor} 参与了处置", f"{action.actor} worked on it"))
    if action.department is not None and action.department in incident.hand_departments:
        return Refusal(
            RefusalReason.SELF_VERIFICATION,
            (f"{action.department} 参与了处置", f"department {action.department} worked on it"),
        )
    return None


def has_reason(asked: Asked) -> Refusal | None:
    if asked.action.action in NEEDS_REASON and not (asked.action.reason or "").strip():
        return Refusal(RefusalReason.INCOMPLETE, ("请填写原因 reason", "it needs a reason"))
    return None


def departments_known(asked: Asked) -> Refusal | None:
    action = asked.action
    if action.action not in (A.DISPATCH, A.TRANSFER, A.WHISTLE):
        return None
    named = [*([] if action.to_department is None else [action.to_department]), *action.departments]
    unknown = [one for one in named if one not in asked.city.departments]
    if unknown:
        return Refusal(
            RefusalReason.UNKNOWN_DEPARTMENT, (f"{'、'.join(unknown)}", f"no department {', '.join(unknown)}")
        )
    return None


def dispatch_whole(asked: Asked) -> Refusal | None:
    action = asked.action
    if action.action not in (A.DISPATCH, A.TRANSFER):
        return None
    if action.to_department is None:
        return Refusal(RefusalReason.INCOMPLETE, ("请填写派往单位 to_department", "it needs to_department"))
    if action.action is A.TRANSFER and action.to_department == asked.incident.lead:
        return Refusal(RefusalReason.NOTHING_TO_DO, ("已在该单位", f"{action.to_department} has it already"))
    return None


def whistle_whole(asked: Asked) -> Refusal | None:
    if asked.action.action is not A.WHISTLE:
        return None
    if not asked.action.departments and asked.action.to_department is None:
        return Refusal(RefusalReason.INCOMPLETE, ("请填写召集单位 departments", "it needs departments to call"))
    if asked.incident.state in WORKING and not newly_called(asked.action, asked.incident):
        return Refusal(RefusalReason.NOTHING_TO_DO, ("这些单位已在办理或已召集", "all of them have it or were called"))
    return None


def called(asked: Asked) -> Refusal | None:
    if asked.action.action is not A.RESPOND:
        return None
    department = asked.action.department
    if department is None:
        return Refusal(RefusalReason.INCOMPLETE, ("请填写单位 department", "it needs the actor's department"))
    if any(one.department == department and one.responded_ms is None for one in asked.incident.whistles):
        return None
    return Refusal(
        RefusalReason.NOTHING_TO_DO, (f"{department} 未被召集或已报到", f"{department} was not called, or has answered")
    )


def good_target(asked: Asked) -> Refusal | None:
    if asked.action.action is not A.MERGE:
        return None
    into = asked.action.into_incident_id
    if into is None:
        return Refusal(RefusalReason.INCOMPLETE, ("请填写并入的事件 into_incident_id", "it needs into_incident_id"))
    target = asked.incidents.by_id.get(into)
    if target is None:
        return Refusal(RefusalReason.BAD_TARGET, (f"没有事件 {into}", f"no incident {into}"))
    if target is asked.incident:
        return Refusal(RefusalReason.BAD_TARGET, ("不能并入自身", "it is the same incident"))
    if target.members + asked.incident.members > MAX_MEMBERS:
        return Refusal(
            RefusalReason.BAD_TARGET,
            (f"合计超过 {MAX_MEMBERS} 条告警与工单", f"together they hold more than {MAX_MEMBERS} alerts and tickets"),
        )
    if target.state.ended:
        return Refusal(RefusalReason.BAD_TARGET, (f"{into} {target.state.zh}", f"{into} is {target.state}"))
    return None


def suspension_ends_later(asked: Asked) -> Refusal | None:
    if asked.action.action is A.SUSPEND and asked.until_ms is not None and asked.until_ms <= asked.at_ms:
        return Refusal(RefusalReason.BAD_TIME, ("挂起至的时间不晚于现在", "until_ts is not later than ts"))
    return None


def something_corrected(asked: Asked) -> Refusal | None:
    action = asked.action
    if action.action is not A.CORRECT:
        return None
    if action.category is None and action.severity is None and action.lon is None:
        return Refusal(
            RefusalReason.INCOMPLETE,
            ("请填写 category、severity 或坐标", "it needs category, severity, or lon and lat"),
        )
    if action.lon is not None and action.lat is not None and asked.city.grid.cell(action.lon, action.lat) == NO_CELL:
        return Refusal(RefusalReason.INCOMPLETE, ("坐标在本市范围之外", "the place is outside the city"))
    return None


CHECKS: Final[tuple[Callable[[Asked], Refusal | None], ...]] = (
    not_stale, in_table, in_order, right_department, not_own_work, has_reason,
    departments_known, dispatch_whole, whistle_whole, called, good_target, suspension_ends_later, something_corrected,
)  # fmt: skip


def legal_for(incident: Incident | None, role: Role) -> list[ActionName]:
    """What an answer to a refused action lists."""
    return [] if incident is None else legal_actions(incident.state, role)


def same_person(actor: str) -> str:
    """How actors are compared: a staff number in other letters is the same person."""
    return actor.strip().casefold()


def newly_called(action: ActionRecord, incident: Incident) -> list[str]:
    """The departments that a whistle really calls: not the lead, not those whose answer is still awaited."""
    lead = whistle_lead(action, incident)
    waiting = {call.department for call in incident.whistles if call.responded_ms is None}
    named = dict.fromkeys([*([action.to_department] if action.to_department else []), *action.departments])
    return [one for one in named if one != lead and one not in waiting]


def whistle_lead(action: ActionRecord, incident: Incident) -> str | None:
    """Who leads the joint incident: who has it already, else who is named to, else the first that is called."""
    if incident.state in WORKING:
        return incident.lead
    return action.to_department or (action.departments[0] if action.departments else None)
