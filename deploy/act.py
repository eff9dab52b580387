"""`tongguan act`: ask something of an incident, and wait for what the loop says to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import ExitCode, UsageProblem, out, say
from deploy.endpoints import bootstrap_of, with_endpoints
from deploy.options import Lang, lang_or_terminal, moment_ms
from deploy.render import Shown, Style
from deploy.render_loop import show_change, show_notification
from schemas.action import ActionName, ActionRecord, Role, decode_action, encode_action
from schemas.errors import MessageError
from schemas.incident import IncidentChange, decode_incident
from schemas.notification import Notification, NotificationKind, decode_notification
from streams.topic_admin import BrokerAway, partition_counts

POLL_MS: Final = 200
MORE_S: Final = 0.5  # one action may change two incidents: what comes so soon after the first answer is shown with it
NO_SUCH: Final = (NotificationKind.REFUSED, NotificationKind.UNREADABLE)

Answer = IncidentChange | Notification


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line's words; None where nothing was said."""

    incident: str
    action: str
    actor: str
    role: str
    by_ticket: bool = False
    department: str | None = None
    reason: str | None = None
    result: str | None = None
    to_department: str | None = None
    departments: Sequence[str] = ()
    into: str | None = None
    until: str | None = None
    category: str | None = None
    severity: int | None = None
    lon: float | None = None
    lat: float | None = None
    at: str | None = None
    expected_revision: int | None = None
    action_id: str | None = None


def action_of(request: Request, config: TongguanConfig, now: datetime) -> ActionRecord:
    """The action that is asked. Raises UsageProblem with the choices, or with what the loop would not read."""
    name = _choice("action", request.action, ActionName)
    role = _choice("role", request.role, Role)
    zone = config.city.zone_info
    action = ActionRecord(
        action_id=request.action_id or f"cli-{uuid4().hex[:12]}",
        action=name,
        actor=request.actor,
        role=role,
        ts=int(now.timestamp() * 1000) if request.at is None else moment_ms(request.at, zone=zone, now=now),
        incident_id=None if request.by_ticket else request.incident,
        ticket_id=request.incident if request.by_ticket else None,
        department=request.department,
        reason=request.reason,
        result=request.result,
        expected_revision=request.expected_revision,
        to_department=request.to_department,
        departments=list(request.departments),
        into_incident_id=request.into,
        until_ts=None if request.until is None else _until_ms(request.until, config, now),
        category=request.category,
        severity=request.severity,
        lon=request.lon,
        lat=request.lat,
    )
    try:
        decode_action(encode_action(action))
    except MessageError as error:
        raise UsageProblem(str(error).removeprefix("schemas/action: ")) from None
    return action


def _until_ms(text: str, config: TongguanConfig, now: datetime) -> int:
    """A time, or 2h for two hours from now: a span looks ahead here, not back."""
    at_ms = moment_ms(text, zone=config.city.zone_info, now=now)
    now_ms = int(now.timestamp() * 1000)
    is_span = text.strip()[-1:] in "smhd" and text.strip()[:-1].strip().isdecimal()
    return 2 * now_ms - at_ms if is_span else at_ms


def _choice(what: str, word: str, choices: type[ActionName] | type[Role]) -> Any:
    """A word of a closed set; what is Chinese for one is taken as well."""
    wanted = word.strip().casefold().replace("-", "_")
    for choice in choices:
        if wanted in (choice.value, choice.zh):
            return choice
    raise UsageProblem(f"unknown {what} {word!r}; choose from {', '.join(choices)}")


def run(path: Path | None, request: Request, *, wait_s: float, lang: Lang | None, as_json: bool) -> None:
    """Send the action and print the answer. Ends with 1 when it was refused, with 3 when nobody answers."""
    config = with_endpoints(load_config(path).config)
    action = action_of(request, config, datetime.now(UTC))
    style = Style(lang_or_terminal(lang), config.city.zone_info)
    bootstrap = bootstrap_of(config)
    try:
        answers = asyncio.run(_ask(config, bootstrap, action, wait_s))
    except KafkaError as error:
        raise BrokerAway(f"kafka at {bootstrap}: {error}") from error
    if wait_s == 0:
        say(f"sent, not waiting for an answer: {action.action_id} 已提交", style="dim")
        return
    for answer in answers:
        shown = _shown(answer, style)
        if as_json:
            out.out(msgspec.json.encode(shown.document).decode(), highlight=False)
        else:
            out.print(shown.line)
    if not answers:
        say(
            f"no answer in {wait_s:g} s to {action.action_id}: is a worker with the role dispatch running? "
            "What was asked stays on its topic and is done when one runs. 暂无答复，操作已提交",
            style="yellow",
        )
        raise typer.Exit(ExitCode.AWAY)
    refusals = [answer for answer in answers if isinstance(answer, Notification) and answer.kind in NO_SUCH]
    if refusals and refusals[0].legal and style.lang is Lang.ZH and not as_json:
        # the sentence has their Chinese names, the command line wants these (and takes the others too)
        say("可用的操作名：" + ", ".join(refusals[0].legal), style="yellow")
    if refusals:
        raise typer.Exit(ExitCode.PROBLEMS)


def _shown(answer: Answer, style: Style) -> Shown:
    return show_change(answer, style) if isinstance(answer, IncidentChange) else show_notification(answer, style)


async def _ask(config: TongguanConfig, bootstrap: str, action: ActionRecord, wait_s: float) -> list[Answer]:
    names, options = config.topic_names, config.kafka.aiokafka_options()
    counts = await asyncio.to_thread(partition_counts, bootstrap, options=options)
    missing = {names.actions, names.incidents, names.notifications} - set(counts)
    if missing:
        raise UsageProblem(f"topics {', '.join(sorted(missing))} do not exist; run `tongguan topics apply` first")
    places = [TopicPartition(t, p) for t in (names.incidents, names.notifications) for p in range(counts[t])]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, **options)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, **options)
    try:
        await consumer.start()
        await producer.start()
        await _watch(consumer, places)
        await producer.send_and_wait(names.actions, encode_action(action), key=action.key)
        return await _answers(consumer, names.incidents, action.action_id, wait_s) if wait_s else []
    finally:
        await producer.stop()
        await consumer.stop()


async def _watch(consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> None:
    """Read from the present ends on: an answer can only come after the question."""
    consumer.assign(places)
    for place, end in (await consumer.end_offsets(places)).items():
        consumer.seek(place, end)


async def _answers(consumer: AIOKafkaConsumer, incidents: str, action_id: str, wait_s: float) -> list[Answer]:
    answers: list[Answer] = []
    until = time.monotonic() + wait_s
    while (now := time.monotonic()) < until:
        for batch in (await consumer.getmany(timeout_ms=POLL_MS)).values():
            for record in batch:
                answer = _read(record.value or b"", is_change=record.topic == incidents)
                # a notification that others get about the same action has no action id
                if answer is not None and answer.action_id == action_id:
                    if not answers:
                        until = now + MORE_S
                    answers.append(answer)
    return answers


def _read(payload: bytes, *, is_change: bool) -> Answer | None:
    try:
        return decode_incident(payload) if is_change else decode_notification(payload)
    except MessageError:
        return None  # another's message: not the answer that is waited for
