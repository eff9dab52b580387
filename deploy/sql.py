"""`tongguan sql`: one query on the history, as a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from deploy.config_load import load_config
from deploy.console import UsageProblem, out, safe, say
from deploy.endpoints import with_endpoints
from deploy.options import Format
from deploy.store import open_store

MAX_CELL_CHARS: Final = 120
"""In a table only; JSON and CSV are never cut."""


def run(path: Path | None, query: str | None, *, format: Format, limit: int) -> None:
    """Print the rows of `query` (standard input when None or "-") on standard output."""
    text = _query_text(query)
    config = with_endpoints(load_config(path).config)
    with open_store(config) as store:
        table = store.query_arrow(text)
    if table.num_columns:
        print_table(table, format=format, limit=limit, zone=config.city.zone_info)
    else:
        say("done, no rows 已执行，无结果", style="green")


def _query_text(query: str | None) -> str:
    if query in (None, "-"):
        if sys.stdin.isatty():
            raise UsageProblem('no query; write tongguan sql "SELECT ...", or pipe one in')
        query = sys.stdin.read()
    text = (query or "").strip().rstrip(";").strip()
    if not text:
        raise UsageProblem('the query is empty; try tongguan sql "SHOW TABLES"')
    return text


def print_table(table: pa.Table, *, format: Format, limit: int, zone: ZoneInfo) -> None:
    """Print at most `limit` rows; when there are more, say so on standard error."""
    rows = table.slice(0, limit).to_pylist()
    match format:
        case Format.JSON:
            for row in rows:
                out.out(json.dumps(row, ensure_ascii=False, default=_plain), highlight=False)
        case Format.CSV:
            _print_csv(table.column_names, rows)
        case Format.TABLE:
            _print_rich(table, rows, zone)
    if table.num_rows > limit:
        say(f"{table.num_rows - limit:,} more rows not shown; raise --limit 还有更多行", style="yellow")


def _print_csv(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow("" if value is None else _csv_value(value) for value in row.values())
    out.out(text.getvalue().rstrip("\n"), highlight=False)


def _print_rich(table: pa.Table, rows: Sequence[dict[str, Any]], zone: ZoneInfo) -> None:
    shown = Table(show_edge=False, header_style="bold")
    for field in table.schema:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        shown.add_column(Text(safe(field.name)), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_cell(value, zone)) for value in row.values()))
    out.print(shown, soft_wrap=False)
    say(f"{table.num_rows:,} row{'s' if table.num_rows != 1 else ''}", style="dim")


def _cell(value: Any, zone: ZoneInfo) -> str:
    match value:
        case None:
            return "-"
        case datetime() if value.tzinfo is not None:
            local = value.astimezone(zone)
            return f"{local:%Y-%m-%d %H:%M:%S}" + (f".{local.microsecond // 1000:03d}" if local.microsecond else "")
        case bytes() | list() | dict() | datetime():
            text = (
                str(_plain(value))
                if not isinstance(value, list | dict)
                else json.dumps(value, ensure_ascii=False, default=_plain)
            )
        case float():
            text = f"{value:.6g}"
        case _:
            text = str(value)
    text = safe(text)
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..."


def _csv_value(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=_plain) if isinstance(value, list | dict) else _plain(value)


def _plain(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case Decimal() | UUID():
            return str(value)
        case _:
            return value
