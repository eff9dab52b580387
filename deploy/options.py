"""Small types of the command line: languages, formats, points in time. Imports nothing heavy."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import typer

from deploy.console import UsageProblem

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file; else $TONGGUAN_CONFIG, else ./tongguan.toml.", show_default=False
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Stop after this many.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document per line, for programs.")]

_SPAN: Final = re.compile(r"(\d{1,9})\s*([smhd])")
_SPAN_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Lang(StrEnum):
    """The language of sentences."""

    ZH = "zh"
    EN = "en"


class Format(StrEnum):
    """How `tongguan sql` prints rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def lang_or_terminal(lang: Lang | None) -> Lang:
    """The language asked for, else the terminal's: Chinese where its locale says so."""
    if lang is not None:
        return lang
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return Lang.ZH if locale.lower().startswith("zh") else Lang.EN


def moment_ms(text: str, *, zone: ZoneInfo, now: datetime) -> int:
    """Epoch milliseconds of "10m" (that long before `now`) or of a time; a time without zone is in `zone`.

    Raises UsageProblem.
    """
    if span := _SPAN.fullmatch(text.strip()):
        return int(now.timestamp() * 1000) - int(span[1]) * _SPAN_MS[span[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageProblem(
            f"cannot read {text!r} as a moment; write 30s, 10m, 2h or 3d for that long ago, or a time such as "
            "2026-07-01T08:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return int(moment.astimezone(UTC).timestamp() * 1000)


def cell_number(text: str) -> int:
    """A cell id written in decimal or, as in alert ids, in hexadecimal after 0x. Raises UsageProblem."""
    try:
        return int(text, 0)
    except ValueError:
        raise UsageProblem(f"cannot read {text!r} as a cell; write it in decimal, or in hexadecimal after 0x") from None
