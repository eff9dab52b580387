"""The alerts an engine wrote: read from its topic with the broker's time of each, and held against the batch answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition

from benchmarks.cityjoin_data import Answer
from benchmarks.peers.backlog import SecondHalf
from benchmarks.peers.engine import Engine, PeerAlert

READ_WITHIN_MS = 10_000


class Written(NamedTuple):
    """One alert record in the topic."""

    alert: PeerAlert
    taken_back: bool
    at_s: float
    """The broker's append time, epoch seconds."""


class Verdict(NamedTuple):
    """What an engine's alerts are worth."""

    alerts: int
    missing: int
    extra: int
    """Alerts that the batch answer does not have, wrong values of right windows among them."""
    repeated: int
    """Records that tell an alert once more that stands already."""
    taken_back: int
    last_s: float
    """When the broker had the last one."""
    half_s: float | None
    """When it had the first one of the second half."""

    @property
    def right(self) -> bool:
        return not (self.missing or self.extra)


def judge(written: Iterable[Written], expected: Answer, half: SecondHalf | None) -> Verdict:
    """Hold what was written, in its order, against the answer. Pure."""
    standing: Counter[PeerAlert] = Counter()
    repeated = taken_back = 0
    last_s, half_s = 0.0, None
    for alert, gone, at_s in written:
        if gone:
            taken_back += 1
            standing[alert] = 0
            continue
        repeated += standing[alert] > 0
        standing[alert] += 1
        last_s = max(last_s, at_s)
        if half is not None and alert.window_start_ms >= half.window_ms:
            half_s = at_s if half_s is None else min(half_s, at_s)
    got = {alert for alert, count in standing.items() if count > 0}
    return Verdict(len(got), len(expected - got), len(got - expected), repeated, taken_back, last_s, half_s)


def count_written(consumer: KafkaConsumer, partitions: list[TopicPartition]) -> int:
    """Records in the topic so far."""
    return sum(consumer.end_offsets(partitions).values())


def read_written(consumer: KafkaConsumer, partitions: list[TopicPartition], engine: Engine) -> Iterator[Written]:
    """Every alert record, each partition in its order; the engine says what a record means."""
    ends = consumer.end_offsets(partitions)
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    left = {partition for partition in partitions if ends[partition] > 0}
    while left:
        polled = consumer.poll(timeout_ms=READ_WITHIN_MS)
        if not polled:
            raise TimeoutError(f"no alerts read from {sorted(left)} within {READ_WITHIN_MS / 1000:g} s")
        for partition, messages in polled.items():
            for message in messages:
                read = engine.read_alert(message.value)
                if read is not None:
                    yield Written(*read, message.timestamp / 1000)
            if consumer.position(partition) >= ends[partition]:
                left.discard(partition)
