"""Opens the history that the configuration means: a server, or the embedded engine in the data directory."""

from __future__ import annotations

from deploy.config import TongguanConfig
from streams.clickhouse import Store, connect

EMBEDDED_FOLDER = "clickhouse"


def store_url(config: TongguanConfig) -> str:
    """The store's address without credentials."""
    return config.clickhouse.url or f"chdb://{config.data_dir.resolve() / EMBEDDED_FOLDER}"


def open_store(config: TongguanConfig) -> Store:
    """A store that connects at its first use. The embedded engine belongs to one process: close it soon."""
    clickhouse = config.clickhouse
    return connect(
        store_url(config),
        user=clickhouse.user,
        password=clickhouse.password.get_secret_value(),
        database=clickhouse.database,
    )
