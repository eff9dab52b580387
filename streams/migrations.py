"""The numbered SQL files of schemas/clickhouse, applied in order, each once.

ClickHouse has no transactions over DDL: a file whose application was cut off is applied again from its first statement,
so every statement in it must bear that (IF NOT EXISTS, CREATE OR REPLACE).
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from schemas.errors import SettingsError, StoreRefused
from streams.clickhouse import Store

DIRECTORY: Final = Path(__file__).resolve().parent.parent / "schemas" / "clickhouse"
_ONLY_SETTING: Final = re.compile(r"ALTER TABLE \w+\s+MODIFY SETTING \w+ = \S+")
_UNKNOWN_SETTING: Final = re.compile(r"\bCode: 115\b|UNKNOWN_SETTING")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        return split_statements(self.sql)


def load_migrations(directory: Path = DIRECTORY) -> list[Migration]:
    """The files in order. SettingsError lists every misnamed file and the first wrong number."""
    found: list[Migration] = []
    problems: list[str] = []
    for path in sorted(directory.glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_[a-z0-9_]+\.sql", path.name)
        if match is None:
            problems.append(f"{path.name}: expected a name like 0001_observations.sql")
            continue
        found.append(Migration(int(match.group(1)), path.name, path.read_text(encoding="utf-8")))
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            problems.append(f"{migration.name}: expected number {expected:04d}; none may be missing or used twice")
            break
    if not found and not problems:
        problems.append(f"no migrations in {directory}")
    if problems:
        raise SettingsError(problems)
    return found


def pending_migrations(store: Store, migrations: list[Migration]) -> list[Migration]:
    """Those not applied yet. SettingsError when an applied one has another text now, or is not known here."""
    applied = _applied(store)
    known = {migration.version: migration for migration in migrations}
    problems = []
    for version, (name, checksum) in applied.items():
        migration = known.get(version)
        if migration is None:
            problems.append(f"{name} is applied to {store.address} but unknown here - is this program older?")
        elif migration.checksum != checksum:
            problems.append(
                f"{migration.name} was applied to {store.address} with another text - "
                "restore the file and put the change into a new one"
            )
    if problems:
        raise SettingsError(problems)
    return [migration for migration in migrations if migration.version not in applied]


def apply_migrations(
    store: Store,
    *,
    migrations: list[Migration] | None = None,
    progress: Callable[[Migration], None] = lambda migration: None,
) -> list[Migration]:
    """Create the database if need be and apply what is pending, `progress` called before each. Returns what was done.

    Raises what Store raises, and SettingsError as `pending_migrations` does.
    """
    store.create_database()
    todo = pending_migrations(store, load_migrations() if migrations is None else migrations)
    for migration in todo:
        progress(migration)
        for statement in migration.statements:
            _run(store, statement)
        store.insert("schema_migrations", _record(migration))
    return todo


def _run(store: Store, statement: str) -> None:
    """One statement. A setting of a table that this ClickHouse is too old to know is done without, and said: settings
    say how fast a table is kept, never what is in it."""
    try:
        store.command(statement)
    except StoreRefused as problem:
        if not (_ONLY_SETTING.fullmatch(statement) and _UNKNOWN_SETTING.search(str(problem))):
            raise
        log.warning("%s - this ClickHouse is older than that setting and goes on without it", problem)


def split_statements(sql: str) -> list[str]:
    """The statements of a file. Lines that begin with -- are comments; a `;` inside quotes does not end a statement."""
    statements: list[str] = []
    current: list[str] = []
    quote = ""
    for line in sql.splitlines():
        if not quote and line.lstrip().startswith("--"):
            continue
        start = 0
        for at, mark in enumerate(line):
            if quote:
                quote = "" if mark == quote else quote
            elif mark in "'`\"":
                quote = mark
            elif mark == ";":
                statements.append("\n".join([*current, line[start:at]]).strip())
                current, start = [], at + 1
        current.append(line[start:])
    statements.append("\n".join(current).strip())
    return [statement for statement in statements if statement]


def _applied(store: Store) -> dict[int, tuple[str, str]]:
    there = store.rows(
        "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'schema_migrations'"
    )
    if not there[0][0]:
        return {}
    rows = store.rows("SELECT version, name, checksum FROM schema_migrations FINAL ORDER BY version")
    return {version: (name, checksum) for version, name, checksum in rows}


def _record(migration: Migration) -> pa.Table:
    return pa.table(
        {
            "version": pa.array([migration.version], pa.uint32()),
            "name": [migration.name],
            "checksum": [migration.checksum],
            "applied_at": pa.array([time.time_ns() // 1_000_000], pa.timestamp("ms", "UTC")),
        }
    )
