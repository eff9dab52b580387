"""Opens the history that the configuration means: a server, or the embedded engine in the data directory."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from deploy.config import TongguanConfig
from schemas.errors import StoreUnavailable
from streams.clickhouse import Store, connect

EMBEDDED_FOLDER = Path("clickhouse") / "store"


def embedded_folder(config: TongguanConfig) -> Path:
    """Where the local stack's engine (deploy/local/clickhouse.py) keeps its data."""
    return config.data_dir.resolve() / EMBEDDED_FOLDER


def store_url(config: TongguanConfig) -> str:
    """The store's address without credentials."""
    return config.clickhouse.url or f"chdb://{quote(str(embedded_folder(config)))}"


def open_store(config: TongguanConfig) -> Store:
    """A store that connects at its first use. The embedded engine belongs to one process: close it soon."""
    clickhouse = config.clickhouse
    return connect(
        store_url(config),
        user=clickhouse.user,
        password=clickhouse.password.get_secret_value(),
        database=clickhouse.database,
    )


def open_history(config: TongguanConfig) -> Store:
    """The store, for a command that reads it; StoreUnavailable where no history was ever made."""
    if config.clickhouse.url is None and not embedded_folder(config).exists():
        raise StoreUnavailable(
            f"no history in {config.data_dir}: `tongguan up` makes one, or set clickhouse.url "
            "(environment TONGGUAN_CLICKHOUSE) to a running server"
        )
    return open_store(config)
