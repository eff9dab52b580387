"""An embedded engine for a test: a process can have one open at a time, so it is always closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.clickhouse import Store, connect
from streams.migrations import apply_migrations


@contextmanager
def embedded_store(directory: Path, *, migrated: bool = True) -> Iterator[Store]:
    with connect(f"chdb://{directory}") as store:
        if migrated:
            apply_migrations(store)
        yield store
