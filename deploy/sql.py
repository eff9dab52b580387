"""`tongguan sql`: one query on the history, as a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from deploy.config_load import load_config
from deploy.console import UsageProblem, out, safe, say
from deploy.endpoints import with_endpoints
from deploy.options import Format
from deploy.store import open_history
from streams.clickhouse import Store

MAX_CELL_CHARS: Final = 120
"""In a table only; JSON and CSV are never cut."""
PIPE_WIDTH: Final = 10_000
"""Columns of a table that goes into a file or another program: no line is folded there."""
READS: Final = ("SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS")


def run(path: Path | None, query: str | None, *, format: Format, limit: int) -> None:
    """Print the rows of `query` (standard input when None or "-") on standard output."""
    text = check_query(_read_query(query))
    config = with_endpoints(load_config(path).config)
    with open_history(config) as store:
        table = with_times(store.query_arrow(text), _column_types(store, text))
    print_table(table, format=format, limit=limit, zone=config.city.zone_info)


def _column_types(store: Store, query: str) -> dict[str, str]:
    """ClickHouse's own types of the result, where it can tell: Arrow has lost some of them."""
    if not query.upper().startswith(("SELECT", "WITH")):
        return {}
    return {str(row[0]): str(row[1]) for row in store.rows(f"DESCRIBE TABLE ({query}\n)")}


def with_times(table: pa.Table, types: Mapping[str, str]) -> pa.Table:
    """The table with its DateTime columns as times: ClickHouse writes them into Arrow as bare seconds."""
    for index, field in enumerate(table.schema):
        kind = types.get(field.name, "").removeprefix("Nullable(").removesuffix(")")
        if kind.startswith("DateTime") and not kind.startswith("DateTime64") and pa.types.is_integer(field.type):
            times = table.column(index).cast(pa.int64()).cast(pa.timestamp("s", tz="UTC"))
            table = table.set_column(index, field.name, times)
    return table


def _read_query(query: str | None) -> str:
    if query not in (None, "-"):
        return str(query)
    if sys.stdin.isatty():
        raise UsageProblem('no query; write tongguan sql "SELECT ...", or pipe one in')
    return sys.stdin.read()


def check_query(query: str) -> str:
    """The query without its final semicolon. Raises UsageProblem unless it only reads and leaves the format to us."""
    text = query.strip().rstrip(";").strip()
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL).strip().lstrip("( \n\t")
    if not bare:
        raise UsageProblem('the query is empty; try tongguan sql "SHOW TABLES"')
    word = re.split(r"[^A-Za-z]", bare, maxsplit=1)[0].upper()
    if word not in READS:
        raise UsageProblem(
            f"{word or bare[:20]!r} is not a query; this command only reads ({', '.join(READS)}). "
            "Tables are made by `tongguan migrate` and filled by the archive"
        )
    if re.search(r"\bFORMAT\s+[A-Za-z]+\s*$", bare, re.IGNORECASE):
        raise UsageProblem("leave FORMAT out of the query; choose with --format table, json or csv")
    return text


def print_table(table: pa.Table, *, format: Format, limit: int, zone: ZoneInfo) -> None:
    """Print at most `limit` rows; when there are more, say so on standard error."""
    rows = table.slice(0, limit).to_pylist(maps_as_pydicts="lossy")
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
        is_short = is_number or pa.types.is_temporal(field.type) or pa.types.is_boolean(field.type)
        justify: JustifyMethod = "right" if is_number else "left"
        shown.add_column(Text(safe(field.name)), justify=justify, overflow="fold", no_wrap=is_short)
    for row in rows:
        shown.add_row(*(Text(_cell(value, zone)) for value in row.values()))
    if not out.is_terminal:
        Console(file=out.file, width=PIPE_WIDTH, highlight=False, markup=False).print(shown)
    elif out.measure(shown, options=out.options.update(width=PIPE_WIDTH)).maximum > out.width:
        _print_rows_apart(rows, zone)
    else:
        out.print(shown, soft_wrap=False)
    say(f"{table.num_rows:,} row{'s' if table.num_rows != 1 else ''}", style="dim")


def _print_rows_apart(rows: Sequence[dict[str, Any]], zone: ZoneInfo) -> None:
    """Each row as a list of its columns: for a result that is wider than the terminal."""
    for number, row in enumerate(rows, start=1):
        out.print(Text(f"row {number}", style="bold"))
        block = Table(show_header=False, show_edge=False, box=None)
        block.add_column(no_wrap=True, style="cyan")
        block.add_column(overflow="fold")
        for name, value in row.items():
            block.add_row(Text(safe(name)), Text(_cell(value, zone)))
        out.print(block, soft_wrap=False)


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
