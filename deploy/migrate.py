"""`tongguan migrate`: apply the SQL files that the store has not seen, and load what it should know of the city."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import out, say
from deploy.endpoints import with_endpoints
from deploy.store import open_store
from streams.clickhouse import Store
from streams.index_weights import load_weights
from streams.migrations import apply_migrations
from streams.reference_rows import load_reference


def run(path: Path | None) -> None:
    """Print each migration as it begins; nothing to do is said, too."""
    config = with_endpoints(load_config(path).config)
    with open_store(config) as store:
        if not bring_up_to_date(store, config, progress=lambda what: out.print(what)):
            say(f"{store.address}: tables of {config.clickhouse.database} are up to date 表结构已是最新", style="green")


def bring_up_to_date(store: Store, config: TongguanConfig, *, progress: Callable[[str], None]) -> bool:
    """Apply what is pending, then load the city's places, departments and index weights; whether anything was done.

    Raises what Store raises, and SettingsError for migrations or a city folder that cannot be used.
    """
    city, weights = config.load_city(), load_weights()
    done = apply_migrations(store, progress=lambda migration: progress(f"apply {migration.name}"))
    loaded = load_reference(store, city, weights, now_ms=time.time_ns() // 1_000_000)
    for table in loaded:
        progress(f"load {table}")
    return bool(done or loaded)
