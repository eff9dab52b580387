"""Flat produce requests are byte for byte those of aiokafka, and the seam is where it was."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.producer.sender import Sender
from aiokafka.protocol import produce
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from schemas.errors import SettingsError
from streams.produce_request import FlatProducer, Pieces, _flat

VERSIONS = [getattr(produce, f"ProduceRequest_v{version}") for version in range(8)]
TOPICS: list[list[tuple[str, list[tuple[int, bytes]]]]] = [
    [],
    [("observations", [(0, b"")])],
    [("observations", [(3, b"\x00\xff" * 5000), (1, b"x")]), ("城", [(7, bytes(bytearray(b"y")))])],
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("topics", TOPICS)
@pytest.mark.parametrize("transaction", [None, "t-1"])
def test_a_flat_request_has_the_same_bytes(version: Any, topics: Any, transaction: str | None) -> None:
    if version.API_VERSION < 3:
        with pytest.raises(SettingsError, match=r"has the fields required_acks, timeout, topics"):
            _flat(version)
        return
    fields = (transaction, -1, 40_000, topics)
    request = _flat(version)(*fields)
    assert request.encode() == version(*fields).encode()
    assert b"".join(request.pieces()) == version(*fields).encode()


def test_large_records_are_pieces_of_their_own_and_small_ones_are_joined() -> None:
    large, small = bytes(5_000), b"small"
    records = Pieces((b"head", large, b"\x00"))
    request = _flat(VERSIONS[7])(None, -1, 40_000, [("t", [(0, records), (1, small), (2, large)])])
    pieces = request.pieces()
    assert [piece is large for piece in pieces] == [False, True, False, True]
    joined = VERSIONS[7](None, -1, 40_000, [("t", [(0, bytes(records)), (1, small), (2, large)])])
    assert b"".join(pieces) == joined.encode()


def test_the_method_that_is_replaced_is_the_one_that_was_read() -> None:
    source = inspect.getsource(Sender._send_produce_req)
    body = textwrap.dedent(source).split('"""')[2]
    assert hashlib.sha256("".join(body.split()).encode()).hexdigest()[:16] == "2b8c059e5d802767", (
        "read it again, then mend both"
    )


@pytest.mark.live
async def test_frames_written_flat_arrive_whole(kafka: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics([NewTopic("flat", 2, 1, topic_configs={"max.message.bytes": str(8 << 20)})])
    admin.close()
    producer = FlatProducer(bootstrap_servers=kafka, enable_idempotence=True, max_request_size=8 << 20)
    await producer.start()
    sent = [bytes([i]) * (1 << (18 + i % 4)) for i in range(20)]
    try:
        for i, value in enumerate(sent):
            await producer.send("flat", value, partition=i % 2)
        await producer.flush()
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer("flat", bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        got = [(await consumer.getone()) for _ in sent]
    finally:
        await consumer.stop()
    for partition in (0, 1):
        assert [m.value for m in got if m.partition == partition] == sent[partition::2]
