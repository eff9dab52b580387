"""`tongguan city`: make a city folder, and say what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import msgspec
import typer
from rich.text import Text

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import ExitCode, UsageProblem, out, safe, say
from schemas.errors import SettingsError
from schemas.kinds import load_kinds
from schemas.sources import Source
from topology.city import DEFAULT_CITY, City, city_folder
from topology.city_check import counts, split_place, warnings_of
from topology.city_new import Request, make
from topology.devices import DeviceRegister

COUNT_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "city": ("城市", "city"),
    "district": ("区", "districts"),
    "subdistrict": ("街镇", "subdistricts"),
    "community": ("居村", "communities"),
    "unit": ("网格单元", "units"),
    "cells": ("计算网格", "cells"),
    "departments": ("部门", "departments"),
    "responsibilities": ("权责条目", "responsibilities"),
    "deadlines": ("时限条目", "deadlines"),
    "addresses": ("地址", "addresses"),
    "devices": ("设备", "devices"),
    "calendar_years": ("节假日通知（年）", "years with holiday notice"),
    "network_nodes": ("路网管网节点", "network nodes"),
    "network_edges": ("路网管网边", "network edges"),
    "inhabitants": ("常住人口", "inhabitants"),
}


@dataclass(slots=True)
class Report:
    """What a check found. With any problem the city does not load, and only some of the counts are there."""

    folder: Path
    city: City | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def check(folder: str | None, path: Path | None, *, as_json: bool) -> None:
    """Print every problem and warning of a city folder, and what it holds. Ends with 1 when there are problems."""
    config = load_config(path).config
    if folder is None and config.city.is_bare:
        raise UsageProblem("the configuration has a box without a city folder; name the folder to check")
    chosen = folder if folder is not None else config.city.folder or DEFAULT_CITY
    at = city_folder(chosen)
    if not at.is_dir():
        raise UsageProblem(f"{at}: no such folder; `tongguan city new` makes a city folder")
    report = examine(at, known_categories(config), today=None)
    if as_json:
        out.out(msgspec.json.encode(_document(report)).decode(), highlight=False)
    else:
        _print(report)
    if report.problems:
        raise typer.Exit(ExitCode.PROBLEMS)


def examine(folder: Path, categories: Mapping[str, str], *, today: date | None) -> Report:
    """Everything that can be said about a city folder on a day; None: the present one in the city's zone."""
    report = Report(folder)
    try:
        report.city = City.load(folder)
    except SettingsError as error:
        report.problems += error.problems
    devices = folder / "devices.csv"
    if devices.is_file():
        try:
            register = DeviceRegister.load(devices, grid=None if report.city is None else report.city.grid)
        except SettingsError as error:
            report.problems += error.problems
        else:
            report.warnings += register.warnings
            report.counts["devices"] = len(register)
    if report.city is not None:
        day = today or datetime.now(UTC).astimezone(report.city.calendar.zone_info).date()
        report.warnings = [*warnings_of(report.city, categories, day), *report.warnings]
        report.counts = counts(report.city) | report.counts
    return report


def known_categories(config: TongguanConfig) -> dict[str, str]:
    """What tickets and alerts can be about, by the registries and the chosen detectors -> the type of incident."""
    kinds = load_kinds(*([config.city.kinds] if config.city.kinds else []))
    types = config.incident_types()
    of_tickets = {*(kind.name for kind in kinds.of(Source.TICKETS)), *types.by_ticket}
    of_alerts = {*(detector.category for detector in config.build_detectors()), *types.by_alert}
    return {name: types.of_alert(name).name for name in of_alerts} | {
        name: types.of_ticket(name).name for name in of_tickets
    }


def box_of(text: str) -> tuple[float, float, float, float]:
    """ "121.3,31.1,121.6,31.3" -> west, south, east, north. Raises UsageProblem."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageProblem(
            f"--box {text!r}: expected west,south,east,north in degrees, such as 121.3,31.1,121.6,31.3"
        ) from None
    return west, south, east, north


def new(request: Request) -> None:
    """Make a city folder, whole or not at all, and say what is in it and what to do next."""
    notes = make(request)
    report = examine(request.folder, known_categories(TongguanConfig()), today=None)
    _print(report)
    for note in notes:
        say(f"note 提示: {safe(note)}", style="cyan")
    folder = msgspec.json.encode(str(request.folder)).decode()
    say(f"made 已创建 {request.folder}; to use it, write into tongguan.toml: [city] folder = {folder}")


def _document(report: Report) -> dict[str, object]:
    def told(lines: list[str]) -> list[dict[str, object]]:
        places = (split_place(line) for line in lines)
        return [{"file": file, "line": line, "message": message} for file, line, message in places]

    city = report.city
    return {
        "folder": str(report.folder),
        "good": not report.problems,
        "city": None if city is None else {"code": city.code, "name_zh": city.name_zh, "name_en": city.name_en},
        "problems": told(report.problems),
        "warnings": told(report.warnings),
        "counts": report.counts,
    }


def _print(report: Report) -> None:
    """Problems and warnings first, for they are what is looked for; then the counts; the verdict on standard error."""
    for words, style, lines in (
        ("problem 问题", "bold red", report.problems),
        ("warning 提醒", "yellow", report.warnings),
    ):
        for line in lines:
            out.print(Text.assemble((words, style), f" {safe(line)}"))
    if report.city is not None:
        city = report.city
        out.print(Text(f"{city.name_zh} {city.name_en} ({city.code}), {report.folder}", style="bold"))
    for name, count in report.counts.items():
        zh, en = COUNT_WORDS[name]
        out.print(f"  {count:>9,} {zh} {en}")
    if report.problems:
        count = len(report.problems)
        say(f"{count} problem{'s' if count > 1 else ''} 发现 {count} 个问题", style="bold red")
    elif report.warnings:
        count = len(report.warnings)
        say(f"usable, {count} warning{'s' if count > 1 else ''} 可用，{count} 条提醒", style="yellow")
    else:
        say("all is well 一切正常", style="green")
