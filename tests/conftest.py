"""What every test may use, and the rule for the live ones: a real Apache Kafka and a real ClickHouse engine.

Live tests (marker `live`) run with `--live`, as `make test` does. There a service that does not start fails the test:
a check that skips what it cannot reach says nothing. Without the option they are skipped, with the way to run them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

HOW_TO_RUN = "needs a real Kafka or ClickHouse engine; run it with `make test-live`, or `pytest --live`"


settings.register_profile("untimed", settings(), deadline=None)  # a test times nothing, on a busy machine either
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--live", action="store_true", help="run the live tests too: they start a real Kafka and ClickHouse"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--live"):
        return
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip(reason=HOW_TO_RUN))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a broker of this test run; topics are shared, so a test gives its own names or a prefix."""
    from deploy.local.kafka import LocalKafka

    with LocalKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def clickhouse_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """http://127.0.0.1:port of a ClickHouse engine of this test run; a test makes a database of its own."""
    from deploy.local.clickhouse import LocalClickHouse

    with LocalClickHouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server.url


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parent.parent
