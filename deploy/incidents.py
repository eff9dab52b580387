"""`tongguan incidents list` and `show`: the incidents of the history, and one with all that happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.text import Text

from deploy.config_load import load_config
from deploy.console import UsageProblem, out, safe, say
from deploy.endpoints import with_endpoints
from deploy.incident_chain import find_incident, payloads_of
from deploy.options import Lang, lang_or_terminal, moment_ms
from deploy.render import SEVERITY_STYLE, Line, Style
from deploy.render_loop import STATE_STYLE, severity_word, show_change, show_notification
from deploy.store import open_history
from schemas.action import Role
from schemas.errors import MessageError
from schemas.incident import IncidentChange, State, TicketOutcome, decode_incident
from schemas.notification import Notification
from streams.clickhouse import Store
from streams.loop_hash import verify_payloads
from streams.loop_states import legal_actions

DEFAULT_LIST: Final = 50
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which incidents; every part that is given must hold."""

    states: tuple[State, ...] = ()
    type: str | None = None
    lead: str | None = None
    district: str | None = None
    overdue: bool = False
    since_ms: int | None = None

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """What stands behind WHERE, and its parameters."""
        parts = ["state IN {states:Array(String)}"]
        values: dict[str, Any] = {"states": [state.value for state in self.states]}
        for name in ("type", "lead", "district"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name} = {{{name}:String}}")
                values[name] = value
        if self.overdue:
            parts.append("overdue")
        if self.since_ms is not None:
            parts.append("changed_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')")
            values["since"] = self.since_ms
        return " AND ".join(parts), values


def states_of(words: Sequence[str], *, everything: bool) -> tuple[State, ...]:
    """The states named, else the open ones, or all. Raises UsageProblem with the choices."""
    unknown = sorted(set(words) - set(State))
    if unknown:
        raise UsageProblem(f"unknown state {unknown[0]!r}; choose from {', '.join(State)}")
    if words:
        return tuple(State(word) for word in words)
    return tuple(state for state in State if everything or not state.ended)


def list_(
    path: Path | None,
    *,
    states: Sequence[str],
    everything: bool,
    type: str | None,
    lead: str | None,
    district: str | None,
    overdue: bool,
    since: str | None,
    limit: int | None,
    lang: Lang | None,
    as_json: bool,
) -> None:
    """Print the incidents, the worst first: past a deadline, then by severity, then the oldest."""
    chosen = states_of(states, everything=everything)
    config = with_endpoints(load_config(path).config)
    style = Style(lang_or_terminal(lang), config.city.zone_info)
    now = datetime.now(UTC)
    since_ms = None if since is None else moment_ms(since, zone=style.zone, now=now)
    wanted = Wanted(states=chosen, type=type, lead=lead, district=district, overdue=overdue, since_ms=since_ms)
    where, values = wanted.conditions()
    with open_history(config) as store:
        found = store.query_arrow(
            "SELECT incident_id, revision, type, severity, state, opened_at, changed_at, lead, district, jurisdiction,"
            " place_zh, place_en, accept_due_at, handle_due_at, verify_due_at, overdue, overdue_count, on_time,"
            " escalated_to, length(alert_ids) AS alerts, length(ticket_ids) AS tickets, sentence_zh, sentence_en,"
            f" count() OVER () AS total FROM v_incidents WHERE {where}"
            " ORDER BY overdue DESC, severity DESC, opened_at, incident_id LIMIT {limit:UInt32}",
            values | {"limit": limit or DEFAULT_LIST},
        ).to_pylist()
    total = found[0]["total"] if found else 0
    for row in found:
        del row["total"]
        if as_json:
            out.out(msgspec.json.encode(row).decode(), highlight=False)
        else:
            out.print(_summary(row, style, now))
    say(f"{total} incident{'s' if total != 1 else ''} 件事件", style="dim")
    if total > len(found):
        say(f"the first {len(found)} are shown; raise --limit for more", style="yellow")


def _summary(row: dict[str, Any], style: Style, now: datetime) -> Text:
    zh = style.lang is Lang.ZH
    state = State(row["state"])
    due = min((row[name] for name in ("accept_due_at", "handle_due_at", "verify_due_at") if row[name]), default=None)
    line = (
        Line()
        .add(style.time(_ms(row["opened_at"])), "dim")
        .add(state.zh if zh else state.value, STATE_STYLE[state])
        .add(row["incident_id"], SEVERITY_STYLE.get(row["severity"], ""))
        .add(_due_word(due, now, style) if due is not None and not state.ended else "", _due_style(due, now))
        .add(row["sentence_zh"] if zh else row["sentence_en"])
    )
    for name, word in (("alerts", "告警"), ("tickets", "工单")):
        if row[name] > 1:
            line.add(f"{row[name]} {word if zh else name}", "dim")
    if row["escalated_to"]:
        line.add(f"{'已上报' if zh else 'told to'} {row['escalated_to']}", "bold red")
    return line.text


def _due_word(due: datetime, now: datetime, style: Style) -> str:
    left_ms = _ms(due) - int(now.timestamp() * 1000)
    span = span_word(abs(left_ms), style)
    if style.lang is Lang.ZH:
        return f"剩{span}" if left_ms >= 0 else f"超时{span}"
    return f"{span} left" if left_ms >= 0 else f"{span} overdue"


def _due_style(due: datetime | None, now: datetime) -> str:
    if due is None:
        return ""
    left_ms = _ms(due) - int(now.timestamp() * 1000)
    return "bold red" if left_ms < 0 else "yellow" if left_ms < HOUR_MS else "dim"


