"""Kafka and ClickHouse together: those of this machine, started and stopped with us, or the ones that are named."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from deploy.local.process import LocalStackError
from deploy.local.server import LocalServer

KAFKA_VARIABLE = "TONGGUAN_KAFKA"
CLICKHOUSE_VARIABLE = "TONGGUAN_CLICKHOUSE"


class LocalStack:
    """A context manager with the addresses of both.

    `kafka` (host:port) and `clickhouse` (URL), else the variables above, name services that run already: those are
    taken as they are, never started, never stopped. What is not named starts in `data_dir` and keeps its data there.
    `quick` is the broker's (see LocalKafka).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        kafka: str | None = None,
        clickhouse: str | None = None,
        quick: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._given_kafka = kafka or os.environ.get(KAFKA_VARIABLE) or None
        self._given_clickhouse = clickhouse or os.environ.get(CLICKHOUSE_VARIABLE) or None
        self.kafka = None if self._given_kafka else LocalKafka(Path(data_dir) / "kafka", quick=quick, say=say)
        self.clickhouse = None if self._given_clickhouse else LocalClickHouse(Path(data_dir) / "clickhouse")

    @property
    def kafka_bootstrap(self) -> str:
        """host:port of the broker, or of several with commas between."""
        if self._given_kafka:
            return self._given_kafka
        assert self.kafka is not None
        return self.kafka.bootstrap

    @property
    def clickhouse_url(self) -> str:
        if self._given_clickhouse:
            return self._given_clickhouse
        assert self.clickhouse is not None
        return self.clickhouse.url

    def _own(self) -> list[LocalServer]:
        return [server for server in (self.kafka, self.clickhouse) if server is not None]

    def start(self) -> Self:
        """Start both side by side. When one cannot start, the other is stopped and every reason is told."""
        try:
            with ThreadPoolExecutor(2, thread_name_prefix="start") as threads:
                starts = [threads.submit(server.start) for server in self._own()]
            failures = [error for start in starts if (error := start.exception()) is not None]
        except BaseException:
            self.stop()
            raise
        if failures:
            self.stop()
            if all(isinstance(error, LocalStackError) for error in failures):
                raise LocalStackError("\n".join(str(error) for error in failures))
            raise failures[0]
        return self

    def stop(self) -> None:
        """Stop what was started here; calling it again does nothing."""
        for server in self._own():
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()
