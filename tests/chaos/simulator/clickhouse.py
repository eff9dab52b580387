"""A scripted ClickHouse: takes the place of the driver's client in streams/clickhouse.py, so that our own `Store` and
`StoreThread` run as they are.

Tables keep what was inserted. An insert whose token a table knows is dropped, in the table and in its roll-up apart
(`deduplicate_blocks_in_dependent_materialized_views`), as far back as the window goes. An insert may fail before it is
applied, after it, or between the table and its roll-up; whoever asked cannot tell which.
"""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from tests.chaos.simulator.groups import calling_process

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

TOKEN_WINDOW: Final = 10_000  # as in schemas/clickhouse/*.sql
ROLLED_UP: Final = "observations"
ROLL_UP: Final = "observation_hours"

Row = tuple[Any, ...]

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "observations": ("source", "partition", "offset"),
    "tickets": ("partition", "offset"),
    "personal_fields": (),
    "alerts": ("alert_id", "revision"),
    "dead_letters": ("topic", "partition", "offset"),
    "incidents": ("incident_id", "revision"),
    "notifications": ("notification_id",),
    "actions": ("partition", "offset"),
}
"""What identifies a row of each table (its ORDER BY, as far as it is the row's name)."""


class Engine:
    """The server's side."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.inserted: dict[str, list[pa.Table]] = defaultdict(list)
        self.rolled_up: list[pa.Table] = []
        self.dropped = 0  # inserts that were known by their token
        self._tokens: dict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._keys: dict[str, list[Row]] = defaultdict(list)

    def insert(self, table: str, rows: pa.Table, settings: Mapping[str, Any]) -> None:
        trouble = self._world.faults.insert(table)
        if trouble in ("disk full", "too many parts"):
            raise OSError(f"Code: {243 if trouble == 'disk full' else 252}. DB::Exception: {trouble}")
        token = settings.get("insert_deduplication_token")
        new = self._is_new(table, token)
        if new:
            self.inserted[table].append(rows)
            keys = _KEYS[table]
            self._keys[table] += zip(*(rows.column(key).to_pylist() for key in keys), strict=True) if keys else ()
        else:
            self.dropped += 1
        if table == ROLLED_UP:
            if trouble == "half":
                raise ConnectionResetError("the server was killed")
            # without the setting a repeat of a known block does not reach the view at all
            if self._is_new(ROLL_UP, token) if settings.get(_VIEWS_TOO) else new:
                self.rolled_up.append(rows)
        if trouble == "unanswered":
            raise ConnectionResetError("the answer was lost")

    def query(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """The look-ups of archive_records and archive_loop_records; no other is known here."""
        found = re.search(r"^SELECT ([\w, ]+) FROM (\w+) WHERE", sql)
        assert found is not None and found[2] in _KEYS, f"the simulated ClickHouse cannot read: {sql}"
        columns = [name.strip() for name in found[1].split(",")]
        names = _KEYS[found[2]]
        wanted = _condition(names, parameters)
        return [
            tuple(row[names.index(column)] for column in columns)
            for row in dict.fromkeys(self._keys[found[2]])
            if wanted(row)
        ]

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Every row as it was inserted; a repeat stands there twice."""
        for part in self.inserted[table]:
            yield from part.to_pylist()

    def keys(self, table: str) -> list[Row]:
        """What names each row that was inserted."""
        return self._keys[table]

    def _is_new(self, table: str, token: str | None) -> bool:
        known = self._tokens[table]
        if token is None or token in known:
            return token is None
        known[token] = None
        if len(known) > TOKEN_WINDOW:
            known.popitem(last=False)
        return True


_VIEWS_TOO: Final = "deduplicate_blocks_in_dependent_materialized_views"


def _condition(names: tuple[str, ...], parameters: Mapping[str, Any]) -> Callable[[Row], bool]:
    """What of a query's parameters speaks of the names: lists of ids or offsets, and a topic or partition."""
    ids = set(parameters.get("ids") or parameters.get("offsets") or ())
    by = next(name for name in names if name.endswith("_id") or name == "offset")
    fixed = {name: parameters[name] for name in ("topic", "partition") if name in parameters}

    def wanted(row: Row) -> bool:
        told = dict(zip(names, row, strict=True))
        return told[by] in ids and all(told[name] == value for name, value in fixed.items())

    return wanted


class SimClient:
    """A clickhouse_connect client. Every call waits for the network, in a thread of its process."""

    database = ""
    write_compression = ""

    def __init__(self) -> None:
        self._world = calling_process().world

    def insert_arrow(self, table: str, rows: pa.Table, *, settings: Mapping[str, Any]) -> None:
        world = self._world
        world.network.ask_and_wait(f"insert {table}", lambda: world.clickhouse.insert(table, rows, settings))

    def query(self, sql: str, *, parameters: Mapping[str, Any]) -> Answer:
        world = self._world
        return Answer(world.network.ask_and_wait("look up", lambda: world.clickhouse.query(sql, parameters)))

    def command(self, sql: str, **options: Any) -> str:
        return self._world.network.ask_and_wait("command", lambda: "simulated")

    def close(self) -> None: ...


class Answer(NamedTuple):
    result_rows: list[Row]


def sim_client(**options: Any) -> SimClient:
    """In place of `clickhouse_connect.get_client`."""
    return SimClient()
