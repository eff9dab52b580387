"""Batches built by the kernel are what Kafka's own readers read."""

from __future__ import annotations

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from deploy.simulation.kafka_batches import BATCH_BYTES, Batch, BatchMaker, PrebuiltBatch
from deploy.simulation.rows import packed
from streams.codecs import Codec

KEYS = (b"a", b"WL-00042", b"x" * 200)
NOW_MS = 1_752_744_600_000


def made(payloads: list[bytes], partitions: list[int], entities: list[int], codec: Codec) -> list[Batch]:
    data, starts = packed(payloads)
    maker = BatchMaker(KEYS, codec=codec)
    rows = np.arange(len(payloads), dtype=np.int64)
    return maker.make(rows, np.array(partitions, np.int32), np.array(entities, np.int32), data, starts, NOW_MS)


def read(batch: Batch) -> list[tuple[bytes, bytes]]:
    reader = DefaultRecordBatch(bytearray(batch.data))
    assert reader.validate_crc()
    records = list(reader)
    assert [record.offset for record in records] == list(range(batch.count))
    assert {record.timestamp for record in records} == {NOW_MS}
    return [(bytes(record.key), bytes(record.value)) for record in records]


RECORDS = st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=300)


@given(records=RECORDS, codec=st.sampled_from((Codec.NONE, Codec.LZ4)))
@rules(deadline=None, max_examples=50)
def test_every_record_is_in_its_partition_in_order(records: list[tuple[bytes, int, int]], codec: Codec) -> None:
    payloads, partitions, entities = ([record[i] for record in records] for i in range(3))
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for batch in made(payloads, partitions, entities, codec):  # type: ignore[arg-type]
        found.setdefault(batch.partition, []).extend(read(batch))
    expected: dict[int, list[tuple[bytes, bytes]]] = {}
    for payload, partition, entity in records:
        expected.setdefault(partition, []).append((KEYS[entity], payload))
    assert found == expected


def test_batches_stay_below_their_size_but_for_a_record_that_is_larger_alone() -> None:
    payloads = [b"y" * 70_000] * 30 + [b"z" * (BATCH_BYTES + 10)] + [b"y" * 10] * 5
    batches = made(payloads, [0] * len(payloads), [1] * len(payloads), Codec.NONE)
    assert [len(read(batch)) for batch in batches] == [7, 7, 7, 7, 2, 1, 5]
    assert sorted(len(batch.data) > BATCH_BYTES + 100 for batch in batches) == [False] * 7


def test_no_rows_make_no_batch() -> None:
    assert made([], [], [], Codec.LZ4) == []


def test_a_prebuilt_batch_is_handed_on_as_it_is_and_takes_nothing_more() -> None:
    (batch,) = made([b"1", b"2"], [0, 0], [0, 1], Codec.LZ4)
    prebuilt = PrebuiltBatch(batch)
    assert prebuilt.append(timestamp=None, key=None, value=b"3") is None
    assert (bytes(prebuilt._build()), prebuilt.record_count(), prebuilt.size()) == (batch.data, 2, len(batch.data))
    with pytest.raises(ValueError, match="not idempotent"):
        prebuilt._set_producer_state(1, 1, 1)
