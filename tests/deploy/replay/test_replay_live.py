"""Replays into a real Kafka: every record there once, in order within its partition, at the pace asked for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient, NewTopic
from typer.testing import CliRunner

from deploy.main import app
from deploy.replay.dataset import DataSet
from deploy.replay.mapping_file import find_mapping
from deploy.replay.records import Record
from deploy.replay.sending import Sent, Target, send
from schemas.sources import Source
from tests.deploy.replay.test_sets import SETS, small
from tests.deploy.test_commands_live import tongguan

pytestmark = pytest.mark.live

PARTITIONS = 3


@pytest.fixture
def target(kafka: str) -> Target:
    """Fresh raw topics of three partitions each."""
    prefix = f"replay-{uuid4().hex[:8]}-"
    topics = {source: f"{prefix}{source.topic}" for source in Source}
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in topics.values()])
    admin.close()
    return Target(bootstrap=kafka, options={}, topics=topics)


def deliver(target: Target, records: Iterator[Record], *, speed: float = 0) -> Sent:
    sent = Sent()
    asyncio.run(send(records, target, dict.fromkeys(Source, PARTITIONS), speed=speed, sent=sent))
    return sent


def found(target: Target, count: int, *, wait_ms: int = 20_000) -> dict[tuple[str, int], list[tuple[bytes, bytes]]]:
    """(key, payload) by partition, once `count` records are there."""
    lanes: dict[tuple[str, int], list[tuple[bytes, bytes]]] = defaultdict(list)
    options = {"auto_offset_reset": "earliest", "consumer_timeout_ms": wait_ms, "enable_auto_commit": False}
    with contextlib.closing(
        KafkaConsumer(*target.topics.values(), bootstrap_servers=target.bootstrap, **options)
    ) as log:
        for record in itertools.islice(log, count):
            lanes[record.topic, record.partition].append((record.key, record.value))
    return lanes


def test_every_set_arrives_whole_and_in_order(target: Target, tmp_path: Path) -> None:
    expected: dict[bytes, list[bytes]] = defaultdict(list)
    total = 0
    for name in SETS:
        data = small(name, tmp_path / name)
        records = list(data.records(data.survey()))
        sent = deliver(target, iter(records))
        assert sent.records == sent.acknowledged == len(records), name
        total += len(records)
        for record in records:
            expected[record.key].append(record.payload)
    arrived: dict[bytes, list[bytes]] = defaultdict(list)
    lanes = found(target, total)
    for lane in lanes.values():
        for key, payload in lane:
            arrived[key].append(payload)
    assert arrived == expected
    assert len({topic for topic, _ in lanes}) == 3 and len(lanes) > 6, "spread over partitions"


def test_it_keeps_the_pace_of_the_recording_times_the_speed(target: Target) -> None:
    data = DataSet(find_mapping("camera_opendatacam"), Path(__file__).parents[2] / "data" / "replay")
    records = list(data.records(data.survey()))
    recorded_s = (records[-1].at_ms - records[0].at_ms) / 1000
    began = time.monotonic()
    deliver(target, iter(records), speed=recorded_s / 2)
    assert 2.0 <= time.monotonic() - began < 8.0, "about a second of frames in two seconds"


def test_the_command_replays_the_shipped_tickets_and_warns_when_the_log_is_ahead(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prefix = f"replay-{uuid4().hex[:8]}-"
    config = f'[kafka]\nbootstrap = "{kafka}"\n[topics]\nprefix = "{prefix}"\nreplication = 1\n'
    config += "[city]\nwest = -71.2\nsouth = 42.22\neast = -70.98\nnorth = 42.41\n"
    (tmp_path / "tongguan.toml").write_text(config)
    words = ["replay", "tickets_boston", "--speed", "0", "--limit", "700"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "`tongguan topics apply` makes it" in result.stderr
    assert CliRunner().invoke(app, ["topics", "apply"]).exit_code == 0
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["sent"] == told["delivered"] == 700 and "late" not in result.stderr
    topics = Target(bootstrap=kafka, options={}, topics={Source.TICKETS: f"{prefix}tickets"})
    assert sum(map(len, found(topics, 700).values())) == 700
    _pretend_that_locate_has_come_to_2026(kafka, prefix)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "event time in this log has come to 2026-07-01T00:00:00Z" in result.stderr


def test_an_interrupted_replay_says_what_was_delivered_and_all_of_that_is_there(kafka: str, tmp_path: Path) -> None:
    prefix = f"replay-{uuid4().hex[:8]}-"
    config = f'[kafka]\nbootstrap = "{kafka}"\n[topics]\nprefix = "{prefix}"\nreplication = 1\n'
    (tmp_path / "tongguan.toml").write_text(config)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics([NewTopic(f"{prefix}camera-events", 1, 1)])
    admin.close()
    topics = Target(bootstrap=kafka, options={}, topics={Source.CAMERA_EVENTS: f"{prefix}camera-events"})
    cuts = str(Path(__file__).parents[2] / "data" / "replay")
    with tongguan(tmp_path, "replay", "camera_opendatacam", "--data-dir", cuts, "--speed", "0.1") as replay:
        assert found(topics, 40), "it has begun"
        assert replay.end(signal.SIGINT) == 130
        line = replay.expect("stopped: ")
    count = int(re.findall(r"stopped: ([0-9,]+)", line)[0].replace(",", ""))
    assert 40 <= count < 700
    assert sum(map(len, found(topics, count + 1, wait_ms=2_000).values())) == count


def _pretend_that_locate_has_come_to_2026(kafka: str, prefix: str) -> None:
    from kafka import TopicPartition
    from kafka.structs import OffsetAndMetadata

    from streams.placing import WatermarkState

    metadata = WatermarkState(max_event_ms=1_782_864_000_000).encode()
    place = TopicPartition(f"{prefix}tickets", 0)
    with contextlib.closing(
        KafkaConsumer(bootstrap_servers=kafka, group_id=f"{prefix}locate", enable_auto_commit=False)
    ) as member:
        member.assign([place])
        member.commit({place: OffsetAndMetadata(1, metadata, -1)})
