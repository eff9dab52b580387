"""`tongguan migrate`: apply the numbered SQL files of schemas/clickhouse that the store has not seen."""

from __future__ import annotations

from pathlib import Path

from deploy.config_load import load_config
from deploy.console import out, say
from deploy.endpoints import with_endpoints
from deploy.store import open_store
from streams.migrations import apply_migrations


def run(path: Path | None) -> None:
    """Print each migration as it begins; nothing to do is said, too."""
    config = with_endpoints(load_config(path).config)
    with open_store(config) as store:
        done = apply_migrations(store, progress=lambda migration: out.print(f"apply {migration.name}"))
        if not done:
            say(f"{store.address}: tables of {config.clickhouse.database} are up to date 表结构已是最新", style="green")
