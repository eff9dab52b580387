"""Which partition a key belongs to, as every Kafka client reckons it: Murmur2 of Java's client, as machine code.

aiokafka's own walks the key byte by byte in Python, which was a tenth of what an alert costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from aiokafka.partitioner import DefaultPartitioner

from topology.jit import kernel


class KeyPartitioner(DefaultPartitioner):  # type: ignore[misc]  # aiokafka is untyped
    """For `AIOKafkaProducer(partitioner=...)`."""

    def __init__(self) -> None:
        murmur2(np.frombuffer(b"compiled here", dtype=np.uint8))

    def __call__(self, key: bytes | None, all_partitions: Sequence[int], available: Sequence[int]) -> int:
        if not key:
            return int(super().__call__(key, all_partitions, available))
        return all_partitions[(murmur2(np.frombuffer(key, dtype=np.uint8)) & 0x7FFFFFFF) % len(all_partitions)]


@kernel
def murmur2(data: npt.NDArray[np.uint8]) -> int:
    """Murmur2, 32 bits, as in org.apache.kafka.common.utils.Utils."""
    mix = np.uint32(0x5BD1E995)
    value = np.uint32(0x9747B28C) ^ np.uint32(len(data))
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        word = np.uint32(
            np.uint32(data[at])
            | np.uint32(data[at + 1]) << np.uint32(8)
            | np.uint32(data[at + 2]) << np.uint32(16)
            | np.uint32(data[at + 3]) << np.uint32(24)
        )
        word = np.uint32(word * mix)
        word = np.uint32(np.uint32(word ^ (word >> np.uint32(24))) * mix)
        value = np.uint32(np.uint32(value * mix) ^ word)
    if whole < len(data):
        for at in range(whole, len(data)):
            value = np.uint32(value ^ np.uint32(np.uint32(data[at]) << np.uint32(8 * (at - whole))))
        value = np.uint32(value * mix)
    value = np.uint32(np.uint32(value ^ (value >> np.uint32(13))) * mix)
    return int(value ^ (value >> np.uint32(15)))
