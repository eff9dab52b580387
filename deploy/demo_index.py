"""The city operation index of the newest hour, for the board."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from deploy.board import District
from streams.clickhouse import Store
from topology.city import City

HOUR_MS: Final = 3_600_000
WEAK: Final = 3
SQL: Final = """\
SELECT district, category, category_zh, score
FROM v_city_index_categories
WHERE hour = toDateTime(intDiv({at_ms:Int64}, 3600000) * 3600, 'UTC') AND score IS NOT NULL
ORDER BY district, score"""
SCORES_SQL: Final = """\
SELECT district, score FROM v_city_index
WHERE hour = toDateTime(intDiv({at_ms:Int64}, 3600000) * 3600, 'UTC') AND score IS NOT NULL"""


def read_index(store: Store, city: City, at_ms: int, districts: Collection[str]) -> tuple[int, list[District]] | None:
    """(beginning of the hour, its districts, the lowest first); None while there are no figures. Raises StoreError.

    Only `districts` (Chinese names): in the others there are no sensors here, and nothing happens.
    """
    scores = {str(district): float(score) for district, score in store.rows(SCORES_SQL, {"at_ms": at_ms})}
    if not scores:
        return None
    weak: dict[str, list[tuple[str, str, float]]] = {}
    for district, category, category_zh, score in store.rows(SQL, {"at_ms": at_ms}):
        weak.setdefault(str(district), []).append((str(category_zh), str(category).replace("_", " "), float(score)))
    found = []
    for code, score in scores.items():
        entry = city.jurisdictions.find(code, at_ms)
        if entry is not None and entry.name_zh in districts:
            name_en = entry.name_en or entry.name_zh
            found.append(District(entry.name_zh, name_en, score, tuple(weak.get(code, ())[:WEAK])))
    found.sort(key=lambda district: district.score)
    return at_ms - at_ms % HOUR_MS, found
