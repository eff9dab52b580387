"""Incidents, notifications and actions as lines and documents; their words are masked already, or are masked here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from deploy.options import Lang
from deploy.render import SEVERITY_STYLE, Line, Shown, Style, unreadable
from schemas.action import ActionRecord, decode_action
from schemas.alert import SEVERITY_EN, SEVERITY_ZH
from schemas.errors import MessageError
from schemas.incident import IncidentChange, State, decode_incident
from schemas.notification import Notification, NotificationKind, decode_notification
from schemas.privacy import mask_text

STATE_STYLE: Final = {
    State.DISCOVERED: "bold",
    State.FILED: "bold",
    State.DISPATCHED: "yellow",
    State.ACCEPTED: "cyan",
    State.HANDLING: "cyan",
    State.HANDLED: "blue",
    State.VERIFIED: "green",
    State.CLOSED: "green",
    State.RETURNED: "dark_orange",
    State.SUSPENDED: "dim",
    State.MERGED: "dim",
    State.FALSE_ALARM: "dim",
    State.CANCELLED: "dim",
}
KIND_STYLE: Final = {
    NotificationKind.REFUSED: "red",
    NotificationKind.UNREADABLE: "red",
    NotificationKind.OVERDUE: "bold red",
    NotificationKind.ESCALATED: "bold red",
    NotificationKind.REMINDER: "yellow",
    NotificationKind.RETURNED: "dark_orange",
    NotificationKind.CLOSED: "green",
}
MASKED_IN_ACTIONS: Final = ("reason", "result")
_TITLE: Final = re.compile(r"\A(?:\[[^\]]*\] ?|【[^】]*】)")  # the kind, which stands before the sentence here


def render_incident(record: ConsumerRecord, style: Style) -> Iterator[Shown]:
    try:
        change = decode_incident(record.value or b"")
    except MessageError as error:
        yield unreadable(record, style, str(error))
        return
    yield show_change(change, style)


def show_change(change: IncidentChange, style: Style, *, named: bool = True) -> Shown:
    """One change of an incident; its id has the colour of its severity, which the sentence says. `named` False leaves
    the id out, where it is known."""
    zh = style.lang is Lang.ZH
    line = (
        Line()
        .add(style.time(change.at_ms), "dim")
        .add(change.state.zh if zh else change.state.value, STATE_STYLE[change.state])
        .add(change.incident_id if named else "", SEVERITY_STYLE.get(change.severity, ""))
        .add(f"r{change.revision}", "dim")
        .add(change.sentence_zh if zh else change.sentence_en)
        .add(f"{change.role.zh if zh else change.role.value} {change.actor}", "dim")
    )
    return Shown(line=line.text, document=msgspec.to_builtins(change), severity=change.severity, cell=change.cell)


def render_notification(record: ConsumerRecord, style: Style) -> Iterator[Shown]:
    try:
        notification = decode_notification(record.value or b"")
    except MessageError as error:
        yield unreadable(record, style, str(error))
        return
    yield show_notification(notification, style)


def show_notification(notification: Notification, style: Style, *, named: bool = True) -> Shown:
    """One notification. `named` False leaves the incident's id out, where it is known."""
    zh = style.lang is Lang.ZH
    kind = notification.kind
    line = (
        Line()
        .add(style.time(notification.at_ms), "dim")
        .add(kind.zh if zh else kind.value, KIND_STYLE.get(kind, "bold"))
        .add(f"-> {notification.to}", "cyan")
        .add(_TITLE.sub("", notification.sentence_zh if zh else notification.sentence_en))
        .add((notification.incident_id or "") if named else "", "dim")
    )
    return Shown(line=line.text, document=msgspec.to_builtins(notification))


def render_action(record: ConsumerRecord, style: Style) -> Iterator[Shown]:
    try:
        action = decode_action(record.value or b"")
    except MessageError as error:
        yield unreadable(record, style, str(error))
        return
    yield show_action(action, record.timestamp, style)


def show_action(action: ActionRecord, received_at_ms: int, style: Style) -> Shown:
    """One action as it was asked; what people wrote is masked."""
    zh = style.lang is Lang.ZH
    document: dict[str, Any] = msgspec.to_builtins(action)
    for name in MASKED_IN_ACTIONS:
        if name in document:
            document[name] = mask_text(document[name])
    line = (
        Line()
        .add(style.time(received_at_ms), "dim")
        .add(action.action.zh if zh else action.action.value, "bold")
        .add(action.incident_id or f"{'工单' if zh else 'ticket'} {action.ticket_id}", "cyan")
        .add(f"{action.role.zh if zh else action.role.value} {action.actor}")
        .add(f"-> {action.to_department}" if action.to_department else "", "yellow")
        .add(document.get("reason", ""))
        .add(document.get("result", ""))
        .add(action.action_id, "dim")
    )
    return Shown(line=line.text, document=document)


def severity_word(severity: int, style: Style) -> str:
    return (SEVERITY_ZH if style.lang is Lang.ZH else SEVERITY_EN).get(severity, str(severity))
