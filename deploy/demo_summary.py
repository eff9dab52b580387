"""What came of the demo: figures, and whether they agree with each other and with what really happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec

from deploy.board_state import STAGES, CityWatch
from deploy.demo_screen import Screen
from deploy.demo_truth import KINDS, Score, medians
from deploy.incident_chain import payloads_of
from schemas.dead_letter import Reason
from schemas.incident import State, Step
from schemas.notification import NotificationKind
from streams.clickhouse import Store
from streams.loop_hash import verify_payloads
from topology.levels import Level

AT_ONCE: Final = 500
MOST_LATE: Final = 0.05
"""Of the observations: 2 % of the devices have a wrong clock, the network holds up few; more is a fault."""
COUNTS_SQL: Final = (
    "SELECT (SELECT count() FROM v_observations), (SELECT count() FROM v_dead_letters), "
    "(SELECT count() FROM v_alert_history), (SELECT count() FROM v_incident_history), "
    "(SELECT count() FROM v_notifications), (SELECT countIf(late = true) FROM v_observations)"
)
DEAD_SQL: Final = "SELECT reason, count() FROM v_dead_letters GROUP BY reason ORDER BY count() DESC, reason"
LEVELS: Final = {
    Level.CITY: ("市级", "city"),
    Level.DISTRICT: ("区级", "district"),
    Level.SUBDISTRICT: ("街镇", "subdistrict"),
    Level.COMMUNITY: ("居村", "community"),
    Level.UNIT: ("网格", "unit"),
    None: ("值班", "duty desk"),
}
STAGES_WORDS: Final = {"accept": ("接单", "accept"), "handle": ("处置", "handle"), "verify": ("核查结案", "verify")}


@dataclass(slots=True)
class Counts:
    """What the history holds."""

    observations: int = 0
    dead: int = 0
    alerts: int = 0
    changes: int = 0
    notifications: int = 0
    late: int = 0  # of the observations: kept, but not judged

    @classmethod
    def of(cls, store: Store) -> Counts:
        """Raises StoreError."""
        (counts,) = store.rows(COUNTS_SQL)
        return cls(*map(int, counts))


@dataclass(slots=True)
class Outcome:
    """The whole run. Times in seconds."""

    sent: int
    actions: int
    watch: CityWatch
    scores: Mapping[str, Score]
    counts: Counts
    dead: Mapping[str, int] = field(default_factory=dict)  # by reason
    broken: list[str] = field(default_factory=list)  # what is wrong with the stored histories
    first_alert_s: float | None = None  # after the start of the command
    running_s: float = 0.0
    total_s: float = 0.0

    def problems(self) -> Iterator[str]:
        """What does not agree; nothing when all is well."""
        counts, watch = self.counts, self.watch
        if counts.observations + counts.dead != self.sent:
            yield (
                f"{self.sent:,} records sent, but {counts.observations:,} archived and {counts.dead:,} dead: "
                f"{self.sent - counts.observations - counts.dead:,} are missing"
            )
        for what, told, stored in (
            ("alert records", watch.alert_records, counts.alerts),
            ("changes of incidents", watch.changes, counts.changes),
            ("notifications", watch.notifications, counts.notifications),
        ):
            if told != stored:
                yield f"{told:,} {what} on the topic, {stored:,} in the history"
        yield from self.broken[:10]
        if counts.late > MOST_LATE * counts.observations:
            yield f"{counts.late:,} of {counts.observations:,} observations came late, more than {MOST_LATE:.0%}"
        if not watch.alert_records:
            yield "no alert was raised"
        if not watch.latest:
            yield "no incident was opened"


def is_whole(counts: Counts, sent: int, watch: CityWatch) -> bool:
    """Whether the history has everything that was sent and told."""
    return (
        counts.observations + counts.dead == sent
        and counts.alerts == watch.alert_records
        and counts.changes == watch.changes
        and counts.notifications == watch.notifications
    )


def dead_by_reason(store: Store) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in store.rows(DEAD_SQL)}


def broken_chains(store: Store, watch: CityWatch) -> list[str]:
    """What differs between the histories on the topic and those stored, and breaks in their chains of hashes."""
    problems: list[str] = []
    names = iter(sorted(watch.hashes))
    while some := list(islice(names, AT_ONCE)):
        stored = payloads_of(store, some)
        for name in some:
            payloads = stored.get(name, [])
            problems += verify_payloads(payloads)
            if [msgspec.json.decode(one)["hash"] for one in payloads] != watch.hashes[name]:
                problems.append(f"{name}: the history on the topic and the stored one differ")
    return problems


class Summary:
    """Prints an outcome."""

    def __init__(self, screen: Screen, outcome: Outcome) -> None:
        self._screen = screen
        self._outcome = outcome

    def print(self) -> None:
        self._flow()
        self._truth()
        self._incidents()
        self._deadlines()
        self._slips()
        self._checks()

    def _flow(self) -> None:
        outcome, say = self._outcome, self._screen.say
        self._screen.heading("小结", "summary")
        reasons = say("，", ", ").join(
            f"{say(Reason(reason).zh, Reason(reason).en)} {count}" for reason, count in list(outcome.dead.items())[:4]
        )
        more = len(outcome.dead) - 4
        if more > 0:
            reasons += say(f"，另有 {more} 种原因", f", {more} more reasons")
        late = say(
            f"  其中迟到 {outcome.counts.late:,}，只归档不研判", f"  {outcome.counts.late:,} of them late: not judged"
        )
        first = "-" if outcome.first_alert_s is None else f"{outcome.first_alert_s:.1f} s"
        self._screen.facts(
            (
                ("发送记录", "records sent", f"{outcome.sent:,}"),
                ("归档观测", "observations archived", f"{outcome.counts.observations:,}" + late),
                ("死信", "dead letters", f"{outcome.counts.dead:,}" + (f"  {reasons}" if reasons else "")),
                ("首条告警", "first alert after the start", first),
                (
                    "用时",
                    "time",
                    say(
                        f"演示 {outcome.running_s:.1f} s，含启动与停止 {outcome.total_s:.1f} s",
                        f"{outcome.running_s:.1f} s, with start and stop {outcome.total_s:.1f} s",
                    ),
                ),
            )
        )

    def _truth(self) -> None:
        scores, say = self._outcome.scores, self._screen.say
        self._screen.heading("告警与实情对照", "alerts against what really happened")
        rows = []
        for category, score in scores.items():
            if score.happened or score.false:
                zh, en = KINDS.get(category, (category, category))
                rows.append(_score_row(say(zh, en), score))
        total = Score(
            sum(one.happened for one in scores.values()),
            sum(one.found for one in scores.values()),
            sum(one.false for one in scores.values()),
            [delay for one in scores.values() for delay in one.delays_s],
        )
        rows.append(_score_row(say("合计", "all"), total))
        self._screen.table(
            (
                ("类别", "category"), ("发生", "happened"), ("发现", "found"), ("漏报", "missed"), ("误报", "false"),
                ("发现用时（中位，城市时间）", "median time to the alert, city time"),
            ),
            rows,
        )  # fmt: skip

    def _incidents(self) -> None:
        watch, say = self._outcome.watch, self._screen.say
        self._screen.heading("事件", "incidents")
        tickets = sum(len(change.ticket_ids) for change in watch.latest.values() if change.state is not State.MERGED)
        states = say("，", ", ").join(
            f"{say(state.zh, state.value.replace('_', ' '))} {count}" for state, count in watch.states().items()
        )
        refused = watch.notes[NotificationKind.REFUSED]
        self._screen.facts(
            (
                ("立案", "opened", f"{len(watch.latest):,}"),
                ("其中工单", "tickets in them", f"{tickets:,}"),
                ("现状", "now", states),
                ("部门操作", "departments' actions", f"{self._outcome.actions:,}"),
                ("被拒操作", "actions refused", f"{refused:,}"),
            )
        )

    def _deadlines(self) -> None:
        say = self._screen.say
        self._screen.heading("时限：按时 / 应办", "deadlines: kept / due")
        rows = []
        for level, stages in self._outcome.watch.deadlines():
            if not any(place.kept + place.missed for place in stages.values()):
                continue
            cells = []
            for stage in STAGES:
                place = stages[stage]
                due = place.kept + place.missed
                cells.append(f"{place.kept} / {due} ({100 * place.kept / due:.0f} %)" if due else "-")
            rows.append([say(*LEVELS[level]), *cells])
        self._screen.table([("主办单位层级", "level of the lead"), *(STAGES_WORDS[stage] for stage in STAGES)], rows)

    def _slips(self) -> None:
        steps, notes = self._outcome.watch.steps, self._outcome.watch.notes
        self._screen.heading("部门失误与闭环纠正", "what departments did badly, and how the loop caught it")
        self._screen.facts(
            (
                ("退单", "returned as not theirs", f"{steps[Step.RETURN]}"),
                (
                    "虚假办结，核查退回返工",
                    "reported done but was not: verification failed",
                    f"{steps[Step.VERIFY_FAIL]}",
                ),
                ("催办", "reminded before the deadline", f"{notes[NotificationKind.REMINDER]}"),
                ("超时", "deadlines passed", f"{steps[Step.OVERDUE]}"),
                ("超时上报上级", "told to the level above", f"{steps[Step.ESCALATE]}"),
            )
        )

    def _checks(self) -> None:
        outcome = self._outcome
        if any(True for _ in outcome.problems()):
            return
        self._screen.line(
            f"  ✓ 每条记录都已归档或列入死信；{len(outcome.watch.latest):,} 件事件、{outcome.watch.changes:,} "
            "条变更与历史库逐条一致，摘要链完整",
            f"  ✓ every record is archived or dead with a reason; {len(outcome.watch.latest):,} incidents and their "
            f"{outcome.watch.changes:,} changes are the same in the history, every chain of hashes is whole",
            "green",
        )


def _score_row(name: str, score: Score) -> list[str]:
    delay = medians([score])
    return [
        name, str(score.happened), str(score.found), str(score.happened - score.found), str(score.false),
        "-" if delay is None else f"{delay / 60:.1f} min",
    ]  # fmt: skip
