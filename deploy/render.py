"""Turns a message of any topic into something a person can read; personal fields leave here masked or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from aiokafka import ConsumerRecord
from rich.text import Text

from deploy.console import safe
from deploy.options import Lang
from schemas.alert import SEVERITY_EN, SEVERITY_ZH, Action, Alert, decode_alert
from schemas.dead_letter import DeadLetter, decode_dead_letter
from schemas.errors import FrameError, MessageError
from schemas.observation import E7, NO_CELL, NO_PLACE_E7, Flag, Quality, decode_frame
from schemas.privacy import mask_extra, mask_payload, mask_text

SEVERITY_STYLE: Final = {1: "blue", 2: "yellow", 3: "dark_orange", 4: "bold red"}
ACTION_STYLE: Final = {Action.RAISE: "bold", Action.UPDATE: "", Action.CLEAR: "green"}
MAX_SHOWN_CHARS: Final = 400
"""A line of a terminal is for looking; `--json` gives the whole (masked) record."""
MAX_EVIDENCE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One thing to look at: a line for people, a document for programs, and what can be filtered on."""

    line: Text
    document: Mapping[str, Any]
    detector: str | None = None
    severity: int | None = None
    cell: int | None = None
    trouble: bool = False
    """Whether the message could not be read as what its topic promises."""


@dataclass(frozen=True, slots=True)
class Style:
    """How to show: language, time zone."""

    lang: Lang
    zone: ZoneInfo

    def time(self, epoch_ms: int) -> str:
        try:
            moment = datetime.fromtimestamp(epoch_ms / 1000, UTC).astimezone(self.zone)
        except (ValueError, OverflowError, OSError):  # a producer's timestamp can be anything
            return f"@{epoch_ms}"
        return moment.strftime("%m-%d %H:%M:%S")


Renderer = Callable[[ConsumerRecord, Style], Iterator[Shown]]


@dataclass(slots=True)
class Line:
    """A line that is put together from parts, each made safe to print."""

    text: Text = field(default_factory=Text)

    def add(self, part: str, style: str = "") -> Line:
        if part:
            self.text.append((" " if self.text else "") + safe(part), style=style)
        return self


def render_alert(record: ConsumerRecord, style: Style) -> Iterator[Shown]:
    try:
        alert = decode_alert(record.value or b"")
    except MessageError as error:
        yield unreadable(record, style, str(error))
        return
    yield show_alert(alert, style)


def show_alert(alert: Alert, style: Style) -> Shown:
    """One alert record as a line and as a document."""
    zh = style.lang is Lang.ZH
    level = (SEVERITY_ZH if zh else SEVERITY_EN).get(alert.severity, str(alert.severity))
    line = (
        Line()
        .add(style.time(alert.window_end_ms), "dim")
        .add(alert.action.zh if zh else alert.action.value, ACTION_STYLE[alert.action])
        .add(level, SEVERITY_STYLE.get(alert.severity, ""))
        .add(alert.detector, "cyan")
        .add(alert.sentence_zh if zh else alert.sentence_en)
        .add((alert.place_zh if zh else alert.place_en) or "", "magenta")
        .add(f"0x{alert.cell:x}", "dim")
    )
    if alert.evidence:
        more = len(alert.evidence) - MAX_EVIDENCE
        listed = " ".join(alert.evidence[:MAX_EVIDENCE]) + (f" +{more}" if more > 0 else "")
        line.add(("证据 " if zh else "evidence ") + listed, "dim")
    return Shown(
        line=line.text,
        document=msgspec.to_builtins(alert),
        detector=alert.detector,
        severity=alert.severity,
        cell=alert.cell,
    )


def render_dead_letter(record: ConsumerRecord, style: Style) -> Iterator[Shown]:
    try:
        letter = decode_dead_letter(record.value or b"")
    except MessageError as error:
        yield unreadable(record, style, str(error))
        return
    yield show_dead_letter(letter, style)


def show_dead_letter(letter: DeadLetter, style: Style) -> Shown:
    """One dead letter; its bytes are shown as masked text."""
    words = letter.reason.zh if style.lang is Lang.ZH else letter.reason.en
    payload = mask_payload(letter.payload)
    detail = mask_text(letter.detail)
    line = (
        Line()
        .add(style.time(letter.received_at_ms), "dim")
        .add(f"{letter.topic}:{letter.partition}:{letter.offset}", "cyan")
        .add(letter.reason.value, "red")
        .add(f"({words})")
        .add(f"{detail} - at {letter.path}")
        .add(_short(payload), "dim")
    )
    document = msgspec.to_builtins(letter) | {"detail": detail, "payload": payload}
    del document["payload_b64"]  # the same bytes, unmasked
    return Shown(line=line.text, document=document)


def render_observations(record: ConsumerRecord, style: Style) -> Iterator[Shown]:
    try:
        header, batch = decode_frame(record.value or b"")
    except FrameError as error:
        yield unreadable(record, style, str(error))
        return
    for row in batch.to_pylist():
        yield _observation(header.shard, row, style)


def _observation(shard: int, row: dict[str, Any], style: Style) -> Shown:
    event_at, received_at = row.pop("event_at"), row.pop("received_at")
    event_at_ms = int(event_at.timestamp() * 1000)
    flags = [flag.name.lower() for flag in Flag if row["flags"] & flag and flag.name]
    lon_e7, lat_e7 = row.pop("lon_e7"), row.pop("lat_e7")
    placed = lon_e7 != NO_PLACE_E7
    extra = mask_extra(row["extra"])
    document = {
        "event_at_ms": event_at_ms,
        "received_at_ms": int(received_at.timestamp() * 1000),
        "shard": shard,
        **row,
        "flags": flags,
        "lon": lon_e7 / E7 if placed else None,
        "lat": lat_e7 / E7 if placed else None,
        "extra": extra if extra is None else json.loads(extra),
    }
    value = "-" if row["value"] != row["value"] else f"{row['value']:g}"
    quality = Quality(row["quality"]).name.lower() if row["quality"] in (1, 2) else ""
    line = (
        Line()
        .add(style.time(event_at_ms), "dim")
        .add(f"{row['source']}:{row['partition']}:{row['offset']}", "cyan")
        .add(f"{row['kind']} = {value} {row['unit'] or ''}".rstrip(), "bold")
        .add(row["entity"])
        .add("" if row["cell"] == NO_CELL else f"0x{row['cell']:x}", "dim")
        .add(row["jurisdiction"] or "", "dim")
        .add(quality, "yellow")
        .add(",".join(flags), "yellow")
        .add(_short(extra or ""), "dim")
    )
    return Shown(line=line.text, document=document, cell=row["cell"])


def render_raw(record: ConsumerRecord, style: Style) -> Iterator[Shown]:
    """A record of a raw topic, whatever it holds."""
    shown = "null" if record.value is None else mask_payload(record.value)
    line = Line().add(style.time(record.timestamp), "dim").add(_place(record), "cyan").add(_short(shown))
    document = {"place": _place(record), "received_at_ms": record.timestamp, "record": _json_or_text(shown)}
    yield Shown(line=line.text, document=document)


def unreadable(record: ConsumerRecord, style: Style, why: str) -> Shown:
    """A message that is not what its topic promises."""
    why = mask_text(why)
    line = Line().add(style.time(record.timestamp), "dim").add(_place(record), "cyan").add(why, "red")
    return Shown(line=line.text, document={"place": _place(record), "unreadable": why}, trouble=True)


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}:{record.partition}:{record.offset}"


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text
