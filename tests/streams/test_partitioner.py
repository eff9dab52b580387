"""Keys go where every other Kafka client sends them."""

from __future__ import annotations

import numpy as np
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.partitioner import KeyPartitioner, murmur2

PARTITIONS = list(range(7))


@settings(deadline=None)  # the first one is compiled
@given(st.binary(min_size=1, max_size=70))
def test_a_key_goes_where_aiokafka_would_send_it(key: bytes) -> None:
    assert murmur2(np.frombuffer(key, dtype=np.uint8)) == reference(key)
    assert KeyPartitioner()(key, PARTITIONS, PARTITIONS) == DefaultPartitioner()(key, PARTITIONS, PARTITIONS)


def test_a_known_value_of_the_java_client() -> None:
    assert murmur2(np.frombuffer(b"abc", dtype=np.uint8)) == 479470107


def test_without_a_key_or_with_an_empty_one_aiokafka_decides() -> None:
    partitioner = KeyPartitioner()
    assert partitioner(None, PARTITIONS, [3]) == 3
    assert partitioner(b"", PARTITIONS, [3]) == DefaultPartitioner()(b"", PARTITIONS, [3])
