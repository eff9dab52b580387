"""Both servers as one: data kept between starts, services that run elsewhere left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from deploy.local.process import LocalStackError
from deploy.local.stack import LocalStack
from tests.deploy.local.test_clickhouse import connect


def test_named_services_are_used_and_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONGGUAN_KAFKA", "kafka1:9092,kafka2:9092")
    monkeypatch.setenv("TONGGUAN_CLICKHOUSE", "https://store:8443")
    with LocalStack(tmp_path) as stack:
        assert stack.kafka_bootstrap == "kafka1:9092,kafka2:9092"
        assert stack.clickhouse_url == "https://store:8443"
    with LocalStack(tmp_path, kafka="other:9092") as stack:
        assert stack.kafka_bootstrap == "other:9092"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TONGGUAN_KAFKA", raising=False)
    monkeypatch.delenv("TONGGUAN_CLICKHOUSE", raising=False)


@pytest.mark.live
@pytest.mark.usefixtures("nothing_is_named")
def test_the_stack_starts_finds_its_data_again_and_refuses_a_second_one(tmp_path: Path) -> None:
    with LocalStack(tmp_path) as stack:
        first = (stack.kafka_bootstrap, stack.clickhouse_url)
        with connect(stack.clickhouse_url) as client:
            client.command("CREATE TABLE kept (a Int8) ENGINE MergeTree ORDER BY a")
        with pytest.raises(LocalStackError) as caught, LocalStack(tmp_path):
            pass
        assert "local Kafka: the data directory" in str(caught.value)
        assert "local ClickHouse: the data directory" in str(caught.value)
    with LocalStack(tmp_path) as stack:
        assert (stack.kafka_bootstrap, stack.clickhouse_url) == first
        with connect(stack.clickhouse_url) as client:
            assert client.command("SELECT count() FROM kept") == 0
        KafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap).close()


@pytest.mark.live
@pytest.mark.usefixtures("nothing_is_named")
def test_when_one_server_cannot_start_the_other_is_stopped_too(tmp_path: Path) -> None:
    (tmp_path / "clickhouse").mkdir()
    (tmp_path / "clickhouse" / "store").write_text("not a directory", "ascii")
    stack = LocalStack(tmp_path)
    with pytest.raises(LocalStackError, match="local ClickHouse ended with status"):
        stack.start()
    assert stack.kafka is not None
    assert not stack.kafka.running