def span_word(span_ms: int, style: Style) -> str:
    """A time span in its two largest units."""
    minutes, zh = span_ms // 60_000, style.lang is Lang.ZH
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days}天{hours}小时" if zh else f"{days} d {hours} h"
    if hours:
        return f"{hours}小时{rest}分" if zh else f"{hours} h {rest} min"
    return f"{rest}分" if zh else f"{rest} min"


def show(path: Path | None, incident: str, *, lang: Lang | None, as_json: bool) -> None:
    """Print one incident: what it is, all that happened, its tickets, and what may be done next."""
    config = with_endpoints(load_config(path).config)
    style = Style(lang_or_terminal(lang), config.city.zone_info)
    with open_history(config) as store:
        incident_id = find_incident(store, incident)
        payloads = payloads_of(store, [incident_id])[incident_id]
        told = _notifications(store, incident_id)
    changes = [change for payload in payloads if (change := _decoded(payload)) is not None]
    if as_json:
        for payload in payloads:
            out.out(payload.decode(), highlight=False)
        return
    if not changes:
        raise UsageProblem(f"incident {incident_id}: none of its {len(payloads)} records can be read by this version")
    _print_head(changes[-1], style)
    out.print(Text("经过" if style.lang is Lang.ZH else "history", style="bold"))
    for change in changes:
        out.print(Text("  ").append_text(show_change(change, style, named=False).line))
    if told:
        out.print(Text("通知" if style.lang is Lang.ZH else "notifications", style="bold"))
        for notification in told:
            out.print(Text("  ").append_text(show_notification(notification, style, named=False).line))
    _print_next(changes[-1], style)
    for problem in verify_payloads(payloads):
        say(f"chain broken 摘要链不符: {problem}", style="bold red")


def _print_head(change: IncidentChange, style: Style) -> None:
    zh = style.lang is Lang.ZH
    head = Line().add(change.incident_id, "bold cyan").add(change.state.zh if zh else change.state.value,
                                                           STATE_STYLE[change.state])  # fmt: skip
    out.print(head.add(change.sentence_zh if zh else change.sentence_en).text)
    _field("严重程度" if zh else "severity", severity_word(change.severity, style), SEVERITY_STYLE[change.severity])
    place = (change.place_zh if zh else change.place_en) or ("无法定位" if zh else "not placed")
    where = place if change.lon is None or change.lat is None else f"{place} {change.lon:.5f}, {change.lat:.5f}"
    _field("地点" if zh else "place", where)
    _field("发现" if zh else "opened", style.time(change.opened_ms))
    _field("牵头单位" if zh else "lead", change.lead or ("值班坐席" if zh else "duty desk"))
    if change.assisting:
        _field("协办单位" if zh else "assisting", ", ".join(change.assisting))
    for zh_name, en_name, due_ms, overdue in (
        ("接单期限", "accept by", change.accept_due_ms, change.accept_overdue),
        ("处置期限", "handle by", change.handle_due_ms, change.handle_overdue),
        ("结案期限", "close by", change.verify_due_ms, change.verify_overdue),
    ):
        if due_ms is not None:
            late = (" 已超时" if zh else " overdue") if overdue else ""
            _field(zh_name if zh else en_name, style.time(due_ms) + late, "bold red" if overdue else "")
    if change.escalated_to is not None:
        _field("已上报" if zh else "told to", change.escalated_to, "bold red")
    if change.merged_into is not None:
        _field("并入" if zh else "merged into", change.merged_into)
    for whistle in change.whistles:
        answered = style.time(whistle.responded_ms) if whistle.responded_ms is not None else "-"
        _field("吹哨" if zh else "called", f"{whistle.department} {'报到' if zh else 'answered'} {answered}")
    for alert in change.alert_ids:
        standing = (
            ("未解除" if zh else "standing") if alert in change.standing_alerts else ("已解除" if zh else "cleared")
        )
        _field("告警" if zh else "alert", f"{alert} {standing}")
    for ticket in change.tickets:
        _field("工单" if zh else "ticket", f"{ticket.ticket_id} {_outcome_word(ticket, style)}",
               "red" if ticket.on_time is False else "")  # fmt: skip


def _field(name: str, value: str, style: str = "") -> None:
    out.print(Text(f"  {name}: ", style="dim").append(safe(value), style=style))


def _outcome_word(ticket: TicketOutcome, style: Style) -> str:
    zh = style.lang is Lang.ZH
    if ticket.due_ms is None:
        due = "无期限" if zh else "no deadline"
    else:
        due = f"{'期限' if zh else 'due'} {style.time(ticket.due_ms)}"
    match ticket.on_time:
        case None:
            word = "办理中" if zh else "open"
        case True:
            word = "按时办结" if zh else "done in time"
        case False:
            word = "逾期" if zh else "late"
    return f"{due} {word}"


def _print_next(change: IncidentChange, style: Style) -> None:
    """Who may do what now, so that the next `tongguan act` need not be guessed."""
    zh = style.lang is Lang.ZH
    out.print(Text("此时可执行" if zh else "what may be done now", style="bold"))
    for role in Role:
        legal = legal_actions(change.state, role)
        if legal and role is not Role.SYSTEM:
            named = ", ".join(f"{action.zh} {action}" if zh else str(action) for action in legal)
            _field(f"{role.zh} {role}" if zh else str(role), named)


def _notifications(store: Store, incident_id: str) -> list[Notification]:
    rows = store.query_arrow(
        "SELECT * REPLACE (toUnixTimestamp64Milli(at) AS at) FROM v_notifications"
        " WHERE incident_id = {id:String} ORDER BY at, notification_id",
        {"id": incident_id},
    ).to_pylist()
    return [msgspec.convert({**row, "at_ms": row["at"]}, Notification) for row in rows]


def _decoded(payload: bytes) -> IncidentChange | None:
    try:
        return decode_incident(payload)
    except MessageError as error:
        say(f"passed over: {error}", style="yellow")
        return None


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
