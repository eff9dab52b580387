"""The loop's sentences, in Chinese and English: what happened to an incident, and why an action was refused.

Everything that a person typed is masked before it gets here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.action import ActionName
from schemas.alert import SEVERITY_EN, SEVERITY_ZH
from schemas.incident import Step
from schemas.incident_types import IncidentTypes
from schemas.notification import NotificationKind, RefusalReason
from streams.loop_incident import Incident, Stage
from topology.departments import Departments

Sentence = tuple[str, str]
"""(Chinese, English)"""

_STEPS: Final[dict[Step, Sentence]] = {
    Step.DISCOVER: ("发现", "discovered"),
    Step.ATTACH: ("归并", "another sign of it came in"),
    Step.WORSEN: ("严重程度上升", "it got worse"),
    Step.ALERT_CLEAR: ("告警已解除，仍待处置与核查", "an alert cleared; it still has to be handled and verified"),
    Step.OVERDUE: ("超时", "overdue"),
    Step.ESCALATE: ("上报至{escalated}", "told to {escalated}"),
    Step.FILE: ("已立案", "filed"),
    Step.DISPATCH: ("已派遣至{lead}", "dispatched to {lead}"),
    Step.ACCEPT: ("{lead}已接单", "accepted by {lead}"),
    Step.START: ("{lead}开始处置", "{lead} started to handle it"),
    Step.FINISH: ("处置完成，等待核查", "finished, waits for verification"),
    Step.VERIFY_PASS: ("核查通过", "verified"),
    Step.VERIFY_FAIL: ("核查不通过，返工", "verification failed, to be handled again"),
    Step.CLOSE: ("已结案", "closed"),
    Step.RETURN: ("{gave}退单，待重新派遣", "returned by {gave}, to be dispatched again"),
    Step.TRANSFER: ("{gave}移交至{lead}", "transferred from {gave} to {lead}"),
    Step.MERGE: ("并案", "merged"),
    Step.FALSE_ALARM: ("认定为误报", "judged a false alarm"),
    Step.SUSPEND: ("已挂起", "suspended"),
    Step.RESUME: ("恢复办理", "resumed"),
    Step.REOPEN: ("重新开启", "reopened"),
    Step.CANCEL: ("已作废", "cancelled"),
    Step.REMIND: ("催办", "reminded"),
    Step.WHISTLE: ("吹哨，召集{called}", "whistle: {called} called together"),
    Step.RESPOND: ("{responded}已报到", "{responded} answered the call"),
    Step.CORRECT: ("信息已更正", "corrected"),
}
STAGES: Final[dict[Stage, Sentence]] = {
    "accept": ("接单", "taking on"),
    "handle": ("处置", "handling"),
    "verify": ("核查", "verification"),
}


class Words:
    """Makes sentences about incidents of one city."""

    def __init__(self, types: IncidentTypes, departments: Departments) -> None:
        self._types = types
        self._departments = departments

    def about(self, incident: Incident, step: Step, reason: Sentence | None) -> Sentence:
        """One sentence in each language for a change."""
        kind = self._types.find(incident.type)
        zh, en = _STEPS[step]
        heads = (
            f"{incident.place_zh}{'：' if incident.place_zh else ''}{kind.zh}（{SEVERITY_ZH[incident.severity]}），",
            f"{incident.place_en}{': ' if incident.place_en else ''}{kind.en} ({SEVERITY_EN[incident.severity]}): ",
        )
        if "{" in zh:
            zh, en = (text.format(**self._names(incident, language)) for text, language in ((zh, "zh"), (en, "en")))
        why = ("", "") if reason is None else (f"：{reason[0]}", f": {reason[1]}")
        return f"{heads[0]}{zh}{why[0]}。", f"{heads[1]}{en}{why[1]}."

    def told(self, kind: NotificationKind, about: Sentence) -> Sentence:
        return f"【{kind.zh}】{about[0]}", f"[{kind.value.replace('_', ' ')}] {about[1]}"

    def refused(
        self, action: ActionName, reason: RefusalReason, detail: Sentence, legal: Sequence[ActionName]
    ) -> Sentence:
        may_zh = "、".join(one.zh for one in legal) or "无"
        may_en = ", ".join(legal) or "nothing"
        zh = f"拒绝{action.zh}：{reason.zh}（{detail[0]}）。此时可执行：{may_zh}。"
        return zh, f"{action} refused: {detail[1]}. This role may now ask: {may_en}."

    def department(self, id: str | None) -> Sentence:
        if id is None:
            return "无", "nobody"
        return self._departments.name(id, language="zh"), self._departments.name(id, language="en")

    def _names(self, incident: Incident, language: str) -> dict[str, str]:
        def name(id: str | None) -> str:
            return "" if id is None else self._departments.name(id, language=language)

        calls = incident.whistles
        newest = max((call.called_ms for call in calls), default=0)
        responded = max(
            (c for c in calls if c.responded_ms is not None), key=lambda c: c.responded_ms or 0, default=None
        )
        comma = "、" if language == "zh" else ", "
        return {
            "lead": name(incident.lead),
            "escalated": name(incident.escalated_to),
            "gave": name(incident.gave_away[-1] if incident.gave_away else None),
            "called": comma.join(name(call.department) for call in calls if call.called_ms == newest),
            "responded": name(responded.department if responded else None),
        }
