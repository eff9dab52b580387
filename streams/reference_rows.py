"""What ClickHouse knows of the city beside its stream: jurisdictions, departments and the weights of the index.

`tongguan migrate` and `tongguan up` load it from the city's folder. A table whose newest load says the same already is
left alone, so a load happens only after something changed, and the loads before it stay as history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from streams.clickhouse import Store
from streams.index_weights import IndexWeight
from topology.city import City
from topology.levels import Level

_INSTANT: Final = pa.timestamp("ms", "UTC")
JURISDICTIONS: Final = pa.schema(
    [
        ("code", pa.utf8()),
        ("name_zh", pa.utf8()),
        ("name_en", pa.utf8()),
        ("level", pa.utf8()),
        ("parent", pa.utf8()),
        ("district", pa.utf8()),
        ("valid_from", _INSTANT),
        ("valid_to", _INSTANT),
        ("population", pa.uint32()),
    ]
)
DEPARTMENTS: Final = pa.schema(
    [
        ("department", pa.utf8()),
        ("name_zh", pa.utf8()),
        ("name_en", pa.utf8()),
        ("level", pa.utf8()),
        ("jurisdiction", pa.utf8()),
        ("parent", pa.utf8()),
    ]
)
INDEX_WEIGHTS: Final = pa.schema(
    [
        ("version", pa.uint32()),
        ("valid_from", _INSTANT),
        ("valid_to", _INSTANT),
        ("category", pa.utf8()),
        ("category_zh", pa.utf8()),
        ("category_en", pa.utf8()),
        ("category_weight", pa.float64()),
        ("indicator", pa.utf8()),
        ("indicator_zh", pa.utf8()),
        ("indicator_en", pa.utf8()),
        ("unit", pa.utf8()),
        ("source", pa.utf8()),
        ("kinds", pa.list_(pa.utf8())),
        ("aggregate", pa.utf8()),
        ("per", pa.utf8()),
        ("good", pa.float64()),
        ("bad", pa.float64()),
        ("weight", pa.float64()),
    ]
)


def jurisdiction_rows(city: City) -> pa.Table:
    """Rows of `jurisdictions`, without the time of the load."""
    rows = []
    has_districts = any(place.level is Level.DISTRICT for place in city.jurisdictions.entries)
    for place in city.jurisdictions.entries:
        at_ms = place.valid_from_ms if place.valid_from_ms is not None else (place.valid_to_ms or 1) - 1
        rows.append(
            {
                "code": place.code,
                "name_zh": place.name_zh,
                "name_en": place.name_en,
                "level": place.level.name.lower(),
                "parent": place.parent,
                # the whole city is no district: what is known only so far counts in none
                "district": None
                if has_districts and place.level is Level.CITY
                else city.jurisdictions.district_of(place.code, at_ms),
                "valid_from": place.valid_from_ms,
                "valid_to": place.valid_to_ms,
                "population": city.population.get(place.code),
            }
        )
    return _table(rows, JURISDICTIONS)


def department_rows(city: City) -> pa.Table:
    """Rows of `departments`, without the time of the load."""
    return _table(
        [
            {
                "department": department.id,
                "name_zh": department.name_zh,
                "name_en": department.name_en,
                "level": department.level.name.lower(),
                "jurisdiction": department.jurisdiction,
                "parent": department.parent,
            }
            for department in city.departments
        ],
        DEPARTMENTS,
    )


def weight_rows(weights: Sequence[IndexWeight]) -> pa.Table:
    """Rows of `index_weights`, without the time of the load."""
    return _table(
        [
            {name: getattr(weight, name) for name in INDEX_WEIGHTS.names if not name.startswith("valid_")}
            | {"valid_from": weight.valid_from_ms, "valid_to": weight.valid_to_ms}
            for weight in weights
        ],
        INDEX_WEIGHTS,
    )


def load_reference(store: Store, city: City, weights: Sequence[IndexWeight], *, now_ms: int) -> list[str]:
    """Bring the reference tables up to date; the names of those that were. Raises what Store raises."""
    changed = []
    for table, rows in (
        ("jurisdictions", jurisdiction_rows(city)),
        ("departments", department_rows(city)),
        ("index_weights", weight_rows(weights)),
    ):
        if rows.num_rows and not _is_loaded(store, table, rows):
            stamp = pa.array([now_ms] * rows.num_rows, pa.int64()).cast(_INSTANT)
            store.insert(table, rows.append_column("loaded_at", stamp))
            changed.append(table)
    return changed


def _is_loaded(store: Store, table: str, rows: pa.Table) -> bool:
    columns = ", ".join(rows.schema.names)
    newest = store.query_arrow(
        f"SELECT {columns} FROM {table} WHERE loaded_at = (SELECT max(loaded_at) FROM {table}) ORDER BY {columns}"
    )
    order = [(name, "ascending") for name in rows.schema.names if not pa.types.is_list(rows.schema.field(name).type)]
    return bool(newest.num_rows == rows.num_rows and _plain(newest, order) == _plain(rows, order))


def _plain(table: pa.Table, order: list[tuple[str, str]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.sort_by(order).to_pylist()
    return rows


def _table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    columns = []
    for column in schema:
        values = [row[column.name] for row in rows]
        if column.type == _INSTANT:
            columns.append(pa.array(values, pa.int64()).cast(_INSTANT))
        else:
            columns.append(pa.array(values, column.type))
    return pa.Table.from_arrays(columns, schema=schema)
