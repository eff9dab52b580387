"""The local Kafka against the real thing: it starts, keeps its data, refuses company, dies with its owner."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from deploy.local.kafka import LocalKafka
from deploy.local.kafka_jars import KAFKA_VERSION, pinned
from deploy.local.process import LocalStackError, free_port

DEATH_WITHIN_S = 30.0


def test_the_pinned_jars_are_of_one_kafka_version_with_a_log_binding() -> None:
    jars = pinned()
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}
    assert {"kafka_2.13", "kafka-clients", "log4j-slf4j-impl", "log4j-core"} <= {jar.artifact for jar in jars}
    assert all(len(jar.sha256) == 64 for jar in jars)


def test_without_network_and_cache_the_message_says_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {
        "TONGGUAN_CACHE": str(tmp_path),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "deploy.local.kafka_jars"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "needs the network once" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "kafka-jars").iterdir())


@pytest.mark.live
def test_a_cluster_id_that_begins_with_a_dash_is_not_taken_for_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.kafka.uuid.uuid4", lambda: uuid.UUID(bytes=b"\xfb" * 16))
    with LocalKafka(tmp_path) as broker:
        assert broker.running
    assert "cluster.id=-_v7" in (tmp_path / "data" / "meta.properties").read_text()


@pytest.mark.live
def test_a_second_start_finds_its_data_again_on_the_same_port_and_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = LocalKafka(tmp_path)
    broker.start()
    first_bootstrap = broker.bootstrap
    admin = KafkaAdminClient(bootstrap_servers=first_bootstrap)
    admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=first_bootstrap, max_request_size=20_000_000)
    producer.send("kept", b"a").get(20)
    producer.close()
    broker.stop()
    with pytest.raises(LocalStackError, match="not running"):
        broker.bootstrap  # noqa: B018
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with broker:
        assert broker.bootstrap == first_bootstrap
        with pytest.raises(LocalStackError, match="in use by process"):
            LocalKafka(tmp_path).start()
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
        consumer.assign([TopicPartition("kept", 0)])
        records = consumer.poll(timeout_ms=20_000)
        consumer.close()
        assert [record.value for batch in records.values() for record in batch] == [b"a"]


@pytest.mark.live
def test_a_record_of_16_mib_passes_when_the_topic_allows_it(kafka: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    limit = str(17 * 1024 * 1024)
    topic = NewTopic("large-record", num_partitions=1, replication_factor=1, topic_configs={"max.message.bytes": limit})
    admin.create_topics([topic])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka, max_request_size=20_000_000)
    producer.send("large-record", bytes(16 * 1024 * 1024)).get(30)
    producer.close()


@pytest.mark.live
def test_no_broker_is_left_after_kill_minus_9_of_its_owner_and_the_next_start_recovers(tmp_path: Path) -> None:
    code = f"""
import time
import uuid
from pathlib import Path
from deploy.local.kafka import LocalKafka
broker = LocalKafka(Path({str(tmp_path)!r}))
broker.start()
print(broker.bootstrap, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    bootstrap = owner.stdout.readline().strip()
    host, port = bootstrap.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    give_up_at = time.monotonic() + DEATH_WITHIN_S
    while _java_processes(tmp_path):
        assert time.monotonic() < give_up_at, "the broker outlived its owner"
        time.sleep(0.1)
    with LocalKafka(tmp_path) as broker:
        assert broker.running


class OneWrongSetting(LocalKafka):
    """A broker that cannot start for a reason of its own."""

    def _prepare(self, port: int) -> list[str]:
        command = super()._prepare(port)
        with (self.data_dir / "server.properties").open("a") as settings:
            settings.write("num.io.threads=none\n")
        return command


@pytest.mark.live
def test_a_start_that_fails_tells_what_the_broker_says_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"ended with status 1(.|\n)*num\.io\.threads"):
        OneWrongSetting(tmp_path).start()


@pytest.mark.live
def test_a_taken_port_is_named_with_the_end_of_the_brokers_log(tmp_path: Path) -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(
            LocalStackError, match=rf"port {port} or one beside it is taken(.|\n)*(?i:address already in use)"
        ),
    ):
        LocalKafka(tmp_path, port).start()


def _java_processes(data_dir: Path) -> list[str]:
    """The command lines of running processes that name the data directory's settings file."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(data_dir / "server.properties") in command:
                found.append(command)
    return found


@pytest.mark.parametrize("settle_ms", [0, 3_000])
def test_new_groups_wait_for_members_as_long_as_was_asked(tmp_path: Path, settle_ms: int) -> None:
    LocalKafka(tmp_path, settle_ms=settle_ms)._write_settings(1, 2)
    written = (tmp_path / "server.properties").read_text("utf-8").splitlines()
    assert f"group.initial.rebalance.delay.ms={settle_ms}" in written
